//! Models that are in the registry, whoever made them.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use detectors::{DetectorSet, Model};
use mlflow_api::types::ModelVersion;
use onnx_runtime::{ScoreRule, ScoringModel, Signature};
use serde_yaml_ng::Value;

use super::Tracking;
use crate::exit::Environment;

/// Which version of which model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelUri {
    /// `models:/NAME/VERSION`
    Version(String, String),
    /// `models:/NAME@ALIAS`
    Alias(String, String),
}

impl ModelUri {
    /// Reads it.
    ///
    /// # Errors
    /// An [`Environment`] error for anything else.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let parsed = text.strip_prefix("models:/").and_then(|rest| {
            let alias = rest
                .rsplit_once('@')
                .filter(|(name, _)| !name.contains('/'));
            match (alias, rest.rsplit_once('/')) {
                (Some((name, alias)), _) => Some(Self::Alias(name.to_owned(), alias.to_owned())),
                (None, Some((name, version))) if version.parse::<u64>().is_ok() => {
                    Some(Self::Version(name.to_owned(), version.to_owned()))
                }
                _ => None,
            }
        });
        let whole = |uri: &Self| match uri {
            Self::Version(name, part) | Self::Alias(name, part) => {
                !name.is_empty() && !part.is_empty()
            }
        };
        parsed.filter(whole).ok_or_else(|| {
            Environment(format!(
                "`{text}` names no model; models:/NAME/VERSION or models:/NAME@ALIAS is needed"
            ))
            .into()
        })
    }
}

/// What can score.
#[derive(Debug)]
pub enum Content {
    /// A model of ours.
    Native(Box<Model>),
    /// A graph.
    Onnx(Box<Graph>),
}

/// A graph and what is said of it.
#[derive(Debug)]
pub struct Graph {
    /// What scores.
    pub model: ScoringModel,
    /// The names of its columns, if they have some.
    pub names: Option<Vec<String>>,
    /// The file's name in the model's folder.
    pub path: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// The signature's inputs, JSON.
    pub inputs: String,
    /// What was said of its score: keys of [`ScoreRule`].
    pub said: BTreeMap<String, String>,
}

/// A version of a registered model.
#[derive(Debug)]
pub struct Registered {
    /// The model's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// The run that made it, if it is known.
    pub run_id: Option<String>,
    /// Where its files are.
    pub folder: String,
    /// Its `MLmodel`.
    pub mlmodel: Value,
    /// What scores.
    pub content: Content,
}

/// Fetches a version and makes it ready to score; the native flavor where there is one, else `onnx`.
///
/// # Errors
/// When there is no such version, it has no flavor that can be used, or what it holds is refused.
pub fn fetch(tracking: &Tracking, uri: &ModelUri) -> anyhow::Result<Registered> {
    let found = match uri {
        ModelUri::Version(name, version) => {
            tracking.call(|client| async move { client.get_model_version(name, version).await })
        }
        ModelUri::Alias(name, alias) => {
            tracking.call(|client| async move { client.get_by_alias(name, alias).await })
        }
    };
    let version = found.context("the registry has no such model version")?;
    let (name, number) = (version.name.as_str(), version.version.as_str());
    let folder =
        tracking.call(|client| async move { client.get_download_uri(name, number).await })?;
    let download = |path: &str| {
        let (uri, wanted) = (folder.as_str(), path.to_owned());
        tracking
            .call(|client| async move { client.download_artifact(uri, &wanted).await })
            .with_context(|| format!("version {number} of {name} has no file `{path}`"))
    };
    let text = download("MLmodel")?;
    let mlmodel: Value = serde_yaml_ng::from_slice(&text)
        .with_context(|| format!("the MLmodel of version {number} of {name} is no YAML"))?;
    let data = |flavor: &str, default: &str| {
        let flavor = &mlmodel["flavors"][flavor];
        (!flavor.is_null()).then(|| flavor["data"].as_str().unwrap_or(default).to_owned())
    };
    let native = match data("foreshock", "model.foreshock") {
        None => None,
        Some(path) => {
            let model = Model::from_bytes(&download(&path)?)
                .with_context(|| format!("`{path}` of version {number} of {name} is refused"))?;
            // Of a graph that was adopted the graph itself is judged.
            (!matches!(model.detectors, DetectorSet::External(_))).then_some(model)
        }
    };
    let content = if let Some(model) = native {
        Content::Native(Box::new(model))
    } else if let Some(path) = data("onnx", "model.onnx") {
        let bytes = download(&path)?;
        let graph = onnx(path.clone(), bytes.into(), &mlmodel, &version)
            .with_context(|| format!("`{path}` of version {number} of {name} is refused"))?;
        Content::Onnx(Box::new(graph))
    } else {
        let flavors = mlmodel["flavors"].as_mapping();
        let names = flavors.into_iter().flat_map(|flavors| flavors.keys());
        let names: Vec<&str> = names.filter_map(Value::as_str).collect();
        bail!(
            "version {number} of {name} has neither the flavor `foreshock` nor `onnx`; it has {}",
            names.join(", ")
        );
    };
    Ok(Registered {
        name: name.to_owned(),
        version: number.to_owned(),
        run_id: version.run_id.clone().filter(|id| !id.is_empty()),
        folder,
        mlmodel,
        content,
    })
}

fn onnx(
    path: String,
    bytes: Vec<u8>,
    mlmodel: &Value,
    version: &ModelVersion,
) -> anyhow::Result<Graph> {
    let inputs = mlmodel["signature"]["inputs"].as_str();
    let inputs = inputs.context(
        "its MLmodel has no signature: log the model with one, so that its columns are known",
    )?;
    let signature = Signature::from_json(inputs)?;
    // A version's tags can be set later, so they win.
    let said = |key: &str| {
        let tag = version.tags.iter().find(|tag| tag.key == key);
        tag.map(|tag| tag.value.clone()).or_else(|| {
            let value = &mlmodel["metadata"][key];
            let text = value.as_str().map(str::to_owned);
            text.or_else(|| value.as_i64().map(|number| number.to_string()))
        })
    };
    let said: BTreeMap<String, String> = ScoreRule::KEYS
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), said(key)?)))
        .collect();
    let rule = ScoreRule::from_keys(|key| said.get(key).map(String::as_str))?;
    Ok(Graph {
        model: ScoringModel::load(&bytes, &signature, &rule)?,
        names: signature.column_names(),
        path,
        bytes,
        inputs: inputs.to_owned(),
        said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_a_version_or_an_alias() {
        let uri = |text: &str| ModelUri::parse(text).ok();
        let (name, of) = ("a b".to_owned(), |text: &str| text.to_owned());
        assert_eq!(
            uri("models:/a b/3"),
            Some(ModelUri::Version(name.clone(), of("3")))
        );
        assert_eq!(
            uri("models:/a b@champion"),
            Some(ModelUri::Alias(name, of("champion")))
        );
        for bad in [
            "",
            "a/3",
            "models:/a",
            "models:/a/x",
            "models:/@b",
            "models:/a@",
            "models://3",
        ] {
            assert_eq!(uri(bad), None, "{bad}");
        }
    }
}
