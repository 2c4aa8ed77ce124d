//! What training stores of ordinary data, to notice drift by.

use market::DAY_US;
use ndarray::ArrayView2;
use serde::Serialize;

use super::DriftConfig;
use super::family::{Family, Measure, Size, Statistic};
use super::fit::{self, Columns, Rows};
use super::limit::Rule;
use super::ranks::BINS;
use super::season::{Days, STRATA};
use super::variance::VarianceCurve;
use crate::bytes::{Reader, Writer, checksum};
use crate::detector::check_finite;
use crate::error::{Error, FormatError, Result};

/// Feature rows of a stretch of ordinary history, in any order.
#[derive(Debug, Clone, Copy)]
pub struct FeatureReference<'a> {
    /// Event times, µs since the epoch; `None` for tables without time.
    pub time: Option<&'a [i64]>,
    /// Each row's symbol, as an index into the names.
    pub symbol: &'a [u32],
    /// (n_samples, n_features)
    pub rows: ArrayView2<'a, f64>,
}

/// Calibrated scores of a stretch of ordinary history that the detector was not fitted on.
#[derive(Debug, Clone, Copy)]
pub struct ScoreReference<'a> {
    /// Event times, µs since the epoch; `None` for tables without time.
    pub time: Option<&'a [i64]>,
    /// Each row's symbol, as an index into the names.
    pub symbol: &'a [u32],
    /// −log₁₀ tail probabilities.
    pub score: &'a [f64],
    /// Whether each is beyond the threshold.
    pub flagged: &'a [bool],
}

/// What is ordinary, and what is not any more.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftBaseline {
    pub(super) config: DriftConfig,
    /// Alert rate and score; `None` where the reference was too short.
    pub(super) model: Option<Family>,
    /// The features.
    pub(super) features: Option<Family>,
    remarks: Vec<String>,
    fingerprint: u64,
}

/// One statistic of a baseline, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatisticSummary {
    /// The feature's name, or `score` or `alert_rate`.
    pub name: String,
    /// What is measured of it.
    pub measure: Measure,
    /// How many rows of one symbol in succession say as much as one independent row.
    pub dependence: f64,
    /// The share of a window's variance that symbols have in common.
    pub shared: f64,
}

impl DriftBaseline {
    /// Computes a baseline from ordinary history. A reference too short for a family, or for a
    /// window size, is no error: that family or size is left out, and [`remarks`](Self::remarks)
    /// says so.
    ///
    /// At most some hundred bytes a row are held at a time. The same input gives the same baseline
    /// on any number of threads.
    ///
    /// # Errors
    /// A configuration that makes no sense; slices of different lengths; a symbol that is no index into
    /// `symbols`; a value that is not finite.
    pub fn fit(
        features: &FeatureReference<'_>,
        feature_names: &[String],
        scores: &ScoreReference<'_>,
        symbols: &[String],
        config: &DriftConfig,
    ) -> Result<Self> {
        config.check()?;
        check_rows(
            features.time,
            features.symbol,
            features.rows.nrows(),
            symbols,
        )?;
        check_rows(scores.time, scores.symbol, scores.score.len(), symbols)?;
        same("drift flags", scores.score.len(), scores.flagged.len())?;
        same("feature names", features.rows.ncols(), feature_names.len())?;
        check_finite("drift reference", features.rows)?;
        check_finite(
            "drift scores",
            ArrayView2::from_shape((scores.score.len(), 1), scores.score).map_err(|_| {
                Error::Empty {
                    what: "drift scores",
                }
            })?,
        )?;
        let of_features = || {
            let rows = Rows {
                time: features.time,
                symbol: features.symbol,
                names: symbols,
                columns: Columns::Features(features.rows.view(), feature_names),
            };
            fit::fit(rows, config)
        };
        let of_model = || {
            let rows = Rows {
                time: scores.time,
                symbol: scores.symbol,
                names: symbols,
                columns: Columns::Scores(scores.score, scores.flagged),
            };
            let config = DriftConfig {
                seed: config.seed.wrapping_add(1_000),
                ..config.clone()
            };
            fit::fit(rows, &config)
        };
        let (features, model) = rayon::join(of_features, of_model);
        let mut remarks = Vec::new();
        let mut family = |name: &str, family: std::result::Result<Family, String>| match family {
            Ok(family) => {
                remark(name, &family, config, &mut remarks);
                Some(family)
            }
            Err(reason) => {
                remarks.push(format!("no drift of the {name} is watched: {reason}"));
                None
            }
        };
        let model = family("model", model);
        let features = family("features", features);
        Ok(Self {
            config: config.clone(),
            model,
            features,
            remarks,
            fingerprint: 0,
        }
        .sealed())
    }

    /// What should be known of it: what is not watched, and what its limits don't cover.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// What it was asked for.
    #[must_use]
    pub fn config(&self) -> &DriftConfig {
        &self.config
    }

    /// (rows of a window, rule, limit in standard deviations) of the model's family, then of the features'.
    #[must_use]
    pub fn limits(&self) -> [Vec<(u64, &'static str, f64)>; 2] {
        [&self.model, &self.features].map(|family| {
            let sizes = family.iter().flat_map(|family| &family.sizes);
            sizes
                .map(|size| (size.rows, size.rule.name(), size.limit))
                .collect()
        })
    }

    /// All statistics, the model's first.
    pub fn statistics(&self) -> impl Iterator<Item = StatisticSummary> {
        [&self.model, &self.features]
            .into_iter()
            .flatten()
            .flat_map(|family| {
                family.statistics.iter().map(|statistic| StatisticSummary {
                    name: family.channels[statistic.channel].name.clone(),
                    measure: statistic.measure,
                    dependence: statistic.variance.dependence(),
                    shared: statistic.shared,
                })
            })
    }

    /// Tells baselines apart.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Whether its features are those of a model.
    pub(crate) fn fits(&self, feature_names: &[String]) -> bool {
        self.features.as_ref().is_none_or(|family| {
            let names = family.channels.iter().map(|channel| &channel.name);
            names.eq(feature_names)
        })
    }

    fn sealed(mut self) -> Self {
        let mut out = Writer::default();
        self.write(&mut out);
        let [a, b, c, d, e, f, g, h, ..] = checksum(out.as_bytes());
        self.fingerprint = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        self
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.f64(self.config.run_length);
        out.u64(self.config.windows.len() as u64);
        for rows in &self.config.windows {
            out.u64(*rows as u64);
        }
        out.u64(self.config.memory_us as u64);
        out.u64(self.config.silence_us as u64);
        out.u64(self.config.seed);
        out.u64(self.remarks.len() as u64);
        for remark in &self.remarks {
            out.text(remark);
        }
        for family in [&self.model, &self.features] {
            out.u8(u8::from(family.is_some()));
            if let Some(family) = family {
                write_family(family, out);
            }
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        const WHAT: &str = "drift baseline";
        let run_length = from.f64(WHAT)?;
        let n_windows = from.count(WHAT, 8)?;
        let windows = (0..n_windows)
            .map(|_| from.u64(WHAT).map(|rows| rows as usize))
            .collect::<Result<_, _>>()?;
        let config = DriftConfig {
            run_length,
            windows,
            memory_us: from.u64(WHAT)? as i64,
            silence_us: from.u64(WHAT)? as i64,
            seed: from.u64(WHAT)?,
        };
        config
            .check()
            .map_err(|error| FormatError::content(WHAT, error))?;
        let n_remarks = from.count(WHAT, 8)?;
        let remarks = (0..n_remarks)
            .map(|_| from.text(WHAT))
            .collect::<Result<_, _>>()?;
        let mut family = || match from.u8(WHAT)? {
            0 => Ok(None),
            1 => read_family(from).map(Some),
            other => Err(FormatError::content(
                WHAT,
                format!("`{other}` says neither that there is a family nor that there is none"),
            )),
        };
        let model = family()?;
        let features = family()?;
        let is_model = model.as_ref().is_none_or(|family| {
            let mut flags = family.channels.iter().map(|channel| channel.is_flag);
            flags.next() == Some(true) && flags.next() == Some(false) && flags.next().is_none()
        });
        let is_features = features
            .as_ref()
            .is_none_or(|family| family.channels.iter().all(|channel| !channel.is_flag));
        if !is_model || !is_features {
            return Err(FormatError::content(
                WHAT,
                "its channels are not those of a model",
            ));
        }
        Ok(Self {
            config,
            model,
            features,
            remarks,
            fingerprint: 0,
        }
        .sealed())
    }
}

fn same(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        Ok(())
    } else {
        Err(Error::Shape {
            what,
            expected,
            found,
        })
    }
}

fn check_rows(
    time: Option<&[i64]>,
    symbol: &[u32],
    n_rows: usize,
    symbols: &[String],
) -> Result<()> {
    same("drift symbols", n_rows, symbol.len())?;
    same("drift times", n_rows, time.map_or(n_rows, <[i64]>::len))?;
    if u32::try_from(n_rows).is_err() {
        return Err(Error::invalid(
            "drift reference",
            n_rows,
            "fewer than 2³² rows are needed",
        ));
    }
    match symbol
        .iter()
        .find(|symbol| **symbol as usize >= symbols.len())
    {
        Some(symbol) => Err(Error::invalid(
            "symbol index",
            symbol,
            "an index into the symbol names is needed",
        )),
        None => Ok(()),
    }
}

/// What the limits of a family don't cover.
fn remark(name: &str, family: &Family, config: &DriftConfig, remarks: &mut Vec<String>) {
    let days = (family.to - family.from) as f64 / DAY_US as f64;
    if family.days != Days::None && days < 7.0 - 1.0 / 24.0 {
        let known = family.is_known.iter().filter(|known| **known).count();
        remarks.push(format!(
            "the reference of the {name} covers {days:.1} days, not a week: {known} of {} hours \
             of the week are known, rows at others aren't watched",
            family.days.n_strata()
        ));
    }
    for rows in &config.windows {
        if !family.sizes.iter().any(|size| size.rows == *rows as u64) {
            remarks.push(format!(
                "windows of {rows} rows of the {name} aren't watched: the reference has {} rows",
                family.n_rows
            ));
        }
    }
}

fn write_family(family: &Family, out: &mut Writer) {
    out.u64(family.n_rows);
    out.u64(family.from as u64);
    out.u64(family.to as u64);
    out.u8(family.days as u8);
    out.u64(family.symbols.len() as u64);
    for symbol in &family.symbols {
        out.text(symbol);
    }
    out.u64(family.channels.len() as u64);
    for channel in &family.channels {
        out.text(&channel.name);
        out.u8(u8::from(channel.is_flag));
    }
    for known in family.is_known {
        out.u8(u8::from(known));
    }
    out.f64s(&family.edges);
    for statistic in &family.statistics {
        out.f64s(&statistic.by_symbol);
        for mean in statistic.by_stratum {
            out.f64(mean);
        }
        out.f64s(&statistic.variance.by_octave);
        out.f64(statistic.shared);
    }
    out.u64(family.sizes.len() as u64);
    for size in &family.sizes {
        out.u64(size.rows);
        out.u8(u8::from(size.rule == Rule::Accumulated));
        out.f64(size.limit);
        out.f64(size.allowance);
    }
}

fn read_family(from: &mut Reader<'_>) -> Result<Family, FormatError> {
    const WHAT: &str = "drift family";
    let flag = |from: &mut Reader<'_>| match from.u8(WHAT)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(FormatError::content(
            WHAT,
            format!("`{other}` is neither yes nor no"),
        )),
    };
    let (n_rows, begin, end) = (from.u64(WHAT)?, from.u64(WHAT)?, from.u64(WHAT)?);
    let days = from.u8(WHAT)?;
    let Some(&days) = Days::ALL.get(usize::from(days)) else {
        return Err(FormatError::content(
            WHAT,
            format!("`{days}` is no way to tell days apart"),
        ));
    };
    let n_symbols = from.count(WHAT, 8)?;
    let symbols: Vec<String> = (0..n_symbols)
        .map(|_| from.text(WHAT))
        .collect::<Result<_, _>>()?;
    let n_channels = from.count(WHAT, 9)?;
    let channels: Vec<(String, bool)> = (0..n_channels)
        .map(|_| Ok((from.text(WHAT)?, flag(from)?)))
        .collect::<Result<_, FormatError>>()?;
    let channels = Family::channels(channels.into_iter());
    let mut is_known = [false; STRATA];
    for known in &mut is_known {
        *known = flag(from)?;
    }
    let edges = from.f64s(WHAT)?;
    let mut statistics = Vec::new();
    for (index, channel) in channels.iter().enumerate() {
        for &measure in channel.measures() {
            let by_symbol = from.f64s(WHAT)?;
            let mut by_stratum = [0.0; STRATA];
            for mean in &mut by_stratum {
                *mean = from.f64(WHAT)?;
            }
            statistics.push(Statistic {
                channel: index,
                measure,
                by_symbol,
                by_stratum,
                variance: VarianceCurve {
                    by_octave: from.f64s(WHAT)?,
                },
                shared: from.f64(WHAT)?,
            });
        }
    }
    let n_sizes = from.count(WHAT, 25)?;
    let sizes: Vec<Size> = (0..n_sizes)
        .map(|_| {
            Ok(Size {
                rows: from.u64(WHAT)?,
                rule: if flag(from)? {
                    Rule::Accumulated
                } else {
                    Rule::TwoOfThree
                },
                limit: from.f64(WHAT)?,
                allowance: from.f64(WHAT)?,
            })
        })
        .collect::<Result<_, FormatError>>()?;
    let family = Family {
        n_rows,
        from: begin as i64,
        to: end as i64,
        days,
        symbols,
        channels,
        is_known,
        edges,
        statistics,
        sizes,
    };
    if is_sound(&family) {
        Ok(family)
    } else {
        Err(FormatError::content(
            WHAT,
            "it needs symbols in order, ascending edges, finite means, positive variances and limits",
        ))
    }
}

fn is_sound(family: &Family) -> bool {
    let n_symbols = family.symbols.len();
    let n_real = family.channels.iter().filter(|c| !c.is_flag).count();
    let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
    let edges_fit = family.edges.len() == n_symbols.saturating_mul(n_real * (BINS - 1))
        && finite(&family.edges)
        && family.edges.chunks(BINS - 1).all(<[f64]>::is_sorted);
    let statistics_fit = family.statistics.iter().all(|statistic| {
        let curve = &statistic.variance.by_octave;
        statistic.by_symbol.len() == n_symbols
            && finite(&statistic.by_symbol)
            && finite(&statistic.by_stratum)
            && (1..=64).contains(&curve.len())
            && curve
                .iter()
                .all(|variance| *variance > 0.0 && variance.is_finite())
            && curve.is_sorted()
            && (0.0..=1.0).contains(&statistic.shared)
    });
    let sizes_fit = family.sizes.is_sorted_by(|a, b| a.rows <= b.rows)
        && family.sizes.iter().all(|size| {
            size.rows > 0
                && size.limit > 0.0
                && !size.limit.is_nan()
                && size.allowance >= 1.0
                && size.allowance.is_finite()
        });
    n_symbols > 0
        && family.symbols.is_sorted_by(|a, b| a < b)
        && edges_fit
        && statistics_fit
        && !family.sizes.is_empty()
        && sizes_fit
}
