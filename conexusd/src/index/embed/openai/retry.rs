//! Patience: after a failed request, whether and when to try again.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime};

use super::client::Failure;

/// The wait before the first new try; it doubles from one to the next.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait that the server did not ask for.
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// How soon a cancelled wait ends.
const SLICE: Duration = Duration::from_millis(20);

/// How long one is willing to try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// New tries after the first.
    pub(super) retries: u32,
    /// The longest wait.
    pub(super) wait_max: Duration,
    /// Whether to try again after `wait_max` when the server asks for a longer wait, or to give up at once.
    pub(super) wait_longer: bool,
}

impl Patience {
    /// How long to wait before the next try, after so many tries (at least 1); `None`: give up.
    pub(super) fn wait(&self, tries: u32, failure: &Failure) -> Option<Duration> {
        if !failure.passing || tries > self.retries {
            return None;
        }
        match failure.retry_after {
            Some(asked) if asked > self.wait_max && !self.wait_longer => None,
            Some(asked) => Some(asked.min(self.wait_max)),
            None => {
                Some(jittered(FIRST_WAIT.saturating_mul(1 << (tries - 1).min(16)).min(BACKOFF_MAX)).min(self.wait_max))
            }
        }
    }
}

/// Between half of the wait and all of it, so that many waiters do not come back together.
fn jittered(wait: Duration) -> Duration {
    let random = (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64;
    wait.mul_f64(0.5 + 0.5 * random)
}

/// Waits; false if cancelled before the end.
pub(super) fn sleep(wait: Duration, cancelled: &dyn Fn() -> bool) -> bool {
    let end = Instant::now() + wait;
    loop {
        if cancelled() {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(SLICE));
    }
}

/// The wait that a `Retry-After` header asks for: seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use conexus_proto::facts::EmbeddingError;

    fn failure(retry_after: Option<u64>) -> Failure {
        Failure {
            class: EmbeddingError::Http,
            message: String::new(),
            passing: true,
            refuses_dimensions: false,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn waits_double_with_jitter_up_to_a_limit() {
        let patience = Patience { retries: 100, wait_max: Duration::from_secs(60), wait_longer: true };
        for (tries, most) in [(1, 500), (2, 1000), (3, 2000), (5, 8000), (6, 8000), (90, 8000)] {
            for _ in 0..20 {
                let wait = patience.wait(tries, &failure(None)).expect("patient").as_millis();
                assert!((most / 2..=most).contains(&wait), "{wait} ms after {tries} tries");
            }
        }
    }

    #[test]
    fn the_server_may_ask_for_a_wait_within_limits() {
        let long = Patience { retries: 1, wait_max: Duration::from_secs(60), wait_longer: true };
        let short = Patience { retries: 1, wait_max: Duration::from_secs(1), wait_longer: false };
        assert_eq!(long.wait(1, &failure(Some(7))), Some(Duration::from_secs(7)));
        assert_eq!(long.wait(1, &failure(Some(1000))), Some(Duration::from_secs(60)));
        assert_eq!(short.wait(1, &failure(Some(1))), Some(Duration::from_secs(1)));
        assert_eq!(short.wait(1, &failure(Some(2))), None);
        assert_eq!(short.wait(2, &failure(None)), None);
        assert_eq!(long.wait(1, &Failure { passing: false, ..failure(None) }), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:30 GMT").expect("a date");
        let parse = |value| parse_retry_after(value, now);
        assert_eq!(parse("120"), Some(Duration::from_secs(120)));
        assert_eq!(parse(" 0 "), Some(Duration::ZERO));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["", "soon", "-1", "1.5"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_cancelled_wait_ends_soon() {
        let start = Instant::now();
        assert!(!sleep(Duration::from_secs(60), &|| start.elapsed() > Duration::from_millis(50)));
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(sleep(Duration::from_millis(1), &|| false));
    }
}
