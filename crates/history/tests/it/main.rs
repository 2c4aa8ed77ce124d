//! Reads and writes real files, and a real S3 server.
#![allow(clippy::unwrap_used, missing_docs)] // A test that cannot set up its case should panic.

mod candles;
mod features;
mod locations;
mod never_panics;
mod s3;
mod trades;
mod writing;

use std::io::Write;
use std::path::{Path, PathBuf};

use history::{DataObject, HistoryError, Location, S3Config, Storage};
use tempfile::TempDir;

/// A folder of small history files, removed afterwards.
struct Folder {
    dir: TempDir,
    storage: Storage,
}

impl Folder {
    fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            storage: Storage::new(S3Config::default()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn uri(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    fn resolve(&self, text: &str) -> history::Result<Vec<DataObject>> {
        Location::parse(text, self.dir.path())?.resolve(&self.storage)
    }

    fn objects(&self, text: &str) -> Vec<DataObject> {
        self.resolve(text).unwrap()
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

fn zip_of(members: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in members {
        archive
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The whole chain of an error's messages, with the folder's own name taken out.
fn message(error: &HistoryError, folder: &Path) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.replace(&format!("{}/", folder.display()), "")
}
