//! Pipe: one end of a connection in memory that can break in the middle of anything.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use conexus_sidecar::closing::Closing;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tonic::transport::server::Connected;

/// An end that breaks when it is told to.
pub(crate) struct Pipe {
    inner: DuplexStream,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    broken: bool,
}

impl Pipe {
    /// Both ends, each of which breaks when `cut` says so.
    pub(crate) fn pair(bytes: usize, cut: &Closing) -> [Self; 2] {
        let (near, far) = tokio::io::duplex(bytes);
        [near, far].map(|inner| {
            let mut cut = cut.clone();
            Self { inner, cut: Box::pin(async move { cut.wait().await }), broken: false }
        })
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.broken = self.broken || self.cut.as_mut().poll(context).is_ready();
        if self.broken { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl Connected for Pipe {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
