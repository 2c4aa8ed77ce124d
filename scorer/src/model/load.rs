//! Reading models, from disk and from a registry.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use detectors::{FormatError, GoldenError, Model};
use market::{FeatureConfig, FeatureConfigError, ValidFeatureConfig};
use mlflow_api::{Client, ClientError, ClientOptions, Credentials};
use streaming::judge::engine_of;
use streaming::{Judge, JudgeError, ModelId, NativeJudge};
use thiserror::Error;

use super::onnx::{Graph, GraphError, GraphJudge, file_of};

/// The native file in a model's folder.
const NATIVE_FILE: &str = "model.foreshock";

/// A model that can't be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A file can't be read.
    #[error("the model `{path}` can't be read")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The registry refuses, or does not answer.
    #[error("the registry does not give the model")]
    Registry(#[from] ClientError),
    /// There is no such alias.
    #[error("there is no model `{name}` with the alias `{alias}`")]
    NoAlias {
        /// The registered model.
        name: String,
        /// The alias.
        alias: String,
    },
    /// The bytes are no model.
    #[error("it is no sound model")]
    Format(#[from] FormatError),
    /// It was made elsewhere, and what its scores mean is not known.
    #[error(
        "it has no `{NATIVE_FILE}`: a model that was made elsewhere is calibrated first, by `trainer evaluate models:/{name}/{version} --data EXPERIMENT.toml --register`, which makes a version that scorers run"
    )]
    NotOurs {
        /// The registered model.
        name: String,
        /// The version.
        version: String,
    },
    /// Its graph can't be used.
    #[error("its graph can't be used")]
    Graph(#[from] GraphError),
    /// It scores otherwise than at training.
    #[error("it does not score as it did at training")]
    Golden(#[from] GoldenError),
    /// It can't judge what this scorer computes.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// How its features are computed makes no sense.
    #[error("it says how its features are computed, but")]
    Features(#[from] FeatureConfigError),
}

impl LoadError {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_passing(),
            _ => false,
        }
    }
}

/// A sound model that has no judge yet.
#[derive(Debug)]
pub struct Loaded {
    /// Which one.
    pub id: ModelId,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Native(Box<Model>),
    Graph(Box<Graph>),
}

impl Loaded {
    fn native(id: ModelId, model: Model) -> Result<Self, LoadError> {
        let kind = Kind::Native(Box::new(model));
        Self { id, kind }.verified()
    }

    fn graph(id: ModelId, model: Model, content: &[u8]) -> Result<Self, LoadError> {
        let kind = Kind::Graph(Box::new(Graph::new(model, content)?));
        Self { id, kind }.verified()
    }

    fn verified(self) -> Result<Self, LoadError> {
        let verified = match &self.kind {
            Kind::Native(model) => model.verify(),
            Kind::Graph(graph) => graph.verify(),
        };
        match verified {
            Ok(()) => {}
            Err(error @ GoldenError::None) => {
                tracing::warn!(model = self.id.name, version = self.id.version, %error);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(self)
    }

    /// The model; that of a graph stands for it.
    #[must_use]
    pub fn model(&self) -> &Model {
        match &self.kind {
            Kind::Native(model) => model,
            Kind::Graph(graph) => graph.model(),
        }
    }

    /// How its features are computed.
    ///
    /// # Errors
    /// It doesn't say, or not sensibly.
    pub fn features(&self) -> Result<ValidFeatureConfig, LoadError> {
        let config: FeatureConfig = engine_of(self.model())?;
        Ok(config.check()?)
    }

    /// The judge that it makes where features are computed like this.
    ///
    /// # Errors
    /// They are computed in another way than it was trained with.
    pub fn judge(self, features: &ValidFeatureConfig) -> Result<Arc<dyn Judge>, LoadError> {
        Ok(match self.kind {
            Kind::Native(model) => Arc::new(NativeJudge::new(self.id, *model, features)?),
            Kind::Graph(graph) => Arc::new(GraphJudge::new(self.id, *graph, features)?),
        })
    }
}

/// Loads a model's folder or native file. It has the name of the folder or file, and version 0.
///
/// # Errors
/// It can't be read, or is no sound model.
pub fn load_path(path: &Path) -> Result<Loaded, LoadError> {
    let read = |file: &Path| {
        std::fs::read(file).map_err(|source| LoadError::Io {
            path: file.display().to_string(),
            source,
        })
    };
    let file = match path.is_dir() {
        true => path.join(NATIVE_FILE),
        false => path.to_owned(),
    };
    let bytes = read(&file)?;
    let named = match file.file_name().is_some_and(|name| name == NATIVE_FILE) {
        true => file.parent().unwrap_or(&file),
        false => &file,
    };
    let name = named.file_stem().unwrap_or_default();
    let id = ModelId {
        name: name.to_string_lossy().into_owned(),
        version: "0".to_owned(),
        run_id: String::new(),
    };
    let model = Model::from_bytes(&bytes)?;
    let Some(graph) = file_of(&model) else {
        return Loaded::native(id, model);
    };
    // Its name comes from the file: nothing outside of the folder is meant by it.
    let graph = Path::new(graph?).file_name().unwrap_or_default();
    let content = read(&file.with_file_name(graph))?;
    Loaded::graph(id, model, &content)
}

/// Models of a registry.
#[derive(Debug, Clone)]
pub struct Registered {
    client: Client,
}

impl Registered {
    /// A registry at this URL, with the credentials in MLflow's variables.
    ///
    /// # Errors
    /// It is no URL of one.
    pub fn at(uri: &str) -> Result<Self, LoadError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let credentials = Credentials::from_parts(
            variable("MLFLOW_TRACKING_USERNAME"),
            variable("MLFLOW_TRACKING_PASSWORD"),
            variable("MLFLOW_TRACKING_TOKEN"),
        );
        let options = ClientOptions {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            max_retries: 2,
            ..ClientOptions::default()
        };
        Ok(Self {
            client: Client::new(uri, credentials, options)?,
        })
    }

    /// The client itself.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Loads the version that an alias names.
    ///
    /// # Errors
    /// There is no such alias, and all that [`load`](Self::load) refuses.
    pub async fn load_alias(&self, name: &str, alias: &str) -> Result<Loaded, LoadError> {
        let version = self.version_of(name, alias).await?;
        self.load(name, &version).await
    }

    /// The version that an alias names.
    ///
    /// # Errors
    /// There is no such alias, or the registry does not tell.
    pub async fn version_of(&self, name: &str, alias: &str) -> Result<String, LoadError> {
        let version = self.client.find_by_alias(name, alias).await?;
        let version = version.ok_or_else(|| LoadError::NoAlias {
            name: name.to_owned(),
            alias: alias.to_owned(),
        })?;
        Ok(version.version)
    }

    /// Loads a version.
    ///
    /// # Errors
    /// There is none, its files can't be had, or they are no sound model.
    pub async fn load(&self, name: &str, version: &str) -> Result<Loaded, LoadError> {
        let entry = self.client.get_model_version(name, version).await?;
        let uri = self.client.get_download_uri(name, version).await?;
        let bytes = match self.client.download_artifact(&uri, NATIVE_FILE).await {
            Err(error) if error.is_not_found() => {
                return Err(LoadError::NotOurs {
                    name: name.to_owned(),
                    version: version.to_owned(),
                });
            }
            result => result?,
        };
        let id = ModelId {
            name: name.to_owned(),
            version: version.to_owned(),
            run_id: entry.run_id.unwrap_or_default(),
        };
        let model = apart(move || Ok(Model::from_bytes(&bytes)?)).await?;
        let graph = match file_of(&model) {
            None => return apart(move || Loaded::native(id, model)).await,
            Some(graph) => graph?.to_owned(),
        };
        let content = self.client.download_artifact(&uri, &graph).await?;
        apart(move || Loaded::graph(id, model, &content)).await
    }
}

/// Checking a large model takes a moment: it is done where nothing else waits for it.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
