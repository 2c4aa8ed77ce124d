//! What can go wrong with history files, always with the file (or URI) and, for content, the row.

use std::io;

/// Why a history file could not be found, read or written.
///
/// Messages name the file or URI, never a credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The location's text makes no sense.
    #[error("`{location}` is not a usable location: {reason}")]
    InvalidLocation {
        /// The text as given.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file, folder, bucket or key does not exist.
    #[error("`{uri}` does not exist{hint}")]
    NotFound {
        /// What was looked for.
        uri: String,
        /// Near names, or what the folder holds; empty or beginning with punctuation.
        hint: String,
    },
    /// A glob, folder or prefix that holds no history file.
    #[error("`{uri}` matches no file{hint}")]
    NoMatch {
        /// The glob, folder or prefix.
        uri: String,
        /// What was there instead; empty or beginning with punctuation.
        hint: String,
    },
    /// An `s3://` URI, but no credentials to reach it with.
    #[error(
        "no credentials for `{uri}`: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \
         (or AWS_SKIP_SIGNATURE=true for a public bucket)"
    )]
    NoCredentials {
        /// What was to be reached.
        uri: String,
    },
    /// The store refused the credentials or what they may do.
    #[error("access to `{uri}` was denied: the credentials are wrong or lack the permission")]
    AccessDenied {
        /// What was to be reached.
        uri: String,
    },
    /// The object store failed in another way.
    #[error("could not {action} `{uri}`")]
    Store {
        /// The URI.
        uri: String,
        /// What was being done, as a verb.
        action: &'static str,
        /// The store's own report.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A local file operation failed: permissions, a full disk, ….
    #[error("could not {action} `{uri}`")]
    Io {
        /// The file.
        uri: String,
        /// What was being done, as a verb.
        action: &'static str,
        /// The operating system's report.
        #[source]
        source: io::Error,
    },
    /// The file is not of the format that its name or the options say.
    #[error("`{uri}`: {reason}")]
    Format {
        /// The file.
        uri: String,
        /// What is wrong.
        reason: String,
    },
    /// A row that cannot be accepted.
    #[error("`{uri}` row {row}: {reason}")]
    Row {
        /// The file.
        uri: String,
        /// Text files: the 1-based line, a header counted. Parquet: the 1-based row.
        row: u64,
        /// What is wrong with it, naming the column and the value.
        reason: String,
    },
    /// A column that the job needs and the file lacks.
    #[error("`{uri}` has no column `{column}`{hint}")]
    MissingColumn {
        /// The file.
        uri: String,
        /// The column looked for.
        column: String,
        /// Near names, or all names; empty or beginning with punctuation.
        hint: String,
    },
    /// Candles where trades were asked for, or the other way round.
    #[error("`{uri}` looks like {found}, not like {wanted}: {evidence}")]
    OtherContent {
        /// The file.
        uri: String,
        /// What was asked for: `trades` or `candles`.
        wanted: &'static str,
        /// What it looks like.
        found: &'static str,
        /// What makes it look so.
        evidence: String,
    },
    /// A symbol that was asked for and has no row in the files and the time range.
    #[error("no row of symbol `{symbol}` in `{uri}`{others}{hint}")]
    MissingSymbol {
        /// The first file.
        uri: String,
        /// Word of the files besides; empty if there is none.
        others: String,
        /// The symbol.
        symbol: String,
        /// Near names, or the symbols that there are; empty or beginning with punctuation.
        hint: String,
    },
    /// A column of a type that cannot serve.
    #[error("`{uri}` column `{column}` is {found}, but {expected} is needed")]
    ColumnType {
        /// The file.
        uri: String,
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// Polars could not read or write the file.
    #[error("could not {action} `{uri}`")]
    Parquet {
        /// The file.
        uri: String,
        /// What was being done, as a verb.
        action: &'static str,
        /// Polars' own report.
        #[source]
        source: polars::error::PolarsError,
    },
    /// The caller's own data cannot be written.
    #[error("cannot write `{uri}`: {reason}")]
    InvalidContent {
        /// The file that was to be written.
        uri: String,
        /// What is wrong with the content.
        reason: String,
    },
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, HistoryError>;

impl HistoryError {
    /// Whether the place of the data is at fault (no credentials, no answer, not writable, full),
    /// as opposed to the data.
    pub fn is_environment(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match self {
            Self::NoCredentials { .. } | Self::AccessDenied { .. } | Self::Store { .. } => true,
            Self::Io { action, source, .. } => {
                matches!(*action, "create" | "write")
                    || matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
            }
            _ => false,
        }
    }

    pub(crate) fn io(uri: impl Into<String>, action: &'static str, source: io::Error) -> Self {
        Self::Io {
            uri: uri.into(),
            action,
            source,
        }
    }

    pub(crate) fn format(uri: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Format {
            uri: uri.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn row(uri: impl Into<String>, row: u64, reason: impl Into<String>) -> Self {
        Self::Row {
            uri: uri.into(),
            row,
            reason: reason.into(),
        }
    }

    pub(crate) fn parquet(
        uri: impl Into<String>,
        action: &'static str,
        source: polars::error::PolarsError,
    ) -> Self {
        Self::Parquet {
            uri: uri.into(),
            action,
            source,
        }
    }

    /// Translates an object store's report on `uri` once, here, so that callers can match on it.
    pub(crate) fn store(uri: &str, action: &'static str, source: object_store::Error) -> Self {
        use object_store::Error as E;
        let uri = uri.to_owned();
        match source {
            E::NotFound { .. } => Self::NotFound {
                uri,
                hint: String::new(),
            },
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Self::AccessDenied { uri },
            source => match status_of(&source) {
                Some(401 | 403) => Self::AccessDenied { uri },
                Some(404) => Self::NotFound {
                    uri,
                    hint: String::new(),
                },
                _ => Self::Store {
                    uri,
                    action,
                    source: Box::new(source),
                },
            },
        }
    }
}

/// The HTTP status of a failed request. For listings `object_store` 0.13 keeps it in the text of
/// its private error type only.
fn status_of(error: &object_store::Error) -> Option<u16> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if let Some((_, rest)) = text.split_once("status code: ") {
            return rest.get(..3)?.parse().ok();
        }
        cause = error.source();
    }
    None
}

/// `; did you mean …?` with the names nearest to `wanted`, else what there is (at most ten), else
/// nothing.
pub(crate) fn near_names<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let mut near: Vec<(f64, &str)> = names
        .iter()
        .map(|name| {
            let likeness = strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase());
            (likeness, *name)
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    if !near.is_empty() {
        let near: Vec<String> = near
            .iter()
            .take(3)
            .map(|(_, name)| format!("`{name}`"))
            .collect();
        return format!("; did you mean {}?", near.join(" or "));
    }
    if names.is_empty() {
        return String::new();
    }
    let mut listed: Vec<String> = names
        .iter()
        .take(10)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > listed.len() {
        listed.push(format!("{} more", names.len() - listed.len()));
    }
    format!("; there is {}", listed.join(", "))
}
