//! Little-endian writing and bounds-checked reading. No length read from bytes is trusted: it is
//! compared with what is left before anything is allocated.

use sha2::{Digest, Sha256};

use crate::error::FormatError;

/// Length of the checksum at the end of a file.
pub(crate) const CHECKSUM: usize = 32;

/// SHA-256.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    Sha256::digest(bytes).into()
}

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.out
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn f64s(&mut self, values: &[f64]) {
        self.u64(values.len() as u64);
        for value in values {
            self.f64(*value);
        }
    }

    pub(crate) fn blob(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.raw(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.blob(text.as_bytes());
    }
}

/// Takes values from the front of a buffer.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub(crate) fn raw(&mut self, what: &'static str, n: usize) -> Result<&'a [u8], FormatError> {
        let (taken, left) = self
            .left
            .split_at_checked(n)
            .ok_or(FormatError::Truncated {
                what,
                needed: n as u64,
                left: self.left.len() as u64,
            })?;
        self.left = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.raw(what, N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, FormatError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, FormatError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, FormatError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn f64(&mut self, what: &'static str) -> Result<f64, FormatError> {
        self.array(what).map(f64::from_le_bytes)
    }

    /// A count of items of at least `size` bytes each, refused where they cannot fit.
    pub(crate) fn count(&mut self, what: &'static str, size: usize) -> Result<usize, FormatError> {
        let n = self.u64(what)?;
        let needed = n.saturating_mul(size as u64);
        if needed > self.left.len() as u64 {
            return Err(FormatError::Truncated {
                what,
                needed,
                left: self.left.len() as u64,
            });
        }
        Ok(n as usize)
    }

    pub(crate) fn f64s(&mut self, what: &'static str) -> Result<Vec<f64>, FormatError> {
        let n = self.count(what, 8)?;
        (0..n).map(|_| self.f64(what)).collect()
    }

    pub(crate) fn blob(&mut self, what: &'static str) -> Result<&'a [u8], FormatError> {
        let n = self.count(what, 1)?;
        self.raw(what, n)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, FormatError> {
        let bytes = self.blob(what)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|error| FormatError::content(what, error))
    }

    /// Refuses bytes that nobody asked for.
    pub(crate) fn end(&self, what: &'static str) -> Result<(), FormatError> {
        if self.left.is_empty() {
            Ok(())
        } else {
            Err(FormatError::content(
                what,
                format!("{} bytes follow its end", self.left.len()),
            ))
        }
    }
}
