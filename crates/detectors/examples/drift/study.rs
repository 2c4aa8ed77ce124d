//! One stream after another: a baseline of its own, then what is watched.

use std::sync::Arc;

use detectors::drift::{
    Action, DriftBaseline, DriftConfig, DriftMonitor, DriftPolicy, DriftVerdict, FeatureReference,
    Observation, ScoreReference,
};
use detectors::{
    AlertBudget, Calibrators, Detector, DetectorParams, IsolationForestConfig, Threshold,
};

use crate::Result;
use crate::world::Rows;

/// A model with its baseline.
pub(crate) struct Trained {
    detector: Detector,
    calibrators: Calibrators,
    threshold: Threshold,
    pub(crate) baseline: Arc<DriftBaseline>,
    names: Vec<String>,
}

/// Rows with their scores, ready to be watched.
pub(crate) struct Scored {
    pub(crate) rows: Rows,
    pub(crate) score: Vec<f64>,
    pub(crate) flagged: Vec<bool>,
}

/// Fits a forest on the first part of the rows, calibrates on the rest, and makes the baseline from both.
pub(crate) fn train(
    rows: &Rows,
    split: usize,
    names: (Vec<String>, &[String]),
    config: &DriftConfig,
) -> Result<Trained> {
    let (names, features) = names;
    let params = DetectorParams::IsolationForest(IsolationForestConfig {
        n_trees: 30,
        ..IsolationForestConfig::default()
    });
    let detector = Detector::fit(&params, rows.part(0, split)?, config.seed)?;
    let mut score = detector.score(rows.part(split, rows.len())?)?;
    let symbol = &rows.symbol[split..];
    let calibrators = Calibrators::fit(&score, symbol, &names)?;
    let budget = AlertBudget {
        alerts_per_symbol_day: 2.0,
    };
    let threshold = budget.threshold(1_440.0)?;
    calibrate(&calibrators, &names, symbol, &mut score);
    let flagged = threshold.flags(&score);
    let has_time = !rows.time.is_empty();
    let baseline = DriftBaseline::fit(
        &FeatureReference {
            time: has_time.then_some(rows.time.as_slice()),
            symbol: &rows.symbol,
            rows: rows.view()?,
        },
        features,
        &ScoreReference {
            time: has_time.then(|| &rows.time[split..]),
            symbol,
            score: &score,
            flagged: &flagged,
        },
        &names,
        config,
    )?;
    if let Some(remark) = baseline.remarks().first() {
        return Err(remark.clone().into());
    }
    Ok(Trained {
        detector,
        calibrators,
        threshold,
        baseline: Arc::new(baseline),
        names,
    })
}

fn calibrate(calibrators: &Calibrators, names: &[String], symbol: &[u32], score: &mut [f64]) {
    for (score, symbol) in score.iter_mut().zip(symbol) {
        *score = calibrators
            .get(&names[*symbol as usize])
            .neg_log10_tail(*score);
    }
}

impl Trained {
    pub(crate) fn score(&self, rows: Rows) -> Result<Scored> {
        let mut score = self.detector.score(rows.view()?)?;
        calibrate(&self.calibrators, &self.names, &rows.symbol, &mut score);
        let flagged = self.threshold.flags(&score);
        Ok(Scored {
            rows,
            score,
            flagged,
        })
    }

    pub(crate) fn monitor(&self) -> DriftMonitor {
        DriftMonitor::new(
            Arc::clone(&self.baseline),
            "study/1",
            DriftPolicy::default(),
        )
    }

    /// Shows the monitor one row.
    pub(crate) fn observe(
        &self,
        monitor: &mut DriftMonitor,
        scored: &Scored,
        at: usize,
        verdicts: &mut Vec<DriftVerdict>,
    ) -> Result<()> {
        let Scored {
            rows,
            score,
            flagged,
        } = scored;
        let row = Observation {
            symbol: &self.names[rows.symbol[at] as usize],
            features: rows.row(at),
            score: score[at],
            flagged: flagged[at],
            event_time: rows.time.get(at).copied().unwrap_or(0),
            filled: rows.filled.get(at).copied().unwrap_or(false),
            n_trades: rows.n_trades.get(at).copied().flatten(),
        };
        Ok(monitor.observe(&row, verdicts)?)
    }
}

/// What a monitor said of a stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// Position of the row at which something was raised, and whether a new training was asked for.
    pub(crate) raised: Vec<(usize, DriftVerdict)>,
    pub(crate) retrains: Vec<usize>,
}

pub(crate) fn watch(trained: &Trained, scored: &Scored) -> Result<Said> {
    let mut monitor = trained.monitor();
    let mut said = Said::default();
    let mut verdicts = Vec::new();
    for at in 0..scored.score.len() {
        trained.observe(&mut monitor, scored, at, &mut verdicts)?;
        for verdict in verdicts.drain(..) {
            if verdict.action == Action::Retrain {
                said.retrains.push(at);
            }
            if verdict.action != Action::Clear {
                said.raised.push((at, verdict));
            }
        }
    }
    Ok(said)
}
