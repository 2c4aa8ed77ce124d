//! How much one client, and all of them together, get.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A bound on how many of something there are at once.
#[derive(Debug, Clone)]
pub(crate) struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    used: AtomicUsize,
    most: usize,
}

/// One of them; it is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Inner>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slots {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            used: AtomicUsize::new(0),
            most,
        }))
    }

    /// One more, unless there are too many.
    pub(crate) fn take(&self) -> Option<Slot> {
        let slot = self.take_always();
        (slot.0.used.load(Ordering::Relaxed) <= self.0.most).then_some(slot)
    }

    /// One more, however many there are.
    pub(crate) fn take_always(&self) -> Slot {
        self.0.used.fetch_add(1, Ordering::Relaxed);
        Slot(Arc::clone(&self.0))
    }

    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// Something for each key that is used up and comes back with time: token buckets.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    /// How many a full bucket holds.
    burst: f64,
    per_second: f64,
    /// What is left, and when that was so. A key that is absent has a full bucket.
    left: Mutex<HashMap<K, (f64, Instant)>>,
}

/// From how many keys on full buckets are looked for and forgotten.
const MANY: usize = 10_000;

impl<K: Eq + Hash> Buckets<K> {
    pub(crate) fn new(burst: f64, per_second: f64) -> Self {
        Self {
            burst,
            per_second,
            left: Mutex::new(HashMap::new()),
        }
    }

    /// Takes one out of the bucket of `key`, or says how long to wait for the next.
    pub(crate) fn take(&self, key: K) -> Result<(), Duration> {
        self.take_at(key, Instant::now())
    }

    /// Whether the bucket of `key` holds one.
    pub(crate) fn check(&self, key: &K) -> Result<(), Duration> {
        let buckets = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match buckets.get(key) {
            Some(&bucket) => self.wait(self.refilled(bucket, Instant::now())),
            None => Ok(()),
        }
    }

    fn take_at(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MANY {
            buckets.retain(|_, bucket| self.refilled(*bucket, now) < self.burst);
            if buckets.len() >= MANY * 10 {
                // Nothing tells so many senders apart; all begin anew.
                buckets.clear();
            }
        }
        let bucket = buckets.entry(key).or_insert((self.burst, now));
        let left = self.refilled(*bucket, now);
        let result = self.wait(left);
        *bucket = (if result.is_ok() { left - 1.0 } else { left }, now);
        result
    }

    fn wait(&self, left: f64) -> Result<(), Duration> {
        if left >= 1.0 {
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - left) / self.per_second))
    }

    fn refilled(&self, (left, since): (f64, Instant), now: Instant) -> f64 {
        let passed = now.saturating_duration_since(since).as_secs_f64();
        (left + passed * self.per_second).min(self.burst)
    }
}

/// The client behind an address: with IPv6 one has a whole network of them.
pub(crate) fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_refills() {
        let buckets = Buckets::new(2.0, 4.0);
        let start = Instant::now();
        assert!(buckets.take_at("a", start).is_ok());
        assert!(buckets.take_at("a", start).is_ok());
        assert_eq!(buckets.take_at("a", start), Err(Duration::from_millis(250)));
        assert!(buckets.take_at("b", start).is_ok());
        let later = start + Duration::from_millis(250);
        assert!(buckets.take_at("a", later).is_ok());
        assert!(buckets.take_at("a", later).is_err());
    }

    #[test]
    fn slots_are_given_back() {
        let slots = Slots::new(1);
        let first = slots.take();
        assert!(first.is_some() && slots.take().is_none());
        assert_eq!(slots.used(), 1);
        drop(first);
        assert!(slots.take().is_some());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let client = |text: &str| client_of(text.parse().unwrap());
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:10.0.0.1"), client("10.0.0.1"));
    }
}
