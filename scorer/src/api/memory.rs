//! The last scored rows, in bounded memory.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use streaming::Severity;

/// What a remembered row takes beside its JSON, about.
const OVERHEAD: usize = 160;

/// Remembers rows until there are too many, or they are too large.
#[derive(Debug)]
pub(crate) struct Memory {
    most_rows: usize,
    most_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    rows: VecDeque<Remembered>,
    n_bytes: usize,
    /// Rows that were forgotten.
    forgotten: u64,
    /// The last version, which most rows share.
    version: Option<Arc<str>>,
    /// By symbol: early alerts whose candles haven't closed yet, with the time at which these opened.
    early: BTreeMap<Arc<str>, (i64, Arc<AlertOf>)>,
}

/// A remembered row.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    pub(crate) id: u64,
    pub(crate) symbol: Arc<str>,
    /// When its candle opened, µs since the epoch.
    pub(crate) event_time: i64,
    pub(crate) score: f64,
    pub(crate) flagged: bool,
    /// Of the model that scored it.
    pub(crate) version: Arc<str>,
    /// As it stands in `features`.
    pub(crate) json: Bytes,
    pub(crate) alert: Option<Arc<AlertOf>>,
    pub(crate) challenger: Option<Arc<Challenged>>,
}

/// The alert that a row gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AlertOf {
    pub(crate) alert_id: String,
    pub(crate) incident_id: String,
    pub(crate) sequence: u64,
    /// Whether it was given while the candle was open.
    pub(crate) early: bool,
    pub(crate) severity: Severity,
    pub(crate) severity_score: f64,
}

/// What the challenger says of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Challenged {
    pub(crate) version: Arc<str>,
    pub(crate) score: f64,
    pub(crate) raw_score: f64,
    pub(crate) threshold: f64,
    pub(crate) flagged: bool,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    open_time: i64,
    score: Option<f64>,
    #[serde(default)]
    flagged: bool,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(borrow)]
    version: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Alert<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    event_time: i64,
    #[serde(flatten)]
    of: AlertOf,
}

/// Which rows are asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) symbol: Option<String>,
    /// From this event time on, µs since the epoch.
    pub(crate) since: Option<i64>,
    /// Before this event time.
    pub(crate) until: Option<i64>,
    pub(crate) flagged: Option<bool>,
    pub(crate) min_score: Option<f64>,
    pub(crate) version: Option<String>,
}

impl Filter {
    fn takes(&self, row: &Remembered) -> bool {
        self.symbol
            .as_ref()
            .is_none_or(|symbol| **symbol == *row.symbol)
            && self.since.is_none_or(|since| row.event_time >= since)
            && self.until.is_none_or(|until| row.event_time < until)
            && self.flagged.is_none_or(|flagged| row.flagged == flagged)
            && self.min_score.is_none_or(|least| row.score >= least)
            && self
                .version
                .as_ref()
                .is_none_or(|version| **version == *row.version)
    }
}

/// Scores of remembered rows.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    pub(crate) scores: Vec<f64>,
    pub(crate) n_flagged: usize,
}

/// What is remembered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Extent {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    /// Rows that were here and had to make room.
    pub(crate) forgotten: u64,
}

impl Memory {
    /// `None` where nothing is to be remembered.
    pub(crate) fn new(most_rows: usize, most_bytes: usize) -> Option<Self> {
        (most_rows > 0).then(|| Self {
            most_rows,
            most_bytes,
            inner: Mutex::default(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each change is one step: there is no half of one to be seen.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a row as it stands in `features`; one without a score is no prediction.
    pub(crate) fn remember(&self, id: u64, json: &[u8]) {
        let row: Row<'_> = match serde_json::from_slice(json) {
            Ok(row) => row,
            Err(error) => {
                tracing::error!(%error, "a row of our own can't be read");
                return;
            }
        };
        let Some(score) = row.score else { return };
        let symbol = Arc::from(&*row.symbol);
        let json = Bytes::copy_from_slice(json);
        let mut inner = self.inner();
        let version = match &inner.version {
            Some(version) if **version == *row.model.version => Arc::clone(version),
            _ => {
                let version: Arc<str> = Arc::from(&*row.model.version);
                inner.version = Some(Arc::clone(&version));
                version
            }
        };
        let alert = match inner.early.get(&*row.symbol) {
            Some((open_time, _)) if *open_time > row.open_time => None,
            Some((open_time, alert)) => {
                let alert = (*open_time == row.open_time).then(|| Arc::clone(alert));
                inner.early.remove(&*row.symbol);
                alert
            }
            None => None,
        };
        inner.n_bytes += json.len() + OVERHEAD;
        inner.rows.push_back(Remembered {
            id,
            symbol,
            event_time: row.open_time,
            score,
            flagged: row.flagged,
            version,
            json,
            alert,
            challenger: None,
        });
        while inner.rows.len() > self.most_rows || inner.n_bytes > self.most_bytes {
            let Some(oldest) = inner.rows.pop_front() else {
                break;
            };
            inner.n_bytes -= oldest.json.len() + OVERHEAD;
            inner.forgotten += 1;
        }
    }

    /// Takes an alert: it follows the row that gave it.
    pub(crate) fn alert(&self, json: &[u8]) {
        let Ok(alert) = serde_json::from_slice::<Alert<'_>>(json) else {
            tracing::error!("an alert of our own can't be read");
            return;
        };
        let mut inner = self.inner();
        if alert.of.early {
            // Its candle hasn't closed: there is no row yet. A symbol has one open candle at most that says so.
            let of = (alert.event_time, Arc::new(alert.of));
            inner.early.insert(Arc::from(&*alert.symbol), of);
        } else if let Some(row) = inner.rows.back_mut()
            && *row.symbol == *alert.symbol
            && row.event_time == alert.event_time
        {
            row.alert = Some(Arc::new(alert.of));
        }
    }

    /// Takes what the challenger says of a row, if it is still there.
    pub(crate) fn challenge(&self, id: u64, said: Challenged) {
        let mut inner = self.inner();
        if let Ok(place) = inner.rows.binary_search_by_key(&id, |row| row.id) {
            inner.rows[place].challenger = Some(Arc::new(said));
        }
    }

    /// The newest rows before `before` that a filter takes, and whether there are more.
    pub(crate) fn newest(
        &self,
        filter: &Filter,
        before: Option<u64>,
        limit: usize,
    ) -> (Vec<Remembered>, bool) {
        let inner = self.inner();
        let end = match before {
            Some(before) => inner.rows.partition_point(|row| row.id < before),
            None => inner.rows.len(),
        };
        let mut found = inner
            .rows
            .range(..end)
            .rev()
            .filter(|row| filter.takes(row));
        let rows: Vec<Remembered> = found.by_ref().take(limit).cloned().collect();
        let has_more = found.next().is_some();
        (rows, has_more)
    }

    /// All scores that a filter takes, by symbol.
    pub(crate) fn scores(&self, filter: &Filter) -> BTreeMap<Arc<str>, Scores> {
        let mut found: BTreeMap<Arc<str>, Scores> = BTreeMap::new();
        for row in self.inner().rows.iter().filter(|row| filter.takes(row)) {
            let of = found.entry(Arc::clone(&row.symbol)).or_default();
            of.scores.push(row.score);
            of.n_flagged += usize::from(row.flagged);
        }
        found
    }

    pub(crate) fn extent(&self) -> Extent {
        let inner = self.inner();
        Extent {
            rows: inner.rows.len(),
            bytes: inner.n_bytes,
            forgotten: inner.forgotten,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(symbol: &str, minute: i64, score: Option<f64>, version: &str) -> Vec<u8> {
        let verdict = score.map_or_else(String::new, |score| {
            let flagged = score > 3.0;
            format!(
                r#""score":{score},"raw_score":0.5,"threshold":3.0,"flagged":{flagged},"votes":[],"#
            )
        });
        let open_time = minute * 60_000_000;
        format!(
            r#"{{"symbol":"{symbol}","interval":"1m","open_time":{open_time},"filled":false,"close":1.0,"volume":2.0,"features":{{"return":0.25,"log_return":{}}},{verdict}"model":{{"name":"m","version":"{version}","run_id":"r"}}}}"#,
            score.unwrap_or(0.0)
        )
        .into_bytes()
    }

    fn ids((rows, more): (Vec<Remembered>, bool)) -> (Vec<u64>, bool) {
        (rows.iter().map(|row| row.id).collect(), more)
    }

    #[test]
    fn rows_are_found_the_newest_first_and_the_oldest_make_room() {
        let memory = Memory::new(6, 1 << 20).unwrap();
        for id in 0..10_i64 {
            let symbol = if id % 2 == 0 { "A" } else { "B" };
            let version = if id < 7 { "1" } else { "2" };
            memory.remember(id as u64, &row(symbol, id, Some(id as f64 / 2.0), version));
        }
        memory.remember(10, &row("A", 10, None, "2"));
        let extent = memory.extent();
        assert_eq!((extent.rows, extent.forgotten), (6, 4));
        let all = Filter::default();
        assert_eq!(ids(memory.newest(&all, None, 4)), (vec![9, 8, 7, 6], true));
        assert_eq!(ids(memory.newest(&all, Some(6), 4)), (vec![5, 4], false));
        // What is asked for was forgotten meanwhile.
        assert_eq!(ids(memory.newest(&all, Some(2), 4)), (vec![], false));
        let find = |filter: Filter| ids(memory.newest(&filter, None, 9)).0;
        let symbol = Some("A".to_owned());
        assert_eq!(
            find(Filter {
                symbol: symbol.clone(),
                ..Filter::default()
            }),
            [8, 6, 4]
        );
        let (since, until) = (Some(5 * 60_000_000), Some(8 * 60_000_000));
        assert_eq!(
            find(Filter {
                since,
                until,
                ..Filter::default()
            }),
            [7, 6, 5]
        );
        let flagged = Some(true);
        assert_eq!(
            find(Filter {
                flagged,
                ..Filter::default()
            }),
            [9, 8, 7]
        );
        let min_score = Some(4.0);
        let version = Some("2".to_owned());
        assert_eq!(
            find(Filter {
                min_score,
                version,
                ..Filter::default()
            }),
            [9, 8]
        );
        let scores = memory.scores(&all);
        assert_eq!(scores["A"].scores, [2.0, 3.0, 4.0]);
        assert_eq!(scores["B"].n_flagged, 2);
    }

    #[test]
    fn memory_is_bounded_in_bytes() {
        let one = row("A", 0, Some(1.0), "1").len() + OVERHEAD;
        let memory = Memory::new(1_000, 3 * one).unwrap();
        for id in 0..8_u64 {
            memory.remember(id, &row("A", 0, Some(1.0), "1"));
        }
        let extent = memory.extent();
        assert_eq!((extent.rows, extent.bytes), (3, 3 * one));
        assert!(Memory::new(0, 1).is_none());
    }

    #[test]
    fn alerts_and_challengers_find_their_rows() {
        let memory = Memory::new(10, 1 << 20).unwrap();
        memory.remember(3, &row("A", 1, Some(4.0), "1"));
        let alert = |time: i64| {
            format!(
                r#"{{"alert_id":"x","incident_id":"y","sequence":2,"symbol":"A","event_time":{time},"interval":"1m","early":false,"score":4.0,"raw_score":0.5,"threshold":3.0,"severity":"HIGH","severity_score":80.5,"votes":[],"contributions":[],"model":{{"name":"m","version":"1","run_id":"r"}}}}"#
            )
        };
        memory.alert(alert(7).as_bytes());
        let of = || memory.newest(&Filter::default(), None, 1).0.remove(0);
        assert_eq!(of().alert, None);
        memory.alert(alert(60_000_000).as_bytes());
        assert_eq!(of().alert.unwrap().severity, Severity::High);
        let said = Challenged {
            version: "9".into(),
            score: 1.0,
            raw_score: 0.1,
            threshold: 2.0,
            flagged: false,
        };
        memory.challenge(4, said.clone());
        assert_eq!(of().challenger, None);
        memory.challenge(3, said.clone());
        assert_eq!(*of().challenger.unwrap(), said);

        // An early one waits for its candle to close, and for no other.
        let early = |time: i64| {
            let alert = alert(time).replace("\"early\":false", "\"early\":true");
            memory.alert(alert.as_bytes());
        };
        early(180_000_000);
        assert_eq!(of().id, 3);
        memory.remember(5, &row("A", 2, Some(1.0), "1"));
        assert_eq!(of().alert, None);
        memory.remember(6, &row("B", 3, Some(1.0), "1"));
        assert_eq!(of().alert, None);
        memory.remember(7, &row("A", 3, Some(4.0), "1"));
        assert!(of().alert.unwrap().early);
        memory.remember(8, &row("A", 3, Some(4.0), "1"));
        assert_eq!(of().alert, None);
        // One whose row never came is forgotten with the next.
        early(240_000_000);
        memory.remember(9, &row("A", 5, Some(4.0), "1"));
        assert_eq!(of().alert, None);
        assert!(memory.inner().early.is_empty());
    }
}
