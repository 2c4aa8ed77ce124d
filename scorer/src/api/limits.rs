//! How much one caller gets: token buckets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From how many callers on full buckets are looked for and forgotten.
const MANY: usize = 10_000;

/// One bucket a caller: it holds so many requests, and fills up with time.
#[derive(Debug)]
pub(super) struct Buckets {
    burst: f64,
    per_second: f64,
    /// What is left, and when that was so. A caller who is absent has a full bucket.
    left: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Buckets {
    /// `None` where there is no limit.
    pub(super) fn new(burst: u32, per_second: f64) -> Option<Self> {
        (per_second > 0.0).then(|| Self {
            burst: f64::from(burst),
            per_second,
            left: Mutex::default(),
        })
    }

    /// Takes one out of the bucket of a caller.
    ///
    /// # Errors
    /// How long to wait for the next.
    pub(super) fn take(&self, caller: IpAddr) -> Result<(), Duration> {
        self.take_at(network_of(caller), Instant::now())
    }

    fn take_at(&self, caller: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MANY {
            buckets.retain(|_, bucket| self.refilled(*bucket, now) < self.burst);
            if buckets.len() >= MANY * 10 {
                // Nothing tells so many callers apart; all begin anew.
                buckets.clear();
            }
        }
        let bucket = buckets.entry(caller).or_insert((self.burst, now));
        let left = self.refilled(*bucket, now);
        let is_enough = left >= 1.0;
        *bucket = (if is_enough { left - 1.0 } else { left }, now);
        match is_enough {
            true => Ok(()),
            false => Err(Duration::try_from_secs_f64((1.0 - left) / self.per_second)
                .unwrap_or(Duration::MAX)),
        }
    }

    fn refilled(&self, (left, since): (f64, Instant), now: Instant) -> f64 {
        let passed = now.saturating_duration_since(since).as_secs_f64();
        (left + passed * self.per_second).min(self.burst)
    }
}

/// The caller behind an address: with IPv6 one has a whole network of them.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_up_for_each_caller() {
        let buckets = Buckets::new(2, 4.0).unwrap();
        let start = Instant::now();
        let [a, b]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        assert!(buckets.take_at(a, start).is_ok());
        assert!(buckets.take_at(a, start).is_ok());
        assert_eq!(buckets.take_at(a, start), Err(Duration::from_millis(250)));
        assert!(buckets.take_at(b, start).is_ok());
        let later = start + Duration::from_millis(250);
        assert!(buckets.take_at(a, later).is_ok());
        assert!(buckets.take_at(a, later).is_err());
        assert!(Buckets::new(2, 0.0).is_none());
    }

    #[test]
    fn a_network_of_ipv6_is_one_caller() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
