//! Backoff: how long until the next attempt?
//!
//! Doubles with every failure up to a limit; a random share of it is left out, so that many sidecars do not come back
//! to a recovering backend in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The wait after the first failure.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);

/// Counts failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Notes a failure and returns how long to wait: between half and all of what has been doubled. A backend that
    /// asks for a longer wait gets it, up to five minutes.
    pub fn fail(&mut self, asked: Option<Duration>) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // The hasher's keys are random for every instance.
        let share = 0.5 + (RandomState::new().hash_one(self.failures) >> 11) as f64 / (1u64 << 54) as f64;
        full.mul_f64(share).max(asked.unwrap_or_default().min(10 * LONGEST))
    }

    /// Notes a success.
    pub fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        for full in [250u64, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000] {
            let wait = backoff.fail(None).as_millis() as u64;
            assert!((full / 2..=full).contains(&wait), "{wait} for {full}");
        }
        backoff.succeed();
        assert!(backoff.fail(None) <= FIRST);
    }

    #[test]
    fn a_backend_may_ask_for_more_but_not_for_ever() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.fail(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(backoff.fail(Some(Duration::MAX)), 10 * LONGEST);
    }

    #[test]
    fn two_sidecars_do_not_wait_alike() {
        let waits: std::collections::HashSet<_> = (0..20).map(|_| Backoff::default().fail(None)).collect();
        assert!(waits.len() > 10);
    }
}
