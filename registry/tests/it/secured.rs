//! A served registry with users and options of its own, and the real program.

use std::process::Stdio;
use std::sync::Arc;

use registry::auth::{Role, hash_password};
use registry::store::Store;
use registry::{CancellationToken, Options, Registry, ServeOptions, Server as Served};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_stack::PostgresServer;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::OnceCell;

use crate::harness::database_of;

pub(crate) const PASSWORD: &str = "a long password";

/// A server in this process; it stops when it is dropped.
pub(crate) struct Secured {
    pub(crate) url: String,
    pub(crate) store: Store,
    pub(crate) folder: TempDir,
    pub(crate) stop: CancellationToken,
    http: reqwest::Client,
    _postgres: Option<Arc<PostgresServer>>,
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One hash for all users: it takes a while to make one.
async fn hash() -> &'static str {
    static HASH: OnceCell<String> = OnceCell::const_new();
    HASH.get_or_init(|| async { hash_password(PASSWORD.to_owned()).await.unwrap() })
        .await
}

/// A server with these users, all of whom have [`PASSWORD`].
pub(crate) async fn serve_with(options: ServeOptions, users: &[(&str, Role)]) -> Secured {
    let folder = tempfile::tempdir().unwrap();
    let (backend_store_uri, postgres) = database_of(folder.path());
    let registry = Registry::open(Options {
        backend_store_uri,
        artifacts_destination: folder.path().join("artifacts").into(),
        ..Options::default()
    })
    .await
    .unwrap();
    let store = registry.store().clone();
    for (name, role) in users {
        store.create_user(name, hash().await, *role).await.unwrap();
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scheme = if options.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let url = format!(
        "{scheme}://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let stop = CancellationToken::new();
    let served = Served::prepare(registry, options, stop.clone())
        .await
        .unwrap();
    tokio::spawn(served.run(listener));
    Secured {
        url,
        store,
        folder,
        stop,
        http: reqwest::Client::new(),
        _postgres: postgres,
    }
}

impl Secured {
    /// A request of a user, or of nobody where the name is empty.
    pub(crate) fn request(&self, user: &str, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url));
        if user.is_empty() {
            request
        } else {
            request.basic_auth(user, Some(PASSWORD))
        }
    }

    /// Sends JSON to a route of MLflow; (status, body).
    pub(crate) async fn call(
        &self,
        user: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let path = format!("/api/2.0/mlflow/{path}");
        let mut request = self.request(user, method, &path);
        if method != "GET" {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    pub(crate) async fn status(&self, user: &str, method: &str, path: &str, body: Value) -> u16 {
        self.call(user, method, path, body).await.0
    }

    /// An experiment of that name; its id.
    pub(crate) async fn experiment(&self, user: &str, name: &str) -> String {
        let (status, body) = self
            .call(user, "POST", "experiments/create", json!({"name": name}))
            .await;
        assert_eq!(status, 200, "{body}");
        body["experiment_id"].as_str().unwrap().to_owned()
    }

    /// A run in an experiment; its id.
    pub(crate) async fn run(&self, user: &str, experiment: &str) -> String {
        let body = json!({"experiment_id": experiment});
        let (status, body) = self.call(user, "POST", "runs/create", body).await;
        assert_eq!(status, 200, "{body}");
        body["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    }
}

/// The real program; it is killed when it is dropped.
pub(crate) struct Program {
    pub(crate) url: String,
    pub(crate) child: Child,
    /// What it logs.
    pub(crate) log: Lines<BufReader<ChildStderr>>,
}

pub(crate) fn program(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry"));
    command
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Starts `registry serve` on a free port.
pub(crate) async fn start(mut command: Command, arguments: &[&str]) -> Program {
    let mut child = command
        .args(["serve", "--port", "0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .await
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = line
        .trim()
        .strip_prefix("registry at ")
        .unwrap_or_default()
        .to_owned();
    assert!(!url.is_empty(), "{line}");
    Program { url, child, log }
}

impl Program {
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        Command::new("kill")
            .args([name, &id])
            .status()
            .await
            .unwrap();
    }
}
