//! Process: what does the sidecar cost?
//!
//! It reports itself only; what it knows of a core, the core has told it.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use conexus_proto::facts::bucket_of;
use tokio::runtime::RuntimeMetrics;

use crate::aggregate::Aggregate;
use crate::aggregate::tally::{SIDECAR_CPU_MICROS, SIDECAR_DELAY};

/// How often the probe task sleeps.
const PROBE: Duration = Duration::from_millis(100);
/// How often CPU time and delays are put on disk when nothing else is.
const REPORT: Duration = Duration::from_secs(15);
/// The kernel counts CPU time in hundredths of a second for programs (`USER_HZ`).
const TICK_MICROS: u64 = 10_000;

/// The sidecar's own figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnStats {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Start time since 1970.
    pub start_time_seconds: f64,
    /// Alive tasks.
    pub tasks: u64,
    /// Share of the workers' time spent busy since the figures were last taken.
    pub busy_ratio: f64,
    /// Bytes allocated.
    pub allocated_bytes: u64,
    /// Bytes in pages that hold allocations.
    pub active_bytes: u64,
    /// Bytes of the allocator's resident pages.
    pub allocator_resident_bytes: u64,
}

/// Takes the sidecar's figures. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Process(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runtime: RuntimeMetrics,
    busy: Mutex<Busy>,
}

#[derive(Debug)]
struct Busy {
    at: Instant,
    total: Duration,
    ratio: f64,
}

impl Process {
    /// Figures of this process and of the runtime that the caller runs in.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Handle::current().metrics();
        let busy = Busy { at: Instant::now(), total: busy_total(&runtime), ratio: 0.0 };
        Self(Arc::new(Inner { runtime, busy: Mutex::new(busy) }))
    }

    /// The figures now.
    pub fn stats(&self) -> OwnStats {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let (allocated, active, resident) = allocator();
        OwnStats {
            resident_bytes: kilobytes(&status, "VmRSS:") * 1024,
            open_fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64),
            start_time_seconds: start_time_seconds(),
            tasks: self.0.runtime.num_alive_tasks() as u64,
            busy_ratio: self.busy_ratio(),
            allocated_bytes: allocated,
            active_bytes: active,
            allocator_resident_bytes: resident,
        }
    }

    fn busy_ratio(&self) -> f64 {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = busy.at.elapsed();
        if elapsed >= Duration::from_millis(500) {
            let total = busy_total(&self.0.runtime);
            let available = elapsed.as_secs_f64() * self.0.runtime.num_workers().max(1) as f64;
            busy.ratio = (total.saturating_sub(busy.total).as_secs_f64() / available).clamp(0.0, 1.0);
            busy.total = total;
            busy.at = Instant::now();
        }
        busy.ratio
    }

    /// Counts CPU time and scheduling delays into `aggregate`, for ever.
    pub async fn report(self, aggregate: Aggregate) {
        let mut cpu = 0;
        let mut written = Instant::now();
        loop {
            let asleep = Instant::now();
            tokio::time::sleep(PROBE).await;
            let late = asleep.elapsed().saturating_sub(PROBE).as_nanos() as u64;
            let used = cpu_micros();
            let counts = [
                (SIDECAR_CPU_MICROS, used.saturating_sub(cpu)),
                (SIDECAR_DELAY, late),
                (SIDECAR_DELAY + 1 + bucket_of(late), 1),
            ];
            cpu = used.max(cpu);
            let due = written.elapsed() >= REPORT;
            if due {
                written = Instant::now();
            }
            aggregate.count(&counts, due);
        }
    }
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

fn busy_total(runtime: &RuntimeMetrics) -> Duration {
    (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker)).sum()
}

fn kilobytes(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The numbered fields of `/proc/self/stat` after the command, from the third on.
fn stat_field(number: usize) -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_micros() -> u64 {
    (stat_field(14).unwrap_or(0) + stat_field(15).unwrap_or(0)) * TICK_MICROS
}

fn start_time_seconds() -> f64 {
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|n| n.trim().parse::<f64>().ok());
    let ticks = stat_field(22).unwrap_or(0);
    boot.unwrap_or(0.0) + ticks as f64 * TICK_MICROS as f64 / 1e6
}

/// Allocated, active and resident bytes; zeros where the program does not use jemalloc.
fn allocator() -> (u64, u64, u64) {
    use tikv_jemalloc_ctl::{epoch, stats};
    if epoch::advance().is_err() {
        return (0, 0, 0);
    }
    let read = |value: Result<usize, _>| value.map_or(0, |bytes: usize| bytes as u64);
    (read(stats::allocated::read()), read(stats::active::read()), read(stats::resident::read()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_process_knows_its_own_figures() {
        let stats = Process::new().stats();
        assert!(stats.resident_bytes > 1 << 20 && stats.open_fds >= 3, "{stats:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - stats.start_time_seconds).abs() < 600.0, "{stats:?}");
        assert!((0.0..=1.0).contains(&stats.busy_ratio));
    }

    #[test]
    fn a_field_of_the_status_is_found_by_its_name() {
        assert_eq!(kilobytes("VmPeak:\t 9 kB\nVmRSS:\t  123 kB\n", "VmRSS:"), 123);
        assert_eq!(kilobytes("", "VmRSS:"), 0);
    }
}
