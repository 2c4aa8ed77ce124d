//! From an outcome to what the report shows.

mod metrics;
mod series;

pub(super) use metrics::alert_budget;
use metrics::{column, folds, groups, metrics, symbols};
use series::{curves, events, histogram, importance, prices, provenance_of, threshold};

use detectors::evaluation::Evaluation;

use super::leaderboard::{self, Leader};
use crate::config::{Boundaries, ExperimentFile};
use crate::pipeline::split::Part;
use crate::pipeline::{Outcome, judge, provenance};
use crate::report::{BaselineEvents, Header, Limits, ReportData, TimeRange, Verdict};

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
