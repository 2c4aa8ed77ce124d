//! How a bucket is reached.

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use rusty_s3::UrlStyle;

use super::errors::{code_of, is_unreachable};
use crate::artifacts::ArtifactError;

/// What S3 lets a presigned URL live for at most: a week.
pub(super) const MAX_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What is known of the bucket.
#[derive(Debug)]
pub(super) struct Settings {
    bucket: String,
    /// What every key begins with, without slashes at either end.
    pub(super) prefix: String,
    /// Where it is, for people.
    endpoint: String,
    /// What URLs are made of.
    pub(super) urls: rusty_s3::Bucket,
    /// How long a presigned download lives, unless a client says.
    pub(super) lifetime: Duration,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads the environment; nothing is sent yet.
pub(super) fn connect(bucket: &str, prefix: &str) -> Result<(AmazonS3, Settings), String> {
    let mut builder = AmazonS3Builder::from_env();
    if let Some(endpoint) = variable("MLFLOW_S3_ENDPOINT_URL") {
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    let endpoint = builder
        .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
        .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint))
        .filter(|endpoint| !endpoint.is_empty());
    let region = builder
        .get_config_value(&AmazonS3ConfigKey::Region)
        .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::DefaultRegion))
        .unwrap_or_else(|| "us-east-1".to_owned());
    // AWS wants the bucket in the host's name; other servers seldom have the names for that, and
    // no certificate is good for a name with a dot in it.
    let in_host = endpoint.is_none() && !bucket.contains('.');
    let style = if in_host {
        UrlStyle::VirtualHost
    } else {
        UrlStyle::Path
    };
    let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let wrong = || format!("`{}` is no endpoint", without_userinfo(&endpoint));
    let base: url::Url = endpoint.parse().map_err(|_| wrong())?;
    if !matches!(base.scheme(), "http" | "https") || !base.username().is_empty() {
        return Err(wrong());
    }
    let urls = rusty_s3::Bucket::new(base, style, bucket.to_owned(), region.clone())
        .map_err(|_| wrong())?;
    let insecure = variable("MLFLOW_S3_IGNORE_TLS")
        .is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
    let options = ClientOptions::new()
        // Who gives an address with `http://` means it.
        .with_allow_http(true)
        .with_allow_invalid_certificates(insecure)
        .with_connect_timeout(Duration::from_secs(5))
        // The whole of a large download takes its time; calls have limits of their own.
        .with_timeout_disabled();
    let retries = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(60),
    };
    let client = builder
        .with_bucket_name(bucket)
        .with_region(region)
        .with_virtual_hosted_style_request(in_host)
        .with_client_options(options)
        .with_retry(retries)
        .build()
        // The library's words could repeat a value.
        .map_err(|_| {
            "its settings in the environment are incomplete: AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY belong together"
                .to_owned()
        })?;
    let settings = Settings {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint,
        urls,
        lifetime: lifetime()?,
    };
    Ok((client, settings))
}

/// What may be said of an endpoint: it could hold a password.
fn without_userinfo(endpoint: &str) -> String {
    match (endpoint.split_once("://"), endpoint.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => endpoint.to_owned(),
    }
}

/// MLflow's own variable for it.
fn lifetime() -> Result<Duration, String> {
    const NAME: &str = "MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS";
    let Some(text) = variable(NAME) else {
        return Ok(Duration::from_secs(300));
    };
    match text.parse().map(Duration::from_secs) {
        Ok(lifetime) if (Duration::from_secs(1)..=MAX_LIFETIME).contains(&lifetime) => Ok(lifetime),
        _ => Err(format!(
            "{NAME} must be 1 to {} seconds",
            MAX_LIFETIME.as_secs()
        )),
    }
}

impl Settings {
    /// The prefix, as artifact URIs name it.
    pub(super) fn address(&self) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        format!("s3://{}{slash}{}", self.bucket, self.prefix)
    }

    /// Why the bucket can't be used, and what to do; no secret, and none of the library's words.
    pub(super) fn explain(&self, error: &ArtifactError) -> String {
        let cause = std::error::Error::source(error);
        let code = cause.and_then(code_of);
        let at = &self.endpoint;
        let reason = match (code.as_deref(), error) {
            (Some("SignatureDoesNotMatch"), _) => {
                format!("{at} refuses the signature: AWS_SECRET_ACCESS_KEY is wrong")
            }
            (Some("InvalidAccessKeyId" | "NotSignedUp"), _) => {
                format!("{at} does not know AWS_ACCESS_KEY_ID")
            }
            (Some("NoSuchBucket"), _) | (_, ArtifactError::NotFound(_)) => {
                format!("{at} has no such bucket")
            }
            (_, ArtifactError::Refused(_)) => format!("{at} does not let the key write there"),
            (_, ArtifactError::Unavailable(_)) => format!("{at} can't be reached"),
            (Some(code), _) => format!("{at} answers {code}"),
            _ if cause.is_some_and(is_unreachable) => {
                format!("{at} can't be reached")
            }
            _ => format!("{at} does not answer as S3 does"),
        };
        if variable("AWS_ACCESS_KEY_ID").is_some() {
            reason
        } else {
            format!("{reason} (AWS_ACCESS_KEY_ID is not set: this machine's own role was tried)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::without_userinfo;

    #[test]
    fn an_endpoint_is_told_without_its_password() {
        for (endpoint, told) in [
            ("http://h:1/p", "http://h:1/p"),
            ("http://user:pass@h:1", "http://h:1"),
            ("user:pass@h", "h"),
        ] {
            assert_eq!(without_userinfo(endpoint), told);
        }
    }
}
