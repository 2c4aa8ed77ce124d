//! `/mlflow/registered-models/…`

use axum::Json;
use axum::extract::State;
use mlflow_api::types::{
    CreateRegisteredModel, DeleteRegisteredModelTag, Empty, GetLatestVersions, KeyValue,
    ModelVersionsResponse, RegisteredModelRef, RegisteredModelResponse, RenameRegisteredModel,
    SearchRegisteredModels, SearchRegisteredModelsResponse, SetRegisteredModelTag,
    UpdateRegisteredModel,
};

use super::Answer;
use super::actor::Author;
use super::error::ApiError;
use super::extract::Rpc;
use super::validate::{self, required};
use crate::Registry;
use crate::auth::Viewer;
use crate::filter::{self, REGISTERED_MODELS};
use crate::store::PageRequest;

const PAGE: i64 = 100;
const MAX_PAGE: i64 = 1000;

pub(super) async fn create(
    State(registry): State<Registry>,
    Rpc(request): Rpc<CreateRegisteredModel>,
) -> Answer<RegisteredModelResponse> {
    validate::model_name(&request.name)?;
    request.tags.iter().try_for_each(validate::registry_tag)?;
    let registered_model = registry
        .store()
        .create_registered_model(&request.name, request.description.as_deref(), &request.tags)
        .await?;
    registry
        .webhooks()
        .model_created(&request.name, &request.tags, request.description.as_deref())
        .await;
    Ok(Json(RegisteredModelResponse { registered_model }))
}

pub(super) async fn get(
    State(registry): State<Registry>,
    Rpc(request): Rpc<RegisteredModelRef>,
) -> Answer<RegisteredModelResponse> {
    validate::model_name(&request.name)?;
    let registered_model = registry.store().get_registered_model(&request.name).await?;
    Ok(Json(RegisteredModelResponse { registered_model }))
}

pub(super) async fn update(
    State(registry): State<Registry>,
    Rpc(request): Rpc<UpdateRegisteredModel>,
) -> Answer<RegisteredModelResponse> {
    validate::model_name(&request.name)?;
    let registered_model = registry
        .store()
        .update_registered_model(&request.name, request.description.as_deref())
        .await?;
    Ok(Json(RegisteredModelResponse { registered_model }))
}

pub(super) async fn rename(
    State(registry): State<Registry>,
    Rpc(request): Rpc<RenameRegisteredModel>,
) -> Answer<RegisteredModelResponse> {
    validate::model_name(&request.name)?;
    let new_name = request.new_name.unwrap_or_default();
    required("new_name", &new_name)?;
    validate::model_name(&new_name)?;
    let registered_model = registry
        .store()
        .rename_registered_model(&request.name, &new_name)
        .await?;
    Ok(Json(RegisteredModelResponse { registered_model }))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    author: Author,
    Rpc(request): Rpc<RegisteredModelRef>,
) -> Answer<Empty> {
    validate::model_name(&request.name)?;
    registry
        .store()
        .delete_registered_model(&request.name, &author.note(None)?)
        .await?;
    registry.alias_events().wake();
    Ok(Json(Empty {}))
}

pub(super) async fn search(
    State(registry): State<Registry>,
    viewer: Viewer,
    Rpc(request): Rpc<SearchRegisteredModels>,
) -> Answer<SearchRegisteredModelsResponse> {
    let size = validate::max_results(request.max_results, PAGE, MAX_PAGE)?;
    let page = PageRequest::new(size, request.page_token.as_deref())?;
    let mut clauses = filter::parse(
        &REGISTERED_MODELS,
        request.filter.as_deref().unwrap_or_default(),
    )?;
    viewer.narrow_models(&mut clauses);
    let orders = request
        .order_by
        .iter()
        .map(|column| filter::parse_order_by(&REGISTERED_MODELS, column))
        .collect::<Result<Vec<_>, _>>()?;
    let found = registry
        .store()
        .search_registered_models(&clauses, &orders, page)
        .await?;
    Ok(Json(SearchRegisteredModelsResponse {
        registered_models: found.items,
        next_page_token: found.next_page_token,
    }))
}

pub(super) async fn latest(
    State(registry): State<Registry>,
    Rpc(request): Rpc<GetLatestVersions>,
) -> Answer<ModelVersionsResponse> {
    validate::model_name(&request.name)?;
    let stages = request
        .stages
        .iter()
        .map(|stage| validate::stage(stage))
        .collect::<Result<Vec<_>, ApiError>>()?;
    let model_versions = registry
        .store()
        .latest_versions(&request.name, &stages)
        .await?;
    Ok(Json(ModelVersionsResponse { model_versions }))
}

pub(super) async fn set_tag(
    State(registry): State<Registry>,
    Rpc(request): Rpc<SetRegisteredModelTag>,
) -> Answer<Empty> {
    validate::model_name(&request.name)?;
    let tag = KeyValue {
        key: request.key,
        value: request.value,
    };
    validate::registry_tag(&tag)?;
    registry
        .store()
        .set_registered_model_tag(&request.name, tag.clone())
        .await?;
    registry
        .webhooks()
        .model_tag(&request.name, &tag.key, Some(&tag.value))
        .await;
    Ok(Json(Empty {}))
}

pub(super) async fn delete_tag(
    State(registry): State<Registry>,
    Rpc(request): Rpc<DeleteRegisteredModelTag>,
) -> Answer<Empty> {
    validate::model_name(&request.name)?;
    required("key", &request.key)?;
    registry
        .store()
        .delete_registered_model_tag(&request.name, &request.key)
        .await?;
    registry
        .webhooks()
        .model_tag(&request.name, &request.key, None)
        .await;
    Ok(Json(Empty {}))
}
