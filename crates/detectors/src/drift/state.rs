//! A monitor's state as bytes.
//!
//! ```text
//! magic `FSHKDRFT`, version (u32), fingerprint of the baseline (u64), policy, counters, quality,
//! tracks, SHA-256 of everything before
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::baseline::DriftBaseline;
use super::counts::WindowCounts;
use super::monitor::{Counts, DriftMonitor, DriftPolicy, Raised, Requests, Track};
use super::quality::{MOST_SLOTS, Quality};
use crate::bytes::{CHECKSUM, Reader, Writer, checksum};
use crate::error::FormatError;

const NAME: &str = "drift state";
const MAGIC: &[u8; 8] = b"FSHKDRFT";
const VERSION: u32 = 1;

impl DriftMonitor {
    /// Its state. The same state gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.raw(MAGIC);
        out.u32(VERSION);
        out.u64(self.baseline.fingerprint());
        let Counts {
            rows,
            suppressed,
            unknown_symbol,
            unknown_hour,
            windows,
            raised,
            retrains,
        } = self.counts;
        for count in [
            rows,
            suppressed,
            unknown_symbol,
            unknown_hour,
            windows,
            raised,
            retrains,
        ] {
            out.u64(count);
        }
        time(self.requests.not_before, &mut out);
        time(self.requests.cooldown, &mut out);
        write_quality(&self.quality, &mut out);
        for last in &self.last_alerts {
            time(*last, &mut out);
        }
        for track in self.tracks.iter().flatten() {
            write_track(track, &mut out);
        }
        let sum = checksum(out.as_bytes());
        out.raw(&sum);
        out.into_bytes()
    }

    /// Brings back what [`to_bytes`](Self::to_bytes) gave. Bytes from anywhere may be passed.
    ///
    /// # Errors
    /// Bytes that are damaged, cut, of another version, or of another baseline; start anew then.
    pub fn restore(
        baseline: Arc<DriftBaseline>,
        model: impl Into<String>,
        policy: DriftPolicy,
        bytes: &[u8],
    ) -> Result<Self, FormatError> {
        let mut from = Reader::new(bytes);
        if from.raw("magic", MAGIC.len()).ok() != Some(MAGIC.as_slice()) {
            return Err(FormatError::Magic {
                format: NAME,
                expected: "FSHKDRFT",
            });
        }
        let version = from.u32("version")?;
        if version != VERSION {
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
        let mut from = Reader::new(&content[MAGIC.len() + 4..]);
        if from.u64("fingerprint")? != baseline.fingerprint() {
            return Err(FormatError::content(NAME, "it belongs to another baseline"));
        }
        let mut monitor = Self::new(baseline, model, policy);
        let counts = &mut monitor.counts;
        for count in [
            &mut counts.rows,
            &mut counts.suppressed,
            &mut counts.unknown_symbol,
            &mut counts.unknown_hour,
            &mut counts.windows,
            &mut counts.raised,
            &mut counts.retrains,
        ] {
            *count = from.u64("counts")?;
        }
        monitor.requests = Requests {
            not_before: read_time(&mut from)?,
            cooldown: read_time(&mut from)?.max(0),
        };
        monitor.quality = read_quality(&mut from)?;
        for last in &mut monitor.last_alerts {
            *last = read_time(&mut from)?;
        }
        let families = [&monitor.baseline.model, &monitor.baseline.features];
        for (family, tracks) in families.into_iter().zip(&mut monitor.tracks) {
            let Some(family) = family else { continue };
            for (size, track) in family.sizes.iter().zip(tracks) {
                read_track(&mut from, track)?;
                if track.counts.rows >= size.rows {
                    return Err(FormatError::content(NAME, "a window is fuller than full"));
                }
            }
        }
        from.end(NAME)?;
        Ok(monitor)
    }
}

fn time(time: i64, out: &mut Writer) {
    out.u64(time as u64);
}

fn read_time(from: &mut Reader<'_>) -> Result<i64, FormatError> {
    from.u64(NAME).map(|time| time as i64)
}

fn write_quality(quality: &Quality, out: &mut Writer) {
    time(quality.last_traded, out);
    out.u64(quality.holds.len() as u64);
    for (from, to) in &quality.holds {
        time(*from, out);
        time(*to, out);
    }
    out.u64(quality.slots.len() as u64);
    for mean in &quality.slots {
        out.f64(*mean);
    }
    time(quality.slot, out);
    out.u64(quality.slot_rows);
    out.u64(quality.slot_trades);
    out.f64(quality.burst_above);
}

fn read_quality(from: &mut Reader<'_>) -> Result<Quality, FormatError> {
    let last_traded = read_time(from)?;
    let n_holds = from.count(NAME, 16)?;
    let holds = (0..n_holds)
        .map(|_| Ok((read_time(from)?, read_time(from)?)))
        .collect::<Result<VecDeque<_>, FormatError>>()?;
    let slots: VecDeque<f64> = from.f64s(NAME)?.into();
    let quality = Quality {
        last_traded,
        holds,
        slots,
        slot: read_time(from)?,
        slot_rows: from.u64(NAME)?,
        slot_trades: from.u64(NAME)?,
        burst_above: from.f64(NAME)?,
    };
    let is_sound = quality.slots.len() <= MOST_SLOTS
        && quality.slots.iter().all(|mean| mean.is_finite())
        && quality.burst_above.is_finite()
        && quality.slot_rows < u64::MAX / 2;
    if is_sound {
        Ok(quality)
    } else {
        Err(FormatError::content(NAME, "its trade counts make no sense"))
    }
}

fn write_track(track: &Track, out: &mut Writer) {
    let counts = &track.counts;
    out.u64(counts.rows);
    time(counts.from, out);
    time(counts.to, out);
    for n in counts
        .bins
        .iter()
        .chain(&counts.symbols)
        .chain(&counts.strata)
    {
        out.u64(*n);
    }
    for value in track.memory.iter().flatten() {
        out.f64(*value);
    }
    for begun in track.begun.iter().chain(&track.since) {
        time(*begun, out);
    }
    out.u8(u8::from(track.raised.is_some()));
    if let Some(raised) = track.raised {
        out.u64(raised.statistic as u64);
        time(raised.since, out);
        out.u8(raised.calm);
        out.u8(u8::from(raised.is_asked));
    }
}

/// Reads into a new track, whose sizes are the baseline's.
fn read_track(from: &mut Reader<'_>, track: &mut Track) -> Result<(), FormatError> {
    let WindowCounts {
        rows,
        from: begin,
        to,
        bins,
        symbols,
        strata,
    } = &mut track.counts;
    *rows = from.u64(NAME)?;
    *begin = read_time(from)?;
    *to = read_time(from)?;
    for n in bins.iter_mut().chain(symbols).chain(strata) {
        *n = from.u64(NAME)?;
        if *n > *rows {
            return Err(FormatError::content(NAME, "a counter exceeds its window"));
        }
    }
    for value in track.memory.iter_mut().flatten() {
        *value = from.f64(NAME)?;
        if !value.is_finite() {
            return Err(FormatError::content(NAME, "a statistic is not finite"));
        }
    }
    for begun in track.begun.iter_mut().chain(&mut track.since) {
        *begun = read_time(from)?;
    }
    track.raised = match from.u8(NAME)? {
        0 => None,
        1 => Some(Raised {
            statistic: from.u64(NAME)? as usize,
            since: read_time(from)?,
            calm: from.u8(NAME)?,
            is_asked: from.u8(NAME)? == 1,
        }),
        other => {
            return Err(FormatError::content(
                NAME,
                format!("`{other}` says neither that something is raised nor that nothing is"),
            ));
        }
    };
    let n_statistics = track.memory.len();
    let is_known = track
        .raised
        .is_none_or(|raised| raised.statistic < n_statistics && raised.calm < 3);
    if is_known {
        Ok(())
    } else {
        Err(FormatError::content(
            NAME,
            "what is raised is no statistic of the baseline",
        ))
    }
}
