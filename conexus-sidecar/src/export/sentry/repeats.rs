//! Repeats: has this very error been sent a moment ago?
//!
//! The first of a kind is sent at once; those that follow within the window are counted, and when it is over the last of them is
//! sent with their number.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use conexus_proto::v1;

/// How long the same error is not sent again.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// Errors that are remembered. Past that, they are taken for new ones.
const KINDS_MAX: usize = 512;

/// What became of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is new.
    First,
    /// It was sent within the window.
    Again,
}

/// Errors of the last moments.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    seen: HashMap<u64, Entry>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    repeats: u64,
    last: Option<(u64, Box<v1::Error>)>,
}

impl Repeats {
    pub(super) fn see(&mut self, epoch: u64, error: &v1::Error, now: Instant) -> Seen {
        let top = error.stack.first().map(|frame| (&frame.file, frame.line));
        let key = (&error.error_type, &error.message, &error.method, &error.tool, top);
        let key = self.hasher.hash_one(key);
        if let Some(entry) = self.seen.get_mut(&key) {
            entry.repeats += 1;
            entry.last = Some((epoch, Box::new(error.clone())));
            return Seen::Again;
        }
        if self.seen.len() < KINDS_MAX {
            self.seen.insert(key, Entry { since: now, repeats: 0, last: None });
        }
        Seen::First
    }

    /// The last of each kind that was repeated in a window that is over: core, error, how often.
    pub(super) fn ended(&mut self, now: Instant) -> Vec<(u64, v1::Error, u64)> {
        let over = self.seen.extract_if(|_, entry| now.duration_since(entry.since) >= WINDOW);
        over.filter_map(|(_, entry)| entry.last.map(|(epoch, error)| (epoch, *error, entry.repeats))).collect()
    }

    /// The same of all windows.
    pub(super) fn all(&mut self) -> Vec<(u64, v1::Error, u64)> {
        let all = self.seen.drain();
        all.filter_map(|(_, entry)| entry.last.map(|(epoch, error)| (epoch, *error, entry.repeats))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: &str, at: i64) -> v1::Error {
        v1::Error { message: message.into(), unix_nanos: at, ..v1::Error::default() }
    }

    #[test]
    fn a_repeated_error_is_told_once_more_with_its_number_when_its_window_is_over() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        assert_eq!(repeats.see(1, &error("a", 1), start), Seen::First);
        assert_eq!(repeats.see(1, &error("b", 1), start), Seen::First);
        for at in 2..5 {
            assert_eq!(repeats.see(1, &error("a", at), start + WINDOW / 2), Seen::Again);
        }
        assert_eq!(repeats.ended(start + WINDOW / 2), []);
        assert_eq!(repeats.ended(start + WINDOW), [(1, error("a", 4), 3)]);
        assert_eq!(repeats.see(1, &error("a", 9), start + WINDOW), Seen::First);
    }

    #[test]
    fn a_flood_of_different_errors_takes_bounded_memory() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        assert!((0..5_000).all(|i| repeats.see(1, &error(&i.to_string(), 1), now) == Seen::First));
        assert_eq!(repeats.seen.len(), KINDS_MAX);
    }
}
