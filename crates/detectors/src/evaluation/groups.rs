//! Events, and metrics by kind and by magnitude.

use std::collections::BTreeMap;

use super::bootstrap::EventRows;
use super::input::{BySymbol, EventInfo, Scored};
use super::metric::Metric;
use super::ranking::{RankSums, Ranking};
use super::report::{EventEvaluation, GroupEvaluation};
use super::{NO_EVENTS, NONE_CAUGHT};

/// What the rows of one event show.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Position of its first row.
    first: Option<usize>,
    n_rows: u64,
    n_flagged: u64,
    delay_us: Option<i64>,
    /// Highest score of its rows.
    pub(super) peak: Option<f64>,
}

/// The events with what their rows show, in the order given.
#[derive(Debug)]
pub(super) struct EventTable<'a> {
    events: &'a [EventInfo],
    found: Vec<Found>,
    first: Vec<Option<usize>>,
    caught: Vec<bool>,
}

impl<'a> EventTable<'a> {
    pub(super) fn new(scored: &Scored<'a>, by_symbol: &BySymbol) -> Self {
        let events = scored.events();
        let mut found = vec![Found::default(); events.len()];
        if !events.is_empty() {
            for (at, row) in by_symbol.rows().iter().enumerate() {
                let row = *row as usize;
                let Some(index) = scored.event_of(row) else {
                    continue;
                };
                let event = &mut found[index];
                event.first.get_or_insert(at);
                event.n_rows += 1;
                let score = scored.score[row];
                event.peak = Some(event.peak.map_or(score, |peak| peak.max(score)));
                if scored.flag[row] {
                    event.n_flagged += 1;
                    if event.n_flagged == 1 {
                        event.delay_us =
                            scored.time.zip(scored.interval_us).map(|(time, interval)| {
                                time[row]
                                    .saturating_add(interval)
                                    .saturating_sub(events[index].start)
                            });
                    }
                }
            }
        }
        Self {
            events,
            first: found.iter().map(|event| event.first).collect(),
            caught: found.iter().map(|event| event.n_flagged > 0).collect(),
            found,
        }
    }

    pub(super) fn n_with_rows(&self) -> usize {
        self.found.iter().filter(|event| event.n_rows > 0).count()
    }

    /// Events with rows, each with whether it was caught.
    pub(super) fn with_rows(&self) -> impl Iterator<Item = (&EventInfo, bool)> {
        self.events
            .iter()
            .zip(&self.found)
            .filter(|(_, found)| found.n_rows > 0)
            .map(|(event, found)| (event, found.n_flagged > 0))
    }

    fn selected(&self, select: impl Fn(usize) -> bool) -> impl Iterator<Item = &Found> {
        self.found
            .iter()
            .enumerate()
            .filter(move |(index, found)| found.n_rows > 0 && select(*index))
            .map(|(_, found)| found)
    }

    /// Caught events of those that `select` takes, by index.
    pub(super) fn recall(&self, select: impl Fn(usize) -> bool) -> Metric {
        let (mut n, mut caught) = (0u64, 0u64);
        for event in self.selected(select) {
            n += 1;
            caught += u64::from(event.n_flagged > 0);
        }
        Metric::ratio(caught as f64, n as f64, NO_EVENTS)
    }

    /// Share of all events with rows that `caught` takes for caught.
    pub(super) fn recall_by(&self, caught: impl Fn(&Found) -> bool) -> Metric {
        let all = self.selected(|_| true);
        let n_caught = all.filter(|event| caught(event)).count();
        Metric::ratio(n_caught as f64, self.n_with_rows() as f64, NO_EVENTS)
    }

    /// Median delay of caught events of those that `select` takes.
    pub(super) fn median_delay(&self, select: impl Fn(usize) -> bool) -> Metric {
        let mut delays: Vec<i64> = self
            .selected(select)
            .filter_map(|event| event.delay_us)
            .collect();
        delays.sort_unstable();
        if delays.is_empty() {
            return Metric::undefined(NONE_CAUGHT);
        }
        let middle = delays.len() / 2;
        let upper = delays[middle] as f64;
        Metric::Value(if delays.len() % 2 == 1 {
            upper
        } else {
            (delays[middle - 1] as f64 + upper) / 2.0
        })
    }

    pub(super) fn for_bootstrap(&self) -> EventRows<'_> {
        let longest = self.found.iter().map(|event| event.n_rows).max();
        EventRows {
            first: &self.first,
            caught: &self.caught,
            longest: longest.unwrap_or(1) as usize,
        }
    }

    pub(super) fn report(&self, scored: &Scored<'_>) -> Vec<EventEvaluation> {
        let both = self.events.iter().zip(&self.found).enumerate();
        both.map(|(index, (event, found))| EventEvaluation {
            index,
            kind: event.kind.clone(),
            symbol: scored.symbols[event.symbol as usize].clone(),
            start: event.start,
            end: event.end,
            magnitude: event.magnitude,
            n_rows: found.n_rows,
            caught: found.n_flagged > 0,
            delay_us: found.delay_us,
            peak_score: found.peak,
        })
        .collect()
    }
}

/// Ranking sums over all labelled rows, and the groups.
pub(super) struct Groups {
    pub(super) all: RankSums,
    pub(super) by_kind: Vec<GroupEvaluation>,
    pub(super) by_magnitude: Vec<GroupEvaluation>,
}

/// One pass over the ranking for all groups at once. The rows of a group stand against all
/// unlabelled rows; those of other groups are left out.
pub(super) fn evaluate(
    scored: &Scored<'_>,
    ranking: &Ranking,
    table: &EventTable<'_>,
    edges: &[f64],
) -> Groups {
    let mut kinds = BTreeMap::new();
    for event in table.events {
        kinds.insert(event.kind.as_str(), 0);
    }
    for (at, group) in kinds.values_mut().enumerate() {
        *group = at;
    }
    let bands = band_names(edges);
    // Groups of an event: its kind, then its band.
    let kind_of: Vec<usize> = table
        .events
        .iter()
        .map(|event| kinds[event.kind.as_str()])
        .collect();
    let band_of: Vec<Option<usize>> = table
        .events
        .iter()
        .map(|event| {
            let magnitude = event.magnitude.filter(|m| m.is_finite())?;
            Some(kinds.len() + edges.partition_point(|edge| *edge <= magnitude))
        })
        .collect();
    let n_groups = kinds.len() + bands.len();

    let labelled = |row: u32| scored.is_labelled(row as usize);
    let negatives = (0..scored.len() as u32).filter(|row| !labelled(*row));
    let negatives = negatives.count() as f64;
    let mut all = RankSums::default();
    let mut sums = vec![RankSums::default(); n_groups];
    let mut in_block = vec![0u64; n_groups];
    let mut n_rows = vec![0u64; n_groups];
    let mut n_flagged = vec![0u64; n_groups];
    let mut touched = Vec::new();
    let mut above = 0.0;
    for block in ranking.blocks() {
        let mut positives = 0;
        for (_, row) in block {
            if !labelled(*row) {
                continue;
            }
            positives += 1;
            let row = *row as usize;
            let Some(index) = scored.event_of(row) else {
                continue;
            };
            for group in [Some(kind_of[index]), band_of[index]].into_iter().flatten() {
                if in_block[group] == 0 {
                    touched.push(group);
                }
                in_block[group] += 1;
                n_rows[group] += 1;
                n_flagged[group] += u64::from(scored.flag[row]);
            }
        }
        let tied = (block.len() - positives) as f64;
        above += tied;
        if positives > 0 {
            all.take(positives as f64, above, tied, negatives);
        }
        for group in touched.drain(..) {
            sums[group].take(in_block[group] as f64, above, tied, negatives);
            in_block[group] = 0;
        }
    }

    let report = |group: usize, name: String| {
        let member = |event: usize| kind_of[event] == group || band_of[event] == Some(group);
        let (roc_auc, average_precision) = sums[group].metrics(negatives);
        GroupEvaluation {
            name,
            n_events: table.selected(member).count() as u64,
            n_rows: n_rows[group],
            roc_auc,
            average_precision,
            row_recall: Metric::ratio(
                n_flagged[group] as f64,
                n_rows[group] as f64,
                super::NO_POSITIVES,
            ),
            event_recall: table.recall(member),
            median_delay_us: table.median_delay(member),
        }
    };
    let n_kinds = kinds.len();
    let by_kind = kinds
        .into_iter()
        .map(|(kind, group)| report(group, kind.to_owned()))
        .collect();
    let any_magnitude = band_of.iter().any(Option::is_some);
    let by_magnitude = bands
        .into_iter()
        .enumerate()
        .filter(|_| any_magnitude)
        .map(|(band, name)| report(n_kinds + band, name))
        .collect();
    Groups {
        all,
        by_kind,
        by_magnitude,
    }
}

/// `below 5`, `5 to 10`, …, `20 and more`; the lower edge belongs to its band.
fn band_names(edges: &[f64]) -> Vec<String> {
    let (Some(first), Some(last)) = (edges.first(), edges.last()) else {
        return vec!["all".to_owned()];
    };
    let mut names = vec![format!("below {first}")];
    names.extend(edges.windows(2).map(|w| format!("{} to {}", w[0], w[1])));
    names.push(format!("{last} and more"));
    names
}
