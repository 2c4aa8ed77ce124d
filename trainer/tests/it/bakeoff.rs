//! Every detector as a candidate, search spaces, trials that fail.

use mlflow_api::types::{Run, RunStatus};
use serde_json::{Value, json};

use crate::lab::{Finished, Lab, SIMULATED};
use crate::proxy::{Fault, Faulty};

/// The made-up market with these candidates in place of the forest, quickly judged.
fn with_candidates(candidates: &str) -> String {
    let (before, rest) = SIMULATED.split_once("[[candidates]]").unwrap();
    let (_, after) = rest.split_once("[evaluate]").unwrap();
    format!("{before}{candidates}\n[evaluate]{after}")
        .replace("resamples = 50", "resamples = 20")
        .replace("importance_rows = 1000", "importance_rows = 0")
}

fn evaluation(lab: &Lab) -> Value {
    let files = lab.artifacts("evaluation.json");
    serde_json::from_slice(&std::fs::read(files.last().unwrap()).unwrap()).unwrap()
}

/// Two months of real minutes, thinned to what a test can do.
const REAL: &str = r#"
[experiment]
name = "real"
[data]
source = "SOURCE"
kind = "candles"
interval = "1m"
from = 2018-01-01T00:00:00Z
to = 2018-01-08T00:00:00Z
[features]
use = ["return", "log_return", "price_range", "macro_return_std", "macro_max_range", "macro_avg_volume"]
[inject]
events_per_symbol_day = 6.0
magnitude = [3.0, 100.0]
[[candidates]]
detector = "DETECTOR"
[evaluate]
alerts_per_symbol_day = 2.0
resamples = 20
importance_rows = 500
[register]
model = "real"
"#;

#[test]
fn every_detector_is_trained_registered_and_reproduced_on_real_candles() {
    let source = format!(
        "{}/../experiments/data/btcusd-1m.parquet",
        env!("CARGO_MANIFEST_DIR")
    );
    let lab = Lab::new();
    for (at, detector) in detectors::DetectorParams::NAMES.iter().enumerate() {
        lab.write(
            "x.toml",
            &REAL
                .replace("SOURCE", &source)
                .replace("DETECTOR", detector),
        );
        let summary = lab.run_json("x.toml", &[]);
        assert_eq!(summary["candidate"], *detector);
        assert_eq!(summary["model_version"], (at + 1).to_string(), "{detector}");
        let roc_auc = summary["metrics"]["test_roc_auc"].as_f64().unwrap();
        assert!(roc_auc > 0.45, "{detector}: {roc_auc}");
        let run_id = summary["run_id"].as_str().unwrap();
        let again = lab.run(
            &["reproduce", run_id, "--output", "json", "--threads", "1"],
            0,
        );
        assert_eq!(again.json()["identical"], true, "{detector}");
        let metrics = &summary["metrics"];
        match *detector {
            "dbscan" => assert!(metrics["dbscan.eps"].as_f64().unwrap() > 0.0),
            "autoencoder" => assert!(metrics["autoencoder.epochs"].as_f64().unwrap() >= 1.0),
            "gaussian_mixture" => assert!(metrics["gaussian_mixture.iterations"].is_number()),
            _ => {}
        }
    }
    // What people may read and edit is a file of its own.
    assert_eq!(lab.artifacts("model/statistics.json").len(), 2);
}

#[test]
fn a_trial_that_fails_is_recorded_and_harms_no_other() {
    let lab = Lab::new();
    let candidates = r#"
[[candidates]]
detector = "autoencoder"
learning_rate = [0.003, 1.0]
max_epochs = 3
[[candidates]]
name = "collapsing"
detector = "gaussian_mixture"
n_components = 256
regularization = 0.0
max_rows = 300
[[candidates]]
detector = "candle_z"
features = ["return"]
"#;
    lab.write("x.toml", &with_candidates(candidates));
    let text = lab.run(&["run", "x.toml"], 0).stdout;
    assert!(text.contains("of collapsing failed: "), "{text}");
    assert!(text.contains("collapsed in each of 3 starts"), "{text}");
    let evaluation = evaluation(&lab);
    let failed = evaluation["failed"].as_array().unwrap();
    assert!(
        failed
            .iter()
            .any(|trial| trial["candidate"] == "collapsing")
    );
    let tested = evaluation["tested"].as_array().unwrap();
    let names: Vec<&Value> = tested.iter().map(|tested| &tested["candidate"]).collect();
    assert_eq!(names, ["autoencoder", "candle_z", "largest |z|"]);
    assert_eq!(lab.artifacts("leaderboard.parquet").len(), 1);

    // Nothing else is left: an error with the reason, and no model.
    let (before, rest) = candidates.split_once("[[candidates]]\nname").unwrap();
    let (only, _) = rest
        .split_once("[[candidates]]\ndetector = \"candle_z\"")
        .unwrap();
    assert!(before.contains("autoencoder"));
    lab.write(
        "y.toml",
        &with_candidates(&format!("[[candidates]]\nname{only}")),
    );
    lab.run(&["run", "y.toml"], 1).says(&[
        "every trial failed",
        "collapsing: ",
        "collapsed in each",
    ]);
}

#[test]
fn a_trial_beyond_its_limit_has_failed() {
    let lab = Lab::new();
    let candidates = r#"
[search]
trial_limit = "300ms"
[[candidates]]
detector = "autoencoder"
max_epochs = 100000
patience = 100000
[[candidates]]
detector = "max_z"
"#;
    lab.write("x.toml", &with_candidates(candidates));
    let summary = lab.run_json("x.toml", &[]);
    assert_eq!(summary["candidate"], "max_z");
    let failed = summary["failed"][0].as_str().unwrap();
    assert!(
        failed.contains("longer than `search.trial_limit`"),
        "{failed}"
    );
}

const SPACES: &str = r#"
[search]
method = "random"
max_trials = 6
[[candidates]]
name = "forest"
detector = "isolation_forest"
n_trees = [5, 10, 20]
sample_size = [64, 128, 256]
[[candidates]]
name = "mixture"
detector = "gaussian_mixture"
n_components = [1, 2, 3, 4]
[[candidates]]
detector = "consensus"
[[candidates.members]]
detector = "ecod"
[[candidates.members]]
detector = "mahalanobis"
"#;

/// What was tried and what came of it, without times.
fn figures(summary: &Value) -> Value {
    let mut leaders = summary["leaderboard"].clone();
    for leader in leaders.as_array_mut().unwrap() {
        leader.as_object_mut().unwrap().remove("seconds");
    }
    json!([leaders, summary["flip_probability"], summary["metrics"]])
}

#[test]
fn a_search_gives_the_same_on_one_and_two_threads() {
    let lab = Lab::new();
    lab.write("x.toml", &with_candidates(SPACES));
    let one = lab.run_json("x.toml", &["--threads", "1"]);
    let two = lab.run_json("x.toml", &["--threads", "2"]);
    assert_eq!(figures(&one), figures(&two));
    let models = lab.artifacts("model.foreshock");
    let bytes = |at: usize| std::fs::read(&models[at]).unwrap();
    assert_eq!(bytes(0), bytes(1));
    // Another seed draws other points: 13 were there, each candidate had its turn.
    let leaders = one["leaderboard"].as_array().unwrap();
    let tried: u64 = leaders
        .iter()
        .map(|leader| leader["trials"].as_u64().unwrap())
        .sum();
    assert_eq!(tried, 6 + 1);
    let flip = one["flip_probability"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&flip));
    let chosen =
        |summary: &Value| summary["leaderboard"][0]["validation_average_precision"].clone();
    for leader in leaders.iter().filter(|leader| leader["rank"].is_number()) {
        assert!(chosen(&one).as_f64() >= leader["validation_average_precision"].as_f64());
    }
    assert_eq!(leaders[0]["candidate"], one["candidate"]);
}

#[test]
fn a_halving_leaves_the_best_of_each_candidate() {
    let lab = Lab::new();
    let text = with_candidates(SPACES).replace("random", "halving");
    lab.write("x.toml", &text);
    let summary = lab.run_json("x.toml", &["--set", "search.max_trials=20"]);
    let evaluation = evaluation(&lab);
    let dropped = evaluation["dropped"].as_array().unwrap();
    // 9 forests become 3, then 1; 4 mixtures 2, then 1; there is one consensus.
    assert_eq!(dropped.len(), 8 + 3, "{dropped:#?}");
    assert_eq!(summary["leaderboard"].as_array().unwrap().len(), 4);
}

#[test]
fn a_grid_beyond_its_budget_is_refused_and_one_without_time_is_cut() {
    let lab = Lab::new();
    lab.write("x.toml", &with_candidates(SPACES));
    lab.run(&["check", "x.toml", "--set", "search.method=grid"], 1)
        .says(&["span 14 trials", "`search.max_trials` allows 6"]);
    let summary = lab.run_json(
        "x.toml",
        &["--set", "search.max_time=1us", "--threads", "1"],
    );
    // The first one is always tried.
    assert_eq!(summary["leaderboard"].as_array().unwrap().len(), 2);
    let dropped = evaluation(&lab)["dropped"].as_array().unwrap().len();
    assert_eq!(dropped, 5);
}

/// The runs below a run, by trial.
fn children(registry: &Faulty, run_id: &str) -> Vec<Run> {
    let tag = |run: &Run, key: &str| {
        let mut tags = run.data.tags.iter();
        tags.find(|tag| tag.key == key).map(|tag| tag.value.clone())
    };
    let mut children: Vec<(usize, Run)> = registry
        .runs()
        .into_iter()
        .filter(|run| tag(run, "mlflow.parentRunId").as_deref() == Some(run_id))
        .map(|run| (tag(&run, "foreshock.trial").unwrap().parse().unwrap(), run))
        .collect();
    children.sort_by_key(|(number, _)| *number);
    children.into_iter().map(|(_, run)| run).collect()
}

#[test]
fn every_trial_is_a_run_below_the_run() {
    let lab = Lab::new();
    let candidates = r#"
[[candidates]]
detector = "autoencoder"
max_epochs = [2, 4]
[[candidates]]
detector = "gaussian_mixture"
n_components = 256
regularization = 0.0
max_rows = 300
"#;
    lab.write("x.toml", &with_candidates(candidates));
    let registry = Faulty::start(lab.folder());
    let at_registry = ["--tracking-uri", registry.uri.as_str()];
    // Lost on the way, three times: a run that was made without an answer is taken up, not made again.
    for (at, n) in [9, 8, 12].into_iter().enumerate() {
        registry.fail_from(n, Fault::Unanswered);
        let output = lab
            .trainer(&["run", "x.toml"])
            .args(at_registry)
            .args((at > 0).then_some("--resume"))
            .env("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            .output()
            .unwrap();
        Finished::of(output, 2);
        registry.heal();
    }
    let more = [&at_registry[..], &["--resume"]].concat();
    let summary = lab.run_json("x.toml", &more);
    let run_id = summary["run_id"].as_str().unwrap();
    let children = children(&registry, run_id);
    // Two networks, the mixture that failed, the baseline.
    assert_eq!(children.len(), 4, "{children:#?}");
    let status = |at: usize| children[at].info.status;
    assert_eq!(status(0), Some(RunStatus::Finished));
    assert_eq!(status(3), Some(RunStatus::Failed));
    let tag = |at: usize, key: &str| {
        let mut tags = children[at].data.tags.iter();
        tags.find(|tag| tag.key == key).map(|tag| tag.value.clone())
    };
    assert!(tag(3, "foreshock.error").unwrap().contains("collapsed"));
    let metric = |at: usize, key: &str| {
        let mut metrics = children[at].data.metrics.iter();
        metrics.find(|metric| metric.key == key).cloned()
    };
    assert_eq!(metric(1, "train_loss").unwrap().step, 2);
    assert_eq!(metric(2, "train_loss").unwrap().step, 4);
    assert!(metric(1, "validation_average_precision").is_some());
}

#[cfg(unix)]
#[test]
fn a_search_that_was_stopped_goes_on_where_it_was() {
    let lab = Lab::new();
    let candidates = r#"
[[candidates]]
detector = "ecod"
[[candidates]]
detector = "knn"
[[candidates]]
detector = "autoencoder"
max_epochs = 400
patience = 400
"#;
    lab.write("x.toml", &with_candidates(candidates));
    let mut child = lab.start(&["run", "x.toml", "--threads", "1"]);
    // Two trials are kept, and the third takes its time.
    let kept = || -> Vec<std::path::PathBuf> {
        let stages = std::fs::read_dir(lab.path("foreshock/staging"));
        let stages = stages.into_iter().flatten().filter_map(Result::ok);
        let trials = stages.filter_map(|stage| std::fs::read_dir(stage.path().join("trials")).ok());
        let files = trials
            .flatten()
            .filter_map(Result::ok)
            .map(|file| file.path());
        files
            .filter(|file| {
                file.extension()
                    .is_some_and(|extension| extension == "json")
            })
            .collect()
    };
    while kept().len() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let before = kept();
    assert_eq!(before.len(), 2, "what was interrupted hasn't failed");

    // What lies there is used: a reason that no fit gives is taken for the trial's own.
    let note = std::fs::read_to_string(&before[0]).unwrap();
    let told = note.replace("\"failed\":null", "\"failed\":\"told so\"");
    assert_ne!(note, told);
    std::fs::write(&before[0], told).unwrap();
    let summary = lab.run_json("x.toml", &["--resume", "--threads", "1"]);
    let failed = summary["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 1);
    assert!(failed[0].as_str().unwrap().contains("told so"));
    assert!(kept().is_empty(), "nothing is left when the run is done");
    // A run from the beginning knows nothing of it.
    let fresh = lab.run_json("x.toml", &[]);
    assert_eq!(fresh["failed"], json!([]));
}
