//! From scored rows to verdicts.

use std::sync::Arc;

use market::{DAY_US, HOUR_US};
use serde::{Deserialize, Serialize};

use super::baseline::DriftBaseline;
use super::counts::WindowCounts;
use super::family::{Family, Measure, Size, is_new_alert};
use super::limit::{CALM, CALM_WINDOWS, Memory, Rule};
use super::quality::Quality;
use super::season::Days;
use super::verdict::{Action, Direction, DriftVerdict};
use crate::error::{Error, Result};

/// A scored row.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// Its symbol.
    pub symbol: &'a str,
    /// Its features, in the model's order.
    pub features: &'a [f64],
    /// −log₁₀ tail probability.
    pub score: f64,
    /// Whether it is beyond the threshold.
    pub flagged: bool,
    /// The candle's open, µs since the epoch.
    pub event_time: i64,
    /// Whether the candle only carries the close forward.
    pub filled: bool,
    /// The candle's number of trades, where that is known.
    pub n_trades: Option<u64>,
}

/// How often a new training may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftPolicy {
    /// The least time between two requests, µs of event time. It doubles with every request to which no new model
    /// (which would have a monitor of its own) was the answer.
    pub cooldown_us: i64,
    /// It grows no further than this.
    pub max_cooldown_us: i64,
}

impl Default for DriftPolicy {
    fn default() -> Self {
        Self {
            cooldown_us: 6 * HOUR_US,
            max_cooldown_us: 4 * DAY_US,
        }
    }
}

/// Which family of statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FamilyKind {
    /// Alert rate and score.
    Model,
    /// The features.
    Features,
}

/// One statistic of the last full window, for metrics.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DriftGauge<'a> {
    /// Which family.
    pub family: FamilyKind,
    /// The feature, `score` or `alert_rate`.
    pub name: &'a str,
    /// What is measured of it.
    pub measure: Measure,
    /// Rows of a window.
    pub window: u64,
    /// `two_of_three` or `accumulated`.
    pub rule: &'static str,
    /// The last window's value in standard deviations, or the accumulated sum of what exceeds one.
    pub value: f64,
    /// Two of three windows beyond it, on one side, raise; or the sum beyond it.
    pub limit: f64,
    /// Whether the family's windows of this size are raised.
    pub raised: bool,
}

/// What a monitor has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Rows observed.
    pub rows: u64,
    /// Of them, rows during outages and bursts, and while features remembered these.
    pub suppressed: u64,
    /// Rows of symbols that the reference does not have.
    pub unknown_symbol: u64,
    /// Rows at hours of the week that the reference does not have.
    pub unknown_hour: u64,
    /// Full windows, of all families and sizes.
    pub windows: u64,
    /// How often something was raised.
    pub raised: u64,
    /// How often a new training was asked for.
    pub retrains: u64,
}

/// The windows of one size of one family.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Track {
    pub(super) counts: WindowCounts,
    /// By statistic; the latest value first.
    pub(super) memory: Vec<Memory>,
    /// First rows of the last three windows, the latest first.
    pub(super) begun: [i64; 3],
    /// By statistic, the first row of the window since which its sum is above 0.
    pub(super) since: Vec<i64>,
    pub(super) raised: Option<Raised>,
}

/// What was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raised {
    pub(super) statistic: usize,
    pub(super) since: i64,
    /// Windows below the calm limit in succession.
    pub(super) calm: u8,
    /// Whether the new training that it calls for has been asked for.
    pub(super) is_asked: bool,
}

/// Requests for a new training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Requests {
    pub(super) not_before: i64,
    pub(super) cooldown: i64,
}

/// Watches a stream of scored rows for drift from a model's baseline.
///
/// A pure state machine: the same rows in the same order give the same verdicts, whether or not
/// it was stored ([`to_bytes`](Self::to_bytes)) and brought back ([`restore`](Self::restore)) on
/// the way. It reads no clock; all times are event times.
#[derive(Debug, Clone)]
pub struct DriftMonitor {
    pub(super) baseline: Arc<DriftBaseline>,
    pub(super) model: String,
    pub(super) policy: DriftPolicy,
    pub(super) quality: Quality,
    /// By family, by size.
    pub(super) tracks: [Vec<Track>; 2],
    pub(super) requests: Requests,
    /// By symbol of the model's family, the event time of the last alert that counted.
    pub(super) last_alerts: Vec<i64>,
    pub(super) counts: Counts,
    /// Room for the bins of a row.
    bins: Vec<usize>,
}

impl DriftMonitor {
    /// A monitor that has seen nothing; `model` is what its verdicts name.
    #[must_use]
    pub fn new(
        baseline: Arc<DriftBaseline>,
        model: impl Into<String>,
        policy: DriftPolicy,
    ) -> Self {
        let tracks = [&baseline.model, &baseline.features].map(|family| {
            family.as_ref().map_or_else(Vec::new, |family| {
                let track = Track {
                    counts: family.counts(),
                    memory: vec![Memory::default(); family.statistics.len()],
                    begun: [i64::MAX; 3],
                    since: vec![i64::MAX; family.statistics.len()],
                    raised: None,
                };
                vec![track; family.sizes.len()]
            })
        });
        let n_symbols = baseline
            .model
            .as_ref()
            .map_or(0, |family| family.symbols.len());
        Self {
            last_alerts: vec![i64::MIN; n_symbols],
            baseline,
            model: model.into(),
            policy,
            quality: Quality::new(),
            tracks,
            requests: Requests {
                not_before: i64::MIN,
                cooldown: policy.cooldown_us,
            },
            counts: Counts::default(),
            bins: Vec::new(),
        }
    }

    /// Takes a scored row, in the order in which rows were scored, and appends what it decides.
    ///
    /// # Errors
    /// Features of another number than the baseline's; a number that is not finite. The monitor is
    /// then unchanged.
    pub fn observe(
        &mut self,
        row: &Observation<'_>,
        verdicts: &mut Vec<DriftVerdict>,
    ) -> Result<()> {
        let baseline = Arc::clone(&self.baseline);
        if let Some(family) = &baseline.features
            && family.channels.len() != row.features.len()
        {
            return Err(Error::Shape {
                what: "features of an observation",
                expected: family.channels.len(),
                found: row.features.len(),
            });
        }
        let mut numbers = row.features.iter().chain([&row.score]);
        if let Some(column) = numbers.position(|value| !value.is_finite()) {
            return Err(Error::NonFinite {
                what: "an observation",
                row: 0,
                column,
                value: row.features.get(column).copied().unwrap_or(row.score),
            });
        }
        self.counts.rows += 1;
        let config = &baseline.config;
        let spans = (config.silence_us, config.memory_us);
        if !self
            .quality
            .admits(row.event_time, row.filled, row.n_trades, spans)
        {
            self.counts.suppressed += 1;
            return Ok(());
        }
        if let Some(family) = &baseline.model {
            let flagged = match family.symbol(row.symbol) {
                Some(symbol) if family.days != Days::None => is_new_alert(
                    row.flagged,
                    row.event_time,
                    &mut self.last_alerts[symbol],
                    config.memory_us,
                ),
                _ => row.flagged,
            };
            let values = [f64::from(u8::from(flagged)), row.score];
            self.take(FamilyKind::Model, family, row, &values, verdicts);
        }
        if let Some(family) = &baseline.features {
            self.take(FamilyKind::Features, family, row, row.features, verdicts);
        }
        Ok(())
    }

    /// Rows of this span of event time, and of the time that features remember it, don't
    /// count: what the caller knows of the feed (gaps, staleness, a large share of bad or late
    /// messages). Silence of all symbols and bursts of trades are noticed without it.
    pub fn outage(&mut self, from: i64, to: i64) {
        let memory = self.baseline.config.memory_us;
        self.quality.hold(from, to.saturating_add(memory));
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether anything of this family is raised.
    #[must_use]
    pub fn is_raised(&self, family: FamilyKind) -> bool {
        self.tracks[family as usize]
            .iter()
            .any(|track| track.raised.is_some())
    }

    /// The statistics of the last full windows.
    pub fn gauges(&self) -> impl Iterator<Item = DriftGauge<'_>> {
        let of = |kind, family| gauges(kind, family, &self.tracks[kind as usize]);
        of(FamilyKind::Model, self.baseline.model.as_ref())
            .chain(of(FamilyKind::Features, self.baseline.features.as_ref()))
    }

    /// The counters of the windows that are being filled, by window size: those of several
    /// partitions [add up](WindowCounts::merge).
    pub fn open_windows(&self, family: FamilyKind) -> impl Iterator<Item = &WindowCounts> {
        self.tracks[family as usize]
            .iter()
            .map(|track| &track.counts)
    }

    fn take(
        &mut self,
        kind: FamilyKind,
        family: &Family,
        row: &Observation<'_>,
        values: &[f64],
        verdicts: &mut Vec<DriftVerdict>,
    ) {
        // What both families don't know is counted once.
        let is_first = kind == FamilyKind::Model || self.baseline.model.is_none();
        let Some(symbol) = family.symbol(row.symbol) else {
            self.counts.unknown_symbol += u64::from(is_first);
            return;
        };
        let Some(stratum) = family.stratum(row.event_time) else {
            self.counts.unknown_hour += u64::from(is_first);
            return;
        };
        let mut bins = std::mem::take(&mut self.bins);
        family.bins(symbol, values, &mut bins);
        for size in 0..family.sizes.len() {
            let counts = &mut self.tracks[kind as usize][size].counts;
            counts.add(symbol, stratum, row.event_time, &bins);
            if counts.rows >= family.sizes[size].rows {
                self.close(kind, family, size, verdicts);
            }
        }
        self.bins = bins;
    }

    /// A window is full.
    fn close(
        &mut self,
        kind: FamilyKind,
        family: &Family,
        size: usize,
        verdicts: &mut Vec<DriftVerdict>,
    ) {
        self.counts.windows += 1;
        let track = &mut self.tracks[kind as usize][size];
        let Size {
            rule, limit, rows, ..
        } = family.sizes[size];
        let values = family.judge(size, &track.counts);
        track.begun = [track.counts.from, track.begun[0], track.begun[1]];
        // The statistic that is furthest out by the rule.
        let (mut statistic, mut value, mut unrest) = (0, 0.0_f64, 0.0_f64);
        let memories = track.memory.iter_mut().zip(&mut track.since);
        for (index, ((memory, since), latest)) in memories.zip(&values).enumerate() {
            let judged = rule.take(memory, *latest, limit);
            if judged.abs() > value.abs() {
                (statistic, value) = (index, judged);
            }
            unrest = unrest.max(rule.unrest(*latest, judged));
            *since = match judged {
                0.0 => i64::MAX,
                _ => (*since).min(track.counts.from),
            };
        }
        let is_beyond = value.abs() > limit;
        let mut action = None;
        match &mut track.raised {
            None if is_beyond => {
                track.raised = Some(Raised {
                    statistic,
                    since: track.since(rule, statistic, limit),
                    calm: 0,
                    is_asked: false,
                });
                self.counts.raised += 1;
                action = Some(Action::Warn);
            }
            None => {}
            Some(raised) if unrest < CALM * limit => {
                raised.calm += 1;
                if raised.calm >= CALM_WINDOWS {
                    action = Some(Action::Clear);
                }
            }
            Some(raised) => raised.calm = 0,
        }
        let mut held_until = None;
        if let Some(raised) = &mut track.raised
            && kind == FamilyKind::Model
            && is_beyond
            && !raised.is_asked
        {
            if track.counts.to >= self.requests.not_before {
                raised.is_asked = true;
                let until = track.counts.to.saturating_add(self.requests.cooldown);
                self.requests.not_before = until;
                self.requests.cooldown = self
                    .requests
                    .cooldown
                    .saturating_mul(2)
                    .min(self.policy.max_cooldown_us.max(self.policy.cooldown_us));
                self.counts.retrains += 1;
                action = Some(Action::Retrain);
            } else {
                held_until = Some(self.requests.not_before);
            }
        }
        if let (Some(action), Some(raised)) = (action, track.raised) {
            let (statistic, value) = if action == Action::Clear {
                (raised.statistic, unrest)
            } else {
                (statistic, value)
            };
            let channel = &family.channels[family.statistics[statistic].channel];
            let measure = family.statistics[statistic].measure;
            let (name, feature) = match (kind, measure) {
                (FamilyKind::Model, Measure::Rate) => ("alert_rate", None),
                (FamilyKind::Model, Measure::Location) => ("score_location", None),
                (FamilyKind::Model, Measure::Spread) => ("score_spread", None),
                (FamilyKind::Features, Measure::Spread) => ("feature_spread", Some(&channel.name)),
                (FamilyKind::Features, _) => ("feature_location", Some(&channel.name)),
            };
            verdicts.push(DriftVerdict {
                model: self.model.clone(),
                statistic: name.to_owned(),
                feature: feature.cloned(),
                value: value.abs(),
                limit,
                window: rows,
                rule: rule.name().to_owned(),
                since: raised.since,
                until: track.counts.to,
                direction: if track.memory[statistic][0] >= 0.0 {
                    Direction::Up
                } else {
                    Direction::Down
                },
                shift: family.shift(statistic, &track.counts),
                action,
                held_until,
            });
            if action == Action::Clear {
                track.raised = None;
            }
        }
        track.counts.clear();
    }
}

impl Track {
    /// Where what was raised began.
    fn since(&self, rule: Rule, statistic: usize, limit: f64) -> i64 {
        let beyond = self.memory[statistic].iter().zip(&self.begun);
        match rule {
            Rule::Accumulated => self.since[statistic],
            Rule::TwoOfThree => beyond
                .filter(|(value, _)| value.abs() > limit)
                .map(|(_, begun)| *begun)
                .min()
                .unwrap_or(self.begun[0]),
        }
    }
}

fn gauges<'a>(
    kind: FamilyKind,
    family: Option<&'a Family>,
    tracks: &'a [Track],
) -> impl Iterator<Item = DriftGauge<'a>> {
    family.into_iter().flat_map(move |family| {
        let sizes = family.sizes.iter().zip(tracks);
        sizes.flat_map(move |(size, track)| {
            let statistics = family.statistics.iter().zip(&track.memory);
            statistics.map(move |(statistic, memory)| DriftGauge {
                family: kind,
                name: &family.channels[statistic.channel].name,
                measure: statistic.measure,
                window: size.rows,
                rule: size.rule.name(),
                value: match size.rule {
                    Rule::TwoOfThree => memory[0],
                    Rule::Accumulated => memory[1].max(memory[2]),
                },
                limit: size.limit,
                raised: track.raised.is_some(),
            })
        })
    })
}
