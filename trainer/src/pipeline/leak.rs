//! Features that know an event before it begins.
//!
//! What looks only back is on the eve of an event as on any day: a feature whose values there stand
//! out looks ahead, most likely (the next row's return, a centred mean, a label in disguise), and a detector that is given it
//! wins unfairly. The labels decide nothing by this; whoever reads the result is told.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Serialize;

use super::prepare::Prepared;
use super::rows::{RowIndex, scan_rows};
use super::split::Part;
use crate::interrupt::Interrupt;

/// How many rows before an event are looked at, each by itself.
const LEADS: usize = 5;
/// Rows around an event that aren't taken for ordinary ones.
const MARGIN: usize = 10;
/// Ordinary rows that are compared with.
const MOST_ORDINARY: usize = 20_000;
/// Eves of events that it takes to say anything.
const FEWEST_EVES: usize = 10;
/// How often an eve must stand out from an ordinary row, and by how many standard errors (Mann and Whitney 1947).
const LEAST_AUC: f64 = 0.8;
const LEAST_Z: f64 = 4.5;

/// A feature that stands out before events begin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suspicion {
    /// The feature.
    pub feature: String,
    /// How many rows before the first row of an event it does so most.
    pub rows_ahead: usize,
    /// How often the value of such a row is farther out than an ordinary one's, ties counted half; 0.5 where it knows
    /// nothing.
    pub auc: f64,
    /// Events that it was seen before.
    pub n_events: usize,
}

impl std::fmt::Display for Suspicion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = crate::progress::plural(self.rows_ahead as u64, "row");
        write!(
            f,
            "feature `{}` stands out {rows} before events begin (AUC {:.2} over {} events): it may look \
             into the future",
            self.feature, self.auc, self.n_events
        )
    }
}

/// Looks at the rows before the events of the validation and test rows. Empty without time or events.
///
/// # Errors
/// When rows can't be read; [`crate::interrupt::Interrupted`].
pub fn suspicions(prepared: &Prepared, interrupt: &Interrupt) -> anyhow::Result<Vec<Suspicion>> {
    let (Some(_), Some(interval)) = (&prepared.index.time, prepared.interval_us) else {
        return Ok(Vec::new());
    };
    let Eves { by_lead, ordinary } = eves(&prepared.index, interval);
    if ordinary.is_empty() || by_lead.iter().all(|eves| eves.len() < FEWEST_EVES) {
        return Ok(Vec::new());
    }
    let mut wanted: Vec<u32> = by_lead.iter().flatten().chain(&ordinary).copied().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let names = prepared.source.feature_names();
    let mut columns: Vec<Vec<f64>> = vec![Vec::with_capacity(wanted.len()); names.len()];
    scan_rows(prepared.source.as_ref(), &wanted, &mut |_, chunk| {
        interrupt.check()?;
        for (column, values) in columns.iter_mut().zip(chunk.columns()) {
            column.extend(values);
        }
        Ok(())
    })?;
    let place = |row: &u32| wanted.binary_search(row).ok().context("a row wasn't read");
    let places = |rows: &[u32]| rows.iter().map(place).collect::<anyhow::Result<Vec<_>>>();
    let ordinary = places(&ordinary)?;
    let by_lead = by_lead
        .iter()
        .map(|eves| places(eves))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let found = names.iter().zip(&columns).filter_map(|(name, column)| {
        let pick = |places: &[usize]| places.iter().map(|&at| column[at]).collect::<Vec<f64>>();
        let (auc, rows_ahead) =
            most_telling(&pick(&ordinary), by_lead.iter().map(|eves| pick(eves)))?;
        Some(Suspicion {
            feature: name.clone(),
            rows_ahead,
            auc,
            n_events: by_lead[rows_ahead - 1].len(),
        })
    });
    Ok(found.collect())
}

/// Rows before events, and rows far from any.
#[derive(Debug, Default, PartialEq)]
struct Eves {
    /// One list for each lead, from one row ahead.
    by_lead: Vec<Vec<u32>>,
    ordinary: Vec<u32>,
}

fn eves(index: &RowIndex, interval: i64) -> Eves {
    let mut of_symbol: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (row, part) in (0_u32..).zip(&index.part) {
        if matches!(part, Part::Validation | Part::Test) {
            let symbol = index.symbol[row as usize];
            of_symbol.entry(symbol).or_default().push(row);
        }
    }
    let empty = Vec::new();
    let times = index.time.as_ref().unwrap_or(&empty);
    let event = |row: u32| index.event[row as usize];
    let mut found = Eves {
        by_lead: vec![Vec::new(); LEADS],
        ordinary: Vec::new(),
    };
    for rows in of_symbol.into_values() {
        // Rows to the next event, and from the last one.
        let mut since = vec![usize::MAX; rows.len()];
        for (at, &row) in rows.iter().enumerate() {
            let before = at.checked_sub(1).map_or(usize::MAX, |before| since[before]);
            since[at] = if event(row) != 0 {
                0
            } else {
                before.saturating_add(1)
            };
        }
        let mut until = usize::MAX;
        for (at, &row) in rows.iter().enumerate().rev() {
            until = if event(row) != 0 {
                0
            } else {
                until.saturating_add(1)
            };
            if since[at] > MARGIN && until > MARGIN {
                found.ordinary.push(row);
            }
            let starts = event(row) != 0 && at > 0 && event(rows[at - 1]) != event(row);
            for lead in 1..=LEADS.min(at) {
                let eve = rows[at - lead];
                let span = times[row as usize] - times[eve as usize];
                if !starts || event(eve) != 0 || span != interval.saturating_mul(lead as i64) {
                    break;
                }
                found.by_lead[lead - 1].push(eve);
            }
        }
    }
    let stride = found.ordinary.len().div_ceil(MOST_ORDINARY).max(1);
    found.ordinary = found.ordinary.into_iter().step_by(stride).collect();
    found
}

/// By which lead the eves stand out most, and how much, where they do.
fn most_telling(ordinary: &[f64], by_lead: impl Iterator<Item = Vec<f64>>) -> Option<(f64, usize)> {
    let mut sorted = ordinary.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let median = *sorted.get(sorted.len() / 2)?;
    let mut far: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
    far.sort_unstable_by(f64::total_cmp);
    let mut best: Option<(f64, usize)> = None;
    for (eves, lead) in by_lead.zip(1..) {
        if eves.len() < FEWEST_EVES {
            continue;
        }
        let signed = auc(&sorted, eves.iter().copied());
        let outer = auc(&far, eves.iter().map(|value| (value - median).abs()));
        let most = signed.max(1.0 - signed).max(outer);
        let (n, m) = (eves.len() as f64, sorted.len() as f64);
        let z = (most - 0.5) / ((n + m + 1.0) / (12.0 * n * m)).sqrt();
        if most >= LEAST_AUC && z >= LEAST_Z && best.is_none_or(|(auc, _)| most > auc) {
            best = Some((most, lead));
        }
    }
    best
}

/// The share of pairs in which one of `values` is larger than one of `sorted`, ties counted half.
fn auc(sorted: &[f64], values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    let below = values.map(|value| {
        let less = sorted.partition_point(|other| *other < value);
        let not_more = sorted.partition_point(|other| *other <= value);
        (less + not_more) as f64 / 2.0 / sorted.len() as f64
    });
    below.sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eves_are_unlabelled_rows_right_before_an_event() {
        let n = 60;
        let mut index = RowIndex {
            time: Some((0..n).map(|row| row * 10).collect()),
            symbol: vec![0; n as usize],
            event: vec![0; n as usize],
            part: vec![Part::Test; n as usize],
            symbols: vec!["A".to_owned()],
            ..RowIndex::default()
        };
        index.event[20..23].fill(1);
        // Right after another: no eve of its own.
        index.event[23..25].fill(2);
        // Two rows after it.
        index.event[27] = 3;
        let found = eves(&index, 10);
        assert_eq!(found.by_lead[0], [26, 19]);
        assert_eq!(found.by_lead[1], [25, 18]);
        assert_eq!(found.by_lead[2], [17]);
        let ordinary: Vec<u32> = (0..10).chain(38..60).rev().collect();
        assert_eq!(found.ordinary, ordinary);
        // Across a gap nothing is right before; training rows don't count.
        index.time.as_mut().unwrap()[20..]
            .iter_mut()
            .for_each(|time| *time += 1);
        index.part[25] = Part::Train;
        let found = eves(&index, 10);
        assert_eq!(found.by_lead[0], [26]);
        assert!(found.by_lead[1].is_empty(), "{:?}", found.by_lead);
    }

    #[test]
    fn values_that_stand_out_on_either_side_or_on_both_tell() {
        let ordinary: Vec<f64> = (0..1_000).map(|i| f64::from(i % 100)).collect();
        let telling = |eves: &[f64]| most_telling(&ordinary, [eves.to_vec()].into_iter());
        let (auc, lead) = telling(&[200.0; 20]).unwrap();
        assert!(auc == 1.0 && lead == 1);
        assert_eq!(telling(&[-5.0; 20]).unwrap().0, 1.0);
        let both: Vec<f64> = (0..20)
            .map(|i| if i % 2 == 0 { 300.0 } else { -300.0 })
            .collect();
        assert!(telling(&both).unwrap().0 > 0.99);
        let alike: Vec<f64> = (0..20).map(|i| f64::from(i * 5)).collect();
        assert_eq!(telling(&alike), None);
        assert_eq!(telling(&[200.0; FEWEST_EVES - 1]), None);
    }
}
