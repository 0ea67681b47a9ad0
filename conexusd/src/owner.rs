//! The owner: which one process has an index open, and how every other one reaches it.
//!
//! ```text
//! socket   the control socket in the index folder: MCP, a line a message, for this user only
//! client   a small MCP client: what the command line asks the owner with
//! bridge   stdio on one side, the owner on the other; when the owner ends, this process takes over
//! ```
//!
//! There is one protocol: whoever is not the owner speaks MCP to it, and the owner's own command line speaks MCP to itself
//! through a pipe in memory. So a command does the same thing whether or not a daemon runs.

pub mod socket;
pub mod client;
pub mod bridge;

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream to something that speaks MCP, a line a message.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream of either kind: a socket's or a pipe's in memory.
pub type BoxedStream = Box<dyn Stream>;
