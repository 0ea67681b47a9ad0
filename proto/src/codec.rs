//! Codec: how do messages go through gRPC that are not simply what the generated code makes of them?
//!
//! tonic's own codec knows one way from a message to bytes and back. A core sends messages that it has encoded already, a
//! sidecar goes on behind one that it cannot read, and a relay carries what it does not look at: each is a pair of types here.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::v1::ToCore;

/// What can be sent.
pub trait Outgoing: Send + 'static {
    /// Writes its bytes behind what stands in `out`.
    ///
    /// # Errors
    ///
    /// The status with which the stream ends.
    fn write(self, out: &mut EncodeBuf<'_>) -> Result<(), Status>;
}

/// What can be received.
pub trait Incoming: Sized + Send + 'static {
    /// Makes one of `bytes`, which are those of one message, and takes all of them.
    ///
    /// # Errors
    ///
    /// The status with which the stream ends.
    fn read(bytes: &mut DecodeBuf<'_>) -> Result<Self, Status>;
}

/// Sends `Out` and receives `In`.
#[derive(Debug)]
pub struct Frames<Out, In>(PhantomData<fn(Out) -> In>);

impl<Out, In> Frames<Out, In> {
    /// The codec of one stream.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<Out, In> Default for Frames<Out, In> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Out: Outgoing, In: Incoming> Codec for Frames<Out, In> {
    type Encode = Out;
    type Decode = In;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::new()
    }

    fn decoder(&mut self) -> Self {
        Self::new()
    }
}

impl<Out: Outgoing, In> Encoder for Frames<Out, In> {
    type Item = Out;
    type Error = Status;

    fn encode(&mut self, item: Out, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.write(out)
    }
}

impl<Out, In: Incoming> Decoder for Frames<Out, In> {
    type Item = In;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<In>, Status> {
        In::read(bytes).map(Some)
    }
}

/// A message that is encoded already.
impl Outgoing for Bytes {
    fn write(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(self);
        Ok(())
    }
}

/// A message as it came.
impl Incoming for Bytes {
    fn read(bytes: &mut DecodeBuf<'_>) -> Result<Self, Status> {
        Ok(bytes.copy_to_bytes(bytes.remaining()))
    }
}

impl Outgoing for ToCore {
    fn write(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        self.encode(out).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Incoming for ToCore {
    fn read(bytes: &mut DecodeBuf<'_>) -> Result<Self, Status> {
        Self::decode(bytes).map_err(|error| Status::internal(error.to_string()))
    }
}
