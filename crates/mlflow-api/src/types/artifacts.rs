//! Artifacts.

crate::wire::wire! {
    /// `artifacts/list`: what a run's artifact folder holds.
    pub struct ListArtifacts {
        /// The run.
        pub run_id: Option<String>,
        /// The run, by its old name.
        pub run_uuid: Option<String>,
        /// A folder relative to the run's root; the root when absent.
        pub path: Option<String>,
        /// Where to go on.
        pub page_token: Option<String>,
    }

    /// The answer to [`ListArtifacts`].
    pub struct ListArtifactsResponse {
        /// The run's artifact URI.
        pub root_uri: Option<String>,
        /// The entries, sorted by path.
        pub files: Vec<FileInfo>,
        /// Where to go on.
        pub next_page_token: Option<String>,
    }

    /// A file or a folder.
    pub struct FileInfo {
        /// Its path, relative to the root that was asked for.
        pub path: String,
        /// Whether it is a folder.
        pub is_dir: bool,
        /// Its size in bytes; absent for folders.
        pub file_size: Option<i64>,
    }

    /// `mlflow-artifacts/artifacts?path=…`: what a folder of the artifact store holds.
    pub struct ListStoreArtifacts {
        /// A folder relative to the store's root.
        pub path: Option<String>,
    }

    /// `/get-artifact` and `/model-versions/get-artifact`: a file of a run or of a version.
    pub struct GetArtifact {
        /// The run.
        pub run_id: Option<String>,
        /// The run, by its old name.
        pub run_uuid: Option<String>,
        /// The registered model.
        pub name: String,
        /// Its version.
        pub version: String,
        /// The file, relative to the root of the run or the version.
        pub path: String,
    }

    /// `/ajax-api/2.0/mlflow/upload-artifact`: where the body goes.
    pub struct UploadArtifact {
        /// The run.
        pub run_id: Option<String>,
        /// The run, by its old name.
        pub run_uuid: Option<String>,
        /// The file, relative to the root of the run.
        pub path: String,
    }
}
