//! `GET /v1/model`: what is in force, and what could not be put in its place.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use market::Feature;
use serde_json::{Value, json};

use super::{Api, milliseconds};
use crate::model::{Current, ModelUri};

pub(super) async fn handle(State(api): State<Arc<Api>>) -> Json<Value> {
    let uri = &api.config.model.uri;
    let alias = match uri.parse() {
        Ok(ModelUri::Alias { alias, .. }) => Some(alias),
        _ => None,
    };
    let mut champion = of(&api.champion, alias.as_deref());
    // A path tells where this machine keeps its files.
    champion["uri"] = match uri.starts_with("models:/") {
        true => json!(uri),
        false => Value::Null,
    };
    let challenger = api.challenger.as_ref().map(|challenger| {
        let mut described = of(&challenger.current, Some(&challenger.alias));
        described["comparison"] = json!(challenger.board.summary());
        described
    });
    Json(json!({
        "champion": champion,
        "challenger": challenger,
        "interval": api.features.get().map(|features| features.interval().to_string()),
    }))
}

fn of(current: &Current, alias: Option<&str>) -> Value {
    let in_force = current.in_force();
    let model = in_force.judge.map(|judge| {
        let id = judge.model();
        let features = judge.features().iter().copied();
        json!({
            "name": id.name,
            "version": id.version,
            "run_id": id.run_id,
            "threshold": judge.threshold(),
            "features": features.map(Feature::name).collect::<Vec<_>>(),
            "details": judge.describe(),
        })
    });
    json!({
        "alias": alias,
        "model": model,
        "loaded_at": in_force.since.map(milliseconds),
        "last_failure": in_force.failure.map(|failure| json!({
            "version": failure.version,
            "reason": failure.reason,
            "at": milliseconds(failure.at),
        })),
    })
}
