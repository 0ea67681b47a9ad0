//! Ids: which trace and which span is this, here and in other processes?
//!
//! Ids come from a generator that each thread owns, seeded by the operating system: no lock, no system call, never zero.
//! Between processes they travel as a W3C `traceparent` (Trace Context, level 2).

use std::fmt;
use std::str::FromStr;

/// The id of a trace: 128 bits, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId {
    high: u64,
    low: u64,
}

impl TraceId {
    /// The id with these bytes, most significant first; none if all are zero.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let value = u128::from_be_bytes(bytes);
        (value != 0).then_some(Self { high: (value >> 64) as u64, low: value as u64 })
    }

    /// The id's bytes, most significant first.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.high) << 64 | u128::from(self.low)).to_be_bytes()
    }

    /// Whether the id falls under a sampling threshold: its low 56 bits, which W3C asks to be random, are compared.
    #[inline]
    pub(crate) fn sampled_under(self, threshold: u64) -> bool {
        self.low & (SAMPLE_RANGE - 1) < threshold
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const SAMPLE_RANGE: u64 = 1 << 56;

/// The threshold for [`TraceId::sampled_under`] that keeps this share (0 to 1) of all traces.
pub(crate) fn sample_threshold(rate: f64) -> u64 {
    (rate.clamp(0.0, 1.0) * SAMPLE_RANGE as f64) as u64
}

/// Who called: the trace and span that a request continues, from a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace that the caller's span belongs to.
    pub trace_id: TraceId,
    /// The caller's span; never 0.
    pub span_id: u64,
    /// Whether the caller keeps the trace.
    pub sampled: bool,
}

/// Why a text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "traceparent must look like 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in lower case and with ids that are not zero"
)]
pub struct BadTraceParent;

impl FromStr for TraceParent {
    type Err = BadTraceParent;

    fn from_str(text: &str) -> Result<Self, BadTraceParent> {
        let bytes = text.as_bytes();
        let version = hex(bytes.get(0..2))?;
        // Later versions may add fields behind the flags; version 255 is invalid.
        let length_fits = match version {
            0 => bytes.len() == 55,
            255 => false,
            _ => bytes.len() == 55 || bytes.get(55) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|&at| bytes.get(at) == Some(&b'-'));
        if !length_fits || !dashes {
            return Err(BadTraceParent);
        }
        let (high, low) = (hex(bytes.get(3..19))?, hex(bytes.get(19..35))?);
        let span_id = hex(bytes.get(36..52))?;
        let flags = hex(bytes.get(53..55))?;
        if (high, low) == (0, 0) || span_id == 0 {
            return Err(BadTraceParent);
        }
        Ok(Self { trace_id: TraceId { high, low }, span_id, sampled: flags & 1 == 1 })
    }
}

fn hex(digits: Option<&[u8]>) -> Result<u64, BadTraceParent> {
    digits.ok_or(BadTraceParent)?.iter().try_fold(0, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return Err(BadTraceParent),
        };
        Ok(value << 4 | u64::from(nibble))
    })
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// The generator of a thread's ids: xoshiro256++ (Blackman and Vigna, 2019).
#[derive(Clone, Debug)]
pub(crate) struct Random([u64; 4]);

impl Random {
    /// A generator seeded by the operating system, or, where that gives nothing, by the clock and an address.
    pub(crate) fn seeded() -> Self {
        let mut bytes = [0; 32];
        if getrandom::fill(&mut bytes).is_err() {
            let clock =
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
            bytes[..16].copy_from_slice(&clock.to_le_bytes());
            let address = std::ptr::from_ref(&bytes).addr() as u64;
            bytes[16..24].copy_from_slice(&address.to_le_bytes());
        }
        let mut state = [0; 4];
        for (word, chunk) in state.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(chunk.try_into().expect("chunks of eight bytes"));
        }
        // All zero is the one state that the generator never leaves.
        state[0] |= u64::from(state == [0; 4]);
        Self(state)
    }

    #[inline]
    fn next(&mut self) -> u64 {
        let state = &mut self.0;
        let result = state[0].wrapping_add(state[3]).rotate_left(23).wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }

    /// A random number that is not 0.
    #[inline]
    pub(crate) fn nonzero(&mut self) -> u64 {
        loop {
            let value = self.next();
            if value != 0 {
                return value;
            }
        }
    }

    /// A new trace id.
    #[inline]
    pub(crate) fn trace_id(&mut self) -> TraceId {
        TraceId { high: self.next(), low: self.nonzero() }
    }
}

/// The span ids of one trace: SplitMix64 (Steele, Lea and Flood, 2014) from a random start, so that they differ within
/// the trace by construction and need no access to the thread's generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanIds(pub(crate) u64);

impl SpanIds {
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        loop {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            if z != 0 {
                return z;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_standard_is_read_and_written() {
        let parent: TraceParent = EXAMPLE.parse().unwrap();
        assert_eq!(parent.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span_id, 0x00f0_67aa_0ba9_02b7);
        assert!(parent.sampled);
        assert_eq!(parent.to_string(), EXAMPLE);
    }

    #[test]
    fn what_the_standard_forbids_is_refused() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(BadTraceParent), "{bad}");
        }
        let future = format!("cc{}-what-comes-later", &EXAMPLE[2..]);
        assert_eq!(future.parse::<TraceParent>().unwrap(), EXAMPLE.parse().unwrap());
    }

    #[test]
    fn ids_do_not_repeat() {
        let mut random = Random::seeded();
        let traces: HashSet<_> = (0..10_000).map(|_| random.trace_id()).collect();
        assert_eq!(traces.len(), 10_000);
        let mut spans = SpanIds(random.nonzero());
        let ids: HashSet<_> = (0..10_000).map(|_| spans.next()).collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn the_sample_rate_is_kept() {
        let mut random = Random::seeded();
        let threshold = sample_threshold(0.25);
        let kept = (0..40_000).filter(|_| random.trace_id().sampled_under(threshold)).count();
        assert!((9_400..10_600).contains(&kept), "{kept}");
        let id = random.trace_id();
        assert!(id.sampled_under(sample_threshold(1.0)) && !id.sampled_under(sample_threshold(0.0)));
        let most: TraceId = TraceId { high: 0, low: u64::MAX };
        assert!(most.sampled_under(sample_threshold(1.0)));
    }

    proptest! {
        #[test]
        fn any_parent_survives_the_trip_as_text(high: u64, low in 1_u64.., span_id in 1_u64.., sampled: bool) {
            let parent = TraceParent { trace_id: TraceId { high, low }, span_id, sampled };
            prop_assert_eq!(parent.to_string().parse(), Ok(parent));
            prop_assert_eq!(TraceId::from_bytes(parent.trace_id.to_bytes()), Some(parent.trace_id));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,80}") {
            let _ = text.parse::<TraceParent>();
        }
    }
}
