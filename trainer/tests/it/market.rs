//! The whole job on a made-up market.

use serde_json::{Value, json};

use crate::lab::{Lab, SIMULATED};

fn metric(summary: &Value, name: &str) -> f64 {
    summary["metrics"][name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} in {summary:#}"))
}

#[test]
fn a_run_is_judged_registered_and_reproduced_byte_for_byte_on_any_number_of_threads() {
    let lab = Lab::new();
    lab.write("x.toml", SIMULATED);
    let summary = lab.run_json("x.toml", &["--scores", "scores.parquet", "--threads", "1"]);
    let run_id = summary["run_id"].as_str().unwrap();
    assert_eq!(summary["model_name"], "simulated");
    assert_eq!(summary["model_version"], "1");
    assert_eq!(summary["tracking_uri"], "sqlite:///foreshock/registry.db");
    assert_eq!(
        lab.path(summary["report"].as_str().unwrap()),
        lab.artifacts("report.html")[0]
    );
    assert!(metric(&summary, "test_roc_auc") > 0.8, "{summary:#}");
    assert!(
        metric(&summary, "test_average_precision")
            > metric(&summary, "baseline_test_average_precision") * 0.5
    );
    assert!(metric(&summary, "test_roc_auc.low") <= metric(&summary, "test_roc_auc"));
    for file in [
        "MLmodel",
        "model.foreshock",
        "input_example.json",
        "baseline.json",
        "report.html",
        "experiment.toml",
        "data.json",
    ] {
        assert_eq!(lab.artifacts(file).len(), 1, "{file}");
    }
    let report = std::fs::read_to_string(&lab.artifacts("report.html")[0]).unwrap();
    assert!(
        report.contains("Isolation Forest")
            && report.contains("flash_crash")
            && report.contains(run_id)
    );

    let reproduced = lab
        .run(
            &["reproduce", run_id, "--output", "json", "--threads", "4"],
            0,
        )
        .json();
    assert_eq!(reproduced["identical"], true);
    assert_eq!(reproduced["same_data"], true);

    // Another seed is another model: the comparison isn't blind.
    let other = lab.run_json("x.toml", &["--set", "experiment.seed=8"]);
    assert_eq!(other["model_version"], "2");
    let models = lab.artifacts("model.foreshock");
    assert_eq!(models.len(), 2);
    assert_ne!(
        std::fs::read(&models[0]).unwrap(),
        std::fs::read(&models[1]).unwrap()
    );
    let compared = lab
        .run(
            &[
                "compare",
                run_id,
                other["run_id"].as_str().unwrap(),
                "--output",
                "json",
            ],
            0,
        )
        .json();
    assert_eq!(
        compared["params"]["experiment.seed"],
        serde_json::json!(["7", "8"])
    );
    assert!(compared["metrics"]["test_roc_auc"]["delta"].is_number());
    assert!(
        compared["params"].get("n_trees").is_none(),
        "equal parameters aren't listed"
    );
}

#[test]
fn the_scores_file_gives_the_figures_that_were_reported() {
    let lab = Lab::new();
    lab.write("x.toml", SIMULATED);
    let summary = lab.run_json(
        "x.toml",
        &[
            "--scores",
            "out/scores.parquet",
            "--set",
            "evaluate.resamples=0",
        ],
    );
    let rows = read_scores(&lab);
    let test: Vec<&Row> = rows.iter().filter(|row| row.split == "test").collect();
    assert!(
        rows.iter().any(|row| row.split == "train") && rows.iter().any(|row| row.split == "purged")
    );
    assert_eq!(metric(&summary, "test_rows"), test.len() as f64);
    let scores: Vec<f64> = test.iter().map(|row| row.tail).collect();
    let labels: Vec<bool> = test.iter().map(|row| row.labelled).collect();
    // Counted from the definition, pair by pair, not by the code that reported it.
    let positives: Vec<f64> = scores
        .iter()
        .zip(&labels)
        .filter(|(_, label)| **label)
        .map(|(score, _)| *score)
        .collect();
    let negatives: Vec<f64> = scores
        .iter()
        .zip(&labels)
        .filter(|(_, label)| !**label)
        .map(|(score, _)| *score)
        .collect();
    let wins: f64 = positives
        .iter()
        .map(|positive| {
            negatives
                .iter()
                .map(|negative| {
                    if positive > negative {
                        1.0
                    } else if positive == negative {
                        0.5
                    } else {
                        0.0
                    }
                })
                .sum::<f64>()
        })
        .sum();
    let auc = wins / (positives.len() * negatives.len()) as f64;
    assert!(
        (auc - metric(&summary, "test_roc_auc")).abs() < 1e-9,
        "{auc}"
    );
    let flagged = test.iter().filter(|row| row.flag).count();
    assert_eq!(metric(&summary, "test_flagged_rows"), flagged as f64);
    let threshold = metric(&summary, "threshold");
    assert!(test.iter().all(|row| row.flag == (row.tail > threshold)));
    // Labels only where events may be: never in training data, unless asked for.
    assert!(rows.iter().all(|row| row.split != "train" || !row.labelled));
}

struct Row {
    tail: f64,
    flag: bool,
    labelled: bool,
    split: String,
}

fn read_scores(lab: &Lab) -> Vec<Row> {
    use history::{FeatureOptions, FeatureScan, Location, Storage};
    let location = Location::parse("out/scores.parquet", lab.folder()).unwrap();
    let objects = location.resolve(&Storage::from_env()).unwrap();
    let columns = |label: &str| FeatureOptions {
        columns: Some(vec!["neg_log10_tail".to_owned(), "flag".to_owned()]),
        label: Some(label.to_owned()),
        ..FeatureOptions::default()
    };
    let read = |label: &str| {
        let scan = FeatureScan::open(&objects, &columns(label)).unwrap();
        let mut rows = Vec::new();
        scan.for_each_batch(|batch| -> Result<(), history::HistoryError> {
            let labels = batch.label.unwrap();
            for (row, label) in labels.iter().enumerate() {
                rows.push((
                    batch.values[2 * row],
                    batch.values[2 * row + 1],
                    batch.label_names[*label as usize].clone(),
                ));
            }
            Ok(())
        })
        .unwrap();
        rows
    };
    let (labels, splits) = (read("label"), read("split"));
    labels
        .into_iter()
        .zip(splits)
        .map(|((tail, flag, label), (_, _, split))| Row {
            tail,
            flag: flag == 1.0,
            labelled: !label.is_empty(),
            split,
        })
        .collect()
}

#[test]
fn a_grid_is_searched_on_validation_data_and_logged() {
    let lab = Lab::new();
    lab.write(
        "x.toml",
        &SIMULATED.replace("n_trees = 50", "n_trees = [5, 20]\nsample_size = [64, 128]"),
    );
    let summary = lab.run_json("x.toml", &[]);
    let evaluation: Value =
        serde_json::from_slice(&std::fs::read(&lab.artifacts("evaluation.json")[0]).unwrap())
            .unwrap();
    let trials = evaluation["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 5, "four of the grid and the baseline");
    let best = trials[..4]
        .iter()
        .filter_map(|trial| trial["validation_average_precision"].as_f64())
        .fold(0.0, f64::max);
    assert_eq!(metric(&summary, "validation_average_precision"), best);
    lab.run(&["run", "x.toml", "--set", "search.max_trials=3"], 1)
        .says(&["4 trials", "allows 3"]);
}

#[test]
fn every_form_of_the_isolation_forest_is_judged_side_by_side() {
    let lab = Lab::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/forests.toml");
    lab.run(&["check", file], 0);
    // One size instead of three, for a quick test.
    let summary = lab.run_json(
        file,
        &[
            "--set",
            "candidates.classic.sample_size=2048",
            "--set",
            "candidates.extended.sample_size=2048",
            "--set",
            "candidates.sci-forest.sample_size=2048",
            "--set",
            "candidates.fair-cut.sample_size=2048",
            "--set",
            "evaluate.resamples=0",
        ],
    );
    let evaluation: Value =
        serde_json::from_slice(&std::fs::read(&lab.artifacts("evaluation.json")[0]).unwrap())
            .unwrap();
    let forms: Vec<&Value> = evaluation["trials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trial| &trial["params"]["form"])
        .collect();
    let null = Value::Null;
    assert_eq!(
        forms,
        ["classic", "extended", "sci_forest", "fair_cut"]
            .map(Value::from)
            .iter()
            .chain([&null])
            .collect::<Vec<_>>()
    );
    let tested = evaluation["tested"].as_array().unwrap();
    assert_eq!(tested.len(), 5, "the forms and the baseline");
    let precisions: Vec<f64> = tested
        .iter()
        .map(|tested| tested["test"]["average_precision"].as_f64().unwrap())
        .collect();
    for (at, precision) in precisions.iter().enumerate() {
        assert!(*precision > 0.1, "{precisions:?}");
        assert!(!precisions[..at].contains(precision), "{precisions:?}");
    }
    assert!(metric(&summary, "test_event_recall") > 0.0);
    let report = std::fs::read_to_string(&lab.artifacts("report.html")[0]).unwrap();
    for detail in [
        ">100 trees of 2048 rows",
        "extended, 100 trees of 2048 rows",
        "SCiForest, 100 trees of 2048 rows",
        "fair-cut, 100 trees of 2048 rows",
    ] {
        assert!(report.contains(detail), "{detail}");
    }
}

#[test]
fn a_forests_form_is_logged_and_reproduced() {
    let lab = Lab::new();
    lab.write("x.toml", SIMULATED);
    let classic = lab.run_json("x.toml", &["--set", "evaluate.resamples=0"]);
    let sci = lab.run_json(
        "x.toml",
        &[
            "--set",
            "evaluate.resamples=0",
            "--set",
            "candidates.iforest.form=sci_forest",
            "--set",
            "candidates.iforest.scoring=adjusted_depth",
            "--set",
            "candidates.iforest.hyperplane_columns=3",
        ],
    );
    let (classic, sci) = (
        classic["run_id"].as_str().unwrap(),
        sci["run_id"].as_str().unwrap(),
    );
    let compared = lab
        .run(&["compare", classic, sci, "--output", "json"], 0)
        .json();
    let params = &compared["params"];
    assert_eq!(params["form"], json!(["classic", "sci_forest"]));
    assert_eq!(params["scoring"], json!(["path_length", "adjusted_depth"]));
    assert_eq!(params["n_candidates"], json!([null, "10"]));
    assert_eq!(params["hyperplane_columns"], json!([null, "3"]));
    for key in ["extension_level", "penalize_range"] {
        assert!(params.get(key).is_none(), "{key}: {params}");
    }
    let reproduced = lab.run(&["reproduce", sci, "--output", "json"], 0).json();
    assert_eq!(reproduced["identical"], true);
}

#[test]
fn trades_and_injection_into_them_work_too() {
    let lab = Lab::new();
    let trades = SIMULATED
        .replace("kind = \"candles\"", "kind = \"trades\"")
        .replace("days = 5", "days = 3\ntrades_per_second = 0.3");
    lab.write(
        "x.toml",
        &trades.replace(
            "\"price_range\"]",
            "\"price_range\", \"volume_imbalance\", \"vwap_deviation\"]",
        ),
    );
    let summary = lab.run_json("x.toml", &[]);
    assert!(metric(&summary, "test_events") >= 3.0);
    assert!(metric(&summary, "test_roc_auc") > 0.7, "{summary:#}");
}

#[test]
fn walking_forward_judges_every_block_by_what_came_before_it() {
    let lab = Lab::new();
    let walk = "[split]\nmethod = \"walk_forward\"\nfolds = 3\ntrain = 0.4\nvalidation = 0.2\n";
    lab.write("x.toml", &format!("{SIMULATED}{walk}"));
    let summary = lab.run_json("x.toml", &["--scores", "out/scores.parquet"]);
    assert!(metric(&summary, "test_roc_auc") > 0.8, "{summary:#}");
    let evaluation: Value =
        serde_json::from_slice(&std::fs::read(&lab.artifacts("evaluation.json")[0]).unwrap())
            .unwrap();
    let folds = evaluation["folds"].as_array().unwrap();
    assert_eq!(folds.len(), 3);
    let sum = |name: &str| -> u64 {
        folds
            .iter()
            .map(|fold| fold["winner"][name].as_u64().unwrap())
            .sum()
    };
    assert_eq!(metric(&summary, "test_rows"), sum("n_rows") as f64);
    assert_eq!(metric(&summary, "test_events"), sum("n_events") as f64);
    assert_eq!(
        metric(&summary, "test_average_precision.fold_2"),
        folds[1]["winner"]["average_precision"].as_f64().unwrap()
    );
    for pair in folds.windows(2) {
        assert!(pair[0]["to_us"].as_i64().unwrap() < pair[1]["from_us"].as_i64().unwrap());
    }
    let rows = read_scores(&lab);
    let tested = rows.iter().filter(|row| row.split == "test").count();
    assert_eq!(metric(&summary, "test_rows"), tested as f64);
    assert!(rows.iter().all(|row| row.split != "train" || !row.labelled));
    // The last fold's model isn't the first one's.
    lab.run_json("x.toml", &["--set", "split.folds=2"]);
    let models = lab.artifacts("model.foreshock");
    assert!(std::fs::read(&models[0]).unwrap() != std::fs::read(&models[1]).unwrap());
    let reproduced = lab
        .run(
            &[
                "reproduce",
                summary["run_id"].as_str().unwrap(),
                "--output",
                "json",
            ],
            0,
        )
        .json();
    assert_eq!(reproduced["identical"], true);
    lab.run(
        &["check", "x.toml", "--set", "split.train_until=2024-01-03"],
        1,
    )
    .says(&["split.train_until", "walk_forward"]);
}

#[test]
fn injected_anomalies_judge_a_model_and_never_shape_it() {
    let lab = Lab::new();
    let walk = "[split]\nmethod = \"walk_forward\"\nfolds = 2\n";
    lab.write("x.toml", &format!("{SIMULATED}{walk}"));
    let model = |more: &[&str]| {
        let summary = lab.run_json("x.toml", more);
        let run_id = summary["run_id"].as_str().unwrap();
        let all = lab.artifacts("model.foreshock");
        let own = all
            .iter()
            .find(|path| path.to_string_lossy().contains(run_id));
        (std::fs::read(own.unwrap()).unwrap(), summary)
    };
    let (first, summary) = model(&[]);
    let (second, other) = model(&["--set", "inject.seed=99"]);
    assert_ne!(summary["metrics"], other["metrics"], "other anomalies");
    // The second fold trains on what the first one tested.
    assert!(first == second, "the model saw what was injected");
    let (third, _) = model(&["--set", "inject.into_train=true"]);
    assert!(first != third, "the comparison isn't blind");
}

#[test]
fn a_dry_run_and_a_check_change_nothing() {
    let lab = Lab::new();
    lab.write("x.toml", SIMULATED);
    let plan = lab
        .run(&["run", "x.toml", "--dry-run", "--output", "json"], 0)
        .json();
    assert_eq!(plan["trials"].as_array().unwrap().len(), 1);
    let text = lab.run(&["check", "x.toml"], 0).stdout;
    assert!(text.contains("2 alerts per symbol and day"), "{text}");
    assert!(!lab.path("foreshock").is_dir());
}

#[test]
fn known_events_of_a_file_are_what_is_judged() {
    let lab = Lab::new();
    lab.write("events.csv", "symbol,start,end,kind\nAAAUSD,2024-01-05T06:00:00Z,2024-01-05T06:30:00Z,pump\nOTHER,2024-01-05T06:00:00Z,2024-01-05T06:30:00Z,pump\n");
    let known = SIMULATED.replace(
        "interval = \"1m\"",
        "interval = \"1m\"\nevents = \"events.csv\"",
    );
    let without_injection = known.replace(
        "[inject]\nevents_per_symbol_day = 6.0\nmagnitude = [4.0, 40.0]\n",
        "",
    );
    lab.write("x.toml", &without_injection);
    let finished = lab.run(&["run", "x.toml", "--output", "json"], 0);
    finished.says(&[
        "14400 candles of 2 symbols simulated (",
        "1 event of 1 symbol that the data don't have is left out: `OTHER`",
    ]);
    assert!(
        !finished.stderr.contains("time range"),
        "{}",
        finished.stderr
    );
    let summary = finished.json();
    assert_eq!(metric(&summary, "test_events"), 1.0);
    assert_eq!(metric(&summary, "test_labelled_rows"), 30.0);
    let events = [
        "AAAUSD,2024-01-05T06:00:00Z,2024-01-05T06:30:00Z,pump",
        "AAAUSD,2023-12-31T23:00:00Z,2024-01-01T00:00:00Z,pump",
        "BBBUSD,2024-01-06T00:00:00Z,2024-01-06T01:00:00Z,pump",
        "XUSD,2024-01-05T06:00:00Z,2024-01-05T06:30:00Z,pump",
        "YUSD,2024-01-05T06:00:00Z,2024-01-05T06:30:00Z,pump",
    ];
    let write = |events: &[&str]| {
        lab.write(
            "events.csv",
            &format!("symbol,start,end,kind\n{}\n", events.join("\n")),
        );
    };
    write(&events);
    let finished = lab.run(&["run", "x.toml", "--output", "json"], 0);
    finished.says(&[
        "2 events of 2 symbols that the data don't have are left out: `XUSD`, `YUSD`",
        "2 events outside of the time range of the data are left out",
    ]);
    assert_eq!(metric(&finished.json(), "test_events"), 1.0);
    write(&events[3..]);
    lab.run(&["run", "x.toml"], 1).says(&[
        "none of the 2 events of `events.csv`",
        "`XUSD`, `YUSD`",
        "the data of `AAAUSD`, `BBBUSD`",
    ]);
    lab.write(
        "events.csv",
        "symbol,start,end,kind\nAAAUSD,2024-01-05T06:00:00Z,soon,pump\n",
    );
    lab.run(&["run", "x.toml"], 1)
        .says(&["events.csv", "line 2", "`soon` is no time"]);
}

/// Trades of `ABCDEF`, one a second from 2024 on, as Binance's spot dumps have them.
fn trades_csv(seconds: std::ops::Range<u64>) -> String {
    seconds
        .map(|second| {
            let time = 1_704_067_200_000 + second * 1000;
            let price = 100 + second * 7 % 11;
            format!("{second},{price},1,{price},{time},False,True\n")
        })
        .collect()
}

const TRADES: &str = r#"
[experiment]
name = "trades"
[data]
source = "*.csv"
kind = "trades"
interval = "1m"
[features]
use = ["return", "price_range"]
[split]
purge = "0s"
[[candidates]]
detector = "isolation_forest"
n_trees = 10
[evaluate]
resamples = 10
[register]
model = "trades"
"#;

#[test]
fn trades_that_files_repeat_are_counted() {
    let lab = Lab::new();
    lab.write("x.toml", TRADES);
    lab.write("ABCDEF-1.csv", &trades_csv(0..20_000));
    lab.run(&["run", "x.toml"], 0)
        .says(&["20000 trades of 1 symbol from 1 file ("]);
    lab.write("ABCDEF-2.csv", &trades_csv(19_000..30_000));
    lab.run(&["run", "x.toml"], 0)
        .says(&["30000 trades of 1 symbol from 2 files; 1000 duplicate trades dropped ("]);
    let counted = lab.artifacts("report.html").into_iter().any(|report| {
        let text = std::fs::read_to_string(report).unwrap();
        let (_, rest) = text.split_once("duplicate trades dropped").unwrap();
        rest[..100].contains(">1,000<") || rest[..100].contains(">1000<")
    });
    assert!(counted, "the report has the count, too");
}

#[test]
fn trades_and_aggregate_trades_of_one_symbol_are_not_mixed() {
    let lab = Lab::new();
    lab.write("x.toml", TRADES);
    lab.write("ABCDEF-1.csv", &trades_csv(0..1_000));
    let aggregated: String = trades_csv(0..1_000)
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let [id, price, time] = [fields[0], fields[1], fields[4]];
            format!("{id},{price},1,{id},{id},{time},False,True\n")
        })
        .collect();
    lab.write("ABCDEF-aggTrades.csv", &aggregated);
    lab.run(&["run", "x.toml"], 1).says(&[
        "ABCDEF-aggTrades.csv",
        "ABCDEF-1.csv",
        "trades and aggregate trades of `ABCDEF`",
    ]);
    // Of two symbols, they may be.
    std::fs::rename(lab.path("ABCDEF-aggTrades.csv"), lab.path("GHIJKL.csv")).unwrap();
    let finished = lab.trainer(&["run", "x.toml"]).output().unwrap();
    let said = String::from_utf8(finished.stderr).unwrap();
    assert!(said.contains("2000 trades of 2 symbols"), "{said}");
}

#[test]
fn data_of_another_kind_than_asked_for_are_said_so() {
    let lab = Lab::new();
    let candles = TRADES.replace("kind = \"trades\"", "kind = \"candles\"");
    lab.write("c.toml", &candles);
    lab.write("t.toml", TRADES);
    lab.write("ABCDEF.csv", &trades_csv(0..100));
    lab.run(&["run", "c.toml"], 1).says(&[
        "`data.kind` is `candles`, which the data don't hold",
        "ABCDEF.csv` looks like trades, not like candles",
        "`0,100,1,100,1704067200000,False,True`",
    ]);
    lab.write("ABCDEF.csv", "date,open,high,low,close,volume\n");
    lab.run(&["run", "t.toml"], 1).says(&[
        "`data.kind` is `trades`",
        "looks like candles, not like trades: its columns are `date`, `open`",
    ]);
    lab.write("ABCDEF.csv", "when,price,quantity,side\n");
    lab.run(&["run", "t.toml"], 1)
        .says(&["has no column `event_time`"]);
    lab.write("ABCDEF.csv", "1704067200,1,2,3\n");
    lab.run(&["run", "t.toml"], 1).says(&[
        "4 columns do not tell what they are",
        "`event_time`, `price`",
    ]);
}
