//! Copying from another server: everything arrives, once, whatever interrupts it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use mlflow_api::types::{
    KeyValue, Metric, RunStatus, SearchExperiments, SearchLoggedModels, SearchModelVersions,
    SearchRegisteredModels, SearchRuns, ViewType,
};
use mlflow_api::{Client, ClientOptions, Credentials};
use registry::transfer::folder::Folder;
use registry::transfer::{
    ExportOptions, ImportOptions, Local, Remote, Report, Selection, Source, export, import,
};
use registry::{Options, Registry};
use serde_json::{Value, json};

use crate::harness::{Server, database_of, serve, serve_in};

pub(crate) async fn send(server: &Server, method: &str, path: &str, body: Value) -> Value {
    let url = format!("{}/api/2.0/mlflow/{path}", server.url);
    let response = reqwest::Client::new()
        .request(method.parse().unwrap(), url)
        .json(&body)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    let body = response.json().await.unwrap();
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// A little of everything; returns the id of a run that is not deleted.
pub(crate) async fn fill(server: &Server) -> String {
    let client = &server.client;
    let mut kept = String::new();
    for (name, deleted) in [("one", false), ("two 'ü", false), ("gone", true)] {
        let tags = json!([{"key": "team", "value": name}]);
        let created = send(
            server,
            "POST",
            "experiments/create",
            json!({"name": name, "tags": tags}),
        );
        let id = created.await["experiment_id"].as_str().unwrap().to_owned();
        for i in 0..3 {
            let tags = vec![
                KeyValue::new("mlflow.user", "ann"),
                KeyValue::new("i", i.to_string()),
            ];
            let run = client
                .create_run(&id, Some("r"), 1000 + i, tags)
                .await
                .unwrap();
            let run_id = run.info.run_id;
            let mut points: Vec<_> = (0..200)
                .map(|step| Metric::new("loss", 1.0 / (step + 1) as f64, step, step))
                .collect();
            points.push(Metric::new("odd", f64::NAN, 1, 0));
            points.push(Metric::new("odd", f64::INFINITY, 2, 0));
            let params = [KeyValue::new("p", "x".repeat(500)), KeyValue::new("q", "")];
            client
                .log_batch(&run_id, &points, &params, &[])
                .await
                .unwrap();
            let uri = run.info.artifact_uri.unwrap();
            for (path, content) in [
                ("a.txt", format!("{name} {i}")),
                ("deep/er/ä b%20.bin", "x".repeat(100_000)),
                ("empty", String::new()),
            ] {
                client.upload_artifact(&uri, path, content).await.unwrap();
            }
            if i == 0 {
                client
                    .update_run(&run_id, Some(RunStatus::Finished), Some(5000), None)
                    .await
                    .unwrap();
                kept = run_id;
            } else if i == 1 {
                send(server, "POST", "runs/delete", json!({"run_id": run_id})).await;
            }
        }
        let model = send(
            server,
            "POST",
            "logged-models",
            json!({"experiment_id": id, "name": "lm", "source_run_id": kept, "model_type": "t",
                   "params": [{"key": "depth", "value": "3"}], "tags": [{"key": "a", "value": "b"}]}),
        )
        .await;
        let info = &model["model"]["info"];
        let model_id = info["model_id"].as_str().unwrap();
        let uri = info["artifact_uri"].as_str().unwrap();
        client
            .upload_artifact(uri, "MLmodel", "flavors: {}".to_owned())
            .await
            .unwrap();
        let ready = json!({"status": "LOGGED_MODEL_READY"});
        send(server, "PATCH", &format!("logged-models/{model_id}"), ready).await;
        let outputs = json!({"run_id": kept, "models": [{"model_id": model_id, "step": 2}]});
        send(server, "POST", "runs/outputs", outputs).await;
        let dataset = |name: &str| {
            json!({"name": name, "digest": "d", "source_type": "local", "source": "{}",
                   "schema": "{\"columns\": []}"})
        };
        let inputs = json!({"run_id": kept, "models": [{"model_id": model_id}], "datasets": [
            {"dataset": dataset("zebra"), "tags": [
                {"key": "mlflow.data.context", "value": "training"}]},
            {"dataset": dataset("ant"), "tags": []}]});
        send(server, "POST", "runs/log-inputs", inputs).await;
        let about = json!({"run_id": kept, "key": "acc", "value": 0.5, "timestamp": 7, "step": 1,
                           "model_id": model_id});
        send(server, "POST", "runs/log-metric", about).await;
        if deleted {
            send(
                server,
                "POST",
                "experiments/delete",
                json!({"experiment_id": id}),
            )
            .await;
        } else {
            let forest = format!("forest {name}");
            client.ensure_registered_model(&forest).await.unwrap();
            for source in [
                uri.to_owned(),
                uri.to_owned(),
                format!("models:/{model_id}"),
            ] {
                let body = json!({"name": forest, "source": source, "model_id": model_id,
                                  "tags": [{"key": "k", "value": "v"}], "description": "d"});
                send(server, "POST", "model-versions/create", body).await;
            }
            let version = json!({"name": forest, "version": "2"});
            send(server, "DELETE", "model-versions/delete", version).await;
            let stage = json!({"name": forest, "version": "1", "stage": "Production",
                               "archive_existing_versions": false});
            send(server, "POST", "model-versions/transition-stage", stage).await;
            client.set_alias(&forest, "champion", "3").await.unwrap();
        }
    }
    let is_prompt = json!([{"key": "mlflow.prompt.is_prompt", "value": "true"}]);
    send(
        server,
        "POST",
        "registered-models/create",
        json!({"name": "greet", "tags": is_prompt}),
    )
    .await;
    let prompt = json!({"name": "greet", "source": "prompt-template", "tags": [
        {"key": "mlflow.prompt.is_prompt", "value": "true"},
        {"key": "mlflow.prompt.text", "value": "Hello {{name}}"}]});
    send(server, "POST", "model-versions/create", prompt).await;
    client.set_alias("greet", "production", "1").await.unwrap();
    kept
}

/// Everything that a client sees, without what may differ: ids and places of experiments.
pub(crate) async fn seen(server: &Server, prefix: &str) -> BTreeMap<String, Value> {
    let client = &server.client;
    let mut all = BTreeMap::new();
    let found = client
        .experiments_page(&SearchExperiments {
            view_type: Some(ViewType::All),
            max_results: Some(1000),
            ..Default::default()
        })
        .await
        .unwrap();
    let mut places: Vec<(String, String)> = Vec::new();
    let place = |places: &[(String, String)], text: &str| {
        let mut text = text.to_owned();
        for (location, name) in places {
            text = text.replace(&format!("{location}/"), &format!("<{name}>/"));
        }
        text
    };
    for experiment in &found.experiments {
        let name = experiment
            .name
            .strip_prefix(prefix)
            .unwrap_or(&experiment.name);
        let location = experiment.artifact_location.clone().unwrap();
        places.push((location, name.to_owned()));
        if experiment.experiment_id != "0" {
            let value = json!([
                experiment.lifecycle_stage,
                experiment.creation_time,
                experiment.tags
            ]);
            all.insert(format!("experiment {name}"), value);
        }
    }
    for experiment in &found.experiments {
        let id = experiment.experiment_id.clone();
        let runs = client
            .runs_page(&SearchRuns {
                experiment_ids: vec![id.clone()],
                run_view_type: Some(ViewType::All),
                max_results: Some(1000),
                ..Default::default()
            })
            .await
            .unwrap();
        for mut run in runs.runs {
            let run_id = run.info.run_id.clone();
            let uri = run.info.artifact_uri.take().unwrap();
            run.info.experiment_id = place(&places, &uri);
            for metric in &run.data.metrics {
                let history = client
                    .get_metric_history(&run_id, &metric.key)
                    .await
                    .unwrap();
                all.insert(format!("points {run_id} {}", metric.key), json!(history));
            }
            files(client, &uri, &run_id, &mut all).await;
            all.insert(format!("run {run_id}"), json!(run));
        }
        let models = client
            .logged_models_page(&SearchLoggedModels {
                experiment_ids: vec![id],
                ..Default::default()
            })
            .await
            .unwrap();
        for mut model in models.models {
            let uri = model.info.artifact_uri.take().unwrap();
            model.info.experiment_id = place(&places, &uri);
            files(client, &uri, &model.info.model_id, &mut all).await;
            all.insert(
                format!("logged model {}", model.info.model_id),
                json!(model),
            );
        }
    }
    for kind in ["", "tags.`mlflow.prompt.is_prompt` = 'true'"] {
        let filter = (!kind.is_empty()).then(|| kind.to_owned());
        let models = client
            .registered_models_page(&SearchRegisteredModels {
                filter: filter.clone(),
                ..Default::default()
            })
            .await
            .unwrap();
        for mut model in models.registered_models {
            model.latest_versions.clear();
            model.name = model
                .name
                .strip_prefix(prefix)
                .unwrap_or(&model.name)
                .to_owned();
            all.insert(format!("model {}", model.name), json!(model));
        }
        let versions = client
            .model_versions_page(&SearchModelVersions {
                filter,
                ..Default::default()
            })
            .await
            .unwrap();
        for mut version in versions.model_versions {
            let number = version.version.clone();
            let uri = client
                .get_download_uri(&version.name, &number)
                .await
                .unwrap();
            if uri.starts_with("mlflow-artifacts:") {
                let content = client.download_artifact(&uri, "MLmodel").await.unwrap();
                assert_eq!(content.as_ref(), b"flavors: {}");
            }
            version.name = version
                .name
                .strip_prefix(prefix)
                .unwrap_or(&version.name)
                .to_owned();
            version.source = version.source.map(|source| place(&places, &source));
            let value = json!([version, place(&places, &uri)]);
            all.insert(format!("version {} {number}", version.name), value);
        }
    }
    all
}

async fn files(client: &Client, uri: &str, owner: &str, all: &mut BTreeMap<String, Value>) {
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in client.list_store(uri, &folder).await.unwrap() {
            let path = format!("{folder}/{}", entry.path);
            if entry.is_dir {
                folders.push(path);
            } else {
                let content = client.download_artifact(uri, &path).await.unwrap();
                all.insert(format!("file {owner} {path}"), json!(content.as_ref()));
            }
        }
    }
}

pub(crate) async fn open(folder: &Path) -> Registry {
    let options = Options {
        backend_store_uri: database_of(folder).0,
        artifacts_destination: folder.join("artifacts").into(),
        ..Options::default()
    };
    Registry::open(options).await.unwrap()
}

fn remote(server: &Server) -> Source {
    let client = Client::new(&server.url, Credentials::None, ClientOptions::default()).unwrap();
    Source::Remote(Remote::new(client))
}

async fn run(target: &Server, source: &Source, options: ImportOptions) -> Report {
    let registry = open(&target.folder).await;
    let report = import(&registry, source, &options).await.unwrap();
    registry.store().close().await;
    report
}

#[tokio::test]
async fn everything_is_copied_once() {
    let from = serve().await;
    fill(&from).await;
    let to = serve().await;
    // Numbers of experiments are taken here already.
    to.run().await;
    let own = seen(&to, "").await;
    let source = remote(&from);

    let plan = ImportOptions {
        dry_run: true,
        ..ImportOptions::default()
    };
    let planned = run(&to, &source, plan).await;
    assert_eq!(seen(&to, "").await, own, "a dry run changed something");

    let report = run(&to, &source, ImportOptions::default()).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(
        (report.runs, report.logged_models, report.registered_models),
        (9, 3, 3)
    );
    assert_eq!((report.versions, report.aliases), (5, 3));
    // 200 of `loss`, 2 of `odd`, and one about a model for each experiment's first run.
    assert_eq!(report.points, 9 * 202 + 3);
    assert_eq!(
        (planned.runs, planned.files, planned.bytes),
        (report.runs, report.files, report.bytes)
    );
    let mut copied = seen(&to, "").await;
    copied.retain(|key, _| !own.contains_key(key));
    let expected = seen(&from, "").await;
    assert_eq!(
        copied.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (key, value) in &expected {
        assert_eq!(copied[key], *value, "{key}");
    }

    let again = run(&to, &source, ImportOptions::default()).await;
    assert!(again.is_complete(), "{again:?}");
    assert_eq!(
        Report {
            unchanged: 0,
            ..again
        },
        Report::default(),
        "a second import copied something"
    );
    // The history of aliases says where they came from, once.
    let (_, history) = to
        .get("/api/2.0/foreshock/registered-models/alias-history?name=greet")
        .await;
    let history: Value = serde_json::from_str(&history).unwrap();
    assert_eq!(history["changes"].as_array().unwrap().len(), 1);
    assert_eq!(history["changes"][0]["cause"], "imported");
}

#[tokio::test]
async fn what_is_new_in_the_source_follows() {
    let from = serve().await;
    let run_id = fill(&from).await;
    let to = serve().await;
    let source = remote(&from);
    run(&to, &source, ImportOptions::default()).await;
    let kept = from
        .client
        .get_registered_model("forest one")
        .await
        .unwrap();
    assert_eq!(kept.aliases[0].version, "3");
    let active = from.run().await.info.run_id;
    from.client
        .log_metric(&active, "m", 1.0, 1, 1)
        .await
        .unwrap();
    from.client
        .set_alias("forest one", "champion", "1")
        .await
        .unwrap();
    from.client.set_tag(&active, "new", "tag").await.unwrap();
    let report = run(&to, &source, ImportOptions::default()).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.runs, report.registered_models), (1, 1));
    from.client
        .log_metric(&active, "m", 2.0, 2, 2)
        .await
        .unwrap();
    run(&to, &source, ImportOptions::default()).await;
    assert_eq!(seen(&to, "").await, seen(&from, "").await);
    assert_ne!(run_id, active);
}

#[tokio::test]
async fn taken_names_are_left_alone_or_avoided() {
    let from = serve().await;
    fill(&from).await;
    let to = serve().await;
    to.client.get_or_create_experiment("one").await.unwrap();
    to.client.ensure_registered_model("greet").await.unwrap();
    let source = remote(&from);
    let plain = run(&to, &source, ImportOptions::default()).await;
    assert_eq!(plain.conflicts.len(), 2, "{plain:?}");
    assert!(plain.conflicts[0].contains("`one`") && plain.conflicts[1].contains("`greet`"));
    assert!(
        to.client
            .get_registered_model("greet")
            .await
            .unwrap()
            .aliases
            .is_empty()
    );

    let other = serve().await;
    other.client.get_or_create_experiment("one").await.unwrap();
    other.client.ensure_registered_model("greet").await.unwrap();
    let own = seen(&other, "").await;
    let options = ImportOptions {
        rename_prefix: "old-".to_owned(),
        ..ImportOptions::default()
    };
    let report = run(&other, &source, options).await;
    assert!(report.is_complete(), "{report:?}");
    let mut copied = seen(&other, "old-").await;
    let expected = seen(&from, "").await;
    copied.retain(|key, _| expected.contains_key(key) || !own.contains_key(key));
    for key in expected.keys() {
        assert!(copied.contains_key(key), "{key}");
    }
    let names = other
        .client
        .get_experiment_by_name("old-one")
        .await
        .unwrap();
    assert_ne!(names.experiment_id, "1");
}

#[tokio::test]
async fn a_selection_is_copied_with_the_files_it_needs() {
    let from = serve().await;
    fill(&from).await;
    let to = serve().await;
    let source = remote(&from);
    let selection = Selection {
        experiments: vec!["two 'ü".to_owned()],
        models: vec!["forest one".to_owned()],
    };
    let options = ImportOptions {
        selection: selection.clone(),
        ..ImportOptions::default()
    };
    let report = run(&to, &source, options).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(
        (report.experiments, report.runs, report.registered_models),
        (1, 3, 1)
    );
    // The files of the model's experiment did not come, those of its versions did.
    let version = to
        .client
        .get_by_alias("forest one", "champion")
        .await
        .unwrap();
    let uri = to
        .client
        .get_download_uri("forest one", &version.version)
        .await
        .unwrap();
    assert!(
        uri.starts_with("mlflow-artifacts:/model-versions/"),
        "{uri}"
    );
    to.client.download_artifact(&uri, "MLmodel").await.unwrap();

    let unknown = ImportOptions {
        selection: Selection {
            experiments: vec!["nothing".to_owned()],
            ..Selection::default()
        },
        ..ImportOptions::default()
    };
    let registry = open(&to.folder).await;
    let error = import(&registry, &source, &unknown).await.unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
}

#[tokio::test]
async fn an_export_is_read_back() {
    let from = serve().await;
    fill(&from).await;
    let temp = tempfile::tempdir().unwrap();
    let local = Source::Local(Local::new(open(&from.folder).await));
    let everything = ExportOptions {
        selection: Selection::default(),
        folder: temp.path().join("all"),
    };
    let exported = export(&local, &everything).await.unwrap();
    assert!(
        export(&local, &everything).await.is_err(),
        "it was overwritten"
    );
    let to = serve().await;
    let folder = Folder::open(&everything.folder).await.unwrap();
    let source = Source::Folder(folder);
    let report = run(&to, &source, ImportOptions::default()).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(
        (report.files, report.bytes),
        (exported.files, exported.bytes)
    );
    assert_eq!(seen(&to, "").await, seen(&from, "").await);
    let again = run(&to, &source, ImportOptions::default()).await;
    assert_eq!(
        Report {
            unchanged: 0,
            ..again
        },
        Report::default()
    );
    // Checksums are in the form of a well-known tool.
    let checked = std::process::Command::new("sha256sum")
        .args(["--check", "--quiet", "SHA256SUMS"])
        .current_dir(&everything.folder)
        .status();
    assert!(checked.unwrap().success());

    let damaged = everything.folder.join("models.jsonl");
    let mut text = std::fs::read_to_string(&damaged).unwrap();
    text.push('\n');
    std::fs::write(&damaged, text).unwrap();
    let error = Folder::open(&everything.folder).await.unwrap_err();
    assert!(error.to_string().contains("models.jsonl"), "{error}");
}

/// The program is killed again and again while it imports; the last run ends with the same as one
/// that was never interrupted.
#[tokio::test]
async fn a_killed_import_goes_on() {
    let from = serve().await;
    fill(&from).await;
    let temp = tempfile::tempdir().unwrap();
    let (database, _postgres) = database_of(temp.path());
    let command = || {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_registry"));
        command
            .args(["import", &from.url, "--output", "json"])
            .args(["--backend-store-uri", &database])
            .arg("--artifacts-destination")
            .arg(temp.path().join("artifacts"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    };
    // Each run gets a little further, wherever that is.
    for files in [1, 5, 12, 20] {
        let mut child = command().spawn().unwrap();
        let artifacts = temp.path().join("artifacts");
        while count(&artifacts) < files && child.try_wait().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        child.kill().await.unwrap();
    }
    let output = command().output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let to = serve_in(temp.path()).await;
    assert_eq!(seen(&to, "").await, seen(&from, "").await);
    drop(to);
    let output = command().output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["runs"], &report["files"]), (&json!(0), &json!(0)));
}

/// Whole files below a folder.
fn count(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count(&entry.path()),
            Ok(_) if !entry.file_name().to_string_lossy().starts_with('.') => 1,
            _ => 0,
        })
        .sum()
}
