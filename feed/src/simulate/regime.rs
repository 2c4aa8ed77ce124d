//! `AT:volatility=2.0`: the market changes on purpose.

use market::Regime;

use crate::time::{parse_duration, parse_moment};

/// A change as it was written; its time may be relative to the start.
#[derive(Debug, Clone, PartialEq)]
pub struct RegimeChange {
    at: At,
    volatility: f64,
    activity: f64,
    size: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    AfterStart(i64),
    Moment(i64),
}

const KEYS: [&str; 3] = ["volatility", "activity", "size"];

impl RegimeChange {
    /// Parses `1h30m:volatility=2.0,activity=3` or `2024-01-01T12:00:00Z:size=5`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "a change is AT:KEY=FACTOR[,KEY=FACTOR…], such as 1h:volatility=2.0";
        // A moment has colons of its own: what is changed stands behind the last one.
        let (at, changes) = text.rsplit_once(':').ok_or(SHAPE)?;
        let at = match parse_duration(at) {
            Ok(after) => At::AfterStart(after),
            Err(_) => At::Moment(parse_moment(at).map_err(|_| {
                format!("`{at}` is neither a duration such as 1h30m nor a time such as 2024-01-01T12:00:00Z")
            })?),
        };
        let mut change = Self {
            at,
            volatility: 1.0,
            activity: 1.0,
            size: 1.0,
        };
        for part in changes.split(',') {
            let (key, value) = part.split_once('=').ok_or(SHAPE)?;
            let factor = value
                .parse::<f64>()
                .ok()
                .filter(|factor| (0.01..=100.0).contains(factor))
                .ok_or_else(|| format!("`{value}` is not a factor from 0.01 to 100"))?;
            match key.trim() {
                "volatility" => change.volatility = factor,
                "activity" => change.activity = factor,
                "size" => change.size = factor,
                key => return Err(format!("`{key}` can't be changed; {} can", KEYS.join(", "))),
            }
        }
        Ok(change)
    }

    /// The regime in a market that starts at `start`.
    pub fn regime(&self, start: i64) -> Regime {
        Regime {
            at: match self.at {
                At::AfterStart(after) => start.saturating_add(after),
                At::Moment(moment) => moment,
            },
            volatility: self.volatility,
            activity: self.activity,
            size: self.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read() {
        let change = RegimeChange::parse("1h30m:volatility=2.0,size=0.5").unwrap();
        let regime = change.regime(1_000_000);
        assert_eq!(regime.at, 1_000_000 + 5_400_000_000);
        assert_eq!(
            (regime.volatility, regime.activity, regime.size),
            (2.0, 1.0, 0.5)
        );
        let change = RegimeChange::parse("2024-01-01T00:00:00Z:activity=3").unwrap();
        assert_eq!(change.regime(0).at, 1_704_067_200_000_000);
        for wrong in [
            "",
            "1h",
            "1h:",
            "1h:volatility",
            "1h:volatility=0",
            "x:size=2",
            "1h:mood=2",
        ] {
            assert!(RegimeChange::parse(wrong).is_err(), "{wrong}");
        }
    }
}
