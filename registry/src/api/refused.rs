//! What MLflow's server has and this one leaves out on purpose: answered with 501 and the reason,
//! so that a client doesn't look for its own mistake.
//!
//! A route that is served wins over this list. `docs/mlflow-routes.md` is the table of both.

use axum::http::{Method, Uri};
use mlflow_api::ErrorCode;

use super::error::ApiError;

/// Routes that are left out, and why.
#[derive(Debug)]
pub struct Refused {
    /// Paths: `{api}` is `/api` or `/ajax-api`, `{…}` a part, a last `*` whatever follows.
    pub paths: &'static [&'static str],
    /// Why, for whoever calls it.
    pub why: &'static str,
}

/// How every refusal's message begins; what one store can't do is told otherwise.
pub const ON_PURPOSE: &str = "This server leaves it out on purpose";

/// The list.
pub const REFUSED: &[Refused] = &[
    Refused {
        paths: &[
            "/gateway/*",
            "{api}/3.0/mlflow/gateway/*",
            "{api}/2.0/mlflow/gateway-proxy",
        ],
        why: "a gateway to language models is another product: it would hold other services' \
              secrets and send data to them",
    },
    Refused {
        paths: &[
            "{api}/3.0/mlflow/assistant/*",
            "{api}/3.0/mlflow/prompt-optimization/*",
            "{api}/2.0/mlflow/runs/create-promptlab-run",
        ],
        why: "it needs a language model, and this server calls none",
    },
    Refused {
        paths: &[
            "{api}/3.0/mlflow/scorers/*",
            "{api}/3.0/mlflow/scorer/*",
            "{api}/3.0/mlflow/genai/*",
            "{api}/3.0/mlflow/issues",
            "{api}/3.0/mlflow/issues/*",
            "{api}/2.0/mlflow/get-online-trace-details",
        ],
        why: "judging traces by language models is not part of this server",
    },
    Refused {
        paths: &["{api}/3.0/jobs/*", "{api}/3.0/mlflow/jobs/*"],
        why: "this server runs no jobs",
    },
    Refused {
        paths: &[
            "{api}/3.0/mlflow/label-schemas/*",
            "{api}/3.0/mlflow/review-queues/*",
        ],
        why: "labelling and reviewing by people is not part of this server",
    },
    Refused {
        paths: &[
            "{api}/3.0/mlflow/mcp-servers",
            "{api}/3.0/mlflow/mcp-servers/*",
        ],
        why: "a catalogue of MCP servers is not part of this server",
    },
    Refused {
        paths: &[
            "{api}/3.0/mlflow/workspaces",
            "{api}/3.0/mlflow/workspaces/*",
        ],
        why: "there is one workspace; experiments and models have permissions of their own",
    },
    Refused {
        paths: &["{api}/3.0/mlflow/demo/*"],
        why: "this server makes up no data",
    },
    Refused {
        paths: &["{api}/3.0/mlflow/ui-telemetry"],
        why: "nothing is reported to anyone",
    },
    Refused {
        paths: &["/build/*", "/static-files/*"],
        why: "MLflow's web pages are not part of this server, which has its own",
    },
    Refused {
        paths: &[
            "{api}/3.0/mlflow/datasets/*",
            "{api}/2.0mlflow/experiments/search-datasets",
        ],
        why: "evaluation data sets are kept as artifacts; a run's data sets are served at \
              experiments/search-datasets under /ajax-api",
    },
    Refused {
        paths: &[
            "{api}/2.0/mlflow/unified-traces",
            "{api}/3.0/mlflow/traces/metrics",
            "{api}/3.0/mlflow/traces/calculate-filter-correlation",
        ],
        why: "of traces, this server keeps what mlflow.start_span and search_traces need",
    },
];

/// What a request that meets no route gets: 501 where MLflow has one, else `otherwise`.
pub(super) fn refuse(uri: &Uri, otherwise: ApiError) -> ApiError {
    match REFUSED.iter().find(|refused| refused.covers(uri.path())) {
        Some(refused) => ApiError::new(
            ErrorCode::NotImplemented,
            format!("{ON_PURPOSE}: {}.", refused.why),
        ),
        None => otherwise,
    }
}

/// The fallback for paths that are unknown.
pub(super) async fn not_found(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    let error = ApiError::new(
        ErrorCode::EndpointNotFound,
        format!("No such endpoint: {method} {path}"),
    );
    refuse(&uri, error)
}

/// The fallback for paths that are known, with other methods.
pub(super) async fn not_allowed(method: Method, uri: Uri) -> ApiError {
    let error = ApiError::new(
        ErrorCode::EndpointNotFound,
        format!("{method} is not allowed there."),
    );
    refuse(&uri, error.with_status(405))
}

impl Refused {
    /// Whether it is about that path.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        self.paths.iter().any(|pattern| matches(pattern, path))
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let rest = match pattern.strip_prefix("{api}") {
        Some(pattern) => {
            let below = path
                .strip_prefix("/api")
                .or_else(|| path.strip_prefix("/ajax-api"));
            return below.is_some_and(|path| matches(pattern, path));
        }
        None => pattern,
    };
    let mut parts = path.split('/');
    for expected in rest.split('/') {
        if expected == "*" {
            return parts.next().is_some();
        }
        match parts.next() {
            Some(part) if part == expected || (expected.starts_with('{') && !part.is_empty()) => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_cover_what_they_say() {
        for (pattern, path, covered) in [
            ("{api}/3.0/jobs/*", "/ajax-api/3.0/jobs/a/b", true),
            ("{api}/3.0/jobs/*", "/api/3.0/jobs/", true),
            ("{api}/3.0/jobs/*", "/api/3.0/jobs", false),
            ("{api}/3.0/jobs/*", "/3.0/jobs/x", false),
            ("/graphql", "/graphql", true),
            ("/graphql", "/graphql/x", false),
            ("{api}/x/{id}/files", "/api/x/1/files", true),
            ("{api}/x/{id}/files", "/api/x//files", false),
        ] {
            assert_eq!(matches(pattern, path), covered, "{pattern} {path}");
        }
    }
}
