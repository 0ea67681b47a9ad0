//! Budget: do records come faster than the sidecar is willing to take them?
//!
//! One budget for all cores together, filled at a steady rate. Nothing is ever refused for it: a core whose batch
//! overdraws it is asked to hold its records back until it is even again, and drops what it then cannot hold.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Records a second, in the long run: less than half of what one core of a processor can take in.
pub const RECORDS_PER_SECOND: f64 = 400_000.0;
/// Records that may come at once.
pub const BURST: f64 = 400_000.0;
/// The shortest pause that is worth a message.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause asked for at once.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How many records may still come.
#[derive(Debug)]
pub struct Budget {
    per_second: f64,
    burst: f64,
    state: Mutex<(f64, Instant)>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(RECORDS_PER_SECOND, BURST)
    }
}

impl Budget {
    /// A full budget.
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, state: Mutex::new((burst, Instant::now())) }
    }

    /// Takes records off the budget. The pause to ask for, if it is overdrawn.
    pub fn spend(&self, records: usize) -> Option<Duration> {
        self.spend_at(records, Instant::now())
    }

    fn spend_at(&self, records: usize, now: Instant) -> Option<Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.saturating_duration_since(state.1).as_secs_f64() * self.per_second;
        *state = ((state.0 + earned).min(self.burst) - records as f64, now);
        if state.0 >= 0.0 {
            return None;
        }
        Some(Duration::from_secs_f64((-state.0 / self.per_second).min(PAUSE_MAX.as_secs_f64())).max(PAUSE_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_overdraws_the_budget_is_waited_for() {
        let (budget, start) = (Budget::new(1_000.0, 500.0), Instant::now());
        assert_eq!(budget.spend_at(500, start), None);
        assert_eq!(budget.spend_at(100, start), Some(Duration::from_millis(100)));
        assert_eq!(budget.spend_at(0, start + Duration::from_millis(100)), None, "the pause was long enough");
        assert_eq!(budget.spend_at(1_000_000, start + Duration::from_secs(60)), Some(PAUSE_MAX));
    }

    #[test]
    fn a_steady_rate_below_the_limit_never_pauses() {
        let (budget, start) = (Budget::new(1_000.0, 100.0), Instant::now());
        for tick in 0..1_000 {
            assert_eq!(budget.spend_at(9, start + Duration::from_millis(10 * tick)), None);
        }
    }
}
