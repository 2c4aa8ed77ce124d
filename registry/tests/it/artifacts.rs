use std::process::Stdio;
use std::time::Duration;

use mlflow_api::{Client, ClientError, ClientOptions, Credentials};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::harness::{Server, serve};

/// Everything below a folder, but for the folder of what is under way when it is empty.
pub(crate) fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        if entry.file_name() != ".upload-staging" {
            found.push(path.display().to_string());
        }
        // Links are not followed.
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&path));
        }
    }
    found
}

/// Sends bytes as they are, so that no client cleans a path up; the status of the answer.
pub(crate) async fn raw(server: &Server, request: &str) -> u16 {
    let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn files_go_both_ways() {
    let server = serve().await;
    let client = &server.client;
    let run = server.run().await;
    let (id, uri) = (run.info.run_id, run.info.artifact_uri.unwrap());
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7) as u8).collect();
    let local = server.folder.join("local.bin");
    std::fs::write(&local, &bytes).unwrap();
    client
        .upload_artifact(&uri, "a/ä %41?#.bin", local.as_path())
        .await
        .unwrap();
    client
        .upload_artifact(&uri, "empty", Vec::new())
        .await
        .unwrap();
    client
        .upload_artifact(&uri, "a.txt", "old".to_owned())
        .await
        .unwrap();
    client
        .upload_artifact(&uri, "a.txt", "new".to_owned())
        .await
        .unwrap();
    let listed = client.list_artifacts(&id, "").await.unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|f| (f.path.as_str(), f.is_dir, f.file_size))
        .collect();
    assert_eq!(
        listed,
        [
            ("a", true, None),
            ("a.txt", false, Some(3)),
            ("empty", false, Some(0))
        ]
    );
    assert_eq!(
        client.list_artifacts(&id, "a").await.unwrap()[0].path,
        "a/ä %41?#.bin"
    );
    assert_eq!(
        client
            .download_artifact(&uri, "a/ä %41?#.bin")
            .await
            .unwrap(),
        bytes
    );
    let copy = server.folder.join("copy.bin");
    client
        .download_artifact_to(&uri, "a/ä %41?#.bin", &copy)
        .await
        .unwrap();
    assert_eq!(std::fs::read(copy).unwrap(), bytes);
    assert_eq!(
        client.download_artifact(&uri, "a.txt").await.unwrap(),
        "new"
    );
    assert!(
        client
            .download_artifact(&uri, "missing")
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        client
            .download_artifact(&uri, "a")
            .await
            .unwrap_err()
            .is_not_found()
    );
    // A file can't be a folder too.
    for path in ["a.txt/b", "a"] {
        assert!(
            client
                .upload_artifact(&uri, path, Vec::new())
                .await
                .is_err(),
            "{path}"
        );
    }
    let (status, body) = server
        .get(&format!("/get-artifact?run_id={id}&path=a.txt"))
        .await;
    assert_eq!((status, body.as_str()), (200, "new"));
}

#[tokio::test]
async fn no_path_leaves_the_store() {
    let server = serve().await;
    std::fs::write(server.folder.join("secret"), "s").unwrap();
    std::os::unix::fs::symlink(&server.folder, server.folder.join("artifacts/link")).unwrap();
    std::os::unix::fs::symlink(
        server.folder.join("secret"),
        server.folder.join("artifacts/file"),
    )
    .unwrap();
    let before = walk(&server.folder).len();
    for path in [
        "../secret",
        "..%2fsecret",
        "%2e%2e/secret",
        "%2e%2e%2fsecret",
        "%252e%252e%252fsecret",
        "a/../../secret",
        "a/%2e%2e/%2e%2e/secret",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "..%5csecret",
        "a%5c..%5c..%5csecret",
        "C:%5csecret",
        "link/secret",
        "file",
        "%00",
        ".upload-x",
        "link",
        "a/%c0%ae%c0%ae/b",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let status = raw(
                &server,
                &format!(
                    "{method} /api/2.0/mlflow-artifacts/artifacts/{path} HTTP/1.1\r\n\
                     host: localhost\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx"
                ),
            )
            .await;
            // Deleting what is not there is done already.
            let harmless = method == "DELETE" && status == 200;
            assert!(
                matches!(status, 400 | 404) || harmless,
                "{method} {path}: {status}"
            );
        }
        let list = format!(
            "GET /api/2.0/mlflow-artifacts/artifacts?path={path} HTTP/1.1\r\nhost: localhost\r\n\
             connection: close\r\n\r\n"
        );
        let status = raw(&server, &list).await;
        assert!(matches!(status, 200 | 400), "{path}: {status}");
    }
    assert_eq!(
        std::fs::read_to_string(server.folder.join("secret")).unwrap(),
        "s"
    );
    assert_eq!(
        walk(&server.folder).len(),
        before,
        "{:?}",
        walk(&server.folder)
    );
    let (_, listed) = server
        .get("/api/2.0/mlflow-artifacts/artifacts?path=link")
        .await;
    assert_eq!(listed, "{}");
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let server = serve().await;
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "PUT /api/2.0/mlflow-artifacts/artifacts/9/new/half.bin HTTP/1.1\r\n\
                host: localhost\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![7; 500_000]).await.unwrap();
    let root = server.folder.join("artifacts");
    // Under way: there is something on disk, and nothing to be seen.
    for _ in 0..200 {
        if walk(&root).iter().any(|path| path.ends_with(".tmp")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(walk(&root).iter().any(|path| path.ends_with(".tmp")));
    let (_, listed) = server
        .get("/api/2.0/mlflow-artifacts/artifacts?path=9/new")
        .await;
    assert_eq!(listed, "{}");
    drop(stream);
    for _ in 0..500 {
        if walk(&root).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("left behind: {:?}", walk(&root));
}

/// A process whose files may not grow beyond 1 MiB meets the same path as a full disk, without a
/// file system of its own.
#[tokio::test]
async fn a_full_disk_is_said_so_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_registry");
    let mut child = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 2048; exec \"$0\" serve --port 0",
            program,
        ])
        .current_dir(temp.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .await
        .unwrap();
    let url = line.trim().strip_prefix("registry at ").unwrap();
    let options = ClientOptions {
        max_retries: 0,
        ..ClientOptions::default()
    };
    let client = Client::new(url, Credentials::None, options).unwrap();
    let error = client
        .upload_artifact("mlflow-artifacts:/0/new", "large.bin", vec![7; 4 << 20])
        .await
        .unwrap_err();
    let ClientError::Refused {
        status,
        error_code,
        message,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((status, error_code.as_str()), (507, "INTERNAL_ERROR"));
    assert!(message.contains("no space left"), "{message}");
    assert!(
        !message.contains(temp.path().to_str().unwrap()),
        "{message}"
    );
    assert!(walk(&temp.path().join("foreshock/artifacts")).is_empty());
    client
        .upload_artifact("mlflow-artifacts:/0/new", "small.bin", vec![7; 1 << 10])
        .await
        .unwrap();
}
