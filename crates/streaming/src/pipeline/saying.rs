//! What a judged row gives: a feature row, perhaps an alert, perhaps a verdict on drift.

use super::Judged;
use crate::drift::DriftWatch;
use crate::incidents::{Incidents, Look, alert_id};
use crate::judge::{Judge, JudgeError, Score};
use crate::outputs::{Channel, Outputs};
use crate::wire::{Alert, Features, Pending, ScoredRow, Verdict, contributions};

/// Says what was found out about rows.
pub(super) struct Saying<'a> {
    pub(super) judge: &'a dyn Judge,
    pub(super) interval: String,
    /// What tells how features are computed.
    pub(super) engine: &'a str,
    pub(super) rows_per_day: f64,
    pub(super) quiet: i64,
    pub(super) incidents: &'a mut Incidents,
    pub(super) watch: &'a mut DriftWatch,
    pub(super) partition: i32,
    pub(super) out: &'a mut Outputs,
    pub(super) judged: &'a mut Judged,
}

impl Saying<'_> {
    pub(super) fn say(
        &mut self,
        pending: &Pending,
        score: Option<&Result<Score, JudgeError>>,
    ) -> Option<Alert> {
        let ok = score.and_then(|score| score.as_ref().ok());
        self.count(pending, score);
        let values: Vec<f64> = match ok {
            Some(_) => {
                let features = self.judge.features().iter();
                features
                    .map(|feature| pending.row.value(*feature))
                    .collect()
            }
            None => Vec::new(),
        };
        let is_wanted = !pending.is_open || ok.is_some_and(|score| score.flagged);
        // A model that scores a row can say what its members think of it.
        let votes = match ok.filter(|_| is_wanted) {
            Some(score) => self
                .judge
                .votes(&pending.symbol, &values, score)
                .unwrap_or_default(),
            None => Vec::new(),
        };
        let threshold = self.judge.threshold();
        if !pending.is_open {
            let row = ScoredRow {
                symbol: &pending.symbol,
                interval: &self.interval,
                open_time: pending.row.candle.open_time,
                filled: pending.row.filled,
                close: pending.row.candle.close,
                volume: pending.row.candle.volume,
                features: Features(&pending.row),
                verdict: ok.map(|score| Verdict::new(score, threshold, &votes)),
                error: match score {
                    Some(Err(error)) => Some(error.to_string()),
                    _ => None,
                },
                engine: self.engine,
                model: self.judge.model(),
                limits: self.judge.limits(),
                label: pending.label.as_deref(),
            };
            self.out.json(Channel::Features, &pending.symbol, &row);
            if let Some(score) = ok {
                self.watch_row(pending, &values, score);
            }
        }
        let look = Look {
            open_time: pending.row.candle.open_time,
            flagged: ok.is_some_and(|score| score.flagged),
            score: ok.map_or(0.0, |score| score.score),
            is_open: pending.is_open,
        };
        let id = || {
            alert_id(
                &pending.symbol,
                &self.interval,
                look.open_time,
                self.judge.model(),
            )
        };
        let place = self
            .incidents
            .judge(&pending.symbol, look, self.quiet, id)?;
        let score = ok?;
        let shares = self
            .judge
            .shares(&pending.symbol, &values)
            .unwrap_or_else(|_| vec![0.0; values.len()]);
        let (severity, severity_score) = self.judge.severity(score, &votes, self.rows_per_day);
        let alert = Alert {
            alert_id: place.alert_id,
            incident_id: place.incident_id,
            sequence: place.sequence,
            symbol: pending.symbol.to_string(),
            event_time: look.open_time,
            interval: self.interval.clone(),
            early: pending.is_open,
            score: score.score,
            raw_score: score.raw,
            threshold,
            severity,
            severity_score,
            votes,
            contributions: contributions(self.judge.features(), &values, &shares),
            model: self.judge.model().clone(),
            limits: self.judge.limits().map(str::to_owned),
            label: pending.label.as_deref().map(str::to_owned),
        };
        self.out.json(Channel::Alerts, &pending.symbol, &alert);
        self.judged.alerts += 1;
        Some(alert)
    }

    fn watch_row(&mut self, pending: &Pending, values: &[f64], score: &Score) {
        let (symbol, row) = (&*pending.symbol, &pending.row);
        let score = (score, self.judge.threshold());
        let verdicts = self
            .watch
            .observe(self.partition, symbol, row, values, score);
        for verdict in verdicts {
            self.out.json(Channel::Drift, &verdict.model.name, &verdict);
            self.judged.drift += 1;
        }
    }

    fn count(&mut self, pending: &Pending, score: Option<&Result<Score, JudgeError>>) {
        let counts = &mut *self.judged;
        match score {
            _ if pending.is_open => counts.early += 1,
            None => counts.not_ready += 1,
            Some(Err(_)) => counts.failed += 1,
            Some(Ok(score)) => {
                counts.scored += 1;
                counts.flagged += u64::from(score.flagged);
            }
        }
    }
}
