//! Several detectors that vote.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::calibration::Calibrator;
use crate::detector::{Detector, Training};
use crate::ecod::EcodConfig;
use crate::error::{FormatError, Result};
use crate::mahalanobis::MahalanobisConfig;
use crate::observer::FitObserver;
use crate::params::{Checks, DetectorParams, ForestForm, IsolationForestConfig};
use crate::scratch::with_zeros;

/// How the members' calibrated scores become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combination {
    /// The mean of −log₁₀ tail probabilities: Fisher's statistic but for a factor.
    #[default]
    Fisher,
    /// The mean of the members' ranks among the calibration rows, 0 to 1; beyond all of them a rank goes
    /// on rising, by its tail.
    RankAverage,
    /// The largest −log₁₀ tail probability: one member that is sure is enough.
    Max,
}

/// Parameters of a consensus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsensusConfig {
    /// The members, 2 to 32, none a consensus itself. Default: a fair-cut forest, an SCiForest, ECOD and
    /// the robust Mahalanobis distance.
    pub members: Vec<DetectorParams>,
    /// How scores become one. Default `fisher`.
    pub combination: Combination,
    /// The tail probability below which a member votes for an anomaly, above 0 and at most 0.5. Default
    /// 0.001.
    pub vote_tail_probability: f64,
}

impl Default for ConsensusConfig {
    fn default() -> Self {
        Self {
            members: Self::usual(),
            combination: Combination::Fisher,
            vote_tail_probability: 1e-3,
        }
    }
}

/// Members at most.
const MAX_MEMBERS: usize = 32;

impl ConsensusConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] = &["members", "combination", "vote_tail_probability"];

    fn usual() -> Vec<DetectorParams> {
        let forest = |form| {
            DetectorParams::IsolationForest(IsolationForestConfig {
                form,
                ..IsolationForestConfig::default()
            })
        };
        vec![
            forest(ForestForm::FairCut),
            forest(ForestForm::SciForest),
            DetectorParams::Ecod(EcodConfig {}),
            DetectorParams::Mahalanobis(MahalanobisConfig::default()),
        ]
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        let mut checks = Checks::default();
        let n = self.members.len();
        checks.within("members", n, 2..=MAX_MEMBERS).above(
            "vote_tail_probability",
            self.vote_tail_probability,
            0.0,
            0.5,
        );
        for (i, member) in self.members.iter().enumerate() {
            let nested = matches!(member, DetectorParams::Consensus(_));
            let key = format!("members[{i}].detector");
            checks.that(&key, member.name(), !nested, "a detector that votes itself");
            if let (false, Err(error)) = (nested, member.check()) {
                checks.also(&format!("members[{i}] "), error.violations);
            }
        }
        checks.done()
    }

    pub(crate) fn resolved(mut self) -> Self {
        self.members = self
            .members
            .into_iter()
            .map(DetectorParams::resolved)
            .collect();
        self
    }
}

/// How sure a consensus is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Confidence {
    /// One vote: a warning, no alert.
    Low,
    /// Two votes.
    Medium,
    /// Three or more.
    High,
}

impl Confidence {
    /// Of a number of votes; `None` for no vote.
    #[must_use]
    pub fn of(n_votes: usize) -> Option<Self> {
        match n_votes {
            0 => None,
            1 => Some(Self::Low),
            2 => Some(Self::Medium),
            _ => Some(Self::High),
        }
    }

    /// Whether an alert is confirmed: two votes or more.
    #[must_use]
    pub fn is_confirmed(self) -> bool {
        self > Self::Low
    }
}

/// One member's word on a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vote<'a> {
    /// The member's name: its detector's, with a number where there are several of the kind.
    pub member: &'a str,
    /// Its raw score.
    pub raw: f64,
    /// Its calibrated score, −log₁₀ tail probability.
    pub neg_log10_tail: f64,
    /// Whether it votes for an anomaly.
    pub flagged: bool,
}

/// Several detectors, each calibrated to tail probabilities, whose scores are combined and who vote.
///
/// Members are calibrated on the rows they were fitted on, until [`Detector::calibrate`] is given rows
/// that they haven't seen, as it should be: a row of training is its own nearest neighbour, so that kNN
/// calls every new one far. A feature's part is the mean of its shares in the members' scores, weighted by
/// their calibrated ones.
#[derive(Debug, Clone)]
pub struct Consensus {
    combination: Combination,
    /// −log₁₀ of the tail probability below which a member votes.
    vote_limit: f64,
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
struct Member {
    name: String,
    detector: Detector,
    calibrator: Calibrator,
}

impl Consensus {
    pub(crate) fn fit(
        config: &ConsensusConfig,
        training: Training<'_>,
        observer: &mut dyn FitObserver,
    ) -> Result<Self> {
        let mut members: Vec<Member> = Vec::new();
        for (i, params) in config.members.iter().enumerate() {
            let same = |other: &&DetectorParams| other.name() == params.name();
            let before = config.members[..i].iter().filter(same).count();
            let alone = config.members.iter().filter(same).count() == 1;
            let name = match alone {
                true => params.name().to_owned(),
                false => format!("{}_{}", params.name(), before + 1),
            };
            // Members of one kind must not draw the same numbers.
            let seed = training.seed.wrapping_add(i as u64 * 0x9e37_79b9);
            let detector = Detector::fit_with(params, Training { seed, ..training }, observer)?;
            let scores = detector.score_watched(training.rows, observer)?;
            let calibrator = Calibrator::fit(&scores)?;
            members.push(Member {
                name,
                detector,
                calibrator,
            });
        }
        Ok(Self {
            combination: config.combination,
            vote_limit: -config.vote_tail_probability.log10(),
            members,
        })
    }

    /// Calibrates the members anew on `rows`.
    pub(crate) fn calibrate(
        &mut self,
        rows: ArrayView2<'_, f64>,
        observer: &mut dyn FitObserver,
    ) -> Result<()> {
        let calibrators = self
            .members
            .iter()
            .map(|member| Calibrator::fit(&member.detector.score_watched(rows, observer)?))
            .collect::<Result<Vec<_>>>()?;
        for (member, calibrator) in self.members.iter_mut().zip(calibrators) {
            member.calibrator = calibrator;
        }
        Ok(())
    }

    /// The members' names, in order.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Detector)> {
        self.members.iter().map(|m| (m.name.as_str(), &m.detector))
    }

    /// The calibrated score, −log₁₀ tail probability, beyond which a member votes for an anomaly.
    #[must_use]
    pub fn vote_limit(&self) -> f64 {
        self.vote_limit
    }

    /// Every member's word on a row, in order.
    ///
    /// # Errors
    /// As [`Detector::score_one`].
    pub fn votes(&self, row: &[f64]) -> Result<Vec<Vote<'_>>> {
        let vote = |member: &'_ Member| -> Result<(f64, f64)> {
            let raw = member.detector.score_one(row)?;
            Ok((raw, member.calibrator.neg_log10_tail(raw)))
        };
        self.members
            .iter()
            .map(|member| {
                let (raw, neg_log10_tail) = vote(member)?;
                Ok(Vote {
                    member: &member.name,
                    raw,
                    neg_log10_tail,
                    flagged: neg_log10_tail > self.vote_limit,
                })
            })
            .collect()
    }

    /// How sure the members are that a row is an anomaly; `None` where none of them votes for it.
    ///
    /// # Errors
    /// As [`Detector::score_one`].
    pub fn confidence(&self, row: &[f64]) -> Result<Option<Confidence>> {
        let votes = self.votes(row)?;
        Ok(Confidence::of(votes.iter().filter(|v| v.flagged).count()))
    }

    pub(crate) fn combination(&self) -> Combination {
        self.combination
    }

    pub(crate) fn calibrated_members(&self) -> impl Iterator<Item = (&Detector, &Calibrator)> {
        self.members.iter().map(|m| (&m.detector, &m.calibrator))
    }

    pub(crate) fn n_features(&self) -> usize {
        self.members.first().map_or(0, |m| m.detector.n_features())
    }

    /// What a member's calibrated score adds, before the mean or the maximum.
    fn term(&self, member: &Member, tail: f64) -> f64 {
        match self.combination {
            Combination::Fisher | Combination::Max => tail,
            Combination::RankAverage => {
                let n = member.calibrator.n_scores() as f64 + 1.0;
                let rank = -(-tail * std::f64::consts::LN_10).exp_m1();
                // Beyond the calibration rows ranks would all be 1.
                rank + (tail - n.log10()).max(0.0)
            }
        }
    }

    fn combine(&self, sum: f64, largest: f64) -> f64 {
        match self.combination {
            Combination::Max => largest,
            _ => sum / self.members.len() as f64,
        }
    }

    pub(crate) fn score_into(&self, rows: ArrayView2<'_, f64>, out: &mut [f64]) -> Result<()> {
        let mut largest = vec![f64::NEG_INFINITY; out.len()];
        let mut scores = vec![0.0; out.len()];
        out.fill(0.0);
        for member in &self.members {
            member.detector.score_into(rows, &mut scores)?;
            for ((sum, largest), raw) in out.iter_mut().zip(&mut largest).zip(&scores) {
                let term = self.term(member, member.calibrator.neg_log10_tail(*raw));
                *sum += term;
                *largest = largest.max(term);
            }
        }
        for (sum, largest) in out.iter_mut().zip(largest) {
            *sum = self.combine(*sum, largest);
        }
        Ok(())
    }

    pub(crate) fn score_one(&self, row: &[f64]) -> Result<f64> {
        let (mut sum, mut largest) = (0.0, f64::NEG_INFINITY);
        for member in &self.members {
            let raw = member.detector.score_one(row)?;
            let term = self.term(member, member.calibrator.neg_log10_tail(raw));
            sum += term;
            largest = largest.max(term);
        }
        Ok(self.combine(sum, largest))
    }

    pub(crate) fn explain(&self, row: &[f64], parts: &mut [f64]) -> Result<f64> {
        parts.fill(0.0);
        let mut weights = 0.0;
        with_zeros(row.len(), |own| -> Result<()> {
            for member in &self.members {
                let raw = member.detector.explain(row, own)?;
                let weight = member.calibrator.neg_log10_tail(raw);
                let positive: f64 = own.iter().map(|part| part.max(0.0)).sum();
                weights += weight;
                if positive > 0.0 && positive.is_finite() {
                    for (part, own) in parts.iter_mut().zip(&*own) {
                        *part += weight * own.max(0.0) / positive;
                    }
                }
            }
            Ok(())
        })?;
        let score = self.score_one(row)?;
        for part in parts {
            *part = if weights > 0.0 {
                *part / weights * score
            } else {
                0.0
            };
        }
        Ok(score)
    }

    /// Learns from a row with those members that do.
    pub(crate) fn update(&mut self, row: &[f64]) -> Result<bool> {
        let mut any = false;
        for member in &mut self.members {
            any |= member.detector.update(row)?;
        }
        Ok(any)
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.members.iter().any(|m| m.detector.is_streaming())
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.u8(match self.combination {
            Combination::Fisher => 0,
            Combination::RankAverage => 1,
            Combination::Max => 2,
        });
        out.f64(self.vote_limit);
        out.u64(self.members.len() as u64);
        for member in &self.members {
            out.text(&member.name);
            member.detector.write(out);
            member.calibrator.write(out);
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let refuse = |reason| Err(FormatError::content("consensus", reason));
        let combination = match from.u8("consensus combination")? {
            0 => Combination::Fisher,
            1 => Combination::RankAverage,
            2 => Combination::Max,
            _ => return refuse("the combination is not known"),
        };
        let vote_limit = from.f64("consensus vote limit")?;
        let n = from.count("consensus members", 9)?;
        if !(vote_limit.is_finite() && (2..=MAX_MEMBERS).contains(&n)) {
            return refuse("it needs a finite limit and 2 to 32 members");
        }
        let mut members: Vec<Member> = Vec::new();
        for _ in 0..n {
            let name = from.text("consensus member")?;
            // A consensus within another would let bytes nest without end.
            let detector = Detector::read_plain(from)?;
            let calibrator = Calibrator::read(from)?;
            let same = members
                .iter()
                .all(|m| m.detector.n_features() == detector.n_features() && m.name != name);
            if !same {
                return refuse("members must look at the same columns, under names of their own");
            }
            members.push(Member {
                name,
                detector,
                calibrator,
            });
        }
        Ok(Self {
            combination,
            vote_limit,
            members,
        })
    }
}
