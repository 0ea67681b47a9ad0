//! The bridge: a client on standard input and output, the index's owner behind it, whoever that is at the moment.
//!
//! When the owner ends, the next one is looked for (or this process becomes it), the client's `initialize` is repeated there,
//! and requests that have no answer yet are sent again: the client notices nothing but the time it takes. Requests that
//! change something (`context_index_control`) can be repeated without harm.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};

use super::BoxedStream;

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
    let mut input = BufReader::new(input);
    let mut session = Session { output, initialize: None, initialized: None, in_flight: Vec::new() };
    let mut owner = Owner::over(connect().await.map_err(BridgeError::Owner)?);
    let mut line = Vec::new();
    let mut reply = Vec::new();
    let mut closed = false;
    loop {
        if closed && session.in_flight.is_empty() {
            return Ok(());
        }
        tokio::select! {
            read = input.read_until(b'\n', &mut line), if !closed => {
                if read.map_err(BridgeError::Client)? == 0 {
                    closed = true;
                    continue;
                }
                let message = std::mem::take(&mut line);
                session.note(&message);
                if owner.send(&message).await.is_err() {
                    owner = session.move_on(&mut connect).await?;
                }
            }
            read = owner.reader.read_until(b'\n', &mut reply) => {
                match read {
                    Ok(read) if read > 0 => session.forward(&std::mem::take(&mut reply)).await.map_err(BridgeError::Client)?,
                    _ => {
                        reply.clear();
                        owner = session.move_on(&mut connect).await?;
                    }
                }
            }
            () = tokio::time::sleep(LAST_ANSWERS), if closed => return Ok(()),
        }
    }
}

struct Owner {
    reader: BufReader<ReadHalf<BoxedStream>>,
    writer: WriteHalf<BoxedStream>,
}

impl Owner {
    fn over(stream: BoxedStream) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader: BufReader::new(reader), writer }
    }

    async fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.writer.write_all(line).await?;
        if !line.ends_with(b"\n") {
            self.writer.write_all(b"\n").await?;
        }
        self.writer.flush().await
    }
}

/// What the next owner has to be told.
struct Session<O> {
    output: O,
    initialize: Option<Value>,
    initialized: Option<Vec<u8>>,
    in_flight: Vec<(Value, Vec<u8>)>,
}

impl<O: AsyncWrite + Unpin> Session<O> {
    /// Remembers what a new owner would need of a client's message.
    fn note(&mut self, line: &[u8]) {
        // What is not JSON is forwarded all the same: the owner says what is wrong with it.
        let Ok(message) = serde_json::from_slice::<Value>(line) else { return };
        match message["method"].as_str() {
            Some("initialize") => self.initialize = Some(message.clone()),
            Some("notifications/initialized") => self.initialized = Some(line.to_vec()),
            Some("notifications/cancelled") => {
                let cancelled = &message["params"]["requestId"];
                self.in_flight.retain(|(id, _)| id != cancelled);
            }
            _ => {}
        }
        if let (Some(id), Some(_)) = (message.get("id"), message.get("method"))
            && self.in_flight.len() < IN_FLIGHT_MAX
        {
            self.in_flight.push((id.clone(), line.to_vec()));
        }
    }

    /// Gives the client a message of the owner.
    async fn forward(&mut self, line: &[u8]) -> io::Result<()> {
        if let Ok(message) = serde_json::from_slice::<Value>(line)
            && message.get("method").is_none()
        {
            if message["id"] == REPEATED {
                return Ok(());
            }
            self.in_flight.retain(|(id, _)| *id != message["id"]);
        }
        self.output.write_all(line).await?;
        self.output.flush().await
    }

    /// Finds the next owner and brings it to where the last one was.
    async fn move_on(
        &mut self,
        connect: &mut impl AsyncFnMut() -> Result<BoxedStream, String>,
    ) -> Result<Owner, BridgeError> {
        tracing::info!("the index's owner ended: looking for the next one");
        let mut reason = String::new();
        for attempt in 0..10u32 {
            tokio::time::sleep(Duration::from_millis(20 << attempt.min(5))).await;
            match connect().await {
                Ok(stream) => {
                    let mut owner = Owner::over(stream);
                    if self.replay(&mut owner).await.is_ok() {
                        return Ok(owner);
                    }
                    reason = "the next owner ended at once".to_owned();
                }
                Err(error) => reason = error,
            }
        }
        Err(BridgeError::Owner(reason))
    }

    async fn replay(&mut self, owner: &mut Owner) -> io::Result<()> {
        if let Some(initialize) = &self.initialize {
            let answered = !self.in_flight.iter().any(|(id, _)| *id == initialize["id"]);
            if answered {
                let mut again = initialize.clone();
                again["id"] = Value::from(REPEATED);
                owner.send(again.to_string().as_bytes()).await?;
                // The server takes nothing else before it has answered.
                let mut hello = Vec::new();
                owner.reader.read_until(b'\n', &mut hello).await?;
                if hello.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        if let Some(initialized) = &self.initialized {
            owner.send(initialized).await?;
        }
        for (_, line) in &self.in_flight {
            owner.send(line).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::io::duplex;

    /// An owner that answers every request with its own number, except that the first one dies on `die`.
    fn owner(number: u32, heard: Arc<Mutex<Vec<String>>>) -> BoxedStream {
        let (near, far) = duplex(1 << 16);
        tokio::spawn(async move {
            let (reader, mut writer) = tokio::io::split(far);
            let mut lines = BufReader::new(reader).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let message: Value = serde_json::from_str(&line).unwrap();
                let method = message["method"].as_str().unwrap_or_default().to_owned();
                heard.lock().unwrap().push(format!("{number}:{method}"));
                if method == "die" && number == 1 {
                    return;
                }
                if let Some(id) = message.get("id") {
                    let reply = format!("{}\n", serde_json::json!({"jsonrpc": "2.0", "id": id, "result": number}));
                    writer.write_all(reply.as_bytes()).await.unwrap();
                }
            }
        });
        Box::new(near)
    }

    #[tokio::test]
    async fn a_client_does_not_notice_that_the_owner_changed() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut number = 0;
        let input = concat!(
            "{\"id\":1,\"method\":\"initialize\"}\n",
            "{\"method\":\"notifications/initialized\"}\n",
            "{\"id\":2,\"method\":\"die\"}\n",
        );
        let (mut client, near) = duplex(1 << 16);
        client.write_all(input.as_bytes()).await.unwrap();
        let told = Arc::clone(&heard);
        let connect = async move || {
            number += 1;
            Ok(owner(number, Arc::clone(&told)))
        };
        let (reader, writer) = tokio::io::split(near);
        let bridge = tokio::spawn(run(reader, writer, connect));
        let mut replies = BufReader::new(&mut client).lines();
        let first: Value = serde_json::from_str(&replies.next_line().await.unwrap().unwrap()).unwrap();
        let second: Value = serde_json::from_str(&replies.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!((first["id"].as_i64(), first["result"].as_i64()), (Some(1), Some(1)));
        assert_eq!((second["id"].as_i64(), second["result"].as_i64()), (Some(2), Some(2)));
        client.shutdown().await.unwrap();
        bridge.await.unwrap().unwrap();
        let heard = heard.lock().unwrap();
        assert_eq!(
            heard[heard.len() - 3..],
            ["2:initialize", "2:notifications/initialized", "2:die"].map(String::from),
            "{heard:?}"
        );
    }

    #[tokio::test]
    async fn without_any_owner_the_reason_is_told() {
        let error = run(tokio::io::empty(), tokio::io::sink(), async || Err("locked".to_owned())).await.unwrap_err();
        assert_eq!(error.to_string(), "locked");
    }
}
