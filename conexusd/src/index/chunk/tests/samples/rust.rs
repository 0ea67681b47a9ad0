//! Buffers: a sample for the chunker.

use std::{collections::HashMap, fmt::{self as f, Write}, io::*};
pub use crate::pool::Pool;
mod pool;

/// How much fits.
pub const CAPACITY: usize = 64;
static mut COUNT: u32 = 0;
type Table = HashMap<String, Buffer>;

/// A buffer.
///
/// It grows.
#[derive(Debug, Clone)]
pub struct Buffer<T> {
    /// The bytes.
    bytes: Vec<T>,
    name: String,
}

pub enum State { Open, Closed(u8), Failed { code: u32 } }

pub trait Sink: Send {
    const NAME: &'static str;
    type Error;
    fn put(&mut self, byte: u8) -> Result<(), Self::Error>;
    fn flush(&mut self) {}
}

impl<T> Sink for crate::sample::Buffer<T> where T: From<u8> {
    const NAME: &'static str = "buffer";
    type Error = ();

    // Plain comment.
    #[inline]
    fn put(&mut self, byte: u8) -> Result<(), Self::Error> {
        fn limit() -> usize {
            CAPACITY
        }
        if self.bytes.len() < limit() { self.bytes.push(byte.into()) }
        Ok(())
    }
}

macro_rules! buffer {
    ($($x:expr),*) => { Buffer::from([$($x),*]) };
}

cfg_net! {
    /// Only with the net feature.
    pub async fn listen(
        port: u16,
        backlog: Option<usize>,
    ) -> Result<(), Error> {
        bind(port).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_empty_at_first() {
        assert!(Buffer::<u8>::default().bytes.is_empty());
    }
}
