//! `GET /v1/predictions`: the last scored rows.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use market::Feature;
use serde::Serialize;
use serde_json::{Map, Value};
use streaming::Judge;
use streaming::wire::contributions;

use super::Api;
use super::error::Refusal;
use super::memory::{AlertOf, Challenged, Extent, Filter, Remembered};
use super::parameters::Parameters;
use super::predict::write;

const USUAL: usize = 100;
const MOST: usize = 1_000;

#[derive(Serialize)]
struct Answer {
    predictions: Vec<Item>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
    remembered: Extent,
}

#[derive(Serialize)]
struct Item {
    id: String,
    /// The row as it stands in `features`.
    #[serde(flatten)]
    row: Map<String, Value>,
    /// Empty where the model that scored it is no longer in force.
    contributions: Vec<streaming::wire::Contribution>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<Arc<AlertOf>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    challenger: Option<Arc<Challenged>>,
}

/// What selects rows in a query.
pub(super) fn filter(parameters: &mut Parameters) -> Filter {
    Filter {
        symbol: parameters.symbol(),
        since: parameters.moment("since"),
        until: parameters.moment("until"),
        ..Filter::default()
    }
}

pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    mut parameters: Parameters,
) -> Result<Response, Refusal> {
    let Some(memory) = api.memory.clone() else {
        return Err(Refusal::absent(
            "nothing is remembered: `api.predictions` is 0",
        ));
    };
    let filter = Filter {
        flagged: parameters.value("flagged", "`true` or `false`"),
        min_score: parameters.finite("min_score"),
        version: parameters.text("version"),
        ..filter(&mut parameters)
    };
    let limit = parameters.limit("limit", USUAL, MOST);
    let before = match parameters
        .text("page_token")
        .map(|token| api.place_of(&token))
    {
        None => None,
        Some(Some(before)) => Some(before),
        Some(None) => {
            let message = "it is no token of this scorer since its start; begin anew without one";
            parameters.refuse("page_token", message);
            None
        }
    };
    parameters.finish()?;
    let judge = api.champion.get();
    let token = Arc::clone(&api);
    let json = api
        .scoring
        .run(move || {
            let (rows, has_more) = memory.newest(&filter, before, limit);
            let last = rows.last().filter(|_| has_more);
            let answer = Answer {
                next_page_token: last.map(|row| token.token_of(row.id)),
                predictions: rows
                    .into_iter()
                    .map(|row| token.item(row, judge.as_deref()))
                    .collect(),
                remembered: memory.extent(),
            };
            write(&answer)
        })
        .await??;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

impl Api {
    /// Where a page begins.
    fn token_of(&self, id: u64) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}:{id}", self.life))
    }

    /// What [`token_of`](Self::token_of) wrote, in this life of the scorer.
    fn place_of(&self, token: &str) -> Option<u64> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (life, id) = text.split_once(':')?;
        (life == self.life).then_some(())?;
        id.parse().ok()
    }

    fn item(&self, row: Remembered, judge: Option<&dyn Judge>) -> Item {
        // It was read when it was remembered.
        let object: Map<String, Value> = serde_json::from_slice(&row.json).unwrap_or_default();
        let judge = judge.filter(|judge| judge.model().version == *row.version);
        let contributions = judge.and_then(|judge| explain(judge, &row.symbol, &object));
        Item {
            id: format!("{}-{}", self.life, row.id),
            row: object,
            contributions: contributions.unwrap_or_default(),
            alert: row.alert,
            challenger: row.challenger,
        }
    }
}

/// What each feature has to do with a row's score.
fn explain(
    judge: &dyn Judge,
    symbol: &str,
    row: &Map<String, Value>,
) -> Option<Vec<streaming::wire::Contribution>> {
    let features = row.get("features")?;
    let value = |feature: &Feature| features.get(feature.name())?.as_f64();
    let values: Vec<f64> = judge.features().iter().map(value).collect::<Option<_>>()?;
    let shares = judge.shares(symbol, &values).ok()?;
    Some(contributions(judge.features(), &values, &shares))
}
