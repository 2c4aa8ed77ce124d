//! `POST /invocations`, `GET /ping`, `/health` and `/version`: MLflow's scoring protocol.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use streaming::Judge;

use super::Api;
use super::body::{media_type, read_body};
use super::error::Refusal;
use super::frame::{read_csv, read_json};
use super::predict::{answered, write};
use crate::shadow::try_score_one;

/// The version of MLflow whose protocol is spoken.
const MLFLOW_VERSION: &str = "3.17.2";

/// What Python's `predict` of the same model gives for a row.
#[derive(Debug, Serialize)]
struct Output {
    score: f64,
    raw_score: f64,
    flag: bool,
    threshold: f64,
}

#[derive(Debug, Serialize)]
struct Answer {
    predictions: Vec<Output>,
}

pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let is_csv = match media_type(&headers)? {
        Some("application/json") => false,
        Some("text/csv") => true,
        other => {
            return Err(Refusal::media_type(format!(
                "application/json and text/csv are read here, not `{}`",
                other.unwrap_or_default()
            )));
        }
    };
    let (judge, _) = api.judge()?;
    let section = &api.config.api;
    let body = read_body(body, section.max_body).await?;
    let max_rows = section.max_rows;
    let (json, n_rows, version) = api
        .scoring
        .run(move || answer(&body, is_csv, &*judge, max_rows))
        .await?
        .map_err(Refusal::into_bad_request)?;
    api.telemetry.http.predicted(n_rows);
    Ok(answered(json, &version))
}

type Scored = Result<(Vec<u8>, usize, String), Refusal>;

fn answer(body: &[u8], is_csv: bool, judge: &dyn Judge, max_rows: usize) -> Scored {
    let rows = match is_csv {
        true => read_csv(body, judge.features(), max_rows)?,
        false => read_json(body, judge.features(), max_rows)?,
    };
    let threshold = judge.threshold();
    let mut predictions = Vec::with_capacity(rows.len());
    for (place, row) in rows.iter().enumerate() {
        let symbol = row.symbol.as_deref().unwrap_or_default();
        let score = try_score_one(judge, symbol, &row.values)
            .map_err(|reason| Refusal::unreadable(format!("row {place}: {reason}")))?;
        predictions.push(Output {
            score: score.score,
            raw_score: score.raw,
            flag: score.flagged,
            threshold,
        });
    }
    let n_rows = predictions.len();
    let version = judge.model().version.clone();
    Ok((write(&Answer { predictions })?, n_rows, version))
}

/// Whether there is a model to ask, as whoever asks it is told.
pub(super) async fn ping(State(api): State<Arc<Api>>) -> Response {
    let status = match api.judge() {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, [(header::CONTENT_TYPE, "application/json")], "\n").into_response()
}

pub(super) async fn version() -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, MLFLOW_VERSION).into_response()
}
