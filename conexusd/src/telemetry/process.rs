//! Process: how much of the machine does conexusd use?
//!
//! Reads /proc/self, the allocator's statistics and tokio's, and sets gauges. What a system does not tell is left unset.

use std::fs;
use std::time::{Duration, Instant};

use conexus_proto::facts::Gauge;
use tikv_jemalloc_ctl::{epoch, stats};
use tokio::runtime::RuntimeMetrics;

use super::gauges::Gauges;

/// Linux tells CPU times to programs in hundredths of a second on every architecture (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// Samples this process.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    started: bool,
    busy: Option<Busy>,
}

/// How busy tokio's workers were at the last sample.
#[derive(Debug)]
struct Busy {
    metrics: RuntimeMetrics,
    total: Duration,
    at: Instant,
}

impl Sampler {
    /// Samples a tokio runtime too from now on.
    pub(crate) fn observe_runtime(&mut self, metrics: RuntimeMetrics) {
        self.busy = Some(Busy { total: total_busy(&metrics), metrics, at: Instant::now() });
    }

    /// Sets the gauges.
    pub(crate) fn sample(&mut self, gauges: &Gauges) {
        if !self.started {
            self.started = true;
            set(gauges, Gauge::ProcessStartTimeSeconds, start_time());
        }
        set(gauges, Gauge::ProcessCpuSeconds, cpu_seconds());
        set(gauges, Gauge::ProcessResidentBytes, resident_bytes());
        // The folder is itself open while it is read.
        let fds = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64);
        set(gauges, Gauge::ProcessOpenFds, fds);
        sample_allocator(gauges);
        if let Some(busy) = &mut self.busy {
            busy.sample(gauges);
        }
    }
}

impl Busy {
    fn sample(&mut self, gauges: &Gauges) {
        let (total, now) = (total_busy(&self.metrics), Instant::now());
        let possible = (now - self.at).as_secs_f64() * self.metrics.num_workers() as f64;
        if possible > 0.0 {
            let ratio = total.saturating_sub(self.total).as_secs_f64() / possible;
            gauges.set(Gauge::RuntimeBusyRatio, ratio.min(1.0));
        }
        (self.total, self.at) = (total, now);
        gauges.set(Gauge::RuntimeTasks, self.metrics.num_alive_tasks() as f64);
    }
}

fn total_busy(metrics: &RuntimeMetrics) -> Duration {
    (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker)).sum()
}

fn set(gauges: &Gauges, gauge: Gauge, value: Option<f64>) {
    if let Some(value) = value {
        gauges.set(gauge, value);
    }
}

fn sample_allocator(gauges: &Gauges) {
    // The statistics are as of the latest advance.
    if epoch::advance().is_err() {
        return;
    }
    let sizes = [
        (Gauge::AllocatorAllocatedBytes, stats::allocated::read()),
        (Gauge::AllocatorActiveBytes, stats::active::read()),
        (Gauge::AllocatorResidentBytes, stats::resident::read()),
    ];
    for (gauge, size) in sizes {
        set(gauges, gauge, size.ok().map(|bytes| bytes as f64));
    }
}

/// Fields of /proc/self/stat from the third on, the second being a name in brackets that may hold anything.
fn stat_field(number: usize) -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    Some((stat_field(14)? + stat_field(15)?) / TICKS_PER_SECOND)
}

fn start_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat_field(22)? / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024.0)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_gauges_of_this_process_are_plausible() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (gauges, mut sampler) = (Gauges::new(), Sampler::default());
        sampler.observe_runtime(runtime.handle().metrics());
        runtime.block_on(runtime.spawn(async { std::thread::sleep(Duration::from_millis(50)) })).unwrap();
        // A worker's time is told when it parks, which may be a moment later.
        let busy = (0..1_000).any(|_| {
            std::thread::sleep(Duration::from_millis(2));
            sampler.sample(&gauges);
            gauges.get(Gauge::RuntimeBusyRatio).is_some_and(|ratio| (0.01..=1.0).contains(&ratio))
        });
        assert!(busy, "50 ms of work show");
        let value = |gauge| gauges.get(gauge).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - 86_400.0..now + 2.0).contains(&value(Gauge::ProcessStartTimeSeconds)));
        assert!(value(Gauge::ProcessCpuSeconds) >= 0.0);
        assert!((1e5..1e11).contains(&value(Gauge::ProcessResidentBytes)));
        assert!((3.0..10_000.0).contains(&value(Gauge::ProcessOpenFds)));
        assert!(value(Gauge::AllocatorActiveBytes) >= value(Gauge::AllocatorAllocatedBytes));
        assert!(value(Gauge::RuntimeTasks) >= 0.0);
    }
}
