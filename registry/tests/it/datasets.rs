//! What runs read.

use serde_json::{Value, json};

use crate::harness::{Server, serve};

fn dataset(name: &str, digest: &str, context: &str) -> Value {
    json!({
        "tags": [{"key": "mlflow.data.context", "value": context}],
        "dataset": {"name": name, "digest": digest, "source_type": "code", "source": "{}"},
    })
}

async fn log(server: &Server, run: &str, datasets: Value, models: Value) {
    let body = json!({"run_id": run, "datasets": datasets, "models": models});
    let (status, answer) = server.post("runs/log-inputs", body).await;
    assert_eq!((status, answer), (200, json!({})));
}

#[tokio::test]
async fn inputs_are_shown_once_however_often_they_are_logged() {
    let server = serve().await;
    let run = server.run().await.info;
    let inputs = json!([dataset("a", "1", "train"), dataset("b", "1", "eval")]);
    for _ in 0..2 {
        log(
            &server,
            &run.run_id,
            inputs.clone(),
            json!([{"model_id": "m-1"}]),
        )
        .await;
    }
    // The first of equal ones counts, and what is noted already stays.
    let again = json!([dataset("a", "1", "other"), dataset("a", "2", "train")]);
    log(&server, &run.run_id, again, json!([])).await;

    let (_, body) = server
        .get(&format!("/api/2.0/mlflow/runs/get?run_id={}", run.run_id))
        .await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let shown: Vec<_> = body["run"]["inputs"]["dataset_inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| {
            (
                input["dataset"]["name"].as_str().unwrap(),
                input["dataset"]["digest"].as_str().unwrap(),
                input["tags"][0]["value"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [("a", "1", "train"), ("b", "1", "eval"), ("a", "2", "train")]
    );
    assert_eq!(
        body["run"]["inputs"]["model_inputs"],
        json!([{"model_id": "m-1"}])
    );

    let (_, summaries) = server
        .send(
            "POST",
            "/ajax-api/2.0/mlflow/experiments/search-datasets",
            json!({"experiment_ids": [run.experiment_id]}),
        )
        .await;
    assert_eq!(summaries["dataset_summaries"].as_array().unwrap().len(), 3);
    assert_eq!(summaries["dataset_summaries"][0]["context"], "train");
}

#[tokio::test]
async fn runs_are_found_by_their_datasets() {
    let server = serve().await;
    let first = server.run().await.info;
    let client = &server.client;
    let second = client
        .create_run(&first.experiment_id, None, 2, Vec::new())
        .await
        .unwrap()
        .info;
    log(
        &server,
        &first.run_id,
        json!([dataset("a", "1", "train")]),
        json!([]),
    )
    .await;
    log(
        &server,
        &second.run_id,
        json!([dataset("a", "2", "eval")]),
        json!([]),
    )
    .await;
    for (filter, expected) in [
        ("dataset.name = 'a'", vec![&second.run_id, &first.run_id]),
        ("dataset.digest = '1'", vec![&first.run_id]),
        ("datasets.context = 'eval'", vec![&second.run_id]),
        (
            "dataset.context IN ('eval', 'train') AND dataset.digest LIKE '1%'",
            vec![&first.run_id],
        ),
        ("dataset.name != 'a'", vec![]),
        ("dataset.digest NOT IN ('1')", vec![&second.run_id]),
    ] {
        let body = json!({"experiment_ids": [first.experiment_id], "filter": filter});
        let (status, answer) = server.post("runs/search", body).await;
        assert_eq!(status, 200, "{filter}: {answer}");
        let none = Vec::new();
        let found: Vec<_> = answer["runs"]
            .as_array()
            .unwrap_or(&none)
            .iter()
            .map(|run| run["info"]["run_id"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected, "{filter}");
    }
}

#[tokio::test]
async fn bad_inputs_are_refused() {
    let server = serve().await;
    let run = server.run().await.info.run_id;
    for datasets in [
        json!([{"tags": []}]),
        json!([{"dataset": {"digest": "1", "source_type": "a", "source": "b"}}]),
        json!([dataset(&"x".repeat(501), "1", "a")]),
        json!([dataset("a", &"1".repeat(37), "a")]),
        json!([dataset("a", "1", &"c".repeat(501))]),
    ] {
        let body = json!({"run_id": run, "datasets": datasets});
        let (status, answer) = server.post("runs/log-inputs", body).await;
        assert_eq!(
            (status, &answer["error_code"]),
            (400, &json!("INVALID_PARAMETER_VALUE")),
            "{answer}"
        );
    }
    let (status, _) = server
        .post("runs/log-inputs", json!({"run_id": "none", "datasets": []}))
        .await;
    assert_eq!(status, 404);
    let ids: Vec<String> = (0..21).map(|id| id.to_string()).collect();
    for ids in [json!([]), json!(ids)] {
        let (status, _) = server
            .post(
                "experiments/search-datasets",
                json!({"experiment_ids": ids}),
            )
            .await;
        assert_eq!(status, 400);
    }
}

#[tokio::test]
async fn logged_models_are_found_by_metrics_about_datasets() {
    let server = serve().await;
    let run = server.run().await.info;
    let mut models = Vec::new();
    for (dataset, value) in [("train", 1.0), ("test", 2.0)] {
        let body = json!({"experiment_id": run.experiment_id, "source_run_id": run.run_id});
        let (_, answer) = server.post("logged-models", body).await;
        let id = answer["model"]["info"]["model_id"]
            .as_str()
            .unwrap()
            .to_owned();
        for (step, value) in [(1, value), (2, value + 10.0)] {
            let metric = json!({
                "run_id": run.run_id, "key": "auc", "value": value, "timestamp": step,
                "step": step, "model_id": id, "dataset_name": dataset, "dataset_digest": "d",
            });
            let (status, _) = server.post("runs/log-metric", metric).await;
            assert_eq!(status, 200);
        }
        models.push(id);
    }
    let (train, test) = (&models[0], &models[1]);
    let about = |name: &str| json!([{"dataset_name": name}]);
    let by_metric =
        |ascending: bool| json!([{"field_name": "metrics.auc", "ascending": ascending}]);
    let by_train = json!([{"field_name": "metrics.auc", "dataset_name": "train"}]);
    for (request, expected) in [
        (json!({"filter": "metrics.auc < 2"}), vec![train]),
        (json!({"filter": "metrics.auc > 10"}), vec![test, train]),
        (
            json!({"filter": "metrics.auc > 10", "datasets": about("train")}),
            vec![train],
        ),
        (json!({"datasets": about("test")}), vec![test]),
        (json!({"datasets": about("none")}), vec![]),
        (json!({"order_by": by_metric(true)}), vec![train, test]),
        (json!({"order_by": by_metric(false)}), vec![test, train]),
        (json!({"order_by": by_train}), vec![train, test]),
    ] {
        let mut body = request.clone();
        body["experiment_ids"] = json!([run.experiment_id]);
        let (status, answer) = server.post("logged-models/search", body).await;
        assert_eq!(status, 200, "{request}: {answer}");
        let none = Vec::new();
        let found: Vec<_> = answer["models"]
            .as_array()
            .unwrap_or(&none)
            .iter()
            .map(|model| model["info"]["model_id"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected, "{request}");
    }
    for bad in [
        json!({"datasets": [{"dataset_digest": "d"}]}),
        json!({"order_by": [{"field_name": "metrics.auc", "dataset_digest": "d"}]}),
    ] {
        let mut body = bad;
        body["experiment_ids"] = json!([run.experiment_id]);
        let (status, _) = server.post("logged-models/search", body).await;
        assert_eq!(status, 400);
    }
}
