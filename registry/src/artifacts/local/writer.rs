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

/// Writes a body to a file; while a batch is written the next is received. Returns its size.
///
/// # Errors
/// When the body breaks off or the disk fails.
pub(super) async fn write<S, E>(file: &Arc<File>, mut body: S) -> Result<u64, ArtifactError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut total: u64 = 0;
    let mut writing: Option<JoinHandle<io::Result<()>>> = None;
    loop {
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
        if let Some(before) = writing.take() {
            before.await.unwrap_or_else(|e| Err(io::Error::other(e)))?;
        }
        if batch.is_empty() {
            return Ok(total);
        }
        total += size as u64;
        let file = Arc::clone(file);
        writing = Some(tokio::task::spawn_blocking(move || {
            write_batch(&file, &batch)
        }));
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
