//! The directions in which the workspace's crates may depend on each other, as ARCHITECTURE.md
//! draws them.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each crate may use of the workspace.
const ALLOWED: &[(&str, &[&str])] = &[
    ("market", &[]),
    ("linfa-isolation", &[]),
    ("mlflow-api", &[]),
    ("onnx-runtime", &[]),
    ("health", &[]),
    ("terminal", &[]),
    ("test-stack", &[]),
    ("detectors", &["linfa-isolation", "market"]),
    ("history", &["market"]),
    ("feed", &["health", "history", "market", "terminal"]),
    ("registry", &["market", "mlflow-api"]),
    ("streaming", &["detectors", "market"]),
    (
        "scorer",
        &[
            "detectors",
            "health",
            "history",
            "market",
            "mlflow-api",
            "onnx-runtime",
            "streaming",
            "terminal",
        ],
    ),
    (
        "trainer",
        &[
            "detectors",
            "history",
            "market",
            "mlflow-api",
            "onnx-runtime",
            "registry",
            "terminal",
        ],
    ),
];

/// Crates that compute do no IO, know no clock and no async runtime: nothing else is let in.
const PURE: &[&str] = &["market", "linfa-isolation", "detectors", "streaming"];
const PURE_MAY_USE: &[&str] = &[
    "linfa",
    "ndarray",
    "postcard",
    "prost",
    "pulp",
    "rand",
    "rand_xoshiro",
    "rayon",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
];

/// Normal (not dev) dependencies of each member of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap().iter();
            let normal = all.filter(|dependency| dependency["kind"].is_null());
            (name(package), normal.map(name).collect())
        })
        .collect()
}

#[test]
fn crates_depend_on_each_other_in_one_direction() {
    let dependencies = dependencies();
    let members: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(members, listed, "list every crate of the workspace above");
    for (name, allowed) in ALLOWED {
        for used in &dependencies[*name] {
            assert!(
                !members.contains(used.as_str()) || allowed.contains(&used.as_str()),
                "`{name}` must not depend on `{used}`"
            );
        }
    }
}

#[test]
fn crates_that_compute_stay_pure() {
    let dependencies = dependencies();
    for name in PURE {
        for used in &dependencies[*name] {
            assert!(
                dependencies.contains_key(used) || PURE_MAY_USE.contains(&used.as_str()),
                "`{name}` computes only; `{used}` isn't among what it may use"
            );
        }
    }
}
