//! The result in one sentence, the same in the report and on the terminal.

use serde::Serialize;

use super::data::Unit;
use super::format;

/// What a baseline made of the events.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BaselineEvents {
    /// Its name.
    pub name: String,
    /// Events that it caught.
    pub caught: u64,
    /// Its false alerts per symbol and day: a catch means little without their number.
    pub false_alerts: Option<f64>,
}

/// What a run found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Data with labelled events.
    Events {
        /// Labelled events in the test range.
        events: u64,
        /// Those with at least one alert.
        caught: u64,
        /// Whether the events were injected (else they are real).
        injected: bool,
        /// Confidence interval of `caught / events`: low and high, in 0..=1.
        interval: Option<(f64, f64)>,
        /// Level of that interval, such as 0.95.
        level: f64,
        /// False alerts per symbol and day.
        false_alerts: Option<f64>,
        /// How the baseline did with its own threshold, set for the same alert budget.
        baseline: Option<BaselineEvents>,
    },
    /// A plain table with labelled rows.
    Rows {
        /// Rows scored.
        rows: u64,
        /// Those labelled anomalous.
        anomalous: u64,
        /// Area under the ROC curve.
        roc_auc: Option<f64>,
        /// Average precision.
        average_precision: Option<f64>,
        /// Name of the baseline and its average precision.
        baseline: Option<(String, f64)>,
    },
    /// No label to judge by.
    Unlabelled {
        /// Rows scored.
        rows: u64,
        /// Alerts.
        alerts: u64,
        /// Alerts per symbol and day, for data with time.
        per_symbol_day: Option<f64>,
    },
    /// Words of the caller's own.
    Text(String),
}

impl Default for Verdict {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Verdict {
    /// The result in one sentence of plain text, without a full stop; empty where there is nothing to say.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Events {
                events,
                caught,
                injected,
                interval,
                level,
                false_alerts,
                baseline,
            } => events_sentence(
                *events,
                *caught,
                *injected,
                *interval,
                *level,
                *false_alerts,
                baseline.as_ref(),
            ),
            Self::Rows {
                rows,
                anomalous,
                roc_auc,
                average_precision,
                baseline,
            } => {
                let of = format!("{} labelled rows among {}", whole(*anomalous), whole(*rows));
                let mut found = Vec::new();
                if let Some(ap) = average_precision.filter(|v| v.is_finite()) {
                    found.push(format!("average precision {}", format::fixed(ap, 3)));
                }
                if let Some(auc) = roc_auc.filter(|v| v.is_finite()) {
                    found.push(format!("ROC-AUC {}", format::fixed(auc, 3)));
                }
                if found.is_empty() {
                    return format!("{of}: too few of one sort to judge the ranking");
                }
                let mut sentence = format!("ranked {of} with {}", found.join(" and "));
                if let Some((name, ap)) = baseline.as_ref().filter(|(_, ap)| ap.is_finite()) {
                    sentence.push_str(&format!(
                        "; the {name} baseline has average precision {}",
                        format::fixed(*ap, 3)
                    ));
                }
                sentence
            }
            Self::Unlabelled {
                rows,
                alerts,
                per_symbol_day,
            } => {
                let mut sentence = format!(
                    "raised {} over {} unlabelled rows",
                    plural(*alerts, "alert"),
                    whole(*rows)
                );
                if let Some(rate) = per_symbol_day.filter(|v| v.is_finite()) {
                    sentence.push_str(&format!(
                        ", {} per symbol and day",
                        format::significant_short(rate)
                    ));
                }
                sentence + "; without labels there is nothing to judge them by"
            }
            Self::Text(text) => text.clone(),
        }
    }
}

fn events_sentence(
    events: u64,
    caught: u64,
    injected: bool,
    interval: Option<(f64, f64)>,
    level: f64,
    false_alerts: Option<f64>,
    baseline: Option<&BaselineEvents>,
) -> String {
    let rate = false_alerts
        .filter(|v| v.is_finite())
        .map(format::significant_short);
    if events == 0 {
        let alerts = rate.map_or(String::new(), |r| {
            format!("; {r} false alerts per symbol and day")
        });
        return format!("no labelled event in the test range, so recall is undefined{alerts}");
    }
    let sort = if injected { "injected" } else { "labelled" };
    let share = format::percent(caught as f64 / events as f64);
    let interval = interval
        .filter(|i| format::finite(*i))
        .map_or(String::new(), |i| {
            format!(
                ", {} interval {}",
                format::percent(level),
                format::interval_text(i, Unit::Percent)
            )
        });
    let mut sentence = format!(
        "caught {} of {} ({share}{interval})",
        whole(caught),
        plural(events, &format!("{sort} event"))
    );
    if let Some(rate) = rate {
        sentence.push_str(&format!(" at {rate} false alerts per symbol and day"));
    }
    if let Some(baseline) = baseline {
        let (name, caught) = (&baseline.name, whole(baseline.caught));
        sentence.push_str(&format!("; the {name} baseline caught {caught}"));
        if let Some(rate) = baseline.false_alerts.filter(|v| v.is_finite()) {
            sentence.push_str(&format!(" at {}", format::significant_short(rate)));
        }
    }
    sentence
}

fn whole(n: u64) -> String {
    format::count(n as f64)
}

fn plural(n: u64, word: &str) -> String {
    format!("{} {word}{}", whole(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_in_words() {
        let verdict = Verdict::Events {
            events: 41,
            caught: 34,
            injected: true,
            interval: Some((0.70, 0.92)),
            level: 0.95,
            false_alerts: Some(1.1),
            baseline: Some(BaselineEvents {
                name: "largest-|z|".to_owned(),
                caught: 21,
                false_alerts: Some(20.54),
            }),
        };
        assert_eq!(
            verdict.sentence(),
            "caught 34 of 41 injected events (83 %, 95 % interval 70–92 %) at 1.1 false alerts per symbol and day; \
             the largest-|z| baseline caught 21 at 20.5"
        );
    }

    #[test]
    fn nothing_to_judge_is_said() {
        let verdict = Verdict::Events {
            events: 0,
            caught: 0,
            injected: true,
            interval: Some((f64::NAN, f64::NAN)),
            level: 0.95,
            false_alerts: Some(0.5),
            baseline: None,
        };
        assert_eq!(
            verdict.sentence(),
            "no labelled event in the test range, so recall is undefined; 0.5 false alerts per symbol and day"
        );
        let verdict = Verdict::Rows {
            rows: 10,
            anomalous: 0,
            roc_auc: Some(f64::NAN),
            average_precision: None,
            baseline: None,
        };
        assert_eq!(
            verdict.sentence(),
            "0 labelled rows among 10: too few of one sort to judge the ranking"
        );
        assert!(
            !Verdict::Rows {
                rows: 10,
                anomalous: 2,
                roc_auc: Some(0.9),
                average_precision: None,
                baseline: None
            }
            .sentence()
            .contains("NaN")
        );
    }
}
