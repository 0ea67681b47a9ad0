//! Slots: whatever stands in a dead core's file, it is read within its bounds or refused.
#![no_main]

use conexus_proto::facts::{CELLS, FINGERPRINT};
use conexus_proto::slots::{MAGIC, TABLE_WORDS, parse, word};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = parse(data);
    // The same behind a header that would pass.
    let mut bytes = data.to_vec();
    for (at, value) in [(word::MAGIC, MAGIC), (word::FINGERPRINT, FINGERPRINT), (word::TABLE_WORDS, TABLE_WORDS as u64)]
    {
        if let Some(place) = bytes.get_mut(at * 8..at * 8 + 8) {
            place.copy_from_slice(&value.to_ne_bytes());
        }
    }
    if let Ok(remains) = parse(&bytes) {
        assert_eq!(remains.cells.len(), CELLS);
    }
});
