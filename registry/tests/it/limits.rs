//! What the databases limit in ways of their own.

use serde_json::{Value, json};

use crate::harness::serve;

/// A text that no index can press together.
fn long(beginning: &str, length: usize) -> String {
    let mut text = beginning.to_owned();
    while text.len() < length {
        text.push_str(&uuid::Uuid::new_v4().simple().to_string());
    }
    text.truncate(length);
    text
}

#[tokio::test]
async fn long_tags_are_kept_and_found() {
    let server = serve().await;
    let run = server.run().await.info;
    let other = server
        .client
        .create_run(&run.experiment_id, None, 2, Vec::new())
        .await
        .unwrap();
    // The same beginning, which is all that an index may have.
    let same = "é".repeat(300);
    let (text, other_text) = (long(&same, 7900), long(&same, 7900));
    for (id, text) in [(&run.run_id, &text), (&other.info.run_id, &other_text)] {
        server.client.set_tag(id, "note", text).await.unwrap();
    }
    let find = async |filter: String| -> Vec<String> {
        let found = server
            .client
            .search_runs(std::slice::from_ref(&run.experiment_id), &filter, &[], 5)
            .await
            .unwrap();
        found.into_iter().map(|run| run.info.run_id).collect()
    };
    let found = find(format!("tags.note = '{text}'")).await;
    assert_eq!(found, std::slice::from_ref(&run.run_id));
    assert_eq!(find(format!("tags.note = '{same}'")).await, [""; 0]);
    let unlike = find(format!("tags.note != '{text}'")).await;
    assert_eq!(unlike, [other.info.run_id]);
}

#[tokio::test]
async fn long_metadata_of_a_trace_is_kept_and_found() {
    let server = serve().await;
    let experiment = server.run().await.info.experiment_id;
    let text = long("", 7000);
    let trace = json!({"trace": {"trace_info": {
        "trace_id": "tr-long",
        "trace_location": {"type": 1, "mlflow_experiment": {"experiment_id": experiment}},
        "request_time": "2023-11-14T22:13:20.500Z", "state": "OK",
        "trace_metadata": {"mlflow.traceInputs": text},
    }}});
    let (status, body) = server.send("POST", "/api/3.0/mlflow/traces", trace).await;
    assert_eq!(status, 200, "{body}");
    let search = json!({
        "locations": [{"type": 1, "mlflow_experiment": {"experiment_id": experiment}}],
        "filter": format!("metadata.`mlflow.traceInputs` = '{text}'"),
    });
    let (status, found) = server
        .send("POST", "/api/3.0/mlflow/traces/search", search)
        .await;
    assert_eq!(status, 200, "{found}");
    assert_eq!(found["traces"].as_array().map(Vec::len), Some(1));
}

/// Times at the ends of what an integer holds break neither the trace nor a search that meets it.
#[tokio::test]
async fn absurd_times_of_a_trace_harm_nobody() {
    let server = serve().await;
    let experiment = server.run().await.info.experiment_id;
    for (start, end) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (5, 8)] {
        let (status, started) = server
            .post(
                "traces",
                json!({"experiment_id": experiment, "timestamp_ms": start}),
            )
            .await;
        assert_eq!(status, 200, "{started}");
        let id = started["trace_info"]["request_id"].as_str().unwrap();
        let (status, ended) = server
            .send(
                "PATCH",
                &format!("/api/2.0/mlflow/traces/{id}"),
                json!({"timestamp_ms": end, "status": "OK"}),
            )
            .await;
        assert_eq!(status, 200, "{ended}");
    }
    for order in ["timestamp_ms DESC", "end_time DESC", "execution_time ASC"] {
        let search = json!({
            "locations": [{"type": 1, "mlflow_experiment": {"experiment_id": experiment}}],
            "filter": "end_time_ms > 0", "order_by": [order],
        });
        let (status, found) = server
            .send("POST", "/api/3.0/mlflow/traces/search", search)
            .await;
        assert_eq!(status, 200, "{order}: {found}");
        assert_eq!(found["traces"].as_array().map(Vec::len), Some(2), "{found}");
    }
}

/// An id that fits into no index is the client's mistake.
#[tokio::test]
async fn an_endless_id_is_refused_or_kept() {
    let server = serve().await;
    let experiment = server.run().await.info.experiment_id;
    let trace = json!({"trace": {"trace_info": {
        "trace_id": long("tr-", 60_000),
        "trace_location": {"type": 1, "mlflow_experiment": {"experiment_id": experiment}},
        "request_time": "2023-11-14T22:13:20.500Z", "state": "OK",
    }}});
    let (status, body): (u16, Value) = server.send("POST", "/api/3.0/mlflow/traces", trace).await;
    assert!(status == 200 || status == 400, "{status} {body}");
}
