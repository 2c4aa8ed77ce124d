//! Every route of the REST API, as one table. What each needs of its user stands in
//! `auth/table.rs`.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get};

use mlflow_api::schema::Named;

use super::openapi::{Described, describe};
use super::{
    aliases, artifacts, datasets, events, experiments, graphql, landing, logged_models, market,
    meta, metrics, model_versions, refused, registered_models, runs, traces, traces_assessments,
    traces_otlp, traces_v2, users, webhooks,
};
use crate::Registry;
use crate::http::{self, GateLayer, Gateway};

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
    /// What its handler takes and answers.
    pub(super) describe: fn(&mut Named) -> Described,
}

macro_rules! routes {
    ($( $method:ident $version:literal $path:literal => $handler:path; )*) => {
        &[$( Route {
            method: stringify!($method),
            version: $version,
            path: $path,
            mount: || axum::routing::$method($handler),
            describe: |named| describe($handler, named),
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
    post "2.0" "/mlflow/experiments/search-datasets" => datasets::search;

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
    post "2.0" "/mlflow/runs/log-inputs" => datasets::log_inputs;
    post "2.0" "/mlflow/runs/outputs" => runs::log_outputs;
    get "2.0" "/mlflow/metrics/get-history" => metrics::history;
    get "2.0" "/mlflow/metrics/get-history-bulk-interval" => metrics::history_bulk_interval;

    get "2.0" "/mlflow/artifacts/list" => artifacts::list_of_run;
    get "2.0" "/mlflow-artifacts/artifacts" => artifacts::list;
    get "2.0" "/mlflow-artifacts/artifacts/{*path}" => artifacts::download;
    put "2.0" "/mlflow-artifacts/artifacts/{*path}" => artifacts::upload;
    delete "2.0" "/mlflow-artifacts/artifacts/{*path}" => artifacts::delete;
    post "2.0" "/mlflow-artifacts/mpu/create/{*path}" => artifacts::create_multipart;
    post "2.0" "/mlflow-artifacts/mpu/complete/{*path}" => artifacts::complete_multipart;
    post "2.0" "/mlflow-artifacts/mpu/abort/{*path}" => artifacts::abort_multipart;
    get "2.0" "/mlflow-artifacts/presigned/{*path}" => artifacts::presign;
    post "2.0" "/mlflow/artifacts/presigned-upload-url" => artifacts::presign_upload;
    post "2.0" "/mlflow/artifacts/presigned-download-url" => artifacts::presign_download;

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

    post "3.0" "/mlflow/traces" => traces::start;
    post "3.0" "/mlflow/traces/search" => traces::search;
    get "3.0" "/mlflow/traces/get" => traces::get;
    get "3.0" "/mlflow/traces/batchGet" => traces::batch_get;
    post "3.0" "/mlflow/traces/batchGetInfos" => traces::batch_get_infos;
    post "3.0" "/mlflow/traces/delete-traces" => traces::delete;
    get "3.0" "/mlflow/traces/{trace_id}" => traces::get_info;
    patch "3.0" "/mlflow/traces/{trace_id}/tags" => traces::set_tag;
    delete "3.0" "/mlflow/traces/{trace_id}/tags" => traces::delete_tag;
    post "3.0" "/mlflow/traces/{trace_id}/assessments" => traces_assessments::create;
    get "3.0" "/mlflow/traces/{trace_id}/assessments/{assessment_id}" => traces_assessments::get;
    patch "3.0" "/mlflow/traces/{trace_id}/assessments/{assessment_id}" => traces_assessments::update;
    delete "3.0" "/mlflow/traces/{trace_id}/assessments/{assessment_id}" => traces_assessments::delete;
    post "2.0" "/mlflow/traces" => traces_v2::start;
    get "2.0" "/mlflow/traces" => traces_v2::search;
    post "2.0" "/mlflow/traces/delete-traces" => traces::delete;
    post "2.0" "/mlflow/traces/link-to-run" => traces::link_to_run;
    post "2.0" "/mlflow/traces/link-prompts" => traces::link_prompts;
    patch "2.0" "/mlflow/traces/{trace_id}" => traces_v2::end;
    get "2.0" "/mlflow/traces/{trace_id}/info" => traces_v2::get_info;
    patch "2.0" "/mlflow/traces/{trace_id}/tags" => traces::set_tag;
    delete "2.0" "/mlflow/traces/{trace_id}/tags" => traces::delete_tag;

    post "2.0" "/mlflow/webhooks" => webhooks::create;
    get "2.0" "/mlflow/webhooks" => webhooks::list;
    get "2.0" "/mlflow/webhooks/{webhook_id}" => webhooks::get;
    patch "2.0" "/mlflow/webhooks/{webhook_id}" => webhooks::update;
    delete "2.0" "/mlflow/webhooks/{webhook_id}" => webhooks::delete;
    post "2.0" "/mlflow/webhooks/{webhook_id}/test" => webhooks::test;

    get "3.0" "/mlflow/server-info" => meta::server_info;

    post "2.0" "/mlflow/users/create" => users::create;
    get "2.0" "/mlflow/users/get" => users::get;
    get "2.0" "/mlflow/users/current" => users::current;
    get "2.0" "/mlflow/users/list" => users::list;
    patch "2.0" "/mlflow/users/update-password" => users::update_password;
    patch "2.0" "/mlflow/users/update-admin" => users::update_admin;
    delete "2.0" "/mlflow/users/delete" => users::delete;
    get "3.0" "/mlflow/users/current/permissions" => users::current_permissions;
    get "3.0" "/mlflow/users/permissions/list" => users::permissions;
    get "3.0" "/mlflow/users/permissions/get" => users::permission;
    post "3.0" "/mlflow/users/permissions/grant" => users::grant;
    post "3.0" "/mlflow/users/permissions/revoke" => users::revoke;
};

/// The paths under which each route of [`ROUTES`] is served.
const PREFIXES: [&str; 2] = ["/api", "/ajax-api"];

impl Route {
    fn path_under(&self, prefix: &str) -> String {
        format!("{prefix}/{}{}", self.version, self.path)
    }
}

/// Method and path of everything that [`ROUTES`] and [`OWN_ROUTES`] serve.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, String)> {
    let own = OWN_ROUTES
        .iter()
        .map(|route| (route.method, route.path_under(PREFIXES[0])));
    ROUTES
        .iter()
        .flat_map(|route| PREFIXES.map(|prefix| (route.method, route.path_under(prefix))))
        .chain(own)
}
/// The routes that MLflow has not; they are served under `/api` only.
pub const OWN_ROUTES: &[Route] = routes! {
    get "2.0" "/foreshock/registered-models/alias-history" => aliases::history;
    post "2.0" "/foreshock/registered-models/alias-rollback" => aliases::rollback;
    get "2.0" "/foreshock/events" => events::stream;
    get "2.0" "/foreshock/alerts" => market::alerts;
    get "2.0" "/foreshock/alerts/{alert_id}" => market::alert;
    get "2.0" "/foreshock/drift" => market::drift;
    get "2.0" "/foreshock/candles" => market::candles;
    get "2.0" "/foreshock/scores" => market::scores;
};

/// The application: the table twice, and what stands outside of it.
pub(crate) fn router(registry: Registry, gateway: &Arc<Gateway>) -> Router {
    let mut router = Router::new()
        .route("/livez", get(http::livez))
        .route("/readyz", get(http::readyz))
        .route("/metrics", get(http::metrics))
        .route("/", axum::routing::get(landing::page))
        .route(
            "/api/openapi.json",
            axum::routing::get(super::openapi::document_of_routes),
        )
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
        )
        .route(
            "/ajax-api/2.0/mlflow/metrics/get-history-bulk",
            axum::routing::get(metrics::history_bulk),
        )
        .route(
            "/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files",
            axum::routing::get(artifacts::get_of_model),
        )
        .route(
            &format!("{}{{token}}", artifacts::PART_ROUTE),
            axum::routing::put(artifacts::upload_part),
        )
        .route(
            "/graphql",
            axum::routing::get(graphql::execute).post(graphql::execute),
        )
        .route("/v1/traces", axum::routing::post(traces_otlp::export))
        .route(
            "/ajax-api/2.0/mlflow/get-trace-artifact",
            axum::routing::get(traces::artifact),
        )
        .route(
            "/ajax-api/3.0/mlflow/get-trace-artifact",
            axum::routing::get(traces::artifact),
        );
    for prefix in PREFIXES {
        for route in ROUTES {
            router = router.route(&route.path_under(prefix), (route.mount)());
        }
    }
    for route in OWN_ROUTES {
        router = router.route(&route.path_under(PREFIXES[0]), (route.mount)());
    }
    router
        .fallback(refused::not_found)
        .method_not_allowed_fallback(refused::not_allowed)
        // The gate bounds bodies.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(GateLayer(Arc::clone(gateway)))
        .with_state(registry)
}
