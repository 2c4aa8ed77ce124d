//! Artifacts as HTTP shows them: parts of them, uploads in parts, presigned URLs.

use reqwest::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use super::artifacts::walk;
use crate::harness::{Server, serve, serve_in, serve_with};

const ARTIFACTS: &str = "/api/2.0/mlflow-artifacts/artifacts";

async fn put(url: &str, path: &str, content: impl Into<reqwest::Body>) {
    let url = format!("{url}{ARTIFACTS}/{path}");
    let answer = Client::new().put(url).body(content).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

fn header(answer: &Response, name: reqwest::header::HeaderName) -> String {
    let value = answer.headers().get(&name);
    let value = value.unwrap_or_else(|| panic!("no {name}"));
    value.to_str().unwrap().to_owned()
}

/// What every store must answer to `Range` and its kin, for ten bytes at `url`.
pub(crate) async fn check_ranges(url: &str) {
    let http = Client::new();
    for (range, status, content_range, body) in [
        ("bytes=0-3", 206, "bytes 0-3/10", "0123"),
        ("bytes=2-2", 206, "bytes 2-2/10", "2"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=0-", 206, "bytes 0-9/10", "0123456789"),
        ("bytes=-4", 206, "bytes 6-9/10", "6789"),
        ("bytes=-40", 206, "bytes 0-9/10", "0123456789"),
        ("bytes=8-400", 206, "bytes 8-9/10", "89"),
        ("bytes=10-", 416, "bytes */10", ""),
        ("bytes=10-12", 416, "bytes */10", ""),
        ("bytes=-0", 416, "bytes */10", ""),
        ("bytes=5-2", 200, "", "0123456789"),
        ("bytes=0-1,3-4", 200, "", "0123456789"),
        ("lines=0-1", 200, "", "0123456789"),
    ] {
        let answer = http.get(url).header(RANGE, range).send().await.unwrap();
        assert_eq!(answer.status(), status, "{range}");
        if !content_range.is_empty() {
            assert_eq!(header(&answer, CONTENT_RANGE), content_range, "{range}");
        }
        let text = answer.text().await.unwrap();
        if status == 416 {
            assert!(text.contains("INVALID_PARAMETER_VALUE"), "{text}");
        } else {
            assert_eq!(text, body, "{range}");
        }
    }
    let whole = http.get(url).send().await.unwrap();
    assert_eq!(header(&whole, ACCEPT_RANGES), "bytes");
    assert_eq!(header(&whole, CONTENT_LENGTH), "10");
    assert_eq!(header(&whole, CONTENT_TYPE), "text/plain");
    assert!(header(&whole, CONTENT_DISPOSITION).starts_with("attachment"));
    assert!(whole.headers().get(CONTENT_RANGE).is_none());
    let (e_tag, modified) = (header(&whole, ETAG), header(&whole, LAST_MODIFIED));

    let head = http
        .head(url)
        .header(RANGE, "bytes=2-3")
        .send()
        .await
        .unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(header(&head, CONTENT_LENGTH), "10");
    assert_eq!(header(&head, ETAG), e_tag);
    for (state, status, body) in [
        (e_tag.as_str(), 206, "23"),
        (&modified, 206, "23"),
        ("\"other\"", 200, "0123456789"),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200, "0123456789"),
    ] {
        let part = http
            .get(url)
            .header(RANGE, "bytes=2-3")
            .header(IF_RANGE, state);
        let part = part.send().await.unwrap();
        assert_eq!(part.status(), status, "{state}");
        assert_eq!(part.text().await.unwrap(), body, "{state}");
    }
    for (known, status) in [(e_tag.as_str(), 304), ("*", 304), ("\"other\"", 200)] {
        for request in [http.get(url), http.head(url)] {
            let answer = request.header(IF_NONE_MATCH, known).send().await.unwrap();
            assert_eq!(answer.status(), status, "{known}");
        }
    }
}

#[tokio::test]
async fn parts_of_files_are_sent() {
    let server = serve().await;
    put(&server.url, "1/a.txt", "0123456789").await;
    let url = format!("{}{ARTIFACTS}/1/a.txt", server.url);
    check_ranges(&url).await;
    // Another content is another state.
    let http = Client::new();
    let before = header(&http.get(&url).send().await.unwrap(), ETAG);
    put(&server.url, "1/a.txt", "9876543210").await;
    let after = http
        .get(&url)
        .header(RANGE, "bytes=0-1")
        .header(IF_RANGE, &before);
    let after = after.send().await.unwrap();
    assert_eq!(after.status(), 200);
    assert_eq!(after.text().await.unwrap(), "9876543210");
    put(&server.url, "1/empty", "").await;
    let empty = format!("{}{ARTIFACTS}/1/empty", server.url);
    assert_eq!(http.get(&empty).send().await.unwrap().status(), 200);
    let beyond = http
        .get(&empty)
        .header(RANGE, "bytes=0-")
        .send()
        .await
        .unwrap();
    assert_eq!(beyond.status(), 416);
    let missing = format!("{}{ARTIFACTS}/1/missing", server.url);
    assert_eq!(http.head(missing).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn runs_models_and_versions_give_their_files() {
    let server = serve().await;
    let run = server.run().await;
    let (run_id, uri) = (run.info.run_id, run.info.artifact_uri.unwrap());
    let (status, model) = server
        .post(
            "logged-models",
            json!({"experiment_id": run.info.experiment_id, "name": "m"}),
        )
        .await;
    assert_eq!(status, 200);
    let model_id = model["model"]["info"]["model_id"].as_str().unwrap();
    let model_uri = model["model"]["info"]["artifact_uri"].as_str().unwrap();
    for uri in [uri.as_str(), model_uri] {
        let folder = uri.strip_prefix("mlflow-artifacts:/").unwrap();
        put(&server.url, &format!("{folder}/sub/a.txt"), "0123456789").await;
    }
    server
        .post("registered-models/create", json!({"name": "forest"}))
        .await;
    let version = json!({"name": "forest", "source": uri, "run_id": run_id});
    assert_eq!(server.post("model-versions/create", version).await.0, 200);
    let model_files = format!("/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files");
    for path in [
        format!("/get-artifact?run_id={run_id}&path=sub/a.txt"),
        format!("/get-artifact?run_uuid={run_id}&path=sub/a.txt"),
        "/model-versions/get-artifact?name=forest&version=1&path=sub/a.txt".to_owned(),
        format!("{model_files}?artifact_file_path=sub/a.txt"),
    ] {
        check_ranges(&format!("{}{path}", server.url)).await;
    }
    let (status, body) = server.get(&model_files).await;
    assert!(
        status == 400 && body.contains("artifact_file_path"),
        "{body}"
    );
    let directories = format!("/api/2.0/mlflow/logged-models/{model_id}/artifacts/directories");
    let (_, listed) = server.get(&directories).await;
    assert!(listed.contains(r#""path":"sub","is_dir":true"#), "{listed}");
    let (_, listed) = server
        .get(&format!("{directories}?artifact_directory_path=sub"))
        .await;
    assert!(listed.contains(r#""path":"sub/a.txt""#), "{listed}");
}

#[tokio::test]
async fn the_page_of_a_run_uploads_small_files() {
    let server = serve().await;
    let run_id = server.run().await.info.run_id;
    let http = Client::new();
    let route = format!("{}/ajax-api/2.0/mlflow/upload-artifact", server.url);
    for (query, body, status, message) in [
        (
            format!("run_uuid={run_id}&path=a/b.txt"),
            vec![7; 9],
            200,
            "",
        ),
        (
            format!("run_uuid={run_id}"),
            vec![7; 9],
            400,
            "Request must specify path.",
        ),
        (
            "path=a".to_owned(),
            vec![7; 9],
            400,
            "Request must specify run_uuid.",
        ),
        (
            format!("run_uuid={run_id}&path=a/b.txt"),
            vec![],
            400,
            "Request must specify data.",
        ),
        (
            format!("run_uuid={run_id}&path=large"),
            vec![7; (10 << 20) + 1],
            400,
            "Artifact size is too large. Max size is 10MB.",
        ),
        (
            format!("run_uuid={run_id}&path=../b"),
            vec![7; 9],
            400,
            "Invalid path",
        ),
    ] {
        let answer = http
            .post(format!("{route}?{query}"))
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{query}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(message), "{text}");
    }
    let listed = server.client.list_artifacts(&run_id, "").await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        server.client.list_artifacts(&run_id, "a").await.unwrap()[0].file_size,
        Some(9)
    );
}

/// A POST to one of the routes of uploads in parts.
async fn mpu(url: &str, what: &str, folder: &str, body: Value) -> (u16, Value) {
    let url = format!("{url}/api/2.0/mlflow-artifacts/mpu/{what}/{folder}");
    let answer = Client::new().post(url).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Begins an upload; its id and the URLs of its parts.
pub(crate) async fn begin(url: &str, folder: &str, parts: u16) -> (String, Vec<String>) {
    let body = json!({"path": "/home/me/model.bin", "num_parts": parts});
    let (status, answer) = mpu(url, "create", folder, body).await;
    assert_eq!(status, 200, "{answer}");
    let credentials = answer["credentials"].as_array().unwrap();
    let urls = (1..).zip(credentials).map(|(number, credential)| {
        assert_eq!(credential["part_number"], number);
        credential["url"].as_str().unwrap().to_owned()
    });
    (
        answer["upload_id"].as_str().unwrap().to_owned(),
        urls.collect(),
    )
}

/// Sends a part as MLflow's client does: no headers at all. Its ETag.
async fn send_part(url: &str, content: Vec<u8>) -> Result<String, StatusCode> {
    let answer = Client::new().put(url).body(content).send().await.unwrap();
    match answer.status() {
        StatusCode::OK => Ok(header(&answer, ETAG)),
        other => Err(other),
    }
}

fn parts(e_tags: &[String]) -> Value {
    let part = |(number, e_tag)| json!({"part_number": number, "etag": e_tag, "url": "x"});
    (1..).zip(e_tags).map(part).collect()
}

/// An upload in parts. The S3 server of the tests, unlike S3, does not tie an upload to its key and
/// knows no upload that is over: what only a folder is asked for is not asked of it.
pub(crate) async fn check_parts(server_url: &str, part_size: usize, is_folder: bool) {
    let contents = [vec![1; part_size], vec![2; part_size], vec![3; 5]];
    let (id, urls) = begin(server_url, "7/run/artifacts", 3).await;
    let artifact = format!("{server_url}{ARTIFACTS}/7/run/artifacts/model.bin");
    let mut e_tags = Vec::new();
    // In no order, and one of them again.
    e_tags.push(send_part(&urls[2], contents[2].clone()).await.unwrap());
    send_part(&urls[1], vec![9; part_size]).await.unwrap();
    for index in [1, 0] {
        e_tags.insert(
            0,
            send_part(&urls[index], contents[index].clone())
                .await
                .unwrap(),
        );
    }
    assert_eq!(reqwest::get(&artifact).await.unwrap().status(), 404);
    let listed = reqwest::get(format!("{server_url}{ARTIFACTS}?path=7/run/artifacts"));
    assert_eq!(listed.await.unwrap().text().await.unwrap(), "{}");

    let complete =
        |id: &str, parts: Value| json!({"path": "model.bin", "upload_id": id, "parts": parts});
    for (folder, body, status) in [
        ("7/run/artifacts", complete(&id, json!([])), 400),
        (
            "7/run/artifacts",
            complete(&id, json!([{"part_number": 2, "etag": e_tags[1]}])),
            400,
        ),
        (
            "7/run/artifacts",
            complete(&id, json!([{"part_number": -1, "etag": "a"}])),
            400,
        ),
        (
            "7/run/artifacts",
            json!({"path": "model.bin", "parts": parts(&e_tags)}),
            400,
        ),
        (
            "7/run/artifacts",
            json!({"upload_id": id, "parts": parts(&e_tags)}),
            400,
        ),
    ] {
        let (found, answer) = mpu(server_url, "complete", folder, body).await;
        assert_eq!(found, status, "{folder} {answer}");
    }
    let foreign = [
        // The right to write one artifact is none to write another.
        ("7/other", complete(&id, parts(&e_tags)), 404),
        (
            "7/run/artifacts",
            complete("../../etc", parts(&e_tags)),
            404,
        ),
        // Another part than the one that was sent.
        (
            "7/run/artifacts",
            complete(&id, parts(&[e_tags[2].clone()])),
            400,
        ),
    ];
    for (folder, body, status) in foreign.into_iter().filter(|_| is_folder) {
        let (found, answer) = mpu(server_url, "complete", folder, body).await;
        assert_eq!(found, status, "{folder} {answer}");
    }
    let (status, answer) = mpu(
        server_url,
        "complete",
        "7/run/artifacts",
        complete(&id, parts(&e_tags)),
    )
    .await;
    assert_eq!((status, answer), (200, json!({})));
    let whole = reqwest::get(&artifact)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert!(whole == contents.concat());
    // It is over.
    let again = complete(&id, parts(&e_tags));
    let (status, _) = mpu(server_url, "complete", "7/run/artifacts", again).await;
    assert_eq!(status, if is_folder { 404 } else { 403 });
    assert!(send_part(&urls[0], vec![1; 5]).await.is_err());

    let (id, urls) = begin(server_url, "8", 1).await;
    send_part(&urls[0], vec![1; 5]).await.unwrap();
    let abort = json!({"path": "model.bin", "upload_id": id});
    if is_folder {
        let (status, _) = mpu(server_url, "abort", "8/other", abort.clone()).await;
        assert_eq!(status, 404);
    }
    assert_eq!(
        mpu(server_url, "abort", "8", abort.clone()).await,
        (200, json!({}))
    );
    let (status, _) = mpu(server_url, "abort", "8", abort).await;
    assert_eq!(status, if is_folder { 404 } else { 403 });
    assert!(send_part(&urls[0], vec![1; 5]).await.is_err());

    for body in [
        json!({"num_parts": 1}),
        json!({"path": "a"}),
        json!({"path": "a", "num_parts": 0}),
        json!({"path": "a", "num_parts": 10_001}),
        json!({"path": "a", "num_parts": -1}),
        json!({"path": "x/..", "num_parts": 1}),
    ] {
        let (status, answer) = mpu(server_url, "create", "9", body).await;
        assert_eq!(status, 400, "{answer}");
        assert_eq!(answer["error_code"], "INVALID_PARAMETER_VALUE");
    }
    let outside = json!({"path": "a", "num_parts": 1});
    assert_eq!(mpu(server_url, "create", "..%2f..", outside).await.0, 400);
}

#[tokio::test]
async fn uploads_in_parts_come_to_a_folder() {
    let server = serve().await;
    check_parts(&server.url, 300_000, true).await;
    assert_eq!(staged(&server), Vec::<String>::new());
    // A folder is there already, and a file where a folder is needed.
    put(&server.url, "9/model.bin/x", "x").await;
    for folder in ["9", "9/model.bin/x"] {
        let body = json!({"path": "model.bin", "num_parts": 1});
        assert_eq!(
            mpu(&server.url, "create", folder, body).await.0,
            400,
            "{folder}"
        );
    }
}

fn staged(server: &Server) -> Vec<String> {
    walk(&server.folder.join("artifacts/.upload-staging"))
}

#[tokio::test]
async fn the_url_of_a_part_is_good_for_that_part_only() {
    let server = serve().await;
    let (_, urls) = begin(&server.url, "1", 2).await;
    let (start, token) = urls[0].rsplit_once('/').unwrap();
    assert!(start.starts_with(&server.url), "{start}");
    let fields: Vec<&str> = token.split('.').collect();
    let [id, part, expires, mac] = fields[..] else {
        panic!("{token}");
    };
    for forged in [
        format!("{id}.2.{expires}.{mac}"),
        format!("{id}.{part}.99999999999.{mac}"),
        format!("{}.{part}.{expires}.{mac}", uuid::Uuid::new_v4().simple()),
        format!("{id}.{part}.{expires}"),
        "x".to_owned(),
    ] {
        let refused = send_part(&format!("{start}/{forged}"), vec![1; 5]).await;
        assert_eq!(refused, Err(StatusCode::FORBIDDEN), "{forged}");
    }
    // A server over another database has another key, even with the same files.
    let elsewhere = tempfile::tempdir().unwrap();
    let files = server.folder.join("artifacts");
    let other = serve_with(elsewhere.path(), |options| {
        options.artifacts_destination = files.into();
    })
    .await;
    let path = urls[0].strip_prefix(&server.url).unwrap();
    let refused = send_part(&format!("{}{path}", other.url), vec![1; 5]).await;
    assert_eq!(refused, Err(StatusCode::FORBIDDEN));
    // Its own replica has the same one.
    let replica = serve_in(&server.folder).await;
    send_part(&format!("{}{path}", replica.url), vec![1; 5])
        .await
        .unwrap();
    send_part(&urls[0], vec![1; 5]).await.unwrap();
}

#[tokio::test]
async fn a_folder_has_no_presigned_urls() {
    let server = serve().await;
    let run_id = server.run().await.info.run_id;
    let (status, body) = server
        .get("/api/2.0/mlflow-artifacts/presigned/1/a.txt")
        .await;
    assert!(status == 501 && body.contains("NOT_IMPLEMENTED"), "{body}");
    let (_, info) = server.get("/api/3.0/mlflow/server-info").await;
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["multipart_uploads_enabled"], true);
    assert_eq!(info["multipart_downloads_enabled"], false);
    for (what, body, message) in [
        (
            "upload",
            json!({"run_id": run_id, "path": "a"}),
            "proxied artifact storage",
        ),
        (
            "download",
            json!({"run_id": run_id, "path": "a"}),
            "proxied artifact storage",
        ),
        (
            "upload",
            json!({"path": "a"}),
            "Exactly one of run_id and model_id",
        ),
        (
            "upload",
            json!({"run_id": run_id, "model_id": "m", "path": "a"}),
            "Exactly one",
        ),
        ("upload", json!({"run_id": run_id}), "'path'"),
        ("download", json!({"path": "a"}), "'run_id'"),
        (
            "download",
            json!({"run_id": run_id, "path": "a", "expiration": 0}),
            "expiration",
        ),
        (
            "download",
            json!({"run_id": run_id, "path": "a", "expiration": 604_801}),
            "expiration",
        ),
        (
            "download",
            json!({"run_id": run_id, "path": "../a"}),
            "Invalid path",
        ),
    ] {
        let route = format!("artifacts/presigned-{what}-url");
        let (status, answer) = server.post(&route, body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(
            answer["message"].as_str().unwrap().contains(message),
            "{answer}"
        );
    }
}

/// An experiment may name any place; what this server does not keep it does not open.
#[tokio::test]
async fn foreign_locations_are_not_opened() {
    let server = serve().await;
    std::fs::write(server.folder.join("secret"), "s").unwrap();
    let root = server.folder.join("artifacts").canonicalize().unwrap();
    let root = root.display();
    for (name, location, served) in [
        ("inside", format!("{root}/inside"), true),
        ("uri", format!("file://{root}/uri"), true),
        ("proxied", "mlflow-artifacts:/elsewhere".to_owned(), true),
        ("folder", server.folder.display().to_string(), false),
        ("climbing", format!("{root}/../"), false),
        ("encoded", format!("file://{root}/%2e%2e"), false),
        ("root", "file:///".to_owned(), false),
        ("bucket", "s3://bucket/a".to_owned(), false),
        ("query", "mlflow-artifacts:/a?b".to_owned(), false),
        ("web", "http://127.0.0.1:1/a".to_owned(), false),
    ] {
        let body = json!({"name": name, "artifact_location": location});
        let (status, experiment) = server.post("experiments/create", body).await;
        if status != 200 {
            assert!(!served, "{experiment}");
            continue;
        }
        let body = json!({"experiment_id": experiment["experiment_id"]});
        let (_, run) = server.post("runs/create", body).await;
        let id = run["run"]["info"]["run_id"].as_str().unwrap();
        for path in ["secret", "..%2Fsecret", "%2Fetc%2Fpasswd"] {
            let (status, body) = server
                .get(&format!("/get-artifact?run_id={id}&path={path}"))
                .await;
            assert!(matches!(status, 400 | 404), "{name} {path}: {body}");
        }
        let list = format!("/api/2.0/mlflow/artifacts/list?run_id={id}");
        let (status, body) = server.get(&list).await;
        assert_eq!(status, if served { 200 } else { 400 }, "{name}: {body}");
        if served {
            let upload = format!(
                "{}/ajax-api/2.0/mlflow/upload-artifact?run_uuid={id}&path=x.txt",
                server.url
            );
            assert_eq!(
                Client::new()
                    .post(upload)
                    .body("x")
                    .send()
                    .await
                    .unwrap()
                    .status(),
                200
            );
            let file = format!("/get-artifact?run_id={id}&path=x.txt");
            assert_eq!(server.get(&file).await, (200, "x".to_owned()), "{name}");
        }
    }
}

#[tokio::test]
async fn folders_go_with_all_they_hold_and_links_are_not_shown() {
    let server = serve().await;
    std::fs::write(server.folder.join("foreign"), "f").unwrap();
    put(&server.url, "1/a/b/c.txt", "x").await;
    put(&server.url, "1/ab.txt", "x").await;
    let folder = server.folder.join("artifacts/1");
    std::os::unix::fs::symlink(&server.folder, folder.join("link")).unwrap();
    let (_, listed) = server.get(&format!("{ARTIFACTS}?path=1")).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        listed["files"],
        json!([
            {"path": "a", "is_dir": true},
            {"path": "ab.txt", "is_dir": false, "file_size": 1}
        ])
    );
    let http = Client::new();
    for path in ["1/a", "1/a", "1/nothing"] {
        let url = format!("{}{ARTIFACTS}/{path}", server.url);
        assert_eq!(http.delete(url).send().await.unwrap().status(), 200);
    }
    assert!(!folder.join("a").exists() && folder.join("ab.txt").exists());
    assert_eq!(staged(&server), Vec::<String>::new());
    // A folder that a link leads to stays, whatever is above it.
    let url = format!("{}{ARTIFACTS}/1", server.url);
    assert_eq!(http.delete(url).send().await.unwrap().status(), 200);
    assert!(server.folder.join("foreign").exists() && !folder.exists());
}
