//! What kind of data a file is, by its name.

/// Files that MLflow serves as plain text, so that a browser can show them and runs nothing.
const TEXT: &[&str] = &[
    "txt",
    "log",
    "err",
    "cfg",
    "conf",
    "cnf",
    "cf",
    "ini",
    "properties",
    "prop",
    "hocon",
    "toml",
    "yaml",
    "yml",
    "xml",
    "json",
    "js",
    "py",
    "py3",
    "csv",
    "tsv",
    "md",
    "rst",
    "ipynb",
    "MLmodel",
    "MLproject",
];

/// As Python's `mimetypes` has them: what S3 is told of an upload.
const TYPES: &[(&str, &str)] = &[
    ("bmp", "image/bmp"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("md", "text/markdown"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("py", "text/x-python"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tiff", "image/tiff"),
    ("tsv", "text/tab-separated-values"),
    ("txt", "text/plain"),
    ("wav", "audio/x-wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("xml", "text/xml"),
    ("zip", "application/zip"),
];

const BINARY: &str = "application/octet-stream";

/// The content type of a download.
pub(super) fn of_download(name: &str) -> &'static str {
    let extension = name
        .rsplit_once('.')
        .map_or(name, |(_, extension)| extension);
    if TEXT.contains(&extension) {
        "text/plain"
    } else {
        of_upload(name)
    }
}

/// The content type of an upload.
pub(super) fn of_upload(name: &str) -> &'static str {
    let Some((_, extension)) = name.rsplit_once('.') else {
        return BINARY;
    };
    let extension = extension.to_ascii_lowercase();
    TYPES
        .iter()
        .find(|(known, _)| *known == extension)
        .map_or(BINARY, |(_, media_type)| media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_is() {
        for (name, download, upload) in [
            ("MLmodel", "text/plain", BINARY),
            ("conda.yaml", "text/plain", BINARY),
            ("a.json", "text/plain", "application/json"),
            ("plot.PNG", "image/png", "image/png"),
            ("page.html", "text/html", "text/html"),
            ("model.pkl", BINARY, BINARY),
            ("model", BINARY, BINARY),
            ("", BINARY, BINARY),
        ] {
            assert_eq!(
                (of_download(name), of_upload(name)),
                (download, upload),
                "{name}"
            );
        }
    }
}
