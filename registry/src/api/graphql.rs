//! `/graphql`: the queries that MLflow's web page sends. Each root field is the REST request of the
//! same name; its answer is cut to what is asked for.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use graphql_parser::parse_query;
use mlflow_api::ErrorCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::extract::{Rpc, snake_case};
use super::graphql_schema::{MUTATIONS, QUERIES};
use super::graphql_select::{Asked, Operation};
use super::{Answer, artifacts, datasets, experiments, metrics, model_versions, runs};
use crate::Registry;
use crate::auth::Viewer;

/// The largest request.
const MAX_BODY: usize = 1024 * 1024;

pub(super) async fn execute(
    State(registry): State<Registry>,
    request: Request,
) -> Result<Response, ApiError> {
    let bad = |message: &str| ApiError::new(ErrorCode::BadRequest, message);
    let body = to_bytes(request.into_body(), MAX_BODY)
        .await
        .map_err(|_| bad("The body can't be read, or is too large.").with_status(413))?;
    let body: Value = serde_json::from_slice(&body).map_err(|_| bad("The body must be JSON."))?;
    let query = body["query"]
        .as_str()
        .ok_or_else(|| bad("The query is missing."))?;
    let none = Map::new();
    let variables = body["variables"].as_object().unwrap_or(&none);
    let name = body["operationName"].as_str();
    let (data, errors) = match run(&registry, query, name, variables).await {
        Ok((data, errors)) => (Value::Object(data), errors),
        Err(error) => (Value::Null, vec![error]),
    };
    let errors = if errors.is_empty() {
        Value::Null
    } else {
        errors.into()
    };
    Ok(Json(json!({"data": data, "errors": errors})).into_response())
}

/// The data and the errors of an operation; an error alone when nothing was done.
async fn run(
    registry: &Registry,
    query: &str,
    name: Option<&str>,
    variables: &Map<String, Value>,
) -> Result<(Map<String, Value>, Vec<String>), String> {
    let document = parse_query::<String>(query)
        .map_err(|error| format!("Syntax Error: {error}"))?
        .into_static();
    let operation = Operation::find(&document, name, variables)?;
    let (known, root_type) = if operation.mutation {
        (MUTATIONS, "Mutation")
    } else {
        (QUERIES, "Query")
    };
    let mut data = Map::new();
    let mut errors = Vec::new();
    for field in operation.asked(operation.root) {
        let shown = field.alias.as_ref().unwrap_or(&field.name).clone();
        let type_name = match field.name.as_str() {
            "__typename" => {
                data.insert(shown, root_type.into());
                continue;
            }
            "test" | "testMutation" => {
                let output = operation.argument(field, "inputString");
                let answer = json!({"output": output});
                data.insert(shown, operation.cut("Test", &answer, &field.selection_set)?);
                continue;
            }
            name => known.iter().find(|(known, _)| *known == name),
        };
        let Some((_, type_name)) = type_name else {
            return Err(format!(
                "Cannot query field '{}' on type '{root_type}'.",
                field.name
            ));
        };
        match resolve(registry, &operation, field).await {
            Ok(answer) => {
                let cut = operation.cut(type_name, &answer, &field.selection_set)?;
                data.insert(shown, cut);
            }
            Err(error) => {
                errors.push(error.message().to_owned());
                data.insert(shown, Value::Null);
            }
        }
    }
    Ok((data, errors))
}

async fn resolve<'d>(
    registry: &Registry,
    operation: &Operation<'d>,
    field: &'d Asked,
) -> Result<Value, ApiError> {
    let state = State(registry.clone());
    let input = operation.argument(field, "input").unwrap_or_default();
    match field.name.as_str() {
        "mlflowGetExperiment" => answer(experiments::get(state, read(input)?).await),
        "mlflowGetMetricHistoryBulkInterval" => {
            answer(metrics::history_bulk_interval(state, read(input)?).await)
        }
        "mlflowListArtifacts" => answer(artifacts::list_of_run(state, read(input)?).await),
        "mlflowSearchModelVersions" => {
            answer(model_versions::search(state, viewer(), read(input)?).await)
        }
        "mlflowSearchDatasets" => answer(datasets::search(state, read(input)?).await),
        "mlflowGetRun" => {
            let mut found = answer(runs::get(state, read(input)?).await)?;
            complete(registry, operation, field, &mut found["run"]).await?;
            Ok(found)
        }
        "mlflowSearchRuns" => {
            let mut found = answer(runs::search(state, read(input)?).await)?;
            for run in found["runs"].as_array_mut().into_iter().flatten() {
                complete(registry, operation, field, run).await?;
            }
            Ok(found)
        }
        _ => Ok(Value::Null),
    }
}

/// Adds to a run what only GraphQL shows with it, where it is asked for.
async fn complete<'d>(
    registry: &Registry,
    operation: &Operation<'d>,
    field: &'d Asked,
    run: &mut Value,
) -> Result<(), ApiError> {
    let state = State(registry.clone());
    if operation.asks_for(&field.selection_set, "experiment") {
        let input = json!({"experiment_id": run["info"]["experiment_id"]});
        let mut found = answer(experiments::get(state.clone(), read(input)?).await)?;
        run["experiment"] = found["experiment"].take();
    }
    if operation.asks_for(&field.selection_set, "modelVersions") {
        let run_id = run["info"]["run_id"].as_str().unwrap_or_default();
        let input = json!({"filter": format!("run_id='{run_id}'")});
        let mut found = answer(model_versions::search(state, viewer(), read(input)?).await)?;
        run["model_versions"] = found["model_versions"].take();
    }
    Ok(())
}

/// Whoever may ask here may read everything: so says the table of `auth`.
fn viewer() -> Viewer {
    Viewer::default()
}

/// An argument as the REST request.
fn read<T: DeserializeOwned>(input: Value) -> Result<Rpc<T>, ApiError> {
    let input = match snake_case(input)? {
        Value::Object(mut fields) => {
            fields.retain(|_, value| !value.is_null());
            Value::Object(fields)
        }
        _ => Value::Object(Map::new()),
    };
    serde_json::from_value(input)
        .map(Rpc)
        .map_err(|error| ApiError::invalid(format!("Invalid request: {error}")))
}

fn answer<T: Serialize>(answer: Answer<T>) -> Result<Value, ApiError> {
    let Json(answer) = answer?;
    serde_json::to_value(answer).map_err(|error| {
        ApiError::new(
            ErrorCode::InternalError,
            format!("The answer can't be shown: {error}"),
        )
    })
}
