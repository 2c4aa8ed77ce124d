//! Artifacts: the store itself, and what belongs to a run, a version or a logged model.

mod media_type;
mod multipart;
mod owned;
mod presigned;
mod proxy;
mod range;
mod transfer;

pub(super) use multipart::{
    PART_ROUTE, abort_multipart, complete_multipart, create_multipart, upload_part,
};
pub(super) use owned::{
    get_of_model, get_of_run, get_of_version, list_of_model, list_of_run, upload_to_run,
};
pub(super) use presigned::{presign, presign_download, presign_upload};
pub(super) use proxy::{delete, download, list, upload};
pub(super) use transfer::Reading;

use super::error::ApiError;
use crate::Registry;
use crate::artifacts::ArtifactPath;

/// The place in the store of an artifact URI. MLflow's server opens every URI that a client names,
/// also the files of its own machine; this one opens what it keeps.
fn place(registry: &Registry, uri: Option<&str>) -> Result<ArtifactPath, ApiError> {
    let found = uri
        .map(|uri| registry.artifacts().place_of(uri))
        .transpose()?;
    found
        .flatten()
        .ok_or_else(|| ApiError::invalid("These artifacts are not kept by this server."))
}
