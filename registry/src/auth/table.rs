//! What each route needs: one table beside that of the routes.
//!
//! A route that is missing here is for admins only; a test finds it.

use super::Role;
use super::Role::{Admin, Reader, Writer};

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Nothing: nobody has to say who they are.
    Public,
    /// Nothing but what the request carries: a signed URL, which the handler checks. The body is a
    /// stream.
    Signed,
    /// A user, whoever it is; the handler looks closer.
    User,
    /// Each of these; the first is what the request is about, the others are about what it may
    /// name beside that.
    Needs(&'static [Need]),
    /// Each of these; the body is a stream that nobody but the handler reads.
    Raw(&'static [Need]),
    /// A search over everything, out of which the handler leaves what the user can't read.
    Filtered,
    /// A search in the experiments of this field; those that the user can't read are taken out.
    Among(&'static str),
    /// Reading of everything, out of which nothing can be left.
    Everything,
}

/// A role that is needed on something.
pub(crate) type Need = (Role, On);

/// Where in a request the thing is named. A field may stand in the query, in the path, or in the
/// JSON body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// The server itself, and what is yet to be created in it.
    Server,
    /// Experiments by id, at any depth of the body.
    Experiment,
    /// As [`Self::Experiment`]; a request that names none means the default one.
    ExperimentOrDefault,
    /// An experiment by name.
    ExperimentNamed,
    /// The experiment of runs, at any depth of the body.
    Run,
    /// The experiment of logged models, at any depth of the body.
    LoggedModel,
    /// The experiment of traces, at any depth of the body.
    Trace,
    /// As [`Self::Trace`], of those that are there already: others are about to be made.
    TraceIfThere,
    /// The experiment that a header names.
    ExperimentInHeader(&'static str),
    /// A registered model by the field `name`.
    Model,
    /// A model by the field `model`; a request that names none is about all of them.
    OneModelOrAll,
    /// The registered model that a `source` of the form `models:/NAME/VERSION` copies from.
    ModelOfSource,
    /// The experiment that an artifact's path lies in: the rest of the path, or the field `path`.
    Artifact,
    /// What a grant is about: the fields `resource_type` and `resource_id`.
    Granted,
}

use On::{
    Artifact, Experiment, ExperimentInHeader, ExperimentNamed, ExperimentOrDefault, Granted,
    LoggedModel, Model, ModelOfSource, OneModelOrAll, Run, Server, Trace, TraceIfThere,
};
use Rule::{Among, Everything, Filtered, Needs, Public, Raw, Signed, User};

const READS_EXPERIMENT: Rule = Needs(&[(Reader, Experiment)]);
const CHANGES_EXPERIMENT: Rule = Needs(&[(Writer, Experiment)]);
const READS_RUN: Rule = Needs(&[(Reader, Run)]);
const CHANGES_RUN: Rule = Needs(&[(Writer, Run)]);
/// Metrics of a run may be those of a logged model as well.
const LOGS_METRICS: Rule = Needs(&[(Writer, Run), (Writer, LoggedModel)]);
/// A run may name the logged models that it read or made.
const NAMES_MODELS: Rule = Needs(&[(Writer, Run), (Reader, LoggedModel)]);
const READS_LOGGED_MODEL: Rule = Needs(&[(Reader, LoggedModel)]);
const CHANGES_LOGGED_MODEL: Rule = Needs(&[(Writer, LoggedModel)]);
const READS_MODEL: Rule = Needs(&[(Reader, Model)]);
const CHANGES_MODEL: Rule = Needs(&[(Writer, Model)]);
/// What is about one model, or about all of them.
const READS_OF_MODEL: Rule = Needs(&[(Reader, OneModelOrAll)]);
const READS_TRACE: Rule = Needs(&[(Reader, Trace)]);
const CHANGES_TRACE: Rule = Needs(&[(Writer, Trace)]);
const READS_ARTIFACT: Rule = Needs(&[(Reader, Artifact)]);
const CHANGES_ARTIFACT: Rule = Raw(&[(Writer, Artifact)]);
const CHANGES_UPLOAD: Rule = Needs(&[(Writer, Artifact)]);
const CREATES: Rule = Needs(&[(Writer, Server)]);
const MANAGES: Rule = Needs(&[(Admin, Server)]);

/// The routes under `/api/<version>` and `/ajax-api/<version>`, and what they need.
#[rustfmt::skip]
const API: &[(&str, &str, Rule)] = &[
    ("POST",   "/mlflow/experiments/create", CREATES),
    ("GET",    "/mlflow/experiments/get", READS_EXPERIMENT),
    ("GET",    "/mlflow/experiments/get-by-name", Needs(&[(Reader, ExperimentNamed)])),
    ("POST",   "/mlflow/experiments/search", Filtered),
    ("GET",    "/mlflow/experiments/search", Filtered),
    ("POST",   "/mlflow/experiments/delete", CHANGES_EXPERIMENT),
    ("POST",   "/mlflow/experiments/restore", CHANGES_EXPERIMENT),
    ("POST",   "/mlflow/experiments/update", CHANGES_EXPERIMENT),
    ("POST",   "/mlflow/experiments/set-experiment-tag", CHANGES_EXPERIMENT),
    ("POST",   "/mlflow/experiments/delete-experiment-tag", CHANGES_EXPERIMENT),
    ("POST",   "/mlflow/experiments/search-datasets", Among("experiment_ids")),

    ("POST",   "/mlflow/runs/create", Needs(&[(Writer, ExperimentOrDefault)])),
    ("POST",   "/mlflow/runs/update", CHANGES_RUN),
    ("POST",   "/mlflow/runs/delete", CHANGES_RUN),
    ("POST",   "/mlflow/runs/restore", CHANGES_RUN),
    ("GET",    "/mlflow/runs/get", READS_RUN),
    ("POST",   "/mlflow/runs/search", Among("experiment_ids")),
    ("POST",   "/mlflow/runs/log-metric", LOGS_METRICS),
    ("POST",   "/mlflow/runs/log-parameter", CHANGES_RUN),
    ("POST",   "/mlflow/runs/set-tag", CHANGES_RUN),
    ("POST",   "/mlflow/runs/delete-tag", CHANGES_RUN),
    ("POST",   "/mlflow/runs/log-batch", LOGS_METRICS),
    ("POST",   "/mlflow/runs/log-model", CHANGES_RUN),
    ("POST",   "/mlflow/runs/log-inputs", NAMES_MODELS),
    ("POST",   "/mlflow/runs/outputs", NAMES_MODELS),
    ("GET",    "/mlflow/metrics/get-history", READS_RUN),
    ("GET",    "/mlflow/metrics/get-history-bulk", READS_RUN),
    ("GET",    "/mlflow/metrics/get-history-bulk-interval", READS_RUN),

    ("GET",    "/mlflow/artifacts/list", READS_RUN),
    ("POST",   "/mlflow/artifacts/presigned-upload-url", CHANGES_RUN),
    ("POST",   "/mlflow/artifacts/presigned-download-url", READS_RUN),
    ("POST",   "/mlflow/upload-artifact", Raw(&[(Writer, Run)])),
    ("GET",    "/mlflow-artifacts/artifacts", READS_ARTIFACT),
    ("GET",    "/mlflow-artifacts/artifacts/{*path}", READS_ARTIFACT),
    ("PUT",    "/mlflow-artifacts/artifacts/{*path}", CHANGES_ARTIFACT),
    ("DELETE", "/mlflow-artifacts/artifacts/{*path}", CHANGES_ARTIFACT),
    ("POST",   "/mlflow-artifacts/mpu/create/{*path}", CHANGES_UPLOAD),
    ("POST",   "/mlflow-artifacts/mpu/complete/{*path}", CHANGES_UPLOAD),
    ("POST",   "/mlflow-artifacts/mpu/abort/{*path}", CHANGES_UPLOAD),
    ("PUT",    "/mlflow-artifacts/mpu/part/{token}", Signed),
    ("GET",    "/mlflow-artifacts/presigned/{*path}", READS_ARTIFACT),

    ("POST",   "/mlflow/registered-models/create", CREATES),
    ("POST",   "/mlflow/registered-models/rename", CHANGES_MODEL),
    ("PATCH",  "/mlflow/registered-models/update", CHANGES_MODEL),
    ("DELETE", "/mlflow/registered-models/delete", CHANGES_MODEL),
    ("GET",    "/mlflow/registered-models/get", READS_MODEL),
    ("GET",    "/mlflow/registered-models/search", Filtered),
    ("POST",   "/mlflow/registered-models/get-latest-versions", READS_MODEL),
    ("GET",    "/mlflow/registered-models/get-latest-versions", READS_MODEL),
    ("POST",   "/mlflow/registered-models/set-tag", CHANGES_MODEL),
    ("DELETE", "/mlflow/registered-models/delete-tag", CHANGES_MODEL),
    ("POST",   "/mlflow/registered-models/alias", CHANGES_MODEL),
    ("DELETE", "/mlflow/registered-models/alias", CHANGES_MODEL),
    ("GET",    "/mlflow/registered-models/alias", READS_MODEL),
    ("POST",   "/mlflow/model-versions/create",
        Needs(&[(Writer, Model), (Reader, Run), (Reader, LoggedModel), (Reader, ModelOfSource)])),
    ("PATCH",  "/mlflow/model-versions/update", CHANGES_MODEL),
    ("POST",   "/mlflow/model-versions/transition-stage", CHANGES_MODEL),
    ("DELETE", "/mlflow/model-versions/delete", CHANGES_MODEL),
    ("GET",    "/mlflow/model-versions/get", READS_MODEL),
    ("GET",    "/mlflow/model-versions/search", Filtered),
    ("GET",    "/mlflow/model-versions/get-download-uri", READS_MODEL),
    ("POST",   "/mlflow/model-versions/set-tag", CHANGES_MODEL),
    ("DELETE", "/mlflow/model-versions/delete-tag", CHANGES_MODEL),

    ("POST",   "/mlflow/logged-models", Needs(&[(Writer, Experiment), (Reader, Run)])),
    ("POST",   "/mlflow/logged-models/search", Among("experiment_ids")),
    ("GET",    "/mlflow/logged-models/{model_id}", READS_LOGGED_MODEL),
    ("PATCH",  "/mlflow/logged-models/{model_id}", CHANGES_LOGGED_MODEL),
    ("DELETE", "/mlflow/logged-models/{model_id}", CHANGES_LOGGED_MODEL),
    ("POST",   "/mlflow/logged-models/{model_id}/params", CHANGES_LOGGED_MODEL),
    ("PATCH",  "/mlflow/logged-models/{model_id}/tags", CHANGES_LOGGED_MODEL),
    ("DELETE", "/mlflow/logged-models/{model_id}/tags/{tag_key}", CHANGES_LOGGED_MODEL),
    ("GET",    "/mlflow/logged-models/{model_id}/artifacts/directories", READS_LOGGED_MODEL),
    ("GET",    "/mlflow/logged-models/{model_id}/artifacts/files", READS_LOGGED_MODEL),

    ("POST",   "/mlflow/webhooks", MANAGES),
    ("GET",    "/mlflow/webhooks", MANAGES),
    ("GET",    "/mlflow/webhooks/{webhook_id}", MANAGES),
    ("PATCH",  "/mlflow/webhooks/{webhook_id}", MANAGES),
    ("DELETE", "/mlflow/webhooks/{webhook_id}", MANAGES),
    ("POST",   "/mlflow/webhooks/{webhook_id}/test", MANAGES),

    ("POST",   "/mlflow/traces", Needs(&[(Writer, Experiment), (Writer, TraceIfThere)])),
    ("GET",    "/mlflow/traces", Among("experiment_ids")),
    ("PATCH",  "/mlflow/traces/{request_id}", CHANGES_TRACE),
    ("PATCH",  "/mlflow/traces/{trace_id}", CHANGES_TRACE),
    ("GET",    "/mlflow/traces/{trace_id}/info", READS_TRACE),
    ("PATCH",  "/mlflow/traces/{request_id}/tags", CHANGES_TRACE),
    ("DELETE", "/mlflow/traces/{request_id}/tags", CHANGES_TRACE),
    ("PATCH",  "/mlflow/traces/{trace_id}/tags", CHANGES_TRACE),
    ("DELETE", "/mlflow/traces/{trace_id}/tags", CHANGES_TRACE),
    ("GET",    "/mlflow/traces/{request_id}/info", READS_TRACE),
    ("GET",    "/mlflow/traces/{trace_id}", READS_TRACE),
    ("GET",    "/mlflow/traces/get", READS_TRACE),
    ("GET",    "/mlflow/traces/batchGet", READS_TRACE),
    ("POST",   "/mlflow/traces/batchGetInfos", READS_TRACE),
    ("POST",   "/mlflow/traces/search", READS_EXPERIMENT),
    ("POST",   "/mlflow/traces/link-to-run", Needs(&[(Writer, Run), (Reader, Trace)])),
    ("POST",   "/mlflow/traces/link-prompts", CHANGES_TRACE),
    ("POST",   "/mlflow/traces/delete-traces", CHANGES_EXPERIMENT),
    ("POST",   "/mlflow/traces/calculate-filter-correlation", READS_EXPERIMENT),
    ("POST",   "/mlflow/traces/metrics", READS_EXPERIMENT),
    ("GET",    "/mlflow/traces/{trace_id}/assessments/{assessment_id}", READS_TRACE),
    ("POST",   "/mlflow/traces/{trace_id}/assessments", CHANGES_TRACE),
    ("PATCH",  "/mlflow/traces/{trace_id}/assessments/{assessment_id}", CHANGES_TRACE),
    ("DELETE", "/mlflow/traces/{trace_id}/assessments/{assessment_id}", CHANGES_TRACE),
    ("GET",    "/mlflow/get-trace-artifact", READS_TRACE),

    ("POST",   "/mlflow/datasets/{dataset_id}/add-experiments", CHANGES_EXPERIMENT),
    ("POST",   "/mlflow/datasets/{dataset_id}/remove-experiments", CHANGES_EXPERIMENT),

    ("GET",    "/mlflow/server-info", Public),

    ("GET",    "/foreshock/registered-models/alias-history", READS_MODEL),
    ("POST",   "/foreshock/registered-models/alias-rollback", CHANGES_MODEL),
    ("GET",    "/foreshock/events", READS_OF_MODEL),
    ("GET",    "/foreshock/alerts", READS_OF_MODEL),
    ("GET",    "/foreshock/alerts/{alert_id}", READS_OF_MODEL),
    ("GET",    "/foreshock/drift", READS_OF_MODEL),
    ("GET",    "/foreshock/candles", Needs(&[(Reader, Server)])),
    ("GET",    "/foreshock/scores", READS_OF_MODEL),

    ("POST",   "/mlflow/users/create", MANAGES),
    ("GET",    "/mlflow/users/get", User),
    ("GET",    "/mlflow/users/current", User),
    ("GET",    "/mlflow/users/list", MANAGES),
    ("PATCH",  "/mlflow/users/update-password", User),
    ("PATCH",  "/mlflow/users/update-admin", MANAGES),
    ("DELETE", "/mlflow/users/delete", MANAGES),
    ("GET",    "/mlflow/users/current/permissions", User),
    ("GET",    "/mlflow/users/permissions/list", User),
    ("GET",    "/mlflow/users/permissions/get", User),
    ("POST",   "/mlflow/users/permissions/grant", Needs(&[(Admin, Granted)])),
    ("POST",   "/mlflow/users/permissions/revoke", Needs(&[(Admin, Granted)])),
];

/// The routes elsewhere.
#[rustfmt::skip]
const OTHERS: &[(&str, &str, Rule)] = &[
    ("GET",  "/", Everything),
    ("GET",  "/api/openapi.json", User),
    ("GET",  "/health", Public),
    ("GET",  "/version", Public),
    ("GET",  "/livez", Public),
    ("GET",  "/readyz", Public),
    ("GET",  "/metrics", User),
    ("GET",  "/get-artifact", READS_RUN),
    ("GET",  "/model-versions/get-artifact", READS_MODEL),
    ("GET",  "/graphql", Everything),
    ("POST", "/graphql", Everything),
    ("POST", "/v1/traces", Raw(&[(Writer, ExperimentInHeader("x-mlflow-experiment-id"))])),
];

/// The rule of a route, by its method and its path as the router has it.
pub(crate) fn rule_of(method: &str, path: &str) -> Option<Rule> {
    let below = ["/api/", "/ajax-api/"]
        .into_iter()
        .find_map(|prefix| path.strip_prefix(prefix))
        .and_then(|rest| rest.find('/').map(|slash| &rest[slash..]));
    let find = |table: &[(&str, &str, Rule)], path: &str| {
        table
            .iter()
            .find(|(m, p, _)| *m == method && *p == path)
            .map(|(_, _, rule)| *rule)
    };
    below
        .and_then(|path| find(API, path))
        .or_else(|| find(OTHERS, path))
}

impl Rule {
    /// The role that is needed by a user who has the same role on everything.
    pub(crate) fn plain_role(self) -> Role {
        match self {
            Public | Signed | User => Role::None,
            Needs(needs) | Raw(needs) => needs.iter().map(|need| need.0).max().unwrap_or(Admin),
            Filtered | Among(_) | Everything => Reader,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes::ROUTES;

    #[test]
    fn every_route_has_a_rule() {
        for route in ROUTES {
            let method = route.method.to_ascii_uppercase();
            for prefix in ["/api", "/ajax-api"] {
                let path = format!("{prefix}/{}{}", route.version, route.path);
                assert!(rule_of(&method, &path).is_some(), "{method} {path}");
            }
        }
    }

    #[test]
    fn no_change_is_open_to_readers() {
        for (method, path, rule) in API.iter().chain(OTHERS) {
            // Webhooks hold secrets: to read them is an admin's.
            if matches!(*rule, MANAGES | Signed) {
                continue;
            }
            let reads = matches!(*method, "GET")
                || path.contains("/search")
                || path.contains("/batchGet")
                || [
                    "/mlflow/artifacts/presigned-download-url",
                    "/mlflow/registered-models/get-latest-versions",
                    "/mlflow/traces/calculate-filter-correlation",
                    "/mlflow/traces/metrics",
                    // Looked at by its handler.
                    "/mlflow/users/update-password",
                    "/graphql",
                ]
                .contains(path);
            assert_eq!(rule.plain_role() < Writer, reads, "{method} {path}");
        }
    }

    #[test]
    fn no_route_has_two_rules() {
        let mut all: Vec<_> = API.iter().chain(OTHERS).map(|r| (r.0, r.1)).collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
