//! MLflow's limits and rules for names.

use mlflow_api::types::{KeyValue, Metric};

use super::error::ApiError;
use crate::artifacts::ArtifactStore;

const MAX_KEY: usize = 250;
const MAX_PARAM_VALUE: usize = 6000;
const MAX_TAG_VALUE: usize = 8000;
const MAX_EXPERIMENT_TAG_VALUE: usize = 20_000;
const MAX_EXPERIMENT_NAME: usize = 500;
const MAX_REGISTRY_TAG_VALUE: usize = 100_000;
const MAX_ALIAS: usize = 255;
const MAX_ARTIFACT_LOCATION: usize = 2048;
const MAX_METRICS: usize = 1000;
const MAX_PARAMS_OR_TAGS: usize = 100;
const MAX_ENTITIES: usize = 1000;

type Checked = Result<(), ApiError>;

/// A parameter that must be there.
pub(super) fn required(parameter: &str, value: &str) -> Checked {
    if value.is_empty() {
        Err(ApiError::missing(parameter))
    } else {
        Ok(())
    }
}

/// The run, by either of its names.
pub(super) fn run_id(run_id: Option<String>, run_uuid: Option<String>) -> Result<String, ApiError> {
    run_id
        .or(run_uuid)
        .filter(|id| !id.is_empty())
        .ok_or_else(|| ApiError::missing("run_id"))
}

/// A page's size: `default` when absent, 1 to `max`.
pub(super) fn max_results(given: Option<i64>, default: i64, max: i64) -> Result<i64, ApiError> {
    let value = given.unwrap_or(default);
    if (1..=max).contains(&value) {
        Ok(value)
    } else {
        Err(ApiError::invalid(format!(
            "Invalid value {value} for parameter 'max_results' supplied: It must be a positive \
             integer that is at most {max}."
        )))
    }
}

/// The name of a metric, a parameter or a tag.
pub(super) fn key(kind: &str, key: &str) -> Checked {
    if key.is_empty() {
        return Err(ApiError::missing(kind));
    }
    let count = key.chars().count();
    if count > MAX_KEY {
        return Err(ApiError::invalid(format!(
            "'{kind}' exceeds the maximum length of {MAX_KEY} characters: it has {count}"
        )));
    }
    if !key
        .chars()
        .all(|c| c.is_alphanumeric() || "_-. :/".contains(c))
    {
        return Err(ApiError::invalid(format!(
            "Invalid value \"{key}\" for parameter '{kind}' supplied: Names may only contain \
             alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and \
             slashes (/)."
        )));
    }
    // A name is a path in other stores: it must have one spelling and stay where it is.
    if !is_plain_path(key) {
        return Err(ApiError::invalid(format!(
            "Invalid value \"{key}\" for parameter '{kind}' supplied: Names may be treated as \
             files in certain cases, and must not resolve to other names when treated as such."
        )));
    }
    Ok(())
}

fn is_plain_path(name: &str) -> bool {
    !name.split('/').any(|part| matches!(part, "" | "." | ".."))
}

fn truncate(text: &mut String, limit: usize) {
    if let Some((at, _)) = text.char_indices().nth(limit) {
        text.truncate(at);
    }
}

/// A point of a metric.
pub(super) fn metric(metric: &Metric) -> Checked {
    key("key", &metric.key)
}

/// A parameter; a long text is cut, as MLflow does by default.
pub(super) fn param(param: &mut KeyValue) -> Checked {
    key("key", &param.key)?;
    truncate(&mut param.value, MAX_PARAM_VALUE);
    Ok(())
}

/// A run's tag; a long text is cut, as MLflow does by default.
pub(super) fn tag(tag: &mut KeyValue) -> Checked {
    key("key", &tag.key)?;
    truncate(&mut tag.value, MAX_TAG_VALUE);
    Ok(())
}

/// A tag that a run is created with: MLflow looks at the names of later ones only, and clients
/// begin runs with whatever their users name.
pub(super) fn first_tag(tag: &mut KeyValue) -> Checked {
    required("key", &tag.key)?;
    at_most("key", &tag.key, MAX_KEY)?;
    truncate(&mut tag.value, MAX_TAG_VALUE);
    Ok(())
}

/// An experiment's tag.
pub(super) fn experiment_tag(tag: &KeyValue) -> Checked {
    key("key", &tag.key)?;
    at_most("value", &tag.value, MAX_EXPERIMENT_TAG_VALUE)
}

/// A tag of a registered model or of a version.
pub(super) fn registry_tag(tag: &KeyValue) -> Checked {
    key("key", &tag.key)?;
    at_most("value", &tag.value, MAX_REGISTRY_TAG_VALUE)
}

pub(super) fn at_most(parameter: &str, text: &str, limit: usize) -> Checked {
    let count = text.chars().count();
    if count > limit {
        return Err(ApiError::invalid(format!(
            "'{parameter}' exceeds the maximum length of {limit} characters: it has {count}"
        )));
    }
    Ok(())
}

/// What `log-batch` takes at once.
pub(super) fn batch(metrics: &[Metric], params: &mut [KeyValue], tags: &mut [KeyValue]) -> Checked {
    let total = metrics.len() + params.len() + tags.len();
    for (what, count, limit) in [
        ("metrics", metrics.len(), MAX_METRICS),
        ("params", params.len(), MAX_PARAMS_OR_TAGS),
        ("tags", tags.len(), MAX_PARAMS_OR_TAGS),
        ("metrics, params, and tags", total, MAX_ENTITIES),
    ] {
        if count > limit {
            return Err(ApiError::invalid(format!(
                "A batch logging request can contain at most {limit} {what}. Got {count} {what}. \
                 Please split up {what} across multiple requests and try again."
            )));
        }
    }
    metrics.iter().try_for_each(metric)?;
    params.iter_mut().try_for_each(param)?;
    tags.iter_mut().try_for_each(tag)?;
    let mut sorted: Vec<&KeyValue> = params.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    for pair in sorted.windows(2) {
        if pair[0].key == pair[1].key {
            return Err(ApiError::invalid(format!(
                "Duplicate parameter keys have been submitted: ['{}']. Please ensure the request \
                 contains only one param value per param key.",
                pair[0].key
            )));
        }
    }
    Ok(())
}

/// An experiment's name.
pub(super) fn experiment_name(name: &str) -> Checked {
    required("name", name)?;
    at_most("name", name, MAX_EXPERIMENT_NAME)
}

/// Where an experiment's artifacts live: in the server's own store, or in a bucket that clients go
/// to themselves.
pub(super) fn artifact_location(store: &ArtifactStore, location: &str) -> Checked {
    if location.contains(['#', ';', '?']) {
        return Err(ApiError::invalid(
            "'artifact_location' URL can't include fragments or params.",
        ));
    }
    at_most("artifact_location", location, MAX_ARTIFACT_LOCATION)?;
    if store.takes_location(location)? {
        Ok(())
    } else {
        Err(ApiError::invalid(format!(
            "Invalid artifact location '{location}': this server keeps artifacts itself, under \
             mlflow-artifacts:/"
        )))
    }
}

/// A registered model's name.
pub(super) fn model_name(name: &str) -> Checked {
    if name.trim().is_empty() {
        return Err(ApiError::missing("name"));
    }
    if name.contains(['/', ':']) {
        return Err(ApiError::invalid(format!(
            "Invalid model name '{name}'. Names cannot contain '/' or ':'."
        )));
    }
    if !is_plain_path(name) {
        return Err(ApiError::invalid(format!("Invalid model name '{name}'.")));
    }
    at_most("name", name, 256)
}

/// A version: text on the wire.
pub(super) fn version(version: &str) -> Result<i64, ApiError> {
    required("version", version)?;
    version.parse().map_err(|_| {
        ApiError::invalid(format!(
            "Parameter 'version' must be an integer, got '{version}'."
        ))
    })
}

/// An alias that is looked up or deleted.
pub(super) fn alias(alias: &str) -> Checked {
    if alias.is_empty() {
        return Err(ApiError::invalid(
            "Registered model alias name cannot be empty.",
        ));
    }
    if !alias
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
    {
        return Err(ApiError::invalid(format!(
            "Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores \
             (_), and dashes (-)."
        )));
    }
    at_most("alias", alias, MAX_ALIAS)
}

/// An alias that is set: not one that means something else already.
pub(super) fn new_alias(name: &str) -> Checked {
    alias(name)?;
    if name.eq_ignore_ascii_case("latest") {
        return Err(ApiError::invalid(
            "'latest' alias name (case insensitive) is reserved.",
        ));
    }
    let digits = name.strip_prefix(['v', 'V']).unwrap_or_default();
    if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) {
        return Err(ApiError::invalid(format!(
            "Version aliases (e.g. '{name}') are reserved."
        )));
    }
    Ok(())
}

/// A stage, in whatever case, as it is stored.
pub(super) fn stage(stage: &str) -> Result<String, ApiError> {
    ["None", "Staging", "Production", "Archived"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(stage))
        .map(str::to_owned)
        .ok_or_else(|| {
            ApiError::invalid(format!(
                "Invalid Model Version stage: {stage}. Value must be one of None, Staging, \
                 Production, Archived."
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_mlflow() {
        for good in ["a", "a/b", "a b.c-d:e_f", "größe", "mlflow.runName"] {
            assert!(key("key", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a//b",
            "/a",
            "../a",
            ".",
            "a/",
            "a\u{7}",
            "a;b",
            "a'b",
            &"x".repeat(251),
        ] {
            assert!(key("key", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn long_texts_are_cut_at_characters() {
        let mut long = KeyValue::new("a", "ä".repeat(7000));
        param(&mut long).unwrap();
        assert_eq!(long.value.chars().count(), MAX_PARAM_VALUE);
    }

    #[test]
    fn reserved_aliases_are_refused() {
        for bad in ["latest", "LATEST", "v1", "V22", "a b", ""] {
            assert!(new_alias(bad).is_err(), "{bad}");
        }
        assert!(
            new_alias("champion").is_ok() && new_alias("v").is_ok() && new_alias("v1a").is_ok()
        );
    }
}
