//! Where history lies: a file, a folder, a glob or an `s3://` URI, and the files behind it.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::error::{HistoryError, Result, near_names};
use crate::storage::{Storage, block_on};
use crate::symbol::named_symbol;

/// A place to read history from, parsed but not yet looked at.
///
/// - a file: `data/btcusd-1m.parquet`
/// - a folder, with all files below it that end in `.csv`, `.csv.gz`, `.zip` or `.parquet`; names
///   beginning with `.` or `_` are left out
/// - a glob: `data/*-1m-2025-0?.csv.gz`, `data/**/*.parquet` (`*` and `?` stay within one folder)
/// - S3: `s3://bucket/key`, `s3://bucket/prefix/`, `s3://bucket/prefix/**/*.parquet`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Local(PathBuf),
    LocalGlob(String),
    S3 { bucket: String, key: String },
    S3Glob { bucket: String, pattern: String },
}

/// One file of history.
#[derive(Clone, Debug)]
pub struct DataObject {
    /// The path or the `s3://` URI.
    pub uri: String,
    /// Its size as stored.
    pub size_bytes: u64,
    /// The entity tag, where the store gives one (S3).
    pub etag: Option<String>,
    pub(crate) storage: Storage,
}

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// `.parquet`
    Parquet,
    /// `.csv`, and any other text
    Csv,
    /// `.csv.gz`
    CsvGz,
    /// `.zip` with CSV members, as Binance publishes its dumps
    CsvZip,
}

const ENDINGS: [(&str, FileFormat); 5] = [
    (".parquet", FileFormat::Parquet),
    (".pq", FileFormat::Parquet),
    (".csv", FileFormat::Csv),
    (".csv.gz", FileFormat::CsvGz),
    (".zip", FileFormat::CsvZip),
];

impl Location {
    /// Parses `text`; a relative path is taken from `base`.
    ///
    /// Only the text is judged: whether anything is there, [`resolve`](Self::resolve) tells.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        let invalid = |reason: &str| HistoryError::InvalidLocation {
            location: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text.trim().is_empty() {
            return Err(invalid("it is empty"));
        }
        if let Some(rest) = strip_s3_scheme(text) {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() || has_wildcard(bucket) {
                return Err(invalid("an s3 location is `s3://BUCKET/KEY`"));
            }
            let (bucket, key) = (bucket.to_owned(), key.to_owned());
            let kind = if has_wildcard(&key) {
                Pattern::new(&key).map_err(|error| invalid(error.msg))?;
                Kind::S3Glob {
                    bucket,
                    pattern: key,
                }
            } else {
                Kind::S3 { bucket, key }
            };
            return Ok(Self { kind });
        }
        let text = text.strip_prefix("file://").unwrap_or(text);
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(HistoryError::InvalidLocation {
                location: text.to_owned(),
                reason: format!("`{scheme}` is not supported; paths and `s3://` are"),
            });
        }
        let path = base.join(text);
        // A file whose name has brackets is a file first.
        if has_wildcard(text) && !path.exists() {
            // Only `text` is a pattern; the base folder's own name is taken literally.
            let pattern = if Path::new(text).is_absolute() {
                text.to_owned()
            } else {
                let base = Pattern::escape(&base.to_string_lossy());
                Path::new(&base).join(text).to_string_lossy().into_owned()
            };
            Pattern::new(&pattern).map_err(|error| invalid(error.msg))?;
            return Ok(Self {
                kind: Kind::LocalGlob(pattern),
            });
        }
        Ok(Self {
            kind: Kind::Local(path),
        })
    }

    /// Whether this is on S3.
    pub fn is_s3(&self) -> bool {
        matches!(self.kind, Kind::S3 { .. } | Kind::S3Glob { .. })
    }

    /// Makes sure that the bucket is there and may be listed; says nothing of local folders, which
    /// are made when they are written to.
    pub fn check_bucket(&self, storage: &Storage) -> Result<()> {
        let (Kind::S3 { bucket, key }
        | Kind::S3Glob {
            bucket,
            pattern: key,
        }) = &self.kind
        else {
            return Ok(());
        };
        let uri = format!("s3://{bucket}/{key}");
        let client = storage.bucket(bucket, &uri)?;
        let prefix = Key::from(key.split(['*', '?', '[']).next().unwrap_or(""));
        let first = async move { client.list(Some(&prefix)).try_next().await };
        block_on(first)?.map(drop).map_err(|source| {
            match HistoryError::store(&uri, "list", source) {
                HistoryError::NotFound { .. } => missing_bucket(bucket, &uri),
                error => error,
            }
        })
    }

    /// Finds the files, sorted by name; never an empty list.
    pub fn resolve(&self, storage: &Storage) -> Result<Vec<DataObject>> {
        let mut objects = match &self.kind {
            Kind::Local(path) => resolve_path(path, storage)?,
            Kind::LocalGlob(pattern) => resolve_glob(pattern, storage)?,
            Kind::S3 { bucket, key } => resolve_s3(bucket, key, storage)?,
            Kind::S3Glob { bucket, pattern } => resolve_s3_glob(bucket, pattern, storage)?,
        };
        objects.sort_by(|a, b| a.uri.cmp(&b.uri));
        Ok(objects)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Local(path) => write!(f, "{}", path.display()),
            Kind::LocalGlob(pattern) => f.write_str(pattern),
            Kind::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Kind::S3Glob { bucket, pattern } => write!(f, "s3://{bucket}/{pattern}"),
        }
    }
}

impl DataObject {
    /// The last part of the name.
    pub fn file_name(&self) -> &str {
        self.uri.rsplit(['/', '\\']).next().unwrap_or(&self.uri)
    }

    /// What the file is, by its name. Names without a known ending count as CSV.
    pub fn format(&self) -> FileFormat {
        format_of(self.file_name()).unwrap_or(FileFormat::Csv)
    }

    /// The symbol that its `symbol=XXX/` folder or its name tells of, as the rows of files without
    /// a column for it have it.
    pub fn symbol(&self) -> Option<&str> {
        named_symbol(self)
    }

    /// Whether the file is on S3.
    pub fn is_s3(&self) -> bool {
        strip_s3_scheme(&self.uri).is_some()
    }

    fn local(path: &Path, size_bytes: u64, storage: &Storage) -> Self {
        Self {
            uri: path.to_string_lossy().into_owned(),
            size_bytes,
            etag: None,
            storage: storage.clone(),
        }
    }
}

/// Bucket and key of an `s3://` (or `s3a://`) URI.
pub(crate) fn split_s3_uri(uri: &str) -> Option<(&str, &str)> {
    let rest = strip_s3_scheme(uri)?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

fn strip_s3_scheme(text: &str) -> Option<&str> {
    text.strip_prefix("s3://")
        .or_else(|| text.strip_prefix("s3a://"))
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn format_of(name: &str) -> Option<FileFormat> {
    let name = name.to_ascii_lowercase();
    ENDINGS
        .iter()
        .find(|(ending, _)| name.ends_with(ending))
        .map(|(_, format)| *format)
}

/// Whether a file found in a folder is history, rather than told of by name.
fn is_history(name: &str) -> bool {
    !name.starts_with(['.', '_']) && format_of(name).is_some()
}

const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

fn resolve_path(path: &Path, storage: &Storage) -> Result<Vec<DataObject>> {
    let uri = || path.to_string_lossy().into_owned();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(HistoryError::NotFound {
                uri: uri(),
                hint: near_files(path),
            });
        }
        Err(error) => return Err(HistoryError::io(uri(), "look at", error)),
    };
    if metadata.is_file() {
        return Ok(vec![DataObject::local(path, metadata.len(), storage)]);
    }
    let mut found = Vec::new();
    let mut others = Vec::new();
    walk(path, storage, &mut found, &mut others)?;
    if found.is_empty() {
        return Err(HistoryError::NoMatch {
            uri: uri(),
            hint: near_names("", others.iter().map(String::as_str)),
        });
    }
    Ok(found)
}

fn walk(
    folder: &Path,
    storage: &Storage,
    found: &mut Vec<DataObject>,
    others: &mut Vec<String>,
) -> Result<()> {
    let failed = |error| HistoryError::io(folder.to_string_lossy(), "list", error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        // `metadata` of the path, not of the entry: a link counts as what it points to.
        let metadata = fs::metadata(&path)
            .map_err(|error| HistoryError::io(path.to_string_lossy(), "look at", error))?;
        if metadata.is_dir() {
            if !name.starts_with(['.', '_']) {
                walk(&path, storage, found, others)?;
            }
        } else if is_history(&name) {
            found.push(DataObject::local(&path, metadata.len(), storage));
        } else {
            others.push(name);
        }
    }
    others.sort();
    Ok(())
}

/// Names like the missing one in its own folder, or word of the first folder that is missing.
fn near_files(path: &Path) -> String {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return String::new(),
    };
    let Ok(entries) = fs::read_dir(parent) else {
        return format!("; its folder `{}` does not exist either", parent.display());
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let wanted = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    near_names(&wanted, names.iter().map(String::as_str))
}

fn resolve_glob(pattern: &str, storage: &Storage) -> Result<Vec<DataObject>> {
    let paths =
        glob::glob_with(pattern, MATCHING).map_err(|error| HistoryError::InvalidLocation {
            location: pattern.to_owned(),
            reason: error.msg.to_owned(),
        })?;
    let mut found = Vec::new();
    let mut others = Vec::new();
    for path in paths {
        let path = path.map_err(|error| {
            let uri = error.path().to_string_lossy().into_owned();
            HistoryError::io(uri, "list", error.into())
        })?;
        let metadata = fs::metadata(&path)
            .map_err(|error| HistoryError::io(path.to_string_lossy(), "look at", error))?;
        if metadata.is_file() {
            found.push(DataObject::local(&path, metadata.len(), storage));
        } else {
            others.push(path.to_string_lossy().into_owned());
        }
    }
    if found.is_empty() {
        let hint = if others.is_empty() {
            near_files(Path::new(pattern))
        } else {
            format!(
                "{} is a folder; add `/*`",
                near_names("", others.iter().map(String::as_str))
            )
        };
        return Err(HistoryError::NoMatch {
            uri: pattern.to_owned(),
            hint,
        });
    }
    Ok(found)
}

fn s3_object(bucket: &str, meta: &object_store::ObjectMeta, storage: &Storage) -> DataObject {
    DataObject {
        uri: format!("s3://{bucket}/{}", meta.location),
        size_bytes: meta.size,
        etag: meta.e_tag.clone(),
        storage: storage.clone(),
    }
}

fn list_s3(
    bucket: &str,
    prefix: &str,
    uri: &str,
    storage: &Storage,
) -> Result<Vec<object_store::ObjectMeta>> {
    let client = storage.bucket(bucket, uri)?;
    let prefix = Key::from(prefix);
    let prefix = (!prefix.as_ref().is_empty()).then_some(prefix);
    block_on(async move { client.list(prefix.as_ref()).try_collect().await })?.map_err(|source| {
        match HistoryError::store(uri, "list", source) {
            HistoryError::NotFound { .. } => missing_bucket(bucket, uri),
            error => error,
        }
    })
}

fn missing_bucket(bucket: &str, uri: &str) -> HistoryError {
    HistoryError::NotFound {
        uri: uri.to_owned(),
        hint: format!("; there is no bucket `{bucket}`"),
    }
}

fn resolve_s3(bucket: &str, key: &str, storage: &Storage) -> Result<Vec<DataObject>> {
    let uri = format!("s3://{bucket}/{key}");
    let client = storage.bucket(bucket, &uri)?;
    let mut failure = None;
    if !key.is_empty() && !key.ends_with('/') {
        let path = Key::from(key);
        match block_on(async move { client.head(&path).await })? {
            Ok(meta) => return Ok(vec![s3_object(bucket, &meta, storage)]),
            // Perhaps a folder written without its slash: looked at below.
            Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => match HistoryError::store(&uri, "look at", source) {
                // Some servers fail on the name of a folder: the listing decides.
                error @ HistoryError::Store { .. } => failure = Some(error),
                error => return Err(error),
            },
        }
    }
    let metas = match (list_s3(bucket, key, &uri, storage), failure) {
        (Ok(metas), Some(failure)) if metas.is_empty() => return Err(failure),
        (Err(_), Some(failure)) => return Err(failure),
        (metas, _) => metas?,
    };
    let found: Vec<DataObject> = metas
        .iter()
        .filter(|meta| meta.location.filename().is_some_and(is_history))
        .map(|meta| s3_object(bucket, meta, storage))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    if !metas.is_empty() {
        return Err(HistoryError::NoMatch {
            uri,
            hint: near_names("", metas.iter().map(|meta| meta.location.as_ref())),
        });
    }
    let folder = key
        .trim_end_matches('/')
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    let siblings = list_s3(bucket, folder, &uri, storage)?;
    Err(HistoryError::NotFound {
        uri,
        hint: near_names(key, siblings.iter().map(|meta| meta.location.as_ref())),
    })
}

fn resolve_s3_glob(bucket: &str, pattern: &str, storage: &Storage) -> Result<Vec<DataObject>> {
    let uri = format!("s3://{bucket}/{pattern}");
    let matcher = Pattern::new(pattern).map_err(|error| HistoryError::InvalidLocation {
        location: uri.clone(),
        reason: error.msg.to_owned(),
    })?;
    // Only the folders before the first wildcard narrow the listing.
    let literal = pattern.split(['*', '?', '[']).next().unwrap_or("");
    let folder = literal.rsplit_once('/').map_or("", |(folder, _)| folder);
    let metas = list_s3(bucket, folder, &uri, storage)?;
    let found: Vec<DataObject> = metas
        .iter()
        .filter(|meta| matcher.matches_with(meta.location.as_ref(), MATCHING))
        .map(|meta| s3_object(bucket, meta, storage))
        .collect();
    if found.is_empty() {
        return Err(HistoryError::NoMatch {
            uri,
            hint: near_names(pattern, metas.iter().map(|meta| meta.location.as_ref())),
        });
    }
    Ok(found)
}
