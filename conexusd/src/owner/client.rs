//! A small MCP client: what the command line asks the owner with.
//!
//! It speaks just the messages that it needs, over a stream of lines. It answers the server's pings and ignores other
//! notifications.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, ReadHalf, WriteHalf};

use super::BoxedStream;

/// A connection on which `initialize` is done.
pub struct Client {
    lines: Lines<BufReader<ReadHalf<BoxedStream>>>,
    writer: WriteHalf<BoxedStream>,
    next_id: u64,
}

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection broke.
    #[error("the connection to the index's owner broke: {0}")]
    Io(#[from] io::Error),
    /// The owner ended before it answered.
    #[error("the index's owner ended before it answered")]
    Closed,
    /// An answer that is not MCP.
    #[error("the index's owner answered what is not MCP: {0}")]
    Protocol(String),
    /// A JSON-RPC error.
    #[error("{message}")]
    Rpc {
        /// JSON-RPC's number for it.
        code: i64,
        /// In words.
        message: String,
    },
    /// The tool says why it could not do it.
    #[error("{0}")]
    Tool(String),
}

/// One progress notification.
#[derive(Clone, Debug)]
pub struct Progress {
    /// How much is done.
    pub done: f64,
    /// Of how much, where that is known.
    pub total: Option<f64>,
    /// In words.
    pub message: String,
}

impl Client {
    /// Introduces itself as `name` (`conexusd search`, say).
    pub async fn over(stream: BoxedStream, name: &str) -> Result<Self, ClientError> {
        let (reader, writer) = tokio::io::split(stream);
        let mut client = Self { lines: BufReader::new(reader).lines(), writer, next_id: 1 };
        let hello = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": name, "version": env!("CARGO_PKG_VERSION")},
        });
        client.request("initialize", hello, &mut |_| {}).await?;
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?;
        Ok(client)
    }

    /// Calls a tool and returns its structured content. `on_progress` hears of progress while it runs.
    pub async fn call_tool(
        &mut self,
        name: &str,
        arguments: Value,
        meta: Option<Value>,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<Value, ClientError> {
        let mut meta = meta.unwrap_or_else(|| json!({}));
        meta["progressToken"] = json!(self.next_id);
        let parameters = json!({"name": name, "arguments": arguments, "_meta": meta});
        let mut result = self.request("tools/call", parameters, on_progress).await?;
        if result["isError"] == json!(true) {
            let text = result["content"][0]["text"].as_str().unwrap_or("the tool failed without a word");
            return Err(ClientError::Tool(text.to_owned()));
        }
        match result["structuredContent"].take() {
            Value::Null => Err(ClientError::Protocol(format!("{name} returned no structured content"))),
            content => Ok(content),
        }
    }

    async fn request(
        &mut self,
        method: &str,
        parameters: Value,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<Value, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters})).await?;
        loop {
            let line = self.lines.next_line().await?.ok_or(ClientError::Closed)?;
            let mut message: Value =
                serde_json::from_str(&line).map_err(|error| ClientError::Protocol(error.to_string()))?;
            if message["method"] == "ping" {
                let pong = json!({"jsonrpc": "2.0", "id": message["id"], "result": {}});
                self.send(&pong).await?;
            } else if message["method"] == "notifications/progress" {
                let progress = &message["params"];
                on_progress(Progress {
                    done: progress["progress"].as_f64().unwrap_or_default(),
                    total: progress["total"].as_f64(),
                    message: progress["message"].as_str().unwrap_or_default().to_owned(),
                });
            } else if message["id"] == json!(id) {
                return match message.get("error") {
                    Some(error) => Err(ClientError::Rpc {
                        code: error["code"].as_i64().unwrap_or_default(),
                        message: error["message"].as_str().unwrap_or("an error without a message").to_owned(),
                    }),
                    None => Ok(message["result"].take()),
                };
            }
        }
    }

    async fn send(&mut self, message: &Value) -> Result<(), ClientError> {
        let mut line = message.to_string();
        line.push('\n');
        self.writer.write_all(line.as_bytes()).await?;
        self.writer.flush().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, duplex};

    /// Answers each line with the next of `replies` (`ID` stands for the request's id), then closes.
    async fn scripted(replies: Vec<&'static str>) -> Result<Value, ClientError> {
        let (near, far) = duplex(1 << 16);
        tokio::spawn(async move {
            let (reader, mut writer) = tokio::io::split(far);
            let mut lines = BufReader::new(reader).lines();
            for reply in replies {
                let Ok(Some(line)) = lines.next_line().await else { return };
                let request: Value = serde_json::from_str(&line).unwrap();
                if reply.is_empty() {
                    continue;
                }
                let reply = reply.replace("ID", &request["id"].to_string());
                writer.write_all(reply.as_bytes()).await.unwrap();
                writer.write_all(b"\n").await.unwrap();
            }
            // A pong may still come. Only the end of the answers is the end.
            writer.shutdown().await.unwrap();
            let _ = lines.into_inner().read_to_end(&mut Vec::new()).await;
        });
        let mut client = Client::over(Box::new(near), "test").await?;
        let mut seen = 0;
        let content = client.call_tool("t", json!({}), None, &mut |_| seen += 1).await?;
        assert_eq!(seen, 1);
        Ok(content)
    }

    const HELLO: &str = r#"{"jsonrpc":"2.0","id":ID,"result":{}}"#;

    #[tokio::test]
    async fn a_result_comes_after_progress_and_pings() {
        let result = scripted(vec![
            HELLO,
            "",
            "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":1}}\n{\"jsonrpc\":\"2.0\",\"id\":\"s\",\"method\":\"ping\"}\n{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{\"structuredContent\":{\"a\":1}}}",
        ])
        .await;
        assert_eq!(result.unwrap(), json!({"a": 1}));
    }

    #[tokio::test]
    async fn a_tool_s_failure_is_told_in_its_own_words() {
        let reply =
            r#"{"jsonrpc":"2.0","id":ID,"result":{"isError":true,"content":[{"type":"text","text":"no such path"}]}}"#;
        let error = scripted(vec![HELLO, "", reply]).await.unwrap_err();
        assert_eq!(error.to_string(), "no such path");
    }

    #[tokio::test]
    async fn an_end_of_the_owner_is_an_error() {
        assert!(matches!(scripted(vec![HELLO, ""]).await.unwrap_err(), ClientError::Closed));
    }
}
