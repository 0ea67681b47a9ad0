//! Clock: what time is it, as cheaply as the processor allows?
//!
//! A [`Tick`] is a reading of the processor's time stamp counter, where that counts evenly, else of the system's monotonic
//! clock. How long a tick lasts is measured against the monotonic clock: to some hundredths of a percent at the first
//! reading, which takes a fifth of a millisecond, and better whenever the drain asks for an [`Anchor`]. A tick becomes a
//! time of day only in the drain, through such an anchor.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a tick counts: not known yet, the time stamp counter, or nanoseconds since [`START`].
static SOURCE: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const COUNTER: u8 = 1;
const SYSTEM: u8 = 2;

/// Nanoseconds a tick lasts, times 2^32.
static SCALE: AtomicU64 = AtomicU64::new(1 << 32);

/// Where the next measure of [`SCALE`] begins.
static MEASURED: Mutex<Option<Measured>> = Mutex::new(None);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Between the first two readings of both clocks.
const FIRST_MEASURE: Duration = Duration::from_micros(200);
/// Between later ones; a reading is off by some tens of nanoseconds.
const NEXT_MEASURE: Duration = Duration::from_secs(1);

/// A moment. Comparable and subtractable on any thread of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// This moment.
    #[inline]
    pub fn now() -> Self {
        match SOURCE.load(Ordering::Acquire) {
            COUNTER => Self(counter()),
            _ => Self::now_by_system(),
        }
    }

    #[cold]
    fn now_by_system() -> Self {
        if SOURCE.load(Ordering::Acquire) == UNKNOWN {
            measure();
        }
        match SOURCE.load(Ordering::Acquire) {
            COUNTER => Self(counter()),
            _ => Self(START.elapsed().as_nanos() as u64),
        }
    }

    /// Nanoseconds from `earlier` to this moment, 0 if it is not earlier.
    #[inline]
    pub fn nanos_since(self, earlier: Self) -> u64 {
        nanos(self.0.saturating_sub(earlier.0), SCALE.load(Ordering::Relaxed))
    }

    /// Nanoseconds from this moment to now.
    #[inline]
    pub fn elapsed_nanos(self) -> u64 {
        Self::now().nanos_since(self)
    }
}

#[inline]
fn nanos(ticks: u64, scale: u64) -> u64 {
    ((u128::from(ticks) * u128::from(scale)) >> 32) as u64
}

/// One moment known in both clocks, to tell the time of day of ticks near it.
#[derive(Clone, Copy)]
pub(crate) struct Anchor {
    tick: Tick,
    unix_nanos: i64,
    scale: u64,
}

impl Anchor {
    /// Reads both clocks.
    pub(crate) fn now() -> Self {
        measure();
        let (tick, time) = (Tick::now(), SystemTime::now());
        let unix_nanos = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
        Self { tick, unix_nanos, scale: SCALE.load(Ordering::Relaxed) }
    }

    /// A tick as nanoseconds since 1970.
    pub(crate) fn unix_nanos(&self, tick: Tick) -> i64 {
        let (after, before) = (tick.0.saturating_sub(self.tick.0), self.tick.0.saturating_sub(tick.0));
        self.unix_nanos + nanos(after, self.scale) as i64 - nanos(before, self.scale) as i64
    }
}

/// One moment in the counter's and the monotonic clock's time.
#[derive(Clone, Copy)]
struct Moment {
    counter: u64,
    instant: Instant,
}

struct Measured {
    last: Moment,
    /// The last measure differed and was not believed.
    doubted: bool,
}

impl Moment {
    /// The closest of some readings: whoever is interrupted between the two clocks tries again.
    fn now() -> Self {
        let read = || {
            let before = counter();
            let instant = Instant::now();
            let after = counter();
            (after.wrapping_sub(before), Self { counter: before + after.wrapping_sub(before) / 2, instant })
        };
        let readings: [_; 4] = std::array::from_fn(|_| read());
        readings.into_iter().min_by_key(|(width, _)| *width).expect("there are four").1
    }
}

/// Finds out what a tick is, if that is not known, and measures again how long it lasts, if that was long ago.
fn measure() {
    let mut measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
    if SOURCE.load(Ordering::Relaxed) == UNKNOWN {
        if counts_evenly() {
            let first = Moment::now();
            while first.instant.elapsed() < FIRST_MEASURE {
                std::hint::spin_loop();
            }
            let last = Moment::now();
            SCALE.store(first.scale_until(last), Ordering::Relaxed);
            *measured = Some(Measured { last, doubted: false });
            SOURCE.store(COUNTER, Ordering::Release);
        } else {
            LazyLock::force(&START);
            SOURCE.store(SYSTEM, Ordering::Release);
        }
    } else if let Some(state) = measured.as_mut()
        && state.last.instant.elapsed() >= NEXT_MEASURE
    {
        let (now, old) = (Moment::now(), SCALE.load(Ordering::Relaxed));
        let (scale, doubted) = state.judge(old, state.last.scale_until(now));
        SCALE.store(scale, Ordering::Relaxed);
        *state = Measured { last: now, doubted };
    }
}

impl Moment {
    fn scale_until(self, later: Self) -> u64 {
        let nanos = later.instant.duration_since(self.instant).as_nanos();
        let ticks = u128::from(later.counter.saturating_sub(self.counter).max(1));
        u64::try_from((nanos << 32) / ticks).unwrap_or(u64::MAX)
    }
}

impl Measured {
    /// The scale to go on with and whether it is in doubt. The machine may have slept, and one clock gone on or started
    /// anew: what differs by more than the first measure's error counts only when it is found twice.
    fn judge(&self, old: u64, new: u64) -> (u64, bool) {
        let differs = old.abs_diff(new) > old / 500;
        if differs && !self.doubted { (old, true) } else { (new, false) }
    }
}

/// Whether the time stamp counter is the same on all processors and keeps its pace. The system knows; it stops to take
/// its own time from a counter that fails its checks. Where it does not say, the processor's own word is taken.
#[cfg(target_arch = "x86_64")]
fn counts_evenly() -> bool {
    const CURRENT: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    match std::fs::read_to_string(CURRENT) {
        // The latter two are the counter too, scaled by the hypervisor.
        Ok(source) => matches!(source.trim(), "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page"),
        Err(_) => is_invariant(),
    }
}

/// AMD64 Architecture Programmer's Manual, volume 3, appendix E.4.6: CPUID Fn8000_0007, EDX bit 8.
#[cfg(target_arch = "x86_64")]
fn is_invariant() -> bool {
    use std::arch::x86_64::__cpuid;
    __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & 1 << 8 != 0
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn counter() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and Linux leaves it allowed.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn counts_evenly() -> bool {
    false
}

/// Never read here.
#[cfg(not(target_arch = "x86_64"))]
fn counter() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_tick_measures_the_same_time_as_the_system_clocks() {
        let (tick, instant) = (Tick::now(), Instant::now());
        std::thread::sleep(Duration::from_millis(30));
        let (ours, theirs) = (tick.elapsed_nanos() as i64, instant.elapsed().as_nanos() as i64);
        assert!((ours - theirs).abs() < 5_000_000, "{ours} against {theirs}");
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
        let told = Anchor::now().unix_nanos(Tick::now());
        assert!((told - unix).abs() < 50_000_000, "{told} against {unix}");
    }

    #[test]
    fn a_scale_is_measured_again_and_a_strange_one_is_not_believed_at_once() {
        let _ = Tick::now();
        let before = SCALE.load(Ordering::Relaxed);
        if SOURCE.load(Ordering::Relaxed) == COUNTER {
            std::thread::sleep(NEXT_MEASURE * 2);
            let tick = Anchor::now().tick;
            let last = MEASURED.lock().unwrap().as_ref().unwrap().last;
            // By this anchor, or by another test's a moment ago.
            assert!(tick.nanos_since(Tick(last.counter)) < 1_500_000_000, "it was measured again");
            assert!(before.abs_diff(SCALE.load(Ordering::Relaxed)) < before / 500);
        }
        let known = Measured { last: Moment::now(), doubted: false };
        assert_eq!(known.judge(1_000_000, 1_000_900), (1_000_900, false));
        assert_eq!(known.judge(1_000_000, u64::MAX), (1_000_000, true));
        assert_eq!(known.judge(1_000_000, 1_000), (1_000_000, true));
        assert_eq!(Measured { doubted: true, ..known }.judge(1_000_000, 500_000), (500_000, false));
    }

    #[test]
    fn a_second_of_ticks_is_a_second_and_none_overflow() {
        assert_eq!(nanos(3_000_000_000, (1 << 32) / 3), 999_999_999);
        assert_eq!(nanos(u64::MAX, 1 << 32), u64::MAX);
        assert_eq!(Tick(5).nanos_since(Tick(9)), 0);
        let anchor = Anchor { tick: Tick(1_000), unix_nanos: 5_000, scale: 1 << 31 };
        assert_eq!([anchor.unix_nanos(Tick(0)), anchor.unix_nanos(Tick(3_000))], [4_500, 6_000]);
    }

    #[test]
    fn time_never_runs_backwards() {
        let early = Tick::now();
        let late = Tick::now();
        assert_eq!(early.nanos_since(late).min(1), u64::from(early > late));
    }
}
