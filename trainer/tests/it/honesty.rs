//! What would make figures too good to be true: features from the future, labels without a meaning.

use history::Table;
use serde_json::Value;

use crate::lab::{Lab, bell};

const START: i64 = 1_700_000_040_000_000; // 2023-11-14 22:14 UTC

const EXPERIMENT: &str = r#"
[experiment]
name = "honesty"
[data]
source = "rows.parquet"
kind = "features"
interval = "1m"
time = "at"
label = "label"
[split]
purge = "0s"
[[candidates]]
detector = "isolation_forest"
[[candidates]]
detector = "mahalanobis"
[[candidates]]
detector = "knn"
max_rows = 2000
[[candidates]]
detector = "consensus"
[evaluate]
alerts_per_symbol_day = 10.0
resamples = 200
importance_rows = 0
"#;

/// Numbers without an order, the same each time.
fn noise(n: usize, mut state: u64) -> Vec<f64> {
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..n)
        .map(|_| (0..12).map(|_| next()).sum::<f64>() - 6.0)
        .collect()
}

fn write(lab: &Lab, columns: Vec<(&str, Vec<f64>)>, label: Vec<u64>) {
    let n = label.len() as i64;
    let time = (0..n).map(|row| START + row * 60_000_000).collect();
    let table = columns
        .into_iter()
        .fold(Table::new().time("at", time), |table, (name, values)| {
            table.number(name, values)
        });
    lab.write_table("rows.parquet", table.integer("label", label));
    lab.write("x.toml", EXPERIMENT);
}

#[test]
fn a_planted_feature_from_the_future_is_found_out() {
    let n = 12_000;
    // A move that nothing announces, every 150th minute, mild enough to be missed.
    let is_event = |row: usize| row % 150 == 100;
    let mut moves = noise(n, 7);
    for row in (0..n).filter(|row| is_event(*row)) {
        moves[row] += if row % 300 < 150 { 3.0 } else { -3.0 };
    }
    let label: Vec<u64> = (0..n).map(|row| u64::from(is_event(row))).collect();
    let shifted = |by: isize| -> Vec<f64> {
        let at = |row: usize| row.saturating_add_signed(by).min(n - 1);
        (0..n).map(|row| moves[at(row)]).collect()
    };
    let lab = Lab::new();
    let honest = || {
        vec![
            ("move", moves.clone()),
            ("before", shifted(-1)),
            ("other", noise(n, 99)),
        ]
    };
    write(&lab, honest(), label.clone());
    let found = lab.run_json("x.toml", &[]);
    assert_eq!(found["suspicions"], serde_json::json!([]));

    for ahead in [1, 3] {
        let planted = [honest(), vec![("omen", shifted(ahead))]].concat();
        write(&lab, planted, label.clone());
        let found = lab.run_json("x.toml", &[]);
        let said = found["suspicions"].as_array().unwrap();
        assert_eq!(said.len(), 1, "{said:?}");
        let said = said[0].as_str().unwrap();
        assert!(said.contains("`omen`"), "{said}");
        let rows = if ahead == 1 {
            "1 row before"
        } else {
            "3 rows before"
        };
        assert!(said.contains(rows), "{said}");
    }
    // It is in the artifacts and before people's eyes, too.
    let text = lab.run(&["run", "x.toml"], 0).stdout;
    assert!(text.contains("feature `omen` stands out"), "{text}");
    let files = lab.artifacts("evaluation.json");
    let told = files.iter().filter(|file| {
        let evaluation: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        evaluation["suspicions"][0]["feature"] == "omen"
    });
    assert_eq!(told.count(), 3);
}

#[test]
fn labels_without_a_meaning_give_half_an_area_and_the_base_rate() {
    let n = 9_000;
    let lab = Lab::new();
    let mut first = noise(n, 5);
    // Outliers there are; the labels know nothing of them.
    for row in (0..n).step_by(90) {
        first[row] += 15.0;
    }
    let shuffled = noise(n, 31)
        .iter()
        .map(|v| u64::from(*v > 2.0))
        .collect::<Vec<u64>>();
    let n_labelled = shuffled[n * 4 / 5..].iter().sum::<u64>();
    let base_rate = n_labelled as f64 / (n as f64 / 5.0);
    write(
        &lab,
        vec![("a", first), ("b", noise(n, 17)), ("c", bell(n, 7))],
        shuffled,
    );
    let found = lab.run_json("x.toml", &[]);
    let leaders = found["leaderboard"].as_array().unwrap();
    assert_eq!(leaders.len(), 5);
    for leader in leaders {
        let of = |key: &str| leader[key].as_f64().unwrap();
        let interval = |key: &str, end: usize| leader[key][end].as_f64().unwrap();
        let (low, high) = (
            interval("roc_auc_interval", 0),
            interval("roc_auc_interval", 1),
        );
        assert!(low < 0.5 && 0.5 < high, "{leader}");
        assert!((of("roc_auc") - 0.5).abs() < 0.1, "{leader}");
        assert!(
            of("average_precision") < 3.0 * base_rate,
            "{base_rate}: {leader}"
        );
        assert!(
            interval("average_precision_interval", 0) < base_rate * 1.5,
            "{leader}"
        );
    }
}
