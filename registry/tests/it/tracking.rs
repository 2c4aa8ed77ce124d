use mlflow_api::ErrorCode;
use mlflow_api::types::{KeyValue, Metric, RunStatus};
use serde_json::json;

use crate::harness::serve;

#[tokio::test]
async fn a_run_is_logged_and_read_back() {
    let server = serve().await;
    let client = &server.client;
    client.health().await.unwrap();
    let experiment = client.get_or_create_experiment("e").await.unwrap();
    assert_eq!(
        client.get_or_create_experiment("e").await.unwrap(),
        experiment
    );
    let tags = vec![KeyValue::new("mlflow.user", "ann")];
    let run = client
        .create_run(&experiment, Some("first"), 17, tags)
        .await
        .unwrap();
    let id = &run.info.run_id;
    assert_eq!(
        run.info.artifact_uri.as_deref(),
        Some(&*format!("mlflow-artifacts:/{experiment}/{id}/artifacts"))
    );
    // More than one batch of each kind.
    let metrics: Vec<_> = (0..2500)
        .map(|i| Metric::new("m", f64::from(i), i.into(), i.into()))
        .collect();
    let params: Vec<_> = (0..250)
        .map(|i| KeyValue::new(format!("p{i}"), "v"))
        .collect();
    let more: Vec<_> = (0..150)
        .map(|i| KeyValue::new(format!("t{i}"), "v"))
        .collect();
    client
        .log_batch(id, &metrics, &params, &more)
        .await
        .unwrap();
    client
        .log_batch(id, &metrics, &params, &more)
        .await
        .unwrap();
    client.log_metric(id, "n", f64::NAN, 1, 0).await.unwrap();
    client.set_tag(id, "t", "x").await.unwrap();
    client.delete_tag(id, "t").await.unwrap();
    client
        .update_run(id, Some(RunStatus::Killed), Some(99), Some("renamed"))
        .await
        .unwrap();
    let run = client.get_run(id).await.unwrap();
    assert_eq!(run.info.status, Some(RunStatus::Killed));
    assert_eq!(
        (run.info.start_time, run.info.end_time),
        (Some(17), Some(99))
    );
    assert_eq!((run.data.params.len(), run.data.tags.len()), (250, 152));
    assert!(
        run.data
            .tags
            .contains(&KeyValue::new("mlflow.runName", "renamed"))
    );
    assert_eq!(run.data.metrics[0].value, 2499.0);
    assert!(run.data.metrics[1].value.is_nan());
    assert_eq!(
        client.get_metric_history(id, "m").await.unwrap().len(),
        2500
    );
    let found = client
        .search_runs(
            &[experiment],
            "metrics.m > 2000 AND status = 'KILLED'",
            &[],
            10,
        )
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn a_param_keeps_its_value() {
    let server = serve().await;
    let id = server.run().await.info.run_id;
    let param = |value| [KeyValue::new("p", value)];
    server
        .client
        .log_batch(&id, &[], &param("1"), &[])
        .await
        .unwrap();
    server
        .client
        .log_batch(&id, &[], &param("1"), &[])
        .await
        .unwrap();
    let error = server
        .client
        .log_batch(&id, &[], &param("2"), &[])
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidParameterValue));
}

#[tokio::test]
async fn pages_lead_to_the_end() {
    let server = serve().await;
    let experiment = server
        .client
        .get_or_create_experiment("pages")
        .await
        .unwrap();
    for i in 0..7 {
        server
            .client
            .create_run(&experiment, Some(&format!("r{i}")), i, vec![])
            .await
            .unwrap();
    }
    let mut names = Vec::new();
    let mut token = json!(null);
    for _ in 0..4 {
        let (status, page) = server
            .post(
                "runs/search",
                json!({"experiment_ids": [experiment], "max_results": 2, "page_token": token}),
            )
            .await;
        assert_eq!(status, 200);
        for run in page["runs"].as_array().unwrap() {
            names.push(run["info"]["run_name"].as_str().unwrap().to_owned());
        }
        token = page["next_page_token"].clone();
    }
    assert!(token.is_null());
    assert_eq!(names, ["r6", "r5", "r4", "r3", "r2", "r1", "r0"]);
    let all = server
        .client
        .search_runs(&[experiment], "", &[], 5)
        .await
        .unwrap();
    assert_eq!(all.len(), 5);
}

#[tokio::test]
async fn requests_are_read_as_mlflow_reads_them() {
    let server = serve().await;
    let id = server.run().await.info.run_id;
    // camelCase, a number as text, unknown fields.
    let (status, _) = server
        .post(
            "runs/log-metric",
            json!({"runId": id, "key": "k", "value": "1.5", "timestamp": "5", "step": 2, "x": {}}),
        )
        .await;
    assert_eq!(status, 200);
    let (status, error) = server
        .post(
            "runs/set-tag",
            json!({"runId": id, "run_id": id, "key": "k"}),
        )
        .await;
    assert_eq!(
        (status, &error["error_code"]),
        (400, &json!("INVALID_PARAMETER_VALUE"))
    );
    // Encoded twice.
    let (status, _) = server
        .post(
            "runs/set-tag",
            json!(json!({"run_id": id, "key": "k", "value": "v"}).to_string()),
        )
        .await;
    assert_eq!(status, 200);
    for (path, body) in [
        (
            "runs/log-metric",
            json!({"run_id": id, "key": "k", "timestamp": 1}),
        ),
        (
            "runs/log-metric",
            json!({"run_id": id, "key": "", "value": 1, "timestamp": 1}),
        ),
        (
            "runs/log-metric",
            json!({"run_id": id, "key": "../k", "value": 1, "timestamp": 1}),
        ),
        (
            "runs/log-metric",
            json!({"run_id": id, "key": "k", "value": "x", "timestamp": 1}),
        ),
        (
            "runs/search",
            json!({"experiment_ids": ["0"], "max_results": 0}),
        ),
        (
            "runs/search",
            json!({"experiment_ids": ["0"], "order_by": ["metrics.a", "metrics.a"]}),
        ),
        ("experiments/create", json!({})),
        (
            "experiments/create",
            json!({"name": "x", "artifact_location": "/etc"}),
        ),
    ] {
        let (status, error) = server.post(path, body.clone()).await;
        assert_eq!(
            (status, &error["error_code"]),
            (400, &json!("INVALID_PARAMETER_VALUE")),
            "{path} {body}"
        );
    }
    let url = format!("{}/api/2.0/mlflow/runs/create", server.url);
    let http = reqwest::Client::new();
    let plain = http.post(&url).body("{}").send().await.unwrap();
    assert_eq!(plain.status(), 400);
    let broken = http
        .post(&url)
        .header("content-type", "application/json")
        .body("{")
        .send()
        .await;
    assert_eq!(broken.unwrap().status(), 400);
    let (status, body) = server
        .get(&format!("/ajax-api/2.0/mlflow/runs/get?run_uuid={id}"))
        .await;
    assert_eq!(status, 200);
    assert!(
        body.contains("\"value\":1.5,\"timestamp\":5,\"step\":2"),
        "{body}"
    );
}

#[tokio::test]
async fn nobody_can_put_sql_into_a_filter() {
    let server = serve().await;
    let id = server.run().await.info.run_id;
    for key in ["x' OR 1=1 --", "x\"; DROP TABLE runs; --", "a\\' b"] {
        let filter = format!("tags.`{key}` = 'x'' OR 1=1 --'");
        let found = server
            .client
            .search_runs(&["1".into()], &filter, &[], 10)
            .await
            .unwrap();
        assert!(found.is_empty());
    }
    server.client.get_run(&id).await.unwrap();
}
