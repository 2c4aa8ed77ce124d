//! The records of CSV text.
//!
//! Market data hardly ever has a quote, and without one a record is a line and its fields lie between commas: much
//! quicker to find than by a parser that expects a quote at every byte. From the first line with a quote on (or with a
//! carriage return that doesn't end it, or beside text that isn't UTF-8) the rest is read by the `csv` crate, which
//! decides what such text means.

use std::borrow::Cow;
use std::io::{self, Read};
use std::ops::Range;
use std::str::{self, Utf8Error};

use csv::{ByteRecord, Reader, ReaderBuilder};
use memchr::{memchr, memchr2_iter, memrchr};

use crate::error::{HistoryError, Result};

/// Bytes that are read at a time; a longer line makes it more.
const BLOCK_BYTES: usize = 1 << 17;

/// A cursor over the records of a text; empty lines are none.
pub(crate) struct Records<'r> {
    uri: String,
    plain: Plain<'r>,
    /// The rest, as soon as a line was not plain.
    quoted: Option<Quoted<'r>>,
}

impl<'r> Records<'r> {
    /// Nothing is read yet; errors name `uri`.
    pub(crate) fn new(uri: &str, source: &'r mut dyn Read) -> Self {
        Self {
            uri: uri.to_owned(),
            plain: Plain::new(source),
            quoted: None,
        }
    }

    /// Moves to the next record; `false` at the end.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        if self.quoted.is_none() {
            let found = self.plain.advance();
            match found.map_err(|error| HistoryError::io(&self.uri, "read", error))? {
                Found::Record => return Ok(true),
                Found::End => return Ok(false),
                Found::Quoted => self.quoted = self.plain.leave(),
            }
        }
        match &mut self.quoted {
            Some(quoted) => quoted.advance(&self.uri),
            None => Ok(false),
        }
    }

    /// The 1-based line that the current record begins at.
    pub(crate) fn line(&self) -> u64 {
        match &self.quoted {
            Some(quoted) => {
                let line = quoted.record.position().map_or(0, csv::Position::line);
                quoted.n_before + line
            }
            None => self.plain.n_lines,
        }
    }

    /// How many fields the current record has.
    pub(crate) fn n_fields(&self) -> usize {
        match &self.quoted {
            Some(quoted) => quoted.record.len(),
            None => self.plain.ends.len(),
        }
    }

    /// A field of the current record.
    ///
    /// # Errors
    /// It isn't UTF-8.
    #[inline]
    pub(crate) fn field(&self, idx: usize) -> std::result::Result<Option<&str>, Utf8Error> {
        match &self.quoted {
            Some(quoted) => quoted.record.get(idx).map(str::from_utf8).transpose(),
            None => {
                let place = self.plain.place(idx);
                Ok(place.and_then(|place| self.plain.text.get(place)))
            }
        }
    }

    /// The fields of the current record, as far as they are UTF-8.
    pub(crate) fn to_texts(&self) -> Vec<String> {
        match &self.quoted {
            Some(quoted) => {
                let fields = quoted.record.iter().map(String::from_utf8_lossy);
                fields.map(Cow::into_owned).collect()
            }
            None => {
                let fields = (0..self.n_fields()).filter_map(|idx| self.plain.place(idx));
                fields
                    .filter_map(|place| self.plain.text.get(place))
                    .map(str::to_owned)
                    .collect()
            }
        }
    }
}

/// Lines of UTF-8 whose fields are what lies between commas.
struct Plain<'r> {
    /// `None` as soon as somebody else reads it.
    source: Option<&'r mut dyn Read>,
    /// What was read and is no whole line yet: so many bytes of it.
    read: Vec<u8>,
    n_read: usize,
    is_at_end: bool,
    /// What became of reading on: told when nothing whole is left.
    failure: Option<io::Error>,
    /// Whole lines.
    text: String,
    /// Where the next line begins in the text.
    next: usize,
    /// Where the first quote stands in the text.
    quote: usize,
    /// Lines so far, with the current one.
    n_lines: u64,
    /// Where the fields of the current line end in the text; the first one begins at `start`, each other one behind the
    /// comma.
    ends: Vec<usize>,
    start: usize,
}

enum Found {
    Record,
    End,
    /// What comes next isn't plain.
    Quoted,
}

impl<'r> Plain<'r> {
    fn new(source: &'r mut dyn Read) -> Self {
        Self {
            source: Some(source),
            read: vec![0; BLOCK_BYTES],
            n_read: 0,
            is_at_end: false,
            failure: None,
            text: String::new(),
            next: 0,
            quote: usize::MAX,
            n_lines: 0,
            ends: Vec::new(),
            start: 0,
        }
    }

    fn advance(&mut self) -> io::Result<Found> {
        loop {
            let left = &self.text.as_bytes()[self.next..];
            if left.is_empty() {
                if let Some(failure) = self.failure.take() {
                    return Err(failure);
                }
                if self.is_at_end && self.n_read == 0 {
                    return Ok(Found::End);
                }
                if !self.fill() {
                    return Ok(Found::Quoted);
                }
                continue;
            }
            let n_line = memchr(b'\n', left).unwrap_or(left.len());
            let line = left[..n_line].strip_suffix(b"\r");
            let line = line.unwrap_or(&left[..n_line]);
            let end = self.next + line.len();
            if self.quote < end {
                return Ok(Found::Quoted);
            }
            self.ends.clear();
            for place in memchr2_iter(b',', b'\r', line) {
                if line[place] == b'\r' {
                    return Ok(Found::Quoted);
                }
                self.ends.push(self.next + place);
            }
            self.ends.push(end);
            self.start = self.next;
            self.next = self.text.len().min(self.next + n_line + 1);
            self.n_lines += 1;
            if self.start < end {
                return Ok(Found::Record);
            }
        }
    }

    /// Reads on for whole lines; `false` if they aren't UTF-8.
    fn fill(&mut self) -> bool {
        let is_first = self.n_lines == 0;
        let n_whole = loop {
            self.read_block();
            let read = &self.read[..self.n_read];
            match memrchr(b'\n', read) {
                Some(last) if !self.is_at_end => break last + 1,
                _ if self.is_at_end => break read.len(),
                // What failed leaves no whole line.
                _ if self.failure.is_some() => break 0,
                _ => self.read.resize(2 * self.read.len(), 0),
            }
        };
        let Ok(text) = str::from_utf8(&self.read[..n_whole]) else {
            return false;
        };
        self.text.clear();
        self.text.push_str(text);
        self.next = match text.strip_prefix('\u{feff}') {
            Some(text) if is_first => self.text.len() - text.len(),
            _ => 0,
        };
        self.quote = memchr(b'"', self.text.as_bytes()).unwrap_or(usize::MAX);
        self.read.copy_within(n_whole..self.n_read, 0);
        self.n_read -= n_whole;
        true
    }

    /// Reads until the block is full, whatever the source gives at a time.
    fn read_block(&mut self) {
        while let Some(source) = &mut self.source
            && self.n_read < self.read.len()
        {
            match source.read(&mut self.read[self.n_read..]) {
                Ok(0) => {
                    self.is_at_end = true;
                    return;
                }
                Ok(n_read) => self.n_read += n_read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(error);
                    return;
                }
            }
        }
    }

    fn place(&self, idx: usize) -> Option<Range<usize>> {
        let end = *self.ends.get(idx)?;
        let start = match idx.checked_sub(1) {
            Some(before) => self.ends[before] + 1,
            None => self.start,
        };
        Some(start..end)
    }

    /// What is left, for a reader that knows quotes.
    fn leave(&mut self) -> Option<Quoted<'r>> {
        let mut text = self.text.as_bytes()[self.next..].to_vec();
        text.extend_from_slice(&self.read[..self.n_read]);
        let rest = Rest {
            left: 0..text.len(),
            text,
            failure: self.failure.take(),
            source: self.source.take()?,
        };
        Some(Quoted {
            reader: ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .buffer_capacity(BLOCK_BYTES)
                .from_reader(rest),
            record: ByteRecord::new(),
            n_before: self.n_lines,
        })
    }
}

/// Text with quotes.
struct Quoted<'r> {
    reader: Reader<Rest<'r>>,
    record: ByteRecord,
    /// Lines before it.
    n_before: u64,
}

impl Quoted<'_> {
    fn advance(&mut self, uri: &str) -> Result<bool> {
        let is_read = self.reader.read_byte_record(&mut self.record);
        is_read.map_err(|error| {
            let line = self.n_before + self.reader.position().line();
            match error.into_kind() {
                csv::ErrorKind::Io(source) => HistoryError::io(uri, "read", source),
                _ => HistoryError::row(uri, line, "it is not CSV"),
            }
        })
    }
}

/// What was read already, how that ended, and what comes after it.
struct Rest<'r> {
    text: Vec<u8>,
    left: Range<usize>,
    failure: Option<io::Error>,
    source: &'r mut dyn Read,
}

impl Read for Rest<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() {
            return match self.failure.take() {
                Some(failure) => Err(failure),
                None => self.source.read(buffer),
            };
        }
        let n_read = (&self.text[self.left.clone()]).read(buffer)?;
        self.left.start += n_read;
        Ok(n_read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// Gives a few bytes at a time, and then an error if it is to.
    struct Slow<'a>(&'a [u8], usize, bool);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n_read = self.1.min(self.0.len()).min(buffer.len());
            buffer[..n_read].copy_from_slice(&self.0[..n_read]);
            self.0 = &self.0[n_read..];
            if n_read == 0 && self.2 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Ok(n_read)
        }
    }

    type Lines = Vec<(u64, Vec<String>)>;

    fn of(text: &[u8], block_bytes: usize, step: usize) -> Lines {
        let mut source = Slow(text, step, false);
        let mut records = Records::new("t.csv", &mut source);
        records.plain.read.truncate(block_bytes);
        let mut found = Vec::new();
        while records.advance().unwrap() {
            let fields = records.to_texts();
            for (idx, field) in fields.iter().enumerate() {
                match records.field(idx) {
                    Ok(same) => assert_eq!(same, Some(field.as_str())),
                    Err(_) => assert!(field.contains('\u{fffd}')),
                }
            }
            assert_eq!(fields.len(), records.n_fields());
            assert_eq!(records.field(fields.len()), Ok(None));
            found.push((records.line(), fields));
        }
        assert!(!records.advance().unwrap());
        found
    }

    fn of_csv(text: &[u8]) -> Vec<Vec<String>> {
        let lossy = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text);
        let records = reader.byte_records().map(std::result::Result::unwrap);
        records
            .map(|record| record.iter().map(lossy).collect())
            .collect()
    }

    #[test]
    fn lines_are_counted_whatever_ends_them() {
        let lines = |text: &str| -> Vec<u64> {
            let found = of(text.as_bytes(), 8, 3);
            found.into_iter().map(|(line, _)| line).collect()
        };
        assert_eq!(lines("a,b\nc,d\n\ne,f"), [1, 2, 4]);
        assert_eq!(lines("a,b\r\nc,d\r\n\r\ne,f\r\n"), [1, 2, 4]);
        // The quote is of the third line, and the fourth is a part of it.
        assert_eq!(lines("a,b\nc,d\ne,\"f\n\"\ng,h\n"), [1, 2, 3, 5]);
        assert_eq!(lines(""), [0_u64; 0]);
        assert_eq!(lines("\u{feff}a\nb"), [1, 2]);
    }

    #[test]
    fn what_is_whole_comes_before_what_cannot_be_read() {
        for text in ["a,b\nc,d\ne,", "a,b\n\"c\",d\ne,"] {
            let mut source = Slow(text.as_bytes(), 4, true);
            let mut records = Records::new("t.csv", &mut source);
            for line in 1..=2 {
                assert!(records.advance().unwrap());
                assert_eq!((records.line(), records.n_fields()), (line, 2));
            }
            let error = records.advance().unwrap_err();
            assert!(matches!(error, HistoryError::Io { .. }), "{error:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn they_are_those_of_the_csv_crate(
            text in "(\u{feff})?([abé,]{0,5}(\n|\r\n)){0,6}[abé,\"\r\n]{0,12}",
            // Where one of the bytes is none of UTF-8.
            broken in proptest::option::weighted(0.1, 0_usize..40),
            block_bytes in 3_usize..40,
            step in 1_usize..10,
        ) {
            let mut bytes = text.as_bytes().to_vec();
            if let Some(byte) = broken.and_then(|place| bytes.get_mut(place)) {
                *byte = 0xff;
            }
            let found = of(&bytes, block_bytes, step);
            let fields: Vec<_> = found.iter().map(|(_, fields)| fields.clone()).collect();
            prop_assert_eq!(&fields, &of_csv(&bytes));
            if !text.contains(['"', '\r']) && broken.is_none() {
                let full = text.trim_start_matches('\u{feff}').split('\n').enumerate();
                let full = full.filter(|(_, line)| !line.is_empty());
                let lines: Vec<u64> = full.map(|(idx, _)| idx as u64 + 1).collect();
                let found: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
                prop_assert_eq!(found, lines);
            }
        }
    }
}
