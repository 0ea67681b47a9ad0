//! Lines: the reader of [`crate::mcp::lines`], which the bridge uses too.

pub(super) use crate::mcp::lines::{LINE_BYTES_MAX, Lines, Next};
