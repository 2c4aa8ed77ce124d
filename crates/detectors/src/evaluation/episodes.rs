//! Runs of flagged unlabelled rows: what a person sees as one false alert.

use std::collections::BTreeSet;

use super::input::{BySymbol, Scored};
use super::ranking::Ranking;

/// When two flagged rows of one symbol belong to one episode.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gap {
    /// At most that many µs between the openings of their candles.
    Time(i64),
    /// At most that many rows apart, for tables without time.
    Rows(usize),
}

impl Gap {
    fn joins(self, scored: &Scored<'_>, before: (usize, u32), after: (usize, u32)) -> bool {
        match (self, scored.time) {
            (Self::Time(gap), Some(time)) => {
                time[after.1 as usize].saturating_sub(time[before.1 as usize]) <= gap
            }
            (Self::Rows(gap), _) => after.0 - before.0 <= gap,
            (Self::Time(_), None) => after.0 - before.0 <= 1,
        }
    }
}

/// Marks the first row of each episode, by position in `by_symbol.rows()`.
pub(super) fn starts(scored: &Scored<'_>, by_symbol: &BySymbol, gap: Gap) -> Vec<bool> {
    let rows = by_symbol.rows();
    let mut starts = vec![false; rows.len()];
    for range in by_symbol.ranges() {
        let mut last: Option<(usize, u32)> = None;
        for at in range {
            let row = rows[at];
            if !scored.flag[row as usize] || scored.is_labelled(row as usize) {
                continue;
            }
            let here = (at, row);
            starts[at] = !last.is_some_and(|last| gap.joins(scored, last, here));
            last = Some(here);
        }
    }
    starts
}

/// The lowest threshold such that it and every higher one leave at most `budget` episodes of
/// unlabelled rows strictly above. `None` where no threshold among the scores leaves more.
///
/// The number of episodes does not grow steadily as the threshold falls, since neighbours merge; but
/// the first excess on the way down settles it. So rows are flagged from the highest score down,
/// each between its flagged neighbours: O(k log k) for the k rows that the budget allows, which are
/// few, and one pass over all rows.
pub(super) fn threshold_for(
    scored: &Scored<'_>,
    by_symbol: &BySymbol,
    ranking: &Ranking,
    gap: Gap,
    budget: u64,
) -> Option<f64> {
    let rows = by_symbol.rows();
    let mut position = vec![0u32; rows.len()];
    for (at, row) in (0u32..).zip(rows) {
        position[*row as usize] = at;
    }
    let bounds: Vec<_> = by_symbol.ranges().collect();
    // Flagged rows by position.
    let mut flagged = BTreeSet::new();
    let joins = |before: u32, after: u32| {
        let place = |at: u32| (at as usize, rows[at as usize]);
        gap.joins(scored, place(before), place(after))
    };
    let (mut nodes, mut links) = (0u64, 0u64);
    let mut lowest_allowed = None;
    for block in ranking.blocks() {
        // All rows of a higher score are flagged by now.
        if nodes - links > budget {
            return lowest_allowed;
        }
        lowest_allowed = Some(scored.score[block[0].1 as usize]);
        for (_, row) in block {
            if scored.is_labelled(*row as usize) {
                continue;
            }
            let at = position[*row as usize];
            let bounds = &bounds[scored.symbol[*row as usize] as usize];
            let before = flagged.range(bounds.start as u32..at).next_back().copied();
            let after = flagged.range(at..bounds.end as u32).next().copied();
            nodes += 1;
            // An order that adds before it takes keeps the difference from going below 0.
            links += u64::from(before.is_some_and(|before| joins(before, at)));
            links += u64::from(after.is_some_and(|after| joins(at, after)));
            let joined = before.zip(after).is_some_and(|(a, b)| joins(a, b));
            links -= u64::from(joined);
            flagged.insert(at);
        }
    }
    None
}
