//! Artifacts in a bucket of S3, or of a server that speaks its protocol.

mod errors;
mod presign;
mod settings;
mod upload;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt};

use self::errors::{failed, timed_out};
use self::settings::Settings;
use super::path::PRIVATE_PREFIX;
use super::{
    ArtifactError, ArtifactInfo, ArtifactPath, ByteRange, Download, Entry, FoundFile, Wanted,
};

/// How long one call may take, with its retries.
const CALL: Duration = Duration::from_secs(120);

/// How long a bucket that could be written is believed to be writable: each try costs money.
const BELIEVED: Duration = Duration::from_secs(30);

/// A prefix of a bucket.
#[derive(Debug, Clone)]
pub(super) struct S3Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: AmazonS3,
    settings: Settings,
    /// When it was last written to as a check.
    written: Mutex<Option<Instant>>,
}

impl S3Store {
    /// Opens a bucket; the error is a text for people, which holds no secret.
    pub(super) async fn open(bucket: &str, prefix: &str) -> Result<Self, String> {
        let (client, settings) = settings::connect(bucket, prefix)?;
        let store = Self(Arc::new(Inner {
            client,
            settings,
            written: Mutex::new(None),
        }));
        let usable = async {
            // A bucket that is not there shows itself here at once.
            store.is_object(&store.key(&ArtifactPath::root())?).await?;
            store.check_writable().await
        };
        match usable.await {
            Ok(()) => Ok(store),
            Err(error) => Err(store.0.settings.explain(&error)),
        }
    }

    /// Whether there is an object of just that key, without a word about those below it.
    async fn is_object(&self, key: &Key) -> Result<bool, ArtifactError> {
        let first = PaginatedListOptions {
            max_keys: Some(1),
            ..PaginatedListOptions::default()
        };
        // A key comes before all that it begins.
        let found = self.client().list_paginated(Some(key.as_ref()), first);
        let found = call(key, found).await?.result;
        Ok(found
            .objects
            .first()
            .is_some_and(|object| object.location == *key))
    }

    fn client(&self) -> &AmazonS3 {
        &self.0.client
    }

    /// The prefix, as artifact URIs name it.
    pub(super) fn address(&self) -> String {
        self.0.settings.address()
    }

    fn key(&self, path: &ArtifactPath) -> Result<Key, ArtifactError> {
        let prefix = &self.0.settings.prefix;
        let slash = if prefix.is_empty() || path.is_root() {
            ""
        } else {
            "/"
        };
        Key::parse(format!("{prefix}{slash}{path}")).map_err(|_| ArtifactError::InvalidPath)
    }

    /// The place of an object below the prefix; `None` for keys that no client can ask for.
    fn path_of(&self, key: &Key) -> Option<ArtifactPath> {
        let prefix = &self.0.settings.prefix;
        let below = key.as_ref().strip_prefix(prefix.as_str())?;
        ArtifactPath::parse(below.trim_start_matches('/')).ok()
    }

    pub(super) async fn check_writable(&self) -> Result<(), ArtifactError> {
        let written = || {
            self.0
                .written
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if written().is_some_and(|at| at.elapsed() < BELIEVED) {
            return Ok(());
        }
        let name = format!("{PRIVATE_PREFIX}probe-{}", uuid::Uuid::new_v4().simple());
        let probe = self.key(&ArtifactPath::private(name))?;
        call(&probe, self.client().put(&probe, Bytes::new().into())).await?;
        call(&probe, self.client().delete(&probe)).await?;
        *written() = Some(Instant::now());
        Ok(())
    }

    pub(super) async fn put<S, E>(
        &self,
        path: &ArtifactPath,
        size: Option<u64>,
        body: S,
    ) -> Result<u64, ArtifactError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        upload::put(self.client(), &self.key(path)?, size, body).await
    }

    pub(super) async fn head(&self, path: &ArtifactPath) -> Result<ArtifactInfo, ArtifactError> {
        let key = self.key(path)?;
        let found = call(&key, self.client().head(&key)).await;
        Ok(info(found.map_err(|error| named(error, path))?))
    }

    pub(super) async fn get(
        &self,
        path: &ArtifactPath,
        wanted: &Wanted,
    ) -> Result<Download, ArtifactError> {
        let Some(range) = wanted.range else {
            return self.fetch(path, GetOptions::default()).await;
        };
        let mut options = GetOptions::default();
        // Not every server counts from the end: it is asked for the size.
        if wanted.if_range.is_some() || matches!(range, ByteRange::Last(_)) {
            let info = self.head(path).await?;
            let range = wanted.resolve(&info)?;
            if range != (0..info.size) {
                // Of this state and no other.
                options.if_match = info.e_tag;
                options.range = Some(GetRange::Bounded(range));
            }
        } else {
            options.range = Some(match range {
                ByteRange::Between(first, last) => GetRange::Bounded(first..last.saturating_add(1)),
                ByteRange::From(first) => GetRange::Offset(first),
                ByteRange::Last(count) => GetRange::Suffix(count),
            });
        }
        match self.fetch(path, options).await {
            Err(error @ ArtifactError::Remote(_)) => {
                // The protocol's own word for it does not say how large the object is.
                let info = self.head(path).await?;
                match range.resolve(info.size) {
                    None => Err(ArtifactError::Range(info.size)),
                    // It became another one just now.
                    Some(_) if wanted.if_range.is_some() => {
                        self.fetch(path, GetOptions::default()).await
                    }
                    Some(_) => Err(error),
                }
            }
            other => other,
        }
    }

    async fn fetch(
        &self,
        path: &ArtifactPath,
        options: GetOptions,
    ) -> Result<Download, ArtifactError> {
        let key = self.key(path)?;
        let found = call(&key, self.client().get_opts(&key, options)).await;
        let found = found.map_err(|error| named(error, path))?;
        let (range, info) = (found.range.clone(), info(found.meta.clone()));
        Ok(Download {
            info,
            range,
            body: body(found),
        })
    }

    pub(super) async fn list(&self, path: &ArtifactPath) -> Result<Vec<Entry>, ArtifactError> {
        let key = self.key(path)?;
        let found = call(&key, self.client().list_with_delimiter(Some(&key))).await?;
        let name = |key: &Key| key.filename().map(str::to_owned);
        let folders = found.common_prefixes.iter().filter_map(|key| {
            Some(Entry {
                name: name(key)?,
                size: None,
            })
        });
        let files = found.objects.iter().filter_map(|object| {
            // Some tools make an empty object of a folder's own name.
            (object.location != key).then_some(())?;
            Some(Entry {
                name: name(&object.location)?,
                size: Some(object.size),
            })
        });
        Ok(folders.chain(files).collect())
    }

    pub(super) fn walk(
        &self,
        path: &ArtifactPath,
    ) -> BoxStream<'static, Result<FoundFile, ArtifactError>> {
        let key = match self.key(path) {
            Ok(key) => key,
            Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
        };
        let store = self.clone();
        self.client()
            .list(Some(&key))
            .map_err(move |error| failed(error, key.as_ref()))
            .try_filter_map(move |object| {
                let found = store.path_of(&object.location).map(|path| FoundFile {
                    path,
                    size: object.size,
                    modified: Some(object.last_modified.into()),
                });
                async move { Ok(found) }
            })
            .boxed()
    }

    pub(super) async fn delete(&self, path: &ArtifactPath) -> Result<(), ArtifactError> {
        let key = self.key(path)?;
        // A key can be an object, and a folder as well.
        let itself = self.is_object(&key).await?.then(|| Ok(key.clone()));
        let itself = futures::stream::iter(itself);
        let below = self
            .client()
            .list(Some(&key))
            .map_ok(|object| object.location);
        let keys = itself.chain(below).boxed();
        let deleted = self
            .client()
            .delete_stream(keys)
            .try_for_each(|_| async { Ok(()) });
        match deleted.await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => other.map_err(|error| failed(error, key.as_ref())),
        }
    }
}

/// One call to the bucket.
async fn call<T>(
    key: &Key,
    work: impl Future<Output = object_store::Result<T>>,
) -> Result<T, ArtifactError> {
    match tokio::time::timeout(CALL, work).await {
        Ok(result) => result.map_err(|error| failed(error, key.as_ref())),
        Err(_) => Err(timed_out()),
    }
}

/// A client knows paths and no keys.
fn named(error: ArtifactError, path: &ArtifactPath) -> ArtifactError {
    match error {
        ArtifactError::NotFound(_) => ArtifactError::NotFound(path.to_string()),
        other => other,
    }
}

fn info(object: ObjectMeta) -> ArtifactInfo {
    ArtifactInfo {
        size: object.size,
        e_tag: object.e_tag,
        modified: Some(object.last_modified.into()),
    }
}

/// The bytes of an object; a bucket that goes silent ends the download.
fn body(found: GetResult) -> BoxStream<'static, Result<Bytes, ArtifactError>> {
    let key = found.meta.location.clone();
    let chunks = futures::stream::try_unfold(found.into_stream(), move |mut chunks| {
        let key = key.clone();
        async move {
            match tokio::time::timeout(CALL, chunks.next()).await {
                Ok(Some(Ok(chunk))) => Ok(Some((chunk, chunks))),
                Ok(Some(Err(error))) => Err(failed(error, key.as_ref())),
                Ok(None) => Ok(None),
                Err(_) => Err(timed_out()),
            }
        }
    });
    chunks.boxed()
}
