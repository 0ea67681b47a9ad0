//! Measure: CPU time of a thread, its allocations and waits, percentiles, and how sure a median is.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

#[path = "../../../conexusd/tests/telemetry/allocations.rs"]
mod counting;

pub use counting::{Counting, allocations};

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Times that the calling thread gave up its processor to wait for something, and system calls that read or wrote.
pub fn waits() -> (u64, u64) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    let io = read("/proc/thread-self/io");
    (field(&read("/proc/thread-self/status"), "voluntary_ctxt_switches:"), field(&io, "syscr:") + field(&io, "syscw:"))
}

/// The value below which `share` of the values are; sorts them.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    percentile(&mut values.to_vec(), 0.5)
}

/// The median and the 95 % upper bound of it, by 2,000 resamples (percentile bootstrap, one-sided).
pub fn median_and_upper_bound(values: &[f64]) -> (f64, f64) {
    let mut state = 0x5eed_u64;
    let mut next = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    let mut medians: Vec<f64> = (0..2_000)
        .map(|_| median(&(0..values.len()).map(|_| values[next(values.len())]).collect::<Vec<_>>()))
        .collect();
    (median(values), percentile(&mut medians, 0.95))
}
