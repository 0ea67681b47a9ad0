//! What conexusd and the sidecar say to each other.
//!
//! ```text
//! facts      what can happen, by number: kinds, closed label sets, bucket bounds
//! slots      how a core's counts lie in the memory that its sidecar reads when the core is dead
//! v1         the channel's messages, generated from telemetry.proto
//! codec      how messages go through gRPC that are encoded already, or may be unreadable
//! line       how a log line looks
//! scrub      what is a secret, and is shown nowhere
//! ```
//!
//! No metric name stands here: the sidecar's catalogue gives names to facts.

pub mod codec;
pub mod facts;
pub mod line;
pub mod scrub;
pub mod slots;

/// The messages and services of `conexus/telemetry/v1/telemetry.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("conexus.telemetry.v1");
}

/// The compiled file descriptor set, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptor");

/// The path of the channel's only method.
pub const STREAM_PATH: &str = "/conexus.telemetry.v1.Ingest/Stream";

/// Version of the telemetry protocol. A peer that speaks another one is refused with a clear reason.
pub const PROTOCOL_VERSION: u32 = 1;
