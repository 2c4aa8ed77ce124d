//! A served registry in a folder of its own, over a database of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use mlflow_api::{Client, ClientOptions, Credentials};
use registry::{CancellationToken, Options, Registry, sqlite_uri};
use serde_json::Value;
use tempfile::TempDir;
use test_stack::PostgresServer;

/// Whether these are the tests against PostgreSQL.
pub(crate) fn on_postgres() -> bool {
    env!("CARGO_CRATE_NAME") == "postgres"
}

/// The one PostgreSQL server of this process; it stops when nobody uses it any more.
pub(crate) fn postgres() -> Arc<PostgresServer> {
    static SERVER: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap();
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(PostgresServer::start().unwrap());
        *server = Arc::downgrade(&started);
        started
    })
}

/// The database of a folder, and what keeps it alive.
pub(crate) fn database_of(folder: &Path) -> (String, Option<Arc<PostgresServer>>) {
    if !on_postgres() {
        return (sqlite_uri(&folder.join("registry.db")), None);
    }
    let server = postgres();
    let note = folder.join("database-uri");
    let uri = std::fs::read_to_string(&note).unwrap_or_else(|_| {
        let uri = server.create_database().unwrap();
        std::fs::write(&note, &uri).unwrap();
        uri
    });
    (uri, Some(server))
}

/// A server; it stops when it is dropped.
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) folder: PathBuf,
    shutdown: CancellationToken,
    task: Option<tokio::task::JoinHandle<Result<(), registry::ServeError>>>,
    _postgres: Option<Arc<PostgresServer>>,
    /// Absent when somebody else owns the folder.
    _temp: Option<TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) async fn serve() -> Server {
    let temp = tempfile::tempdir().unwrap();
    let mut server = serve_in(temp.path()).await;
    server._temp = Some(temp);
    server
}

/// Another server over the same folder.
pub(crate) async fn serve_in(folder: &Path) -> Server {
    serve_with(folder, |_| {}).await
}

/// A server over a folder, with options of its own.
pub(crate) async fn serve_with(folder: &Path, change: impl FnOnce(&mut Options)) -> Server {
    let (backend_store_uri, postgres) = database_of(folder);
    let mut options = Options {
        backend_store_uri,
        artifacts_destination: folder.join("artifacts").into(),
        ..Options::default()
    };
    change(&mut options);
    let registry = Registry::open(options).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(registry::serve(listener, registry, shutdown.clone()));
    let options = ClientOptions {
        max_retries: 0,
        ..ClientOptions::default()
    };
    Server {
        client: Client::new(&url, Credentials::None, options).unwrap(),
        url,
        folder: folder.to_owned(),
        shutdown,
        task: Some(task),
        _postgres: postgres,
        _temp: None,
    }
}

impl Server {
    /// Sends JSON to any path; (status, body).
    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let response = reqwest::Client::new()
            .request(method.parse().unwrap(), format!("{}{path}", self.url))
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// Stops it, and waits until it has closed its database; the folder stays as long as what is
    /// returned.
    pub(crate) async fn stop(mut self) -> Self {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap().unwrap();
        }
        self
    }

    /// Posts JSON to a route; (status, body).
    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/api/2.0/mlflow/{path}", self.url);
        let response = reqwest::Client::new()
            .post(url)
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// Gets a path below the root; (status, body).
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// A run in an experiment of its own.
    pub(crate) async fn run(&self) -> mlflow_api::types::Run {
        let name = format!("e-{}", uuid::Uuid::new_v4().simple());
        let experiment = self.client.get_or_create_experiment(&name).await.unwrap();
        self.client
            .create_run(&experiment, None, 1, Vec::new())
            .await
            .unwrap()
    }
}
