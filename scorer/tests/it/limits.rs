//! Statistical limits that are edited while the scorer runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Bench, LONG, Running, kafka, records, refused, scorer, send, values};

fn limits(limit: f64) -> String {
    format!(
        r#"{{"candle_z": {{"format": "foreshock-candle-statistics", "version": 1, "n_rows": 10,
            "features": {{"price_range": {{"mean": 0.0, "sd": 1.0, "limit": {limit}}}}}}}, "votes": 1}}"#
    )
}

fn wait_for(running: &Running, words: &str, n_times: usize) {
    let began = Instant::now();
    while running.log().matches(words).count() < n_times {
        assert!(began.elapsed() < LONG, "`{words}`: {}", running.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn edited_limits_take_over_between_rows_and_broken_ones_never() {
    let kafka = kafka();
    let bench = Bench::new(51, 40);
    let prefix = "limited.";
    let topic = format!("{prefix}raw-trades");
    kafka.create_topic(&topic, 1).unwrap();
    let file = bench.path("limits.json");
    let more = "[limits]\nfile = \"limits.json\"\nevery = \"100ms\"\n";
    let config = bench.configure(&kafka, "limited", more);
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(
        "[kafka]\n",
        &format!("[kafka]\ntopic_prefix = \"{prefix}\"\n"),
    );
    std::fs::write(&config, text).unwrap();
    // To begin with they must be sound.
    std::fs::write(&file, limits(-1.0)).unwrap();
    refused(
        scorer().arg("run").arg(&config),
        1,
        &["`candle_z` makes no sense", "features.price_range.limit"],
    );

    // Nothing is beyond the first limits, everything beyond the second ones.
    std::fs::write(&file, limits(1e6)).unwrap();
    let running = Running::start(&config);
    wait_for(&running, "limits are in force", 1);
    let all = records(&bench.symbols);
    let pieces: Vec<_> = all.chunks(all.len().div_ceil(3)).collect();
    let features = format!("{prefix}features");
    send(&kafka, &topic, pieces[0]);
    let first = values(&kafka, &features, 100, &[&running]).len();
    std::fs::write(&file, "{").unwrap();
    wait_for(&running, "limits can't be used", 1);
    send(&kafka, &topic, pieces[1]);
    for row in values(&kafka, &features, first + 100, &[&running]) {
        let row: Value = serde_json::from_str(&row).unwrap();
        let by_model = row["score"].as_f64() > row["threshold"].as_f64();
        let is_flagged = row["flagged"] == true;
        assert!(row["score"].is_null() || is_flagged == by_model, "{row}");
    }
    let other = bench.path("other.json");
    std::fs::write(&other, limits(1e-9)).unwrap();
    std::fs::rename(&other, &file).unwrap();
    // They come into force between two transactions, or while there is none.
    wait_for(&running, "limits are in force", 2);
    send(&kafka, &topic, pieces[2]);
    let began = Instant::now();
    loop {
        let mut by_limits: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
        for row in values(&kafka, &features, first + 100, &[&running]) {
            let row: Value = serde_json::from_str(&row).unwrap();
            let Some(score) = row["score"].as_f64() else {
                continue;
            };
            let digest = row["limits"].as_str().unwrap().to_owned();
            let (n_rows, n_flagged, n_model) = by_limits.entry(digest).or_default();
            *n_rows += 1;
            *n_flagged += u64::from(row["flagged"] == true);
            *n_model += u64::from(score > row["threshold"].as_f64().unwrap());
        }
        assert!(by_limits.len() <= 2, "{by_limits:?}");
        if by_limits.len() == 2 {
            // Under the first ones the model alone flags, under the others every row with a range is.
            let alone = by_limits
                .values()
                .find(|(_, flagged, model)| flagged == model);
            let voted = by_limits
                .values()
                .find(|(rows, flagged, _)| flagged * 2 > *rows);
            assert!(alone.is_some() && voted.is_some(), "{by_limits:?}");
            break;
        }
        assert!(began.elapsed() < LONG, "{by_limits:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(running.stop(), Some(0));
}
