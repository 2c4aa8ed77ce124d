//! Where objects live: the local file system and S3, behind one handle.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{ClientOptions, RetryConfig};
use polars::io::cloud::CloudOptions;
use tokio::runtime::{Handle, Runtime};

use crate::error::{HistoryError, Result};

/// How to reach S3.
///
/// `Debug` shows neither the secret nor the session token.
#[derive(Clone, Default)]
pub struct S3Config {
    /// The endpoint's URL; `None` for AWS itself. `http://` is accepted as it is written.
    pub endpoint: Option<String>,
    /// The region; `None` means `us-east-1`.
    pub region: Option<String>,
    /// The access key's id.
    pub access_key_id: Option<String>,
    /// The access key's secret.
    pub secret_access_key: Option<String>,
    /// The session token that goes with temporary credentials.
    pub session_token: Option<String>,
    /// Whether requests go out unsigned, for public buckets.
    pub skip_signature: bool,
    /// Further settings of the `AWS_…` environment, by lower-case name: web identity, container
    /// credentials, virtual-hosted addressing, ….
    other: Vec<(AmazonS3ConfigKey, String)>,
}

impl S3Config {
    /// Reads the usual AWS variables: `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, `AWS_REGION`
    /// or `AWS_DEFAULT_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_SKIP_SIGNATURE`, and what `object_store` knows beside them
    /// (`AWS_WEB_IDENTITY_TOKEN_FILE` with `AWS_ROLE_ARN`, `AWS_CONTAINER_CREDENTIALS_…`,
    /// `AWS_METADATA_ENDPOINT` for the role of an EC2 machine,
    /// `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`).
    ///
    /// The EC2 metadata service is asked only where `AWS_METADATA_ENDPOINT` names it: elsewhere
    /// that question would end in a long wait instead of a clear "no credentials".
    pub fn from_env() -> Self {
        Self::from_vars(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))
    }

    /// As [`from_env`](Self::from_env), from variables that the caller hands over.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Self {
        let vars: HashMap<String, String> = vars
            .into_iter()
            .filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty())
            .collect();
        let get = |name: &str| vars.get(name).cloned();
        let is_own = |key: &AmazonS3ConfigKey| {
            matches!(
                key,
                AmazonS3ConfigKey::Endpoint
                    | AmazonS3ConfigKey::Region
                    | AmazonS3ConfigKey::DefaultRegion
                    | AmazonS3ConfigKey::AccessKeyId
                    | AmazonS3ConfigKey::SecretAccessKey
                    | AmazonS3ConfigKey::Token
                    | AmazonS3ConfigKey::SkipSignature
                    | AmazonS3ConfigKey::Bucket
            )
        };
        let mut other: Vec<(AmazonS3ConfigKey, String)> = vars
            .iter()
            .filter_map(|(name, value)| {
                let key: AmazonS3ConfigKey = name.to_ascii_lowercase().parse().ok()?;
                (!is_own(&key)).then(|| (key, value.clone()))
            })
            .collect();
        other.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        Self {
            endpoint: get("AWS_ENDPOINT_URL_S3")
                .or_else(|| get("AWS_ENDPOINT_URL"))
                .or_else(|| get("AWS_ENDPOINT")),
            region: get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION")),
            access_key_id: get("AWS_ACCESS_KEY_ID"),
            secret_access_key: get("AWS_SECRET_ACCESS_KEY"),
            session_token: get("AWS_SESSION_TOKEN"),
            skip_signature: get("AWS_SKIP_SIGNATURE")
                .is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true")),
            other,
        }
    }

    fn has_credentials(&self) -> bool {
        let has_keys = self.access_key_id.is_some() && self.secret_access_key.is_some();
        let has_provider = self.other.iter().any(|(key, _)| {
            matches!(
                key,
                AmazonS3ConfigKey::WebIdentityTokenFile
                    | AmazonS3ConfigKey::ContainerCredentialsRelativeUri
                    | AmazonS3ConfigKey::ContainerCredentialsFullUri
                    | AmazonS3ConfigKey::MetadataEndpoint
            )
        });
        has_keys || has_provider || self.skip_signature
    }

    /// The one list of settings that both our own client and Polars' are built from.
    fn settings(&self) -> Vec<(AmazonS3ConfigKey, String)> {
        let mut settings = self.other.clone();
        let region = self.region.as_deref().unwrap_or("us-east-1");
        settings.push((AmazonS3ConfigKey::Region, region.to_owned()));
        let mut set = |key, value: &Option<String>| {
            if let Some(value) = value {
                settings.push((key, value.clone()));
            }
        };
        set(AmazonS3ConfigKey::Endpoint, &self.endpoint);
        set(AmazonS3ConfigKey::AccessKeyId, &self.access_key_id);
        set(AmazonS3ConfigKey::SecretAccessKey, &self.secret_access_key);
        set(AmazonS3ConfigKey::Token, &self.session_token);
        if self.skip_signature {
            settings.push((AmazonS3ConfigKey::SkipSignature, "true".to_owned()));
        }
        settings
    }

    fn allows_http(&self) -> bool {
        self.endpoint
            .as_deref()
            .is_some_and(|endpoint| endpoint.to_ascii_lowercase().starts_with("http://"))
    }
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("has_secret", &self.secret_access_key.is_some())
            .field("has_session_token", &self.session_token.is_some())
            .field("skip_signature", &self.skip_signature)
            .finish_non_exhaustive()
    }
}

/// A handle on the local file system and S3. Cheap to clone; clones share connections.
///
/// # Blocking
///
/// Every function of this crate blocks its thread. None panics inside an async runtime (S3 work
/// runs on a small runtime of this crate's own), yet none should be called from a task there: use
/// `spawn_blocking` or a thread.
#[derive(Clone, Debug)]
pub struct Storage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: S3Config,
    buckets: Mutex<HashMap<String, Arc<AmazonS3>>>,
}

impl Storage {
    /// A storage that reaches S3 as `config` says. Does no IO.
    pub fn new(config: S3Config) -> Self {
        Self {
            inner: Arc::new(Inner {
                config,
                buckets: Mutex::default(),
            }),
        }
    }

    /// A storage that reaches S3 as the usual AWS variables say; see [`S3Config::from_env`].
    pub fn from_env() -> Self {
        Self::new(S3Config::from_env())
    }

    pub(crate) fn bucket(&self, bucket: &str, uri: &str) -> Result<Arc<AmazonS3>> {
        let config = &self.inner.config;
        if !config.has_credentials() {
            return Err(HistoryError::NoCredentials {
                uri: uri.to_owned(),
            });
        }
        let mut buckets = self
            .inner
            .buckets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = buckets.get(bucket) {
            return Ok(Arc::clone(client));
        }
        let options = ClientOptions::new()
            .with_allow_http(config.allows_http())
            .with_connect_timeout(Duration::from_secs(10));
        let retries = RetryConfig {
            max_retries: 4,
            retry_timeout: Duration::from_secs(60),
            ..RetryConfig::default()
        };
        let mut builder = AmazonS3Builder::new()
            .with_client_options(options)
            .with_retry(retries)
            .with_bucket_name(bucket);
        for (key, value) in config.settings() {
            builder = builder.with_config(key, value);
        }
        let client = builder
            .build()
            .map_err(|source| HistoryError::store(uri, "set up access to", source))?;
        let client = Arc::new(client);
        buckets.insert(bucket.to_owned(), Arc::clone(&client));
        Ok(client)
    }

    /// The same settings in Polars' form.
    pub(crate) fn cloud_options(&self) -> CloudOptions {
        let config = &self.inner.config;
        let mut settings = config.settings();
        if config.allows_http() {
            let key = AmazonS3ConfigKey::Client(object_store::ClientConfigKey::AllowHttp);
            settings.push((key, "true".to_owned()));
        }
        CloudOptions::default().with_aws(settings)
    }
}

/// Runs a future of the object store to its end, from any thread, in or outside a runtime.
pub(crate) fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> Result<T> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("history-s3")
            .enable_all()
            .build()
    });
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = std::io::Error::new(error.kind(), error.to_string());
            return Err(HistoryError::io("s3", "start the threads for", error));
        }
    };
    Ok(off_runtime(|| runtime.block_on(future)))
}

/// Runs what may not run inside an async runtime (blocking on a future, planning a query): on a
/// thread of its own if the caller is in one.
pub(crate) fn off_runtime<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if Handle::try_current().is_err() {
        return work();
    }
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
