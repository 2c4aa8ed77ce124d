//! Runs of flagged unlabelled rows: what a person sees as one false alert.

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
/// The number of episodes does not grow steadily as the threshold falls, since neighbours merge.
/// So all rows start flagged in a linked list, and are taken out from the lowest score up; the
/// last excess on the way sets the threshold. O(n) after the sort.
pub(super) fn threshold_for(
    scored: &Scored<'_>,
    by_symbol: &BySymbol,
    ranking: &Ranking,
    gap: Gap,
    budget: u64,
) -> Option<f64> {
    const NONE: u32 = u32::MAX;
    let rows = by_symbol.rows();
    let n = rows.len();
    // By row: its position, and its flagged neighbours.
    let mut position = vec![0u32; n];
    let (mut before, mut after) = (vec![NONE; n], vec![NONE; n]);
    let joins = |position: &[u32], a: u32, b: u32| {
        let place = |row: u32| (position[row as usize] as usize, row);
        a != NONE && b != NONE && gap.joins(scored, place(a), place(b))
    };
    let (mut nodes, mut links) = (0u64, 0u64);
    for range in by_symbol.ranges() {
        let mut last = NONE;
        for at in range {
            let row = rows[at];
            position[row as usize] = at as u32;
            if scored.is_labelled(row as usize) {
                continue;
            }
            nodes += 1;
            before[row as usize] = last;
            if last != NONE {
                after[last as usize] = row;
                links += u64::from(joins(&position, last, row));
            }
            last = row;
        }
    }
    let mut exceeded = false;
    let mut lowest_allowed = None;
    for block in ranking.blocks().rev() {
        for (_, row) in block {
            if scored.is_labelled(*row as usize) {
                continue;
            }
            let (a, b) = (before[*row as usize], after[*row as usize]);
            nodes -= 1;
            links -= u64::from(joins(&position, a, *row));
            links -= u64::from(joins(&position, *row, b));
            links += u64::from(joins(&position, a, b));
            if a != NONE {
                after[a as usize] = b;
            }
            if b != NONE {
                before[b as usize] = a;
            }
        }
        if nodes - links > budget {
            exceeded = true;
            lowest_allowed = None;
        } else if lowest_allowed.is_none() {
            lowest_allowed = Some(scored.score[block[0].1 as usize]);
        }
    }
    exceeded.then_some(lowest_allowed).flatten()
}
