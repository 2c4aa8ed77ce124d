//! Which model is meant.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A model as MLflow names them, or one on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelUri {
    /// `models:/NAME@ALIAS`
    Alias {
        /// The registered model.
        name: String,
        /// The alias.
        alias: String,
    },
    /// `models:/NAME/VERSION`
    Version {
        /// The registered model.
        name: String,
        /// The version.
        version: String,
    },
    /// A model's folder, or its native file.
    Path(PathBuf),
}

impl FromStr for ModelUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(rest) = text.strip_prefix("models:/") else {
            return match text.is_empty() || text.contains("://") {
                true => Err(format!(
                    "`{text}` is no model; write models:/NAME@ALIAS, models:/NAME/VERSION or a path"
                )),
                false => Ok(Self::Path(text.into())),
            };
        };
        let refuse = || {
            format!(
                "`{text}` names no version of a model; write models:/NAME@ALIAS or models:/NAME/VERSION"
            )
        };
        if let Some((name, alias)) = rest.rsplit_once('@')
            && !name.is_empty()
            && !alias.is_empty()
            && !alias.contains('/')
        {
            return Ok(Self::Alias {
                name: name.to_owned(),
                alias: alias.to_owned(),
            });
        }
        let (name, version) = rest.rsplit_once('/').ok_or_else(refuse)?;
        let is_number = version.parse::<u64>().is_ok_and(|number| number > 0);
        if name.is_empty() || !is_number {
            return Err(refuse());
        }
        Ok(Self::Version {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }
}

impl fmt::Display for ModelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alias { name, alias } => write!(f, "models:/{name}@{alias}"),
            Self::Version { name, version } => write!(f, "models:/{name}/{version}"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_mlflow_reads_them() {
        let alias = "models:/market-anomaly@champion";
        let version = "models:/market-anomaly/12";
        for text in [alias, version, "runs/model.foreshock"] {
            assert_eq!(text.parse::<ModelUri>().unwrap().to_string(), text);
        }
        assert!(matches!(alias.parse(), Ok(ModelUri::Alias { .. })));
        assert!(matches!(version.parse(), Ok(ModelUri::Version { .. })));
        for text in [
            "",
            "models:/",
            "models:/m",
            "models:/m/latest",
            "models:/@a",
            "models:/m@",
            "s3://b/m",
            "models:/m/0",
        ] {
            assert!(text.parse::<ModelUri>().is_err(), "{text}");
        }
    }
}
