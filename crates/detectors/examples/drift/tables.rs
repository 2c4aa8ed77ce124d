//! The tables.

use detectors::drift::{DriftConfig, DriftMonitor};
use market::{DAY_US, HOUR_US, MINUTE_US};
use rayon::prelude::*;

use crate::interval::{poisson, share};
use crate::peers::{NAMES, Peers};
use crate::study::{Said, Scored, Trained, train, watch};
use crate::world::{self, Change, Plan, Rows};
use crate::{Options, Result};

/// Rows of the windows that delays are counted in.
const WINDOW: usize = 5_000;
const REFERENCE_DAYS: i64 = 14;

pub(crate) fn print(options: &Options) -> Result<()> {
    println!(
        "{} streams, seed {}, {} symbols, run length asked for {} windows of {WINDOW} rows",
        options.n_streams, options.seed, options.n_symbols, options.run_length
    );
    for table in &options.tables {
        match table.as_str() {
            "season" => season(options)?,
            "iid" => iid(options)?,
            "changes" => changes(options)?,
            _ => trouble(options)?,
        }
    }
    Ok(())
}

fn config(options: &Options, seed: u64) -> DriftConfig {
    DriftConfig {
        run_length: options.run_length,
        seed,
        ..DriftConfig::default()
    }
}

/// The work of every stream, in order; streams are independent.
fn of_streams<T: Send>(
    options: &Options,
    work: impl Fn(u64) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    (0..options.n_streams as u64)
        .into_par_iter()
        .map(|stream| work(options.seed.wrapping_add(stream).wrapping_mul(1_000)))
        .collect()
}

fn reference(options: &Options, seed: u64) -> Result<(Rows, Trained)> {
    let rows = world::simulate(&Plan {
        seed,
        n_symbols: options.n_symbols,
        start: 0,
        duration: REFERENCE_DAYS * DAY_US,
        changes: Vec::new(),
    })?;
    let split = rows.at(rows.time[0] + REFERENCE_DAYS / 2 * DAY_US);
    let names = world::symbols(options.n_symbols);
    let features = world::feature_names();
    let trained = train(&rows, split, (names, &features), &config(options, seed))?;
    Ok((rows, trained))
}

/// A stream begins at any hour of any week day.
fn start(seed: u64) -> i64 {
    let hours = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    21 * DAY_US + (hours % 168) as i64 * HOUR_US
}

/// Alarms of one rule, where there should be none.
#[derive(Default, Clone, Copy)]
struct Alarms {
    windows: usize,
    /// Raised after not being raised.
    alarms: usize,
    /// Windows after which it was raised.
    raised: usize,
}

impl Alarms {
    fn run_length(self) -> String {
        let (low, high) = poisson(self.alarms);
        let windows = self.windows as f64;
        let of = |alarms: f64| {
            if alarms > 0.0 {
                format!("{:.0}", windows / alarms)
            } else {
                "∞".to_owned()
            }
        };
        format!(
            "{:>5} alarms in {} windows: run length {} [{}, {}]",
            self.alarms,
            self.windows,
            of(self.alarms as f64),
            of(high),
            of(low)
        )
    }

    fn add(&mut self, other: Self) {
        self.windows += other.windows;
        self.alarms += other.alarms;
        self.raised += other.raised;
    }
}

fn families(said: &Said, rows: usize) -> [Alarms; 3] {
    let windows = rows / WINDOW;
    let of = |alarms: usize| Alarms {
        windows,
        alarms,
        raised: 0,
    };
    let is_feature = |at: &&(usize, detectors::DriftVerdict)| at.1.feature.is_some();
    let features = said.raised.iter().filter(is_feature).count();
    [
        of(said.raised.len() - features),
        of(said.retrains.len()),
        of(features),
    ]
}

fn print_families(all: &[[Alarms; 3]]) {
    for (index, name) in [
        "model: raised",
        "model: retrain asked for",
        "features: raised",
    ]
    .iter()
    .enumerate()
    {
        let mut sum = Alarms::default();
        all.iter().for_each(|of| sum.add(of[index]));
        println!("  {name:<55} {}", sum.run_length());
    }
}

fn season(options: &Options) -> Result<()> {
    println!(
        "\nnothing happens: GARCH, hour-of-week season, {} days a stream",
        options.days
    );
    let found = of_streams(options, |seed| {
        let (reference, trained) = reference(options, seed)?;
        let stream = world::simulate(&Plan {
            seed: seed + 1,
            n_symbols: options.n_symbols,
            start: start(seed),
            duration: options.days * DAY_US,
            changes: Vec::new(),
        })?;
        let stream = trained.score(stream)?;
        let said = watch(&trained, &stream)?;
        let mut peers = [Alarms::default(); NAMES.len()];
        if seed / 1_000 < options.seed + options.n_peers as u64 {
            let windows = Peers::fit(&reference, WINDOW).watch(&stream.rows);
            for (rule, alarms) in peers.iter_mut().enumerate() {
                alarms.windows = windows.len();
                alarms.raised = windows.iter().filter(|raised| raised[rule]).count();
                alarms.alarms = (0..windows.len())
                    .filter(|&at| windows[at][rule] && (at == 0 || !windows[at - 1][rule]))
                    .count();
            }
        }
        let seen: Vec<String> = said
            .raised
            .iter()
            .map(|(_, verdict)| {
                format!(
                    "{} {} at {} rows ({:.1} > {:.1})",
                    verdict.statistic,
                    verdict.feature.as_deref().unwrap_or("-"),
                    verdict.window,
                    verdict.value,
                    verdict.limit
                )
            })
            .collect();
        Ok((families(&said, stream.score.len()), peers, seen))
    })?;
    let all: Vec<[Alarms; 3]> = found.iter().map(|(families, ..)| *families).collect();
    print_families(&all);
    let weeks = (options.n_streams as i64 * options.days) as f64 / 7.0;
    let retrains: usize = all.iter().map(|of| of[1].alarms).sum();
    let (low, high) = poisson(retrains);
    println!(
        "  retrain asked for per week: {:.4} [{:.4}, {:.4}]",
        retrains as f64 / weeks,
        low / weeks,
        high / weeks
    );
    for seen in found.iter().flat_map(|(.., seen)| seen) {
        println!("    {seen}");
    }
    for (rule, name) in NAMES.iter().enumerate() {
        let mut sum = Alarms::default();
        found.iter().for_each(|(_, peers, _)| sum.add(peers[rule]));
        if sum.windows > 0 {
            println!(
                "  {name:<55} {}; raised {:.1} % of the time",
                sum.run_length(),
                100.0 * sum.raised as f64 / sum.windows as f64
            );
        }
    }
    Ok(())
}

/// Independent normal rows of five features and ten symbols.
fn iid(options: &Options) -> Result<()> {
    const WINDOWS: usize = 200;
    const REFERENCE: usize = 200_000;
    println!("\nnothing happens: independent rows, {WINDOWS} windows a stream");
    let found = of_streams(options, |seed| {
        let names = world::symbols(10);
        let features: Vec<String> = (0..5).map(|index| format!("x{index}")).collect();
        let reference = world::independent(seed, REFERENCE, 10, 5);
        let config = config(options, seed);
        let trained = train(&reference, REFERENCE / 2, (names, &features), &config)?;
        let mut raised = [Alarms::default(); 3];
        let stream = world::independent(seed + 1, WINDOWS * WINDOW, 10, 5);
        let stream = trained.score(stream)?;
        let said = watch(&trained, &stream)?;
        for (sum, of) in raised.iter_mut().zip(families(&said, stream.score.len())) {
            sum.add(of);
        }
        Ok(raised)
    })?;
    print_families(&found);
    Ok(())
}

/// When a rule found a change: in windows after it, and how often within so many.
fn print_delays(name: &str, delays: &[Option<f64>]) {
    let mut found: Vec<f64> = delays.iter().flatten().copied().collect();
    found.sort_unstable_by(f64::total_cmp);
    let within = |windows: f64| {
        let k = found.iter().filter(|delay| **delay <= windows).count();
        let (low, high) = share(k, delays.len());
        format!(
            "{:5.1} % [{:.1}, {:.1}]",
            100.0 * k as f64 / delays.len() as f64,
            100.0 * low,
            100.0 * high
        )
    };
    let median = if 2 * found.len() > delays.len() {
        format!("{:.2}", found[delays.len() / 2])
    } else {
        "–".to_owned()
    };
    println!(
        "  {name:<55} within 3: {}  within 10: {}  median {median}",
        within(3.0),
        within(10.0)
    );
}

fn changes(options: &Options) -> Result<()> {
    let changes = [
        ("volatility ×1.25", [1.25, 1.0, 1.0]),
        ("volatility ×1.5", [1.5, 1.0, 1.0]),
        ("size ×2", [1.0, 1.0, 2.0]),
        ("activity ×2", [1.0, 2.0, 1.0]),
    ];
    // Quiet before it, so that windows begin anywhere; then ten windows and a little.
    let before = DAY_US / 2;
    let minutes = (11 * WINDOW / options.n_symbols) as i64;
    let found = of_streams(options, |seed| {
        let (reference, trained) = reference(options, seed)?;
        let has_peers = seed / 1_000 < options.seed + options.n_peers as u64;
        let peers = has_peers.then(|| Peers::fit(&reference, WINDOW));
        let mut delays = Vec::new();
        for (index, (_, factors)) in (2..).zip(changes) {
            let at = before + (seed / 1_000 * 37 % 251) as i64 * MINUTE_US;
            let plan = Plan {
                seed: seed + index,
                n_symbols: options.n_symbols,
                start: start(seed + index),
                duration: at + minutes * MINUTE_US,
                changes: vec![Change::Regime(at, factors)],
            };
            let rows = world::simulate(&plan)?;
            let changed = rows.at(world::begin(&plan) + at);
            let stream = trained.score(rows)?;
            let said = watch(&trained, &stream)?;
            let delay = |row: usize| (row + 1 - changed) as f64 / WINDOW as f64;
            let any = said.raised.iter().find(|(row, _)| *row >= changed);
            let retrain = said.retrains.iter().find(|row| **row >= changed);
            let mut of_rules = vec![
                any.map(|(row, _)| delay(*row)),
                retrain.map(|row| delay(*row)),
            ];
            if let Some(peers) = &peers {
                let windows = peers.watch(&stream.rows);
                for rule in 0..NAMES.len() {
                    let ends = (0..windows.len()).map(|window| (window + 1) * WINDOW);
                    let mut ends = ends.zip(&windows);
                    let first = ends.find(|(end, raised)| *end > changed && raised[rule]);
                    of_rules.push(first.map(|(end, _)| delay(end - 1)));
                }
            }
            delays.push(of_rules);
        }
        Ok(delays)
    })?;
    for (index, (name, _)) in changes.iter().enumerate() {
        println!("\n{name}: found, in windows of {WINDOW} rows after the change");
        let names = ["anything raised", "retrain asked for"];
        for (rule, name) in names.into_iter().chain(NAMES).enumerate() {
            let of = found.iter().filter_map(|of| of[index].get(rule).copied());
            let of: Vec<Option<f64>> = of.collect();
            if !of.is_empty() {
                print_delays(name, &of);
            }
        }
    }
    Ok(())
}

fn trouble(options: &Options) -> Result<()> {
    println!("\nwhat must not ask for a training, four days a stream");
    let noon = 2 * DAY_US + 12 * HOUR_US;
    let half_hour = 30 * MINUTE_US;
    let troubles: [(&str, Vec<Change>); 4] = [
        ("nothing", Vec::new()),
        (
            "outage of 30 minutes",
            vec![Change::Outage(noon, noon + half_hour)],
        ),
        (
            "burst: ten times the trades for 30 minutes",
            vec![
                Change::Regime(noon, [1.0, 10.0, 1.0]),
                Change::Regime(noon + half_hour, [1.0; 3]),
            ],
        ),
        (
            "a quarter of the symbols delisted",
            vec![Change::Delisted(noon, options.n_symbols / 4)],
        ),
    ];
    let found = of_streams(options, |seed| {
        let (_, trained) = reference(options, seed)?;
        let mut said_of = Vec::new();
        for (index, (_, changes)) in (20..).zip(&troubles) {
            let rows = world::simulate(&Plan {
                // The same market, so that only the trouble differs.
                seed: seed + 20,
                n_symbols: options.n_symbols,
                start: start(seed + 20),
                duration: 4 * DAY_US,
                changes: changes.clone(),
            })?;
            let stream = trained.score(rows)?;
            let said = watch(&trained, &stream)?;
            if index == 20 {
                let restarted = restarted(&trained, &stream)?;
                let (apart, moved) = rebalanced(&trained, &stream)?;
                said_of.push((said.retrains.len(), said.raised.len()));
                said_of.push((restarted, usize::from(restarted != said.raised.len())));
                said_of.push((apart, moved));
            } else {
                said_of.push((said.retrains.len(), said.raised.len()));
            }
        }
        Ok(said_of)
    })?;
    let sum = |index: usize| {
        let of = found.iter().map(|of: &Vec<(usize, usize)>| of[index]);
        of.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    };
    let n = options.n_streams;
    for (name, index) in [
        (troubles[0].0, 0),
        (troubles[1].0, 3),
        (troubles[2].0, 4),
        (troubles[3].0, 5),
    ] {
        let (retrains, raised) = sum(index);
        let (low, high) = poisson(retrains);
        println!(
            "  {name:<45} asked for {retrains} times in {n} streams [{low:.1}, {high:.1}], raised anything {raised} times"
        );
    }
    let (raised, different) = sum(1);
    println!(
        "  {:<45} raised {raised} times, {different} of {n} streams differ from the undisturbed one",
        "restart every 997 rows"
    );
    let (raised, different) = sum(2);
    println!(
        "  {:<45} raised {raised} times, {different} of {n} streams differ from partitions at rest",
        "rebalance: four partitions change hands"
    );
    Ok(())
}

/// Stored and brought back every 997 rows: how often something was raised.
fn restarted(trained: &Trained, stream: &Scored) -> Result<usize> {
    let mut monitor = trained.monitor();
    let mut verdicts = Vec::new();
    for at in 0..stream.score.len() {
        if at % 997 == 0 {
            monitor = brought_back(trained, &monitor)?;
        }
        trained.observe(&mut monitor, stream, at, &mut verdicts)?;
    }
    Ok(raised(&verdicts))
}

fn brought_back(trained: &Trained, monitor: &DriftMonitor) -> Result<DriftMonitor> {
    let bytes = monitor.to_bytes();
    Ok(DriftMonitor::restore(
        std::sync::Arc::clone(&trained.baseline),
        "study/1",
        Default::default(),
        &bytes,
    )?)
}

fn raised(verdicts: &[detectors::DriftVerdict]) -> usize {
    let clear = detectors::drift::Action::Clear;
    verdicts.iter().filter(|of| of.action != clear).count()
}

/// Four partitions by symbol, each with a monitor of its own that changes hands every 5,003 rows; how often they
/// raised, and whether it is otherwise than without the moves.
fn rebalanced(trained: &Trained, stream: &Scored) -> Result<(usize, usize)> {
    let mut counts = [0; 2];
    for (moves, count) in [false, true].into_iter().zip(&mut counts) {
        let mut partitions: Vec<DriftMonitor> = (0..4).map(|_| trained.monitor()).collect();
        let mut verdicts = Vec::new();
        for at in 0..stream.score.len() {
            let monitor = &mut partitions[stream.rows.symbol[at] as usize % 4];
            trained.observe(monitor, stream, at, &mut verdicts)?;
            if moves && at % 5_003 == 0 {
                *monitor = brought_back(trained, monitor)?;
            }
        }
        *count = raised(&verdicts);
    }
    Ok((counts[1], usize::from(counts[0] != counts[1])))
}
