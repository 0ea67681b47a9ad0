//! Tally: whatever stands in the sidecar's state file, a tally is read or refused.
#![no_main]

use conexus_sidecar::aggregate::tally::{SLOTS, Tally};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(values) = Tally::decode_raw(data, SLOTS) {
        let tally = Tally::from_values(values.clone()).expect("as many as there are slots");
        let mut bytes = Vec::new();
        tally.encode(&mut bytes);
        assert_eq!(Tally::decode_raw(&bytes, SLOTS), Some(values));
    }
});
