//! Slows guessing down without letting a stranger lock anybody out: after a failure the same account from the same place
//! must wait, one second doubling up to fifteen minutes; and each place has a bucket of attempts over all accounts.

use super::Refusal;
use governor::clock::{Clock, DefaultClock, Reference};
use governor::{Quota, RateLimiter};
use http::StatusCode;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Attempts one place may make in a burst, over all accounts; as many per minute after that.
const PER_PLACE: NonZeroU32 = NonZeroU32::new(30).expect("thirty is not zero");
/// Memory for this is bounded; when full, waits that are over are forgotten.
const KEPT: usize = 10_000;

type PlaceLimiter<C> =
    RateLimiter<IpAddr, governor::state::keyed::DashMapStateStore<IpAddr>, C, governor::middleware::NoOpMiddleware<<C as Clock>::Instant>>;

/// What is remembered about failures. Cheap to clone.
pub struct Backoff<C: Clock = DefaultClock> {
    failures: Arc<Mutex<Failures<C::Instant>>>,
    places: Arc<PlaceLimiter<C>>,
    clock: C,
}

/// By account and place.
type Failures<I> = HashMap<(String, IpAddr), Failure<I>>;

struct Failure<I> {
    count: u32,
    last: I,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::with_clock(DefaultClock::default())
    }
}

impl<C: Clock + Clone> Clone for Backoff<C> {
    fn clone(&self) -> Self {
        Self { failures: self.failures.clone(), places: self.places.clone(), clock: self.clock.clone() }
    }
}

impl<C: Clock + Clone> Backoff<C> {
    fn with_clock(clock: C) -> Self {
        let places = RateLimiter::dashmap_with_clock(Quota::per_minute(PER_PLACE), clock.clone());
        Self { failures: Arc::default(), places: Arc::new(places), clock }
    }

    /// Whether an attempt may be made now.
    ///
    /// # Errors
    /// 429 with the seconds to wait.
    pub fn may_try(&self, account: &str, place: IpAddr) -> Result<(), Refusal> {
        let place = network_of(place);
        let key = (account.to_owned(), place);
        let now = self.clock.now();
        let failures = self.failures.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(failure) = failures.get(&key) {
            let since: Duration = now.duration_since(failure.last).into();
            if let Some(left) = wait_after(failure.count).checked_sub(since).filter(|left| !left.is_zero()) {
                return Err(slow_down(left));
            }
        }
        drop(failures);
        self.places.check_key(&place).map_err(|until| slow_down(until.wait_time_from(now)))
    }

    /// An attempt failed. Returns how many did in a row.
    pub fn failed(&self, account: &str, place: IpAddr) -> u32 {
        let now = self.clock.now();
        let mut failures = self.failures.lock().unwrap_or_else(|e| e.into_inner());
        if failures.len() >= KEPT {
            failures.retain(|_, f| Duration::from(now.duration_since(f.last)) < wait_after(f.count));
            // All of them still wait: a flood. The buckets of the places hold it; starting over is the lesser harm.
            if failures.len() >= KEPT {
                failures.clear();
            }
            self.places.retain_recent();
        }
        let failure = failures.entry((account.to_owned(), network_of(place))).or_insert(Failure { count: 0, last: now });
        failure.count = failure.count.saturating_add(1);
        failure.last = now;
        failure.count
    }

    /// An attempt succeeded: the slate is clean.
    pub fn succeeded(&self, account: &str, place: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(|e| e.into_inner());
        failures.remove(&(account.to_owned(), network_of(place)));
    }
}

fn wait_after(failures: u32) -> Duration {
    FIRST.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(LONGEST)
}

fn slow_down(left: Duration) -> Refusal {
    let seconds = left.as_secs() + 1;
    Refusal { status: StatusCode::TOO_MANY_REQUESTS, message: format!("too many failed attempts: try again in {seconds} s") }
}

/// An IPv6 user has a whole /64.
fn network_of(place: IpAddr) -> IpAddr {
    match place.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    fn place(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn sec_k_guessing_gets_slower_and_only_there() {
        let clock = FakeRelativeClock::default();
        let backoff = Backoff::with_clock(clock.clone());
        assert!(backoff.may_try("ada", place(1)).is_ok());
        backoff.failed("ada", place(1));
        let refusal = backoff.may_try("ada", place(1)).unwrap_err();
        assert_eq!(refusal.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(backoff.may_try("ada", place(2)).is_ok(), "the owner elsewhere is not locked out");
        assert!(backoff.may_try("bob", place(1)).is_ok());
        clock.advance(Duration::from_secs(1));
        assert!(backoff.may_try("ada", place(1)).is_ok());
        for _ in 0..20 {
            backoff.failed("ada", place(1));
        }
        clock.advance(LONGEST - Duration::from_secs(1));
        assert!(backoff.may_try("ada", place(1)).is_err());
        clock.advance(Duration::from_secs(1));
        assert!(backoff.may_try("ada", place(1)).is_ok(), "never longer than the longest");
        backoff.succeeded("ada", place(1));
        backoff.failed("ada", place(1));
        clock.advance(FIRST);
        assert!(backoff.may_try("ada", place(1)).is_ok(), "a success starts over");
    }

    #[test]
    fn sec_k_one_place_cannot_try_all_accounts() {
        let clock = FakeRelativeClock::default();
        let backoff = Backoff::with_clock(clock.clone());
        let tries = (0..100).filter(|n| backoff.may_try(&format!("user{n}"), place(1)).is_ok()).count();
        assert_eq!(tries, 30);
        let v6 = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
        let tries = (0..100u16).filter(|n| backoff.may_try(&format!("user{n}"), v6(*n)).is_ok()).count();
        assert_eq!(tries, 30, "a /64 is one place");
    }
}
