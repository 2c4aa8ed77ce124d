//! The bytes of a file, local or on S3, unpacked.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3;
use object_store::path::Path as Key;
use zip::ZipArchive;

use crate::error::{HistoryError, Result};
use crate::location::{DataObject, FileFormat, split_s3_uri};
use crate::storage::block_on;

const S3_CHUNK_BYTES: u64 = 8 << 20;

/// Opens the stored bytes, packed as they are.
pub(crate) fn open_raw(object: &DataObject) -> Result<Box<dyn Read>> {
    let Some((bucket, key)) = split_s3_uri(&object.uri) else {
        let file = File::open(&object.uri).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => HistoryError::NotFound {
                uri: object.uri.clone(),
                hint: String::new(),
            },
            _ => HistoryError::io(&object.uri, "open", error),
        })?;
        return Ok(Box::new(file));
    };
    Ok(Box::new(S3Reader {
        client: object.storage.bucket(bucket, &object.uri)?,
        key: Key::from(key),
        size_bytes: object.size_bytes,
        fetched: 0,
        chunk: io::Cursor::new(Vec::new()),
        uri: object.uri.clone(),
    }))
}

/// Hands the text of a CSV file to `read`, once per member for a zip archive.
///
/// `read` gets the name to report errors under: the file's, or `archive.zip/member.csv`.
pub(crate) fn with_text(
    object: &DataObject,
    mut read: impl FnMut(&str, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    match object.format() {
        FileFormat::Csv => read(&object.uri, &mut open_raw(object)?),
        FileFormat::CsvGz => {
            let packed = BufReader::with_capacity(1 << 16, open_raw(object)?);
            read(&object.uri, &mut MultiGzDecoder::new(packed))
        }
        FileFormat::CsvZip => with_zip_members(object, read),
        FileFormat::Parquet => Err(HistoryError::format(
            &object.uri,
            "a Parquet file where text was expected",
        )),
    }
}

fn with_zip_members(
    object: &DataObject,
    mut read: impl FnMut(&str, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let unzip = |error: zip::result::ZipError| {
        HistoryError::format(&object.uri, format!("not a readable zip archive: {error}"))
    };
    // The list of members stands at the end of an archive: what streams is spooled first.
    let file = if object.is_s3() {
        spool(object)?
    } else {
        File::open(&object.uri).map_err(|error| HistoryError::io(&object.uri, "open", error))?
    };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(unzip)?;
    let mut n_members = 0;
    for member_idx in 0..archive.len() {
        let mut member = archive.by_index(member_idx).map_err(unzip)?;
        let name = member.name().map_err(unzip)?.into_owned();
        if !member.is_file() || !name.to_ascii_lowercase().ends_with(".csv") {
            continue;
        }
        n_members += 1;
        let name = format!("{}/{name}", object.uri);
        read(&name, &mut member)?;
    }
    if n_members == 0 {
        return Err(HistoryError::format(
            &object.uri,
            "the archive holds no `.csv` file",
        ));
    }
    Ok(())
}

fn spool(object: &DataObject) -> Result<File> {
    let failed = |error| HistoryError::io(&object.uri, "keep a temporary copy of", error);
    let mut copy = tempfile::tempfile().map_err(failed)?;
    let mut source = open_raw(object)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n_read = source
            .read(&mut buffer)
            .map_err(|error| HistoryError::io(&object.uri, "read", error))?;
        if n_read == 0 {
            break;
        }
        copy.write_all(&buffer[..n_read]).map_err(failed)?;
    }
    copy.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(copy)
}

/// Reads an object in ranges of a few MiB.
struct S3Reader {
    client: Arc<AmazonS3>,
    key: Key,
    size_bytes: u64,
    fetched: u64,
    chunk: io::Cursor<Vec<u8>>,
    uri: String,
}

impl S3Reader {
    fn fetch(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let (client, key) = (&self.client, &self.key);
        block_on(async move { client.get_range(key, range).await })?
            .map(|bytes| bytes.to_vec())
            .map_err(|source| HistoryError::store(&self.uri, "read", source))
    }
}

impl Read for S3Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.chunk.read(buffer)?;
        if n_read > 0 || self.fetched >= self.size_bytes || buffer.is_empty() {
            return Ok(n_read);
        }
        let end = (self.fetched + S3_CHUNK_BYTES).min(self.size_bytes);
        let chunk = self.fetch(self.fetched..end).map_err(io::Error::other)?;
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.fetched += chunk.len() as u64;
        self.chunk = io::Cursor::new(chunk);
        self.chunk.read(buffer)
    }
}
