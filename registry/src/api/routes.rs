//! Every route of the REST API, as one table.

use axum::Router;
use axum::routing::MethodRouter;

use super::{
    aliases, artifacts, events, experiments, landing, logged_models, meta, metrics, model_versions,
    registered_models, runs,
};
use crate::Registry;

/// One route of the API.
#[derive(Debug)]
pub struct Route {
    /// The HTTP method.
    pub method: &'static str,
    /// The API's version in the path: `2.0` or `3.0`.
    pub version: &'static str,
    /// The path after `/api/<version>`, parameters in braces.
    pub path: &'static str,
    mount: fn() -> MethodRouter<Registry>,
}

macro_rules! routes {
    ($( $method:ident $version:literal $path:literal => $handler:path; )*) => {
        &[$( Route {
            method: stringify!($method),
            version: $version,
            path: $path,
            mount: || axum::routing::$method($handler),
        }, )*]
    };
}

/// The routes of MLflow's descriptors; each is served under `/api` and under `/ajax-api`.
pub const ROUTES: &[Route] = routes! {
    post "2.0" "/mlflow/experiments/create" => experiments::create;
    get "2.0" "/mlflow/experiments/get" => experiments::get;
    get "2.0" "/mlflow/experiments/get-by-name" => experiments::get_by_name;
    post "2.0" "/mlflow/experiments/search" => experiments::search;
    get "2.0" "/mlflow/experiments/search" => experiments::search;
    post "2.0" "/mlflow/experiments/delete" => experiments::delete;
    post "2.0" "/mlflow/experiments/restore" => experiments::restore;
    post "2.0" "/mlflow/experiments/update" => experiments::update;
    post "2.0" "/mlflow/experiments/set-experiment-tag" => experiments::set_tag;
    post "2.0" "/mlflow/experiments/delete-experiment-tag" => experiments::delete_tag;

    post "2.0" "/mlflow/runs/create" => runs::create;
    post "2.0" "/mlflow/runs/update" => runs::update;
    post "2.0" "/mlflow/runs/delete" => runs::delete;
    post "2.0" "/mlflow/runs/restore" => runs::restore;
    get "2.0" "/mlflow/runs/get" => runs::get;
    post "2.0" "/mlflow/runs/search" => runs::search;
    post "2.0" "/mlflow/runs/log-metric" => metrics::log;
    post "2.0" "/mlflow/runs/log-parameter" => runs::log_param;
    post "2.0" "/mlflow/runs/set-tag" => runs::set_tag;
    post "2.0" "/mlflow/runs/delete-tag" => runs::delete_tag;
    post "2.0" "/mlflow/runs/log-batch" => metrics::log_batch;
    post "2.0" "/mlflow/runs/log-model" => runs::log_model;
    post "2.0" "/mlflow/runs/outputs" => runs::log_outputs;
    get "2.0" "/mlflow/metrics/get-history" => metrics::history;
    get "2.0" "/mlflow/metrics/get-history-bulk-interval" => metrics::history_bulk_interval;

    get "2.0" "/mlflow/artifacts/list" => artifacts::list_of_run;
    get "2.0" "/mlflow-artifacts/artifacts" => artifacts::list;
    get "2.0" "/mlflow-artifacts/artifacts/{*path}" => artifacts::download;
    put "2.0" "/mlflow-artifacts/artifacts/{*path}" => artifacts::upload;
    delete "2.0" "/mlflow-artifacts/artifacts/{*path}" => artifacts::delete;

    post "2.0" "/mlflow/registered-models/create" => registered_models::create;
    post "2.0" "/mlflow/registered-models/rename" => registered_models::rename;
    patch "2.0" "/mlflow/registered-models/update" => registered_models::update;
    delete "2.0" "/mlflow/registered-models/delete" => registered_models::delete;
    get "2.0" "/mlflow/registered-models/get" => registered_models::get;
    get "2.0" "/mlflow/registered-models/search" => registered_models::search;
    post "2.0" "/mlflow/registered-models/get-latest-versions" => registered_models::latest;
    get "2.0" "/mlflow/registered-models/get-latest-versions" => registered_models::latest;
    post "2.0" "/mlflow/registered-models/set-tag" => registered_models::set_tag;
    delete "2.0" "/mlflow/registered-models/delete-tag" => registered_models::delete_tag;
    post "2.0" "/mlflow/registered-models/alias" => aliases::set;
    delete "2.0" "/mlflow/registered-models/alias" => aliases::delete;
    get "2.0" "/mlflow/registered-models/alias" => aliases::get;

    post "2.0" "/mlflow/model-versions/create" => model_versions::create;
    patch "2.0" "/mlflow/model-versions/update" => model_versions::update;
    post "2.0" "/mlflow/model-versions/transition-stage" => model_versions::transition;
    delete "2.0" "/mlflow/model-versions/delete" => model_versions::delete;
    get "2.0" "/mlflow/model-versions/get" => model_versions::get;
    get "2.0" "/mlflow/model-versions/search" => model_versions::search;
    get "2.0" "/mlflow/model-versions/get-download-uri" => model_versions::download_uri;
    post "2.0" "/mlflow/model-versions/set-tag" => model_versions::set_tag;
    delete "2.0" "/mlflow/model-versions/delete-tag" => model_versions::delete_tag;

    post "2.0" "/mlflow/logged-models" => logged_models::create;
    post "2.0" "/mlflow/logged-models/search" => logged_models::search;
    get "2.0" "/mlflow/logged-models/{model_id}" => logged_models::get;
    patch "2.0" "/mlflow/logged-models/{model_id}" => logged_models::finalize;
    delete "2.0" "/mlflow/logged-models/{model_id}" => logged_models::delete;
    post "2.0" "/mlflow/logged-models/{model_id}/params" => logged_models::log_params;
    patch "2.0" "/mlflow/logged-models/{model_id}/tags" => logged_models::set_tags;
    delete "2.0" "/mlflow/logged-models/{model_id}/tags/{tag_key}" => logged_models::delete_tag;
    get "2.0" "/mlflow/logged-models/{model_id}/artifacts/directories" => artifacts::list_of_model;

    get "3.0" "/mlflow/server-info" => meta::server_info;
};

/// The routes that MLflow has not; they are served under `/api` only.
pub const OWN_ROUTES: &[Route] = routes! {
    get "2.0" "/foreshock/registered-models/alias-history" => aliases::history;
    post "2.0" "/foreshock/registered-models/alias-rollback" => aliases::rollback;
    get "2.0" "/foreshock/events" => events::stream;
};

/// The application: the table twice, and what stands outside of it.
pub(crate) fn router(registry: Registry) -> Router {
    let mut router = Router::new()
        .route("/", axum::routing::get(landing::page))
        .route("/health", axum::routing::get(meta::health))
        .route("/version", axum::routing::get(meta::version))
        .route("/get-artifact", axum::routing::get(artifacts::get_of_run))
        .route(
            "/model-versions/get-artifact",
            axum::routing::get(artifacts::get_of_version),
        )
        .route(
            "/ajax-api/2.0/mlflow/upload-artifact",
            axum::routing::post(artifacts::upload_to_run),
        );
    for prefix in ["/api", "/ajax-api"] {
        for route in ROUTES {
            let path = format!("{prefix}/{}{}", route.version, route.path);
            router = router.route(&path, (route.mount)());
        }
    }
    for route in OWN_ROUTES {
        let path = format!("/api/{}{}", route.version, route.path);
        router = router.route(&path, (route.mount)());
    }
    router
        .fallback(meta::not_found)
        // Artifacts stream; JSON bodies have a limit of their own.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(
            registry.clone(),
            super::security::guard,
        ))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(
            meta::panicked,
        ))
        .with_state(registry)
}
