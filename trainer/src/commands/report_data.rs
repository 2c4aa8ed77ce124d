//! From an outcome to what the report shows.

use detectors::evaluation::{
    Evaluation, ImportanceMeasure, Interval, Metric as Measured, OperatingPoint,
};
use detectors::{DetectorParams, ForestForm};

use super::leaderboard::{self, Leader};
use crate::config::{Boundaries, DataKind, ExperimentFile, SplitMethod, ThresholdRule};
use crate::pipeline::split::Part;
use crate::pipeline::{Fold, Outcome, Tested, judge, provenance};
use crate::report::{
    BaselineEvents, Candle, Column, Count, Curves, DataObject, Estimate, Event, FoldRow, Group,
    GroupCell, Header, Importance, Limits, Metric, Outcome as EventOutcome, PriceSeries,
    Provenance, ReportData, ScoreHistogram, ScorePoint, Split, SymbolRow, Threshold, TimeRange,
    Unit, Verdict,
};

const SCORE_AXIS: &str = "−log10 tail probability";

/// Which run the report is about.
#[derive(Debug)]
pub(super) struct RunLabel<'a> {
    /// Its id.
    pub run_id: &'a str,
    /// Its name.
    pub run_name: &'a str,
    /// When the report is made, µs since the epoch.
    pub created: i64,
    /// Parameters as the registry gets them.
    pub parameters: Vec<(String, String)>,
    /// Versions, commit and the like.
    pub tags: &'a std::collections::BTreeMap<String, String>,
}

/// Everything that the report shows.
pub(super) fn report_data(
    file: &ExperimentFile,
    outcome: &Outcome,
    leaders: &[Leader],
    label: &RunLabel<'_>,
) -> ReportData {
    let winner = outcome.tested_winner();
    let index = &outcome.prepared.index;
    ReportData {
        header: header(file, outcome, label),
        verdict: verdict(file, outcome),
        columns: outcome
            .tested
            .iter()
            .map(|tested| column(outcome, tested))
            .collect(),
        metrics: metrics(outcome),
        by_kind: groups(outcome, |evaluation| &evaluation.by_kind),
        by_magnitude: groups(outcome, |evaluation| &evaluation.by_magnitude),
        leaders: if leaders.len() > 2 {
            leaderboard::as_report(leaders)
        } else {
            Vec::new()
        },
        flip_probability: leaderboard::flip_probability(outcome),
        by_fold: folds(outcome),
        by_symbol: if index.symbols.len() > 1 || outcome.prepared.interval_us.is_some() {
            symbols(&winner.evaluation)
        } else {
            Vec::new()
        },
        events: events(&winner.evaluation),
        threshold: Some(threshold(file, outcome)),
        scores: Some(histogram(outcome)),
        curves: outcome
            .tested
            .iter()
            .map(|tested| curves(outcome, tested))
            .collect(),
        importance: importance(outcome),
        prices: prices(outcome),
        provenance: provenance_of(file, outcome, label),
        limits: Limits::default(),
    }
}

fn header(file: &ExperimentFile, outcome: &Outcome, label: &RunLabel<'_>) -> Header {
    let (_, _, test) = judge::parts(&outcome.prepared);
    let git = provenance::git_state(crate::pipeline::load::base_folder(&file.path));
    let winner = &outcome.validated[outcome.winner];
    let index = &outcome.prepared.index;
    Header {
        experiment: file.experiment.name.clone(),
        run_name: label.run_name.to_owned(),
        run_id: label.run_id.to_owned(),
        detector: detector_words(winner.trial.params.name()).to_owned(),
        model: None,
        data_range: time_range(outcome, |_| true),
        test_range: time_range(outcome, |part| part == test),
        parts_by_symbol: file.experiment.split.boundaries == Boundaries::PerSymbol
            && index.symbols.len() > 1,
        symbols: index
            .symbols
            .iter()
            .filter(|symbol| !symbol.is_empty())
            .cloned()
            .collect(),
        interval: file
            .experiment
            .data
            .interval
            .map(|interval| interval.to_string()),
        seed: file.experiment.seed,
        git_commit: git.as_ref().map(|(commit, _)| commit.clone()),
        git_dirty: git.is_some_and(|(_, dirty)| dirty),
        created: label.created,
    }
}

fn detector_words(name: &str) -> &str {
    match name {
        "isolation_forest" => "Isolation Forest",
        "max_z" => "Largest |z|",
        "ecod" => "ECOD",
        "hbos" => "HBOS",
        "knn" => "Nearest neighbours",
        "dbscan" => "DBSCAN",
        "mahalanobis" => "Mahalanobis distance",
        "gaussian_mixture" => "Gaussian mixture",
        "autoencoder" => "Autoencoder",
        "half_space_trees" => "Half-space trees",
        "candle_z" => "Per-candle z-score",
        "sliding_window" => "Sliding window",
        "consensus" => "Consensus",
        other => other,
    }
}

fn time_range(outcome: &Outcome, wanted: impl Fn(Part) -> bool) -> Option<TimeRange> {
    let index = &outcome.prepared.index;
    let times = index.time.as_ref()?;
    let mut of_part = times
        .iter()
        .zip(&index.part)
        .filter(|(_, part)| wanted(**part))
        .map(|(time, _)| *time);
    let first = of_part.next()?;
    let (start, last) = of_part.fold((first, first), |(low, high), time| {
        (low.min(time), high.max(time))
    });
    Some(TimeRange {
        start,
        end: last + outcome.prepared.interval_us.unwrap_or(0),
    })
}

/// The result in one sentence.
pub(super) fn verdict(file: &ExperimentFile, outcome: &Outcome) -> Verdict {
    let evaluation = &outcome.tested_winner().evaluation;
    let baseline = &outcome.tested_baseline().evaluation;
    let caught = |evaluation: &Evaluation| {
        evaluation
            .events
            .iter()
            .filter(|event| event.caught)
            .count() as u64
    };
    if evaluation.n_events > 0 {
        return Verdict::Events {
            events: evaluation.n_events,
            caught: caught(evaluation),
            injected: outcome.prepared.n_injected > 0,
            interval: evaluation
                .intervals
                .as_ref()
                .and_then(|intervals| intervals.event_recall.bounds()),
            level: file.experiment.evaluate.confidence,
            false_alerts: evaluation.false_alerts_per_symbol_day.value(),
            baseline: Some(BaselineEvents {
                name: "largest |z|".to_owned(),
                caught: caught(baseline),
                false_alerts: baseline.false_alerts_per_symbol_day.value(),
            }),
        };
    }
    if evaluation.n_labelled_rows > 0 {
        return Verdict::Rows {
            rows: evaluation.n_rows,
            anomalous: evaluation.n_labelled_rows,
            roc_auc: evaluation.roc_auc.value(),
            average_precision: evaluation.average_precision.value(),
            baseline: baseline
                .average_precision
                .value()
                .map(|value| ("largest |z|".to_owned(), value)),
        };
    }
    Verdict::Unlabelled {
        rows: evaluation.n_rows,
        alerts: evaluation.n_flagged_rows,
        per_symbol_day: evaluation.false_alerts_per_symbol_day.value(),
    }
}

fn column(outcome: &Outcome, tested: &Tested) -> Column {
    let trial = &outcome.validated[tested.trial].trial;
    let detail = match &trial.params {
        DetectorParams::IsolationForest(config) => {
            let trees = format!("{} trees of {} rows", config.n_trees, config.sample_size);
            match config.form {
                ForestForm::Extended => format!("extended, {trees}"),
                ForestForm::SciForest => format!("SCiForest, {trees}"),
                ForestForm::FairCut => format!("fair-cut, {trees}"),
                ForestForm::Classic => trees,
            }
        }
        DetectorParams::MaxZ(_) => "against training mean and deviation".to_owned(),
        DetectorParams::Consensus(config) => {
            let members: Vec<&str> = config
                .members
                .iter()
                .map(|member| detector_words(member.name()))
                .collect();
            format!("of {}", members.join(", "))
        }
        other => detector_words(other.name()).to_owned(),
    };
    Column {
        name: trial.candidate.clone(),
        detail,
        baseline: tested.trial + 1 == outcome.validated.len(),
        reported: tested.trial == outcome.winner,
    }
}

fn estimate(measured: &Measured, interval: Option<&Interval>) -> Estimate {
    match measured {
        Measured::Value(value) => Estimate::Value {
            value: *value,
            interval: interval.and_then(Interval::bounds),
        },
        Measured::Undefined { reason } => Estimate::undefined(reason.clone()),
    }
}

fn metrics(outcome: &Outcome) -> Vec<Metric> {
    type Get = for<'e> fn(&'e Evaluation) -> (&'e Measured, Option<&'e Interval>);
    let mut rows: Vec<(&str, &str, Unit, Get)> = vec![
        (
            "Average precision",
            "area under the precision–recall curve, over rows",
            Unit::Score,
            |e| {
                (
                    &e.average_precision,
                    e.intervals.as_ref().map(|i| &i.average_precision),
                )
            },
        ),
        (
            "ROC AUC",
            "the chance that an anomalous row outranks a normal one",
            Unit::Score,
            |e| (&e.roc_auc, e.intervals.as_ref().map(|i| &i.roc_auc)),
        ),
        (
            "Precision",
            "flagged rows that are anomalous",
            Unit::Percent,
            |e| (&e.precision, e.intervals.as_ref().map(|i| &i.precision)),
        ),
        (
            "Recall",
            "anomalous rows that are flagged",
            Unit::Percent,
            |e| (&e.recall, e.intervals.as_ref().map(|i| &i.recall)),
        ),
        (
            "F1",
            "harmonic mean of precision and recall",
            Unit::Score,
            |e| (&e.f1, e.intervals.as_ref().map(|i| &i.f1)),
        ),
    ];
    if outcome.tested_winner().evaluation.n_events > 0 {
        rows.push((
            "Events caught",
            "events with at least one alert",
            Unit::Percent,
            |e| {
                (
                    &e.event_recall,
                    e.intervals.as_ref().map(|i| &i.event_recall),
                )
            },
        ));
    }
    if outcome.prepared.interval_us.is_some() {
        rows.push((
            "False alerts",
            "flagged rows outside of every event",
            Unit::PerSymbolDay,
            |e| {
                (
                    &e.false_alerts_per_symbol_day,
                    e.intervals.as_ref().map(|i| &i.false_alerts_per_symbol_day),
                )
            },
        ));
        rows.push((
            "False episodes",
            "runs of such rows",
            Unit::PerSymbolDay,
            |e| {
                (
                    &e.false_episodes_per_symbol_day,
                    e.intervals
                        .as_ref()
                        .map(|i| &i.false_episodes_per_symbol_day),
                )
            },
        ));
    }
    rows.into_iter()
        .map(|(name, help, unit, get)| Metric {
            name: name.to_owned(),
            help: help.to_owned(),
            unit,
            values: outcome
                .tested
                .iter()
                .map(|tested| {
                    let (value, interval) = get(&tested.evaluation);
                    estimate(value, interval)
                })
                .collect(),
        })
        .chain(at_budget(outcome))
        .collect()
}

/// What every model would catch at the same number of false alerts; empty without a budget.
fn at_budget(outcome: &Outcome) -> Vec<Metric> {
    let Some(budget) = alert_budget(outcome) else {
        return Vec::new();
    };
    let row = |name: &str, of: fn(&OperatingPoint) -> &Measured| Metric {
        name: name.to_owned(),
        help: format!(
            "with each threshold moved until the test data have {budget} false alerts per symbol and day"
        ),
        unit: Unit::Percent,
        values: outcome
            .tested
            .iter()
            .map(|tested| match &tested.evaluation.at_budget {
                Some(at_budget) => estimate(of(&at_budget.rows), None),
                None => Estimate::undefined("no alert budget"),
            })
            .collect(),
    };
    let mut rows = Vec::new();
    if outcome.tested_winner().evaluation.n_events > 0 {
        rows.push(row("Event recall at the alert budget", |point| {
            &point.event_recall
        }));
    }
    rows.push(row("Recall at the alert budget", |point| &point.row_recall));
    rows
}

/// The alert budget, where there is one and the data have time.
pub(super) fn alert_budget(outcome: &Outcome) -> Option<f64> {
    let evaluation = &outcome.tested_winner().evaluation;
    evaluation.symbol_days.value()?;
    let at_budget = evaluation.at_budget.as_ref()?;
    Some(at_budget.alerts_per_symbol_day)
}

fn groups(
    outcome: &Outcome,
    of: impl Fn(&Evaluation) -> &Vec<detectors::evaluation::GroupEvaluation>,
) -> Vec<Group> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a count of events"
    )]
    let cell = |group: &detectors::evaluation::GroupEvaluation| GroupCell {
        caught: (group.event_recall.value().unwrap_or(0.0) * group.n_events as f64).round() as u64,
        recall: estimate(&group.event_recall, None),
        median_delay: group.median_delay_us.value().map(|delay| delay / 1e6),
    };
    of(&outcome.tested_winner().evaluation)
        .iter()
        .map(|group| Group {
            label: group.name.clone(),
            events: group.n_events,
            cells: outcome
                .tested
                .iter()
                .map(|tested| {
                    let same = of(&tested.evaluation)
                        .iter()
                        .find(|other| other.name == group.name);
                    same.map(cell).unwrap_or_default()
                })
                .collect(),
        })
        .collect()
}

fn folds(outcome: &Outcome) -> Vec<FoldRow> {
    let interval = outcome.prepared.interval_us.unwrap_or(0);
    let row = |fold: &Fold| FoldRow {
        range: TimeRange {
            start: fold.from,
            end: fold.to + interval,
        },
        events: fold.winner.n_events,
        caught: fold
            .winner
            .events
            .iter()
            .filter(|event| event.caught)
            .count() as u64,
        average_precision: estimate(&fold.winner.average_precision, None),
        roc_auc: estimate(&fold.winner.roc_auc, None),
        false_alerts: estimate(&fold.winner.false_alerts_per_symbol_day, None),
        baseline: estimate(&fold.baseline.average_precision, None),
    };
    outcome.folds.iter().map(row).collect()
}

fn symbols(evaluation: &Evaluation) -> Vec<SymbolRow> {
    evaluation
        .by_symbol
        .iter()
        .map(|symbol| SymbolRow {
            symbol: symbol.symbol.clone(),
            rows: symbol.n_rows,
            events: symbol.n_events,
            caught: symbol.n_events_caught,
            false_alerts: symbol.n_false_alerts,
            false_alerts_per_day: estimate(&symbol.false_alerts_per_day, None),
            threshold: None,
        })
        .collect()
}

fn events(evaluation: &Evaluation) -> Vec<Event> {
    evaluation
        .events
        .iter()
        .filter(|event| event.n_rows > 0)
        .map(|event| Event {
            id: format!("{}", event.index + 1),
            symbol: event.symbol.clone(),
            kind: event.kind.clone(),
            start: event.start,
            end: event.end,
            magnitude: event.magnitude,
            #[expect(clippy::cast_precision_loss, reason = "delays are far below 2^53 µs")]
            outcome: match (event.caught, event.delay_us) {
                (true, delay) => EventOutcome::Caught {
                    delay: delay.unwrap_or(0) as f64 / 1e6,
                },
                (false, _) => EventOutcome::Missed,
            },
            peak_score: event.peak_score,
        })
        .collect()
}

fn threshold(file: &ExperimentFile, outcome: &Outcome) -> Threshold {
    let (_, validation, _) = judge::parts(&outcome.prepared);
    let winner = &outcome.validated[outcome.winner];
    let (budget, quantile) = match file.experiment.evaluate.threshold {
        ThresholdRule::AlertsPerSymbolDay(budget) => (Some(budget), None),
        ThresholdRule::Quantile(quantile) => (None, Some(quantile)),
    };
    let injected = outcome.prepared.calibration.is_some();
    let set_on = match (file.experiment.split.method, injected) {
        (SplitMethod::InSample, _) => "rows that are judged, their labels unread",
        (_, true) => "validation rows as they were before injection",
        (_, false) => "validation rows, their labels unread",
    };
    Threshold {
        alerts_per_symbol_day: budget,
        quantile,
        value: Some(winner.threshold.neg_log10_tail),
        set_on: set_on.to_owned(),
        range: time_range(outcome, |part| part == validation),
        reached: winner.alerts_where_set,
        observed: judge::alerts_per_symbol_day(
            &outcome.tested_winner().scores.flag,
            judge::rows_per_day(&outcome.prepared),
        ),
        score: "−log10 of the tail probability, calibrated for each symbol".to_owned(),
        note: String::new(),
    }
}

/// Whether each of the tested rows is labelled.
fn labelled(outcome: &Outcome, tested: &Tested) -> Vec<bool> {
    let index = &outcome.prepared.index;
    let is_labelled = |row: u32| match &index.positive {
        Some(positive) => positive[row as usize],
        None => index.event[row as usize] != 0,
    };
    tested
        .scores
        .rows
        .iter()
        .map(|&row| is_labelled(row))
        .collect()
}

fn histogram(outcome: &Outcome) -> ScoreHistogram {
    let tested = outcome.tested_winner();
    let labelled = labelled(outcome, tested);
    let threshold = outcome.model.threshold.neg_log10_tail;
    ScoreHistogram::from_scores(
        &tested.scores.tail,
        &labelled,
        Some(threshold),
        60,
        SCORE_AXIS,
    )
}

fn curves(outcome: &Outcome, tested: &Tested) -> Curves {
    let labelled = labelled(outcome, tested);
    // The score beside the row: a comparison looks at no other memory.
    let mut order: Vec<(f64, u32)> = tested.scores.tail.iter().copied().zip(0_u32..).collect();
    rayon::slice::ParallelSliceMut::par_sort_unstable_by(order.as_mut_slice(), |a, b| {
        b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
    });
    let n_positive = labelled.iter().filter(|label| **label).count();
    let n_negative = labelled.len() - n_positive;
    let mut curves = Curves {
        name: outcome.validated[tested.trial].trial.candidate.clone(),
        baseline: tested.trial + 1 == outcome.validated.len(),
        average_precision: tested.evaluation.average_precision.value(),
        roc_auc: tested.evaluation.roc_auc.value(),
        operating_point: tested
            .evaluation
            .recall
            .value()
            .zip(tested.evaluation.precision.value()),
        ..Curves::default()
    };
    if n_positive == 0 || n_negative == 0 {
        return curves;
    }
    // One point per positive met, and at most a few thousand in all: the curves bend only there.
    let stride = n_positive.div_ceil(2000);
    let (mut hits, mut misses) = (0_usize, 0_usize);
    curves.roc.push((0.0, 0.0));
    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    let ratio = |part: usize, whole: usize| part as f64 / whole as f64;
    for &(_, row) in &order {
        if !labelled[row as usize] {
            misses += 1;
            continue;
        }
        if hits % stride == 0 {
            curves
                .roc
                .push((ratio(misses, n_negative), ratio(hits, n_positive)));
        }
        hits += 1;
        if hits % stride == 0 || hits == n_positive {
            curves
                .precision_recall
                .push((ratio(hits, n_positive), ratio(hits, hits + misses)));
            curves
                .roc
                .push((ratio(misses, n_negative), ratio(hits, n_positive)));
        }
    }
    curves.roc.push((1.0, 1.0));
    curves
}

fn importance(outcome: &Outcome) -> Vec<Importance> {
    let Some(importance) = &outcome.importance else {
        return Vec::new();
    };
    let measure = match importance.measure {
        ImportanceMeasure::AveragePrecisionDrop => "loss of average precision when shuffled",
        ImportanceMeasure::RankShift => "mean shift of a row's rank when shuffled",
    };
    importance
        .features
        .iter()
        .zip(&outcome.model.feature_names)
        .map(|(feature, name)| Importance {
            feature: name.clone(),
            value: feature.mean,
            error: Some(feature.sd),
            measure: measure.to_owned(),
        })
        .collect()
}

fn prices(outcome: &Outcome) -> Vec<PriceSeries> {
    let winner = outcome.tested_winner();
    let index = &outcome.prepared.index;
    let Some(times) = &index.time else {
        return Vec::new();
    };
    let (_, _, test) = judge::parts(&outcome.prepared);
    let Some(range) = time_range(outcome, |part| part == test) else {
        return Vec::new();
    };
    let mut series: Vec<PriceSeries> = outcome
        .prepared
        .candles
        .iter()
        .zip(&index.symbols)
        .map(|(candles, symbol)| PriceSeries {
            symbol: symbol.clone(),
            unit: String::new(),
            candles: candles
                .iter()
                .filter(|candle| candle.open_time >= range.start && candle.open_time < range.end)
                .map(|candle| Candle {
                    time: candle.open_time,
                    open: candle.open,
                    high: candle.high,
                    low: candle.low,
                    close: candle.close,
                    volume: candle.volume,
                })
                .collect(),
            scores: Vec::new(),
            threshold: Some(outcome.model.threshold.neg_log10_tail),
            score_axis: SCORE_AXIS.to_owned(),
            false_alerts: Vec::new(),
        })
        .collect();
    if series.is_empty() {
        return series;
    }
    for (position, &row) in winner.scores.rows.iter().enumerate() {
        let row = row as usize;
        let point = ScorePoint {
            time: times[row],
            score: winner.scores.tail[position],
        };
        let series = &mut series[index.symbol[row] as usize];
        series.scores.push(point);
        if winner.scores.flag[position] && index.event[row] == 0 {
            series.false_alerts.push(point);
        }
    }
    series
}

fn provenance_of(file: &ExperimentFile, outcome: &Outcome, label: &RunLabel<'_>) -> Provenance {
    let index = &outcome.prepared.index;
    let mut counts = Vec::new();
    if let Some(engine) = outcome.prepared.counts {
        let all = [
            ("trades read", engine.trades),
            ("trades too late, set aside", engine.late),
            ("duplicate trades dropped", engine.duplicates),
            ("candles", engine.candles),
            ("candles that carry a close forward", engine.filled),
            ("windows started afresh after a long gap", engine.restarts),
            ("candles not ready, never scored", engine.not_ready),
        ];
        let is_trades = file.experiment.data.kind == DataKind::Trades;
        counts.extend(
            all.into_iter()
                .filter(|(name, count)| is_trades || *count > 0 || !name.contains("trades"))
                .map(|(name, count)| Count {
                    name: name.to_owned(),
                    count,
                }),
        );
    }
    counts.push(Count {
        name: "training rows fitted on".to_owned(),
        count: outcome.train_rows.1 as u64,
    });
    let mut parts: Vec<Part> = index.part.clone();
    parts.sort_unstable();
    parts.dedup();
    let splits = parts
        .into_iter()
        .map(|part| {
            let rows = index.part.iter().filter(|other| **other == part).count() as u64;
            let mut events: Vec<u32> = index
                .event
                .iter()
                .zip(&index.part)
                .filter(|(event, other)| **other == part && **event != 0)
                .map(|(event, _)| *event)
                .collect();
            events.sort_unstable();
            events.dedup();
            Split {
                name: part.to_string(),
                range: time_range(outcome, |other| other == part),
                ready: rows,
                not_ready: 0,
                events: (!index.events.is_empty()).then_some(events.len() as u64),
            }
        })
        .collect();
    let shown = file.path.display().to_string();
    Provenance {
        objects: outcome
            .fingerprint
            .objects
            .iter()
            .map(|object| DataObject {
                name: object.uri.clone(),
                bytes: object.size_bytes,
                sha256: object.sha256.clone(),
            })
            .collect(),
        splits,
        counts,
        parameters: label.parameters.clone(),
        versions: label
            .tags
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        experiment_file: file
            .path
            .file_name()
            .map_or(shown, |name| name.to_string_lossy().into_owned()),
        experiment_text: file.text.clone(),
        command: format!("trainer reproduce {}", label.run_id),
    }
}
