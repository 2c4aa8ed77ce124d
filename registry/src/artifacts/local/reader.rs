//! Reading a file quickly and evenly.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::task::JoinHandle;

use crate::artifacts::ArtifactError;

/// What is read at once: large enough that the calls don't count, small enough for a cache.
const CHUNK: u64 = 512 * 1024;

struct Reader {
    file: Arc<File>,
    /// What is not asked for yet.
    rest: Range<u64>,
    ahead: Ahead,
}

/// The next chunk, which is read while the one before is sent.
enum Ahead {
    Ready(Bytes),
    Reading(JoinHandle<io::Result<Bytes>>),
    End,
}

/// The bytes of a range. One chunk is read ahead; no thread waits for a slow receiver.
///
/// Blocks for the first chunk.
pub(super) fn stream(
    file: File,
    range: Range<u64>,
) -> io::Result<BoxStream<'static, Result<Bytes, ArtifactError>>> {
    let mut reader = Reader {
        file: Arc::new(file),
        rest: range,
        ahead: Ahead::End,
    };
    if let Some(chunk) = reader.next_chunk() {
        reader.ahead = Ahead::Ready(read(&reader.file, &chunk)?);
    }
    let chunks = stream::try_unfold(reader, |mut reader| async move {
        let chunk = match std::mem::replace(&mut reader.ahead, Ahead::End) {
            Ahead::End => return Ok(None),
            Ahead::Ready(chunk) => chunk,
            Ahead::Reading(chunk) => chunk.await.unwrap_or_else(|e| Err(io::Error::other(e)))?,
        };
        if let Some(next) = reader.next_chunk() {
            let file = Arc::clone(&reader.file);
            reader.ahead = Ahead::Reading(tokio::task::spawn_blocking(move || read(&file, &next)));
        }
        Ok(Some((chunk, reader)))
    });
    Ok(chunks.boxed())
}

impl Reader {
    fn next_chunk(&mut self) -> Option<Range<u64>> {
        let start = self.rest.start;
        let end = self.rest.end.min(start.saturating_add(CHUNK));
        self.rest.start = end;
        (start < end).then_some(start..end)
    }
}

fn read(file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let size = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut chunk = vec![0; size];
    file.read_exact_at(&mut chunk, range.start)?;
    Ok(chunk.into())
}
