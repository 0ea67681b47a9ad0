//! Tally: which numbers are counted, and where does each stand?
//!
//! A tally is a flat array: the facts' cells, then what a core reports beside them, then what the sidecar counts itself.
//! An epoch (one life of a core) has a tally of its last absolute values; the base has one for everything that ended.
//! Their sum is what users see.

use conexus_proto::facts::{BUCKETS, CELLS, DropReason, FAMILIES, HISTOGRAM_CELLS, Label, RecordKind, Shape};

/// Kinds of records.
pub const KINDS: usize = RecordKind::VALUES.len();
/// Series of a drop counter: kinds of records x reasons.
pub const DROPS: usize = KINDS * DropReason::VALUES.len();

/// CPU time of a core, in microseconds.
pub const CORE_CPU_MICROS: usize = CELLS;
/// Records that the core made, by kind.
pub const EMITTED: usize = CORE_CPU_MICROS + 1;
/// Records that the core dropped, by kind and reason.
pub const CORE_DROPPED: usize = EMITTED + KINDS;
/// Records in all batches up to the last one taken, by kind.
pub const SENT: usize = CORE_DROPPED + DROPS;
/// Records in batches that were refused, by kind. Received are those sent and not refused.
pub const REFUSED: usize = SENT + KINDS;
/// Records that the sidecar dropped after taking them, by kind and reason.
pub const SIDECAR_DROPPED: usize = REFUSED + KINDS;
/// Batches taken.
pub const BATCHES: usize = SIDECAR_DROPPED + DROPS;
/// Batches refused, by [`Reason`].
pub const REJECTED: usize = BATCHES + 1;
/// Serving cores that took the place of another.
pub const RESTARTS: usize = REJECTED + Reason::ALL.len();
/// Serving cores that vanished.
pub const CRASHES: usize = RESTARTS + 1;
/// Ended serving cores whose place nobody has taken yet. No metric: the only number that may fall.
pub const VACANCIES: usize = CRASHES + 1;
/// CPU time of the sidecar over all its lives, in microseconds.
pub const SIDECAR_CPU_MICROS: usize = VACANCIES + 1;
/// How late the sidecar's probe task woke up: a histogram's cells.
pub const SIDECAR_DELAY: usize = SIDECAR_CPU_MICROS + 1;
/// Failed exports, by exporter.
pub const EXPORT_FAILURES: usize = SIDECAR_DELAY + HISTOGRAM_CELLS;
/// How many numbers a tally has.
pub const SLOTS: usize = EXPORT_FAILURES + EXPORTERS.len();

/// The exporters, in the order of their numbers.
pub const EXPORTERS: [&str; 3] = ["otlp", "log", "sentry"];

/// Why a batch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// A cell or gauge number that does not exist, or the same one twice, or a gauge that is no number.
    Cells,
    /// Parallel arrays of different lengths.
    Arrays,
    /// A batch is missing before this one.
    Sequence,
    /// A cumulative value that fell.
    Decreasing,
    /// A trace or span id that is none, or an exemplar of a series that does not exist.
    Ids,
    /// A text, list or message over its limit.
    Size,
    /// The batch's records do not agree with its accounting.
    Accounting,
    /// A message that is not allowed at this place, or a record without content.
    Protocol,
}

impl Reason {
    /// Every reason, in the order of its number.
    pub const ALL: &'static [Self] = &[
        Self::Cells,
        Self::Arrays,
        Self::Sequence,
        Self::Decreasing,
        Self::Ids,
        Self::Size,
        Self::Accounting,
        Self::Protocol,
    ];

    /// Every reason's text, in the order of its number.
    pub const VALUES: &'static [&'static str] =
        &["cells", "arrays", "sequence", "decreasing", "ids", "size", "accounting", "protocol"];

    /// The reason's text.
    pub fn as_str(self) -> &'static str {
        Self::VALUES[self as usize]
    }
}

/// One value for every slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally(Box<[u64]>);

impl Default for Tally {
    fn default() -> Self {
        Self(vec![0; SLOTS].into_boxed_slice())
    }
}

impl std::ops::Index<usize> for Tally {
    type Output = u64;
    fn index(&self, slot: usize) -> &u64 {
        &self.0[slot]
    }
}

impl std::ops::IndexMut<usize> for Tally {
    fn index_mut(&mut self, slot: usize) -> &mut u64 {
        &mut self.0[slot]
    }
}

impl Tally {
    /// Adds another tally, slot by slot. Values saturate rather than wrap.
    pub fn add(&mut self, other: &Tally) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// The slots from `first`, `count` of them.
    pub fn range(&self, first: usize, count: usize) -> &[u64] {
        &self.0[first..first + count]
    }

    /// Every slot, in order.
    pub fn slots(&self) -> &[u64] {
        &self.0
    }

    /// The same, to be changed.
    pub fn slots_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }

    /// Writes the values as LEB128: most are small or 0, so a tally takes little more than a kilobyte.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for &value in &self.0 {
            put_varint(out, value);
        }
    }

    /// Reads what [`Tally::encode`] wrote with `slots` values; `None` if the bytes are no such thing.
    pub fn decode_raw(bytes: &[u8], slots: usize) -> Option<Vec<u64>> {
        let mut rest = bytes;
        let values = (0..slots).map(|_| take_varint(&mut rest)).collect::<Option<Vec<_>>>()?;
        rest.is_empty().then_some(values)
    }

    /// Makes a tally of [`SLOTS`] values.
    pub fn from_values(values: Vec<u64>) -> Option<Self> {
        (values.len() == SLOTS).then(|| Self(values.into_boxed_slice()))
    }
}

/// Appends a value as LEB128.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a LEB128 value off the front.
pub fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A name for every slot that stays the same when numbers shift, so that a later version can read an older file.
pub fn slot_names() -> Vec<String> {
    let mut names = Vec::with_capacity(SLOTS);
    for info in &FAMILIES {
        for series in 0..info.series() {
            let labels = info.label_values(series).join("/");
            for cell in 0..info.shape.cells() {
                names.push(match info.shape {
                    Shape::Count => format!("{} {labels}", info.name),
                    Shape::Histogram => format!("{} {labels} {cell}", info.name),
                });
            }
        }
    }
    names.push("core_cpu_micros".into());
    names.extend(RecordKind::VALUES.iter().map(|kind| format!("emitted {kind}")));
    names.extend(drop_names("core_dropped"));
    names.extend(RecordKind::VALUES.iter().map(|kind| format!("sent {kind}")));
    names.extend(RecordKind::VALUES.iter().map(|kind| format!("refused {kind}")));
    names.extend(drop_names("sidecar_dropped"));
    names.push("batches".into());
    names.extend(Reason::VALUES.iter().map(|reason| format!("rejected {reason}")));
    names.extend(["restarts", "crashes", "vacancies", "sidecar_cpu_micros"].map(String::from));
    names.extend((0..=BUCKETS).map(|cell| format!("sidecar_delay {cell}")));
    names.extend(EXPORTERS.map(|exporter| format!("export_failures {exporter}")));
    names
}

fn drop_names(prefix: &str) -> impl Iterator<Item = String> + '_ {
    RecordKind::VALUES
        .iter()
        .flat_map(move |kind| DropReason::VALUES.iter().map(move |reason| format!("{prefix} {kind}/{reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_slot_has_a_name_of_its_own() {
        let names = slot_names();
        assert_eq!(names.len(), SLOTS);
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), SLOTS);
        assert_eq!(names[BATCHES], "batches");
        assert_eq!(names[SENT], "sent span");
        assert_eq!(names[EXPORT_FAILURES + 2], "export_failures sentry");
    }

    #[test]
    fn reasons_stand_at_their_own_number() {
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
        }
        assert_eq!(Reason::ALL.len(), Reason::VALUES.len());
    }

    proptest! {
        #[test]
        fn a_tally_survives_encoding(values in proptest::collection::vec(any::<u64>(), SLOTS)) {
            let tally = Tally::from_values(values.clone()).unwrap();
            let mut bytes = Vec::new();
            tally.encode(&mut bytes);
            prop_assert_eq!(Tally::decode_raw(&bytes, SLOTS), Some(values));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Tally::decode_raw(&bytes, 5);
        }
    }
}
