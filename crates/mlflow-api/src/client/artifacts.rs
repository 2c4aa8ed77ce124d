//! Artifacts, through the tracking server.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::StreamExt;
use reqwest::Method;
use tokio::io::AsyncWriteExt;

use super::transport::{Payload, Repeat};
use super::{Client, ClientError};
use crate::types::{FileInfo, ListArtifacts, ListArtifactsResponse};

/// What is uploaded.
#[derive(Debug, Clone)]
pub enum ArtifactContent {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A file, streamed.
    File(PathBuf),
}

impl From<Vec<u8>> for ArtifactContent {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<String> for ArtifactContent {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<Bytes> for ArtifactContent {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<PathBuf> for ArtifactContent {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for ArtifactContent {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl Client {
    /// What a run's artifact folder holds directly under `path` (`""`: its root), sorted by path.
    ///
    /// # Errors
    /// When the server is not reachable or the run does not exist.
    pub async fn list_artifacts(
        &self,
        run_id: &str,
        path: &str,
    ) -> Result<Vec<FileInfo>, ClientError> {
        let mut request = ListArtifacts {
            run_id: Some(run_id.to_owned()),
            path: (!path.is_empty()).then(|| path.to_owned()),
            ..Default::default()
        };
        let mut files = Vec::new();
        loop {
            let page: ListArtifactsResponse = self.get("artifacts/list", &request).await?;
            files.extend(page.files);
            request.page_token = page.next_page_token.filter(|token| !token.is_empty());
            if request.page_token.is_none() {
                return Ok(files);
            }
        }
    }

    /// Writes an artifact at `path` under `artifact_uri` (a run's or a model's
    /// `mlflow-artifacts:` URI), replacing what is there; it is there whole or not at all.
    ///
    /// # Errors
    /// When the server is not reachable or refuses, when the URI is not of that kind, or when the
    /// local file can't be read.
    pub async fn upload_artifact(
        &self,
        artifact_uri: &str,
        path: &str,
        content: impl Into<ArtifactContent>,
    ) -> Result<(), ClientError> {
        let url = self.artifact_url(artifact_uri, path)?;
        let payload = match content.into() {
            ArtifactContent::Bytes(bytes) => Payload::Bytes(bytes),
            ArtifactContent::File(path) => {
                let size = tokio::fs::metadata(&path)
                    .await
                    .map_err(|source| file(&path, source))?;
                Payload::File {
                    size: size.len(),
                    path,
                }
            }
        };
        self.send(Method::PUT, &url, &payload, Repeat::Safe)
            .await
            .map(drop)
    }

    /// The bytes of the artifact at `path` under `artifact_uri`.
    ///
    /// # Errors
    /// When the server is not reachable or there is no such artifact.
    pub async fn download_artifact(
        &self,
        artifact_uri: &str,
        path: &str,
    ) -> Result<Bytes, ClientError> {
        let url = self.artifact_url(artifact_uri, path)?;
        let answer = self
            .send(Method::GET, &url, &Payload::None, Repeat::Safe)
            .await?;
        answer
            .bytes()
            .await
            .map_err(|error| self.unreachable(error))
    }

    /// Streams the artifact at `path` under `artifact_uri` into the file `to`, which is replaced;
    /// returns the number of bytes.
    ///
    /// # Errors
    /// As [`Client::download_artifact`], and when the file can't be written.
    pub async fn download_artifact_to(
        &self,
        artifact_uri: &str,
        path: &str,
        to: &Path,
    ) -> Result<u64, ClientError> {
        let url = self.artifact_url(artifact_uri, path)?;
        let answer = self
            .send(Method::GET, &url, &Payload::None, Repeat::Safe)
            .await?;
        let mut out = tokio::fs::File::create(to)
            .await
            .map_err(|source| file(to, source))?;
        let mut written = 0;
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.unreachable(error))?;
            out.write_all(&chunk)
                .await
                .map_err(|source| file(to, source))?;
            written += chunk.len() as u64;
        }
        out.flush().await.map_err(|source| file(to, source))?;
        Ok(written)
    }

    /// The URL of an artifact: `mlflow-artifacts:/a/b` with `c` is
    /// `<tracking uri>/api/2.0/mlflow-artifacts/artifacts/a/b/c`.
    pub(super) fn artifact_url(
        &self,
        artifact_uri: &str,
        path: &str,
    ) -> Result<String, ClientError> {
        let mut url = format!("{}/api/2.0/mlflow-artifacts/artifacts", self.tracking_uri());
        let path = self.artifact_path(artifact_uri, path)?;
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            url.push('/');
            encode_segment(&mut url, segment);
        }
        Ok(url)
    }

    /// The place in the server's store: `mlflow-artifacts:/a/b` with `c` is `a/b/c`.
    pub(super) fn artifact_path(
        &self,
        artifact_uri: &str,
        path: &str,
    ) -> Result<String, ClientError> {
        let refuse = |reason: &str| ClientError::ArtifactUri {
            uri: artifact_uri.to_owned(),
            reason: reason.to_owned(),
        };
        let Some(root) = artifact_uri.strip_prefix("mlflow-artifacts:") else {
            return Err(refuse(
                "only `mlflow-artifacts:` uris go through the tracking server",
            ));
        };
        let root = match root.strip_prefix("//") {
            // An empty authority, or this very server.
            Some(rest) if rest.starts_with('/') => rest,
            Some(rest) => {
                let (host, root) = rest.split_once('/').unwrap_or((rest, ""));
                let base = self.tracking_uri();
                let ours = base.split_once("://").map_or(base, |(_, rest)| rest);
                if ours.split('/').next() != Some(host) {
                    return Err(refuse("it names another server"));
                }
                root
            }
            None => root,
        };
        let segments: Vec<&str> = root
            .split('/')
            .chain(path.split('/'))
            .filter(|segment| !segment.is_empty())
            .collect();
        match segments
            .iter()
            .find(|segment| matches!(**segment, "." | ".."))
        {
            Some(segment) => Err(refuse(&format!("path `{path}` has a segment `{segment}`"))),
            None => Ok(segments.join("/")),
        }
    }
}

fn file(path: &Path, source: std::io::Error) -> ClientError {
    ClientError::File {
        path: path.display().to_string(),
        source,
    }
}

fn encode_segment(url: &mut String, segment: &str) {
    use std::fmt::Write;
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            write!(url, "%{byte:02X}").ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::client::{Client, ClientOptions, Credentials};

    #[test]
    fn artifact_uris_become_urls_of_the_tracking_server() {
        let options = ClientOptions::default();
        let client = Client::new("http://h:5000/mlflow", Credentials::None, options).unwrap();
        let base = "http://h:5000/mlflow/api/2.0/mlflow-artifacts/artifacts";
        for (uri, path, expected) in [
            (
                "mlflow-artifacts:/1/ab/artifacts",
                "model/MLmodel",
                "/1/ab/artifacts/model/MLmodel",
            ),
            ("mlflow-artifacts:///1/ab", "", "/1/ab"),
            ("mlflow-artifacts://h:5000/1", "a", "/1/a"),
            (
                "mlflow-artifacts:/1",
                "ä b%2e?#.txt",
                "/1/%C3%A4%20b%252e%3F%23.txt",
            ),
        ] {
            assert_eq!(
                client.artifact_url(uri, path).unwrap(),
                format!("{base}{expected}")
            );
        }
        for (uri, path) in [
            ("s3://bucket/a", "b"),
            ("mlflow-artifacts://elsewhere/1", "a"),
            ("mlflow-artifacts:/1", "a/../../b"),
        ] {
            assert!(client.artifact_url(uri, path).is_err(), "{uri} {path}");
        }
    }
}
