//! Webhooks: a real receiver hears of changes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::harness::{Server, database_of, serve, serve_with};

type Received = (HeaderMap, Value);

#[derive(Clone)]
struct Receiver {
    received: mpsc::UnboundedSender<Received>,
    /// What is answered first; then 200.
    answers: Arc<Mutex<VecDeque<u16>>>,
}

async fn receive(State(state): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let body = serde_json::from_slice(&body).unwrap();
    let answer = state.answers.lock().unwrap().pop_front().unwrap_or(200);
    state.received.send((headers, body)).unwrap();
    StatusCode::from_u16(answer).unwrap()
}

/// The receiver's URL, and what it receives.
async fn receiver(answers: &[u16]) -> (String, mpsc::UnboundedReceiver<Received>) {
    let (received, messages) = mpsc::unbounded_channel();
    let state = Receiver {
        received,
        answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
    };
    let app = axum::Router::new().fallback(receive).with_state(state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, messages)
}

async fn open_server(folder: &std::path::Path) -> Server {
    serve_with(folder, |options| {
        options.webhooks.allow_private = true;
        options.webhooks.allowed_schemes = vec!["http".to_owned()];
    })
    .await
}

async fn subscribe(server: &Server, url: &str, events: &[(&str, &str)]) -> String {
    let events: Vec<Value> = events
        .iter()
        .map(|(entity, action)| json!({"entity": entity, "action": action}))
        .collect();
    let body = json!({"name": "hook", "url": url, "events": events, "secret": "s3cret"});
    let (status, answer) = server.post("webhooks", body).await;
    assert_eq!(status, 200, "{answer}");
    answer["webhook"]["webhook_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn webhooks_are_created_changed_listed_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let server = open_server(folder.path()).await;
    let (url, _messages) = receiver(&[]).await;
    let id = subscribe(
        &server,
        &url,
        &[("MODEL_VERSION", "CREATED"), ("PROMPT", "CREATED")],
    )
    .await;
    let path = format!("/api/2.0/mlflow/webhooks/{id}");
    let (status, answer) = server
        .send(
            "PATCH",
            &path,
            json!({"description": "d", "status": "DISABLED"}),
        )
        .await;
    assert_eq!(status, 200, "{answer}");
    let (_, body) = server.get(&path).await;
    assert!(!body.contains("s3cret"), "{body}");
    let webhook: Value = serde_json::from_str(&body).unwrap();
    let webhook = &webhook["webhook"];
    assert_eq!(
        (&webhook["description"], &webhook["status"], &webhook["url"]),
        (&json!("d"), &json!("DISABLED"), &json!(url))
    );
    assert_eq!(
        webhook["events"][1],
        json!({"entity": "PROMPT", "action": "CREATED"})
    );
    subscribe(&server, &url, &[("PROMPT", "CREATED")]).await;
    let (_, page) = server.get("/api/2.0/mlflow/webhooks?max_results=1").await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["webhooks"].as_array().unwrap().len(), 1);
    assert!(page["next_page_token"].is_string());
    assert_eq!(server.send("DELETE", &path, json!({})).await.0, 200);
    assert_eq!(server.get(&path).await.0, 404);
    assert_eq!(server.send("DELETE", &path, json!({})).await.0, 404);
}

#[tokio::test]
async fn what_is_no_webhook_is_refused() {
    let server = serve().await;
    let good = json!({
        "name": "hook", "url": "https://8.8.8.8/",
        "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}],
    });
    assert_eq!(server.post("webhooks", good.clone()).await.0, 200);
    for (field, value) in [
        ("name", json!("-x")),
        ("name", json!("x".repeat(64))),
        ("url", json!("http://8.8.8.8/")),
        ("url", json!("https://127.0.0.1/")),
        ("url", json!("https://10.0.0.1/")),
        ("url", json!("https://[::1]/")),
        ("url", json!("https://169.254.169.254/latest/meta-data")),
        ("url", json!("https://[::ffff:192.168.0.1]/")),
        ("url", json!("https://localhost/")),
        ("url", json!("nonsense")),
        ("events", json!([])),
        (
            "events",
            json!([{"entity": "MODEL_VERSION", "action": "DELETED"}]),
        ),
        ("events", json!([{"entity": "MODEL_VERSION"}])),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        let (status, answer) = server.post("webhooks", bad.clone()).await;
        assert_eq!(
            (status, &answer["error_code"]),
            (400, &json!("INVALID_PARAMETER_VALUE")),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn receivers_hear_of_changes_signed() {
    let folder = tempfile::tempdir().unwrap();
    let server = open_server(folder.path()).await;
    let (url, mut messages) = receiver(&[]).await;
    let events = [
        ("REGISTERED_MODEL", "CREATED"),
        ("MODEL_VERSION", "CREATED"),
        ("MODEL_VERSION_TAG", "SET"),
        ("MODEL_VERSION_TAG", "DELETED"),
        ("MODEL_VERSION_ALIAS", "CREATED"),
        ("MODEL_VERSION_ALIAS", "DELETED"),
        ("PROMPT", "CREATED"),
        ("PROMPT_VERSION", "CREATED"),
        ("PROMPT_TAG", "SET"),
        ("PROMPT_ALIAS", "CREATED"),
    ];
    subscribe(&server, &url, &events).await;
    let api = "/api/2.0/mlflow";
    let prompt = json!([{"key": "mlflow.prompt.is_prompt", "value": "true"}]);
    let steps = [
        ("POST", "registered-models/create", json!({"name": "m"})),
        (
            "POST",
            "model-versions/create",
            json!({"name": "m", "source": "s3://bucket/m"}),
        ),
        (
            "POST",
            "model-versions/set-tag",
            json!({"name": "m", "version": "1", "key": "k", "value": "v"}),
        ),
        (
            "DELETE",
            "model-versions/delete-tag",
            json!({"name": "m", "version": "1", "key": "k"}),
        ),
        (
            "POST",
            "registered-models/alias",
            json!({"name": "m", "alias": "best", "version": "1"}),
        ),
        (
            "DELETE",
            "registered-models/alias",
            json!({"name": "m", "alias": "best"}),
        ),
        // Nobody is told of a model's own tags.
        (
            "POST",
            "registered-models/set-tag",
            json!({"name": "m", "key": "k", "value": "v"}),
        ),
        (
            "POST",
            "registered-models/create",
            json!({"name": "p", "tags": prompt}),
        ),
        (
            "POST",
            "model-versions/create",
            json!({"name": "p", "source": "prompt-template", "tags": [
                {"key": "mlflow.prompt.is_prompt", "value": "true"},
                {"key": "mlflow.prompt.text", "value": "Hi {{x}}"},
                {"key": "t", "value": "u"},
            ]}),
        ),
        (
            "POST",
            "registered-models/set-tag",
            json!({"name": "p", "key": "k", "value": "v"}),
        ),
        (
            "POST",
            "registered-models/alias",
            json!({"name": "p", "alias": "live", "version": "1"}),
        ),
    ];
    let mut seen = Vec::new();
    for (method, path, body) in steps {
        let told = path != "registered-models/set-tag" || body["name"] == "p";
        let (status, answer) = server.send(method, &format!("{api}/{path}"), body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        if told {
            // One by one: messages of different changes may overtake each other.
            let (headers, message) = messages.recv().await.unwrap();
            assert!(
                headers["x-mlflow-signature"]
                    .to_str()
                    .unwrap()
                    .starts_with("v1,")
            );
            assert!(headers.contains_key("x-mlflow-delivery-id"));
            assert!(headers.contains_key("x-mlflow-timestamp"));
            assert!(message["timestamp"].as_str().unwrap().ends_with("+00:00"));
            let kind = format!(
                "{}.{}",
                message["entity"].as_str().unwrap(),
                message["action"].as_str().unwrap()
            );
            seen.push((kind, message["data"].clone()));
        }
    }
    let kinds: Vec<&str> = seen.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "registered_model.created",
            "model_version.created",
            "model_version_tag.set",
            "model_version_tag.deleted",
            "model_version_alias.created",
            "model_version_alias.deleted",
            "prompt.created",
            "prompt_version.created",
            "prompt_tag.set",
            "prompt_alias.created",
        ]
    );
    assert_eq!(
        seen[0].1,
        json!({"name": "m", "tags": {}, "description": ""})
    );
    assert_eq!(
        seen[4].1,
        json!({"name": "m", "alias": "best", "version": "1"})
    );
    assert_eq!(
        seen[7].1,
        json!({
            "name": "p", "version": "1", "template": "Hi {{x}}", "tags": {"t": "u"},
            "description": null,
        })
    );
}

#[tokio::test]
async fn a_busy_receiver_is_told_again_with_the_same_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let server = open_server(folder.path()).await;
    let (url, mut messages) = receiver(&[503]).await;
    subscribe(&server, &url, &[("REGISTERED_MODEL", "CREATED")]).await;
    server
        .post("registered-models/create", json!({"name": "m"}))
        .await;
    let (first, _) = messages.recv().await.unwrap();
    let (second, message) = messages.recv().await.unwrap();
    assert_eq!(
        first["x-mlflow-delivery-id"],
        second["x-mlflow-delivery-id"]
    );
    assert_eq!(message["data"]["name"], "m");
}

#[tokio::test]
async fn what_one_server_could_not_send_another_sends() {
    let folder = tempfile::tempdir().unwrap();
    // PostgreSQL outlives the first server.
    let _database = database_of(folder.path());
    let (url, mut messages) = receiver(&[503]).await;
    let id = {
        let server = open_server(folder.path()).await;
        let id = subscribe(&server, &url, &[("REGISTERED_MODEL", "CREATED")]).await;
        server
            .post("registered-models/create", json!({"name": "m"}))
            .await;
        messages.recv().await.unwrap();
        id
    };
    // The first server is gone; its delivery and the key of its secrets are in the database.
    let server = open_server(folder.path()).await;
    let (headers, _) = messages.recv().await.unwrap();
    assert!(headers.contains_key("x-mlflow-signature"));
    let path = format!("/api/2.0/mlflow/webhooks/{id}/test");
    let (_, answer) = server.send("POST", &path, json!({})).await;
    assert_eq!(answer["result"]["success"], true, "{answer}");
    assert_eq!(answer["result"]["response_status"], 200);
    let (_, message) = messages.recv().await.unwrap();
    assert_eq!(message["data"]["name"], "example_model");
}

#[tokio::test]
async fn a_test_says_why_nobody_answers() {
    let folder = tempfile::tempdir().unwrap();
    let server = open_server(folder.path()).await;
    // Bound and dropped: nobody listens there.
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("http://127.0.0.1:{port}/");
    let id = subscribe(&server, &url, &[("PROMPT_ALIAS", "CREATED")]).await;
    let path = format!("/api/2.0/mlflow/webhooks/{id}/test");
    let (status, answer) = server.send("POST", &path, json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(answer["result"]["success"], false, "{answer}");
    assert!(answer["result"]["error_message"].is_string());
}

#[tokio::test]
async fn a_move_that_is_taken_back_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = open_server(folder.path()).await;
    let (url, mut messages) = receiver(&[]).await;
    let mlflow = "/api/2.0/mlflow";
    let version = json!({"name": "m", "source": "s3://bucket/m"});
    let alias = |version: &str| json!({"name": "m", "alias": "best", "version": version});
    for (path, body) in [
        ("registered-models/create", json!({"name": "m"})),
        ("model-versions/create", version.clone()),
        ("model-versions/create", version),
        ("registered-models/alias", alias("1")),
        ("registered-models/alias", alias("2")),
    ] {
        let (status, answer) = server.send("POST", &format!("{mlflow}/{path}"), body).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
    subscribe(&server, &url, &[("MODEL_VERSION_ALIAS", "CREATED")]).await;
    let path = "/api/2.0/foreshock/registered-models/alias-rollback";
    let body = json!({"name": "m", "alias": "best"});
    let (status, answer) = server.send("POST", path, body).await;
    assert_eq!(status, 200, "{answer}");
    let (_, message) = messages.recv().await.unwrap();
    assert_eq!(message["data"], alias("1"));
}
