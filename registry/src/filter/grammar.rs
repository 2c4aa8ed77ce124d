//! What each resource lets a search compare.

use super::{Field, FilterError, Op};

/// How an attribute is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A text that may be compared with a list.
    TextOrList,
    Number,
    /// Sorted by, never compared.
    OrderOnly,
}

/// What a resource lets a search compare and sort by.
#[derive(Debug)]
pub struct Grammar {
    /// (name in the filter, canonical name, kind).
    attributes: &'static [(&'static str, &'static str, Kind)],
    /// Words before the dot that mean a metric, a parameter, a tag, a dataset, an attribute.
    metrics: &'static [&'static str],
    params: &'static [&'static str],
    tags: &'static [&'static str],
    datasets: &'static [&'static str],
    /// Whether spans and assessments can be asked for.
    traces: bool,
    prefixes: &'static [&'static str],
    /// Whether tags and parameters can be asked for presence.
    null_tests: bool,
    /// Whether only attributes can be sorted by.
    order_by_attributes_only: bool,
}

/// What a dataset is known by.
const DATASET_KEYS: [&str; 3] = ["name", "digest", "context"];

const ATTRIBUTE: &[&str] = &["attribute", "attributes", "attr", "run"];

/// `runs/search`.
pub const RUNS: Grammar = Grammar {
    attributes: &[
        ("run_id", "run_id", Kind::TextOrList),
        ("run_name", "run_name", Kind::Text),
        ("run name", "run_name", Kind::Text),
        ("Run name", "run_name", Kind::Text),
        ("Run Name", "run_name", Kind::Text),
        ("user_id", "user_id", Kind::Text),
        ("status", "status", Kind::Text),
        ("artifact_uri", "artifact_uri", Kind::Text),
        ("start_time", "start_time", Kind::Number),
        ("created", "start_time", Kind::Number),
        ("Created", "start_time", Kind::Number),
        ("end_time", "end_time", Kind::Number),
    ],
    metrics: &["metric", "metrics"],
    params: &["parameter", "parameters", "param", "params"],
    tags: &["tag", "tags"],
    datasets: &["dataset", "datasets"],
    traces: false,
    prefixes: ATTRIBUTE,
    null_tests: true,
    order_by_attributes_only: false,
};

/// `experiments/search`.
pub const EXPERIMENTS: Grammar = Grammar {
    attributes: &[
        ("name", "name", Kind::Text),
        ("experiment_id", "experiment_id", Kind::TextOrList),
        ("creation_time", "creation_time", Kind::Number),
        ("last_update_time", "last_update_time", Kind::Number),
    ],
    metrics: &[],
    params: &[],
    tags: &["tag", "tags"],
    datasets: &[],
    traces: false,
    prefixes: &["attribute"],
    null_tests: true,
    order_by_attributes_only: true,
};

/// `registered-models/search`.
pub const REGISTERED_MODELS: Grammar = Grammar {
    attributes: &[
        ("name", "name", Kind::TextOrList),
        ("timestamp", "last_updated_timestamp", Kind::OrderOnly),
        (
            "last_updated_timestamp",
            "last_updated_timestamp",
            Kind::OrderOnly,
        ),
        ("creation_timestamp", "creation_timestamp", Kind::OrderOnly),
    ],
    metrics: &[],
    params: &[],
    tags: &["tag", "tags"],
    datasets: &[],
    traces: false,
    prefixes: &["attribute"],
    null_tests: false,
    order_by_attributes_only: true,
};

/// `model-versions/search`.
pub const MODEL_VERSIONS: Grammar = Grammar {
    attributes: &[
        ("name", "name", Kind::TextOrList),
        ("version_number", "version", Kind::Number),
        ("run_id", "run_id", Kind::TextOrList),
        ("source_path", "source", Kind::Text),
        ("creation_timestamp", "creation_timestamp", Kind::OrderOnly),
        (
            "last_updated_timestamp",
            "last_updated_timestamp",
            Kind::OrderOnly,
        ),
    ],
    metrics: &[],
    params: &[],
    tags: &["tag", "tags"],
    datasets: &[],
    traces: false,
    prefixes: &["attribute"],
    null_tests: false,
    order_by_attributes_only: true,
};

/// `logged-models/search`.
pub const LOGGED_MODELS: Grammar = Grammar {
    attributes: &[
        ("model_id", "model_id", Kind::TextOrList),
        ("name", "name", Kind::TextOrList),
        ("model_type", "model_type", Kind::TextOrList),
        ("status", "status", Kind::TextOrList),
        ("source_run_id", "source_run_id", Kind::TextOrList),
        ("creation_timestamp", "creation_timestamp_ms", Kind::Number),
        ("creation_time", "creation_timestamp_ms", Kind::Number),
        (
            "last_updated_timestamp",
            "last_updated_timestamp_ms",
            Kind::Number,
        ),
    ],
    metrics: &["metric", "metrics"],
    params: &["parameter", "parameters", "param", "params"],
    tags: &["tag", "tags"],
    datasets: &[],
    traces: false,
    prefixes: &["attribute", "attributes"],
    null_tests: false,
    order_by_attributes_only: false,
};

/// `traces/search`; parameters are the trace's metadata. The store gives `name`, `run_id`, `prompt`
/// and `text` a meaning of their own.
pub const TRACES: Grammar = Grammar {
    attributes: &[
        ("request_id", "trace_id", Kind::TextOrList),
        ("trace_id", "trace_id", Kind::TextOrList),
        ("timestamp", "timestamp_ms", Kind::Number),
        ("timestamp_ms", "timestamp_ms", Kind::Number),
        ("execution_time", "execution_time_ms", Kind::Number),
        ("execution_time_ms", "execution_time_ms", Kind::Number),
        ("end_time", "end_time_ms", Kind::Number),
        ("end_time_ms", "end_time_ms", Kind::Number),
        ("status", "status", Kind::TextOrList),
        ("client_request_id", "client_request_id", Kind::TextOrList),
        ("name", "name", Kind::TextOrList),
        ("run_id", "run_id", Kind::TextOrList),
        ("prompt", "prompt", Kind::Text),
        ("text", "text", Kind::Text),
        ("experiment_id", "experiment_id", Kind::OrderOnly),
    ],
    metrics: &[],
    params: &["request_metadata", "metadata"],
    tags: &["tag", "tags"],
    datasets: &[],
    traces: true,
    prefixes: &["attribute", "attributes", "trace"],
    null_tests: true,
    order_by_attributes_only: false,
};

/// What may stand on the right of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Text,
    TextOrList,
    Number,
    TextOrNumber,
}

impl Grammar {
    /// The field that `prefix.key` or a lone `key` names.
    pub(super) fn field(
        &self,
        prefix: Option<&str>,
        key: &str,
        order: bool,
    ) -> Result<(Field, Right), FilterError> {
        let Some(prefix) = prefix else {
            return self.attribute(key, order);
        };
        if key.is_empty() {
            return Err(FilterError(format!("Invalid identifier '{prefix}.'")));
        }
        let (field, right) = if self.metrics.contains(&prefix) {
            (Field::Metric(key.to_owned()), Right::Number)
        } else if self.params.contains(&prefix) {
            (Field::Param(key.to_owned()), Right::Text)
        } else if self.tags.contains(&prefix) {
            (Field::Tag(key.to_owned()), Right::Text)
        } else if self.datasets.contains(&prefix) {
            let known = DATASET_KEYS.into_iter().find(|known| *known == key);
            let Some(known) = known.filter(|_| !order) else {
                return Err(FilterError(format!(
                    "Invalid dataset key '{key}' specified. Valid keys are {DATASET_KEYS:?}"
                )));
            };
            (Field::Dataset(known), Right::TextOrList)
        } else if self.prefixes.contains(&prefix) {
            return self.attribute(key, order);
        } else if self.traces && !order && prefix == "span" {
            let known = ["name", "type", "status"].contains(&key)
                || key
                    .strip_prefix("attributes.")
                    .is_some_and(|k| !k.is_empty());
            if !known {
                return Err(FilterError(format!(
                    "Invalid span attribute '{key}'. Supported attributes: name, status, type, \
                     attributes.<attribute_name>."
                )));
            }
            (Field::Span(key.to_owned()), Right::TextOrList)
        } else if let Some(kind) = ["feedback", "expectation", "issue"]
            .into_iter()
            .find(|kind| self.traces && !order && *kind == prefix)
        {
            if kind == "issue" && key != "id" {
                return Err(FilterError(format!(
                    "Invalid issue attribute '{key}'. Supported attributes: id"
                )));
            }
            (Field::Assessment(kind, key.to_owned()), Right::TextOrNumber)
        } else {
            let valid: Vec<_> = [
                self.metrics,
                self.params,
                self.tags,
                self.datasets,
                self.prefixes,
            ]
            .concat();
            return Err(FilterError(format!(
                "Invalid entity type '{prefix}'. Valid entity types are {valid:?}"
            )));
        };
        if order && self.order_by_attributes_only {
            return Err(FilterError(format!(
                "Invalid order_by entity '{prefix}.{key}'"
            )));
        }
        Ok((field, right))
    }

    fn attribute(&self, key: &str, order: bool) -> Result<(Field, Right), FilterError> {
        let found = self
            .attributes
            .iter()
            .find(|(name, _, kind)| *name == key && (order || *kind != Kind::OrderOnly));
        let Some((_, canonical, kind)) = found else {
            let valid: Vec<_> = self
                .attributes
                .iter()
                .filter(|(_, _, kind)| order || *kind != Kind::OrderOnly)
                .map(|(name, ..)| name)
                .collect();
            return Err(FilterError(format!(
                "Invalid attribute key '{key}' specified. Valid keys are {valid:?}"
            )));
        };
        let right = match kind {
            Kind::Text => Right::Text,
            Kind::TextOrList => Right::TextOrList,
            Kind::Number | Kind::OrderOnly => Right::Number,
        };
        Ok((Field::Attribute(canonical), right))
    }

    /// Whether a field can be compared that way.
    pub(super) fn check(&self, field: &Field, right: Right, op: Op) -> Result<(), FilterError> {
        let allowed = match op {
            Op::Eq | Op::Ne => true,
            Op::Lt | Op::Le | Op::Gt | Op::Ge => {
                matches!(right, Right::Number | Right::TextOrNumber)
            }
            // An id is a number behind its text; patterns have no place there.
            Op::Like | Op::ILike => {
                right != Right::Number && *field != Field::Attribute("experiment_id")
            }
            Op::In | Op::NotIn => right == Right::TextOrList,
            Op::IsNull | Op::IsNotNull => {
                self.null_tests
                    && matches!(
                        field,
                        Field::Tag(_)
                            | Field::Param(_)
                            | Field::Assessment("feedback" | "expectation", _)
                    )
            }
        };
        let issue = matches!(field, Field::Assessment("issue", _));
        if allowed && !(issue && op != Op::Eq) {
            return Ok(());
        }
        let name = match field {
            Field::Attribute(name) => format!("attribute '{name}'"),
            Field::Metric(key) => format!("metric '{key}'"),
            Field::Param(key) => format!("parameter '{key}'"),
            Field::Tag(key) => format!("tag '{key}'"),
            Field::Dataset(key) => format!("dataset '{key}'"),
            Field::Span(key) => format!("span '{key}'"),
            Field::Assessment(kind, key) => format!("{kind} '{key}'"),
        };
        Err(FilterError(format!(
            "Invalid comparator '{}' for {name}",
            op.as_str()
        )))
    }
}
