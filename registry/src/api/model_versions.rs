//! `/mlflow/model-versions/…`

use axum::Json;
use axum::extract::State;
use mlflow_api::types::{
    CreateModelVersion, DeleteModelVersionTag, DownloadUriResponse, Empty, KeyValue, ModelVersion,
    ModelVersionRef, ModelVersionResponse, SearchModelVersions, SearchModelVersionsResponse,
    SetModelVersionTag, TransitionStage, UpdateModelVersion,
};
use serde_json::{Value, json};

use super::Answer;
use super::actor::Author;
use super::error::ApiError;
use super::extract::Rpc;
use super::validate::{self, required};
use crate::Registry;
use crate::artifacts::ArtifactPath;
use crate::auth::Viewer;
use crate::filter::{self, MODEL_VERSIONS};
use crate::store::{NewModelVersion, PageRequest};

const PAGE: i64 = 200_000;
const IS_PROMPT: &str = "mlflow.prompt.is_prompt";
/// The versions that were made from a logged model: a JSON list in a tag of that model.
const MODEL_VERSIONS_TAG: &str = "mlflow.modelVersions";

pub(super) async fn create(
    State(registry): State<Registry>,
    Rpc(request): Rpc<CreateModelVersion>,
) -> Answer<ModelVersionResponse> {
    validate::model_name(&request.name)?;
    required("source", &request.source)?;
    request.tags.iter().try_for_each(validate::registry_tag)?;
    let mut new = NewModelVersion {
        storage_location: request.source.clone(),
        source: request.source,
        run_id: some(request.run_id),
        run_link: some(request.run_link),
        model_id: some(request.model_id),
        description: request.description,
        tags: request.tags,
        name: request.name,
    };
    resolve(&registry, &mut new).await?;
    let model_id = new.model_id.clone();
    let model_version = registry.store().create_model_version(new).await?;
    if let Some(model_id) = model_id {
        note_version(&registry, &model_id, &model_version).await?;
    }
    registry.webhooks().version_created(&model_version).await;
    Ok(Json(ModelVersionResponse { model_version }))
}

/// A text that somebody gave.
fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Finds where the files are, and refuses a source that is nobody's: a version must lead to files
/// of the run or of the logged model that it names, or to another version.
async fn resolve(registry: &Registry, new: &mut NewModelVersion) -> Result<(), ApiError> {
    let source = new.source.clone();
    let refuse =
        |why: &str| ApiError::invalid(format!("Invalid model version source: '{source}'. {why}"));
    let is_prompt = new
        .tags
        .iter()
        .any(|tag| tag.key == IS_PROMPT && tag.value == "true");
    let Some((scheme, rest)) = source.split_once(':') else {
        // A prompt has no files; its client sends a word.
        if is_prompt && !source.contains(['/', '\\', '.']) {
            return Ok(());
        }
        return Err(refuse("Local paths are not served by this server."));
    };
    if ArtifactPath::parse(rest.trim_start_matches('/')).is_err() {
        return Err(refuse("It has a path that climbs or can't be read."));
    }
    match scheme {
        "models" => {
            let named = rest.trim_start_matches('/');
            if let Some((name, version)) = named.split_once('/') {
                let version = validate::version(version)?;
                let copied = registry.store().get_model_version(name, version).await?;
                new.storage_location = registry.store().download_uri(name, version).await?;
                new.run_id = new.run_id.take().or(some(copied.run_id));
                new.model_id = new.model_id.take().or(copied.model_id);
                return Ok(());
            }
            if new.model_id.as_deref() != Some(named) {
                return Err(refuse(
                    "The model_id request parameter has to name the same model.",
                ));
            }
            let model = registry.store().get_logged_model(named).await?;
            new.storage_location = model.info.artifact_uri.unwrap_or_default();
            Ok(())
        }
        "runs" => {
            let run_id = new
                .run_id
                .as_deref()
                .ok_or_else(|| refuse("The run_id request parameter has to be specified."))?;
            let path = rest
                .trim_start_matches('/')
                .strip_prefix(run_id)
                .ok_or_else(|| refuse("The run_id request parameter has to name the same run."))?;
            if !(path.is_empty() || path.starts_with('/')) {
                return Err(refuse(
                    "The run_id request parameter has to name the same run.",
                ));
            }
            let root = registry.store().get_run_info(run_id).await?.artifact_uri;
            new.storage_location = format!("{}{path}", root.unwrap_or_default());
            Ok(())
        }
        "file" => Err(refuse("Local paths are not served by this server.")),
        // However this server's own files are named, they are somebody's.
        _ => match registry.artifacts().place_of(&source)? {
            Some(place) => within_owner(registry, new, &place).await?.map_err(refuse),
            // Elsewhere: the client goes there by itself.
            None => Ok(()),
        },
    }
}

/// Whether a place in this store is one of the logged model or of the run that the request names.
async fn within_owner(
    registry: &Registry,
    new: &NewModelVersion,
    place: &ArtifactPath,
) -> Result<Result<(), &'static str>, ApiError> {
    let (root, why) = match (&new.model_id, &new.run_id) {
        (Some(model_id), _) => (
            registry
                .store()
                .get_logged_model(model_id)
                .await?
                .info
                .artifact_uri,
            "It is not within the logged model.",
        ),
        (None, Some(run_id)) => (
            registry.store().get_run_info(run_id).await?.artifact_uri,
            "It is not within the run.",
        ),
        (None, None) => {
            return Ok(Err("The run_id or the model_id has to be specified."));
        }
    };
    let root = registry.artifacts().place_of(&root.unwrap_or_default())?;
    let inside = root.is_some_and(|root| place.names().starts_with(root.names()));
    Ok(if inside { Ok(()) } else { Err(why) })
}

/// Notes at a logged model which version was made from it.
async fn note_version(
    registry: &Registry,
    model_id: &str,
    version: &ModelVersion,
) -> Result<(), ApiError> {
    let model = registry.store().get_logged_model(model_id).await?;
    let mut versions: Vec<Value> = model
        .info
        .tags
        .iter()
        .find(|tag| tag.key == MODEL_VERSIONS_TAG)
        .and_then(|tag| serde_json::from_str(&tag.value).ok())
        .unwrap_or_default();
    let number: i64 = version.version.parse().unwrap_or_default();
    versions.push(json!({"name": version.name, "version": number}));
    let tag = KeyValue::new(MODEL_VERSIONS_TAG, Value::Array(versions).to_string());
    registry
        .store()
        .set_logged_model_tags(model_id, &[tag])
        .await?;
    Ok(())
}

pub(super) async fn get(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ModelVersionRef>,
) -> Answer<ModelVersionResponse> {
    validate::model_name(&request.name)?;
    let version = validate::version(&request.version)?;
    let model_version = registry
        .store()
        .get_model_version(&request.name, version)
        .await?;
    Ok(Json(ModelVersionResponse { model_version }))
}

pub(super) async fn update(
    State(registry): State<Registry>,
    Rpc(request): Rpc<UpdateModelVersion>,
) -> Answer<ModelVersionResponse> {
    validate::model_name(&request.name)?;
    let version = validate::version(&request.version)?;
    let model_version = registry
        .store()
        .update_model_version(&request.name, version, request.description.as_deref())
        .await?;
    Ok(Json(ModelVersionResponse { model_version }))
}

pub(super) async fn transition(
    State(registry): State<Registry>,
    Rpc(request): Rpc<TransitionStage>,
) -> Answer<ModelVersionResponse> {
    validate::model_name(&request.name)?;
    let version = validate::version(&request.version)?;
    required("stage", &request.stage)?;
    let stage = validate::stage(&request.stage)?;
    let archive = request.archive_existing_versions;
    if archive && !matches!(stage.as_str(), "Staging" | "Production") {
        return Err(ApiError::invalid(format!(
            "Model version transition cannot archive existing model versions because '{stage}' \
             is not an Active stage. Valid stages are Staging, Production"
        )));
    }
    let model_version = registry
        .store()
        .transition_stage(&request.name, version, &stage, archive)
        .await?;
    Ok(Json(ModelVersionResponse { model_version }))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    author: Author,
    Rpc(request): Rpc<ModelVersionRef>,
) -> Answer<Empty> {
    validate::model_name(&request.name)?;
    let version = validate::version(&request.version)?;
    registry
        .store()
        .delete_model_version(&request.name, version, &author.note(None)?)
        .await?;
    registry.alias_events().wake();
    Ok(Json(Empty {}))
}

pub(super) async fn search(
    State(registry): State<Registry>,
    viewer: Viewer,
    Rpc(request): Rpc<SearchModelVersions>,
) -> Answer<SearchModelVersionsResponse> {
    let size = validate::max_results(request.max_results, PAGE, PAGE)?;
    let page = PageRequest::new(size, request.page_token.as_deref())?;
    let mut clauses = filter::parse(
        &MODEL_VERSIONS,
        request.filter.as_deref().unwrap_or_default(),
    )?;
    viewer.narrow_models(&mut clauses);
    let orders = request
        .order_by
        .iter()
        .map(|column| filter::parse_order_by(&MODEL_VERSIONS, column))
        .collect::<Result<Vec<_>, _>>()?;
    let found = registry
        .store()
        .search_model_versions(&clauses, &orders, page)
        .await?;
    Ok(Json(SearchModelVersionsResponse {
        model_versions: found.items,
        next_page_token: found.next_page_token,
    }))
}

pub(super) async fn download_uri(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ModelVersionRef>,
) -> Answer<DownloadUriResponse> {
    validate::model_name(&request.name)?;
    let version = validate::version(&request.version)?;
    let uri = registry
        .store()
        .download_uri(&request.name, version)
        .await?;
    Ok(Json(DownloadUriResponse {
        artifact_uri: Some(uri),
    }))
}

pub(super) async fn set_tag(
    State(registry): State<Registry>,
    Rpc(request): Rpc<SetModelVersionTag>,
) -> Answer<Empty> {
    validate::model_name(&request.name)?;
    let version = validate::version(&request.version)?;
    let tag = KeyValue {
        key: request.key,
        value: request.value,
    };
    validate::registry_tag(&tag)?;
    registry
        .store()
        .set_model_version_tag(&request.name, version, tag.clone())
        .await?;
    registry
        .webhooks()
        .version_tag(&request.name, version, &tag.key, Some(&tag.value))
        .await;
    Ok(Json(Empty {}))
}

pub(super) async fn delete_tag(
    State(registry): State<Registry>,
    Rpc(request): Rpc<DeleteModelVersionTag>,
) -> Answer<Empty> {
    validate::model_name(&request.name)?;
    let version = validate::version(&request.version)?;
    required("key", &request.key)?;
    registry
        .store()
        .delete_model_version_tag(&request.name, version, &request.key)
        .await?;
    registry
        .webhooks()
        .version_tag(&request.name, version, &request.key, None)
        .await;
    Ok(Json(Empty {}))
}
