//! This registry, read for an export.

use futures::{StreamExt, TryStreamExt};
use mlflow_api::types::{Experiment, LoggedModel, Metric, Run, ViewType};

use super::source::{Content, Entry, Model, Owner, Part, Version, split_token};
use super::{Result, TransferError};
use crate::Registry;
use crate::artifacts::{ArtifactError, ArtifactPath, Wanted};
use crate::filter::{self, MODEL_VERSIONS, REGISTERED_MODELS, RUNS};
use crate::store::{LoggedModelSearch, PageRequest, RunSearch};

const PAGE: i64 = 100;
const POINTS: i64 = 20_000;

/// Prompts are registered models that a search shows only when it is asked for them.
const KINDS: [&str; 2] = ["", "tags.`mlflow.prompt.is_prompt` = 'true'"];

/// This registry.
#[derive(Debug)]
pub struct Local {
    registry: Registry,
}

impl Local {
    /// What an open registry has.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    pub(super) async fn experiments(&self, token: Option<&str>) -> Result<Part<Experiment>> {
        let page = self
            .registry
            .store()
            .search_experiments(ViewType::All, &[], &[], PageRequest::new(PAGE, token)?)
            .await?;
        Ok(Part {
            items: page.items,
            next: page.next_page_token,
        })
    }

    pub(super) async fn runs(&self, experiment: &str, token: Option<&str>) -> Result<Part<Run>> {
        let oldest_first = filter::parse_order_by(&RUNS, "attributes.start_time ASC")
            .map_err(crate::store::StoreError::from)?;
        let search = RunSearch {
            experiment_ids: vec![experiment.to_owned()],
            clauses: Vec::new(),
            orders: vec![oldest_first],
            view: ViewType::All,
        };
        let page = self
            .registry
            .store()
            .search_runs(&search, PageRequest::new(PAGE, token)?)
            .await?;
        Ok(Part {
            items: page.items,
            next: page.next_page_token,
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
            .registry
            .store()
            .metric_history(
                &run.info.run_id,
                &metric.key,
                Some(PageRequest::new(POINTS, token)?),
            )
            .await?;
        let next = match page.next_page_token {
            Some(token) => Some(format!("{index}:{token}")),
            None => (index + 1 < run.data.metrics.len()).then(|| format!("{}:", index + 1)),
        };
        Ok(Part {
            items: page.items,
            next,
        })
    }

    pub(super) async fn logged_models(
        &self,
        experiment: &str,
        token: Option<&str>,
    ) -> Result<Part<LoggedModel>> {
        let page = self
            .registry
            .store()
            .search_logged_models(
                &LoggedModelSearch {
                    experiment_ids: vec![experiment.to_owned()],
                    clauses: Vec::new(),
                    datasets: Vec::new(),
                    orders: Vec::new(),
                },
                PageRequest::new(PAGE, token)?,
            )
            .await?;
        Ok(Part {
            items: page.items,
            next: page.next_page_token,
        })
    }

    pub(super) async fn models(&self, token: Option<&str>) -> Result<Part<Model>> {
        let (kind, token) = split_token(token);
        let clauses = filter::parse(
            &REGISTERED_MODELS,
            KINDS.get(kind).copied().unwrap_or_default(),
        )
        .map_err(crate::store::StoreError::from)?;
        let page = self
            .registry
            .store()
            .search_registered_models(&clauses, &[], PageRequest::new(PAGE, token)?)
            .await?;
        let mut items = Vec::with_capacity(page.items.len());
        for model in page.items {
            let versions = self.versions(&model.name, KINDS.get(kind).copied()).await?;
            items.push(Model { model, versions });
        }
        let next = match page.next_page_token {
            Some(token) => Some(format!("{kind}:{token}")),
            None => (kind + 1 < KINDS.len()).then(|| format!("{}:", kind + 1)),
        };
        Ok(Part { items, next })
    }

    async fn versions(&self, name: &str, kind: Option<&str>) -> Result<Vec<Version>> {
        let quote = if name.contains('\'') { '"' } else { '\'' };
        let mut text = format!("name = {quote}{name}{quote}");
        if let Some(kind) = kind.filter(|kind| !kind.is_empty()) {
            text.push_str(" AND ");
            text.push_str(kind);
        }
        let clauses =
            filter::parse(&MODEL_VERSIONS, &text).map_err(crate::store::StoreError::from)?;
        let store = self.registry.store();
        let mut versions = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = PageRequest::new(PAGE, token.as_deref())?;
            let page = store.search_model_versions(&clauses, &[], page).await?;
            for version in page.items {
                let number = version.version.parse().unwrap_or_default();
                let files = Some(store.download_uri(name, number).await?);
                versions.push(Version { version, files });
            }
            token = page.next_page_token;
            if token.is_none() {
                return Ok(versions);
            }
        }
    }

    pub(super) async fn list(&self, owner: Owner<'_>, path: &str) -> Result<Vec<Entry>> {
        let Some(place) = place(owner, path)? else {
            return Ok(Vec::new());
        };
        let entries = self.registry.artifacts().list(&place).await?;
        Ok(entries
            .into_iter()
            .map(|entry| Entry {
                name: entry.name,
                size: entry.size,
            })
            .collect())
    }

    pub(super) async fn open(&self, owner: Owner<'_>, path: &str) -> Result<Content> {
        let place = place(owner, path)?.ok_or(ArtifactError::InvalidPath)?;
        let all = Wanted::default();
        let download = self.registry.artifacts().get(&place, &all).await?;
        Ok(download.body.map_err(TransferError::Artifact).boxed())
    }
}

/// Where files are in this store; `None` when they are elsewhere.
fn place(owner: Owner<'_>, path: &str) -> Result<Option<ArtifactPath>> {
    let Some(root) = owner.uri().strip_prefix("mlflow-artifacts:") else {
        return Ok(None);
    };
    let root = ArtifactPath::parse(root.trim_start_matches('/'))?;
    Ok(Some(root.join(&ArtifactPath::parse(path)?)))
}
