//! Traces, their spans and what is said of them.

use serde_json::{Value, json};

use crate::harness::{Server, serve};

const API: &str = "/api/3.0/mlflow/traces";

/// An id of OpenTelemetry from a number.
fn otel(number: u32) -> String {
    format!("{number:032x}")
}

/// Sends the spans of a trace: a root, and a model's call below it.
async fn log_spans(server: &Server, experiment: &str, number: u32, failed: bool) -> String {
    let start = 1_700_000_000_000_000_000_u64 + u64::from(number) * 1_000_000_000;
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let body = json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", "shop")]},
        "scopeSpans": [{"spans": [
            {
                "traceId": otel(number), "spanId": "00000000000000aa", "name": "root",
                "startTimeUnixNano": start.to_string(),
                "endTimeUnixNano": (start + 250_000_000).to_string(),
                "attributes": [text("mlflow.spanInputs", "question"), text("session.id", "s")],
                "status": {"code": if failed { 2 } else { 1 }},
            },
            {
                "traceId": otel(number), "spanId": "00000000000000bb",
                "parentSpanId": "00000000000000aa", "name": "call",
                "startTimeUnixNano": (start + 1).to_string(),
                "endTimeUnixNano": (start + 2).to_string(),
                "attributes": [text("mlflow.spanType", "LLM"), text("model", "tiny-2")],
            },
        ]}],
    }]});
    let response = reqwest::Client::new()
        .post(format!("{}/v1/traces", server.url))
        .header("X-MLflow-Experiment-Id", experiment)
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200, "{:?}", response.text().await);
    format!("tr-{}", otel(number))
}

async fn search(server: &Server, experiment: &str, filter: &str, order: &str) -> Vec<String> {
    let order_by: Vec<&str> = Some(order)
        .filter(|order| !order.is_empty())
        .into_iter()
        .collect();
    let body = json!({
        "locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}],
        "filter": filter, "order_by": order_by,
    });
    let (status, answer) = server.send("POST", &format!("{API}/search"), body).await;
    assert_eq!(status, 200, "{filter}: {answer}");
    answer["traces"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|trace| trace["trace_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn spans_make_a_trace_and_the_client_completes_it() {
    let server = serve().await;
    let experiment = server.run().await.info.experiment_id;
    let id = log_spans(&server, &experiment, 1, false).await;
    let (_, body) = server.get(&format!("{API}/get?trace_id={id}")).await;
    let trace: Value = serde_json::from_str(&body).unwrap();
    let (info, spans) = (&trace["trace"]["trace_info"], &trace["trace"]["spans"]);
    assert_eq!(info["state"], "OK");
    assert_eq!(info["request_time"], "2023-11-14T22:13:21Z");
    assert_eq!(info["execution_duration"], "0.250s");
    assert_eq!(info["request_preview"], "question");
    assert_eq!(info["tags"]["service.name"], "shop");
    assert_eq!(info["tags"]["mlflow.trace.spansLocation"], "TRACKING_STORE");
    assert_eq!(info["trace_metadata"]["mlflow.trace.session"], "s");
    assert_eq!(spans[0]["name"], "root");
    assert_eq!(spans[1]["parent_span_id"], "AAAAAAAAAKo=");

    // The client says more, in keys of its own; spans that come again change nothing.
    let complete = json!({"trace": {"trace_info": {
        "trace_id": id, "client_request_id": "c",
        "trace_location": {"type": 1, "mlflow_experiment": {"experiment_id": experiment}},
        "request_time": "2023-11-14T22:13:20.500Z", "execution_duration": "1s", "state": "ERROR",
        "trace_metadata": {"camelCase": "kept", "mlflow.trace.sizeStats": "{\"num_spans\": 3}"},
        "tags": {"mlflow.traceName": "n", "aB": "c"},
    }}});
    let (status, answer) = server.send("POST", API, complete).await;
    assert_eq!(status, 200, "{answer}");
    log_spans(&server, &experiment, 1, false).await;
    let (_, body) = server.get(&format!("{API}/{id}")).await;
    let info: Value = serde_json::from_str(&body).unwrap();
    let info = &info["trace"]["trace_info"];
    assert_eq!(info["state"], "ERROR");
    assert_eq!(info["request_time"], "2023-11-14T22:13:20.500Z");
    assert_eq!(info["execution_duration"], "1s");
    assert_eq!(info["request_preview"], "question");
    assert_eq!(info["trace_metadata"]["camelCase"], "kept");
    assert_eq!(info["tags"]["aB"], "c");

    // It says that it has three spans: it is not complete.
    let (status, _) = server.get(&format!("{API}/get?trace_id={id}")).await;
    assert_eq!(status, 404);
    let (_, body) = server.get(&format!("{API}/batchGet?trace_ids={id}")).await;
    assert_eq!(body, "{}");
    let (status, _) = server
        .get(&format!("{API}/get?trace_id={id}&allow_partial=true"))
        .await;
    assert_eq!(status, 200);
    let (_, file) = server
        .get(&format!(
            "/ajax-api/3.0/mlflow/get-trace-artifact?request_id={id}"
        ))
        .await;
    let file: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(
        file["spans"][0]["attributes"]["mlflow.spanInputs"],
        "\"question\""
    );
    let body = json!({"trace_ids": ["tr-none", id]});
    let (_, infos) = server
        .send("POST", &format!("{API}/batchGetInfos"), body)
        .await;
    assert_eq!(infos["trace_infos"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn traces_are_found() {
    let server = serve().await;
    let run = server.run().await.info;
    let experiment = &run.experiment_id;
    let one = log_spans(&server, experiment, 1, false).await;
    let two = log_spans(&server, experiment, 2, true).await;
    let three = log_spans(&server, experiment, 3, false).await;
    let tag = json!({"key": "team", "value": "risk"});
    let path = format!("/api/2.0/mlflow/traces/{two}/tags");
    assert_eq!(server.send("PATCH", &path, tag).await.0, 200);
    let link = json!({"trace_ids": [one, "tr-none"], "run_id": run.run_id});
    assert_eq!(server.post("traces/link-to-run", link).await.0, 200);
    let prompts = json!({"trace_id": three, "prompt_versions": [{"name": "p", "version": "2"}]});
    assert_eq!(server.post("traces/link-prompts", prompts).await.0, 200);
    let feedback = json!({"assessment": {
        "assessment_name": "good", "feedback": {"value": 4},
        "source": {"source_type": "HUMAN", "source_id": "me"},
    }});
    let path = format!("{API}/{one}/assessments");
    assert_eq!(server.send("POST", &path, feedback).await.0, 200);

    for (filter, order, expected) in [
        ("", "", vec![&three, &two, &one]),
        ("", "timestamp ASC", vec![&one, &two, &three]),
        ("status = 'ERROR'", "", vec![&two]),
        ("trace.status IN ('OK')", "", vec![&three, &one]),
        ("timestamp_ms > 1700000001000", "", vec![&three, &two]),
        ("end_time <= 1700000001250", "", vec![&one]),
        ("execution_time = 250", "", vec![&three, &two, &one]),
        ("tags.team = 'risk'", "", vec![&two]),
        ("tag.team IS NULL", "", vec![&three, &one]),
        (
            "metadata.`mlflow.trace.session` = 's'",
            "",
            vec![&three, &two, &one],
        ),
        ("run_id = 'RUN'", "", vec![&one]),
        ("prompt = 'p/2'", "", vec![&three]),
        ("feedback.good = '4'", "", vec![&one]),
        ("feedback.good > 3", "", vec![&one]),
        ("feedback.good > 4", "", vec![]),
        ("feedback.good IS NULL", "", vec![&three, &two]),
        ("expectation.good IS NOT NULL", "", vec![]),
        (
            "span.type = 'LLM' AND span.name LIKE 'ca%'",
            "",
            vec![&three, &two, &one],
        ),
        ("span.status = 'ERROR'", "", vec![&two]),
        (
            "span.attributes.model = 'tiny-2'",
            "",
            vec![&three, &two, &one],
        ),
        ("span.attributes.model LIKE '%huge%'", "", vec![]),
        ("text LIKE '%question%'", "", vec![&three, &two, &one]),
        ("request_id = 'ONE'", "", vec![&one]),
    ] {
        let filter = filter.replace("RUN", &run.run_id).replace("ONE", &one);
        let found = search(&server, experiment, &filter, order).await;
        let expected: Vec<String> = expected.into_iter().cloned().collect();
        assert_eq!(found, expected, "{filter}");
    }
    let locations = json!([{"mlflow_experiment": {"experiment_id": experiment}}]);
    for bad in [
        json!({"locations": locations, "filter": "nothing.x = 'y'"}),
        json!({"locations": locations, "filter": "prompt = 'p'"}),
        json!({"locations": locations, "max_results": 501}),
        json!({"locations": locations, "page_token": "x"}),
        json!({}),
    ] {
        let (status, _) = server
            .send("POST", &format!("{API}/search"), bad.clone())
            .await;
        assert_eq!(status, 400, "{bad}");
    }
    let first = json!({"locations": locations, "max_results": 2});
    let (_, page) = server.send("POST", &format!("{API}/search"), first).await;
    let next =
        json!({"locations": locations, "max_results": 2, "page_token": page["next_page_token"]});
    let (_, page) = server.send("POST", &format!("{API}/search"), next).await;
    assert_eq!(page["traces"][0]["trace_id"], json!(one));
    assert_eq!(page.get("next_page_token"), None);
}

#[tokio::test]
async fn traces_and_tags_are_deleted() {
    let server = serve().await;
    let experiment = server.run().await.info.experiment_id;
    let mut ids = Vec::new();
    for number in 1..=4 {
        ids.push(log_spans(&server, &experiment, number, false).await);
    }
    for (body, status, deleted) in [
        (json!({}), 400, None),
        (
            json!({"max_timestamp_millis": 1, "request_ids": ["a"]}),
            400,
            None,
        ),
        (
            json!({"max_timestamp_millis": 1, "max_traces": 0}),
            400,
            None,
        ),
        (json!({"max_timestamp_millis": 1}), 200, Some(0)),
        (json!({"request_ids": [ids[3], "tr-none"]}), 200, Some(1)),
        (
            json!({"max_timestamp_millis": 1_700_000_009_000_i64, "max_traces": 2}),
            200,
            Some(2),
        ),
    ] {
        let mut body = body;
        body["experiment_id"] = json!(experiment);
        let (got, answer) = server.post("traces/delete-traces", body.clone()).await;
        assert_eq!(got, status, "{body}: {answer}");
        if let Some(deleted) = deleted {
            assert_eq!(answer["traces_deleted"], deleted, "{body}");
        }
    }
    assert_eq!(search(&server, &experiment, "", "").await, [ids[2].clone()]);
    let path = format!("{API}/{}/tags", ids[2]);
    assert_eq!(
        server
            .send("PATCH", &path, json!({"key": "a", "value": "b"}))
            .await
            .0,
        200
    );
    assert_eq!(
        server.send("DELETE", &path, json!({"key": "a"})).await.0,
        200
    );
    assert_eq!(
        server.send("DELETE", &path, json!({"key": "a"})).await.0,
        404
    );
    let system = json!({"key": "mlflow.trace.spansLocation", "value": "x"});
    assert_eq!(server.send("PATCH", &path, system).await.0, 400);
    let gone = format!("{API}/{}/tags", ids[0]);
    assert_eq!(
        server
            .send("PATCH", &gone, json!({"key": "a", "value": "b"}))
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn assessments_are_created_changed_overridden_and_deleted() {
    let server = serve().await;
    let experiment = server.run().await.info.experiment_id;
    let id = log_spans(&server, &experiment, 7, false).await;
    let path = format!("{API}/{id}/assessments");
    let create = |assessment: Value| server.send("POST", &path, json!({"assessment": assessment}));
    let source = json!({"source_type": "CODE", "source_id": "t"});
    let (_, first) = create(json!({
        "assessment_name": "good", "feedback": {"value": {"camelKey": [1, true]}},
        "source": source, "metadata": {"aB": "c"}, "create_time": "2024-01-01T00:00:00Z",
    }))
    .await;
    let first = first["assessment"].clone();
    assert_eq!(first["feedback"]["value"], json!({"camelKey": [1, true]}));
    assert_eq!(first["metadata"], json!({"aB": "c"}));
    assert_eq!(first["create_time"], "2024-01-01T00:00:00Z");
    let first_path = format!("{path}/{}", first["assessment_id"].as_str().unwrap());

    let change = json!({
        "assessment": {"rationale": "why", "feedback": {"value": false}, "metadata": {"d": "e"}},
        "update_mask": "feedback,rationale,metadata",
    });
    let (status, changed) = server.send("PATCH", &first_path, change).await;
    assert_eq!(status, 200, "{changed}");
    let changed = &changed["assessment"];
    assert_eq!(changed["feedback"]["value"], false);
    assert_eq!(changed["rationale"], "why");
    assert_eq!(changed["metadata"], json!({"aB": "c", "d": "e"}));
    let wrong = json!({"assessment": {"expectation": {"value": 1}}, "update_mask": "expectation"});
    assert_eq!(server.send("PATCH", &first_path, wrong).await.0, 400);

    let (_, second) = create(json!({
        "assessment_name": "good", "feedback": {"value": true}, "source": source,
        "overrides": first["assessment_id"],
    }))
    .await;
    let read = async || {
        let (_, body) = server.get(&first_path).await;
        serde_json::from_str::<Value>(&body).unwrap()["assessment"]["valid"].clone()
    };
    assert_eq!(read().await, false);
    let second_path = format!(
        "{path}/{}",
        second["assessment"]["assessment_id"].as_str().unwrap()
    );
    assert_eq!(server.send("DELETE", &second_path, json!({})).await.0, 200);
    assert_eq!(server.send("DELETE", &second_path, json!({})).await.0, 200);
    assert_eq!(read().await, true);

    let (_, list) = create(json!({
        "assessment_name": "facts", "source": source, "expectation": {"serialized_value":
            {"serialization_format": "JSON_FORMAT", "value": "[1, 2]"}},
    }))
    .await;
    assert_eq!(
        list["assessment"]["expectation"]["serialized_value"]["value"],
        "[1,2]"
    );
    for bad in [
        json!({"assessment_name": "x", "source": source}),
        json!({"assessment_name": "x", "feedback": {"value": 1}, "expectation": {"value": 1}}),
    ] {
        assert_eq!(create(bad.clone()).await.0, 400, "{bad}");
    }
    let missing = json!({"assessment_name": "x", "feedback": {"value": 1}, "overrides": "none"});
    assert_eq!(create(missing).await.0, 404);
    let (_, body) = server.get(&format!("{API}/{id}")).await;
    let info: Value = serde_json::from_str(&body).unwrap();
    let names: Vec<_> = info["trace"]["trace_info"]["assessments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|assessment| assessment["assessment_name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["good", "facts"]);
}

#[tokio::test]
async fn the_routes_of_old_clients_work() {
    let server = serve().await;
    let experiment = server.run().await.info.experiment_id;
    let start = json!({
        "experiment_id": experiment, "timestamp_ms": 1000,
        "request_metadata": [{"key": "a", "value": "b"}], "tags": [{"key": "c", "value": "d"}],
    });
    let (status, answer) = server.post("traces", start).await;
    assert_eq!(status, 200, "{answer}");
    let id = answer["trace_info"]["request_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(answer["trace_info"]["status"], "IN_PROGRESS");
    let end = json!({"timestamp_ms": 1500, "status": "OK"});
    let path = format!("/api/2.0/mlflow/traces/{id}");
    let (status, answer) = server.send("PATCH", &path, end).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["trace_info"]["execution_time_ms"], 500);
    let (_, body) = server.get(&format!("{path}/info")).await;
    assert!(body.contains(r#""status":"OK""#), "{body}");
    let (_, body) = server
        .get(&format!(
            "/api/2.0/mlflow/traces?experiment_ids={experiment}"
        ))
        .await;
    assert!(body.contains(&id), "{body}");
}

#[tokio::test]
async fn bodies_that_are_no_spans_are_refused() {
    let server = serve().await;
    let send = |kind: &'static str, encoding: &'static str, body: Vec<u8>| {
        reqwest::Client::new()
            .post(format!("{}/v1/traces", server.url))
            .header("X-MLflow-Experiment-Id", "0")
            .header("Content-Type", kind)
            .header("Content-Encoding", encoding)
            .body(body)
            .send()
    };
    for (kind, encoding, body) in [
        ("text/plain", "identity", b"x".to_vec()),
        ("application/x-protobuf", "identity", b"nonsense".to_vec()),
        ("application/x-protobuf", "identity", Vec::new()),
        ("application/json", "identity", b"{".to_vec()),
        ("application/json", "gzip", b"{}".to_vec()),
        ("application/json", "br", b"{}".to_vec()),
    ] {
        let status = send(kind, encoding, body).await.unwrap().status();
        assert_eq!(status, 400, "{kind} {encoding}");
    }
    let status = reqwest::Client::new()
        .post(format!("{}/v1/traces", server.url))
        .json(&json!({}))
        .send()
        .await
        .unwrap()
        .status();
    assert_eq!(status, 400);
}
