//! Wire: MCP over HTTP by hand, for what no client library would send.

use std::time::Duration;

use serde_json::{Value, json};

/// A session by the handshake of revision 2025-06-18.
#[derive(Clone, Debug)]
pub struct Wire {
    url: String,
    headers: Vec<(String, String)>,
}

impl Wire {
    /// Posts to the server at `host:port`, with these headers each time. No handshake yet.
    pub fn to(address: &str, headers: &[(&str, &str)]) -> Self {
        let own = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { url: format!("http://{address}/mcp"), headers: own }
    }

    /// Does the handshake: what is posted after it belongs to the session.
    pub fn open(mut self) -> Self {
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "wire", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": "open", "method": "initialize", "params": params});
        let (status, session, text) = self.send(body.to_string().as_bytes()).expect("the server answers");
        assert_eq!(status, 200, "{text}");
        self.headers.push(("mcp-session-id".to_owned(), session.expect("a session has an id")));
        self.headers.push(("mcp-protocol-version".to_owned(), "2025-06-18".to_owned()));
        let body = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.send(body.to_string().as_bytes()).expect("the server answers");
        self
    }

    /// Posts bytes: the status and the body of the answer. A connection that breaks is an error.
    pub fn post(&self, body: &[u8]) -> anyhow::Result<(u16, String)> {
        self.send(body).map(|(status, _, text)| (status, text))
    }

    /// Posts a request.
    pub fn ask(&self, id: u64, method: &str, params: &Value) -> anyhow::Result<(u16, String)> {
        self.post(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string().as_bytes())
    }

    /// Calls a tool.
    pub fn call(&self, id: u64, tool: &str, arguments: &Value) -> anyhow::Result<(u16, String)> {
        self.ask(id, "tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    fn send(&self, body: &[u8]) -> anyhow::Result<(u16, Option<String>, String)> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let mut request = agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut response = request.send(body)?;
        let session = response.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok((response.status().as_u16(), session, response.body_mut().read_to_string()?))
    }
}
