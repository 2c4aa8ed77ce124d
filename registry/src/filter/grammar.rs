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
    /// Words before the dot that mean a metric, a parameter, a tag, an attribute.
    metrics: &'static [&'static str],
    params: &'static [&'static str],
    tags: &'static [&'static str],
    prefixes: &'static [&'static str],
    /// Whether tags and parameters can be asked for presence.
    null_tests: bool,
    /// Whether only attributes can be sorted by.
    order_by_attributes_only: bool,
}

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
    prefixes: &["attribute", "attributes"],
    null_tests: false,
    order_by_attributes_only: false,
};

/// What may stand on the right of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Text,
    TextOrList,
    Number,
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
        } else if self.prefixes.contains(&prefix) {
            return self.attribute(key, order);
        } else {
            let valid: Vec<_> = [self.metrics, self.params, self.tags, self.prefixes].concat();
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
            Op::Lt | Op::Le | Op::Gt | Op::Ge => right == Right::Number,
            // An id is a number behind its text; patterns have no place there.
            Op::Like | Op::ILike => {
                right != Right::Number && *field != Field::Attribute("experiment_id")
            }
            Op::In | Op::NotIn => right == Right::TextOrList,
            Op::IsNull | Op::IsNotNull => {
                self.null_tests && matches!(field, Field::Tag(_) | Field::Param(_))
            }
        };
        if allowed {
            return Ok(());
        }
        let name = match field {
            Field::Attribute(name) => format!("attribute '{name}'"),
            Field::Metric(key) => format!("metric '{key}'"),
            Field::Param(key) => format!("parameter '{key}'"),
            Field::Tag(key) => format!("tag '{key}'"),
        };
        Err(FilterError(format!(
            "Invalid comparator '{}' for {name}",
            op.as_str()
        )))
    }
}
