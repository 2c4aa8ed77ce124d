//! `/mlflow/logged-models…`

use axum::Json;
use axum::extract::{Path, State};
use mlflow_api::types::{
    CreateLoggedModel, Empty, FinalizeLoggedModel, LogLoggedModelParams, LoggedModelDataset,
    LoggedModelResponse, LoggedModelStatus, SearchLoggedModels, SearchLoggedModelsResponse,
    SetLoggedModelTags,
};

use super::Answer;
use super::error::ApiError;
use super::extract::Rpc;
use super::names::random_name;
use super::validate::{self, required};
use crate::Registry;
use crate::filter::{self, LOGGED_MODELS};
use crate::store::{LoggedModelSearch, NewLoggedModel, PageRequest};

const PAGE: i64 = 100;
const MAX_PAGE: i64 = 10_000;

pub(super) async fn create(
    State(registry): State<Registry>,
    Rpc(mut request): Rpc<CreateLoggedModel>,
) -> Answer<LoggedModelResponse> {
    required("experiment_id", &request.experiment_id)?;
    request.params.iter_mut().try_for_each(validate::param)?;
    request.tags.iter_mut().try_for_each(validate::tag)?;
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let name = some(request.name).unwrap_or_else(random_name);
    if name.contains(['/', ':', '.', '%', '"', '\'']) {
        return Err(ApiError::invalid(format!(
            "Invalid model name ({name}) provided. Model name must be a non-empty string and \
             cannot contain the following characters: ['/', ':', '.', '%', '\"', \"'\"]"
        )));
    }
    let model = registry
        .store()
        .create_logged_model(NewLoggedModel {
            model_id: format!("m-{}", uuid::Uuid::new_v4().simple()),
            experiment_id: request.experiment_id,
            name,
            model_type: some(request.model_type),
            source_run_id: some(request.source_run_id),
            params: request.params,
            tags: request.tags,
        })
        .await?;
    Ok(Json(LoggedModelResponse { model }))
}

pub(super) async fn get(
    State(registry): State<Registry>,
    Path(model_id): Path<String>,
) -> Answer<LoggedModelResponse> {
    Ok(Json(LoggedModelResponse {
        model: registry.store().get_logged_model(&model_id).await?,
    }))
}

pub(super) async fn finalize(
    State(registry): State<Registry>,
    Path(model_id): Path<String>,
    Rpc(request): Rpc<FinalizeLoggedModel>,
) -> Answer<LoggedModelResponse> {
    let status = match request.status {
        Some(status @ (LoggedModelStatus::Ready | LoggedModelStatus::UploadFailed)) => status,
        Some(status) => {
            return Err(ApiError::invalid(format!(
                "Invalid model status: {status}."
            )));
        }
        None => return Err(ApiError::missing("status")),
    };
    let model = registry
        .store()
        .finalize_logged_model(&model_id, status)
        .await?;
    Ok(Json(LoggedModelResponse { model }))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    Path(model_id): Path<String>,
) -> Answer<Empty> {
    registry.store().delete_logged_model(&model_id).await?;
    Ok(Json(Empty {}))
}

pub(super) async fn log_params(
    State(registry): State<Registry>,
    Path(model_id): Path<String>,
    Rpc(mut request): Rpc<LogLoggedModelParams>,
) -> Answer<Empty> {
    request.params.iter_mut().try_for_each(validate::param)?;
    registry
        .store()
        .log_logged_model_params(&model_id, &request.params)
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn set_tags(
    State(registry): State<Registry>,
    Path(model_id): Path<String>,
    Rpc(mut request): Rpc<SetLoggedModelTags>,
) -> Answer<LoggedModelResponse> {
    request.tags.iter_mut().try_for_each(validate::tag)?;
    let model = registry
        .store()
        .set_logged_model_tags(&model_id, &request.tags)
        .await?;
    Ok(Json(LoggedModelResponse { model }))
}

pub(super) async fn delete_tag(
    State(registry): State<Registry>,
    Path((model_id, tag_key)): Path<(String, String)>,
) -> Answer<Empty> {
    registry
        .store()
        .delete_logged_model_tag(&model_id, &tag_key)
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn search(
    State(registry): State<Registry>,
    Rpc(request): Rpc<SearchLoggedModels>,
) -> Answer<SearchLoggedModelsResponse> {
    let size = validate::max_results(request.max_results, PAGE, MAX_PAGE)?;
    let page = PageRequest::new(size, request.page_token.as_deref())?;
    let clauses = filter::parse(
        &LOGGED_MODELS,
        request.filter.as_deref().unwrap_or_default(),
    )?;
    for dataset in &request.datasets {
        if dataset.dataset_name.is_empty() {
            return Err(ApiError::invalid(
                "`dataset_name` in the `datasets` clause must be specified.",
            ));
        }
    }
    let mut orders = Vec::with_capacity(request.order_by.len());
    for column in request.order_by {
        let mut order = filter::parse_order_by(&LOGGED_MODELS, &column.field_name)?;
        order.ascending = column.ascending.unwrap_or(true);
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let dataset = match (some(column.dataset_name), some(column.dataset_digest)) {
            (Some(dataset_name), dataset_digest) => Some(LoggedModelDataset {
                dataset_name,
                dataset_digest,
            }),
            (None, None) => None,
            (None, Some(_)) => {
                return Err(ApiError::invalid(
                    "`dataset_digest` can only be specified if `dataset_name` is also specified.",
                ));
            }
        };
        orders.push((order, dataset));
    }
    let search = LoggedModelSearch {
        experiment_ids: request.experiment_ids,
        clauses,
        datasets: request.datasets,
        orders,
    };
    let found = registry.store().search_logged_models(&search, page).await?;
    Ok(Json(SearchLoggedModelsResponse {
        models: found.items,
        next_page_token: found.next_page_token,
    }))
}
