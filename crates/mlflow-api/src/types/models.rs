//! Registered models and their versions.

use super::KeyValue;

crate::wire::wire_enum! {
    /// Whether a version can be used.
    pub enum ModelVersionStatus {
        /// Its registration is under way.
        Pending = 1, "PENDING_REGISTRATION";
        /// Its registration failed.
        Failed = 2, "FAILED_REGISTRATION";
        /// It can be used.
        Ready = 3, "READY";
    }
}

crate::wire::wire! {
    /// A registered model: a name with versions.
    pub struct RegisteredModel {
        /// The name.
        pub name: String,
        /// When it was created, ms since the epoch.
        pub creation_timestamp: Option<i64>,
        /// When it last changed, ms since the epoch.
        pub last_updated_timestamp: Option<i64>,
        /// Who created it.
        pub user_id: Option<String>,
        /// What it is.
        pub description: Option<String>,
        /// The newest version of each stage.
        pub latest_versions: Vec<ModelVersion>,
        /// Its tags.
        pub tags: Vec<KeyValue>,
        /// Its aliases.
        pub aliases: Vec<ModelAlias>,
    }

    /// A name for one version of a model.
    pub struct ModelAlias {
        /// The alias.
        pub alias: String,
        /// The version that it names.
        pub version: String,
    }

    /// A version of a registered model.
    pub struct ModelVersion {
        /// The model.
        pub name: String,
        /// The version: 1, 2, … as text.
        pub version: String,
        /// When it was created, ms since the epoch.
        pub creation_timestamp: Option<i64>,
        /// When it last changed, ms since the epoch.
        pub last_updated_timestamp: Option<i64>,
        /// Who created it.
        pub user_id: Option<String>,
        /// `None`, `Staging`, `Production` or `Archived`.
        pub current_stage: Option<String>,
        /// What it is.
        pub description: Option<String>,
        /// The URI of its files.
        pub source: Option<String>,
        /// The run that made it.
        pub run_id: Option<String>,
        /// Whether it can be used.
        pub status: Option<ModelVersionStatus>,
        /// More about the status.
        pub status_message: Option<String>,
        /// Its tags.
        pub tags: Vec<KeyValue>,
        /// A link to the run that made it, on another server.
        pub run_link: Option<String>,
        /// Its aliases.
        pub aliases: Vec<String>,
        /// The logged model that it was made from.
        pub model_id: Option<String>,
    }

    /// `registered-models/create`.
    pub struct CreateRegisteredModel {
        /// The name.
        pub name: String,
        /// Tags to begin with.
        pub tags: Vec<KeyValue>,
        /// What it is.
        pub description: Option<String>,
    }

    /// The answer to requests for one registered model.
    pub struct RegisteredModelResponse {
        /// The model.
        pub registered_model: RegisteredModel,
    }

    /// `registered-models/get` and `delete`.
    pub struct RegisteredModelRef {
        /// The name.
        pub name: String,
    }

    /// `registered-models/rename`.
    pub struct RenameRegisteredModel {
        /// The name.
        pub name: String,
        /// The new name.
        pub new_name: Option<String>,
    }

    /// `registered-models/update`.
    pub struct UpdateRegisteredModel {
        /// The name.
        pub name: String,
        /// What it is.
        pub description: Option<String>,
    }

    /// `registered-models/search`.
    pub struct SearchRegisteredModels {
        /// A filter over name and tags.
        pub filter: Option<String>,
        /// The page's size; 100 when absent.
        pub max_results: Option<i64>,
        /// Columns with `ASC` or `DESC`.
        pub order_by: Vec<String>,
        /// Where to go on.
        pub page_token: Option<String>,
    }

    /// The answer to [`SearchRegisteredModels`].
    pub struct SearchRegisteredModelsResponse {
        /// The page.
        pub registered_models: Vec<RegisteredModel>,
        /// Where to go on; absent on the last page.
        pub next_page_token: Option<String>,
    }

    /// `registered-models/get-latest-versions`.
    pub struct GetLatestVersions {
        /// The model.
        pub name: String,
        /// The stages to look at; all when empty.
        pub stages: Vec<String>,
    }

    /// Several versions.
    pub struct ModelVersionsResponse {
        /// The versions.
        pub model_versions: Vec<ModelVersion>,
    }

    /// `registered-models/set-tag`.
    pub struct SetRegisteredModelTag {
        /// The model.
        pub name: String,
        /// The tag's key.
        pub key: String,
        /// Its text.
        pub value: String,
    }

    /// `registered-models/delete-tag`.
    pub struct DeleteRegisteredModelTag {
        /// The model.
        pub name: String,
        /// The tag's key.
        pub key: String,
    }

    /// `registered-models/alias`, POST: moves or creates an alias.
    pub struct SetAlias {
        /// The model.
        pub name: String,
        /// The alias.
        pub alias: String,
        /// The version.
        pub version: String,
        /// Why, for the alias's history; not in MLflow's dialect.
        pub reason: Option<String>,
    }

    /// `registered-models/alias`, GET and DELETE.
    pub struct AliasRef {
        /// The model.
        pub name: String,
        /// The alias.
        pub alias: String,
        /// Why it is deleted, for the alias's history; not in MLflow's dialect.
        pub reason: Option<String>,
    }

    /// `model-versions/create`.
    pub struct CreateModelVersion {
        /// The model.
        pub name: String,
        /// The URI of the model's files.
        pub source: String,
        /// The run that made it.
        pub run_id: Option<String>,
        /// Tags to begin with.
        pub tags: Vec<KeyValue>,
        /// A link to the run that made it, on another server.
        pub run_link: Option<String>,
        /// What it is.
        pub description: Option<String>,
        /// The logged model that it was made from.
        pub model_id: Option<String>,
    }

    /// The answer to requests for one version.
    pub struct ModelVersionResponse {
        /// The version.
        pub model_version: ModelVersion,
    }

    /// `model-versions/get`, `delete` and `get-download-uri`.
    pub struct ModelVersionRef {
        /// The model.
        pub name: String,
        /// The version.
        pub version: String,
    }

    /// `model-versions/update`.
    pub struct UpdateModelVersion {
        /// The model.
        pub name: String,
        /// The version.
        pub version: String,
        /// What it is.
        pub description: Option<String>,
    }

    /// `model-versions/transition-stage`.
    pub struct TransitionStage {
        /// The model.
        pub name: String,
        /// The version.
        pub version: String,
        /// The new stage.
        pub stage: String,
        /// Whether what is in that stage now is archived.
        pub archive_existing_versions: bool,
    }

    /// `model-versions/search`.
    pub struct SearchModelVersions {
        /// A filter over name, version, run and tags.
        pub filter: Option<String>,
        /// The page's size; 200,000 when absent.
        pub max_results: Option<i64>,
        /// Columns with `ASC` or `DESC`.
        pub order_by: Vec<String>,
        /// Where to go on.
        pub page_token: Option<String>,
    }

    /// The answer to [`SearchModelVersions`].
    pub struct SearchModelVersionsResponse {
        /// The page.
        pub model_versions: Vec<ModelVersion>,
        /// Where to go on; absent on the last page.
        pub next_page_token: Option<String>,
    }

    /// `model-versions/set-tag`.
    pub struct SetModelVersionTag {
        /// The model.
        pub name: String,
        /// The version.
        pub version: String,
        /// The tag's key.
        pub key: String,
        /// Its text.
        pub value: String,
    }

    /// `model-versions/delete-tag`.
    pub struct DeleteModelVersionTag {
        /// The model.
        pub name: String,
        /// The version.
        pub version: String,
        /// The tag's key.
        pub key: String,
    }

    /// The answer to `model-versions/get-download-uri`.
    pub struct DownloadUriResponse {
        /// The URI of the version's files.
        pub artifact_uri: Option<String>,
    }
}
