//! Calibrators, one a symbol.

use std::collections::BTreeMap;

use super::graph::{Graph, Setting, Value};
use super::ops::{padded, padded_width};
use crate::calibration::Calibrator;
use crate::detector::Detector;
use crate::model::{DetectorSet, Model};

/// The input that says whose row it is.
pub(super) const SYMBOL: &str = "symbol";

/// What the answer for a row depends on beside its values.
pub(super) struct SymbolTables<'a> {
    /// Those of the symbols, then the pooled one.
    calibrators: Vec<&'a Calibrator>,
    symbols: Vec<&'a str>,
    is_needed: bool,
}

impl<'a> SymbolTables<'a> {
    pub(super) fn new(model: &'a Model) -> Self {
        let pooled = &model.calibrators.pooled;
        let by_symbol: &BTreeMap<String, Calibrator> = &model.calibrators.by_symbol;
        let one_for_all = by_symbol.values().all(|own| own.same_curve(pooled));
        let global = matches!(model.detectors, DetectorSet::Global(_));
        let mut tables = Self {
            calibrators: Vec::new(),
            symbols: Vec::new(),
            is_needed: !(one_for_all && global),
        };
        if !one_for_all {
            for (symbol, own) in by_symbol {
                tables.symbols.push(symbol);
                tables.calibrators.push(own);
            }
        }
        tables.calibrators.push(pooled);
        tables
    }

    /// Whether rows must come with their symbol.
    pub(super) fn is_needed(&self) -> bool {
        self.is_needed
    }

    /// Detectors in order, the fallback last, and of each row which one is its own; where a symbol has none, the graph
    /// fails.
    pub(super) fn detector_of_rows<'d>(
        &self,
        graph: &mut Graph,
        detectors: &'d DetectorSet,
    ) -> (Vec<&'d Detector>, Value) {
        let DetectorSet::PerSymbol {
            by_symbol,
            fallback,
        } = detectors
        else {
            return (Vec::new(), Value(SYMBOL.to_owned()));
        };
        let symbols: Vec<&str> = by_symbol.keys().map(String::as_str).collect();
        let mut all: Vec<&Detector> = by_symbol.values().collect();
        all.extend(fallback.as_ref());
        let place = encode(graph, &symbols);
        let known: Vec<i64> = (0..all.len() as i64).collect();
        let known = graph.list(&known);
        // An index that isn't there is an error, which names the node.
        let output = graph.fresh();
        let place = graph.named(
            "Gather",
            &[&known, &place],
            "symbol_without_a_detector",
            &output,
        );
        (all, place)
    }

    /// −log₁₀ tail probabilities of raw scores, (n_samples) both.
    pub(super) fn calibrate(&self, graph: &mut Graph, raw: &Value) -> Value {
        if let [one] = self.calibrators.as_slice() {
            return calibrate(graph, raw, one);
        }
        let symbol = encode(graph, &self.symbols);
        calibrate_each(graph, raw, &self.calibrators, &symbol)
    }
}

/// Each row's symbol as its place in `symbols`; one beyond the last for any other.
fn encode(graph: &mut Graph, symbols: &[&str]) -> Value {
    let n = symbols.len() as i64;
    let settings = vec![
        (
            "keys_strings",
            Setting::Texts(symbols.iter().map(|s| (*s).to_owned()).collect()),
        ),
        ("values_int64s", Setting::Ints((0..n).collect())),
        ("default_int64", Setting::Int(n)),
    ];
    graph.ml("LabelEncoder", &[&Value(SYMBOL.to_owned())], settings)
}

/// Tail probabilities by one calibrator.
pub(super) fn calibrate(graph: &mut Graph, raw: &Value, calibrator: &Calibrator) -> Value {
    let first = graph.int(0);
    calibrate_each(graph, raw, &[calibrator], &first)
}

/// `place` says which calibrator is a row's; (n_samples), or one for all.
fn calibrate_each(
    graph: &mut Graph,
    raw: &Value,
    calibrators: &[&Calibrator],
    place: &Value,
) -> Value {
    let curves: Vec<_> = calibrators.iter().map(|c| c.curve()).collect();
    let scores = curves.iter().map(|curve| curve.scores);
    let width = padded_width(scores.clone());
    let all_scores = padded(scores, f64::INFINITY, width);
    let all_tails = padded(curves.iter().map(|curve| curve.tails), 0.0, width);
    let scores = graph.doubles(&all_scores, &[all_scores.len()]);
    let tails = graph.doubles(&all_tails, &[all_tails.len()]);
    let mut of_curve = |value: fn(&crate::calibration::Curve<'_>) -> f64| {
        let values: Vec<f64> = curves.iter().map(value).collect();
        let table = graph.doubles(&values, &[values.len()]);
        graph.gather(&table, place, 0)
    };
    let first_score = of_curve(|c| c.scores[0]);
    let first_tail = of_curve(|c| c.tails[0]);
    let last_score = of_curve(|c| c.scores[c.scores.len() - 1]);
    let last_tail = of_curve(|c| c.tails[c.tails.len() - 1]);
    let half_low = of_curve(|c| c.low_scale / 2.0);
    let high_scale = of_curve(|c| c.high_scale);
    let shape = of_curve(|c| c.shape);

    let score = graph.clamp(raw, f64::MIN, f64::MAX);
    let width_value = graph.int(width as i64);
    let base = graph.mul(place, &width_value);
    let above = graph.rank(&score, &base, &scores, width, false);

    // Between two knots.
    let minus_one = graph.int(-1);
    let at = graph.add(&above, &minus_one);
    let at = graph.op("Max", &[&at, &base]);
    let one = graph.int(1);
    let next = graph.add(&at, &one);
    let from = graph.gather(&scores, &at, 0);
    let to = graph.gather(&scores, &next, 0);
    let low = graph.gather(&tails, &at, 0);
    let high = graph.gather(&tails, &next, 0);
    let half_score = graph.over(&score, 2.0);
    let half_from = graph.over(&from, 2.0);
    let half_to = graph.over(&to, 2.0);
    let way = graph.sub(&half_score, &half_from);
    let span = graph.sub(&half_to, &half_from);
    let share = graph.div(&way, &span);
    let rise = graph.sub(&high, &low);
    let rise = graph.mul(&rise, &share);
    let body = graph.add(&low, &rise);
    let body = graph.op("Max", &[&body, &low]);
    let body = graph.op("Min", &[&body, &high]);

    // Beyond the last: a generalized Pareto tail.
    let half_last = graph.over(&last_score, 2.0);
    let beyond = graph.sub(&half_score, &half_last);
    let y = graph.div(&beyond, &high_scale);
    let y = graph.times(&y, 2.0);
    let y = graph.clamp(&y, 0.0, f64::MAX);
    let grown = graph.mul(&shape, &y);
    let ln = graph.ln_1p(&grown);
    let heavy = graph.div(&ln, &shape);
    let zero = graph.double(0.0);
    let is_heavy = graph.op("Greater", &[&shape, &zero]);
    let neg_ln = graph.select(&is_heavy, &heavy, &y);
    let upper = graph.over(&neg_ln, std::f64::consts::LN_10);
    let upper = graph.add(&last_tail, &upper);
    let upper = graph.at_most(&upper, f64::MAX);

    // Below the first.
    let half_first = graph.over(&first_score, 2.0);
    let distance = graph.sub(&half_first, &half_score);
    let both = graph.add(&half_low, &distance);
    let fall = graph.div(&half_low, &both);
    let below = graph.mul(&first_tail, &fall);

    let is_below = graph.op("Less", &[&score, &first_score]);
    let is_upper = graph.op("GreaterOrEqual", &[&score, &last_score]);
    let inner = graph.select(&is_below, &below, &body);
    graph.select(&is_upper, &upper, &inner)
}
