//! A disk without room and places that can't be written. A limit on the size of files meets the
//! same paths as a full disk, without a file system of its own.
#![cfg(unix)]

use mlflow_api::types::RunStatus;

use crate::lab::{Finished, Lab, table_lab, table_of};
use crate::proxy::{Fault, Faulty};

/// A run whose files may have at most `blocks` of 512 bytes, expected to end with `code`.
fn run_within(lab: &Lab, blocks: usize, more: &[&str], code: i32) -> Finished {
    let limit = format!("trap '' XFSZ; ulimit -f {blocks}");
    let arguments: Vec<&str> = ["run", "x.toml"].iter().chain(more).copied().collect();
    let output = lab
        .trainer_after(&limit, &arguments)
        .env("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        .output()
        .unwrap();
    Finished::of(output, code)
}

#[test]
fn artifacts_that_find_no_room_are_named_and_resume_finishes_the_run() {
    let lab = table_lab();
    let registry = Faulty::start(lab.folder());
    let tracking = ["--tracking-uri", registry.uri.as_str()];
    // The first file that a run writes, then later and larger ones.
    for (round, blocks) in [0, 1, 8, 40, 120].into_iter().enumerate() {
        let failed = run_within(&lab, blocks, &tracking, 2);
        failed.says(&["can't write `foreshock/staging/", "File too large"]);
        let run = registry
            .runs()
            .into_iter()
            .find(|run| run.info.status == Some(RunStatus::Failed))
            .unwrap();
        assert_eq!(registry.versions().len(), round, "{blocks} blocks");
        let more = [&tracking[..], &["--resume"]].concat();
        let summary = lab.run_json("x.toml", &more);
        // Without room for the note of which run it is, there is nothing to resume.
        if blocks > 0 {
            assert_eq!(summary["run_id"], run.info.run_id.as_str());
        } else {
            let id = run.info.run_id.as_str();
            let gone = registry.ask(|client| async move {
                client
                    .update_run(id, Some(RunStatus::Killed), None, None)
                    .await
            });
            assert!(gone.is_ok());
        }
        assert_eq!(registry.versions().len(), round + 1);
    }
}

#[test]
fn a_database_that_finds_no_room_is_named_and_resume_finishes_the_run() {
    let mut n_begun = 0;
    // From a database that can't even be made to one that ends in the midst of the run.
    for blocks in [1, 64, 300].into_iter().chain((600..4000).step_by(60)) {
        let lab = table_lab();
        let limit = format!("trap '' XFSZ; ulimit -f {blocks}");
        let output = lab
            .trainer_after(&limit, &["run", "x.toml"])
            .env("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            .output()
            .unwrap();
        if output.status.success() {
            break;
        }
        let failed = Finished::of(output, 2);
        failed.says(&["registry", "sqlite:///foreshock/registry.db"]);
        n_begun += usize::from(failed.stderr.contains("--resume"));
        let summary = lab.run_json("x.toml", &["--resume"]);
        assert_eq!(summary["model_version"], "1", "{blocks}: {}", failed.stderr);
        if let Some((_, rest)) = failed.stderr.rsplit_once("\nrun ") {
            assert_eq!(summary["run_id"], rest.split(' ').next().unwrap());
        }
    }
    assert!(n_begun > 0, "no limit was hit after a run had begun");
}

#[test]
fn scores_that_find_no_room_are_named_and_leave_nothing() {
    let lab = table_lab();
    lab.write("table.csv", &table_of(200_001).join("\n"));
    let registry = Faulty::start(lab.folder());
    let forest = "candidates.iforest.n_trees=50";
    let local = [
        "run",
        "x.toml",
        "--set",
        forest,
        "--scores",
        "whole.parquet",
    ];
    lab.run(&local, 0);
    let whole = std::fs::read(lab.path("whole.parquet")).unwrap();
    // Room for everything but the scores.
    let blocks = whole.len() / 512 - 1;
    let more = [
        "--tracking-uri",
        &registry.uri,
        "--scores",
        "out/scores.parquet",
        "--set",
        forest,
    ];
    run_within(&lab, blocks, &more, 2).says(&["could not write `out/scores.parquet`"]);
    assert_eq!(std::fs::read_dir(lab.path("out")).unwrap().count(), 0);
    assert!(registry.versions().is_empty());
    let run = registry.runs().remove(0);
    assert_eq!(run.info.status, Some(RunStatus::Failed));
    let summary = lab.run_json("x.toml", &[&more[..], &["--resume"]].concat());
    assert_eq!(summary["run_id"], run.info.run_id.as_str());
    assert_eq!(
        std::fs::read(lab.path("out/scores.parquet")).unwrap(),
        whole
    );
}

#[test]
fn work_that_is_done_again_and_finds_no_room_is_not_taken_for_complete() {
    let lab = table_lab();
    let registry = Faulty::start(lab.folder());
    let tracking = ["--tracking-uri", registry.uri.as_str()];
    // Health, experiment, its creation, the run; the work is done as the registry is lost.
    registry.fail_from(5, Fault::Unseen);
    run_within(&lab, 1 << 20, &tracking, 2);
    registry.heal();
    let more = [&tracking[..], &["--resume", "--scores", "s.parquet"]].concat();
    run_within(&lab, 40, &more, 2).says(&["can't write `foreshock/staging/"]);
    lab.run_json("x.toml", &[&tracking[..], &["--resume"]].concat());
    let runs = registry.runs();
    assert_eq!(runs.len(), 1);
    for artifact in [
        "model/MLmodel",
        "model/model.foreshock",
        "report/report.html",
    ] {
        assert!(registry.holds(&runs[0], artifact), "{artifact}");
    }
}

#[test]
fn places_that_cannot_be_written_are_found_before_the_work() {
    let lab = table_lab();
    // A file where a folder should be stops even root.
    for scores in ["x.toml/scores.parquet", "."] {
        lab.run(&["run", "x.toml", "--scores", scores], 2)
            .says(&[&format!("could not create `{scores}`")]);
    }
    assert!(!lab.path("foreshock").exists());
    lab.run(
        &["run", "x.toml", "--tracking-uri", "sqlite:///x.toml/r.db"],
        2,
    )
    .says(&["can't open the embedded registry `sqlite:///x.toml/r.db`"]);
    lab.write("foreshock", "in the way");
    lab.run(&["run", "x.toml"], 2)
        .says(&["can't open the embedded registry", "`foreshock`"]);
}
