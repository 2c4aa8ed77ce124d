//! Writing a file quickly and evenly.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::task::JoinHandle;

use crate::artifacts::ArtifactError;

/// What is written at once.
const BATCH: usize = 1024 * 1024;

/// Pieces that are written at once at most: a sender may send single bytes.
const PIECES: usize = 256;

/// After so many bytes the disk begins with what is there, so that little is left to wait for when
/// the body has ended.
const SYNC_EVERY: u64 = 16 * 1024 * 1024;

type Work = JoinHandle<io::Result<()>>;

/// Writes a body to a file; while a batch is written the next is received. Returns its size.
///
/// # Errors
/// When the body breaks off or the disk fails.
pub(super) async fn write<S, E>(file: &Arc<File>, mut body: S) -> Result<u64, ArtifactError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let (mut total, mut synced): (u64, u64) = (0, 0);
    let mut writing: Option<Work> = None;
    let mut syncing: Option<Work> = None;
    loop {
        let batch = next_batch(&mut body).await?;
        finish(writing.take()).await?;
        if batch.is_empty() {
            finish(syncing).await?;
            return Ok(total);
        }
        if total - synced >= SYNC_EVERY && syncing.as_ref().is_none_or(JoinHandle::is_finished) {
            // A disk tells of a failure once, so every answer counts.
            finish(syncing.take()).await?;
            let file = Arc::clone(file);
            syncing = Some(tokio::task::spawn_blocking(move || file.sync_data()));
            synced = total;
        }
        total += batch.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let file = Arc::clone(file);
        writing = Some(tokio::task::spawn_blocking(move || {
            write_batch(&file, &batch)
        }));
    }
}

/// The next bytes of a body; none at its end.
async fn next_batch<S, E>(body: &mut S) -> Result<Vec<Bytes>, ArtifactError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut batch = Vec::new();
    let mut size = 0;
    while size < BATCH && batch.len() < PIECES {
        match body.next().await {
            Some(Ok(piece)) if piece.is_empty() => {}
            Some(Ok(piece)) => {
                size += piece.len();
                batch.push(piece);
            }
            Some(Err(_)) => return Err(ArtifactError::Interrupted),
            None => break,
        }
    }
    Ok(batch)
}

async fn finish(work: Option<Work>) -> io::Result<()> {
    match work {
        Some(work) => work
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error))),
        None => Ok(()),
    }
}

fn write_batch(mut file: &File, batch: &[Bytes]) -> io::Result<()> {
    let mut pieces: Vec<IoSlice<'_>> = batch.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = pieces.as_mut_slice();
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
