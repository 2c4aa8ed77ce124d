//! What lies behind the numbers: events, scores, curves, prices, where all of it came from.

use detectors::evaluation::{Evaluation, ImportanceMeasure};

use super::{RunLabel, SCORE_AXIS, time_range};
use crate::config::{DataKind, ExperimentFile, SplitMethod, ThresholdRule};
use crate::pipeline::split::Part;
use crate::pipeline::{Outcome, Tested, judge};
use crate::report::{
    Candle, Count, Curves, DataObject, Event, Importance, Outcome as EventOutcome, PriceSeries,
    Provenance, ScoreHistogram, ScorePoint, Split, Threshold,
};

pub(super) fn events(evaluation: &Evaluation) -> Vec<Event> {
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

pub(super) fn threshold(file: &ExperimentFile, outcome: &Outcome) -> Threshold {
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

pub(super) fn histogram(outcome: &Outcome) -> ScoreHistogram {
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

pub(super) fn curves(outcome: &Outcome, tested: &Tested) -> Curves {
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

pub(super) fn importance(outcome: &Outcome) -> Vec<Importance> {
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

pub(super) fn prices(outcome: &Outcome) -> Vec<PriceSeries> {
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

pub(super) fn provenance_of(
    file: &ExperimentFile,
    outcome: &Outcome,
    label: &RunLabel<'_>,
) -> Provenance {
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
