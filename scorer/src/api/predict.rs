//! `POST /v1/predict`

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use streaming::{Judge, ModelId};

use super::Api;
use super::body::{media_type, read_body};
use super::error::Refusal;
use super::json::Json;
use super::rows::read_rows;
use super::scoring::{Prediction, predict};

/// What is answered.
#[derive(Serialize)]
struct Answer<'a> {
    model: &'a ModelId,
    threshold: f64,
    predictions: Vec<Prediction>,
}

pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    match media_type(&headers)? {
        None | Some("application/json") => {}
        Some(other) => {
            let message = format!("application/json is read here, not `{other}`");
            return Err(Refusal::media_type(message));
        }
    }
    let (judge, rows_per_day) = api.judge()?;
    let api_section = &api.config.api;
    let body = read_body(body, api_section.max_body).await?;
    let max_rows = api_section.max_rows;
    let (json, n_rows, version) = api
        .scoring
        .run(move || answer(&body, &*judge, max_rows, rows_per_day))
        .await??;
    api.telemetry.http.predicted(n_rows);
    Ok(answered(json, &version))
}

type Scored = Result<(Vec<u8>, usize, String), Refusal>;

fn answer(body: &[u8], judge: &dyn Judge, max_rows: usize, rows_per_day: f64) -> Scored {
    let body = Json::read(body)?;
    let is_many =
        matches!(&body, Json::Object(entries) if entries.iter().any(|(key, _)| key == "rows"));
    let rows = read_rows(body, judge, max_rows)?;
    let mut predictions = Vec::with_capacity(rows.len());
    for (place, row) in rows.into_iter().enumerate() {
        let prediction = predict(judge, row, rows_per_day).map_err(|reason| {
            let field = match is_many {
                true => format!("rows[{place}]"),
                false => "$".to_owned(),
            };
            Refusal::field(field, reason)
        })?;
        predictions.push(prediction);
    }
    let n_rows = predictions.len();
    let answer = Answer {
        model: judge.model(),
        threshold: judge.threshold(),
        predictions,
    };
    Ok((write(&answer)?, n_rows, judge.model().version.clone()))
}

/// An answer as JSON.
pub(super) fn write(answer: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(answer).map_err(|error| {
        tracing::error!(%error, "an answer can't be written");
        Refusal::internal()
    })
}

/// An answer that one version of the model gave.
pub(super) fn answered(json: Vec<u8>, version: &str) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "application/json")], json).into_response();
    if let Ok(version) = HeaderValue::from_str(version) {
        response.headers_mut().insert("model-version", version);
    }
    response
}
