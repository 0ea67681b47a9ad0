//! Codec: what does a core's message say, and what if nobody can read it?
//!
//! A message that cannot be decoded does not end the stream, as it would with tonic's own codec: the core would send it
//! again on the next one, for ever. It is handed on as [`Inbound::Unreadable`], to be refused and acknowledged in its turn.

use conexus_proto::codec::Incoming;
use conexus_proto::v1::ToSidecar;
use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::Status;
use tonic::codec::DecodeBuf;

/// A message of a core.
#[derive(Debug)]
pub enum Inbound {
    /// One that can be read.
    Message(Box<ToSidecar>),
    /// One that cannot.
    Unreadable {
        /// The batch's number, where it stands as a core would write it.
        sequence: Option<u64>,
        /// Why.
        error: String,
    },
}

impl Incoming for Inbound {
    fn read(bytes: &mut DecodeBuf<'_>) -> Result<Self, Status> {
        let bytes = bytes.copy_to_bytes(bytes.remaining());
        Ok(read(&bytes))
    }
}

/// Reads one message.
pub fn read(bytes: &[u8]) -> Inbound {
    match ToSidecar::decode(bytes) {
        Ok(message) => Inbound::Message(Box::new(message)),
        Err(error) => Inbound::Unreadable { sequence: sequence(bytes), error: error.to_string() },
    }
}

/// The sequence of a batch whose message begins as a core's does: field 2, a length, then field 1, a number.
fn sequence(mut bytes: &[u8]) -> Option<u64> {
    let outer = decode_key(&mut bytes).ok()?;
    decode_varint(&mut bytes).ok()?;
    let inner = decode_key(&mut bytes).ok()?;
    if (outer, inner) != ((2, WireType::LengthDelimited), (1, WireType::Varint)) {
        return None;
    }
    decode_varint(&mut bytes).ok()
}

#[cfg(test)]
mod tests {
    use conexus_proto::v1::{self, to_sidecar};
    use proptest::prelude::*;

    use super::*;

    fn batch(sequence: u64) -> Vec<u8> {
        let records = vec![v1::Record::default(); 3];
        let batch = v1::Batch { sequence, records, ..v1::Batch::default() };
        ToSidecar { message: Some(to_sidecar::Message::Batch(batch)) }.encode_to_vec()
    }

    #[test]
    fn a_batch_that_is_damaged_behind_its_number_still_says_it() {
        let mut bytes = batch(300);
        assert!(matches!(read(&bytes), Inbound::Message(_)));
        let last = bytes.len() - 1;
        bytes[last] = 0xff;
        assert!(matches!(read(&bytes), Inbound::Unreadable { sequence: Some(300), .. }), "{:?}", read(&bytes));
        assert!(matches!(read(&[0xff; 9]), Inbound::Unreadable { sequence: None, .. }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
