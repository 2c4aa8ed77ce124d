//! Any MLflow server, by its REST API.

use futures::{StreamExt, TryStreamExt};
use mlflow_api::types::{
    Experiment, FileInfo, GetMetricHistory, LoggedModel, Metric, Run, SearchExperiments,
    SearchLoggedModels, SearchModelVersions, SearchRegisteredModels, SearchRuns, ViewType,
};
use mlflow_api::{Client, ClientError};

use super::source::{Content, Entry, Model, Owner, Part, Version, split_token};
use super::{Result, TransferError};

const EXPERIMENTS: i64 = 500;
const RUNS: i64 = 100;
const POINTS: i64 = 20_000;
const LOGGED_MODELS: i64 = 50;
const MODELS: i64 = 50;
const VERSIONS: i64 = 1000;

/// Prompts are registered models that a search shows only when it is asked for them.
const KINDS: [&str; 2] = ["", "tags.`mlflow.prompt.is_prompt` = 'true'"];

/// An MLflow server.
#[derive(Debug)]
pub struct Remote {
    client: Client,
}

fn after(token: Option<String>) -> Option<String> {
    token.filter(|token| !token.is_empty())
}

/// Whether the server has no such route: it is older than what is asked for.
fn is_unknown(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 404 | 405 | 501, error_code, .. }
        if error_code.starts_with("HTTP_"))
}

impl Remote {
    /// The server that a client speaks to.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn id(&self) -> &str {
        self.client.tracking_uri()
    }

    pub(super) async fn experiments(&self, token: Option<&str>) -> Result<Part<Experiment>> {
        let page = self
            .client
            .experiments_page(&SearchExperiments {
                max_results: Some(EXPERIMENTS),
                page_token: token.map(str::to_owned),
                view_type: Some(ViewType::All),
                // What is created meanwhile comes last and moves nothing.
                order_by: vec!["creation_time ASC".to_owned()],
                ..Default::default()
            })
            .await?;
        Ok(Part {
            items: page.experiments,
            next: after(page.next_page_token),
        })
    }

    pub(super) async fn runs(&self, experiment: &str, token: Option<&str>) -> Result<Part<Run>> {
        let page = self
            .client
            .runs_page(&SearchRuns {
                experiment_ids: vec![experiment.to_owned()],
                run_view_type: Some(ViewType::All),
                max_results: Some(RUNS),
                order_by: vec!["attributes.start_time ASC".to_owned()],
                page_token: token.map(str::to_owned),
                ..Default::default()
            })
            .await?;
        Ok(Part {
            items: page.runs,
            next: after(page.next_page_token),
        })
    }

    pub(super) async fn points(&self, run: &Run, token: Option<&str>) -> Result<Part<Metric>> {
        let (index, token) = split_token(token);
        let Some(metric) = run.data.metrics.get(index) else {
            return Ok(Part {
                items: Vec::new(),
                next: None,
            });
        };
        let page = self
            .client
            .metric_history_page(&GetMetricHistory {
                run_id: Some(run.info.run_id.clone()),
                metric_key: metric.key.clone(),
                page_token: token.map(str::to_owned),
                max_results: Some(POINTS),
                ..Default::default()
            })
            .await?;
        let next = match after(page.next_page_token) {
            Some(token) => Some(format!("{index}:{token}")),
            None => (index + 1 < run.data.metrics.len()).then(|| format!("{}:", index + 1)),
        };
        Ok(Part {
            items: page.metrics,
            next,
        })
    }

    pub(super) async fn logged_models(
        &self,
        experiment: &str,
        token: Option<&str>,
    ) -> Result<Part<LoggedModel>> {
        let page = self
            .client
            .logged_models_page(&SearchLoggedModels {
                experiment_ids: vec![experiment.to_owned()],
                max_results: Some(LOGGED_MODELS),
                page_token: token.map(str::to_owned),
                ..Default::default()
            })
            .await;
        let page = match page {
            // Before MLflow 3 there were none.
            Err(error) if is_unknown(&error) => Default::default(),
            page => page?,
        };
        Ok(Part {
            items: page.models,
            next: after(page.next_page_token),
        })
    }

    pub(super) async fn models(&self, token: Option<&str>) -> Result<Part<Model>> {
        let (kind, token) = split_token(token);
        let filter = KINDS.get(kind).copied().unwrap_or_default();
        let page = self
            .client
            .registered_models_page(&SearchRegisteredModels {
                filter: (!filter.is_empty()).then(|| filter.to_owned()),
                max_results: Some(MODELS),
                order_by: vec!["name ASC".to_owned()],
                page_token: token.map(str::to_owned),
            })
            .await?;
        let mut items = Vec::with_capacity(page.registered_models.len());
        for model in page.registered_models {
            let versions = self.versions(&model.name, filter).await?;
            items.push(Model { model, versions });
        }
        let next = match after(page.next_page_token) {
            Some(token) => Some(format!("{kind}:{token}")),
            None => (kind + 1 < KINDS.len()).then(|| format!("{}:", kind + 1)),
        };
        Ok(Part { items, next })
    }

    async fn versions(&self, name: &str, kind: &str) -> Result<Vec<Version>> {
        let quote = if name.contains('\'') { '"' } else { '\'' };
        let mut filter = format!("name = {quote}{name}{quote}");
        if !kind.is_empty() {
            filter.push_str(" AND ");
            filter.push_str(kind);
        }
        let mut request = SearchModelVersions {
            filter: Some(filter),
            max_results: Some(VERSIONS),
            order_by: vec!["version_number ASC".to_owned()],
            page_token: None,
        };
        let mut versions = Vec::new();
        loop {
            let page = self.client.model_versions_page(&request).await?;
            for version in page.model_versions {
                let files = self
                    .client
                    .get_download_uri(&version.name, &version.version)
                    .await
                    .ok();
                versions.push(Version { version, files });
            }
            request.page_token = after(page.next_page_token);
            if request.page_token.is_none() {
                return Ok(versions);
            }
        }
    }

    pub(super) async fn list(&self, owner: Owner<'_>, path: &str) -> Result<Vec<Entry>> {
        let listed = match owner {
            _ if is_proxied(owner.uri()) => self.client.list_store(owner.uri(), path).await,
            Owner::Run { id, .. } => self.client.list_artifacts(id, path).await,
            Owner::LoggedModel { id, .. } => {
                self.client.list_logged_model_artifacts(id, path).await
            }
            Owner::Version { .. } => return Err(unreachable_files(owner)),
        };
        let files = match listed {
            // Nothing was ever written there.
            Err(error) if error.is_not_found() => Vec::new(),
            files => files?,
        };
        Ok(files.into_iter().filter_map(entry).collect())
    }

    pub(super) async fn open(&self, owner: Owner<'_>, path: &str) -> Result<Content> {
        let content = match owner {
            _ if is_proxied(owner.uri()) => self.client.open_artifact(owner.uri(), path).await?,
            Owner::Run { id, .. } => self.client.open_run_artifact(id, path).await?,
            Owner::LoggedModel { id, .. } => {
                self.client.open_logged_model_artifact(id, path).await?
            }
            Owner::Version { .. } => return Err(unreachable_files(owner)),
        };
        Ok(content.map_err(TransferError::from).boxed())
    }
}

fn is_proxied(uri: &str) -> bool {
    uri.starts_with("mlflow-artifacts:")
}

fn unreachable_files(owner: Owner<'_>) -> TransferError {
    TransferError::NotThere(format!("way to the files at `{}`", owner.uri()))
}

fn entry(file: FileInfo) -> Option<Entry> {
    let name = file.path.trim_end_matches('/').rsplit('/').next()?;
    Some(Entry {
        name: name.to_owned(),
        size: (!file.is_dir).then(|| {
            file.file_size
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or(0)
        }),
    })
}
