//! What each resource lets a search compare and sort by.

use super::{Field, FilterError, Op};

/// How an attribute is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A text that may be compared with a list.
    TextOrList,
    /// A number behind its text: equal or not, or one of a list.
    Id,
    Number,
    /// A number without a fraction.
    Integer,
}

/// How an order is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderSyntax {
    /// `metrics.auc DESC`: whatever can be compared, sorted.
    Anything,
    /// `name DESC`: attributes only.
    Attributes,
    /// `metrics.auc`, as it stands: the direction has a field of its own.
    BareField,
}

/// What a resource lets a search compare and sort by.
#[derive(Debug)]
pub struct Grammar {
    /// (name in the filter, canonical name, kind).
    attributes: &'static [(&'static str, &'static str, Kind)],
    /// (name in an order, canonical name).
    orders: &'static [(&'static str, &'static str)],
    pub(super) order_syntax: OrderSyntax,
    /// Words before the dot that mean a metric, a parameter, a tag, a dataset, an attribute.
    metrics: &'static [&'static str],
    params: &'static [&'static str],
    tags: &'static [&'static str],
    datasets: &'static [&'static str],
    prefixes: &'static [&'static str],
    /// Whether tags and parameters can be asked for presence.
    null_tests: bool,
    /// Whether tags and parameters can be compared with lists.
    lists_of_texts: bool,
    /// Whether spans and assessments can be asked for.
    traces: bool,
}

/// What a dataset is known by.
const DATASET_KEYS: [&str; 3] = ["name", "digest", "context"];

const METRICS: &[&str] = &["metric", "metrics"];
const PARAMS: &[&str] = &["parameter", "parameters", "param", "params"];
const TAGS: &[&str] = &["tag", "tags"];

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
    orders: &[
        ("run_id", "run_id"),
        ("run_name", "run_name"),
        ("run name", "run_name"),
        ("Run name", "run_name"),
        ("Run Name", "run_name"),
        ("user_id", "user_id"),
        ("status", "status"),
        ("artifact_uri", "artifact_uri"),
        ("start_time", "start_time"),
        ("created", "start_time"),
        ("Created", "start_time"),
        ("end_time", "end_time"),
    ],
    order_syntax: OrderSyntax::Anything,
    metrics: METRICS,
    params: PARAMS,
    tags: TAGS,
    datasets: &["dataset", "datasets"],
    prefixes: &["attribute", "attributes", "attr", "run"],
    null_tests: true,
    lists_of_texts: false,
    traces: false,
};

/// `experiments/search`.
pub const EXPERIMENTS: Grammar = Grammar {
    attributes: &[
        ("name", "name", Kind::Text),
        ("experiment_id", "experiment_id", Kind::Id),
        ("creation_time", "creation_time", Kind::Integer),
        ("last_update_time", "last_update_time", Kind::Integer),
    ],
    orders: &[
        ("name", "name"),
        ("experiment_id", "experiment_id"),
        ("creation_time", "creation_time"),
        ("last_update_time", "last_update_time"),
    ],
    order_syntax: OrderSyntax::Attributes,
    metrics: &[],
    params: &[],
    tags: TAGS,
    datasets: &[],
    prefixes: &["attribute"],
    null_tests: true,
    lists_of_texts: false,
    traces: false,
};

/// `registered-models/search`.
pub const REGISTERED_MODELS: Grammar = Grammar {
    attributes: &[("name", "name", Kind::TextOrList)],
    orders: &[
        ("name", "name"),
        ("timestamp", "last_updated_timestamp"),
        ("last_updated_timestamp", "last_updated_timestamp"),
        // MLflow's store of files sorts by it, its store of databases doesn't.
        ("creation_timestamp", "creation_timestamp"),
    ],
    order_syntax: OrderSyntax::Attributes,
    metrics: &[],
    params: &[],
    tags: TAGS,
    datasets: &[],
    prefixes: &["attribute"],
    null_tests: false,
    lists_of_texts: false,
    traces: false,
};

/// `model-versions/search`.
pub const MODEL_VERSIONS: Grammar = Grammar {
    attributes: &[
        ("name", "name", Kind::TextOrList),
        ("version_number", "version", Kind::Integer),
        ("run_id", "run_id", Kind::TextOrList),
        ("source_path", "source", Kind::Text),
    ],
    orders: &[
        ("name", "name"),
        ("version_number", "version"),
        ("creation_timestamp", "creation_timestamp"),
        ("last_updated_timestamp", "last_updated_timestamp"),
    ],
    order_syntax: OrderSyntax::Attributes,
    metrics: &[],
    params: &[],
    tags: TAGS,
    datasets: &[],
    prefixes: &["attribute"],
    null_tests: false,
    lists_of_texts: false,
    traces: false,
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
    orders: &[
        ("model_id", "model_id"),
        ("name", "name"),
        ("model_type", "model_type"),
        ("status", "status"),
        ("source_run_id", "source_run_id"),
        ("creation_timestamp", "creation_timestamp_ms"),
        ("creation_time", "creation_timestamp_ms"),
        ("last_updated_timestamp", "last_updated_timestamp_ms"),
    ],
    order_syntax: OrderSyntax::BareField,
    metrics: &["metrics"],
    params: &["params"],
    tags: &["tags"],
    datasets: &[],
    prefixes: &["attributes"],
    null_tests: false,
    lists_of_texts: true,
    traces: false,
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
    ],
    orders: &[
        ("experiment_id", "experiment_id"),
        ("timestamp", "timestamp_ms"),
        ("timestamp_ms", "timestamp_ms"),
        ("execution_time", "execution_time_ms"),
        ("execution_time_ms", "execution_time_ms"),
        ("end_time", "end_time_ms"),
        ("end_time_ms", "end_time_ms"),
        ("status", "status"),
        ("request_id", "trace_id"),
        ("name", "name"),
        ("run_id", "run_id"),
    ],
    order_syntax: OrderSyntax::Anything,
    metrics: &[],
    params: &["request_metadata", "metadata"],
    tags: TAGS,
    datasets: &[],
    prefixes: &["attribute", "attributes", "trace"],
    null_tests: true,
    lists_of_texts: false,
    traces: true,
};

/// What may stand on the right of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Text,
    TextOrList,
    Id,
    Number,
    Integer,
    TextOrNumber,
}

impl Right {
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Number | Self::Integer)
    }
}

impl Grammar {
    /// The field that `prefix.key` or a lone `key` names in a filter.
    pub(super) fn field(
        &self,
        prefix: Option<&str>,
        key: &str,
    ) -> Result<(Field, Right), FilterError> {
        let text = if self.lists_of_texts {
            Right::TextOrList
        } else {
            Right::Text
        };
        match self.entity(prefix, key)? {
            Some(field @ Field::Metric(_)) => Ok((field, Right::Number)),
            Some(field @ (Field::Dataset(_) | Field::Span(_))) => Ok((field, Right::TextOrList)),
            Some(field @ Field::Assessment(..)) => Ok((field, Right::TextOrNumber)),
            Some(field) => Ok((field, text)),
            None => self.attribute(key),
        }
    }

    /// The field that `prefix.key` or a lone `key` names in an order.
    pub(super) fn order_field(
        &self,
        prefix: Option<&str>,
        key: &str,
    ) -> Result<Field, FilterError> {
        let refuse = || FilterError(format!("Invalid order_by entity '{key}'"));
        match (self.entity(prefix, key)?, self.order_syntax) {
            (None, _) => self.order_attribute(key),
            (Some(field @ Field::Metric(_)), OrderSyntax::BareField) => Ok(field),
            (
                Some(
                    Field::Attribute(_)
                    | Field::Dataset(_)
                    | Field::Span(_)
                    | Field::Assessment(..),
                ),
                _,
            )
            | (Some(_), OrderSyntax::BareField | OrderSyntax::Attributes) => Err(refuse()),
            (Some(field), OrderSyntax::Anything) => Ok(field),
        }
    }

    /// A metric, a parameter, a tag or a dataset; none where an attribute is meant.
    fn entity(&self, prefix: Option<&str>, key: &str) -> Result<Option<Field>, FilterError> {
        let Some(prefix) = prefix else {
            return Ok(None);
        };
        if key.is_empty() {
            return Err(FilterError(format!("Invalid identifier '{prefix}.'")));
        }
        if self.metrics.contains(&prefix) {
            Ok(Some(Field::Metric(key.to_owned())))
        } else if self.params.contains(&prefix) {
            Ok(Some(Field::Param(key.to_owned())))
        } else if self.tags.contains(&prefix) {
            Ok(Some(Field::Tag(key.to_owned())))
        } else if self.datasets.contains(&prefix) {
            let known = DATASET_KEYS.into_iter().find(|known| *known == key);
            known.map(|key| Some(Field::Dataset(key))).ok_or_else(|| {
                FilterError(format!(
                    "Invalid dataset key '{key}' specified. Valid keys are {DATASET_KEYS:?}"
                ))
            })
        } else if self.prefixes.contains(&prefix) {
            Ok(None)
        } else if let Some(field) = self.of_traces(prefix, key)? {
            Ok(Some(field))
        } else {
            let valid: Vec<_> = [
                self.metrics,
                self.params,
                self.tags,
                self.datasets,
                self.prefixes,
            ]
            .concat();
            Err(FilterError(format!(
                "Invalid entity type '{prefix}'. Valid entity types are {valid:?}"
            )))
        }
    }

    /// A span or an assessment, where they can be asked for.
    fn of_traces(&self, prefix: &str, key: &str) -> Result<Option<Field>, FilterError> {
        if !self.traces {
            return Ok(None);
        }
        let attribute = key.strip_prefix("attributes.").unwrap_or_default();
        match prefix {
            "span"
                if attribute.is_empty()
                    && !["name", "type", "status", "content"].contains(&key) =>
            {
                Err(FilterError(format!(
                    "Invalid span attribute '{key}'. Supported attributes: content, name, status, \
                     type, attributes.<attribute_name>."
                )))
            }
            // All of a span.
            "span" if key == "content" => Ok(Some(Field::Attribute("text"))),
            "span" => Ok(Some(Field::Span(key.to_owned()))),
            "feedback" => Ok(Some(Field::Assessment("feedback", key.to_owned()))),
            "expectation" => Ok(Some(Field::Assessment("expectation", key.to_owned()))),
            "issue" if key == "id" => Ok(Some(Field::Assessment("issue", key.to_owned()))),
            "issue" => Err(FilterError(format!(
                "Invalid issue attribute '{key}'. Supported attributes: id"
            ))),
            _ => Ok(None),
        }
    }

    fn attribute(&self, key: &str) -> Result<(Field, Right), FilterError> {
        let names = || self.attributes.iter().map(|(name, ..)| *name);
        let found = self.attributes.iter().find(|(name, ..)| *name == key);
        let (_, canonical, kind) = found.ok_or_else(|| unknown_attribute(key, names()))?;
        let right = match kind {
            Kind::Text => Right::Text,
            Kind::TextOrList => Right::TextOrList,
            Kind::Id => Right::Id,
            Kind::Number => Right::Number,
            Kind::Integer => Right::Integer,
        };
        Ok((Field::Attribute(canonical), right))
    }

    fn order_attribute(&self, key: &str) -> Result<Field, FilterError> {
        let names = || self.orders.iter().map(|(name, _)| *name);
        let found = self.orders.iter().find(|(name, _)| *name == key);
        let (_, canonical) = found.ok_or_else(|| unknown_attribute(key, names()))?;
        Ok(Field::Attribute(canonical))
    }

    /// Whether a field can be compared that way.
    pub(super) fn check(&self, field: &Field, right: Right, op: Op) -> Result<(), FilterError> {
        let allowed = match op {
            Op::Eq => true,
            _ if matches!(field, Field::Assessment("issue", _)) => false,
            Op::Ne => true,
            Op::Lt | Op::Le | Op::Gt | Op::Ge => right.is_number() || right == Right::TextOrNumber,
            Op::Like | Op::ILike => {
                matches!(right, Right::Text | Right::TextOrList | Right::TextOrNumber)
            }
            Op::In | Op::NotIn => matches!(right, Right::TextOrList | Right::Id),
            Op::IsNull | Op::IsNotNull => {
                // A trace's name is a tag.
                let named = self.traces && *field == Field::Attribute("name");
                self.null_tests
                    && (named
                        || matches!(
                            field,
                            Field::Tag(_) | Field::Param(_) | Field::Assessment(..)
                        ))
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

fn unknown_attribute(key: &str, valid: impl Iterator<Item = &'static str>) -> FilterError {
    let valid: Vec<_> = valid.collect();
    FilterError(format!(
        "Invalid attribute key '{key}' specified. Valid keys are {valid:?}"
    ))
}
