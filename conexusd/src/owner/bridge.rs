//! The bridge: a client on standard input and output, the index's owner behind it, whoever that is at the moment.
//!
//! When the owner ends, the next one is looked for (or this process becomes it), the client's `initialize` is repeated there,
//! and requests that have no answer yet are sent again: the client notices nothing but the time it takes. Requests that
//! change something (`context_index_control`) can be repeated without harm. Only a request that has an id its answer can
//! have too is kept, and no line that is longer than a server takes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::RequestId;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};

use super::BoxedStream;
use crate::mcp::lines::{LINE_BYTES_MAX, Lines, Next};

/// The id of a repeated `initialize`; its answer is not for the client.
const REPEATED: &str = "conexus-bridge-initialize";

/// Requests kept to be sent again. One beyond that is forwarded and not kept.
const IN_FLIGHT_MAX: usize = 1024;

/// How long answers may still take after the client closed its side.
const LAST_ANSWERS: Duration = Duration::from_secs(60);

/// Why a bridge ended before its client did.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The client's side broke.
    #[error("standard input or output broke: {0}")]
    Client(#[source] io::Error),
    /// No owner could be reached and this process could not become it.
    #[error("{0}")]
    Owner(String),
}

/// Forwards lines until the client closes `input`. `connect` finds the owner or becomes it.
pub async fn run(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    mut connect: impl AsyncFnMut() -> Result<BoxedStream, String>,
) -> Result<(), BridgeError> {
    let mut input = Lines::new(input);
    let mut session = Session { output, initialize: None, initialized: None, in_flight: Vec::new(), reply: Vec::new() };
    let mut owner = Owner::over(connect().await.map_err(BridgeError::Owner)?);
    let mut closed = false;
    loop {
        if closed && session.in_flight.is_empty() {
            return session.finish(owner).await;
        }
        tokio::select! {
            next = input.next(), if !closed => {
                let line = match next.map_err(BridgeError::Client)? {
                    Next::Line(line) => Outgoing::Line(line.into()),
                    Next::TooLong => Outgoing::TooLong,
                    Next::End => {
                        closed = true;
                        continue;
                    }
                };
                let repeated = session.note(&line);
                if !session.send(&mut owner, &line).await? {
                    owner = session.move_on(&mut connect).await?;
                    if !repeated {
                        // A second owner that ends at once is noticed when its answers are read.
                        session.send(&mut owner, &line).await?;
                    }
                }
            }
            answered = owner.reader.read_until(b'\n', &mut session.reply) => {
                if !session.pass_on(answered).await? {
                    owner = session.move_on(&mut connect).await?;
                }
            }
            () = tokio::time::sleep(LAST_ANSWERS), if closed => return Ok(()),
        }
    }
}

/// What an owner is sent.
enum Outgoing {
    /// A line without its end.
    Line(Arc<[u8]>),
    /// A line that no owner takes, instead of the client's, which was not kept: the owner says what is wrong with it, and
    /// counts it, as if it had read the client's own.
    TooLong,
}

impl Outgoing {
    async fn write(&self, writer: &mut WriteHalf<BoxedStream>) -> io::Result<()> {
        match self {
            Self::Line(line) => writer.write_all(line).await?,
            Self::TooLong => {
                for _ in 0..=LINE_BYTES_MAX / FILLER.len() {
                    writer.write_all(FILLER).await?;
                }
            }
        }
        writer.write_all(b"\n").await?;
        writer.flush().await
    }
}

/// A piece of a line that is too long.
const FILLER: &[u8] = &[b'.'; 1 << 16];

struct Owner {
    reader: BufReader<ReadHalf<BoxedStream>>,
    writer: WriteHalf<BoxedStream>,
}

impl Owner {
    fn over(stream: BoxedStream) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader: BufReader::new(reader), writer }
    }
}

/// What the next owner has to be told.
struct Session<O> {
    output: O,
    initialize: Option<Value>,
    initialized: Option<Arc<[u8]>>,
    in_flight: Vec<(RequestId, Arc<[u8]>)>,
    /// The part of an owner's message that has come.
    reply: Vec<u8>,
}

impl<O: AsyncWrite + Unpin> Session<O> {
    /// Remembers what a new owner would need of a client's message. Whether a new owner is told the message itself.
    fn note(&mut self, line: &Outgoing) -> bool {
        let Outgoing::Line(line) = line else { return false };
        let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        // What is not JSON is forwarded all the same: the owner says what is wrong with it.
        let Ok(message) = serde_json::from_slice::<Value>(text) else { return false };
        let id = request_id(&message["id"]);
        match message["method"].as_str() {
            Some("initialize") if id.is_some() => self.initialize = Some(message.clone()),
            Some("notifications/initialized") => {
                self.initialized = Some(line.clone());
                return true;
            }
            Some("notifications/cancelled") => {
                let cancelled = request_id(&message["params"]["requestId"]);
                self.in_flight.retain(|(id, _)| Some(id) != cancelled.as_ref());
            }
            _ => {}
        }
        // Without an id of its own the answer could not be told from others.
        let Some(id) = id.filter(|_| message.get("method").is_some()) else { return false };
        let room = self.in_flight.len() < IN_FLIGHT_MAX;
        if room {
            self.in_flight.push((id, line.clone()));
        }
        room
    }

    /// Sends the owner a line; false once the owner has ended. Answers are passed on meanwhile: an owner that cannot get
    /// rid of them reads nothing.
    async fn send(&mut self, owner: &mut Owner, line: &Outgoing) -> Result<bool, BridgeError> {
        let Owner { reader, writer } = owner;
        let sending = line.write(writer);
        tokio::pin!(sending);
        loop {
            tokio::select! {
                sent = &mut sending => return Ok(sent.is_ok()),
                answered = reader.read_until(b'\n', &mut self.reply) => {
                    if !self.pass_on(answered).await? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Gives the client the message that has come of the owner; false if it is the owner's end instead.
    async fn pass_on(&mut self, read: io::Result<usize>) -> Result<bool, BridgeError> {
        let reply = std::mem::take(&mut self.reply);
        if !matches!(read, Ok(1..)) {
            return Ok(false);
        }
        self.forward(&reply).await.map_err(BridgeError::Client)?;
        Ok(true)
    }

    /// Gives the client a message of the owner.
    async fn forward(&mut self, line: &[u8]) -> io::Result<()> {
        if let Ok(message) = serde_json::from_slice::<Value>(line)
            && message.get("method").is_none()
        {
            if message["id"] == REPEATED {
                return Ok(());
            }
            // Of two requests with one id the second is refused, and first.
            if let Some(id) = request_id(&message["id"])
                && let Some(at) = self.in_flight.iter().rposition(|(asked, _)| *asked == id)
            {
                self.in_flight.remove(at);
            }
        }
        self.output.write_all(line).await?;
        self.output.flush().await
    }

    /// The client is gone and every request is answered: what else the owner has to say is passed on, which is what is
    /// wrong with lines that were no requests.
    async fn finish(mut self, mut owner: Owner) -> Result<(), BridgeError> {
        if owner.writer.shutdown().await.is_err() {
            return Ok(());
        }
        let rest = async {
            loop {
                let read = owner.reader.read_until(b'\n', &mut self.reply).await;
                if !self.pass_on(read).await? {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(LAST_ANSWERS, rest).await.unwrap_or(Ok(()))
    }

    /// Finds the next owner and brings it to where the last one was.
    async fn move_on(
        &mut self,
        connect: &mut impl AsyncFnMut() -> Result<BoxedStream, String>,
    ) -> Result<Owner, BridgeError> {
        tracing::info!("the index's owner ended: looking for the next one");
        self.reply.clear();
        let mut reason = String::new();
        for attempt in 0..10u32 {
            tokio::time::sleep(Duration::from_millis(20 << attempt.min(5))).await;
            match connect().await {
                Ok(stream) => {
                    let mut owner = Owner::over(stream);
                    if self.replay(&mut owner).await? {
                        return Ok(owner);
                    }
                    self.reply.clear();
                    reason = "the next owner ended at once".to_owned();
                }
                Err(error) => reason = error,
            }
        }
        Err(BridgeError::Owner(reason))
    }

    /// Tells a new owner what the last one knew; false if it ended meanwhile.
    async fn replay(&mut self, owner: &mut Owner) -> Result<bool, BridgeError> {
        let answered = |initialize: &&Value| {
            let asked = request_id(&initialize["id"]);
            !self.in_flight.iter().any(|(id, _)| Some(id) == asked.as_ref())
        };
        if let Some(initialize) = self.initialize.as_ref().filter(answered) {
            let mut again = initialize.clone();
            again["id"] = Value::from(REPEATED);
            let again = Outgoing::Line(again.to_string().into_bytes().into());
            // The server takes nothing else before it has answered.
            let mut hello = Vec::new();
            let greeted = again.write(&mut owner.writer).await.is_ok()
                && owner.reader.read_until(b'\n', &mut hello).await.is_ok();
            if !greeted || hello.is_empty() {
                return Ok(false);
            }
        }
        let lines: Vec<_> =
            self.initialized.iter().chain(self.in_flight.iter().map(|(_, line)| line)).cloned().collect();
        for line in lines {
            if !self.send(owner, &Outgoing::Line(line)).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// An id that a request can have and that its answer has then: text or an integer.
fn request_id(id: &Value) -> Option<RequestId> {
    serde_json::from_value(id.clone()).ok()
}

#[cfg(test)]
mod tests;
