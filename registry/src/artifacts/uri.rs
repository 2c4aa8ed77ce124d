//! Artifact URIs that mean a place in this store.

/// The route that MLflow's servers keep artifacts under.
const SERVICE_ROOT: &str = "/api/2.0/mlflow-artifacts/artifacts/";

/// What stands behind the store's root in a URI; `None` when it names another place. `address` is
/// the store's own, without a slash at the end: a URI (`s3://…`) or an absolute path.
pub(super) fn below(uri: &str, address: &str) -> Option<String> {
    // A query or a fragment is no part of a path, and no client writes one.
    if let Some(rest) = uri.strip_prefix("mlflow-artifacts:") {
        return Some(without_authority(rest).trim_start_matches('/').to_owned());
    }
    if uri.starts_with("http://") || uri.starts_with("https://") {
        let (_, path) = uri.split_once(SERVICE_ROOT)?;
        return Some(path.trim_start_matches('/').to_owned());
    }
    let place = match uri.strip_prefix("file:") {
        Some(rest) => rest
            .strip_prefix("//")
            .map_or(rest, |rest| rest.strip_prefix("localhost").unwrap_or(rest)),
        None => uri,
    };
    match place.strip_prefix(address)? {
        "" => Some(String::new()),
        rest => rest.strip_prefix('/').map(str::to_owned),
    }
}

/// Stores that MLflow's clients reach by themselves, and whose URIs name a bucket and no machine.
const BUCKETS: &[&str] = &[
    "abfs", "abfss", "dbfs", "gs", "hdfs", "r2", "s3", "viewfs", "wasb", "wasbs",
];

/// Whether a URI names a bucket of somebody else's. One that climbs names nothing.
pub(super) fn is_foreign_bucket(uri: &str) -> bool {
    uri.split_once(":/").is_some_and(|(scheme, path)| {
        let path = path.trim_start_matches('/');
        BUCKETS.contains(&scheme) && !path.is_empty() && super::ArtifactPath::parse(path).is_ok()
    })
}

/// `//host:port/path` is `/path`; MLflow's servers don't look at the host either.
fn without_authority(rest: &str) -> &str {
    match rest.strip_prefix("//") {
        Some(rest) => rest.find('/').map_or("", |at| &rest[at..]),
        None => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_known_from_machines() {
        for (uri, expected) in [
            ("s3://bucket/a", true),
            ("gs://bucket", true),
            ("dbfs:/a/b", true),
            ("s3://bucket/a/../../b", false),
            ("s3://", false),
            ("sftp://host/a", false),
            ("http://host/a", false),
            ("file:///etc", false),
            ("/etc", false),
            ("runs:/x", false),
        ] {
            assert_eq!(is_foreign_bucket(uri), expected, "{uri}");
        }
    }

    #[test]
    fn only_this_store_is_meant() {
        for (uri, address, expected) in [
            (
                "mlflow-artifacts:/1/ab/artifacts",
                "/srv/a",
                Some("1/ab/artifacts"),
            ),
            ("mlflow-artifacts:///1", "/srv/a", Some("1")),
            ("mlflow-artifacts://host:5000/1/b", "/srv/a", Some("1/b")),
            ("mlflow-artifacts://host", "/srv/a", Some("")),
            (
                "http://h:1/x/api/2.0/mlflow-artifacts/artifacts/1/b",
                "/srv/a",
                Some("1/b"),
            ),
            ("http://h:1/other/1", "/srv/a", None),
            ("/srv/a/1", "/srv/a", Some("1")),
            ("file:///srv/a/1", "/srv/a", Some("1")),
            ("file:/srv/a", "/srv/a", Some("")),
            ("file://localhost/srv/a/1", "/srv/a", Some("1")),
            ("/srv/ab/1", "/srv/a", None),
            ("/etc/passwd", "/srv/a", None),
            ("file:///etc/passwd", "/srv/a", None),
            ("s3://bucket/p/1", "s3://bucket/p", Some("1")),
            ("s3://bucket/pq/1", "s3://bucket/p", None),
            ("s3://other/p/1", "s3://bucket/p", None),
            ("s3://bucket/p/1", "/srv/a", None),
            ("dbfs:/1", "/srv/a", None),
        ] {
            assert_eq!(
                below(uri, address).as_deref(),
                expected,
                "{uri} in {address}"
            );
        }
    }
}
