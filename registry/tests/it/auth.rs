//! Who may do what.

use std::time::{Duration, Instant};

use registry::ServeOptions;
use registry::api::routes::ROUTES;
use registry::auth::Role;
use registry::store::Granted;
use serde_json::json;

use super::secured::{PASSWORD, Secured, program, serve_with, start};

const USERS: &[(&str, Role)] = &[
    ("nobody", Role::None),
    ("rita", Role::Reader),
    ("walt", Role::Writer),
    ("ada", Role::Admin),
];

/// What a reader may send though it is no GET.
const READS: &[&str] = &[
    "/mlflow/experiments/search",
    "/mlflow/experiments/search-datasets",
    "/mlflow/runs/search",
    "/mlflow/logged-models/search",
    "/mlflow/registered-models/get-latest-versions",
    "/mlflow/artifacts/presigned-download-url",
    "/mlflow/traces/search",
    "/mlflow/traces/batchGetInfos",
    "/mlflow/traces/calculate-filter-correlation",
    "/mlflow/traces/metrics",
    // Of their own account.
    "/mlflow/users/update-password",
];
/// What not even a writer may do.
const ADMINS: &[&str] = &["/mlflow/users/", "/mlflow/webhooks"];
/// What is a user's own.
const OWN: &[&str] = &[
    "/mlflow/users/get",
    "/mlflow/users/current",
    "/mlflow/users/current/permissions",
    "/mlflow/users/update-password",
    "/mlflow/users/permissions/list",
    "/mlflow/users/permissions/get",
];

#[tokio::test]
async fn every_route_asks_for_a_role() {
    let server = serve_with(ServeOptions::default(), USERS).await;
    for route in ROUTES {
        let path = format!("/api/{}{}", route.version, route.path)
            .replace("{*path}", "99/f")
            .replace(['{', '}'], "");
        let mut denied = Vec::new();
        for user in ["", "nobody", "rita", "walt", "ada"] {
            let mut request = server.request(user, route.method, &path);
            if route.method != "get" {
                request = request.json(&json!({}));
            }
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            match user {
                "" => assert_eq!(
                    status == 401,
                    !path.ends_with("/server-info"),
                    "{} {path}: {status}",
                    route.method
                ),
                _ => {
                    assert_ne!(status, 401, "{} {path} {user}", route.method);
                    let body = response.text().await.unwrap();
                    if status == 403 && body.contains("PERMISSION_DENIED") {
                        denied.push(user);
                    }
                }
            }
        }
        let reads = route.method == "get" || READS.contains(&route.path);
        let admins = ADMINS.iter().any(|start| route.path.starts_with(start));
        // One whose role is the same everywhere needs to read something to search for it.
        let expected: &[&str] = match () {
            () if OWN.contains(&route.path) || path.ends_with("/server-info") => &[],
            () if admins => &["nobody", "rita", "walt"],
            () if reads => &["nobody"],
            () => &["nobody", "rita"],
        };
        assert_eq!(denied, expected, "{} {path}", route.method);
    }
    for (path, public) in [
        ("/health", true),
        ("/version", true),
        ("/livez", true),
        ("/readyz", true),
        ("/metrics", false),
        ("/", false),
        ("/get-artifact?run_id=x&path=y", false),
        ("/no/such/page", false),
    ] {
        let status = server
            .request("", "GET", path)
            .send()
            .await
            .unwrap()
            .status();
        assert_eq!(status == 401, !public, "{path}: {status}");
    }
}

async fn grant(server: &Secured, user: &str, on: Granted, role: Role) {
    server.store.grant(user, &on, role).await.unwrap();
    // Another process would notice after a while; this one at the next change by itself.
    let name = format!("x{}", uuid::Uuid::new_v4().simple());
    let body = json!({"username": name, "password": PASSWORD});
    assert_eq!(
        server.status("ada", "POST", "users/create", body).await,
        200
    );
}

#[tokio::test]
async fn the_narrower_grant_wins() {
    let server = serve_with(ServeOptions::default(), USERS).await;
    let secret = server.experiment("ada", "secret").await;
    let shared = server.experiment("ada", "shared").await;
    let other = server.experiment("ada", "other").await;
    let (in_secret, in_shared) = (
        server.run("ada", &secret).await,
        server.run("ada", &shared).await,
    );
    let in_other = server.run("ada", &other).await;
    grant(
        &server,
        "rita",
        Granted::Experiment(secret.clone()),
        Role::None,
    )
    .await;
    grant(
        &server,
        "rita",
        Granted::Experiment(shared.clone()),
        Role::Writer,
    )
    .await;
    grant(
        &server,
        "nobody",
        Granted::Experiment(shared.clone()),
        Role::Reader,
    )
    .await;

    let get = |user: &'static str, path: String| {
        let server = &server;
        async move { server.status(user, "GET", &path, json!({})).await }
    };
    for (user, run, expected) in [
        ("rita", &in_secret, 403),
        ("rita", &in_shared, 200),
        ("rita", &in_other, 200),
        ("nobody", &in_secret, 403),
        ("nobody", &in_shared, 200),
        ("nobody", &in_other, 403),
        ("ada", &in_secret, 200),
    ] {
        assert_eq!(
            get(user, format!("runs/get?run_id={run}")).await,
            expected,
            "{user}"
        );
        // The other spelling, and one hidden behind another.
        assert_eq!(get(user, format!("runs/get?runUuid={run}")).await, expected);
        let two = get(user, format!("runs/get?run_id={in_shared}&run_uuid={run}")).await;
        assert!(expected == 200 || two == 403, "{user} {two}");
    }
    let log = |run: &str| json!({"run_id": run, "key": "k", "value": 1, "timestamp": 1, "step": 0});
    for (user, run, expected) in [
        ("rita", &in_secret, 403),
        ("rita", &in_shared, 200),
        ("rita", &in_other, 403),
        ("nobody", &in_shared, 403),
        ("walt", &in_other, 200),
    ] {
        let status = server
            .status(user, "POST", "runs/log-metric", log(run))
            .await;
        assert_eq!(status, expected, "{user}");
    }
    // A body that two readers might understand otherwise.
    let twice = format!(
        r#"{{"run_id": "{in_secret}", "run_id": "{in_shared}", "key": "k", "value": 1,
            "timestamp": 1, "step": 0}}"#
    );
    let sent = server
        .request("rita", "POST", "/api/2.0/mlflow/runs/log-metric")
        .header("content-type", "application/json")
        .body(twice);
    sent.send().await.unwrap();
    let (_, run) = server
        .call(
            "ada",
            "GET",
            &format!("runs/get?run_id={in_secret}"),
            json!({}),
        )
        .await;
    assert!(run["run"]["data"].get("metrics").is_none(), "{run}");
    // No experiment at all is the default one.
    assert_eq!(
        server
            .status("rita", "POST", "runs/create", json!({}))
            .await,
        403
    );

    let names = |user: &'static str| {
        let server = &server;
        async move {
            let body = json!({"max_results": 100});
            let (status, found) = server.call(user, "POST", "experiments/search", body).await;
            assert_eq!(status, 200);
            let mut names: Vec<String> = found["experiments"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default()
                .iter()
                .map(|experiment| experiment["name"].as_str().unwrap().to_owned())
                .collect();
            names.sort();
            names
        }
    };
    assert_eq!(names("ada").await, ["Default", "other", "secret", "shared"]);
    assert_eq!(names("rita").await, ["Default", "other", "shared"]);
    assert_eq!(names("nobody").await, ["shared"]);
    let search = json!({"experiment_ids": [secret, shared, other]});
    for (user, count) in [("ada", 3), ("rita", 2), ("nobody", 1)] {
        let (status, found) = server
            .call(user, "POST", "runs/search", search.clone())
            .await;
        assert_eq!(status, 200);
        assert_eq!(
            found["runs"].as_array().map_or(0, Vec::len),
            count,
            "{user}"
        );
    }
    assert_eq!(
        get(
            "nobody",
            "experiments/get-by-name?experiment_name=secret".into()
        )
        .await,
        403
    );
    assert_eq!(
        get(
            "nobody",
            "experiments/get-by-name?experiment_name=shared".into()
        )
        .await,
        200
    );

    // Artifacts, by their path and by their run.
    let put = |user: &'static str, path: String| {
        let path = format!("/api/2.0/mlflow-artifacts/artifacts/{path}");
        server.request(user, "PUT", &path).body("x").send()
    };
    assert_eq!(
        put("rita", format!("{secret}/f")).await.unwrap().status(),
        403
    );
    assert_eq!(
        put("rita", format!("{shared}/f")).await.unwrap().status(),
        200
    );
    assert_eq!(
        put("nobody", format!("{shared}/f")).await.unwrap().status(),
        403
    );
    let file = |user: &'static str, path: String| {
        let path = format!("/api/2.0/mlflow-artifacts/artifacts/{path}");
        server.request(user, "GET", &path).send()
    };
    assert_eq!(
        file("nobody", format!("{shared}/f"))
            .await
            .unwrap()
            .status(),
        200
    );
    for hidden in [
        format!("{secret}/f"),
        format!("%{:x}/f", secret.as_bytes()[0]),
    ] {
        assert_eq!(file("rita", hidden).await.unwrap().status(), 403);
    }
    // An experiment that keeps its artifacts elsewhere.
    let body = json!({"name": "elsewhere", "artifact_location": "mlflow-artifacts:/deep/place"});
    let (_, created) = server.call("ada", "POST", "experiments/create", body).await;
    let elsewhere = created["experiment_id"].as_str().unwrap().to_owned();
    assert_eq!(
        put("ada", "deep/place/f".into()).await.unwrap().status(),
        200
    );
    assert_eq!(
        file("rita", "deep/place/f".into()).await.unwrap().status(),
        200
    );
    grant(&server, "rita", Granted::Experiment(elsewhere), Role::None).await;
    assert_eq!(
        file("rita", "deep/place/f".into()).await.unwrap().status(),
        403
    );
}

#[tokio::test]
async fn models_have_grants_of_their_own() {
    let server = serve_with(ServeOptions::default(), USERS).await;
    let experiment = server.experiment("ada", "secret").await;
    let run = server.run("ada", &experiment).await;
    for name in ["open", "closed"] {
        let body = json!({"name": name});
        assert_eq!(
            server
                .status("ada", "POST", "registered-models/create", body)
                .await,
            200
        );
    }
    let version =
        |name: &str, source: String| json!({"name": name, "source": source, "run_id": run});
    let source = format!("runs:/{run}/model");
    let (status, made) = server
        .call(
            "ada",
            "POST",
            "model-versions/create",
            version("closed", source.clone()),
        )
        .await;
    assert_eq!(status, 200, "{made}");
    grant(&server, "walt", Granted::Model("closed".into()), Role::None).await;
    grant(
        &server,
        "nobody",
        Granted::Model("open".into()),
        Role::Writer,
    )
    .await;

    let create =
        |user: &'static str, body| server.status(user, "POST", "model-versions/create", body);
    // Writing to a model does not open experiments or other models to be copied from.
    assert_eq!(create("nobody", version("open", source.clone())).await, 403);
    let copy = json!({"name": "open", "source": "models:/closed/1"});
    assert_eq!(create("nobody", copy.clone()).await, 403);
    assert_eq!(create("walt", copy.clone()).await, 403);
    assert_eq!(create("ada", copy).await, 200);
    assert_eq!(create("walt", version("closed", source.clone())).await, 403);
    assert_eq!(create("walt", version("open", source)).await, 200);

    let names = |user: &'static str, path: &'static str, list: &'static str| {
        let server = &server;
        async move {
            let (status, found) = server.call(user, "GET", path, json!({})).await;
            assert_eq!(status, 200, "{found}");
            let found = found[list].as_array().cloned().unwrap_or_default();
            let mut names: Vec<_> = found
                .iter()
                .map(|model| model["name"].as_str().unwrap().to_owned())
                .collect();
            names.sort();
            names.dedup();
            names
        }
    };
    for (path, list) in [
        ("registered-models/search", "registered_models"),
        ("model-versions/search", "model_versions"),
    ] {
        assert_eq!(names("rita", path, list).await, ["closed", "open"]);
        assert_eq!(names("walt", path, list).await, ["open"]);
        assert_eq!(names("nobody", path, list).await, ["open"]);
    }
    // A grant follows a model that is renamed.
    let rename = json!({"name": "open", "new_name": "renamed"});
    assert_eq!(
        server
            .status("nobody", "POST", "registered-models/rename", rename)
            .await,
        200
    );
    grant(
        &server,
        "walt",
        Granted::Model("closed".into()),
        Role::Reader,
    )
    .await;
    let get = |name: &str| format!("registered-models/get?name={name}");
    assert_eq!(
        server
            .status("nobody", "GET", &get("renamed"), json!({}))
            .await,
        200
    );
    assert_eq!(
        server
            .status("nobody", "GET", &get("closed"), json!({}))
            .await,
        403
    );
    assert_eq!(
        server
            .status("walt", "GET", &get("closed"), json!({}))
            .await,
        200
    );
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_bounded() {
    let server = serve_with(ServeOptions::default(), USERS).await;
    let path = format!(
        "{}/api/2.0/mlflow/experiments/search?max_results=1",
        server.url
    );
    let http = reqwest::Client::new();
    let none = http.get(&path).send().await.unwrap();
    assert_eq!(none.status(), 401);
    assert_eq!(none.headers()["www-authenticate"], "Basic realm=\"mlflow\"");
    let body: serde_json::Value = none.json().await.unwrap();
    assert_eq!(body["error_code"], "UNAUTHENTICATED");
    for wrong in ["Bearer x", "Basic !!!", "Digest a", ""] {
        let answer = http
            .get(&path)
            .header("authorization", wrong)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{wrong}");
    }
    let mut limited = None;
    for attempt in 0..40 {
        let user = if attempt % 2 == 0 {
            "rita"
        } else {
            "no such user"
        };
        let answer = http
            .get(&path)
            .basic_auth(user, Some("wrong"))
            .send()
            .await
            .unwrap();
        if answer.status() == 429 {
            limited = Some(answer);
            break;
        }
        assert_eq!(answer.status(), 401);
    }
    let limited = limited.unwrap();
    assert!(limited.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn a_login_ends_when_its_user_changes() {
    let server = serve_with(ServeOptions::default(), USERS).await;
    let search = "registered-models/search";
    assert_eq!(server.status("walt", "GET", search, json!({})).await, 200);
    let body = json!({"username": "walt", "password": "another password"});
    assert_eq!(
        server
            .status("ada", "PATCH", "users/update-password", body)
            .await,
        200
    );
    assert_eq!(server.status("walt", "GET", search, json!({})).await, 401);
    // Another process changes it: this one notices by itself.
    assert_eq!(server.status("rita", "GET", search, json!({})).await, 200);
    server
        .store
        .set_user_role("rita", Role::None)
        .await
        .unwrap();
    let began = Instant::now();
    while server
        .status("rita", "GET", "runs/get?run_id=x", json!({}))
        .await
        != 403
    {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn tokens_expire_and_are_revoked() {
    let server = serve_with(ServeOptions::default(), USERS).await;
    let path = format!(
        "{}/api/2.0/mlflow/experiments/search?max_results=1",
        server.url
    );
    let http = reqwest::Client::new();
    let ask = |token: String| {
        let request = http.get(&path).bearer_auth(token);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let make = async |ttl| {
        server
            .store
            .create_token("rita", "test", ttl)
            .await
            .unwrap()
    };
    let (record, secret) = make(None).await;
    assert_eq!(ask(secret.reveal().to_owned()).await, 200);
    let (_, ended) = make(Some(Duration::ZERO)).await;
    assert_eq!(ask(ended.reveal().to_owned()).await, 401);
    let mut forged = secret.reveal().to_owned();
    forged.replace_range(10..11, if &forged[10..11] == "A" { "B" } else { "A" });
    assert_eq!(ask(forged).await, 401);
    server.store.revoke_token(&record.token_id).await.unwrap();
    let began = Instant::now();
    while ask(secret.reveal().to_owned()).await != 401 {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let listed = server.store.list_tokens(Some("rita")).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().any(|token| token.revoked_at.is_some()));
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_it() {
    let server = serve_with(ServeOptions::default(), USERS).await;
    let (record, secret) = server.store.create_token("rita", "x", None).await.unwrap();
    let url = format!("{}/api/2.0/foreshock/events", server.url);
    let open = reqwest::Client::new().get(url).bearer_auth(secret.reveal());
    let stream = open.send().await.unwrap();
    assert_eq!(stream.status(), 200);
    server.store.revoke_token(&record.token_id).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(30), stream.text()).await;
    let told = told.unwrap().unwrap();
    assert!(
        told.contains("event: gap") && told.contains("id: "),
        "{told}"
    );
}

#[tokio::test]
async fn users_are_managed_as_mlflows_client_does_it() {
    let server = serve_with(ServeOptions::default(), USERS).await;
    let (status, current) = server.call("rita", "GET", "users/current", json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(current["user"]["username"], "rita");
    assert_eq!(current["user"]["is_admin"], false);
    let (_, made) = server
        .call(
            "ada",
            "POST",
            "users/create",
            json!({"username": "new", "password": PASSWORD}),
        )
        .await;
    assert_eq!(made["user"]["username"], "new");
    let again = json!({"username": "new", "password": PASSWORD});
    let (status, error) = server.call("ada", "POST", "users/create", again).await;
    assert_eq!(
        (status, &error["error_code"]),
        (400, &json!("RESOURCE_ALREADY_EXISTS"))
    );
    let short = json!({"username": "x", "password": "short"});
    assert_eq!(
        server.status("ada", "POST", "users/create", short).await,
        400
    );
    assert_eq!(
        server
            .status("rita", "GET", "users/get?username=ada", json!({}))
            .await,
        403
    );
    assert_eq!(
        server
            .status("ada", "GET", "users/get?username=gone", json!({}))
            .await,
        404
    );
    // One's own password needs the old one.
    let change = |current: Option<&str>| {
        let mut body = json!({"username": "new", "password": "a new password"});
        if let Some(current) = current {
            body["current_password"] = json!(current);
        }
        body
    };
    let path = "users/update-password";
    assert_eq!(server.status("new", "PATCH", path, change(None)).await, 400);
    assert_eq!(
        server
            .status("new", "PATCH", path, change(Some("wrong one")))
            .await,
        400
    );
    assert_eq!(
        server
            .status("new", "PATCH", path, change(Some(PASSWORD)))
            .await,
        200
    );
    let own = json!({"username": "ada"});
    assert_eq!(
        server.status("ada", "DELETE", "users/delete", own).await,
        400
    );
    let last = json!({"username": "ada", "is_admin": false});
    assert_eq!(
        server
            .status("ada", "PATCH", "users/update-admin", last)
            .await,
        400
    );
    let admin = json!({"username": "new", "is_admin": true});
    assert_eq!(
        server
            .status("ada", "PATCH", "users/update-admin", admin)
            .await,
        200
    );
    assert_eq!(
        server
            .status("ada", "DELETE", "users/delete", json!({"username": "new"}))
            .await,
        200
    );
    // Without users there is nothing of this.
    let open = serve_with(ServeOptions::default(), &[]).await;
    assert_eq!(
        open.status("", "GET", "users/current", json!({})).await,
        404
    );
    let first = json!({"username": "eve", "password": PASSWORD, "is_admin": true});
    assert_eq!(open.status("", "POST", "users/create", first).await, 404);
}

#[tokio::test]
async fn the_command_line_manages_users() {
    let folder = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| {
        let output = program(&folder)
            .args(arguments)
            .args(["--output", "json"])
            .env("REGISTRY_PASSWORD", PASSWORD)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let code = output.status.code().unwrap();
        (
            code,
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
        )
    };
    let (code, user) = run(&["user", "add", "ada", "--role", "admin"]).await;
    assert_eq!(
        (code, &user["name"], &user["role"]),
        (0, &json!("ada"), &json!("admin"))
    );
    let (code, error) = run(&["user", "add", "ada"]).await;
    assert!(code == 1 && error["error"].is_string(), "{error}");
    assert_eq!(run(&["user", "add", "bob", "--role", "none"]).await.0, 0);
    assert_eq!(
        run(&["grant", "set", "bob", "reader", "--experiment", "0"])
            .await
            .0,
        0
    );
    let (_, grants) = run(&["grant", "list"]).await;
    assert_eq!(grants[0]["role"], "reader");
    assert_eq!(
        run(&["grant", "set", "bob", "reader", "--model", "none"])
            .await
            .0,
        1
    );
    // Which database may be said before or after what is done.
    let uri = "sqlite:///foreshock/registry.db";
    for arguments in [
        ["user", "list", "--backend-store-uri", uri],
        ["user", "--backend-store-uri", uri, "list"],
    ] {
        let (code, users) = run(&arguments).await;
        assert_eq!((code, users.as_array().map(Vec::len)), (0, Some(2)));
    }
    let elsewhere = ["user", "list", "--backend-store-uri", "sqlite:///other.db"];
    assert_eq!(run(&elsewhere).await, (0, json!([])));
    let (_, token) = run(&["token", "create", "bob", "--expires", "1h"]).await;
    let secret = token["token"].as_str().unwrap().to_owned();
    let server = start(program(&folder), &[]).await;
    let ask = |path: &str| {
        let request = reqwest::Client::new().get(format!("{}{path}", server.url));
        request.bearer_auth(&secret).send()
    };
    let path = "/api/2.0/mlflow/experiments/get?experiment_id=0";
    assert_eq!(ask(path).await.unwrap().status(), 200);
    assert_eq!(
        ask("/api/2.0/mlflow/registered-models/get?name=x")
            .await
            .unwrap()
            .status(),
        403
    );
    let (_, tokens) = run(&["token", "list"]).await;
    assert!(!tokens.to_string().contains(&secret));
    let id = tokens[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(run(&["token", "revoke", &id]).await.0, 0);
    let (_, log) = run(&["audit"]).await;
    let actions: Vec<_> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "user add",
            "user add",
            "grant set",
            "token create",
            "token revoke"
        ]
    );
    assert!(!log.to_string().contains(&secret));
    assert_eq!(run(&["user", "delete", "bob"]).await.0, 0);
    assert_eq!(run(&["user", "list"]).await.1.as_array().unwrap().len(), 1);
}
