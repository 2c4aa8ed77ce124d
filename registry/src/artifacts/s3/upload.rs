//! Writing an object of any size in constant memory.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{ObjectStoreExt, PutPayload, PutPayloadMut};
use tokio::task::JoinHandle;

use super::call;
use crate::artifacts::ArtifactError;
use crate::artifacts::multipart::MAX_PARTS;

/// How large a part is, unless the object would have too many of them: large enough that the calls
/// don't count, and little beside what a server has. S3 takes no less than 5 MiB.
const PART: usize = 8 * 1024 * 1024;

/// Parts are filled in pieces of that size.
const BLOCK: usize = 1024 * 1024;

/// Parts that are sent at once, besides the one that is filled.
const SENDING: usize = 2;

/// Writes a body: at once when it is small, else in parts. Returns its size.
///
/// # Errors
/// When the body breaks off or the bucket fails; the parts are given up then.
pub(super) async fn put<S, E>(
    client: &AmazonS3,
    key: &Key,
    size: Option<u64>,
    mut body: S,
) -> Result<u64, ArtifactError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let part_size = part_size(size)?;
    let first = fill(&mut body, part_size).await?;
    let mut total = first.content_length() as u64;
    if !first.is_full {
        check(size, total)?;
        call(key, client.put(key, first.payload)).await?;
        return Ok(total);
    }
    let id = call(key, client.create_multipart(key)).await?;
    let mut upload = Upload {
        client: client.clone(),
        key: key.clone(),
        id,
        sending: Vec::new(),
        sent: Vec::new(),
        parts: 0,
        is_over: false,
    };
    let mut part = first;
    loop {
        let is_last = !part.is_full;
        // A body of whole parts ends with an empty one.
        if part.content_length() > 0 {
            upload.send(part.payload).await?;
        }
        if is_last {
            break;
        }
        part = fill(&mut body, part_size).await?;
        total += part.content_length() as u64;
    }
    check(size, total)?;
    upload.complete().await?;
    Ok(total)
}

fn part_size(size: Option<u64>) -> Result<usize, ArtifactError> {
    let needed = size.unwrap_or(0).div_ceil(u64::from(MAX_PARTS));
    usize::try_from(needed)
        .map(|needed| needed.max(PART))
        .map_err(|_| ArtifactError::TooLarge)
}

/// A body that was to be longer broke off.
fn check(size: Option<u64>, total: u64) -> Result<(), ArtifactError> {
    match size {
        Some(size) if size != total => Err(ArtifactError::Interrupted),
        _ => Ok(()),
    }
}

struct Part {
    payload: PutPayload,
    /// More may come.
    is_full: bool,
}

impl Part {
    fn content_length(&self) -> usize {
        self.payload.content_length()
    }
}

/// Takes a part from the body. The bytes are copied: small pieces would keep the large buffers
/// alive that they were received in.
async fn fill<S, E>(body: &mut S, part_size: usize) -> Result<Part, ArtifactError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut payload = PutPayloadMut::new().with_block_size(BLOCK);
    while payload.content_length() < part_size {
        match body.next().await {
            Some(Ok(piece)) => payload.extend_from_slice(&piece),
            Some(Err(_)) => return Err(ArtifactError::Interrupted),
            None => {
                return Ok(Part {
                    payload: payload.freeze(),
                    is_full: false,
                });
            }
        }
    }
    Ok(Part {
        payload: payload.freeze(),
        is_full: true,
    })
}

/// An upload in parts; it is aborted unless it is over, also when its request is dropped.
struct Upload {
    client: AmazonS3,
    key: Key,
    id: String,
    sending: Vec<JoinHandle<Result<PartId, ArtifactError>>>,
    /// In order.
    sent: Vec<PartId>,
    parts: usize,
    is_over: bool,
}

impl Upload {
    async fn send(&mut self, payload: PutPayload) -> Result<(), ArtifactError> {
        if self.parts == usize::from(MAX_PARTS) {
            return Err(ArtifactError::TooLarge);
        }
        while self.sending.len() >= SENDING {
            self.wait_for_one().await?;
        }
        let (client, key, id) = (self.client.clone(), self.key.clone(), self.id.clone());
        let index = self.parts;
        self.parts += 1;
        self.sending.push(tokio::spawn(async move {
            call(&key, client.put_part(&key, &id, index, payload)).await
        }));
        Ok(())
    }

    async fn wait_for_one(&mut self) -> Result<(), ArtifactError> {
        let oldest = self.sending.remove(0);
        let part = match oldest.await {
            Ok(part) => part?,
            Err(error) => return Err(ArtifactError::Remote(error.into())),
        };
        self.sent.push(part);
        Ok(())
    }

    async fn complete(mut self) -> Result<(), ArtifactError> {
        while !self.sending.is_empty() {
            self.wait_for_one().await?;
        }
        let parts = std::mem::take(&mut self.sent);
        let complete = self.client.complete_multipart(&self.key, &self.id, parts);
        call(&self.key, complete).await?;
        self.is_over = true;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        for sending in &self.sending {
            sending.abort();
        }
        let (client, key) = (self.client.clone(), self.key.clone());
        let id = std::mem::take(&mut self.id);
        // Without a runtime the process ends, and the bucket's own rule for parts has to do.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = call(&key, client.abort_multipart(&key, &id)).await {
                    tracing::warn!(%error, "the parts of an unfinished upload can't be removed");
                }
            });
        }
    }
}
