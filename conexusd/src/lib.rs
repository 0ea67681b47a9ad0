//! conexusd: indexes code and answers coding agents over the Model Context Protocol.
//!
//! ```text
//! request:  mcp/server → mcp/tools/<tool> → search → query → bm25 ∥ vector → fuse → rank → format
//! write:    index/walk → chunk → tokenize, embed → store → snapshot
//! facts:    telemetry/slots, ring → drain → channel → the sidecar
//! ```
//!
//! The two halves meet only at [`index::snapshot::Snapshot`]: an immutable view of the index that a search holds for
//! as long as it takes, and that a commit replaces without waiting for it.

pub mod cli;
pub mod life;
pub mod wiring;
pub mod owner;

pub mod app;
pub mod mcp;
pub mod search;
pub mod index;
pub mod grep;
pub mod root;

pub mod telemetry;

pub mod ablation;
