//! What runs read: `/mlflow/runs/log-inputs` and `/mlflow/experiments/search-datasets`.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use mlflow_api::types::{
    Dataset, Empty, KeyValue, LogInputs, SearchDatasets, SearchDatasetsResponse,
};

use super::Answer;
use super::error::ApiError;
use super::extract::Rpc;
use super::validate::{self, required};
use crate::Registry;

const MAX_EXPERIMENTS: usize = 20;

pub(super) async fn log_inputs(
    State(registry): State<Registry>,
    Rpc(request): Rpc<LogInputs>,
) -> Answer<Empty> {
    required("run_id", &request.run_id)?;
    let mut seen = HashSet::new();
    let mut datasets = Vec::with_capacity(request.datasets.len());
    for input in request.datasets {
        let dataset = input
            .dataset
            .ok_or_else(|| ApiError::invalid("Dataset cannot be None"))?;
        check(&dataset, &input.tags)?;
        // Of equal ones the first counts.
        if seen.insert((dataset.name.clone(), dataset.digest.clone())) {
            datasets.push((dataset, input.tags));
        }
    }
    for model in &request.models {
        required("model_id", &model.model_id)?;
    }
    registry
        .store()
        .log_inputs(&request.run_id, &datasets, &request.models)
        .await?;
    Ok(Json(Empty {}))
}

/// MLflow's limits of a dataset and of its tags.
fn check(dataset: &Dataset, tags: &[KeyValue]) -> Result<(), ApiError> {
    required("name", &dataset.name)?;
    required("digest", &dataset.digest)?;
    validate::at_most("name", &dataset.name, 500)?;
    validate::at_most("digest", &dataset.digest, 36)?;
    validate::at_most("source", &dataset.source, 65_535)?;
    if let Some(schema) = &dataset.schema {
        validate::at_most("schema", schema, 1_048_575)?;
    }
    if let Some(profile) = &dataset.profile {
        validate::at_most("profile", profile, 16_777_215)?;
    }
    for tag in tags {
        required("key", &tag.key)?;
        validate::at_most("key", &tag.key, 255)?;
        validate::at_most("value", &tag.value, 500)?;
    }
    Ok(())
}

pub(super) async fn search(
    State(registry): State<Registry>,
    Rpc(request): Rpc<SearchDatasets>,
) -> Answer<SearchDatasetsResponse> {
    let count = request.experiment_ids.len();
    if count == 0 {
        return Err(ApiError::invalid(
            "SearchDatasets request must specify at least one experiment_id.",
        ));
    }
    if count > MAX_EXPERIMENTS {
        return Err(ApiError::invalid(format!(
            "SearchDatasets request cannot specify more than {MAX_EXPERIMENTS} experiment_ids. \
             Received {count} experiment_ids."
        )));
    }
    let dataset_summaries = registry
        .store()
        .search_datasets(&request.experiment_ids)
        .await?;
    Ok(Json(SearchDatasetsResponse { dataset_summaries }))
}
