//! An S3 server inside the test process: real HTTP, real signatures, files as its store.

use std::fs;
use std::net::TcpListener;
use std::path::{Component, Path, PathBuf};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder as ConnectionBuilder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A running S3 server; stopped, and its data removed, on drop.
///
/// It checks AWS signatures: a request with the wrong secret is refused with 403, one without a
/// signature too. Addresses are path-style (`http://127.0.0.1:PORT/BUCKET/KEY`).
///
/// The server runs on a thread with a runtime of its own, so it can be used from plain tests and
/// from `#[tokio::test]` alike.
#[derive(Debug)]
pub struct S3Server {
    /// The endpoint's URL, for example `http://127.0.0.1:40123`.
    pub endpoint: String,
    /// The one access key that the server knows.
    pub access_key: String,
    /// The secret that belongs to [`access_key`](Self::access_key).
    pub secret_key: String,
    root: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// The region that the server is to be addressed with.
    pub const REGION: &'static str = "us-east-1";

    /// Starts a server on a free port with an empty store.
    pub fn start() -> Result<Self> {
        let root = TempDir::with_prefix("foreshock-s3-").context("create the server's folder")?;
        let access_key = "TESTACCESSKEY".to_owned();
        let secret_key = "test-secret-key".to_owned();

        let store = FileSystem::new(root.path())
            .map_err(|error| anyhow::anyhow!("open the server's store: {error:?}"))?;
        let mut builder = S3ServiceBuilder::new(store);
        builder.set_auth(SimpleAuth::from_single(
            access_key.clone(),
            secret_key.clone(),
        ));
        let service = builder.build();

        let listener = TcpListener::bind(("127.0.0.1", 0)).context("bind a free port")?;
        listener.set_nonblocking(true)?;
        let endpoint = format!("http://{}", listener.local_addr()?);

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("test-s3")
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("test-s3-main".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(listener, service) => {}
                        _ = stopped => {}
                    }
                });
                runtime.shutdown_background();
            })?;

        Ok(Self {
            endpoint,
            access_key,
            secret_key,
            root,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The environment that makes an AWS client talk to this server.
    pub fn env(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_REGION", Self::REGION),
            ("AWS_ACCESS_KEY_ID", &self.access_key),
            ("AWS_SECRET_ACCESS_KEY", &self.secret_key),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Creates an empty bucket.
    pub fn create_bucket(&self, bucket: &str) -> Result<()> {
        let path = self.path_of(bucket, "")?;
        fs::create_dir(&path).with_context(|| format!("create the bucket `{bucket}`"))
    }

    /// Stores an object, as if it had been uploaded; replaces one of the same key.
    pub fn put_object(&self, bucket: &str, key: &str, content: &[u8]) -> Result<()> {
        let path = self.path_of(bucket, key)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content).with_context(|| format!("store `{key}` in `{bucket}`"))
    }

    /// Reads an object back, past the protocol.
    pub fn get_object(&self, bucket: &str, key: &str) -> Result<Vec<u8>> {
        let path = self.path_of(bucket, key)?;
        fs::read(&path).with_context(|| format!("read `{key}` in `{bucket}`"))
    }

    /// The folder of the server's own files, for what the protocol doesn't show.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    fn path_of(&self, bucket: &str, key: &str) -> Result<PathBuf> {
        let relative = Path::new(bucket).join(key);
        let is_plain = relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if bucket.is_empty() || !is_plain {
            bail!("bucket `{bucket}` and key `{key}` must form a relative path");
        }
        Ok(self.root.path().join(relative))
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server thread has shown itself on stderr already.
            drop(thread.join());
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => panic!("the S3 server cannot listen: {error}"),
    };
    let connections = ConnectionBuilder::new(TokioExecutor::new());
    loop {
        // A client that goes away between connect and accept concerns nobody else.
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        let connection = connections
            .serve_connection(TokioIo::new(socket), service.clone())
            .into_owned();
        tokio::spawn(async move {
            // The client sees a broken connection itself.
            drop(connection.await);
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn status_of_unsigned_get(server: &S3Server, path: &str) -> String {
        let address = server.endpoint.strip_prefix("http://").unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap().to_owned()
    }

    #[test]
    fn refuses_a_request_without_signature() {
        let server = S3Server::start().unwrap();
        server.create_bucket("data").unwrap();
        server.put_object("data", "a/b.csv", b"x").unwrap();
        assert_eq!(server.get_object("data", "a/b.csv").unwrap(), b"x");
        let status = status_of_unsigned_get(&server, "/data/a/b.csv");
        assert!(status.contains("403"), "{status}");
    }

    #[test]
    fn stops_on_drop_and_removes_its_data() {
        let server = S3Server::start().unwrap();
        let address = server.endpoint.strip_prefix("http://").unwrap().to_owned();
        let root = server.root.path().to_owned();
        drop(server);
        assert!(TcpStream::connect(address).is_err());
        assert!(!root.exists());
    }

    #[test]
    fn keeps_keys_inside_the_bucket() {
        let server = S3Server::start().unwrap();
        assert!(server.put_object("data", "../x", b"").is_err());
        assert!(server.create_bucket("").is_err());
    }
}
