//! What a grant on one experiment does not open of another.

use registry::ServeOptions;
use registry::auth::Role;
use registry::store::Granted;
use serde_json::{Value, json};

use super::secured::{PASSWORD, Secured, serve_with};

const USERS: &[(&str, Role)] = &[
    ("wanda", Role::Writer),
    ("guest", Role::None),
    ("ada", Role::Admin),
];

/// A server with an experiment that `wanda` must not see, and one that is hers; `guest` has
/// nothing but the latter.
async fn two_experiments() -> (Secured, String, String) {
    let server = serve_with(ServeOptions::default(), USERS).await;
    let closed = server.experiment("ada", "closed").await;
    let open = server.experiment("ada", "open").await;
    grant(&server, "wanda", &closed, Role::None).await;
    grant(&server, "guest", &open, Role::Writer).await;
    (server, closed, open)
}

async fn grant(server: &Secured, user: &str, experiment: &str, role: Role) {
    let on = Granted::Experiment(experiment.to_owned());
    server.store.grant(user, &on, role).await.unwrap();
    // The server notices a change that it makes itself at once.
    let name = format!("x{}", uuid::Uuid::new_v4().simple());
    let body = json!({"username": name, "password": PASSWORD});
    assert_eq!(
        server.status("ada", "POST", "users/create", body).await,
        200
    );
}

async fn send(server: &Secured, user: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
    let response = server
        .request(user, method, path)
        .json(&body)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_version_leads_to_no_files_of_others() {
    let (server, closed, open) = two_experiments().await;
    let run = server.run("ada", &closed).await;
    let file = format!("{closed}/{run}/artifacts/secret.txt");
    let path = format!("/api/2.0/mlflow-artifacts/artifacts/{file}");
    let put = server.request("ada", "PUT", &path).body("secret").send();
    assert_eq!(put.await.unwrap().status(), 200);
    let name = json!({"name": "m"});
    assert_eq!(
        server
            .status("wanda", "POST", "registered-models/create", name)
            .await,
        200
    );
    let own = server.run("wanda", &open).await;
    let folder = format!("{closed}/{run}/artifacts");
    let kept = server.folder.path().join("artifacts");
    for source in [
        format!("mlflow-artifacts:/{folder}"),
        format!("mlflow-artifacts://elsewhere:1/{folder}"),
        format!("http://elsewhere:1/api/2.0/mlflow-artifacts/artifacts/{folder}"),
        format!("https://elsewhere/x/api/2.0/mlflow-artifacts/artifacts/{folder}"),
        format!("file://{}/{folder}", kept.display()),
        format!("{}/{folder}", kept.display()),
    ] {
        for run_id in [None, Some(&own)] {
            let body = json!({"name": "m", "source": source, "run_id": run_id});
            let (status, answer) = server
                .call("wanda", "POST", "model-versions/create", body)
                .await;
            assert_eq!(status, 400, "{source}: {answer}");
        }
    }
    // The same of her own run is hers to register, however it is named.
    let source = format!("http://here:1/api/2.0/mlflow-artifacts/artifacts/{open}/{own}/artifacts");
    let body = json!({"name": "m", "source": source, "run_id": own});
    let (status, answer) = server
        .call("wanda", "POST", "model-versions/create", body)
        .await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_trace_stays_where_its_writers_are() {
    let (server, closed, open) = two_experiments().await;
    let trace = |id: &str, experiment: &str| {
        json!({"trace": {"trace_info": {
            "trace_id": id,
            "trace_location": {"mlflow_experiment": {"experiment_id": experiment}},
            "state": "OK",
        }}})
    };
    let start = "/api/3.0/mlflow/traces";
    let (status, answer) = send(&server, "ada", "POST", start, trace("tr-1", &closed)).await;
    assert_eq!(status, 200, "{answer}");
    for user in ["wanda", "guest"] {
        let (status, _) = send(&server, user, "POST", start, trace("tr-1", &open)).await;
        assert_eq!(status, 403, "{user}");
        // A new one is made where they may write, and written again.
        let mine = format!("tr-of-{user}");
        for _ in 0..2 {
            let (status, answer) = send(&server, user, "POST", start, trace(&mine, &open)).await;
            assert_eq!(status, 200, "{user}: {answer}");
        }
    }

    let id = "0123456789abcdef0123456789abcdef";
    let spans = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": id, "spanId": "0123456789abcdef", "name": "s",
        "startTimeUnixNano": "1000000", "endTimeUnixNano": "2000000",
    }]}]}]});
    let closed_run = server.run("ada", &closed).await;
    let export = async |user: &str, experiment: &str, run: &str| {
        let request = server
            .request(user, "POST", "/v1/traces")
            .header("x-mlflow-experiment-id", experiment)
            .header("x-mlflow-run-id", run)
            .json(&spans);
        request.send().await.unwrap().status().as_u16()
    };
    // Of new traces, too: the run is not theirs.
    assert_eq!(export("wanda", &open, &closed_run).await, 403);
    assert_eq!(export("ada", &closed, &closed_run).await, 200);
    assert_eq!(export("wanda", &open, "").await, 403);
    assert_eq!(export("guest", &open, "").await, 403);

    // A parameter is the same however it is written.
    let file = "/ajax-api/3.0/mlflow/get-trace-artifact?request%5Fid=tr%2D1";
    let (status, _) = send(&server, "wanda", "GET", file, Value::Null).await;
    assert_eq!(status, 403);
    let (status, answer) = send(&server, "ada", "GET", file, Value::Null).await;
    assert_eq!((status, &answer["spans"]), (200, &json!([])));
}

#[tokio::test]
async fn a_run_speaks_for_no_models_of_others() {
    let (server, closed, open) = two_experiments().await;
    let create = json!({"experiment_id": closed, "name": "m"});
    let (_, made) = server.call("ada", "POST", "logged-models", create).await;
    let model = made["model"]["info"]["model_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let run = server.run("wanda", &open).await;
    let metric = json!({"key": "k", "value": 1, "timestamp": 1, "step": 0, "model_id": model});
    let mut alone = metric.clone();
    alone["run_id"] = json!(run);
    let models = json!([{"model_id": model, "step": 0}]);
    for (route, body) in [
        ("log-metric", alone),
        ("log-batch", json!({"run_id": run, "metrics": [metric]})),
        ("log-inputs", json!({"run_id": run, "models": models})),
        ("outputs", json!({"run_id": run, "models": models})),
    ] {
        let path = format!("runs/{route}");
        assert_eq!(
            server.status("wanda", "POST", &path, body.clone()).await,
            403,
            "{route}"
        );
        assert_ne!(
            server.status("ada", "POST", &path, body).await,
            403,
            "{route}"
        );
    }
    // Who has nothing but the experiment may log what is in it.
    let own = server.run("guest", &open).await;
    let body = json!({"run_id": own, "key": "k", "value": 1, "timestamp": 1, "step": 0});
    assert_eq!(
        server
            .status("guest", "POST", "runs/log-metric", body)
            .await,
        200
    );
    let body = json!({"experiment_id": open, "name": "m"});
    assert_eq!(
        server.status("guest", "POST", "logged-models", body).await,
        200
    );
}

#[tokio::test]
async fn artifacts_are_closed_however_their_place_is_named() {
    let (server, ..) = two_experiments().await;
    let kept = server.folder.path().join("artifacts");
    for (at, location) in [
        "mlflow-artifacts:/PLACE".to_owned(),
        "mlflow-artifacts://elsewhere:1/PLACE".to_owned(),
        "http://elsewhere/api/2.0/mlflow-artifacts/artifacts/PLACE".to_owned(),
        format!("file://{}/PLACE", kept.display()),
    ]
    .into_iter()
    .enumerate()
    {
        let place = format!("team{at}/deep");
        let location = location.replace("PLACE", &place);
        let body = json!({"name": place, "artifact_location": location});
        let (status, made) = server.call("ada", "POST", "experiments/create", body).await;
        assert_eq!(status, 200, "{made}");
        let id = made["experiment_id"].as_str().unwrap();
        let ask = async |user: &str, method: &str, path: &str| {
            let path = format!("/api/2.0/mlflow-artifacts/artifacts/{path}");
            let body = if method == "PUT" { "x" } else { "" };
            let request = server.request(user, method, &path).body(body);
            request.send().await.unwrap().status().as_u16()
        };
        let file = format!("{place}/f");
        assert_eq!(ask("ada", "PUT", &file).await, 200);
        assert_eq!(ask("wanda", "GET", &file).await, 200, "{location}");
        grant(&server, "wanda", id, Role::None).await;
        grant(&server, "guest", id, Role::Writer).await;
        assert_eq!(ask("wanda", "GET", &file).await, 403, "{location}");
        assert_eq!(ask("guest", "GET", &file).await, 200, "{location}");
        // Nor does it go with the folder around it.
        for user in ["wanda", "guest"] {
            let around = format!("team{at}");
            assert_eq!(ask(user, "DELETE", &around).await, 403, "{location} {user}");
        }
    }
}
