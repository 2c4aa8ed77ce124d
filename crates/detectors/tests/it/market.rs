//! A small seeded market of scored rows with events, for the tests of the evaluation.

use detectors::evaluation::{EventInfo, Labels, Scored};

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const INTERVAL: i64 = 10 * SECOND;

/// xorshift64*: enough for test data.
pub(crate) struct Xorshift(pub(crate) u64);

impl Xorshift {
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Owned columns of a [`Scored`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Market {
    pub(crate) time: Vec<i64>,
    pub(crate) symbol: Vec<u32>,
    pub(crate) symbols: Vec<String>,
    pub(crate) score: Vec<f64>,
    pub(crate) flag: Vec<bool>,
    pub(crate) event: Vec<u32>,
    pub(crate) events: Vec<EventInfo>,
}

impl Market {
    pub(crate) fn scored(&self) -> Scored<'_> {
        Scored {
            time: Some(&self.time),
            interval_us: Some(INTERVAL),
            symbol: &self.symbol,
            symbols: &self.symbols,
            score: &self.score,
            flag: &self.flag,
            labels: Labels::Events {
                event: &self.event,
                events: &self.events,
            },
        }
    }

    /// `n` rows of each symbol, interleaved, exponential scores; an event of 1 to 5 rows every
    /// `every` rows, its rows scoring higher by its magnitude / 4; flags beyond `threshold`.
    pub(crate) fn random(
        n_symbols: u32,
        n: usize,
        every: usize,
        threshold: f64,
        seed: u64,
    ) -> Self {
        let mut random = Xorshift(seed * 2 + 1);
        let mut market = Self {
            symbols: (0..n_symbols).map(|s| format!("S{s}")).collect(),
            ..Self::default()
        };
        let mut left = vec![0usize; n_symbols as usize];
        let mut current = vec![0u32; n_symbols as usize];
        for i in 0..n {
            for symbol in 0..n_symbols {
                let s = symbol as usize;
                let time = i as i64 * INTERVAL;
                if left[s] == 0 && every > 0 && (i + 7 * s) % every == every / 2 {
                    let length = 1 + (random.uniform() * 5.0) as usize;
                    left[s] = length;
                    market.events.push(EventInfo {
                        kind: ["crash", "pump", "spike"][(random.uniform() * 3.0) as usize].into(),
                        start: time + 3 * SECOND,
                        end: time + length as i64 * INTERVAL,
                        magnitude: Some(3.0 + 27.0 * random.uniform()),
                        symbol,
                    });
                    current[s] = market.events.len() as u32;
                }
                let mut score = -(1.0 - random.uniform()).log10();
                let mut event = 0;
                if left[s] > 0 {
                    left[s] -= 1;
                    event = current[s];
                    let magnitude = market.events[event as usize - 1].magnitude.unwrap();
                    score += random.uniform() * magnitude / 4.0;
                }
                market.time.push(time);
                market.symbol.push(symbol);
                market.score.push(score);
                market.flag.push(score > threshold);
                market.event.push(event);
            }
        }
        market
    }
}
