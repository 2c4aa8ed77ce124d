//! Reading a server page by page, and its files as streams: what copies whole servers needs.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use reqwest::Method;
use serde::Serialize;

use super::transport::{Payload, Repeat};
use super::{Client, ClientError};
use crate::types::*;

/// The content of a file, as it arrives.
pub type Content = BoxStream<'static, Result<Bytes, ClientError>>;

impl Client {
    /// One page of experiments.
    ///
    /// # Errors
    /// When the server is not reachable or refuses.
    pub async fn experiments_page(
        &self,
        request: &SearchExperiments,
    ) -> Result<SearchExperimentsResponse, ClientError> {
        self.post("experiments/search", request).await
    }

    /// One page of runs.
    ///
    /// # Errors
    /// When the server is not reachable or refuses.
    pub async fn runs_page(&self, request: &SearchRuns) -> Result<SearchRunsResponse, ClientError> {
        self.post("runs/search", request).await
    }

    /// One page of a metric's history.
    ///
    /// # Errors
    /// When the server is not reachable or the run does not exist.
    pub async fn metric_history_page(
        &self,
        request: &GetMetricHistory,
    ) -> Result<GetMetricHistoryResponse, ClientError> {
        self.get("metrics/get-history", request).await
    }

    /// One page of logged models.
    ///
    /// # Errors
    /// When the server is not reachable or refuses.
    pub async fn logged_models_page(
        &self,
        request: &SearchLoggedModels,
    ) -> Result<SearchLoggedModelsResponse, ClientError> {
        self.post("logged-models/search", request).await
    }

    /// One page of registered models.
    ///
    /// # Errors
    /// When the server is not reachable or refuses.
    pub async fn registered_models_page(
        &self,
        request: &SearchRegisteredModels,
    ) -> Result<SearchRegisteredModelsResponse, ClientError> {
        self.get("registered-models/search", request).await
    }

    /// One page of versions.
    ///
    /// # Errors
    /// When the server is not reachable or refuses.
    pub async fn model_versions_page(
        &self,
        request: &SearchModelVersions,
    ) -> Result<SearchModelVersionsResponse, ClientError> {
        self.get("model-versions/search", request).await
    }

    /// What a folder of the artifact store holds, names without the folder: `path` below
    /// `artifact_uri`, which is an `mlflow-artifacts:` URI.
    ///
    /// # Errors
    /// When the server is not reachable or the URI is of another kind.
    pub async fn list_store(
        &self,
        artifact_uri: &str,
        path: &str,
    ) -> Result<Vec<FileInfo>, ClientError> {
        let url = self.artifact_url("mlflow-artifacts:/", "")?;
        let payload = Payload::Query(vec![(
            "path".to_owned(),
            self.artifact_path(artifact_uri, path)?,
        )]);
        let answer = self.send(Method::GET, &url, &payload, Repeat::Safe).await?;
        let answer: ListArtifactsResponse = self.json(answer).await?;
        Ok(answer.files)
    }

    /// What a logged model's artifact folder holds directly under `path`, paths from its root.
    ///
    /// # Errors
    /// When the server is not reachable or there is no such model.
    pub async fn list_logged_model_artifacts(
        &self,
        model_id: &str,
        path: &str,
    ) -> Result<Vec<FileInfo>, ClientError> {
        #[derive(Serialize)]
        struct Request<'a> {
            #[serde(skip_serializing_if = "str::is_empty")]
            artifact_directory_path: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            page_token: Option<String>,
        }
        let rpc = format!("logged-models/{model_id}/artifacts/directories");
        let mut request = Request {
            artifact_directory_path: path,
            page_token: None,
        };
        let mut files = Vec::new();
        loop {
            let page: ListArtifactsResponse = self.get(&rpc, &request).await?;
            files.extend(page.files);
            request.page_token = page.next_page_token.filter(|token| !token.is_empty());
            if request.page_token.is_none() {
                return Ok(files);
            }
        }
    }

    /// The artifact at `path` under `artifact_uri`, an `mlflow-artifacts:` URI.
    ///
    /// # Errors
    /// When the server is not reachable or there is no such artifact.
    pub async fn open_artifact(
        &self,
        artifact_uri: &str,
        path: &str,
    ) -> Result<Content, ClientError> {
        let url = self.artifact_url(artifact_uri, path)?;
        self.content(&url, Vec::new()).await
    }

    /// An artifact of a run, wherever its server keeps it.
    ///
    /// # Errors
    /// When the server is not reachable or there is no such artifact.
    pub async fn open_run_artifact(
        &self,
        run_id: &str,
        path: &str,
    ) -> Result<Content, ClientError> {
        let url = format!("{}/get-artifact", self.tracking_uri());
        let query = vec![
            ("run_id".to_owned(), run_id.to_owned()),
            ("path".to_owned(), path.to_owned()),
        ];
        self.content(&url, query).await
    }

    /// An artifact of a logged model, wherever its server keeps it.
    ///
    /// # Errors
    /// When the server is not reachable or there is no such artifact.
    pub async fn open_logged_model_artifact(
        &self,
        model_id: &str,
        path: &str,
    ) -> Result<Content, ClientError> {
        let url = format!(
            "{}/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files",
            self.tracking_uri()
        );
        let query = vec![("artifact_file_path".to_owned(), path.to_owned())];
        self.content(&url, query).await
    }

    async fn content(
        &self,
        url: &str,
        query: Vec<(String, String)>,
    ) -> Result<Content, ClientError> {
        let mut attempt = 0;
        let answer = loop {
            match self.open(url, query.clone()).await {
                Ok(answer) => break answer,
                Err(
                    error @ (ClientError::Unreachable { .. }
                    | ClientError::Refused {
                        status: 408 | 429 | 500..=599,
                        ..
                    }),
                ) if attempt < self.max_retries() => {
                    drop(error);
                    tokio::time::sleep(self.pause(attempt)).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        };
        let client = self.clone();
        Ok(answer
            .bytes_stream()
            .map_err(move |error| client.unreachable(error))
            .boxed())
    }
}
