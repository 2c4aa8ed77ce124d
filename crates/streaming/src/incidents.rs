//! Flagged rows into alerts, and alerts into incidents.
//!
//! An incident is what one symbol goes through at one time: flagged candles that follow each other within a quiet time.
//! Its first alert opens it, every further flagged candle adds one that carries its id, so that whoever is alarmed by the
//! first can fold the others into it. A candle gives one alert at most, whether it was flagged while it was open or when
//! it closed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::id_of;
use crate::judge::ModelId;

/// An episode of one symbol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// The id of its first alert.
    pub id: String,
    /// When its first flagged candle opened, µs since the epoch.
    pub opened: i64,
    /// When its last flagged candle opened.
    pub last: i64,
    /// When the last candle that gave an alert opened.
    pub alerted: i64,
    /// Number of alerts.
    pub n_alerts: u64,
    /// The largest score.
    pub peak: f64,
}

/// The incidents of a partition that may still go on, by symbol.
///
/// What is here depends on the models that judged the rows, so it can't be computed again from the records; it is
/// written wherever the alerts are, in the same transaction.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Incidents {
    by_symbol: BTreeMap<String, Incident>,
    /// Whether it has changed since it was last stored.
    #[serde(skip)]
    changed: bool,
}

/// The verdict on a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// When its candle opened, µs since the epoch.
    pub(crate) open_time: i64,
    pub(crate) flagged: bool,
    pub(crate) score: f64,
    /// Whether the candle is still open.
    pub(crate) is_open: bool,
}

/// An alert's place in its incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// The alert's own id.
    pub alert_id: String,
    /// Its incident's.
    pub incident_id: String,
    /// 1 for the alert that opens it.
    pub sequence: u64,
}

impl Incidents {
    /// Takes the verdict on a row of `symbol` whose candle opened at `open_time`; the place of the alert that it gives,
    /// if it gives one.
    pub(crate) fn judge(
        &mut self,
        symbol: &str,
        look: Look,
        quiet: i64,
        alert_id: impl FnOnce() -> String,
    ) -> Option<Place> {
        let Look {
            open_time,
            flagged,
            score,
            is_open,
        } = look;
        let current = self.by_symbol.get_mut(symbol);
        let is_over = current
            .as_ref()
            .is_some_and(|incident| open_time > incident.last.saturating_add(quiet));
        if !flagged {
            if is_over {
                self.by_symbol.remove(symbol);
                self.changed = true;
            }
            return None;
        }
        self.changed = true;
        if let Some(incident) = current
            && !is_over
        {
            incident.last = incident.last.max(open_time);
            incident.peak = incident.peak.max(score);
            // While it is open, a candle only opens incidents; and what gave an alert then gives no second one.
            if is_open || incident.alerted >= open_time {
                return None;
            }
            incident.alerted = open_time;
            incident.n_alerts += 1;
            return Some(Place {
                alert_id: alert_id(),
                incident_id: incident.id.clone(),
                sequence: incident.n_alerts,
            });
        }
        let id = alert_id();
        self.by_symbol.insert(
            symbol.to_owned(),
            Incident {
                id: id.clone(),
                opened: open_time,
                last: open_time,
                alerted: open_time,
                n_alerts: 1,
                peak: score,
            },
        );
        Some(Place {
            alert_id: id.clone(),
            incident_id: id,
            sequence: 1,
        })
    }

    /// The incidents that may still go on, by symbol.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Incident)> {
        self.by_symbol
            .iter()
            .map(|(symbol, incident)| (symbol.as_str(), incident))
    }

    /// Whether there is something that was not written yet; asked once.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

/// The id of the alert that a model's version gives for a candle: 32 hexadecimal digits, the same for the same candle.
#[must_use]
pub fn alert_id(symbol: &str, interval: &str, open_time: i64, model: &ModelId) -> String {
    let words = [symbol, interval, &model.name, &model.version];
    id_of(&words, &[open_time])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn run(rows: &[(i64, bool, bool)]) -> Vec<(i64, u64)> {
        let mut incidents = Incidents::default();
        let mut alerts = Vec::new();
        for &(minute, flagged, is_open) in rows {
            let id = || minute.to_string();
            let at = minute * MINUTE;
            let look = Look {
                open_time: at,
                flagged,
                score: 1.0,
                is_open,
            };
            let place = incidents.judge("A", look, 5 * MINUTE, id);
            alerts.extend(
                place.map(|place| (place.incident_id.parse::<i64>().unwrap(), place.sequence)),
            );
            // Stored and read at every step, it goes on alike.
            let stored = postcard::to_allocvec(&incidents).unwrap();
            incidents = postcard::from_bytes(&stored).unwrap();
        }
        alerts
    }

    #[test]
    fn flagged_candles_near_each_other_are_one_incident() {
        let closed = |minutes: &[i64]| -> Vec<(i64, bool, bool)> {
            (0..60)
                .map(|minute| (minute, minutes.contains(&minute), false))
                .collect()
        };
        assert_eq!(run(&closed(&[3, 4, 9])), vec![(3, 1), (3, 2), (3, 3)]);
        assert_eq!(run(&closed(&[3, 9])), vec![(3, 1), (9, 1)]);
    }

    #[test]
    fn an_open_candle_gives_one_alert_an_episode() {
        // Three looks at minute 3 while it is open, flagged from the second on, then it closes; minute 4 likewise.
        let rows = [
            (3, false, true),
            (3, true, true),
            (3, true, true),
            (3, true, false),
            (4, true, true),
            (4, true, false),
            (20, true, true),
            (20, false, false),
        ];
        assert_eq!(run(&rows), vec![(3, 1), (3, 2), (20, 1)]);
    }

    #[test]
    fn ids_tell_candles_models_and_versions_apart() {
        let model = |name: &str, version: &str| ModelId {
            name: name.to_owned(),
            version: version.to_owned(),
            run_id: String::new(),
        };
        let id = alert_id("A", "1m", 0, &model("m", "1"));
        assert_eq!(id.len(), 32);
        assert_eq!(id, alert_id("A", "1m", 0, &model("m", "1")));
        for other in [
            alert_id("B", "1m", 0, &model("m", "1")),
            alert_id("A", "10s", 0, &model("m", "1")),
            alert_id("A", "1m", 1, &model("m", "1")),
            alert_id("A", "1m", 0, &model("m", "2")),
            alert_id("A", "1m", 0, &model("m1", "")),
        ] {
            assert_ne!(id, other);
        }
    }
}
