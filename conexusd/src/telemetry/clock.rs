//! Clock: what time is it, as cheaply as the processor allows?
//!
//! A [`Tick`] is a reading of the time stamp counter. It becomes a time of day only in the drain, through an [`Anchor`].

/// A moment. Comparable and subtractable on any thread of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(fastant::Instant);

impl Tick {
    /// This moment.
    #[inline]
    pub fn now() -> Self {
        Self(fastant::Instant::now())
    }

    /// Nanoseconds from `earlier` to this moment, 0 if it is not earlier.
    #[inline]
    pub fn nanos_since(self, earlier: Self) -> u64 {
        self.0.duration_since(earlier.0).as_nanos() as u64
    }

    /// Nanoseconds from this moment to now.
    #[inline]
    pub fn elapsed_nanos(self) -> u64 {
        Self::now().nanos_since(self)
    }
}

/// One moment known in both clocks, to tell the time of day of ticks near it.
#[derive(Clone, Copy)]
pub(crate) struct Anchor(fastant::Anchor);

impl Anchor {
    /// Reads both clocks.
    pub(crate) fn now() -> Self {
        Self(fastant::Anchor::new())
    }

    /// A tick as nanoseconds since 1970.
    pub(crate) fn unix_nanos(&self, tick: Tick) -> i64 {
        tick.0.as_unix_nanos(&self.0) as i64
    }
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
    fn time_never_runs_backwards() {
        let early = Tick::now();
        let late = Tick::now();
        assert_eq!(early.nanos_since(late).min(1), u64::from(early > late));
    }
}
