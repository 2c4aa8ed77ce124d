//! The native file.
//!
//! ```text
//! offset  size
//!      0     8  magic `FSHKMODL`
//!      8     4  version (2; 1 is read too: it has no `DRFT` and no `GOLD`)
//!     12     4  number of sections n
//!     16  20·n  table: tag (4 ASCII letters), offset from the file's start (u64), length (u64)
//!            …  sections, in the table's order, nothing between them
//!  end−32   32  SHA-256 of everything before
//! ```
//!
//! Integers and floats are little-endian, texts UTF-8 with a u64 length before them. A reader
//! refuses a section it does not know: a score that leaves part of a model out would be wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Baseline, Calibrators, DetectorSet, External, Golden, Model};
use crate::bytes::{CHECKSUM, Reader, Writer, checksum};
use crate::calibration::Calibrator;
use crate::detector::Detector;
use crate::drift::DriftBaseline;
use crate::error::{Error, FormatError, Result};
use crate::threshold::{Threshold, ThresholdRule};

const NAME: &str = "foreshock model";
const MAGIC: &[u8; 8] = b"FSHKMODL";
const VERSION: u32 = 2;
/// Sections of a file of version 1: the first ones.
const TAGS_OF_1: usize = 7;
const HEADER: usize = 16;
const ENTRY: usize = 20;
const TAGS: [&[u8; 4]; 9] = [
    b"FEAT", b"DETS", b"CALI", b"THRS", b"ENGN", b"META", b"BASE", b"DRFT", b"GOLD",
];

pub(super) fn write(model: &Model) -> Result<Vec<u8>> {
    let mut sections = Vec::with_capacity(TAGS.len());
    for tag in TAGS {
        let mut out = Writer::default();
        match tag {
            b"FEAT" => {
                out.u64(model.feature_names.len() as u64);
                for name in &model.feature_names {
                    out.text(name);
                }
            }
            b"DETS" => write_detectors(&model.detectors, &mut out),
            b"CALI" => {
                model.calibrators.pooled.write(&mut out);
                write_map(&model.calibrators.by_symbol, &mut out, Calibrator::write);
            }
            b"THRS" => write_threshold(&model.threshold, &mut out),
            b"ENGN" => {
                // Keys are in order: serde_json's map is a BTreeMap unless `preserve_order` is on,
                // so they are sorted here whatever the features of the build.
                let text = serde_json::to_string(&sorted(&model.engine))
                    .map_err(|error| Error::invalid("engine", error, "JSON is needed"))?;
                out.raw(text.as_bytes());
            }
            b"META" => write_map(&model.metadata, &mut out, |value, out| out.text(value)),
            b"BASE" => model.baseline.write(&mut out),
            b"DRFT" => {
                out.u8(u8::from(model.baseline.drift.is_some()));
                if let Some(drift) = &model.baseline.drift {
                    drift.write(&mut out);
                }
            }
            _ => model.golden.write(&mut out),
        }
        sections.push(out);
    }
    let mut file = Writer::default();
    file.raw(MAGIC);
    file.u32(VERSION);
    file.u32(TAGS.len() as u32);
    let mut offset = HEADER + ENTRY * TAGS.len();
    for (tag, section) in TAGS.iter().zip(&sections) {
        file.raw(*tag);
        file.u64(offset as u64);
        file.u64(section.len() as u64);
        offset += section.len();
    }
    for section in &sections {
        file.raw(section.as_bytes());
    }
    let sum = checksum(file.as_bytes());
    file.raw(&sum);
    Ok(file.into_bytes())
}

pub(super) fn read(bytes: &[u8]) -> Result<Model, FormatError> {
    let mut header = Reader::new(bytes);
    if header.raw("magic", MAGIC.len()).ok() != Some(MAGIC.as_slice()) {
        return Err(FormatError::Magic {
            format: NAME,
            expected: "FSHKMODL",
        });
    }
    let version = header.u32("version")?;
    if version != 1 && version != VERSION {
        return Err(FormatError::Version {
            format: NAME,
            found: version,
            supported: VERSION,
        });
    }
    let Some((content, sum)) = bytes.split_last_chunk::<CHECKSUM>() else {
        return Err(FormatError::Truncated {
            what: "checksum",
            needed: CHECKSUM as u64,
            left: bytes.len() as u64,
        });
    };
    if checksum(content) != *sum {
        return Err(FormatError::Checksum { format: NAME });
    }
    let n_sections = if version == 1 { TAGS_OF_1 } else { TAGS.len() };
    let [feat, dets, cali, thrs, engn, meta, base, drft, gold] =
        sections(content, &mut header, n_sections)?;

    let mut from = Reader::new(feat);
    let n_features = from.count("feature names", 8)?;
    let feature_names = (0..n_features)
        .map(|_| from.text("feature name"))
        .collect::<Result<_, _>>()?;
    from.end("feature names")?;

    let mut from = Reader::new(dets);
    let detectors = read_detectors(&mut from)?;
    from.end("detectors")?;

    let mut from = Reader::new(cali);
    let calibrators = Calibrators {
        pooled: Calibrator::read(&mut from)?,
        by_symbol: read_map(&mut from, "calibrators", Calibrator::read)?,
    };
    from.end("calibrators")?;

    let mut from = Reader::new(thrs);
    let threshold = read_threshold(&mut from)?;
    from.end("threshold")?;

    let engine = serde_json::from_slice(engn)
        .map_err(|error| FormatError::content("engine configuration", error))?;

    let mut from = Reader::new(meta);
    let metadata = read_map(&mut from, "metadata", |from| from.text("metadata value"))?;
    from.end("metadata")?;

    let mut from = Reader::new(base);
    let mut baseline = Baseline::read(&mut from)?;
    from.end("baseline")?;

    let mut golden = Golden::default();
    if version > 1 {
        let mut from = Reader::new(drft);
        baseline.drift = match from.u8("drift baseline")? {
            0 => None,
            1 => Some(Arc::new(DriftBaseline::read(&mut from)?)),
            other => {
                return Err(FormatError::content(
                    "drift baseline",
                    format!("`{other}` says neither that there is one nor that there is none"),
                ));
            }
        };
        from.end("drift baseline")?;
        let mut from = Reader::new(gold);
        golden = Golden::read(&mut from)?;
        from.end("golden rows")?;
    }

    let model = Model {
        feature_names,
        detectors,
        calibrators,
        threshold,
        engine,
        metadata,
        baseline,
        golden,
    };
    model
        .check()
        .map_err(|error| FormatError::content("model", error))?;
    Ok(model)
}

/// The first `n_sections` in the order of [`TAGS`], the others empty; their table must be exactly the one that a
/// writer makes.
fn sections<'a>(
    content: &'a [u8],
    header: &mut Reader<'a>,
    n_sections: usize,
) -> Result<[&'a [u8]; TAGS.len()], FormatError> {
    let n = header.u32("number of sections")?;
    if n as usize != n_sections {
        return Err(FormatError::content(
            "section table",
            format!("{n} sections, expected {n_sections}"),
        ));
    }
    let mut at = HEADER + ENTRY * n_sections;
    let mut found: [&[u8]; TAGS.len()] = [&[]; TAGS.len()];
    for (slot, tag) in found.iter_mut().zip(TAGS).take(n_sections) {
        if header.raw("section tag", 4)? != tag {
            return Err(FormatError::content(
                "section table",
                format!("section `{}` is not where it belongs", tag.escape_ascii()),
            ));
        }
        let offset = header.u64("section offset")?;
        let length = header.u64("section length")?;
        let end = usize::try_from(length).ok().and_then(|l| at.checked_add(l));
        let section = end.and_then(|end| content.get(at..end));
        match section {
            Some(section) if offset == at as u64 => {
                *slot = section;
                at += section.len();
            }
            _ => {
                return Err(FormatError::content(
                    "section table",
                    format!(
                        "section `{}` of {length} bytes at {offset} does not fit",
                        tag.escape_ascii()
                    ),
                ));
            }
        }
    }
    if at != content.len() {
        return Err(FormatError::content(
            "section table",
            format!("{} bytes belong to no section", content.len() - at),
        ));
    }
    Ok(found)
}

fn write_detectors(detectors: &DetectorSet, out: &mut Writer) {
    match detectors {
        DetectorSet::Global(detector) => {
            out.u8(0);
            detector.write(out);
        }
        DetectorSet::PerSymbol {
            by_symbol,
            fallback,
        } => {
            out.u8(if fallback.is_some() { 2 } else { 1 });
            if let Some(detector) = fallback {
                detector.write(out);
            }
            write_map(by_symbol, out, Detector::write);
        }
        DetectorSet::External(External { n_features, sha256 }) => {
            out.u8(3);
            out.u64(*n_features as u64);
            out.raw(sha256);
        }
    }
}

fn read_detectors(from: &mut Reader<'_>) -> Result<DetectorSet, FormatError> {
    match from.u8("detector scope")? {
        0 => Detector::read(from).map(DetectorSet::Global),
        scope @ (1 | 2) => {
            let fallback = if scope == 2 {
                Some(Detector::read(from)?)
            } else {
                None
            };
            Ok(DetectorSet::PerSymbol {
                by_symbol: read_map(from, "detectors", Detector::read)?,
                fallback,
            })
        }
        3 => {
            let n_features = from.u64("number of features")?;
            let n_features = usize::try_from(n_features)
                .map_err(|error| FormatError::content("number of features", error))?;
            let mut sha256 = [0; CHECKSUM];
            sha256.copy_from_slice(from.raw("checksum of the file that scores", CHECKSUM)?);
            Ok(DetectorSet::External(External { n_features, sha256 }))
        }
        scope => Err(FormatError::content(
            "detector scope",
            format!("`{scope}` is not known"),
        )),
    }
}

fn write_threshold(threshold: &Threshold, out: &mut Writer) {
    out.f64(threshold.neg_log10_tail);
    match threshold.rule {
        ThresholdRule::AlertBudget {
            alerts_per_symbol_day,
            rows_per_day,
        } => {
            out.u8(0);
            out.f64(alerts_per_symbol_day);
            out.f64(rows_per_day);
        }
        ThresholdRule::Quantile { quantile } => {
            out.u8(1);
            out.f64(quantile);
        }
    }
}

fn read_threshold(from: &mut Reader<'_>) -> Result<Threshold, FormatError> {
    let neg_log10_tail = from.f64("threshold")?;
    let rule = match from.u8("threshold rule")? {
        0 => ThresholdRule::AlertBudget {
            alerts_per_symbol_day: from.f64("alert budget")?,
            rows_per_day: from.f64("alert budget")?,
        },
        1 => ThresholdRule::Quantile {
            quantile: from.f64("quantile")?,
        },
        rule => {
            return Err(FormatError::content(
                "threshold rule",
                format!("`{rule}` is not known"),
            ));
        }
    };
    Ok(Threshold {
        neg_log10_tail,
        rule,
    })
}

fn write_map<T>(map: &BTreeMap<String, T>, out: &mut Writer, write: impl Fn(&T, &mut Writer)) {
    out.u64(map.len() as u64);
    for (key, value) in map {
        out.text(key);
        write(value, out);
    }
}

/// Keys must ascend, as a writer has them: two files of one model are then the same bytes.
fn read_map<'a, T>(
    from: &mut Reader<'a>,
    what: &'static str,
    read: impl Fn(&mut Reader<'a>) -> Result<T, FormatError>,
) -> Result<BTreeMap<String, T>, FormatError> {
    let n = from.count(what, 9)?;
    let mut map = BTreeMap::new();
    for _ in 0..n {
        let key = from.text(what)?;
        if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(FormatError::content(
                what,
                format!("key `{key}` is out of order"),
            ));
        }
        let value = read(from)?;
        map.insert(key, value);
    }
    Ok(map)
}

fn sorted(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<_, _> = map.iter().collect();
            Value::Object(
                ordered
                    .into_iter()
                    .map(|(key, value)| (key.clone(), sorted(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
