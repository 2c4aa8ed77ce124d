//! Who moved which alias, when, why; and taking it back.

use mlflow_api::types::{AliasChange, AliasHistoryResponse};
use serde_json::{Value, json};

use crate::harness::{Server, serve, serve_in};

/// A model with that many versions.
pub(crate) async fn model(server: &Server, name: &str, versions: usize) {
    server.client.ensure_registered_model(name).await.unwrap();
    for _ in 0..versions {
        server
            .client
            .create_model_version(name, "s3://bucket/model", None, vec![], None)
            .await
            .unwrap();
    }
}

async fn send(server: &Server, method: &str, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/api/2.0/{path}", server.url);
    let response = reqwest::Client::new()
        .request(method.parse().unwrap(), url)
        .header("X-Foreshock-Reason", "by header")
        .json(&body)
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn history(server: &Server, query: &str) -> AliasHistoryResponse {
    let path = format!("/api/2.0/foreshock/registered-models/alias-history?{query}");
    let (status, body) = server.get(&path).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn brief(change: &AliasChange) -> (&str, &str, &str, &str) {
    (
        change.alias.as_str(),
        change.from_version.as_deref().unwrap_or("-"),
        change.to_version.as_deref().unwrap_or("-"),
        change.cause.as_str(),
    )
}

#[tokio::test]
async fn every_way_to_move_an_alias_is_recorded() {
    let server = serve().await;
    model(&server, "m", 3).await;
    let alias = "mlflow/registered-models/alias";
    for (method, path, body) in [
        (
            "POST",
            alias,
            json!({"name": "m", "alias": "a", "version": "1", "reason": "first"}),
        ),
        (
            "POST",
            alias,
            json!({"name": "m", "alias": "a", "version": "2"}),
        ),
        // Changes nothing, and is not recorded.
        (
            "POST",
            alias,
            json!({"name": "m", "alias": "a", "version": "2"}),
        ),
        (
            "POST",
            alias,
            json!({"name": "m", "alias": "b", "version": "3"}),
        ),
        ("DELETE", alias, json!({"name": "m", "alias": "b"})),
        ("DELETE", alias, json!({"name": "m", "alias": "never"})),
        (
            "DELETE",
            "mlflow/model-versions/delete",
            json!({"name": "m", "version": "2"}),
        ),
        (
            "POST",
            alias,
            json!({"name": "m", "alias": "a", "version": "1"}),
        ),
        (
            "POST",
            "mlflow/registered-models/rename",
            json!({"name": "m", "new_name": "n"}),
        ),
        (
            "DELETE",
            "mlflow/registered-models/delete",
            json!({"name": "n"}),
        ),
    ] {
        let (status, answer) = send(&server, method, path, body).await;
        assert_eq!(status, 200, "{answer}");
    }
    let changes = history(&server, "name=n").await.changes;
    assert_eq!(
        changes.iter().map(brief).collect::<Vec<_>>(),
        [
            ("a", "1", "-", "model_deleted"),
            ("a", "-", "1", "set"),
            ("a", "2", "-", "version_deleted"),
            ("b", "3", "-", "deleted"),
            ("b", "-", "3", "set"),
            ("a", "1", "2", "set"),
            ("a", "-", "1", "set"),
        ]
    );
    let first = changes.last().unwrap();
    assert_eq!(
        (first.sequence, first.user.as_str(), first.reason.as_deref()),
        (1, "anonymous", Some("first"))
    );
    assert!(first.time > 1_600_000_000_000 && first.name == "n");
    assert_eq!(changes[0].reason.as_deref(), Some("by header"));
    assert_eq!(
        changes.iter().map(|c| c.sequence).collect::<Vec<_>>(),
        [7, 6, 5, 4, 3, 2, 1]
    );

    let (status, _) = server
        .get("/api/2.0/foreshock/registered-models/alias-history?name=m")
        .await;
    assert_eq!(status, 404);
    let too_long = json!({"name": "n", "alias": "a", "version": "1", "reason": "x".repeat(1001)});
    assert_eq!(send(&server, "POST", alias, too_long).await.0, 400);
}

#[tokio::test]
async fn pages_of_a_history_do_not_move() {
    let server = serve().await;
    model(&server, "m", 2).await;
    for i in 0..7 {
        let version = if i % 2 == 0 { "1" } else { "2" };
        server.client.set_alias("m", "a", version).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = history(
            &server,
            &format!("name=m&alias=a&max_results=3&page_token={token}"),
        )
        .await;
        seen.extend(page.changes.iter().map(|change| change.sequence));
        // What happens meanwhile belongs to an earlier page.
        server.client.set_alias("m", "b", "1").await.unwrap();
        match page.next_page_token {
            Some(next) => token = next,
            None => break,
        }
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
    let path = "/api/2.0/foreshock/registered-models/alias-history?name=m&page_token=";
    for bad in ["x", "-000000000000001", "0000000000000000"] {
        assert_eq!(server.get(&format!("{path}{bad}")).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_rollback_names_the_version_before() {
    let server = serve().await;
    model(&server, "m", 2).await;
    let path = "foreshock/registered-models/alias-rollback";
    let body = json!({"name": "m", "alias": "a", "reason": "too many alerts"});
    assert_eq!(send(&server, "POST", path, body.clone()).await.0, 400);
    server.client.set_alias("m", "a", "1").await.unwrap();
    // Nothing was before the first.
    assert_eq!(send(&server, "POST", path, body.clone()).await.0, 400);
    server.client.set_alias("m", "a", "2").await.unwrap();
    let (status, answer) = send(&server, "POST", path, body.clone()).await;
    assert_eq!(status, 200);
    let change = &answer["change"];
    assert_eq!(
        (
            &change["from_version"],
            &change["to_version"],
            &change["cause"]
        ),
        (&json!("2"), &json!("1"), &json!("rolled_back"))
    );
    assert_eq!(change["reason"], "too many alerts");
    let now = server.client.get_by_alias("m", "a").await.unwrap();
    assert_eq!(now.version, "1");
    let gone = json!({"name": "m", "version": "2"});
    send(&server, "DELETE", "mlflow/model-versions/delete", gone).await;
    assert_eq!(send(&server, "POST", path, body).await.0, 404);
}

#[tokio::test]
async fn numbers_are_dense_when_many_move_aliases_at_once() {
    let server = serve().await;
    let other = serve_in(&server.folder).await;
    for name in ["m", "n"] {
        model(&server, name, 2).await;
    }
    let mut tasks = Vec::new();
    for i in 0..8 {
        let client = if i % 2 == 0 {
            &server.client
        } else {
            &other.client
        }
        .clone();
        tasks.push(tokio::spawn(async move {
            for j in 0..10 {
                let name = if (i + j) % 3 == 0 { "m" } else { "n" };
                let alias = format!("a{}", j % 2);
                let version = if (i + j) % 2 == 0 { "1" } else { "2" };
                client.set_alias(name, &alias, version).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut all = Vec::new();
    for name in ["m", "n"] {
        all.extend(
            history(&server, &format!("name={name}&max_results=1000"))
                .await
                .changes,
        );
    }
    all.sort_by_key(|change| change.sequence);
    let mut now = std::collections::HashMap::new();
    for (expected, change) in (1..).zip(&all) {
        assert_eq!(change.sequence, expected);
        let key = (change.name.clone(), change.alias.clone());
        let before = now.insert(key, change.to_version.clone()).flatten();
        assert_eq!(before, change.from_version, "{change:?}");
    }
    for ((name, alias), version) in now {
        let stored = server.client.get_by_alias(&name, &alias).await.unwrap();
        assert_eq!(Some(stored.version), version);
    }
}
