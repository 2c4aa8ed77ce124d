//! The OpenAPI description at `/api/openapi.json`, made of the table of routes and the types of its
//! handlers: there is nothing to keep up to date.

use std::future::Future;
use std::sync::LazyLock;

use axum::extract::{Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response, Sse};
use axum::{Extension, Json};
use bytes::Bytes;
use mlflow_api::schema::{Named, Schema};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::extract::Rpc;
use super::routes::{OWN_ROUTES, ROUTES};
use crate::Registry;
use crate::auth::Viewer;

/// What a handler takes and answers.
#[derive(Debug, Default)]
pub(super) struct Described {
    /// The message, in the query of a GET or in the body.
    request: Option<Value>,
    /// The message that it answers; bytes where it is absent.
    response: Option<Value>,
}

/// A handler that says what it takes and answers; `Args` are its arguments.
pub(super) trait Handler<Args> {
    fn describe(named: &mut Named) -> Described;
}

/// An argument of a handler.
pub(super) trait Argument {
    /// The message that it reads, if it reads one.
    fn message(_: &mut Named) -> Option<Value> {
        None
    }
}

/// What a handler answers.
pub(super) trait Output {
    /// The message, if it is one.
    fn message(_: &mut Named) -> Option<Value> {
        None
    }
}

impl<T: Schema> Argument for Rpc<T> {
    fn message(named: &mut Named) -> Option<Value> {
        Some(T::schema(named))
    }
}

impl Argument for State<Registry> {}
impl<T> Argument for Path<T> {}
impl<T> Argument for Query<T> {}
impl Argument for Request {}
impl Argument for HeaderMap {}
impl Argument for super::artifacts::Reading {}
impl Argument for Viewer {}
impl Argument for super::actor::Author {}
impl Argument for super::aliases::Condition {}
impl<T> Argument for Option<T> {}
impl<T> Argument for Extension<T> {}

impl<T: Schema> Output for Result<Json<T>, ApiError> {
    fn message(named: &mut Named) -> Option<Value> {
        Some(T::schema(named))
    }
}

impl<T: Schema> Output for Json<T> {
    fn message(named: &mut Named) -> Option<Value> {
        Some(T::schema(named))
    }
}

impl<T: Schema> Output for Result<super::market::Listed<T>, ApiError> {
    fn message(named: &mut Named) -> Option<Value> {
        Some(T::schema(named))
    }
}

impl Output for Result<Response, ApiError> {}
impl Output for Response {}
impl<S> Output for Result<Sse<S>, ApiError> {}

macro_rules! handlers {
    ($( ($( $argument:ident )*) )*) => {$(
        impl<F, Out, $( $argument, )*> Handler<($( $argument, )*)> for F
        where
            F: Fn($( $argument ),*) -> Out,
            Out: Future<Output: Output>,
            $( $argument: Argument, )*
        {
            fn describe(named: &mut Named) -> Described {
                let mut described = Described::default();
                $( described.request = described.request.or($argument::message(named)); )*
                described.response = <Out::Output as Output>::message(named);
                described
            }
        }
    )*};
}

handlers! { () (A) (A B) (A B C) (A B C D) (A B C D E) }

/// What that handler takes and answers.
pub(super) fn describe<Args, H: Handler<Args>>(_: H, named: &mut Named) -> Described {
    H::describe(named)
}

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

pub(super) async fn document_of_routes() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

fn document() -> Value {
    let mut named = Named::default();
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES.iter().chain(OWN_ROUTES) {
        let described = (route.describe)(&mut named);
        let path = format!("/api/{}{}", route.version, route.path.replace("{*", "{"));
        let operation = operation(route.method, &path, described);
        paths
            .entry(path)
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .into_iter()
            .for_each(|methods| {
                methods.insert(route.method.to_owned(), operation.clone());
            });
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Foreshock registry",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The MLflow REST dialect, and what this server adds under /foreshock. \
                            A GET reads its message from the query.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": named.into_components() },
    })
}

fn operation(method: &str, path: &str, described: Described) -> Value {
    let mut operation = json!({
        "operationId": format!("{method} {path}").replace(['/', '{', '}', ' ', '.'], "_"),
        "responses": {
            "200": { "description": "Done.", "content": match described.response {
                Some(schema) => json!({ "application/json": { "schema": schema } }),
                None => json!({ "application/octet-stream": {} }),
            } },
            "default": { "description": "Refused: the body has `error_code` and `message`." },
        },
    });
    let mut parameters: Vec<Value> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect();
    match described.request {
        Some(schema) if method == "get" => parameters.push(json!({
            "name": "message", "in": "query", "style": "form", "explode": true, "schema": schema,
        })),
        Some(schema) => {
            operation["requestBody"] = json!({
                "required": true,
                "content": { "application/json": { "schema": schema } },
            });
        }
        None => {}
    }
    operation["parameters"] = json!(parameters);
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let document = document();
        for route in ROUTES.iter().chain(OWN_ROUTES) {
            let path = format!("/api/{}{}", route.version, route.path.replace("{*", "{"));
            assert!(document["paths"][&path][route.method].is_object(), "{path}");
        }
        let create = &document["paths"]["/api/2.0/mlflow/runs/create"]["post"];
        let schema = &create["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/CreateRun");
        let tags = &document["components"]["schemas"]["CreateRun"]["properties"]["tags"];
        assert_eq!(tags["items"]["$ref"], "#/components/schemas/KeyValue");
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"][name].is_object(),
                "{name}"
            );
        }
    }
}
