//! How quickly events are let through.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use terminal::interrupt::Interrupt;

/// The speed of event time against the clock on the wall.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// So many seconds of event time in a second; 1 is as it was recorded.
    Times(f64),
    /// As quickly as it goes.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let number = text.strip_prefix(['x', '×']).unwrap_or(text);
        match number.parse::<f64>() {
            Ok(times) if times > 0.0 && times <= 1e6 => Ok(Self::Times(times)),
            _ => Err("a speed is `max`, or a number above 0 such as 1, 10 or x60".to_owned()),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(f, "x{times}"),
            Self::Max => f.write_str("max"),
        }
    }
}

/// Lets events through when their time has come.
#[derive(Debug)]
pub struct Pacer {
    speed: Speed,
    began: Option<(i64, Instant)>,
    /// Events up to this time are known to be due.
    due_until: i64,
}

/// The longest sleep without looking whether somebody asked to stop.
const NAP: Duration = Duration::from_millis(50);

impl Pacer {
    /// The first event sets the clock.
    pub fn new(speed: Speed) -> Self {
        Self {
            speed,
            began: None,
            due_until: i64::MIN,
        }
    }

    /// Waits until an event of this time (µs) is due; `false` if somebody asked to stop meanwhile.
    /// While there is time, `idle` is called now and then.
    ///
    /// # Errors
    /// What `idle` says.
    pub fn wait<E>(
        &mut self,
        event_time: i64,
        interrupt: &Interrupt,
        mut idle: impl FnMut() -> Result<(), E>,
    ) -> Result<bool, E> {
        let Speed::Times(times) = self.speed else {
            return Ok(true);
        };
        while event_time > self.due_until {
            let now = Instant::now();
            let (first, began) = *self.began.get_or_insert((event_time, now));
            let passed = now.duration_since(began).as_micros() as f64 * times;
            self.due_until = first.saturating_add(passed as i64);
            if event_time <= self.due_until {
                break;
            }
            if interrupt.is_asked() {
                return Ok(false);
            }
            idle()?;
            let missing = (event_time - self.due_until) as f64 / times / 1e6;
            std::thread::sleep(Duration::from_secs_f64(missing.min(1.0)).min(NAP));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("x60".parse(), Ok(Speed::Times(60.0)));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        for wrong in ["", "0", "-1", "nan", "inf", "fast"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_passes_before_its_time() {
        let mut pacer = Pacer::new(Speed::Times(1_000.0));
        let interrupt = Interrupt::default();
        let began = Instant::now();
        let mut n_idle = 0;
        let mut idle = || {
            n_idle += 1;
            if n_idle == 100 { Err(()) } else { Ok(()) }
        };
        assert_eq!(pacer.wait(5_000_000, &interrupt, &mut idle), Ok(true));
        assert_eq!(pacer.wait(35_000_000, &interrupt, &mut idle), Ok(true));
        assert!(began.elapsed() >= Duration::from_millis(30));
        interrupt.ask();
        assert_eq!(pacer.wait(i64::MAX, &interrupt, &mut idle), Ok(false));
        assert!(n_idle > 0);
    }
}
