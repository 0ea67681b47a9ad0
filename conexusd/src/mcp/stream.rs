//! Stream: one client over a pair of byte streams, one JSON-RPC message a line: stdio, or a bridge's socket.
//!
//! A line that is no message is answered and the next one read. At most [`IN_FLIGHT_MAX`] requests are in hand; then
//! reading waits, so a client that writes and does not read cannot fill the memory.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, GetExtensions, GetMeta, JsonRpcNotification,
    JsonRpcRequest, ProtocolVersion, RequestId, ServerJsonRpcMessage,
};
use rmcp::service::{RoleServer, RxJsonRpcMessage, ServerInitializeError, TxJsonRpcMessage, serve_server_with_ct};
use rmcp::transport::Transport;
use rmcp::{ErrorData, service::QuitReason};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::lines::{LINE_BYTES_MAX, Lines, Next};
use super::request::{Asked, Ending, Request};
use super::server::Server;
use super::wire::{self, Incoming, Rejection};

/// Requests of one stream whose answers have not been written.
const IN_FLIGHT_MAX: usize = 128;

/// Messages read and not yet taken by the dispatcher.
const QUEUE: usize = 16;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// The client closed its side; what it had asked is answered.
    Closed,
    /// The server was told to stop.
    Stopped,
}

/// Why a stream broke.
#[derive(Debug, thiserror::Error)]
#[error("the MCP connection broke: {0}")]
pub struct StreamError(String);

/// Serves one client until it closes its side or `stop` is cancelled; then requests in flight get at most two seconds
/// (five, if the client closed).
pub async fn serve<R, W>(server: Server, read: R, write: W, stop: CancellationToken) -> Result<StreamEnd, StreamError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let wire = Wire { writer: Arc::new(tokio::sync::Mutex::new(write)), in_flight: Arc::default() };
    let (sender, incoming) = mpsc::channel(QUEUE);
    let slots = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let reader = Reader { server: server.clone(), wire: wire.clone(), sender, slots, opened: false };
    let reading = AbortOnDrop(tokio::spawn(reader.run(Lines::new(read), stop.clone())));
    let transport = LineTransport { wire, incoming };
    let end = match serve_server_with_ct(server, transport, stop).await {
        Ok(running) => match running.waiting().await {
            Ok(QuitReason::Cancelled) => Ok(StreamEnd::Stopped),
            Ok(QuitReason::JoinError(error)) | Err(error) => Err(StreamError(error.to_string())),
            Ok(_) => Ok(StreamEnd::Closed),
        },
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(StreamEnd::Closed),
        Err(ServerInitializeError::Cancelled) => Ok(StreamEnd::Stopped),
        Err(error) => Err(StreamError(error.to_string())),
    };
    drop(reading);
    end
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A request whose answer has not been written, and its place.
struct InFlight {
    request: Request,
    _slot: OwnedSemaphorePermit,
}

/// What reading and writing share.
struct Wire<W> {
    writer: Arc<tokio::sync::Mutex<W>>,
    in_flight: Arc<Mutex<HashMap<RequestId, InFlight>>>,
}

impl<W> Clone for Wire<W> {
    fn clone(&self) -> Self {
        Self { writer: self.writer.clone(), in_flight: self.in_flight.clone() }
    }
}

impl<W: AsyncWrite + Send + Unpin> Wire<W> {
    fn in_flight(&self) -> std::sync::MutexGuard<'_, HashMap<RequestId, InFlight>> {
        self.in_flight.lock().expect("nothing panics while it holds the requests in flight")
    }

    async fn write(&self, mut message: Vec<u8>) -> io::Result<()> {
        message.push(b'\n');
        let mut writer = self.writer.lock().await;
        writer.write_all(&message).await?;
        writer.flush().await
    }
}

/// Reads lines and passes on what the dispatcher can use.
struct Reader<W> {
    server: Server,
    wire: Wire<W>,
    sender: mpsc::Sender<ClientJsonRpcMessage>,
    slots: Arc<Semaphore>,
    /// Whether a request has started the protocol, by handshake or by carrying its version.
    opened: bool,
}

impl<W: AsyncWrite + Send + Unpin> Reader<W> {
    async fn run<R: AsyncRead + Unpin>(mut self, mut lines: Lines<R>, stop: CancellationToken) {
        loop {
            let next = tokio::select! {
                next = lines.next() => next,
                () = stop.cancelled() => return,
            };
            let goes_on = match next {
                Ok(Next::Line(line)) => self.take(&line).await,
                Ok(Next::TooLong) => {
                    let text = format!("the message is longer than {LINE_BYTES_MAX} bytes");
                    self.reject(Asked::unreadable(), ErrorData::invalid_request(text, None)).await
                }
                Ok(Next::End) => return,
                Err(error) => {
                    tracing::warn!(%error, "the MCP stream cannot be read");
                    return;
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Handles one line; false once nobody listens any more.
    async fn take(&mut self, line: &[u8]) -> bool {
        match wire::read(line) {
            Incoming::Ignored => true,
            Incoming::Rejected(Rejection { asked, error }) => self.reject(asked, error).await,
            Incoming::Message(message) => match *message {
                ClientJsonRpcMessage::Request(request) => self.take_request(request).await,
                ClientJsonRpcMessage::Notification(notification) => self.take_notification(notification).await,
                // This server asks its clients nothing, so there is nothing to be answered.
                ClientJsonRpcMessage::Response(_) | ClientJsonRpcMessage::Error(_) => true,
            },
        }
    }

    async fn take_request(&mut self, mut message: JsonRpcRequest<ClientRequest>) -> bool {
        let (id, asked) = (message.id.clone(), wire::asked(&message));
        if !self.opened && !may_come_first(&message.request) {
            let text = "the connection is not initialized: send initialize first";
            return self.reject(asked, ErrorData::invalid_request(text, None)).await;
        }
        self.opened |= opens(&message.request);
        let Ok(slot) = self.slots.clone().acquire_owned().await else { return false };
        if self.wire.in_flight().contains_key(&id) {
            let text = "a request with this id is still in flight; every request needs an id of its own";
            return self.reject(asked, ErrorData::invalid_request(text, None)).await;
        }
        let request = match self.server.desk().take(asked) {
            Ok(request) => request,
            Err(error) => return self.wire.write(wire::error_json(Some(&id), &error)).await.is_ok(),
        };
        message.request.extensions_mut().insert(request.clone());
        self.wire.in_flight().insert(id, InFlight { request, _slot: slot });
        self.sender.send(ClientJsonRpcMessage::Request(message)).await.is_ok()
    }

    async fn take_notification(&mut self, message: JsonRpcNotification<ClientNotification>) -> bool {
        if !self.opened {
            return true;
        }
        if let ClientNotification::CancelledNotification(cancelled) = &message.notification
            && let Some(id) = &cancelled.params.request_id
        {
            // The dispatcher sends no answer to what was cancelled.
            drop(self.wire.in_flight().remove(id));
        }
        self.sender.send(ClientJsonRpcMessage::Notification(message)).await.is_ok()
    }

    async fn reject(&self, asked: Asked, error: ErrorData) -> bool {
        let id = asked.id.clone();
        self.server.desk().refuse(asked, &error);
        self.wire.write(wire::error_json(id.as_ref(), &error)).await.is_ok()
    }
}

/// Whether a request may be the first of a connection: the library answers it, whatever else is missing.
fn may_come_first(request: &ClientRequest) -> bool {
    matches!(
        request,
        ClientRequest::InitializeRequest(_) | ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_)
    ) || request.get_meta().protocol_version().is_some()
}

/// Whether the library takes a request as the start of the protocol.
fn opens(request: &ClientRequest) -> bool {
    let meta = request.get_meta();
    let carries_all = || {
        meta.missing_required_keys(&ProtocolVersion::V_2026_07_28).is_empty()
            && meta.protocol_version().is_some_and(|version| ProtocolVersion::KNOWN_VERSIONS.contains(&version))
    };
    match request {
        ClientRequest::InitializeRequest(_) => true,
        ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_) => false,
        _ => carries_all(),
    }
}

/// The stream as the dispatcher sees it.
struct LineTransport<W> {
    wire: Wire<W>,
    incoming: mpsc::Receiver<ClientJsonRpcMessage>,
}

impl<W: AsyncWrite + Send + Unpin + 'static> Transport<RoleServer> for LineTransport<W> {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let answered = self.answered(&message);
        let wire = self.wire.clone();
        async move {
            let text = serde_json::to_vec(&message).map_err(io::Error::other)?;
            let written = wire.write(text).await;
            // Its place is free only now that the answer is out.
            drop(answered);
            written
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        self.incoming.recv().await
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        self.incoming.close();
        self.wire.writer.lock().await.flush().await
    }
}

impl<W: AsyncWrite + Send + Unpin> LineTransport<W> {
    /// The request that a message answers, ended: the library answers some by itself.
    fn answered(&self, message: &ServerJsonRpcMessage) -> Option<InFlight> {
        match message {
            ServerJsonRpcMessage::Response(response) => {
                let answered = self.wire.in_flight().remove(&response.id)?;
                answered.request.end(Ending::well(None), None);
                Some(answered)
            }
            ServerJsonRpcMessage::Error(error) => {
                let answered = self.wire.in_flight().remove(error.id.as_ref()?)?;
                answered.request.fail(&error.error);
                Some(answered)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
