//! `/mlflow/experiments/…`

use axum::Json;
use axum::extract::State;
use mlflow_api::types::{
    CreateExperiment, CreateExperimentResponse, DeleteExperimentTag, Empty, ExperimentRef,
    ExperimentResponse, GetExperimentByName, KeyValue, SearchExperiments,
    SearchExperimentsResponse, SetExperimentTag, UpdateExperiment, ViewType,
};

use super::Answer;
use super::error::ApiError;
use super::extract::Rpc;
use super::validate::{self, required};
use crate::Registry;
use crate::auth::Viewer;
use crate::filter::{self, EXPERIMENTS};
use crate::store::PageRequest;

const PAGE: i64 = 1000;
const MAX_PAGE: i64 = 50_000;

pub(super) async fn create(
    State(registry): State<Registry>,
    Rpc(request): Rpc<CreateExperiment>,
) -> Answer<CreateExperimentResponse> {
    validate::experiment_name(&request.name)?;
    let location = request
        .artifact_location
        .filter(|location| !location.is_empty());
    if let Some(location) = &location {
        validate::artifact_location(registry.artifacts(), location)?;
    }
    request.tags.iter().try_for_each(validate::experiment_tag)?;
    let experiment_id = registry
        .store()
        .create_experiment(&request.name, location.as_deref(), &request.tags)
        .await?;
    Ok(Json(CreateExperimentResponse { experiment_id }))
}

pub(super) async fn get(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ExperimentRef>,
) -> Answer<ExperimentResponse> {
    required("experiment_id", &request.experiment_id)?;
    let experiment = registry
        .store()
        .get_experiment(&request.experiment_id)
        .await?;
    Ok(Json(ExperimentResponse { experiment }))
}

pub(super) async fn get_by_name(
    State(registry): State<Registry>,
    Rpc(request): Rpc<GetExperimentByName>,
) -> Answer<ExperimentResponse> {
    required("experiment_name", &request.experiment_name)?;
    let experiment = registry
        .store()
        .get_experiment_by_name(&request.experiment_name)
        .await?;
    Ok(Json(ExperimentResponse { experiment }))
}

pub(super) async fn search(
    State(registry): State<Registry>,
    viewer: Viewer,
    Rpc(request): Rpc<SearchExperiments>,
) -> Answer<SearchExperimentsResponse> {
    let size = validate::max_results(request.max_results, PAGE, MAX_PAGE)?;
    let page = PageRequest::new(size, request.page_token.as_deref())?;
    let mut clauses = filter::parse(&EXPERIMENTS, request.filter.as_deref().unwrap_or_default())?;
    viewer.narrow_experiments(&mut clauses);
    let orders = request
        .order_by
        .iter()
        .map(|column| filter::parse_order_by(&EXPERIMENTS, column))
        .collect::<Result<Vec<_>, _>>()?;
    let view = request.view_type.unwrap_or(ViewType::ActiveOnly);
    let found = registry
        .store()
        .search_experiments(view, &clauses, &orders, page)
        .await?;
    Ok(Json(SearchExperimentsResponse {
        experiments: found.items,
        next_page_token: found.next_page_token,
    }))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ExperimentRef>,
) -> Answer<Empty> {
    required("experiment_id", &request.experiment_id)?;
    registry
        .store()
        .set_experiment_deleted(&request.experiment_id, true)
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn restore(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ExperimentRef>,
) -> Answer<Empty> {
    required("experiment_id", &request.experiment_id)?;
    registry
        .store()
        .set_experiment_deleted(&request.experiment_id, false)
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn update(
    State(registry): State<Registry>,
    Rpc(request): Rpc<UpdateExperiment>,
) -> Answer<Empty> {
    required("experiment_id", &request.experiment_id)?;
    let name = request
        .new_name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| ApiError::missing("new_name"))?;
    validate::experiment_name(&name)?;
    registry
        .store()
        .rename_experiment(&request.experiment_id, &name)
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn set_tag(
    State(registry): State<Registry>,
    Rpc(request): Rpc<SetExperimentTag>,
) -> Answer<Empty> {
    required("experiment_id", &request.experiment_id)?;
    let tag = KeyValue {
        key: request.key,
        value: request.value,
    };
    validate::experiment_tag(&tag)?;
    registry
        .store()
        .set_experiment_tag(&request.experiment_id, tag)
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn delete_tag(
    State(registry): State<Registry>,
    Rpc(request): Rpc<DeleteExperimentTag>,
) -> Answer<Empty> {
    required("experiment_id", &request.experiment_id)?;
    required("key", &request.key)?;
    registry
        .store()
        .delete_experiment_tag(&request.experiment_id, &request.key)
        .await?;
    Ok(Json(Empty {}))
}
