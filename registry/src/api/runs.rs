//! `/mlflow/runs/…`, but for metrics.

use axum::Json;
use axum::extract::State;
use mlflow_api::types::{
    CreateRun, DeleteTag, Empty, KeyValue, LogModel, LogOutputs, LogParam, RunRef, RunResponse,
    SearchRuns, SearchRunsResponse, SetTag, UpdateRun, UpdateRunResponse, ViewType,
};

use super::Answer;
use super::error::ApiError;
use super::extract::Rpc;
use super::names::random_name;
use super::validate::{self, required};
use crate::Registry;
use crate::filter::{self, RUNS};
use crate::store::{NewRun, PageRequest, RunChange, RunSearch};

const PAGE: i64 = 1000;
const MAX_PAGE: i64 = 50_000;
const RUN_NAME: &str = "mlflow.runName";
/// The models that a run logged before models had ids of their own: a JSON list.
const LOG_MODEL_HISTORY: &str = "mlflow.log-model.history";

pub(super) async fn create(
    State(registry): State<Registry>,
    Rpc(mut request): Rpc<CreateRun>,
) -> Answer<RunResponse> {
    // Clients of old send no experiment: they mean the default one.
    let experiment_id = if request.experiment_id.is_empty() {
        "0".to_owned()
    } else {
        request.experiment_id
    };
    request.tags.iter_mut().try_for_each(validate::first_tag)?;
    let tagged = request
        .tags
        .iter()
        .find(|tag| tag.key == RUN_NAME)
        .map(|tag| tag.value.clone());
    let given = request.run_name.filter(|name| !name.is_empty());
    if let (Some(given), Some(tagged)) = (&given, &tagged)
        && given != tagged
    {
        return Err(ApiError::invalid(format!(
            "Both 'run_name' argument and '{RUN_NAME}' tag are specified, but with different \
             values (run_name='{given}', {RUN_NAME}='{tagged}')."
        )));
    }
    let run = registry
        .store()
        .create_run(NewRun {
            run_id: uuid::Uuid::new_v4().simple().to_string(),
            experiment_id,
            run_name: given
                .or(tagged)
                .filter(|n| !n.is_empty())
                .unwrap_or_else(random_name),
            user_id: request.user_id.unwrap_or_default(),
            // One that is not given is 0, as in MLflow's messages.
            start_time: Some(request.start_time.unwrap_or_default()),
            tags: request.tags,
        })
        .await?;
    Ok(Json(RunResponse { run }))
}

pub(super) async fn get(
    State(registry): State<Registry>,
    Rpc(request): Rpc<RunRef>,
) -> Answer<RunResponse> {
    let run_id = validate::run_id(request.run_id, request.run_uuid)?;
    Ok(Json(RunResponse {
        run: registry.store().get_run(&run_id).await?,
    }))
}

pub(super) async fn update(
    State(registry): State<Registry>,
    Rpc(request): Rpc<UpdateRun>,
) -> Answer<UpdateRunResponse> {
    let run_id = validate::run_id(request.run_id, request.run_uuid)?;
    let change = RunChange {
        status: request.status,
        end_time: request.end_time,
        run_name: request.run_name.filter(|name| !name.is_empty()),
    };
    let run_info = registry.store().update_run(&run_id, change).await?;
    Ok(Json(UpdateRunResponse { run_info }))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    Rpc(request): Rpc<RunRef>,
) -> Answer<Empty> {
    let run_id = validate::run_id(request.run_id, request.run_uuid)?;
    registry.store().set_run_deleted(&run_id, true).await?;
    Ok(Json(Empty {}))
}

pub(super) async fn restore(
    State(registry): State<Registry>,
    Rpc(request): Rpc<RunRef>,
) -> Answer<Empty> {
    let run_id = validate::run_id(request.run_id, request.run_uuid)?;
    registry.store().set_run_deleted(&run_id, false).await?;
    Ok(Json(Empty {}))
}

pub(super) async fn search(
    State(registry): State<Registry>,
    Rpc(request): Rpc<SearchRuns>,
) -> Answer<SearchRunsResponse> {
    let size = validate::max_results(request.max_results, PAGE, MAX_PAGE)?;
    let page = PageRequest::new(size, request.page_token.as_deref())?;
    let mut orders = Vec::with_capacity(request.order_by.len());
    for column in &request.order_by {
        let order = filter::parse_order_by(&RUNS, column)?;
        if orders
            .iter()
            .any(|other: &filter::Order| other.field == order.field)
        {
            return Err(ApiError::invalid(format!(
                "`order_by` contains duplicate fields: {:?}",
                request.order_by
            )));
        }
        orders.push(order);
    }
    let search = RunSearch {
        experiment_ids: request.experiment_ids,
        clauses: filter::parse(&RUNS, request.filter.as_deref().unwrap_or_default())?,
        orders,
        view: request.run_view_type.unwrap_or(ViewType::ActiveOnly),
    };
    let found = registry.store().search_runs(&search, page).await?;
    Ok(Json(SearchRunsResponse {
        runs: found.items,
        next_page_token: found.next_page_token,
    }))
}

pub(super) async fn log_param(
    State(registry): State<Registry>,
    Rpc(request): Rpc<LogParam>,
) -> Answer<Empty> {
    let run_id = validate::run_id(request.run_id, request.run_uuid)?;
    let mut param = KeyValue {
        key: request.key,
        value: request.value,
    };
    validate::param(&mut param)?;
    registry
        .store()
        .log_batch(&run_id, &[], &[param], &[])
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn set_tag(
    State(registry): State<Registry>,
    Rpc(request): Rpc<SetTag>,
) -> Answer<Empty> {
    let run_id = validate::run_id(request.run_id, request.run_uuid)?;
    let mut tag = KeyValue {
        key: request.key,
        value: request.value,
    };
    validate::tag(&mut tag)?;
    registry
        .store()
        .log_batch(&run_id, &[], &[], &[tag])
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn delete_tag(
    State(registry): State<Registry>,
    Rpc(request): Rpc<DeleteTag>,
) -> Answer<Empty> {
    let run_id = validate::run_id(request.run_id, None)?;
    required("key", &request.key)?;
    registry
        .store()
        .delete_run_tag(&run_id, &request.key)
        .await?;
    Ok(Json(Empty {}))
}

/// Adds the model to the run's history, as MLflow keeps it: in a tag.
pub(super) async fn log_model(
    State(registry): State<Registry>,
    Rpc(request): Rpc<LogModel>,
) -> Answer<Empty> {
    let run_id = validate::run_id(Some(request.run_id), None)?;
    required("model_json", &request.model_json)?;
    let model: serde_json::Value = serde_json::from_str(&request.model_json)
        .map_err(|_| ApiError::invalid("Malformed model info. The model JSON can't be read."))?;
    for field in ["artifact_path", "flavors", "utc_time_created", "run_id"] {
        if model.get(field).is_none() {
            return Err(ApiError::invalid(format!(
                "Model json is missing mandatory fields: ['{field}']"
            )));
        }
    }
    let run = registry.store().get_run(&run_id).await?;
    let mut history: Vec<serde_json::Value> = run
        .data
        .tags
        .iter()
        .find(|tag| tag.key == LOG_MODEL_HISTORY)
        .and_then(|tag| serde_json::from_str(&tag.value).ok())
        .unwrap_or_default();
    history.push(model);
    let tag = KeyValue::new(
        LOG_MODEL_HISTORY,
        serde_json::Value::Array(history).to_string(),
    );
    registry
        .store()
        .log_batch(&run_id, &[], &[], &[tag])
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn log_outputs(
    State(registry): State<Registry>,
    Rpc(request): Rpc<LogOutputs>,
) -> Answer<Empty> {
    required("run_id", &request.run_id)?;
    if request.models.is_empty() {
        return Err(ApiError::missing("models"));
    }
    registry
        .store()
        .log_outputs(&request.run_id, &request.models)
        .await?;
    Ok(Json(Empty {}))
}
