//! Artifacts in a bucket: the real program against a real S3 server.

use std::path::Path;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_stack::S3Server;

use super::artifacts_http::{begin, check_parts, check_ranges};
use super::artifacts_program::{Program, command, there_and_back, until};

struct Bucket {
    s3: S3Server,
    temp: TempDir,
    program: Program,
}

const DESTINATION: &str = "s3://models/team/a";

async fn serve() -> Bucket {
    let s3 = S3Server::start().unwrap();
    s3.create_bucket("models").unwrap();
    let temp = tempfile::tempdir().unwrap();
    let program = Program::start(temp.path(), DESTINATION, &s3.env()).await;
    Bucket { s3, temp, program }
}

impl Bucket {
    async fn put(&self, path: &str, content: impl Into<reqwest::Body>) {
        let put = Client::new().put(self.program.artifact(path)).body(content);
        assert_eq!(put.send().await.unwrap().status(), 200);
    }

    async fn post(&self, route: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/api/2.0/mlflow/{route}", self.program.url);
        let answer = Client::new().post(url).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The parts of uploads that are neither complete nor aborted.
    fn pending(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.s3.root()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".upload")).collect()
    }
}

#[tokio::test]
async fn files_go_both_ways() {
    let bucket = serve().await;
    let program = &bucket.program;
    bucket.put("1/run/artifacts/a.txt", "0123456789").await;
    bucket
        .put("1/run/artifacts/sub/ä b+%2525.bin", vec![7; 3000])
        .await;
    bucket.put("1/run/artifacts/empty", "").await;
    assert_eq!(
        bucket
            .s3
            .get_object("models", "team/a/1/run/artifacts/a.txt")
            .unwrap(),
        b"0123456789"
    );
    check_ranges(&program.artifact("1/run/artifacts/a.txt")).await;
    let listed: Value = serde_json::from_str(&program.listed("1/run/artifacts").await).unwrap();
    assert_eq!(
        listed["files"],
        json!([
            {"path": "a.txt", "is_dir": false, "file_size": 10},
            {"path": "empty", "is_dir": false, "file_size": 0},
            {"path": "sub", "is_dir": true}
        ])
    );
    let listed: Value = serde_json::from_str(&program.listed("1/run/artifacts/sub").await).unwrap();
    assert_eq!(listed["files"][0]["path"], "ä b+%25.bin");
    assert_eq!(program.listed("1/run/artifacts/a.txt").await, "{}");
    assert_eq!(program.listed("nothing").await, "{}");
    let read = reqwest::get(program.artifact("1/run/artifacts/sub/ä b+%2525.bin"))
        .await
        .unwrap();
    assert_eq!(read.bytes().await.unwrap(), vec![7; 3000]);

    // MLflow answers 500 here.
    let missing = reqwest::get(program.artifact("1/missing")).await.unwrap();
    assert_eq!(missing.status(), 404);
    let text = missing.text().await.unwrap();
    assert!(
        text.contains("RESOURCE_DOES_NOT_EXIST") && text.contains("1/missing"),
        "{text}"
    );
    assert!(
        !text.contains("team") && !text.contains("127.0.0.1"),
        "{text}"
    );
    let head = Client::new()
        .head(program.artifact("1/missing"))
        .send()
        .await
        .unwrap();
    assert_eq!(head.status(), 404);
    let outside = reqwest::get(program.artifact("..%2fb%2fx")).await.unwrap();
    assert_eq!(outside.status(), 400);

    // A folder goes with what it holds, and with nothing else of that beginning.
    bucket.put("1/run/artifacts-2/a.txt", "x").await;
    for path in ["1/run/artifacts", "1/nothing"] {
        let deleted = Client::new()
            .delete(program.artifact(path))
            .send()
            .await
            .unwrap();
        assert_eq!(deleted.status(), 200, "{}", deleted.text().await.unwrap());
    }
    assert_eq!(program.listed("1/run/artifacts").await, "{}");
    assert!(program.listed("1/run").await.contains("artifacts-2"));
    let deleted = Client::new().delete(program.artifact("1/run/artifacts-2/a.txt"));
    assert_eq!(deleted.send().await.unwrap().status(), 200);
    assert_eq!(program.listed("1/run/artifacts-2").await, "{}");
}

#[tokio::test]
async fn large_files_pass_through_in_constant_memory() {
    let bucket = serve().await;
    let idle = bucket.program.peak_mib();
    there_and_back(&bucket.program, "1/large.bin", 160).await;
    let peak = bucket.program.peak_mib();
    assert!(
        peak < idle + 80,
        "{idle} MiB idle, {peak} MiB after 160 MiB each way"
    );
    assert_eq!(bucket.pending(), Vec::<String>::new());
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let bucket = serve().await;
    let upload = bucket
        .program
        .begin_upload("1/half.bin", 40 << 20, 20 << 20)
        .await;
    until("parts in the bucket", || bucket.pending().len() > 1).await;
    assert_eq!(bucket.program.listed("1").await, "{}");
    drop(upload);
    until("no parts in the bucket", || bucket.pending().is_empty()).await;
    assert_eq!(bucket.program.listed("1").await, "{}");
    let half = reqwest::get(bucket.program.artifact("1/half.bin"))
        .await
        .unwrap();
    assert_eq!(half.status(), 404);
}

#[tokio::test]
async fn a_killed_server_leaves_nothing_half() {
    let Bucket { s3, temp, program } = serve().await;
    let upload = program.begin_upload("1/half.bin", 40 << 20, 20 << 20).await;
    let parts = || std::fs::read_dir(s3.root()).unwrap().count() > 2;
    until("parts in the bucket", parts).await;
    program.kill().await;
    drop(upload);
    let program = Program::start(temp.path(), DESTINATION, &s3.env()).await;
    assert_eq!(program.listed("1").await, "{}");
    assert_eq!(
        reqwest::get(program.artifact("1/half.bin"))
            .await
            .unwrap()
            .status(),
        404
    );
}

#[tokio::test]
async fn uploads_in_parts_go_to_the_bucket() {
    let bucket = serve().await;
    let (_, urls) = begin(&bucket.program.url, "1", 1).await;
    assert!(urls[0].starts_with(&bucket.s3.endpoint), "{}", urls[0]);
    assert!(!urls[0].contains(&bucket.s3.secret_key));
    check_parts(&bucket.program.url, 5 << 20, false).await;
}

#[tokio::test]
async fn clients_go_to_the_bucket_by_presigned_urls() {
    let bucket = serve().await;
    let program = &bucket.program;
    let http = Client::new();
    let info = reqwest::get(format!("{}/api/3.0/mlflow/server-info", program.url))
        .await
        .unwrap();
    let info: Value = info.json().await.unwrap();
    assert_eq!(info["multipart_uploads_enabled"], true);
    assert_eq!(info["multipart_downloads_enabled"], true);
    bucket.put("1/ä b.txt", "0123456789").await;
    let presigned = |path: &str| {
        let url = format!("{}/api/2.0/mlflow-artifacts/presigned/{path}", program.url);
        reqwest::get(url)
    };
    let answer: Value = presigned("1/ä b.txt").await.unwrap().json().await.unwrap();
    assert_eq!(
        (&answer["file_size"], &answer["headers"]),
        (&json!(10), &json!({}))
    );
    let part = http
        .get(answer["url"].as_str().unwrap())
        .header("range", "bytes=3-5");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    let disposition = part.headers()["content-disposition"].to_str().unwrap();
    assert_eq!(disposition, "attachment; filename*=UTF-8''%C3%A4%20b.txt");
    assert_eq!(part.text().await.unwrap(), "345");
    assert_eq!(presigned("1/missing").await.unwrap().status(), 404);
    assert_eq!(presigned("..%2fx").await.unwrap().status(), 400);

    // Of a run whose place is the bucket itself, as MLflow has it, and of one that is proxied.
    for location in [json!(null), json!("s3://models/team/a/direct")] {
        let name = format!("e-{location}").replace(['/', '"', ':'], "-");
        let body = json!({"name": name, "artifact_location": location});
        let (_, experiment) = bucket.post("experiments/create", body).await;
        let body = json!({"experiment_id": experiment["experiment_id"]});
        let (_, run) = bucket.post("runs/create", body).await;
        let id = run["run"]["info"]["run_id"].as_str().unwrap();
        let body = json!({"run_id": id, "path": "sub/a.json", "expiration": 60});
        let (status, answer) = bucket
            .post("artifacts/presigned-upload-url", body.clone())
            .await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(
            answer["headers"],
            json!({"Content-Type": "application/json"})
        );
        let url = answer["presigned_url"].as_str().unwrap();
        let put = |media_type: &str| http.put(url).header("content-type", media_type).body("{}");
        assert_eq!(
            put("text/html").send().await.unwrap().status(),
            StatusCode::FORBIDDEN
        );
        assert_eq!(put("application/json").send().await.unwrap().status(), 200);
        let (status, answer) = bucket.post("artifacts/presigned-download-url", body).await;
        assert_eq!((status, &answer["file_size"]), (200, &json!(2)));
        let read = reqwest::get(answer["presigned_url"].as_str().unwrap())
            .await
            .unwrap();
        assert_eq!(read.text().await.unwrap(), "{}");
        let file = format!("{}/get-artifact?run_id={id}&path=sub/a.json", program.url);
        assert_eq!(
            reqwest::get(file).await.unwrap().text().await.unwrap(),
            "{}"
        );
    }
    let body = json!({"name": "foreign", "artifact_location": "s3://models/team/b"});
    let (_, experiment) = bucket.post("experiments/create", body).await;
    let body = json!({"experiment_id": experiment["experiment_id"]});
    let (_, run) = bucket.post("runs/create", body).await;
    let body = json!({"run_id": run["run"]["info"]["run_id"], "path": "a"});
    assert_eq!(
        bucket.post("artifacts/presigned-upload-url", body).await.0,
        400
    );
}

#[tokio::test]
async fn a_bucket_that_goes_away_is_said_so() {
    let Bucket {
        s3,
        temp: _temp,
        program,
    } = serve().await;
    drop(s3);
    let answer = reqwest::get(program.artifact("1/a.txt")).await.unwrap();
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.unwrap();
    assert!(
        text.contains("TEMPORARILY_UNAVAILABLE") && !text.contains("127.0.0.1"),
        "{text}"
    );
}

/// What the program says when it does not start.
async fn refusal(folder: &Path, destination: &str, variables: &[(String, String)]) -> String {
    let output = command(folder, destination, variables)
        .kill_on_drop(true)
        .output();
    let limit = std::time::Duration::from_secs(60);
    let output = tokio::time::timeout(limit, output).await;
    let output = output.expect("it starts").unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    text
}

#[tokio::test]
async fn a_bucket_that_can_not_be_used_is_refused_at_start() {
    let s3 = S3Server::start().unwrap();
    s3.create_bucket("models").unwrap();
    let temp = tempfile::tempdir().unwrap();
    let with = |name: &str, value: &str| {
        let mut variables = s3.env();
        variables.retain(|(known, _)| known != name);
        variables.push((name.to_owned(), value.to_owned()));
        variables
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for (destination, variables, reason) in [
        (
            "s3://models/a",
            with("AWS_SECRET_ACCESS_KEY", "hush-hush"),
            "AWS_SECRET_ACCESS_KEY",
        ),
        (
            "s3://models/a",
            with("AWS_ACCESS_KEY_ID", "SOMEBODY"),
            "AWS_ACCESS_KEY_ID",
        ),
        (
            "s3://models/a",
            with("AWS_ENDPOINT_URL", &nobody),
            "can't be reached",
        ),
        // MLflow's own variable counts more.
        (
            "s3://models/a",
            with("MLFLOW_S3_ENDPOINT_URL", &nobody),
            "can't be reached",
        ),
        ("s3://nothing-here", s3.env(), "no such bucket"),
    ] {
        let text = refusal(temp.path(), destination, &variables).await;
        assert!(
            text.contains(destination) && text.contains(reason),
            "{text}"
        );
        for secret in ["hush-hush", s3.secret_key.as_str()] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let text = refusal(temp.path(), "gs://user:pass@bucket/a", &[]).await;
    assert!(text.contains("s3://bucket/prefix"), "{text}");
}
