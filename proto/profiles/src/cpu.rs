//! CPU: which functions ran, as a signal found them a hundred times for each second of CPU time.

use std::time::Duration;

use pprof::ProfilerGuardBuilder;

use crate::profile::{Builder, Kind};

/// Samples for each second of CPU time. No divisor of a second, so that no timer of the program runs in step with it.
const FREQUENCY: i32 = 99;
const PERIOD_NANOS: i64 = 1_000_000_000 / FREQUENCY as i64;
const CPU: (&str, &str) = ("cpu", "nanoseconds");

/// What must not be interrupted to walk the stack, for it may hold what the walk needs.
const NOT_INTERRUPTED: [&str; 5] = ["libc", "libgcc", "pthread", "vdso", "ld-linux"];

/// Samples for so long, then returns the profile. Blocks.
pub(crate) fn sample(time: Duration) -> Result<Vec<u8>, String> {
    let guard = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&NOT_INTERRUPTED).build();
    let guard = guard.map_err(|error| format!("CPU samples cannot be taken: {error}"))?;
    std::thread::sleep(time);
    let report = guard.report().build_unresolved();
    // Sampling ends before names are looked up.
    drop(guard);
    let report = report.map_err(|error| format!("CPU samples cannot be read: {error}"))?;
    let values = &[("samples", "count"), CPU];
    let kind = Kind { values, period_type: CPU, period: PERIOD_NANOS, drop_frames: "" };
    let mut profile = Builder::new(&kind, time);
    for (stack, count) in &report.data {
        let addresses: Vec<usize> = stack.frames.iter().map(|frame| frame.ip() as usize).collect();
        // Innermost stand the signal's handler and what the kernel called it through.
        let handler = addresses.iter().position(|&address| profile.is_named(address, "perf_signal_handler"));
        let addresses = &addresses[handler.map_or(0, |at| (at + 2).min(addresses.len()))..];
        let name = &stack.thread_name[..stack.thread_name_length.min(stack.thread_name.len())];
        let count = *count as i64;
        profile.add(addresses, vec![count, count * PERIOD_NANOS], Some(&String::from_utf8_lossy(name)));
    }
    Ok(profile.finish())
}
