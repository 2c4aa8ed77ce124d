//! Ids that are the same for the same thing, whoever says it and how often.

use sha2::{Digest as _, Sha256};

/// 32 hexadecimal digits that tell these words from others.
#[must_use]
pub fn digest(words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    id_of(&words, &[])
}

/// 32 hexadecimal digits of these words and numbers.
pub(crate) fn id_of(words: &[&str], numbers: &[i64]) -> String {
    let mut hash = Sha256::new();
    for word in words {
        // Lengths first, so that no two different lists of words run together.
        hash.update((word.len() as u64).to_le_bytes());
        hash.update(word);
    }
    for number in numbers {
        hash.update(number.to_le_bytes());
    }
    let digest = hash.finalize();
    digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
