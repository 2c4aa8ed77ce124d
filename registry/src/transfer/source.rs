//! Where a transfer reads from.

use mlflow_api::types::{Experiment, LoggedModel, Metric, ModelVersion, RegisteredModel, Run};
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::{Local, Remote, Result};

/// Where a transfer reads from: all give the same things, page by page.
#[derive(Debug)]
#[non_exhaustive]
pub enum Source {
    /// Any MLflow server.
    Remote(Remote),
    /// An exported folder.
    Folder(Folder),
    /// This registry.
    Local(Local),
}

/// Some things, and where the next are.
#[derive(Debug)]
pub(super) struct Part<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// A registered model with all its versions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Model {
    pub(super) model: RegisteredModel,
    pub(super) versions: Vec<Version>,
}

/// A version and the URI of its files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) version: ModelVersion,
    pub(super) files: Option<String>,
}

/// Whose files.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner<'a> {
    Run {
        id: &'a str,
        uri: &'a str,
    },
    LoggedModel {
        id: &'a str,
        uri: &'a str,
    },
    Version {
        name: &'a str,
        version: &'a str,
        uri: &'a str,
    },
}

impl<'a> Owner<'a> {
    pub(super) fn of_run(run: &'a Run) -> Self {
        Self::Run {
            id: &run.info.run_id,
            uri: run.info.artifact_uri.as_deref().unwrap_or_default(),
        }
    }

    pub(super) fn of_model(model: &'a LoggedModel) -> Self {
        Self::LoggedModel {
            id: &model.info.model_id,
            uri: model.info.artifact_uri.as_deref().unwrap_or_default(),
        }
    }

    pub(super) fn uri(self) -> &'a str {
        match self {
            Self::Run { uri, .. } | Self::LoggedModel { uri, .. } | Self::Version { uri, .. } => {
                uri
            }
        }
    }
}

/// A file or a folder directly below another.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// `None` for folders.
    pub(super) size: Option<u64>,
}

/// The bytes of a file, as they arrive.
pub(super) type Content = futures::stream::BoxStream<'static, Result<bytes::Bytes>>;

macro_rules! each {
    ($self:ident, |$source:ident| $call:expr) => {
        match $self {
            Self::Remote($source) => $call.await,
            Self::Folder($source) => $call.await,
            Self::Local($source) => $call.await,
        }
    };
}

impl Source {
    /// What the ledger calls it.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Remote(source) => source.id(),
            Self::Folder(source) => source.id(),
            Self::Local(_) => "local",
        }
    }

    pub(super) async fn experiments(&self, token: Option<&str>) -> Result<Part<Experiment>> {
        each!(self, |source| source.experiments(token))
    }

    pub(super) async fn runs(&self, experiment: &str, token: Option<&str>) -> Result<Part<Run>> {
        each!(self, |source| source.runs(experiment, token))
    }

    pub(super) async fn points(&self, run: &Run, token: Option<&str>) -> Result<Part<Metric>> {
        each!(self, |source| source.points(run, token))
    }

    pub(super) async fn logged_models(
        &self,
        experiment: &str,
        token: Option<&str>,
    ) -> Result<Part<LoggedModel>> {
        each!(self, |source| source.logged_models(experiment, token))
    }

    pub(super) async fn models(&self, token: Option<&str>) -> Result<Part<Model>> {
        each!(self, |source| source.models(token))
    }

    /// What is directly below `path` (`""`: the root) of the owner's files.
    pub(super) async fn list(&self, owner: Owner<'_>, path: &str) -> Result<Vec<Entry>> {
        each!(self, |source| source.list(owner, path))
    }

    pub(super) async fn open(&self, owner: Owner<'_>, path: &str) -> Result<Content> {
        match self {
            Self::Remote(source) => source.open(owner, path).await,
            Self::Folder(source) => source.open_file(owner, path).await,
            Self::Local(source) => source.open(owner, path).await,
        }
    }
}

/// Where to go on in a list of several lists: which one, and where in it.
pub(super) fn split_token(token: Option<&str>) -> (usize, Option<&str>) {
    match token.and_then(|token| token.split_once(':')) {
        Some((list, inner)) => (
            list.parse().unwrap_or(0),
            Some(inner).filter(|inner| !inner.is_empty()),
        ),
        None => (0, None),
    }
}
