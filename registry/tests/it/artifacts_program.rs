//! Artifacts through the real program: what a killed server leaves, and how much memory it takes.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::artifacts::walk;

/// A running `registry serve`, killed when it is dropped.
pub(crate) struct Program {
    pub(crate) url: String,
    child: Child,
}

impl Program {
    /// Starts the program in a folder.
    pub(crate) async fn start(
        folder: &Path,
        destination: &str,
        variables: &[(String, String)],
    ) -> Self {
        let mut child = command(folder, destination, variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let url = line.strip_prefix("registry at ").unwrap().to_owned();
        Self { url, child }
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// The most memory that it ever had, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() / 1024
    }

    pub(crate) fn artifact(&self, path: &str) -> String {
        format!("{}/api/2.0/mlflow-artifacts/artifacts/{path}", self.url)
    }

    pub(crate) async fn listed(&self, path: &str) -> String {
        let url = format!(
            "{}/api/2.0/mlflow-artifacts/artifacts?path={path}",
            self.url
        );
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// Begins an upload of `size` bytes and sends `sent` of them.
    pub(crate) async fn begin_upload(&self, path: &str, size: usize, sent: usize) -> TcpStream {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "PUT /api/2.0/mlflow-artifacts/artifacts/{path} HTTP/1.1\r\nhost: localhost\r\n\
             content-length: {size}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![7; sent]).await.unwrap();
        stream
    }
}

/// The command, with nothing of this machine's own AWS settings.
pub(crate) fn command(folder: &Path, destination: &str, variables: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry"));
    command
        .args([
            "serve",
            "--port",
            "0",
            "--artifacts-destination",
            destination,
        ])
        .current_dir(folder);
    for (name, _) in std::env::vars() {
        if name.starts_with("AWS_") || name.starts_with("MLFLOW_") {
            command.env_remove(name);
        }
    }
    command.envs(variables.iter().cloned());
    command
}

/// Waits for something that takes an unknown time.
pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn a_killed_server_leaves_nothing_half() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("a");
    let program = Program::start(temp.path(), "a", &[]).await;
    let whole = reqwest::Client::new()
        .put(program.artifact("1/whole.bin"))
        .body(vec![1; 100_000]);
    assert_eq!(whole.send().await.unwrap().status(), 200);
    let upload = program
        .begin_upload("1/half.bin", 4_000_000, 2_000_000)
        .await;
    let staged = || walk(&root.join(".upload-staging"));
    until("an upload under way", || !staged().is_empty()).await;
    program.kill().await;
    drop(upload);

    let program = Program::start(temp.path(), "a", &[]).await;
    let listed = program.listed("1").await;
    assert!(
        listed.contains("whole.bin") && !listed.contains("half.bin"),
        "{listed}"
    );
    assert_eq!(
        reqwest::get(program.artifact("1/half.bin"))
            .await
            .unwrap()
            .status(),
        404
    );
    assert_eq!(
        reqwest::get(program.artifact("1/whole.bin"))
            .await
            .unwrap()
            .status(),
        200
    );
    // A slow upload of another server on the folder could look like this for a while.
    let left = staged();
    assert_eq!(left.len(), 1, "{left:?}");
    let file = std::fs::File::options().write(true).open(&left[0]).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    drop(file);
    program.kill().await;
    let _program = Program::start(temp.path(), "a", &[]).await;
    assert_eq!(staged(), Vec::<String>::new());
}

/// Sends and reads an artifact of that many MiB without ever having it in memory.
pub(crate) async fn there_and_back(program: &Program, path: &str, mib: usize) {
    let block = Bytes::from(
        (0..1 << 20)
            .map(|i: u32| (i * 31) as u8)
            .collect::<Vec<u8>>(),
    );
    let blocks = vec![block.clone(); mib]
        .into_iter()
        .map(Ok::<_, std::io::Error>);
    let body = reqwest::Body::wrap_stream(futures::stream::iter(blocks));
    let http = reqwest::Client::new();
    let sent = http
        .put(program.artifact(path))
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 200);
    let answer = http.get(program.artifact(path)).send().await.unwrap();
    assert_eq!(answer.content_length(), Some((mib as u64) << 20));
    let (mut body, mut at) = (answer.bytes_stream(), 0);
    while let Some(chunk) = body.next().await {
        for piece in chunk.unwrap().chunks(4096) {
            let expected = at % block.len();
            let until = (expected + piece.len()).min(block.len());
            let (first, rest) = piece.split_at(until - expected);
            assert!(
                first == &block[expected..until] && rest == &block[..rest.len()],
                "at {at}"
            );
            at += piece.len();
        }
    }
    assert_eq!(at, mib << 20);
}

#[tokio::test]
async fn large_files_pass_through_in_constant_memory() {
    let temp = tempfile::tempdir().unwrap();
    let program = Program::start(temp.path(), "a", &[]).await;
    let idle = program.peak_mib();
    there_and_back(&program, "1/large.bin", 256).await;
    let peak = program.peak_mib();
    assert!(
        peak < idle + 40,
        "{idle} MiB idle, {peak} MiB after 256 MiB each way"
    );
}
