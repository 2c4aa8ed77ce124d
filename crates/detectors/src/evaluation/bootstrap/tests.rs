use super::super::{EventInfo, average_precision, evaluate, roc_auc};
use super::*;
use crate::evaluation::EvaluationOptions;

/// Two symbols of different lengths with ties between labelled and unlabelled rows.
fn table() -> (Vec<u32>, Vec<f64>, Vec<bool>, Vec<bool>) {
    let mut random = Random::new(5, 5);
    let n = 400;
    let symbol: Vec<u32> = (0..n).map(|i| u32::from(i % 3 == 0)).collect();
    let score: Vec<f64> = (0..n).map(|_| random.below(40) as f64).collect();
    let positive: Vec<bool> = score
        .iter()
        .map(|s| random.below(100) < 5 + *s as usize)
        .collect();
    let flag = score.iter().map(|s| *s > 30.0).collect();
    (symbol, score, positive, flag)
}

fn plan(block_length: usize) -> (Plan, Vec<f64>, Vec<bool>, Vec<u32>) {
    let (symbol, score, positive, flag) = table();
    let symbols = ["A".to_owned(), "B".to_owned()];
    let scored = Scored {
        time: None,
        interval_us: None,
        symbol: &symbol,
        symbols: &symbols,
        score: &score,
        flag: &flag,
        labels: Labels::Rows(&positive),
    };
    let by_symbol = scored.check().unwrap();
    let options = BootstrapOptions {
        block_length: Some(block_length),
        ..BootstrapOptions::default()
    };
    let events = EventRows {
        first: &[],
        caught: &[],
        longest: 1,
    };
    let starts = vec![false; score.len()];
    let plan = Plan::new(
        &scored,
        &by_symbol,
        &Ranking::new(&score),
        &events,
        &starts,
        &options,
    );
    let rows = by_symbol.rows().to_vec();
    (plan, score, positive, rows)
}

#[test]
fn every_row_once_is_the_plain_metric() {
    let (plan, score, positive, _) = plan(1);
    let mut bins = plan.scratch();
    let mut next = 0;
    let counts = plan.draw(&mut bins, |n| {
        next += 1;
        (next - 1) % n
    });
    // Starts 0, 1, 2, … go through the rows of the first symbol; the second starts elsewhere and
    // goes round.
    let metrics = plan.metrics(&bins[..plan.n_bins], counts);
    assert_eq!(metrics[0], roc_auc(&score, &positive).value());
    assert_eq!(metrics[1], average_precision(&score, &positive).value());
}

#[test]
fn a_resample_is_the_plain_metric_of_its_repeated_rows() {
    for block_length in [1, 7, 60, 1_000] {
        let (plan, score, positive, rows) = plan(block_length);
        let mut bins = plan.scratch();
        for resample in 0..20 {
            let mut random = Random::new(1, resample);
            let counts = plan.draw(&mut bins, |n| random.below(n));
            let found = plan.metrics(&bins[..plan.n_bins], counts);

            // The same draws, written out row by row.
            let mut random = Random::new(1, resample);
            let (mut scores, mut labels) = (Vec::new(), Vec::new());
            for (range, block) in &plan.symbols {
                let n = range.len();
                let mut taken = 0;
                while taken < n {
                    let start = random.below(n);
                    for i in 0..(*block).min(n - taken) {
                        let row = rows[range.start + (start + i) % n] as usize;
                        scores.push(score[row]);
                        labels.push(positive[row]);
                    }
                    taken += (*block).min(n - taken);
                }
            }
            assert_eq!(scores.len(), score.len());
            let close = |a: Option<f64>, b: &Metric| (a.unwrap() - b.value().unwrap()).abs();
            assert!(close(found[0], &roc_auc(&scores, &labels)) < 1e-12);
            assert!(close(found[1], &average_precision(&scores, &labels)) < 1e-12);
            let flagged = scores.iter().filter(|s| **s > 30.0).count() as f64;
            let caught = scores.iter().zip(&labels);
            let caught = caught.filter(|(s, l)| **s > 30.0 && **l).count() as f64;
            assert_eq!(found[2], Some(caught / flagged));
        }
    }
}

#[test]
fn blocks_follow_the_rule() {
    let options = BootstrapOptions::default();
    assert_eq!(options.block_for(1_000, true, 3), 10);
    assert_eq!(options.block_for(1_000, true, 36), 36);
    assert_eq!(options.block_for(100, true, 36), 25);
    assert_eq!(options.block_for(1, true, 36), 1);
    assert_eq!(options.block_for(1_000, false, 36), 1);
}

/// The interval of a mean of independent rows is known: its bootstrap width must be near.
#[test]
fn widths_are_those_of_theory() {
    let (symbol, score, positive, flag) = table();
    let symbols = ["A".to_owned(), "B".to_owned()];
    let scored = Scored {
        time: None,
        interval_us: None,
        symbol: &symbol,
        symbols: &symbols,
        score: &score,
        flag: &flag,
        labels: Labels::Rows(&positive),
    };
    let options = EvaluationOptions {
        bootstrap: Some(BootstrapOptions {
            n_resamples: 4_000,
            ..BootstrapOptions::default()
        }),
        ..EvaluationOptions::default()
    };
    let found = evaluate(&scored, &options).unwrap();
    let recall = found.recall.value().unwrap();
    let n = found.n_labelled_rows as f64;
    let (low, high) = found.intervals.unwrap().recall.bounds().unwrap();
    let theory = 2.0 * 1.96 * (recall * (1.0 - recall) / n).sqrt();
    let ratio = (high - low) / theory;
    assert!((0.88..1.12).contains(&ratio), "{ratio}");
}

#[test]
fn all_or_none_of_a_few_events_is_not_certain() {
    // Published bounds of Clopper and Pearson at 95 %: 10 of 10, 0 of 22, 1 of 1.
    let near = |found: (f64, f64), wanted: (f64, f64)| {
        (found.0 - wanted.0).abs() < 5e-5 && (found.1 - wanted.1).abs() < 5e-5
    };
    assert!(near(widened(1.0, (1.0, 1.0), 10, 0.95), (0.6915, 1.0)));
    assert!(near(widened(0.0, (0.0, 0.0), 22, 0.95), (0.0, 0.1544)));
    assert!(near(widened(1.0, (1.0, 1.0), 1, 0.95), (0.025, 1.0)));
    assert_eq!(widened(1.0, (0.4, 1.0), 10, 0.95), (0.4, 1.0));
    assert_eq!(widened(0.7, (0.6, 0.8), 10, 0.95), (0.6, 0.8));

    // Ten events of two rows each; all are caught, by their first row, or none is.
    let n = 400_usize;
    let time: Vec<i64> = (0..400).map(|minute| minute * 60_000_000).collect();
    let event: Vec<u32> = (0..n as u32)
        .map(|row| if row % 40 < 2 { row / 40 + 1 } else { 0 })
        .collect();
    let events: Vec<EventInfo> = (0..10)
        .map(|at| EventInfo {
            kind: "spike".to_owned(),
            start: time[at * 40],
            end: time[at * 40 + 2],
            magnitude: None,
            symbol: 0,
        })
        .collect();
    let score: Vec<f64> = (0..n).map(|row| (row * 7 % 101) as f64).collect();
    let symbols = ["A".to_owned()];
    let intervals = |flag: &[bool]| {
        let scored = Scored {
            time: Some(&time),
            interval_us: Some(60_000_000),
            symbol: &vec![0; n],
            symbols: &symbols,
            score: &score,
            flag,
            labels: Labels::Events {
                event: &event,
                events: &events,
            },
        };
        let options = EvaluationOptions {
            bootstrap: Some(BootstrapOptions::default()),
            ..EvaluationOptions::default()
        };
        evaluate(&scored, &options).unwrap().intervals.unwrap()
    };
    let caught: Vec<bool> = (0..n).map(|row| row % 40 == 0).collect();
    let found = intervals(&caught);
    assert!(near(found.event_recall.bounds().unwrap(), (0.6915, 1.0)));
    // Ten flagged rows, each in another event.
    assert!(near(found.precision.bounds().unwrap(), (0.6915, 1.0)));
    // Half of the rows: what was drawn.
    let (low, high) = found.recall.bounds().unwrap();
    assert!(low > 0.3 && high < 0.7, "{low} to {high}");

    // Two false episodes.
    let missed: Vec<bool> = (0..n)
        .map(|row| row == 20 || row == 21 || row == 300)
        .collect();
    let found = intervals(&missed);
    assert!(near(found.event_recall.bounds().unwrap(), (0.0, 0.3085)));
    assert!(near(found.recall.bounds().unwrap(), (0.0, 0.3085)));
    assert!(near(found.precision.bounds().unwrap(), (0.0, 0.8419)));
}
