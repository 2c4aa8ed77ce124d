//! Where artifacts are kept, as `--artifacts-destination` says it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where artifacts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A folder; it is created where it is missing.
    Folder(PathBuf),
    /// `s3://bucket/prefix`; the bucket must exist.
    S3 {
        /// The bucket.
        bucket: String,
        /// What every key begins with, without slashes at either end; may be empty.
        prefix: String,
    },
}

/// A destination that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DestinationError(String);

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let refuse = |why: String| Err(DestinationError(why));
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "" => refuse("an empty destination".to_owned()),
                // MLflow's own spelling of a folder.
                _ => Ok(Self::Folder(
                    text.strip_prefix("file:").unwrap_or(text).into(),
                )),
            };
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => match rest.strip_prefix("localhost").unwrap_or(rest) {
                path if path.starts_with('/') => Ok(Self::Folder(path.into())),
                _ => refuse(format!("`{text}` must have an absolute path")),
            },
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if !is_bucket(bucket) {
                    return refuse(format!("`{bucket}` is no name of a bucket"));
                }
                let prefix = prefix.trim_matches('/');
                let plain =
                    super::ArtifactPath::parse(prefix).is_ok_and(|path| path.to_string() == prefix);
                if !plain {
                    return refuse(format!("`{prefix}` can't be the prefix of keys"));
                }
                Ok(Self::S3 {
                    bucket: bucket.to_owned(),
                    prefix: prefix.to_owned(),
                })
            }
            // The text may hold a password: only the scheme is repeated.
            other => refuse(format!(
                "artifacts can't be kept in `{other}://…`: give a folder or s3://bucket/prefix"
            )),
        }
    }
}

fn is_bucket(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte)
        })
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
}

impl From<PathBuf> for Destination {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl From<&Path> for Destination {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_buckets_are_read() {
        let s3 = |bucket: &str, prefix: &str| Destination::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        for (text, expected) in [
            (
                "foreshock/artifacts",
                Destination::Folder("foreshock/artifacts".into()),
            ),
            ("/srv/a b", Destination::Folder("/srv/a b".into())),
            ("file:///srv/a", Destination::Folder("/srv/a".into())),
            ("file:/srv/a", Destination::Folder("/srv/a".into())),
            ("s3://models", s3("models", "")),
            ("S3://models/", s3("models", "")),
            ("s3://models/team/a/", s3("models", "team/a")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert_eq!(s3("models", "a").to_string(), "s3://models/a");
    }

    #[test]
    fn what_is_neither_is_refused_without_its_password() {
        for text in [
            "",
            "file://host/a",
            "s3://",
            "s3://UPPER/a",
            "s3://user:secret@host/a",
            "s3://models/../a",
            "s3://models/a//b",
            "gs://bucket/a",
            "ftp://user:secret@host/a",
            "mlflow-artifacts:///a",
        ] {
            let error = text.parse::<Destination>().unwrap_err().to_string();
            assert!(
                text.starts_with("s3:") || !error.contains("secret"),
                "{error}"
            );
        }
    }
}
