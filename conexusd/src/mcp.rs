//! MCP: what agents ask over the Model Context Protocol, and what they are answered.
//!
//! ```text
//! stdio, socket   stream ─┐                    ┌─ tools/<tool>
//!                         ├─ wire ─▶ server ───┤
//! :8080/mcp       http  ──┘                    └─ resources
//! ```
//!
//! [`wire`] decides what a message is and refuses what is none; [`server`] is the one dispatcher behind both transports;
//! [`request`] counts, times and logs every request exactly once, however it ends. JSON stays in here: tools hand typed
//! requests to the rest of the program.

pub mod http;
pub mod stream;

pub(crate) mod lines;

mod wire;

pub mod server;

mod request;

mod resources;
pub(crate) mod tools;

mod error;

#[cfg(test)]
pub(crate) mod fixture;

/// The most requests that are answered at a time, over all connections. More are refused, and told so.
const REQUESTS_MAX: usize = 256;

/// The most `context_grep` that search at a time: each uses every processor. Others wait their turn.
const GREPS_MAX: usize = 2;
