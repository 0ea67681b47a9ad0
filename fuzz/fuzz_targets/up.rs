//! Up: whatever a core may send, in any order, the sidecar refuses or takes, and its figures never fall.
#![no_main]

use std::time::Instant;

use conexus_proto::v1::to_sidecar::Message;
use conexus_sidecar::aggregate::epochs::{CoreInfo, Ledger};
use conexus_sidecar::aggregate::store::Persisted;
use conexus_sidecar::aggregate::tally::{REFUSED, SENT};
use conexus_sidecar::ingest::admit;
use conexus_sidecar::ingest::codec::{Inbound, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let now = Instant::now();
    let mut ledger = Ledger::restore(Persisted::default(), now);
    let mut link = ledger.connect(1, CoreInfo { serving: true, ..CoreInfo::default() }, now).expect("the first may");
    let mut rest = data;
    // Frames of a length of two bytes and a message.
    while let [high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (frame, tail) = tail.split_at(length);
        rest = tail;
        let before = ledger.visible().clone();
        match read(frame) {
            Inbound::Message(message) => match message.message {
                Some(Message::Batch(batch)) => {
                    let _ = ledger.take(&link, batch.sequence, admit::check(&batch));
                }
                Some(Message::Goodbye(_)) => ledger.goodbye(&link),
                Some(Message::Hello(hello)) => match ledger.connect(hello.boot_epoch, CoreInfo::default(), now) {
                    Ok(new) => link = new,
                    Err(_) => return,
                },
                None => {}
            },
            Inbound::Unreadable { .. } => ledger.lost(&link, true, now),
        }
        if let Some(changes) = ledger.changes() {
            ledger.committed(changes);
        }
        let after = ledger.visible();
        for slot in 0..conexus_proto::facts::CELLS {
            assert!(after[slot] >= before[slot], "slot {slot} fell from {} to {}", before[slot], after[slot]);
        }
        for kind in 0..3 {
            let received = |tally: &conexus_sidecar::aggregate::tally::Tally| {
                tally[SENT + kind].checked_sub(tally[REFUSED + kind])
            };
            assert!(received(after) >= received(&before) && received(after).is_some(), "received fell");
        }
    }
});
