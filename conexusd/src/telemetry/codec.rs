//! Codec: how does gRPC frame messages that are encoded already?

use conexus_proto::v1::ToCore;
use prost::Message;
use prost::bytes::{BufMut, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Sends encoded `ToSidecar` messages as they are, and reads `ToCore`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChannelCodec;

impl Codec for ChannelCodec {
    type Encode = Bytes;
    type Decode = ToCore;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for ChannelCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for ChannelCodec {
    type Item = ToCore;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<ToCore>, Status> {
        ToCore::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
