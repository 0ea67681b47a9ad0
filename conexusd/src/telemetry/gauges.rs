//! Gauges: what are the process's current values?
//!
//! One atomic cell a gauge for the whole process. A gauge that was never set is in no snapshot.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use conexus_proto::facts::Gauge;

/// The bits of a gauge that was never set: a NaN that no computation yields.
const UNSET: u64 = u64::MAX;

/// The current value of every gauge.
#[derive(Debug)]
pub(crate) struct Gauges([AtomicU64; Gauge::ALL.len()]);

impl Gauges {
    pub(crate) fn new() -> Self {
        Self([const { AtomicU64::new(UNSET) }; Gauge::ALL.len()])
    }

    pub(crate) fn set(&self, gauge: Gauge, value: f64) {
        if value.is_finite() {
            self.0[gauge as usize].store(value.to_bits(), Relaxed);
        }
    }

    /// Adds to a gauge; one that was never set counts from 0.
    pub(crate) fn add(&self, gauge: Gauge, delta: f64) {
        let sum = |bits| {
            let value = if bits == UNSET { 0.0 } else { f64::from_bits(bits) } + delta;
            value.is_finite().then_some(value.to_bits())
        };
        // An addition that would give no finite number is left out, so the error carries nothing to handle.
        let _ = self.0[gauge as usize].fetch_update(Relaxed, Relaxed, sum);
    }

    pub(crate) fn get(&self, gauge: Gauge) -> Option<f64> {
        let bits = self.0[gauge as usize].load(Relaxed);
        (bits != UNSET).then_some(f64::from_bits(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_absent_until_set_and_adds_from_zero() {
        let gauges = Gauges::new();
        assert_eq!(gauges.get(Gauge::QueueDepth), None);
        gauges.add(Gauge::QueueDepth, 3.0);
        gauges.add(Gauge::QueueDepth, -1.0);
        gauges.set(Gauge::Documents, 7.5);
        gauges.set(Gauge::Documents, f64::NAN);
        assert_eq!((gauges.get(Gauge::QueueDepth), gauges.get(Gauge::Documents)), (Some(2.0), Some(7.5)));
    }

    #[test]
    fn additions_of_several_threads_are_all_counted() {
        let gauges = Gauges::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| gauges.add(Gauge::QueueDepth, 1.0)));
            }
        });
        assert_eq!(gauges.get(Gauge::QueueDepth), Some(40_000.0));
    }
}
