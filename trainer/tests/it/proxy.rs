//! A registry in this process, and a proxy before it that can be told to fail.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mlflow_api::types::{ModelVersion, Run};
use mlflow_api::{Client, ClientError, ClientOptions, Credentials};
use registry::{CancellationToken, Options, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What the proxy does with a request that it doesn't let live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection breaks before the registry sees the request.
    Unseen,
    /// The registry does what it is asked; the connection breaks before the answer.
    Unanswered,
    /// An answer with this status and body.
    Answer(u16, &'static str),
    /// No answer, ever.
    Silence,
}

/// From which request on (1 is the first) which fault happens.
type Plan = Arc<Mutex<Option<(usize, Fault)>>>;

/// A healthy registry at one address, a proxy to it at another.
pub(crate) struct Faulty {
    runtime: Runtime,
    pub(crate) uri: String,
    client: Client,
    shutdown: CancellationToken,
    plan: Plan,
    n_requests: Arc<AtomicUsize>,
    artifacts: PathBuf,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Faulty {
    pub(crate) fn start(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let shutdown = CancellationToken::new();
        let artifacts = folder.join("server/artifacts");
        let options = Options {
            backend_store_uri: registry::sqlite_uri(&folder.join("server/registry.db")),
            artifacts_destination: artifacts.clone().into(),
            ..Options::default()
        };
        let plan = Plan::default();
        let n_requests = Arc::new(AtomicUsize::new(0));
        let (real, uri) = runtime.block_on(async {
            let registry = Registry::open(options).await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let real = listener.local_addr().unwrap().to_string();
            tokio::spawn(registry::serve(listener, registry, shutdown.clone()));
            let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let uri = format!("http://{}", proxy.local_addr().unwrap());
            tokio::spawn(accept(
                proxy,
                real.clone(),
                plan.clone(),
                n_requests.clone(),
            ));
            (real, uri)
        });
        let options = ClientOptions::default();
        let client = Client::new(&format!("http://{real}"), Credentials::None, options).unwrap();
        Self {
            runtime,
            uri,
            client,
            shutdown,
            plan,
            n_requests,
            artifacts,
        }
    }

    /// From the `n`-th request from now on, `fault` happens.
    pub(crate) fn fail_from(&self, n: usize, fault: Fault) {
        self.n_requests.store(0, Ordering::SeqCst);
        *self.plan.lock().unwrap() = Some((n, fault));
    }

    /// All is well again; how many requests there were since.
    pub(crate) fn heal(&self) -> usize {
        *self.plan.lock().unwrap() = None;
        self.n_requests.swap(0, Ordering::SeqCst)
    }

    /// Asks the registry itself, past the proxy.
    pub(crate) fn ask<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        self.runtime.block_on(call(self.client.clone()))
    }

    /// All runs, the newest first.
    pub(crate) fn runs(&self) -> Vec<Run> {
        self.ask(|client| async move {
            let ids: Vec<String> = (0..4).map(|id| id.to_string()).collect();
            client.search_runs(&ids, "", &[], 100).await
        })
        .unwrap()
    }

    pub(crate) fn versions(&self) -> Vec<ModelVersion> {
        self.ask(|client| async move { client.search_model_versions("").await })
            .unwrap()
    }

    /// Whether the run's artifact is on the registry's disk, whole.
    pub(crate) fn holds(&self, run: &Run, artifact: &str) -> bool {
        let folder = self.artifacts.join(&run.info.experiment_id);
        let file = folder
            .join(&run.info.run_id)
            .join("artifacts")
            .join(artifact);
        std::fs::metadata(file).is_ok_and(|file| file.len() > 0)
    }
}

async fn accept(listener: TcpListener, real: String, plan: Plan, n_requests: Arc<AtomicUsize>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (real, plan, n_requests) = (real.clone(), plan.clone(), n_requests.clone());
        tokio::spawn(async move {
            // A connection that breaks is what this proxy is for.
            drop(relay(socket, &real, &plan, &n_requests).await);
        });
    }
}

/// One request, one answer, and the end of the connection.
async fn relay(
    mut socket: TcpStream,
    real: &str,
    plan: &Plan,
    n_requests: &AtomicUsize,
) -> std::io::Result<()> {
    let request = read_message(&mut socket).await?;
    let number = n_requests.fetch_add(1, Ordering::SeqCst) + 1;
    let fault = plan
        .lock()
        .unwrap()
        .and_then(|(from, fault)| (number >= from).then_some(fault));
    match fault {
        Some(Fault::Unseen) => return Ok(()),
        Some(Fault::Silence) => {
            // Until the client has enough of it.
            return socket.read(&mut [0]).await.map(drop);
        }
        Some(Fault::Answer(status, body)) => {
            let answer = format!(
                "HTTP/1.1 {status} x\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            return socket.write_all(answer.as_bytes()).await;
        }
        Some(Fault::Unanswered) | None => {}
    }
    let mut upstream = TcpStream::connect(real).await?;
    upstream.write_all(&request).await?;
    let answer = read_message(&mut upstream).await?;
    if fault == Some(Fault::Unanswered) {
        return Ok(());
    }
    socket.write_all(&close(&answer)).await
}

/// Head and body of a message with a `content-length` (none: no body) or in chunks.
async fn read_message(socket: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let head = message.windows(4).position(|part| part == b"\r\n\r\n");
        if let Some(end) = head {
            let text = String::from_utf8_lossy(&message[..end]).to_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .and_then(|length| length.trim().parse::<usize>().ok());
            let is_whole = match length {
                Some(length) => message.len() >= end + 4 + length,
                None if text.contains("transfer-encoding: chunked") => {
                    message.ends_with(b"0\r\n\r\n")
                }
                None => true,
            };
            if is_whole {
                return Ok(message);
            }
        }
        let mut part = [0; 16 << 10];
        let n_read = socket.read(&mut part).await?;
        if n_read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        message.extend_from_slice(&part[..n_read]);
    }
}

/// The answer, with word that the connection ends: the client mustn't send another request on it.
fn close(answer: &[u8]) -> Vec<u8> {
    let end = answer.windows(2).position(|part| part == b"\r\n");
    let (status, rest) = answer.split_at(end.map_or(0, |end| end + 2));
    [status, b"connection: close\r\n", rest].concat()
}
