//! Artifacts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

    /// `logged-models/ID/artifacts/directories`: what a model's artifact folder holds.
    pub struct ListLoggedModelArtifacts {
        /// A folder relative to the model's root; the root when absent.
        pub artifact_directory_path: Option<String>,
        /// Where to go on.
        pub page_token: Option<String>,
    }

    /// `/ajax-api/2.0/mlflow/logged-models/ID/artifacts/files`: a file of a logged model.
    pub struct GetLoggedModelArtifact {
        /// The file, relative to the root of the model.
        pub artifact_file_path: Option<String>,
    }

    /// `mlflow-artifacts/mpu/create/FOLDER`: begins an upload in parts.
    pub struct CreateMultipartUpload {
        /// The client's file, of whose path the last name counts.
        pub path: String,
        /// How many parts there will be.
        pub num_parts: Option<i64>,
    }

    /// The answer to [`CreateMultipartUpload`].
    pub struct CreateMultipartUploadResponse {
        /// The upload.
        pub upload_id: Option<String>,
        /// Where each part goes, in order.
        pub credentials: Vec<MultipartUploadCredential>,
    }

    /// Where a part goes: a URL for a PUT that needs nothing else.
    pub struct MultipartUploadCredential {
        /// The URL.
        pub url: String,
        /// The part, from 1.
        pub part_number: i64,
    }

    /// `mlflow-artifacts/mpu/complete/FOLDER`: makes the artifact of its parts.
    pub struct CompleteMultipartUpload {
        /// The client's file, of whose path the last name counts.
        pub path: String,
        /// The upload.
        pub upload_id: Option<String>,
        /// All parts, in order.
        pub parts: Vec<MultipartUploadPart>,
    }

    /// A part that was sent.
    pub struct MultipartUploadPart {
        /// The part, from 1.
        pub part_number: Option<i64>,
        /// The ETag of the answer to it.
        pub etag: Option<String>,
        /// The URL that it was sent to.
        pub url: Option<String>,
    }

    /// `mlflow-artifacts/mpu/abort/FOLDER`: gives an upload up.
    pub struct AbortMultipartUpload {
        /// The client's file, of whose path the last name counts.
        pub path: String,
        /// The upload.
        pub upload_id: Option<String>,
    }

    /// `artifacts/presigned-download-url`: a URL to read an artifact of a run by.
    pub struct CreatePresignedDownloadUrl {
        /// The run.
        pub run_id: Option<String>,
        /// The artifact, relative to the run's root.
        pub path: String,
        /// How long the URL is good for, in seconds.
        pub expiration: Option<i64>,
    }

    /// `artifacts/presigned-upload-url`: a URL to write an artifact of a run or a logged model by.
    pub struct CreatePresignedUploadUrl {
        /// The run, or
        pub run_id: Option<String>,
        /// the logged model.
        pub model_id: Option<String>,
        /// The artifact, relative to the root.
        pub path: String,
        /// How long the URL is good for, in seconds.
        pub expiration: Option<i64>,
    }
}

/// The answer to [`CreatePresignedDownloadUrl`] and [`CreatePresignedUploadUrl`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PresignedUrl {
    /// The URL.
    pub presigned_url: String,
    /// What a request to it must say.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The artifact's size in bytes, of a download.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<i64>,
}

/// The answer of `mlflow-artifacts/presigned/PATH`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PresignedDownloadUrl {
    /// The URL.
    pub url: String,
    /// What a request to it must say.
    pub headers: BTreeMap<String, String>,
    /// The artifact's size in bytes.
    pub file_size: u64,
}

crate::schema::schema_of!(PresignedUrl {
    presigned_url: String,
    headers: BTreeMap<String, String>,
    file_size: Option<i64>,
});
crate::schema::schema_of!(PresignedDownloadUrl {
    url: String,
    headers: BTreeMap<String, String>,
    file_size: u64,
});
