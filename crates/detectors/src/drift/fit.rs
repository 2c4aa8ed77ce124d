//! From reference rows to a family's statistics and limits.

use std::collections::{BTreeMap, BTreeSet};

use market::HOUR_US;
use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;

use super::DriftConfig;
use super::family::{self, Channel, Family, Size, Statistic, standardised};
use super::limit::{Rule, Sequence, limit};
use super::ranks::{self, BINS, rank_scores};
use super::season::{Days, STRATA, day};
use super::variance::{VarianceCurve, allowance, alone_and_together, composition};

/// A symbol with fewer reference rows is left out: its tail bins would be empty.
const FEWEST_ROWS: usize = 500;
/// Symbols beyond this many, those with the fewest rows, are left out: so many tell of all.
const MOST_SYMBOLS: usize = 1_000;
/// Windows that a reference must hold, end to end, to say what is usual for their size.
const FEWEST_WINDOWS: usize = 8;
/// An hour of the week is known when this many days of the reference had it.
const FEWEST_DAYS: usize = 2;
/// Windows are laid over the reference from so many starts.
const PHASES: usize = 4;

/// The reference rows of one family, in any order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) time: Option<&'a [i64]>,
    pub(super) symbol: &'a [u32],
    pub(super) names: &'a [String],
    pub(super) columns: Columns<'a>,
}

/// What is watched of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Columns<'a> {
    /// The columns by name.
    Features(ArrayView2<'a, f64>, &'a [String]),
    /// Calibrated scores, and whether each is flagged.
    Scores(&'a [f64], &'a [bool]),
}

impl Columns<'_> {
    fn n(&self) -> usize {
        match self {
            Self::Features(rows, _) => rows.ncols(),
            Self::Scores(..) => 2,
        }
    }

    fn channels(&self) -> Vec<Channel> {
        match self {
            Self::Features(_, names) => {
                Family::channels(names.iter().map(|name| (name.clone(), false)))
            }
            Self::Scores(..) => Family::channels(
                [("alert_rate".to_owned(), true), ("score".to_owned(), false)].into_iter(),
            ),
        }
    }

    /// The bins of the kept rows, and the edges of each symbol.
    fn bins(&self, channel: usize, kept: &Kept, memory_us: i64) -> (Vec<u8>, Vec<[f64; BINS - 1]>) {
        let pick = |column: ArrayView1<'_, f64>| -> Vec<f64> {
            kept.rows.iter().map(|&row| column[row as usize]).collect()
        };
        let values = match self {
            Self::Features(rows, _) => pick(rows.column(channel)),
            Self::Scores(_, flags) if channel == 0 => {
                return (kept.alerts(flags, memory_us), Vec::new());
            }
            Self::Scores(scores, _) => pick(ArrayView1::from(*scores)),
        };
        let edges: Vec<[f64; BINS - 1]> = kept
            .of_symbol
            .iter()
            .map(|at| ranks::edges(&mut at.iter().map(|&at| values[at as usize]).collect()))
            .collect();
        let bins = values.iter().zip(&kept.symbol);
        let bins = bins.map(|(value, symbol)| ranks::bin(&edges[*symbol as usize], *value));
        (bins.collect(), edges)
    }
}

/// The rows that count, in order of time.
struct Kept {
    rows: Vec<u32>,
    /// Index into the kept names.
    symbol: Vec<u32>,
    time: Vec<i64>,
    /// Which hour of which day, as an index into `strata`.
    slot: Vec<u32>,
    /// The hour of the week of each slot.
    strata: Vec<u8>,
    /// Positions in `rows` by symbol.
    of_symbol: Vec<Vec<u32>>,
    names: Vec<String>,
    days: Days,
    is_known: [bool; STRATA],
}

impl Kept {
    /// Which rows are alerts that count; see [`family::is_new_alert`].
    fn alerts(&self, flags: &[bool], memory_us: i64) -> Vec<u8> {
        let mut last = vec![i64::MIN; self.names.len()];
        let rows = self.rows.iter().zip(&self.symbol).enumerate();
        rows.map(|(at, (&row, &symbol))| {
            let flagged = flags[row as usize];
            let last = &mut last[symbol as usize];
            u8::from(match self.time.get(at) {
                Some(&time) => family::is_new_alert(flagged, time, last, memory_us),
                None => flagged,
            })
        })
        .collect()
    }
}

/// What is usual for each statistic: with it the residuals' windows.
struct Fitted {
    statistics: Vec<Statistic>,
    /// By size, phase and window: the statistics, standardised.
    windows: Vec<Vec<Vec<f64>>>,
}

/// # Errors
/// Why the rows are too few, as a sentence for people.
pub(super) fn fit(rows: Rows<'_>, config: &DriftConfig) -> Result<Family, String> {
    let kept = keep(&rows)?;
    let n = kept.rows.len();
    let sizes: Vec<usize> = config
        .windows
        .iter()
        .copied()
        .filter(|size| n >= FEWEST_WINDOWS * size)
        .collect();
    let Some(&largest) = sizes.last() else {
        return Err(format!(
            "{n} rows are fewer than {FEWEST_WINDOWS} windows of {}",
            config.windows.first().copied().unwrap_or(0)
        ));
    };
    let layouts: Vec<Layout> = sizes.iter().map(|&size| Layout::new(size, &kept)).collect();
    let channels = rows.columns.channels();
    let by_channel: Vec<(Fitted, Vec<[f64; BINS - 1]>)> = (0..rows.columns.n())
        .into_par_iter()
        .map(|index| {
            let (bins, edges) = rows.columns.bins(index, &kept, config.memory_us);
            (
                fit_channel(&channels[index], index, &bins, &kept, &layouts),
                edges,
            )
        })
        .collect();

    let mut statistics = Vec::new();
    // By size: one list of standardised values a statistic, phase after phase.
    let mut columns: Vec<Vec<Vec<Vec<f64>>>> = vec![Vec::new(); sizes.len()];
    let mut edges = Vec::new();
    for symbol in 0..kept.names.len() {
        for (_, of_channel) in &by_channel {
            edges.extend(of_channel.get(symbol).into_iter().flatten());
        }
    }
    for (fitted, _) in by_channel {
        statistics.extend(fitted.statistics);
        for (size, windows) in columns.iter_mut().zip(fitted.windows) {
            for phase in 0..PHASES {
                if size.len() <= phase {
                    size.push(Vec::new());
                }
            }
            // Phase by phase, the statistics of this channel.
            let per_statistic = windows.len() / PHASES;
            for (index, values) in windows.into_iter().enumerate() {
                size[index / per_statistic].push(values);
            }
        }
    }
    let sequences: Vec<Vec<Sequence>> = columns
        .iter()
        .map(|phases| phases.iter().map(|of| side_by_side(of)).collect())
        .collect();
    // Every size by the two-of-three rule, the largest also by accumulation.
    let mut rules: Vec<(usize, Rule)> = (0..sizes.len())
        .map(|size| (size, Rule::TwoOfThree))
        .collect();
    rules.push((sizes.len() - 1, Rule::Accumulated));
    let n_rules = rules.len();
    let sizes = rules
        .into_par_iter()
        .enumerate()
        .map(|(index, (size, rule))| {
            // Each has its share of the false alarms.
            let windows = (largest * n_rules) as f64 / sizes[size] as f64;
            Size {
                rows: sizes[size] as u64,
                rule,
                limit: limit(
                    &sequences[size],
                    statistics.len(),
                    rule,
                    config.run_length * windows,
                    config.seed.wrapping_add(index as u64),
                ),
                allowance: window_allowance(sizes[size], n),
            }
        })
        .collect();
    Ok(Family {
        n_rows: n as u64,
        from: kept.time.first().copied().unwrap_or(0),
        to: kept.time.last().copied().unwrap_or(0),
        days: kept.days,
        symbols: kept.names,
        channels,
        is_known: kept.is_known,
        edges,
        statistics,
        sizes,
    })
}

/// Windows by statistics: from a list of windows a statistic to one list of rows.
fn side_by_side(of_statistics: &[Vec<f64>]) -> Sequence {
    let windows = of_statistics.first().map_or(0, Vec::len);
    let values = (0..windows)
        .flat_map(|window| of_statistics.iter().map(move |of| of[window]))
        .collect();
    Sequence { values }
}

/// The reference window's mean and its own variance are estimates from n rows in all.
fn window_allowance(size: usize, n: usize) -> f64 {
    let share = size as f64 / n as f64;
    allowance(n as f64 / size as f64) * (1.0 + share) / (1.0 - share)
}

fn keep(rows: &Rows<'_>) -> Result<Kept, String> {
    let mut n_rows = vec![0_usize; rows.names.len()];
    for &symbol in rows.symbol {
        n_rows[symbol as usize] += 1;
    }
    let mut chosen: Vec<usize> = (0..n_rows.len())
        .filter(|&symbol| n_rows[symbol] >= FEWEST_ROWS)
        .collect();
    chosen.sort_by_key(|&symbol| (std::cmp::Reverse(n_rows[symbol]), symbol));
    chosen.truncate(MOST_SYMBOLS);
    chosen.sort_by(|&a, &b| rows.names[a].cmp(&rows.names[b]));
    if chosen.is_empty() {
        return Err(format!("no symbol has {FEWEST_ROWS} rows"));
    }
    let mut place = vec![None; rows.names.len()];
    for (index, &symbol) in (0_u32..).zip(&chosen) {
        place[symbol] = Some(index);
    }
    let mut all: Vec<u32> = (0_u32..)
        .zip(rows.symbol)
        .filter(|(_, symbol)| place[**symbol as usize].is_some())
        .map(|(row, _)| row)
        .collect();
    let mut is_known = [false; STRATA];
    let mut days = Days::None;
    if let Some(time) = rows.time {
        all.sort_by_key(|&row| time[row as usize]);
        // The finer groups, unless that leaves hours out which the coarser would know.
        let [two, four] = [Days::Two, Days::Four].map(|days| known_hours(days, &all, time));
        let n_known = |days: Days, known: &[bool; STRATA]| {
            all.iter()
                .filter(|&&row| known[days.stratum(time[row as usize])])
                .count()
        };
        (days, is_known) = if n_known(Days::Four, &four) >= n_known(Days::Two, &two) {
            (Days::Four, four)
        } else {
            (Days::Two, two)
        };
        all.retain(|&row| is_known[days.stratum(time[row as usize])]);
        if all.is_empty() {
            return Err("no hour of the day was there on two days".to_owned());
        }
    } else {
        is_known[0] = true;
    }
    let mut kept = Kept {
        symbol: Vec::with_capacity(all.len()),
        time: Vec::new(),
        slot: vec![0; all.len()],
        strata: Vec::new(),
        of_symbol: vec![Vec::new(); chosen.len()],
        names: chosen.iter().map(|&at| rows.names[at].clone()).collect(),
        days,
        is_known,
        rows: all,
    };
    let mut slots: BTreeMap<i64, u32> = BTreeMap::new();
    for (at, &row) in (0_u32..).zip(&kept.rows) {
        let symbol = place[rows.symbol[row as usize] as usize].unwrap_or(0);
        kept.symbol.push(symbol);
        kept.of_symbol[symbol as usize].push(at);
        let time = rows.time.map_or(0, |time| time[row as usize]);
        if rows.time.is_some() {
            kept.time.push(time);
        }
        let next = slots.len() as u32;
        let slot = *slots.entry(time.div_euclid(HOUR_US)).or_insert_with(|| {
            kept.strata.push(days.stratum(time) as u8);
            next
        });
        kept.slot[at as usize] = slot;
    }
    // Rows at unknown hours may have been all that a symbol had.
    if kept.of_symbol.iter().any(Vec::is_empty) {
        return Err("a symbol has rows only at hours that were there on one day alone".to_owned());
    }
    Ok(kept)
}

/// The hours of the week that were there on days enough.
fn known_hours(days: Days, rows: &[u32], time: &[i64]) -> [bool; STRATA] {
    let mut seen: [BTreeSet<i64>; STRATA] = std::array::from_fn(|_| BTreeSet::new());
    let mut hour = i64::MIN;
    for &row in rows {
        let time = time[row as usize];
        if time.div_euclid(HOUR_US) != hour {
            hour = time.div_euclid(HOUR_US);
            seen[days.stratum(time)].insert(day(time));
        }
    }
    seen.map(|days| days.len() >= FEWEST_DAYS)
}

/// Windows of one size over the reference.
struct Layout {
    size: usize,
    /// By phase: first rows and compositions.
    phases: Vec<Vec<(usize, super::variance::Composition)>>,
}

impl Layout {
    fn new(size: usize, kept: &Kept) -> Self {
        let phases = (0..PHASES)
            .map(|phase| {
                let offset = phase * size / PHASES;
                let n = (kept.rows.len() - offset) / size;
                let window = |window: usize| {
                    let first = offset + window * size;
                    let mut counts = vec![0_u64; kept.names.len()];
                    for &symbol in &kept.symbol[first..first + size] {
                        counts[symbol as usize] += 1;
                    }
                    (first, composition(&counts))
                };
                (0..n).map(window).collect()
            })
            .collect();
        Self { size, phases }
    }
}

fn fit_channel(
    channel: &Channel,
    index: usize,
    bins: &[u8],
    kept: &Kept,
    layouts: &[Layout],
) -> Fitted {
    let table = rank_scores();
    let mut statistics = Vec::new();
    // By size: phase by phase, one list of windows a statistic.
    let n_measures = channel.measures().len();
    let mut windows: Vec<Vec<Vec<f64>>> =
        vec![vec![Vec::new(); PHASES * n_measures]; layouts.len()];
    for (measure_index, &measure) in channel.measures().iter().enumerate() {
        let score = |at: usize| channel.score(&table, measure_index, usize::from(bins[at]));
        let by_symbol = means_by_symbol(channel, kept, &score);
        let season = Season::fit(kept, |at| score(at) - by_symbol[kept.symbol[at] as usize]);
        // What a row is expected to be by all days but its own.
        let expected: Vec<f64> = (0..bins.len())
            .map(|at| {
                by_symbol[kept.symbol[at] as usize] + season.by_others[kept.slot[at] as usize]
            })
            .collect();
        let prefixes: Vec<Vec<f64>> = kept
            .of_symbol
            .iter()
            .map(|of| {
                prefix(
                    of.iter()
                        .map(|&at| score(at as usize) - expected[at as usize]),
                )
            })
            .collect();
        let variance = VarianceCurve::fit(prefixes.iter().map(Vec::as_slice));
        let found = prefix((0..bins.len()).map(score));
        let expected = prefix(expected.into_iter());
        let sums = |first: usize, size: usize| {
            (
                found[first + size] - found[first],
                expected[first + size] - expected[first],
            )
        };
        // What symbols share, by the largest windows: there it counts most.
        let (mut above, mut together_above) = (0.0, 0.0);
        if let Some(layout) = layouts.last() {
            for (first, composition) in layout.phases.iter().flatten() {
                let (found, expected) = sums(*first, layout.size);
                let (alone, together) = alone_and_together(&variance, composition);
                above += (found - expected).powi(2) - alone;
                together_above += together - alone;
            }
        }
        let shared = if together_above > 0.0 {
            (above / together_above).clamp(0.0, 1.0)
        } else {
            0.0
        };
        for (layout, windows) in layouts.iter().zip(&mut windows) {
            for (phase, of_phase) in layout.phases.iter().enumerate() {
                windows[phase * n_measures + measure_index] = of_phase
                    .iter()
                    .map(|(first, composition)| {
                        let (found, expected) = sums(*first, layout.size);
                        let (alone, together) = alone_and_together(&variance, composition);
                        let variance = alone + shared * (together - alone);
                        standardised(measure, found, expected, variance)
                    })
                    .collect();
            }
        }
        statistics.push(Statistic {
            channel: index,
            measure,
            by_symbol,
            by_stratum: season.means,
            variance,
            shared,
        });
    }
    Fitted {
        statistics,
        windows,
    }
}

/// The mean by symbol; that of a flag is one for all, as a budget is.
fn means_by_symbol(channel: &Channel, kept: &Kept, score: &impl Fn(usize) -> f64) -> Vec<f64> {
    let sum = |of: &[u32]| of.iter().map(|&at| score(at as usize)).sum::<f64>();
    if channel.is_flag {
        let all: f64 = kept.of_symbol.iter().map(|of| sum(of)).sum();
        return vec![all / kept.rows.len() as f64; kept.names.len()];
    }
    let mean = |of: &Vec<u32>| sum(of) / of.len() as f64;
    kept.of_symbol.iter().map(mean).collect()
}

fn prefix(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sums = Vec::with_capacity(values.size_hint().0 + 1);
    let mut sum = 0.0;
    sums.push(sum);
    for value in values {
        sum += value;
        sums.push(sum);
    }
    sums
}

/// Means by hour of the week.
struct Season {
    means: [f64; STRATA],
    /// Of each slot, the mean of its stratum over all other days.
    by_others: Vec<f64>,
}

impl Season {
    fn fit(kept: &Kept, value: impl Fn(usize) -> f64) -> Self {
        let mut means = [0.0; STRATA];
        let mut by_others = vec![0.0; kept.strata.len()];
        // Without time there is one slot, which has no others.
        if kept.strata.len() < 2 {
            return Self { means, by_others };
        }
        let mut by_slot = vec![(0.0, 0.0); kept.strata.len()];
        for (at, &slot) in kept.slot.iter().enumerate() {
            let (sum, n) = &mut by_slot[slot as usize];
            *sum += value(at);
            *n += 1.0;
        }
        let mut by_stratum = [(0.0, 0.0); STRATA];
        for (&stratum, (sum, n)) in kept.strata.iter().zip(&by_slot) {
            let of = &mut by_stratum[usize::from(stratum)];
            of.0 += sum;
            of.1 += n;
        }
        for (mean, (sum, n)) in means.iter_mut().zip(by_stratum) {
            if n > 0.0 {
                *mean = sum / n;
            }
        }
        let slots = kept.strata.iter().zip(&by_slot);
        for (mean, (&stratum, (sum, n))) in by_others.iter_mut().zip(slots) {
            let (all, n_all) = by_stratum[usize::from(stratum)];
            if n_all > *n {
                *mean = (all - sum) / (n_all - n);
            }
        }
        Self { means, by_others }
    }
}
