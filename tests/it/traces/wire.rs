//! Wire: MCP over HTTP by hand, for headers that no client library sets.

use std::time::Duration;

use serde_json::{Value, json};

/// An open session.
pub(crate) struct Session {
    agent: ureq::Agent,
    url: String,
    id: String,
}

impl Session {
    pub(crate) fn open(address: &str) -> Self {
        let agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().into();
        let mut session = Self { agent, url: format!("http://{address}/mcp"), id: String::new() };
        let client = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "wire", "version": "1"}});
        let (id, _) = session.post(&[], &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": client}));
        session.id = id.expect("a session has an id");
        session.post(&[], &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        session
    }

    fn post(&self, headers: &[(&str, &str)], message: &Value) -> (Option<String>, String) {
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if !self.id.is_empty() {
            request = request.header("mcp-session-id", &self.id).header("mcp-protocol-version", "2025-06-18");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send(message.to_string()).expect("conexusd answers");
        let id = response.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        (id, response.body_mut().read_to_string().expect("the answer is text"))
    }

    /// Searches, as part of a caller's trace given in a header or in the message.
    pub(crate) fn search(&self, query: &str, header: Option<&str>, meta: Option<&str>) {
        let mut params = json!({"name": "context_search", "arguments": {"query": query}});
        if let Some(parent) = meta {
            params["_meta"] = json!({"traceparent": parent});
        }
        let headers: Vec<(&str, &str)> = header.into_iter().map(|parent| ("traceparent", parent)).collect();
        let (_, answer) =
            self.post(&headers, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}));
        assert!(answer.contains("\"isError\":false"), "{answer}");
    }
}
