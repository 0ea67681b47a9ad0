use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;
use crate::mcp::fixture;
use crate::telemetry::Telemetry;

/// A server on a free port.
struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

async fn start(options: HttpOptions) -> Running {
    start_reporting(options, Telemetry::detached()).await
}

async fn start_reporting(options: HttpOptions, telemetry: Telemetry) -> Running {
    let folder = fixture::folder();
    let services = fixture::services(folder.path(), telemetry);
    let bound = bind("127.0.0.1", 0).await.unwrap();
    let (address, stop) = (bound.address(), CancellationToken::new());
    let served = {
        let stop = stop.clone();
        tokio::spawn(async move { bound.serve(Server::new(services), &options, stop).await })
    };
    Running { address, stop, served, _folder: folder }
}

async fn open_to_all() -> Running {
    start(HttpOptions { allowed_hosts: vec!["localhost".into()], ..HttpOptions::default() }).await
}

/// A response: status, headers in lower case, and either the whole body or a stream still open.
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    stream: BufReader<TcpStream>,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The JSON of a plain body, or the next JSON-RPC message of an event stream.
    async fn json(&mut self) -> Value {
        if let Some(length) = self.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut body).await.unwrap();
            return serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
        }
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(Duration::from_secs(10), self.stream.read_line(&mut line)).await;
            assert!(read.expect("an event in time").unwrap() > 0, "the stream ended");
            if let Some(data) = line.strip_prefix("data: ").filter(|data| data.starts_with('{')) {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

impl Running {
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        let given = |name: &str| headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
        let host = self.address.to_string();
        let length = body.len().to_string();
        let default = [
            ("host", host.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("content-length", length.as_str()),
        ];
        for (name, value) in default.iter().filter(|(name, _)| !given(name)).chain(headers) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status: {line:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
                None => break,
            }
        }
        Reply { status, headers, stream }
    }

    async fn post(&self, headers: &[(&str, &str)], message: &Value) -> Reply {
        self.send("POST", "/mcp", headers, &message.to_string()).await
    }

    /// Opens a session and returns its id.
    async fn session(&self, headers: &[(&str, &str)]) -> String {
        let mut reply = self.post(headers, &initialize()).await;
        assert_eq!(reply.status, 200);
        let id = reply.header("mcp-session-id").unwrap().to_owned();
        assert_eq!(reply.json().await["result"]["serverInfo"]["name"], "conexus");
        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let all = [headers, &[("mcp-session-id", id.as_str())]].concat();
        assert_eq!(self.post(&all, &done).await.status, 202);
        id
    }

    async fn end(self) -> Duration {
        let started = Instant::now();
        self.stop.cancel();
        self.served.await.unwrap();
        started.elapsed()
    }
}

fn initialize() -> Value {
    let client = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
}

fn call(id: u64, tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}

#[tokio::test]
async fn a_session_asks_and_ends() {
    let server = open_to_all().await;
    let id = server.session(&[]).await;
    let session = [("mcp-session-id", id.as_str()), ("mcp-protocol-version", "2025-06-18")];
    let mut reply = server.post(&session, &call(2, "context_search", json!({"query": "retry"}))).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let answer = reply.json().await;
    assert_eq!(answer["result"]["structuredContent"]["results"][0]["path"], "src/client.rs", "{answer}");
    let mut gone = server.post(&session, &call(3, "no.such", json!({}))).await;
    assert_eq!(gone.json().await["error"]["code"], -32602);
    assert_eq!(server.send("DELETE", "/mcp", &session, "").await.status, 204);
    assert_eq!(server.post(&session, &call(4, "context_search", json!({"query": "x"}))).await.status, 404);
    assert!(server.end().await < Duration::from_secs(2));
}

#[tokio::test]
async fn what_is_no_message_gets_a_json_rpc_error() {
    let server = open_to_all().await;
    let check = async |body: &str, status: u16, code: i32, id: Value| {
        let mut reply = server.send("POST", "/mcp", &[], body).await;
        let answer = reply.json().await;
        let found = (reply.status, &answer["error"]["code"], &answer["id"]);
        assert_eq!(found, (status, &json!(code), &id), "{body}: {answer}");
    };
    check("{nonsense", 400, -32700, Value::Null).await;
    check("", 400, -32700, Value::Null).await;
    check(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, 400, -32600, Value::Null).await;
    check(r#"{"jsonrpc":"2.0","id":2,"method":"no/such"}"#, 200, -32601, json!(2)).await;
    check(r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":7}}"#, 200, -32602, json!(3)).await;
    check(&"x".repeat(BODY_BYTES_MAX + 1), 413, -32600, Value::Null).await;
    let modern = [("mcp-protocol-version", "2026-07-28")];
    let text = r#"{"jsonrpc":"2.0","id":2,"method":"no/such"}"#;
    assert_eq!(server.send("POST", "/mcp", &modern, text).await.status, 404);
    let removed = r#"{"jsonrpc":"2.0","id":2,"method":"initialize","params":{}}"#;
    let mut reply = server.send("POST", "/mcp", &modern, removed).await;
    assert_eq!((reply.status, &reply.json().await["error"]["code"]), (404, &json!(-32601)));
    let bad_accept = server.send("POST", "/mcp", &[("accept", "text/html")], &initialize().to_string()).await;
    assert_eq!(bad_accept.status, 406);
}

/// What a refused message is answered, and which method its trace names.
struct Refused<'a> {
    headers: Vec<(&'a str, &'a str)>,
    body: &'a str,
    answer: (u16, i32, Value),
    says: &'a [&'a str],
    span: (&'a str, &'a str),
}

#[tokio::test]
async fn what_is_refused_is_told_why_in_json_rpc_and_continues_its_callers_trace() {
    let (telemetry, capture) = Telemetry::captured(&crate::telemetry::TelemetryOptions::default());
    let options = HttpOptions { allowed_hosts: vec!["localhost".into()], ..HttpOptions::default() };
    let server = start_reporting(options, telemetry).await;
    let id = server.session(&[]).await;
    let session = ("mcp-session-id", id.as_str());
    let gone = ("mcp-session-id", "ghp_aB3dE6gH1jK0mN2pQ5sT8vW4xY7zC9fRaB3d");
    let ping = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;
    let pinged = ("mcp.ping", "ping");
    let refused =
        |headers, status, says| Refused { headers, body: ping, answer: (status, -32600, json!(7)), says, span: pinged };
    let discover = r#"{"jsonrpc":"2.0","id":8,"method":"server/discover"}"#;
    let cases = [
        refused(vec![session, ("accept", "text/html")], 406, &["Accept", "application/json and text/event-stream"]),
        refused(vec![session, ("content-type", "text/plain")], 415, &["Content-Type", "application/json"]),
        refused(vec![], 400, &["Mcp-Session-Id", "send initialize"]),
        refused(vec![gone], 404, &["Mcp-Session-Id", "send initialize"]),
        refused(
            vec![session, ("mcp-protocol-version", "1999-01-01")],
            400,
            &["`1999-01-01`", "2025-06-18", "2026-07-28"],
        ),
        Refused {
            body: r#"{"jsonrpc":"2.0","id":8,"method":"no/such"}"#,
            answer: (200, -32601, json!(8)),
            span: ("mcp.other", "no/such"),
            ..refused(vec![session], 0, &["no/such", "server/discover (protocol version 2026-07-28)"])
        },
        Refused {
            body: discover,
            answer: (200, -32602, json!(8)),
            span: ("mcp.server/discover", "server/discover"),
            ..refused(
                vec![session, ("mcp-protocol-version", "2025-06-18")],
                0,
                &["protocol version 2026-07-28", "_meta"],
            )
        },
        Refused {
            body: "{nonsense",
            answer: (400, -32700, Value::Null),
            span: ("mcp.other", ""),
            ..refused(vec![session], 0, &["not valid JSON"])
        },
        Refused {
            answer: (403, -32001, Value::Null),
            span: ("mcp.other", ""),
            ..refused(vec![("host", "evil.example.com")], 0, &["evil.example.com"])
        },
    ];
    capture.records();
    for (at, case) in cases.iter().enumerate() {
        let trace = format!("0af7651916cd43dd8448eb211c8031{at:02x}");
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        let headers = [&case.headers[..], &[("traceparent", parent.as_str())]].concat();
        let mut reply = server.send("POST", "/mcp", &headers, case.body).await;
        assert_eq!(reply.header("content-type"), Some("application/json"), "{:?}", case.says);
        let answer = reply.json().await;
        let found = (reply.status, answer["error"]["code"].as_i64().unwrap() as i32, answer["id"].clone());
        assert_eq!(found, case.answer, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(case.says.iter().all(|part| message.contains(part)), "{:?} in {message}", case.says);
        let spans = capture.spans();
        let [root] = &spans[..] else { panic!("{spans:#?}") };
        let hex: String = root.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((hex, root.parent_span_id), (trace, 0x00f0_67aa_0ba9_02b7), "{root:#?}");
        let said = format!("{root:?}");
        assert_eq!(root.name, case.span.0);
        assert!(root.error && root.error_message == message, "{root:#?}");
        assert!(said.contains("network.transport") && said.contains("\"tcp\""), "{root:#?}");
        assert_eq!(said.contains("mcp.method.name"), !case.span.1.is_empty(), "{root:#?}");
        assert!(said.contains(case.span.1) && !said.contains("ghp_"), "{root:#?}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_json_rpc_too() {
    let server = open_to_all().await;
    let id = server.session(&[]).await;
    let session = ("mcp-session-id", id.as_str());
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    for (method, headers, body, status, says) in [
        ("POST", &[("mcp-session-id", "none")][..], note, 404, "send initialize"),
        ("GET", &[session, ("accept", "text/html")], "", 406, "text/event-stream"),
        ("GET", &[], "", 400, "Mcp-Session-Id"),
        ("DELETE", &[], "", 400, "Mcp-Session-Id"),
        ("PUT", &[session], "", 405, "PUT is not possible"),
    ] {
        let mut reply = server.send(method, "/mcp", headers, body).await;
        assert_eq!((reply.status, reply.header("content-type")), (status, Some("application/json")), "{method}");
        assert_eq!(reply.header("allow"), (status == 405).then_some("GET, POST, DELETE"));
        let answer = reply.json().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(-32600)), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(says), "{answer}");
    }
}

#[tokio::test]
async fn strangers_stay_out_and_probes_come_in() {
    let token = AccessToken { name: "ci".into(), secret: "s3cret".into() };
    let server = start(HttpOptions {
        allowed_hosts: vec!["localhost".into()],
        allowed_origins: vec!["https://app.example.com".into()],
        tokens: Some(vec![token]),
    })
    .await;
    let good = ("authorization", "Bearer s3cret");
    let status = async |headers: &[(&str, &str)]| server.post(headers, &initialize()).await.status;
    assert_eq!(status(&[]).await, 401);
    assert_eq!(status(&[("authorization", "Bearer wrong")]).await, 401);
    assert_eq!(status(&[good]).await, 200);
    assert_eq!(status(&[good, ("host", "evil.example.com")]).await, 403);
    assert_eq!(status(&[good, ("origin", "http://evil.example.com")]).await, 403);
    let reply = server.post(&[], &initialize()).await;
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"conexus\""));
    let told = server.post(&[], &initialize()).await.json().await;
    assert!(told["error"]["message"].as_str().unwrap().contains("the scheme `Bearer`"), "{told}");
    let page = [good, ("origin", "https://app.example.com")];
    let reply = server.post(&page, &initialize()).await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.example.com"));
    let preflight = server.send("OPTIONS", "/mcp", &page[1..], "").await;
    assert_eq!((preflight.status, preflight.header("access-control-max-age")), (204, Some("600")));
    assert_eq!(server.send("OPTIONS", "/mcp", &[("origin", "http://evil.com")], "").await.status, 403);
    for path in ["/health", "/healthz", "/readyz"] {
        let mut reply = server.send("GET", path, &[("host", "10.1.2.3")], "").await;
        let health = reply.json().await;
        assert_eq!((reply.status, &health["status"]), (200, &json!("ok")), "{path}");
        assert_eq!(health["index"], json!({"documents": 9, "files": 3, "phase": "idle", "last_error": null}));
        assert_eq!(health["telemetry"], json!({"connected": false, "dropped": 0}));
        assert!(health["uptime_seconds"].as_f64().unwrap() >= 0.0 && health["version"].is_string());
    }
}

#[tokio::test]
async fn cancelling_over_http_ends_a_waiting_call() {
    let server = open_to_all().await;
    let id = server.session(&[]).await;
    let session = [("mcp-session-id", id.as_str())];
    let mut wait = call(5, "context_index_control", json!({"action": "start"}));
    wait["params"]["_meta"] = json!({"progressToken": "t"});
    let mut waiting = server.post(&session, &wait).await;
    assert_eq!(waiting.json().await["method"], "notifications/progress");
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    assert_eq!(server.post(&session, &cancel).await.status, 202);
    let mut rest = String::new();
    let last_chunk = async {
        while !rest.ends_with("\r\n0\r\n") {
            assert!(waiting.stream.read_line(&mut rest).await.unwrap() > 0);
        }
    };
    tokio::time::timeout(Duration::from_secs(1), last_chunk).await.expect("the stream ends");
    assert!(!rest.contains("\"result\""), "{rest}");
}

#[tokio::test]
async fn open_streams_and_slow_clients_do_not_hold_the_end_up() {
    let server = open_to_all().await;
    let id = server.session(&[]).await;
    let session = [("mcp-session-id", id.as_str())];
    let listening = server.send("GET", "/mcp", &session, "").await;
    assert_eq!((listening.status, listening.header("content-type")), (200, Some("text/event-stream")));
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{").await.unwrap();
    let mut wait = call(5, "context_index_control", json!({"action": "start"}));
    wait["params"]["_meta"] = json!({"progressToken": "t"});
    let mut waiting = server.post(&session, &wait).await;
    waiting.json().await;
    let taken = server.end().await;
    assert!(taken < Duration::from_secs(2), "{taken:?}");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_end() {
    let server = open_to_all().await;
    let id = server.session(&[]).await;
    let slow = call(9, "context_grep", json!({"pattern": "retry"}));
    let mut reply = server.post(&[("mcp-session-id", id.as_str())], &slow).await;
    let ending = tokio::spawn(server.end());
    assert_eq!(reply.json().await["result"]["structuredContent"]["total_count"], 1);
    assert!(ending.await.unwrap() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_key() {
    let first = bind("127.0.0.1", 0).await.unwrap();
    let port = first.address().port();
    let error = bind("127.0.0.1", port).await.unwrap_err().to_string();
    assert!(error.contains(&port.to_string()) && error.contains("server.port"), "{error}");
    let error = bind("no-such-host.invalid", 1).await.unwrap_err().to_string();
    assert!(error.contains("no-such-host.invalid") && error.contains("server.host"), "{error}");
}

#[tokio::test]
async fn too_many_requests_are_told_to_come_back() {
    let folder = fixture::folder();
    let services = fixture::services(folder.path(), Telemetry::detached());
    let server = Server::new(services);
    let desk = server.desk();
    let ping = || Asked::new(facts::Method::Ping, "ping", None);
    let taken: Vec<_> =
        (0..crate::mcp::REQUESTS_MAX).map(|_| desk.take(ping()).map_err(|error| error.message).unwrap()).collect();
    let refused = desk.take(ping()).err().unwrap();
    assert_eq!(refused.code.0, -32000);
    drop(taken);
    assert!(desk.take(ping()).is_ok());
}
