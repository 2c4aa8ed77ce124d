//! Ctrl-C, SIGTERM and kill -9 while a run is under way.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus};

use mlflow_api::types::RunStatus;

use crate::lab::{Lab, SIMULATED, table_lab};
use crate::proxy::{Fault, Faulty};

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Reads stderr up to a line with `text`; what was read.
fn wait_for(stderr: &mut impl BufRead, text: &str) -> String {
    let mut said = String::new();
    while !said.contains(text) {
        let n_read = stderr.read_line(&mut said).unwrap();
        assert!(n_read > 0, "no `{text}` in:\n{said}");
    }
    said
}

/// Waits for the end; the status and the rest of stderr.
fn end_of(mut child: Child, mut stderr: impl BufRead) -> (ExitStatus, String) {
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    (child.wait().unwrap(), rest)
}

/// A lab whose run takes so long that no signal comes too late.
fn long_lab() -> Lab {
    let lab = Lab::new();
    let long = SIMULATED
        .replace("n_trees = 50", "n_trees = 2000")
        .replace("resamples = 50", "resamples = 2000");
    lab.write("x.toml", &long);
    lab
}

#[test]
fn a_signal_marks_the_run_killed_and_resume_finishes_it() {
    for signal in ["-INT", "-TERM"] {
        let lab = long_lab();
        let registry = Faulty::start(lab.folder());
        let mut child = lab.start(&["run", "x.toml", "--tracking-uri", &registry.uri]);
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        wait_for(&mut stderr, "features");
        send(signal, &child);
        let (status, said) = end_of(child, stderr);
        assert_eq!(status.code(), Some(1), "{said}");
        for part in ["interrupted", "is marked KILLED", "--resume"] {
            assert!(said.contains(part), "no `{part}` in:\n{said}");
        }
        let runs = registry.runs();
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0].info.status, Some(RunStatus::Killed), "{signal}");
        assert!(registry.versions().is_empty());

        let more = ["--resume", "--tracking-uri", &registry.uri];
        let summary = lab.run_json("x.toml", &more);
        assert_eq!(summary["run_id"], runs[0].info.run_id.as_str());
        assert_eq!(registry.runs()[0].info.status, Some(RunStatus::Finished));
        assert_eq!(registry.versions().len(), 1);
    }
}

#[test]
fn a_registry_that_hangs_does_not_hold_a_signal_up() {
    let lab = table_lab();
    let registry = Faulty::start(lab.folder());
    // Health, experiment, its creation, the run; then silence.
    registry.fail_from(5, Fault::Silence);
    let mut child = lab.start(&["run", "x.toml", "--tracking-uri", &registry.uri]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    wait_for(&mut stderr, "report ");
    send("-INT", &child);
    wait_for(&mut stderr, "stopping");
    registry.heal();
    let (status, said) = end_of(child, stderr);
    assert_eq!(status.code(), Some(1), "{said}");
    assert_eq!(
        registry.runs()[0].info.status,
        Some(RunStatus::Killed),
        "{said}"
    );
}

#[test]
fn a_second_signal_stops_at_once_and_resume_finishes_the_run() {
    let lab = table_lab();
    let registry = Faulty::start(lab.folder());
    registry.fail_from(5, Fault::Silence);
    let mut child = lab.start(&["run", "x.toml", "--tracking-uri", &registry.uri]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    wait_for(&mut stderr, "report ");
    send("-INT", &child);
    wait_for(&mut stderr, "again stops at once");
    send("-INT", &child);
    let (status, said) = end_of(child, stderr);
    assert_eq!(status.code(), Some(130), "{said}");
    registry.heal();
    resumes(&lab, &registry);
}

#[test]
fn a_run_that_was_killed_outright_is_resumed() {
    let lab = long_lab();
    let registry = Faulty::start(lab.folder());
    let mut child = lab.start(&["run", "x.toml", "--tracking-uri", &registry.uri]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    wait_for(&mut stderr, "features");
    send("-KILL", &child);
    let (status, _) = end_of(child, stderr);
    assert_eq!(status.code(), None);
    resumes(&lab, &registry);
}

fn resumes(lab: &Lab, registry: &Faulty) {
    let run = registry.runs().remove(0);
    assert_eq!(run.info.status, Some(RunStatus::Running));
    let more = ["--resume", "--tracking-uri", &registry.uri];
    let summary = lab.run_json("x.toml", &more);
    assert_eq!(summary["run_id"], run.info.run_id.as_str());
    assert_eq!(registry.runs().len(), 1);
    assert_eq!(registry.versions().len(), 1);
}

#[test]
fn one_folder_runs_an_experiment_once_at_a_time() {
    let lab = table_lab();
    let registry = Faulty::start(lab.folder());
    registry.fail_from(5, Fault::Silence);
    let arguments = ["run", "x.toml", "--tracking-uri", &registry.uri];
    let mut first = lab.start(&arguments);
    let mut stderr = BufReader::new(first.stderr.take().unwrap());
    wait_for(&mut stderr, "report ");
    registry.heal();
    lab.run(&arguments, 2)
        .says(&["another run of this experiment is under way in this folder"]);
    first.kill().unwrap();
    first.wait().unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    // The lock went with its process.
    lab.run(&arguments, 0);
}
