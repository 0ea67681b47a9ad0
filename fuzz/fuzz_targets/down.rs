//! Down: whatever a sidecar may answer, the core reads it or says why not.
#![no_main]

use conexus_proto::v1::ToCore;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = ToCore::decode(data) {
        let again = ToCore::decode(message.encode_to_vec().as_slice()).expect("what was encoded can be read");
        assert_eq!(again, message);
    }
});
