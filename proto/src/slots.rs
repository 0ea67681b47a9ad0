//! Slots file: how do a core's counts lie in the memory that its sidecar reads when the core is dead?
//!
//! A page of header, then tables of [`TABLE_BYTES`] each, one a thread. Everything is a 64-bit number in the machine's own
//! order: both processes run on one machine. The core writes the header's magic last, with the file locked (`flock`); the
//! lock goes with the process, however it ends, and that is how others know that nobody counts any more. A table's
//! numbers only ever grow, so the sums over all tables are the core's totals at the instant of its death.

use crate::facts::{CELLS, DropReason, FINGERPRINT, RecordKind};

/// Kinds of records.
pub const KINDS: usize = RecordKind::ALL.len();
/// Kinds of records x reasons to drop one.
pub const DROPS: usize = KINDS * DropReason::ALL.len();
/// Numbers of one table: the facts' cells, then records emitted by kind, then dropped by kind and reason.
pub const TABLE_WORDS: usize = CELLS + KINDS + DROPS;
/// Bytes from one table to the next: no two threads share a pair of cache lines.
pub const TABLE_BYTES: usize = (TABLE_WORDS * 8).next_multiple_of(128);
/// Where the first table begins: one page, the smallest that can be mapped by itself.
pub const HEADER_BYTES: usize = 4096;
/// Tables that are added to a file at once: whole pages, whatever the size of a table.
pub const SEGMENT_TABLES: usize = 32;
/// Bytes of that many tables.
pub const SEGMENT_BYTES: usize = SEGMENT_TABLES * TABLE_BYTES;
/// A file has at most so many tables.
pub const TABLES_MAX: usize = 4096;

/// The first eight bytes of a file that is complete; the last two say which layout it has.
pub const MAGIC: u64 = u64::from_le_bytes(*b"cxslot01");

/// Where a number of the header stands, in 64-bit words.
pub mod word {
    /// [`super::MAGIC`], written last.
    pub const MAGIC: usize = 0;
    /// The core's boot epoch.
    pub const EPOCH: usize = 1;
    /// [`crate::facts::FINGERPRINT`] as the core knows it.
    pub const FINGERPRINT: usize = 2;
    /// Numbers of one table.
    pub const TABLE_WORDS: usize = 3;
    /// How many tables there are. Grows.
    pub const TABLES: usize = 4;
    /// 1 once the core has ended by itself: its end is no crash.
    pub const ENDED: usize = 5;
    /// 1 if some threads count elsewhere, because there was no room for their tables.
    pub const INCOMPLETE: usize = 6;
    /// 1 if the core serves.
    pub const SERVING: usize = 7;
    /// Words of the header that are used.
    pub const COUNT: usize = 8;
}

const _: () = assert!(SEGMENT_BYTES.is_multiple_of(4096), "a segment is mapped by itself");

/// The file's name in the folder of the telemetry socket.
pub fn file_name(epoch: u64) -> String {
    format!("core-{epoch:016x}.slots")
}

/// The file's name in the shared-memory folder, where every socket's cores meet: the socket's path is part of it.
pub fn shared_file_name(socket: &[u8], epoch: u64) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in socket {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("conexus-{hash:016x}-{}", file_name(epoch))
}

/// The epoch in a name that ends as [`file_name`] does.
pub fn epoch_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".slots")?.rsplit_once("core-")?.1;
    let plain = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(digits, 16).ok().filter(|_| plain)
}

/// A dead core's totals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The core's boot epoch.
    pub epoch: u64,
    /// It served.
    pub serving: bool,
    /// It ended by itself.
    pub ended: bool,
    /// Some of its threads counted elsewhere: the totals may be too low.
    pub incomplete: bool,
    /// Every cell of the facts.
    pub cells: Vec<u64>,
    /// Records emitted, by kind.
    pub emitted: [u64; KINDS],
    /// Records dropped before they were batched, by kind and reason.
    pub dropped: [u64; DROPS],
}

/// Why the bytes are no such file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadSlots {
    /// Somebody else's file, or one that its core never finished.
    #[error("it does not begin as a slots file does")]
    Foreign,
    /// Cut short.
    #[error("it has {bytes} bytes, and its header promises {promised}")]
    Truncated { bytes: usize, promised: usize },
    /// A number of the header that cannot be.
    #[error("{what} is {found:#x}, not {expected}")]
    Header { what: &'static str, found: u64, expected: String },
}

/// Reads a whole file.
pub fn parse(bytes: &[u8]) -> Result<Remains, BadSlots> {
    let header = |at: usize| u64::from_ne_bytes(bytes[at * 8..][..8].try_into().expect("eight bytes"));
    if bytes.len() < word::COUNT * 8 || header(word::MAGIC) != MAGIC {
        return Err(BadSlots::Foreign);
    }
    let expect = |what, at, value: u64| match header(at) {
        found if found == value => Ok(()),
        found => Err(BadSlots::Header { what, found, expected: format!("{value:#x}") }),
    };
    expect("the fingerprint of its facts", word::FINGERPRINT, FINGERPRINT)?;
    expect("the size of its tables", word::TABLE_WORDS, TABLE_WORDS as u64)?;
    let found = header(word::TABLES);
    if found > TABLES_MAX as u64 {
        let expected = format!("at most {TABLES_MAX}");
        return Err(BadSlots::Header { what: "the number of its tables", found, expected });
    }
    let promised = HEADER_BYTES + found as usize * TABLE_BYTES;
    if bytes.len() < promised {
        return Err(BadSlots::Truncated { bytes: bytes.len(), promised });
    }
    let mut sums = vec![0_u64; TABLE_WORDS];
    for table in bytes[HEADER_BYTES..promised].chunks_exact(TABLE_BYTES) {
        for (sum, value) in sums.iter_mut().zip(table.chunks_exact(8)) {
            *sum = sum.wrapping_add(u64::from_ne_bytes(value.try_into().expect("eight bytes")));
        }
    }
    let mut remains = Remains {
        epoch: header(word::EPOCH),
        serving: header(word::SERVING) == 1,
        ended: header(word::ENDED) == 1,
        incomplete: header(word::INCOMPLETE) != 0,
        cells: Vec::new(),
        emitted: [0; KINDS],
        dropped: [0; DROPS],
    };
    remains.emitted.copy_from_slice(&sums[CELLS..][..KINDS]);
    remains.dropped.copy_from_slice(&sums[CELLS + KINDS..]);
    sums.truncate(CELLS);
    remains.cells = sums;
    Ok(remains)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(tables: usize) -> Vec<u8> {
        let mut words = vec![0_u64; (HEADER_BYTES + tables * TABLE_BYTES) / 8];
        words[word::MAGIC] = MAGIC;
        words[word::EPOCH] = 7;
        words[word::FINGERPRINT] = FINGERPRINT;
        words[word::TABLE_WORDS] = TABLE_WORDS as u64;
        words[word::TABLES] = tables as u64;
        words[word::SERVING] = 1;
        for table in 0..tables {
            let first = (HEADER_BYTES + table * TABLE_BYTES) / 8;
            words[first] = 1;
            words[first + CELLS] = 10;
            words[first + TABLE_WORDS - 1] = 100;
        }
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn set(bytes: &mut [u8], at: usize, value: u64) {
        bytes[at * 8..][..8].copy_from_slice(&value.to_ne_bytes());
    }

    #[test]
    fn the_sums_over_all_tables_are_read() {
        let remains = parse(&file(3)).unwrap();
        assert_eq!((remains.epoch, remains.serving, remains.ended, remains.incomplete), (7, true, false, false));
        assert_eq!((remains.cells.len(), remains.cells[0], remains.cells[1]), (CELLS, 3, 0));
        assert_eq!((remains.emitted[0], remains.dropped[DROPS - 1]), (30, 300));
        assert_eq!(parse(&file(0)).unwrap().cells, vec![0; CELLS]);
    }

    #[test]
    fn a_file_that_is_foreign_cut_or_of_other_facts_is_named_as_such() {
        assert_eq!(parse(b""), Err(BadSlots::Foreign));
        assert_eq!(parse(&[0; 8192]), Err(BadSlots::Foreign));
        let cut = &file(2)[..HEADER_BYTES + TABLE_BYTES];
        let promised = HEADER_BYTES + 2 * TABLE_BYTES;
        assert_eq!(parse(cut), Err(BadSlots::Truncated { bytes: HEADER_BYTES + TABLE_BYTES, promised }));
        for (at, value, words) in [
            (word::FINGERPRINT, 5, "the fingerprint of its facts is 0x5"),
            (word::TABLE_WORDS, 5, "the size of its tables is 0x5"),
            (word::TABLES, u64::MAX, "at most 4096"),
        ] {
            let mut bytes = file(1);
            set(&mut bytes, at, value);
            let error = parse(&bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_name_says_its_epoch_and_another_name_none() {
        for name in [file_name(0xab), shared_file_name(b"/run/x.sock", 0xab)] {
            assert_eq!(epoch_of(&name), Some(0xab), "{name}");
        }
        for name in ["core-ab.slots", "core-00000000000000AB.slots", "core-00000000000000ab", "x.slots", ""] {
            assert_eq!(epoch_of(name), None, "{name}");
        }
        assert_ne!(shared_file_name(b"/a", 1), shared_file_name(b"/b", 1));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(
            at in 0..word::COUNT, value in any::<u64>(), length in 0..HEADER_BYTES + 3 * TABLE_BYTES
        ) {
            let mut bytes = file(2);
            set(&mut bytes, at, value);
            bytes.resize(length, 0xa5);
            let _ = parse(&bytes);
        }
    }
}
