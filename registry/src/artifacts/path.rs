//! Paths that stay inside the store.

use super::ArtifactError;

/// How the names begin that the store keeps for itself: they are never listed and can't be asked
/// for.
pub(crate) const PRIVATE_PREFIX: &str = ".upload-";

/// The longest path, as on Linux.
const MAX_PATH: usize = 4096;

/// A relative path inside the store: names joined by slashes, none of them special. Empty: the
/// root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactPath(Vec<String>);

impl ArtifactPath {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self(Vec::new())
    }

    /// Reads what a client sent (already decoded once, as URLs are).
    ///
    /// # Errors
    /// When it, or what it means after any number of further decodings, is absolute, climbs with
    /// `..`, or has a backslash, a control character or a name that the store keeps for itself.
    pub fn parse(text: &str) -> Result<Self, ArtifactError> {
        if text.len() > MAX_PATH {
            return Err(ArtifactError::InvalidPath);
        }
        let mut decoded = text.to_owned();
        // Each decoding shortens the text, so this ends.
        loop {
            check(&decoded)?;
            let further = decode(&decoded).ok_or(ArtifactError::InvalidPath)?;
            if further == decoded {
                break;
            }
            decoded = further;
        }
        let names: Vec<String> = text
            .split('/')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        if names
            .iter()
            .any(|name| name.len() > 255 || name.starts_with(PRIVATE_PREFIX))
        {
            return Err(ArtifactError::InvalidPath);
        }
        Ok(Self(names))
    }

    /// A name in the root that the store keeps for itself.
    pub(super) fn private(name: String) -> Self {
        Self(vec![name])
    }

    /// The path of `other` below this one.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// Whether it is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its names, from the root down.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl std::fmt::Display for ArtifactPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

fn check(text: &str) -> Result<(), ArtifactError> {
    let drive = {
        let mut chars = text.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(':')
    };
    let bad = text.starts_with('/')
        || text.contains('\\')
        || text.chars().any(char::is_control)
        || drive
        || climbs(text)
        || climbs(&text.chars().map(plain).collect::<String>());
    if bad {
        Err(ArtifactError::InvalidPath)
    } else {
        Ok(())
    }
}

fn climbs(text: &str) -> bool {
    text.split(['/', '\\'])
        .any(|name| matches!(name.trim(), "." | ".." | "\u{2025}"))
}

/// The character that others become for a file system that normalizes names.
fn plain(c: char) -> char {
    match c {
        '\u{2024}' | '\u{fe52}' | '\u{ff0e}' => '.',
        '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{ff0f}' => '/',
        '\u{2216}' | '\u{29f9}' | '\u{fe68}' | '\u{ff3c}' => '\\',
        other => other,
    }
}

/// Decodes `%41` once, everywhere; `None` when that is no UTF-8 (overlong forms of dots and slashes
/// are not).
fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match hex {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_paths_are_kept_as_they_are() {
        for (text, names) in [
            ("", vec![]),
            ("a", vec!["a"]),
            (
                "1/ab/artifacts/model/MLmodel",
                vec!["1", "ab", "artifacts", "model", "MLmodel"],
            ),
            ("ä b/..c/d..e/...", vec!["ä b", "..c", "d..e", "..."]),
            ("a//b/", vec!["a", "b"]),
            ("50%/100%25", vec!["50%", "100%25"]),
        ] {
            assert_eq!(ArtifactPath::parse(text).unwrap().names(), names, "{text}");
        }
    }

    #[test]
    fn nothing_leads_out() {
        for bad in [
            "..",
            "../a",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "/etc/passwd",
            "//etc",
            "a\\..\\b",
            "..\\a",
            "C:/a",
            "c:a",
            "%2e%2e/a",
            "a/%2E%2E/b",
            "%252e%252e/a",
            "%25252e%25252e/a",
            "%2fetc/passwd",
            "%5c..",
            "a/%2e%2e%2fb",
            "a\0b",
            "a/%00",
            "a/.. /b",
            "a\nb",
            ".upload-x",
            "a/.upload-1.tmp",
            "..%c0%af",
            "%2e./a",
            ".%2e/a",
            "\u{ff0e}\u{ff0e}/a",
            "a/\u{2024}\u{2024}",
            "a\u{ff0f}..\u{ff0f}b",
            "a\u{2215}..",
            "..\u{ff3c}a",
            "%ef%bc%8e%ef%bc%8e/a",
            "\u{2025}/a",
            "a/\u{2025}",
            "..\u{a0}/a",
            "..\u{3000}",
        ] {
            assert!(ArtifactPath::parse(bad).is_err(), "{bad}");
        }
        assert!(ArtifactPath::parse(&"a".repeat(256)).is_err());
        assert!(ArtifactPath::parse(&"a/".repeat(2049)).is_err());
        assert!(ArtifactPath::parse(&format!("%{}", "25".repeat(9000))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_accepted_has_plain_names_only(text in "([a./%2eE5cCfF\\\\]|[^/]){0,24}") {
            if let Ok(path) = ArtifactPath::parse(&text) {
                for name in path.names() {
                    prop_assert!(name != ".." && name != "." && !name.is_empty());
                    prop_assert!(!name.contains(['/', '\\', '\0']));
                }
            }
        }
    }
}
