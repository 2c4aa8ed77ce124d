//! A consensus: its members' graphs side by side.

use super::calibrator::calibrate;
use super::graph::{Graph, Value};
use super::{Scored, emit as emit_detector};
use crate::consensus::{Combination, Consensus};
use crate::error::Result;

pub(super) fn emit(graph: &mut Graph, rows: &Value, consensus: &Consensus) -> Result<Scored> {
    let combination = consensus.combination();
    let mut score: Option<Value> = None;
    let mut n_members = 0;
    let mut shares = Shares::default();
    for (detector, calibrator) in consensus.calibrated_members() {
        let scored = emit_detector(graph, rows, detector)?;
        let tail = calibrate(graph, &scored.raw, calibrator);
        let term = match combination {
            Combination::Fisher | Combination::Max => tail.clone(),
            Combination::RankAverage => rank(graph, &tail, calibrator.n_scores() as f64 + 1.0),
        };
        score = Some(match (score, combination) {
            (None, _) => term,
            (Some(so_far), Combination::Max) => graph.op("Max", &[&so_far, &term]),
            (Some(so_far), _) => graph.add(&so_far, &term),
        });
        shares.add(graph, &tail, scored.parts.as_ref());
        n_members += 1;
    }
    let score = score.unwrap_or_else(|| rows.clone());
    let raw = match combination {
        Combination::Max => score,
        _ => graph.over(&score, f64::from(n_members)),
    };
    let parts = shares.of_score(graph, &raw);
    Ok(Scored { raw, parts })
}

/// A member's rank among the calibration rows, and on by its tail beyond them.
fn rank(graph: &mut Graph, tail: &Value, n: f64) -> Value {
    let power = graph.op("Neg", &[tail]);
    let power = graph.times(&power, std::f64::consts::LN_10);
    let share = graph.op("Exp", &[&power]);
    let one = graph.double(1.0);
    let rank = graph.sub(&one, &share);
    let beyond = graph.plus(tail, -n.log10());
    let beyond = graph.at_least(&beyond, 0.0);
    graph.add(&rank, &beyond)
}

/// What the features have to do with the score, by the members' weights.
#[derive(Default)]
struct Shares {
    parts: Option<Value>,
    weights: Option<Value>,
    /// A member's graph can't tell.
    unknown: bool,
}

impl Shares {
    fn add(&mut self, graph: &mut Graph, tail: &Value, own: Option<&Value>) {
        let Some(own) = own.filter(|_| !self.unknown) else {
            self.unknown = true;
            return;
        };
        let own = graph.at_least(own, 0.0);
        let sum = graph.sum_in_order(&own);
        let zero = graph.double(0.0);
        let share = super::gaussian::over_score(graph, &own, &sum);
        let largest = graph.double(f64::MAX);
        let finite = graph.op("LessOrEqual", &[&sum, &largest]);
        let finite = graph.unsqueeze(&finite, 1);
        let share = graph.select(&finite, &share, &zero);
        let weight = graph.unsqueeze(tail, 1);
        let part = graph.mul(&weight, &share);
        self.parts = Some(match self.parts.take() {
            None => part,
            Some(parts) => graph.add(&parts, &part),
        });
        self.weights = Some(match self.weights.take() {
            None => tail.clone(),
            Some(weights) => graph.add(&weights, tail),
        });
    }

    fn of_score(self, graph: &mut Graph, score: &Value) -> Option<Value> {
        let (parts, weights) = self.parts.zip(self.weights).filter(|_| !self.unknown)?;
        let shares = super::gaussian::over_score(graph, &parts, &weights);
        let score = graph.unsqueeze(score, 1);
        Some(graph.mul(&shares, &score))
    }
}
