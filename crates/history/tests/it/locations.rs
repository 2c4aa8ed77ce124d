use history::{FileFormat, HistoryError, Location, fingerprint};

use crate::{Folder, message};

fn names(folder: &Folder, text: &str) -> Vec<String> {
    let objects = folder.objects(text);
    objects
        .iter()
        .map(|object| object.file_name().to_owned())
        .collect()
}

fn refusal(folder: &Folder, text: &str) -> String {
    message(&folder.resolve(text).unwrap_err(), folder.dir.path())
}

fn sample() -> Folder {
    let folder = Folder::new();
    folder
        .put("btcusd-1m.parquet", "p")
        .put("b/2.csv", "22")
        .put("b/1.csv.gz", "1")
        .put("b/readme.md", "x")
        .put("b/.hidden.csv", "x")
        .put("b/_SUCCESS", "x")
        .put("b/c/3.zip", "333");
    folder
}

#[test]
fn finds_files_folders_and_globs_in_order() {
    let folder = sample();
    assert_eq!(names(&folder, "btcusd-1m.parquet"), ["btcusd-1m.parquet"]);
    assert_eq!(names(&folder, "b"), ["1.csv.gz", "2.csv", "3.zip"]);
    assert_eq!(names(&folder, "b/*.csv*"), ["1.csv.gz", "2.csv"]);
    assert_eq!(names(&folder, "b/[2-9].csv"), ["2.csv"]);
    assert_eq!(names(&folder, "**/*.zip"), ["3.zip"]);
    assert_eq!(names(&folder, &folder.uri("b/?.csv")), ["2.csv"]);
    let objects = folder.objects("b");
    assert_eq!(objects[1].size_bytes, 2);
    assert_eq!(objects[0].format(), FileFormat::CsvGz);
    assert_eq!(objects[2].format(), FileFormat::CsvZip);
}

#[test]
fn says_what_is_missing_and_what_is_near() {
    let folder = sample();
    assert_eq!(
        refusal(&folder, "btcusd-1h.parquet"),
        "`btcusd-1h.parquet` does not exist; did you mean `btcusd-1m.parquet`?"
    );
    assert!(
        refusal(&folder, "x/y.csv").contains("its folder"),
        "no hint of the folder"
    );
    let text = refusal(&folder, "b/*.parquet");
    assert!(
        text.starts_with("`b/*.parquet` matches no file; "),
        "{text}"
    );
    folder.put("empty/notes.txt", "");
    assert_eq!(
        refusal(&folder, "empty"),
        format!("`{}` matches no file; there is `notes.txt`", "empty")
    );
}

#[test]
fn refuses_locations_that_make_no_sense() {
    let folder = Folder::new();
    for (text, reason) in [
        ("", "it is empty"),
        ("s3://", "an s3 location is `s3://BUCKET/KEY`"),
        ("s3://b*/x", "an s3 location is `s3://BUCKET/KEY`"),
        ("gs://b/x", "`gs` is not supported; paths and `s3://` are"),
        ("a[", "invalid range pattern"),
    ] {
        let error = Location::parse(text, folder.dir.path()).unwrap_err();
        assert!(matches!(error, HistoryError::InvalidLocation { .. }));
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn a_fingerprint_depends_on_content_and_names_only() {
    let (one, other) = (Folder::new(), Folder::new());
    for folder in [&one, &other] {
        folder.put("a.csv", "abc").put("b.csv", "");
    }
    let print = |folder: &Folder| fingerprint(&folder.objects(".")).unwrap();
    let first = print(&one);
    assert_eq!(first.hash, print(&other).hash);
    assert_eq!(
        first.objects[0].sha256,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!((first.objects[0].size_bytes, first.objects.len()), (3, 2));
    other.put("a.csv", "abd");
    assert_ne!(first.hash, print(&other).hash);
    other.put("a.csv", "abc").put("c.csv", "");
    assert_ne!(first.hash, print(&other).hash);
}
