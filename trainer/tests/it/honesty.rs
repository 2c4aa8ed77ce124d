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
fn shuffled_labels_give_half_an_area_and_the_base_rate() {
    let n = 12_000;
    let lab = Lab::new();
    let mut first = noise(n, 0x9e37_79b9_7f4a_7c15);
    let is_outlier = |row: usize| row % 25 == 3;
    for row in (0..n).filter(|row| is_outlier(*row)) {
        first[row] += 15.0;
    }
    let columns = [
        ("a", first),
        ("b", noise(n, 0xd1b5_4a32_d192_ed03)),
        ("c", bell(n, 7)),
    ];
    let judged = |labels: Vec<u64>| {
        write(&lab, columns.to_vec(), labels);
        let found = lab.run_json("x.toml", &["--set", "evaluate.confidence=0.99"]);
        found["leaderboard"].as_array().unwrap().clone()
    };
    let truth: Vec<u64> = (0..n).map(|row| u64::from(is_outlier(row))).collect();
    let roc_auc = |leader: &Value| leader["roc_auc"].as_f64().unwrap();
    // True labels first: there is something to find.
    assert!(
        judged(truth.clone())
            .iter()
            .all(|leader| roc_auc(leader) > 0.9)
    );
    for shuffle in 1..=3 {
        let keys = noise(n, 0xbf58_476d_1ce4_e5b9 ^ (shuffle << 32));
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| keys[*a].total_cmp(&keys[*b]));
        let shuffled: Vec<u64> = order.iter().map(|row| truth[*row]).collect();
        let in_test = &shuffled[n * 4 / 5..];
        let base_rate = in_test.iter().sum::<u64>() as f64 / in_test.len() as f64;
        let leaders = judged(shuffled);
        assert_eq!(leaders.len(), 5);
        for leader in &leaders {
            let end = |key: &str, end: usize| leader[key][end].as_f64().unwrap();
            let (low, high) = (end("roc_auc_interval", 0), end("roc_auc_interval", 1));
            assert!(low < 0.5 && 0.5 < high, "{leader}");
            let (low, high) = (
                end("average_precision_interval", 0),
                end("average_precision_interval", 1),
            );
            assert!(
                low < 1.2 * base_rate && base_rate < 1.2 * high,
                "{base_rate}: {leader}"
            );
        }
    }
}
