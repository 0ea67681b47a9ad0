use std::time::{Duration, Instant};

use conexus_proto::v1;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};

use super::*;
use crate::mcp::fixture;
use crate::telemetry::Telemetry;

/// A client that writes and reads lines.
struct Client {
    write: WriteHalf<DuplexStream>,
    read: BufReader<ReadHalf<DuplexStream>>,
    served: tokio::task::JoinHandle<Result<StreamEnd, StreamError>>,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Client {
    fn connect() -> Self {
        let folder = fixture::folder();
        Self::over(fixture::services(folder.path(), Telemetry::detached()), folder)
    }

    fn over(services: Arc<crate::app::Services>, folder: tempfile::TempDir) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (read, write) = tokio::io::split(far);
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(Server::new(services), read, write, stop.clone()));
        let (read, write) = tokio::io::split(near);
        Self { write, read: BufReader::new(read), served, stop, _folder: folder }
    }

    async fn open() -> Self {
        let mut client = Self::connect();
        let answer = client.ask(1000, "initialize", initialize("2025-11-25")).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
        client.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        client
    }

    async fn send_text(&mut self, text: &str) {
        self.write.write_all(text.as_bytes()).await.unwrap();
        self.write.write_all(b"\n").await.unwrap();
    }

    async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    async fn request(&mut self, id: impl Into<Value>, method: &str, params: Value) {
        self.send(json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})).await;
    }

    async fn receive(&mut self) -> Value {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(10), self.read.read_line(&mut line)).await;
        assert!(read.expect("an answer in time").unwrap() > 0, "the stream ended");
        serde_json::from_str(&line).unwrap()
    }

    async fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.request(id, method, params).await;
        let answer = self.receive().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    async fn call(&mut self, id: u64, tool: &str, arguments: Value) -> Value {
        self.ask(id, "tools/call", json!({"name": tool, "arguments": arguments})).await
    }
}

fn initialize(version: &str) -> Value {
    json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}})
}

#[tokio::test]
async fn versions_are_negotiated_from_the_newest_down() {
    for (asked, agreed) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("1999-01-01", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
    ] {
        let mut client = Client::connect();
        let answer = client.ask(1, "initialize", initialize(asked)).await;
        assert_eq!(answer["result"]["protocolVersion"], agreed, "{asked}");
        assert_eq!(answer["result"]["serverInfo"]["name"], "conexus");
    }
    // From 2026-07-28 on there is no handshake: each request says its version.
    let mut client = Client::connect();
    let meta = json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }});
    let answer = client.ask(1, "server/discover", meta.clone()).await;
    let versions = answer["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")) && versions.contains(&json!("2025-03-26")), "{answer}");
    let answer = client.ask(2, "tools/list", meta).await;
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_the_stream_goes_on() {
    let mut client = Client::open().await;
    let cases = [
        ("{nonsense", -32700, Value::Null),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600, Value::Null),
        ("7", -32600, Value::Null),
        (r#"{"jsonrpc":"2.0","id":3}"#, -32600, json!(3)),
        (r#"{"jsonrpc":"2.0","id":4,"method":"no/such"}"#, -32601, json!(4)),
        (r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"arguments":{}}}"#, -32602, json!(5)),
        (r#"{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"context_explain"}}"#, -32602, json!(6)),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"resources/read","params":{"uri":"engine://file/none"}}"#,
            -32002,
            json!(7),
        ),
        (r#"{"jsonrpc":"2.0","id":8,"method":"resources/list","params":{"cursor":"zzz"}}"#, -32602, json!(8)),
    ];
    for (text, code, id) in cases {
        client.send_text(text).await;
        let answer = client.receive().await;
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &id), "{text}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().len() > 10, "{answer}");
    }
    let long = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"{}"}}"#, "x".repeat(5 << 20));
    client.send_text(&long).await;
    assert_eq!(client.receive().await["error"]["code"], -32600);
    assert_eq!(client.ask(10, "ping", json!({})).await["result"], json!({}));
}

#[tokio::test]
async fn notifications_get_no_reply() {
    let mut client = Client::connect();
    for text in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
        r#"{"jsonrpc":"2.0","method":"no/such"}"#,
        r#"{"jsonrpc":"2.0","id":5,"result":{}}"#,
    ] {
        client.send_text(text).await;
    }
    assert_eq!(client.ask(1, "ping", json!({})).await["result"], json!({}), "before the handshake");
    client.ask(2, "initialize", initialize("2025-06-18")).await;
    for text in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":[]}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"context_search"}}"#,
        r#"{"jsonrpc":"2.0","id":77,"error":{"code":1,"message":"x"}}"#,
    ] {
        client.send_text(text).await;
    }
    assert_eq!(client.ask(3, "ping", json!({})).await["result"], json!({}));
}

#[tokio::test]
async fn a_request_before_the_handshake_is_told_to_initialize() {
    let mut client = Client::connect();
    let answer = client.ask(1, "tools/list", json!({})).await;
    assert_eq!(answer["error"]["code"], -32600);
    assert!(answer["error"]["message"].as_str().unwrap().contains("initialize"), "{answer}");
    let answer = client.ask(2, "initialize", json!({"protocolVersion": 5})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert!(client.ask(3, "initialize", initialize("2025-06-18")).await["result"].is_object());
}

#[tokio::test]
async fn searches_answer_in_text_and_structure_by_both_names() {
    let mut client = Client::open().await;
    for name in ["context_search", "context.search"] {
        let answer = client.call(1, name, json!({"query": "retry", "top_k": 1.0})).await;
        let result = &answer["result"];
        assert_eq!(result["isError"], false, "{answer}");
        assert_eq!(result["structuredContent"]["results"][0]["path"], "src/client.rs");
        assert_eq!(result["structuredContent"]["index"]["pending"], 2);
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("src/client.rs:1-4  function retry_with_backoff"), "{text}");
    }
    for query in ["\"'`;--", "🦀🚀", "?!*", &"long words ".repeat(1000)] {
        let answer = client.call(2, "context_search", json!({"query": query})).await;
        assert_eq!(answer["result"]["isError"], false, "{query}: {answer}");
    }
}

#[tokio::test]
async fn bad_arguments_and_failures_are_error_results() {
    let mut client = Client::open().await;
    let check = async |client: &mut Client, tool: &str, arguments: Value, says: &[&str]| {
        let answer = client.call(1, tool, arguments).await;
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        let text = answer["result"]["content"][0]["text"].as_str().unwrap();
        for part in says {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    };
    let client = &mut client;
    check(client, "context_search", json!({}), &["query: is required and missing"]).await;
    let many = json!({"query": "", "top_k": 1000, "filters": {"date_range": {"from": "soon"}}, "quer": 1});
    check(
        client,
        "context_search",
        many,
        &["arguments for", "query: is empty", "top_k: 1000", "date_range.from", "quer:"],
    )
    .await;
    check(client, "context_search", json!({"query": "fail"}), &["context_search failed", "cannot be read"]).await;
    check(client, "context_search", json!({"query": "panic"}), &["context_search failed: it ended unexpectedly"]).await;
    check(client, "context_grep", json!({"pattern": "a("}), &["pattern:", "unclosed group"]).await;
    check(client, "context_grep", json!({"pattern": "a", "path": "../x"}), &["path:", "leads out of the root"]).await;
    check(client, "context_index_control", json!({"action": "go"}), &["action: \"go\"", "force_reindex"]).await;
    check(client, "context_index_control", json!({"action": "reindex_paths"}), &["paths: is required"]).await;
    let outside = json!({"action": "reindex_paths", "paths": ["src", "/etc/passwd"]});
    check(client, "context_index_control", outside, &["paths[1]: `/etc/passwd` leads out"]).await;
    check(client, "context_index_control", json!({"action": "stop", "paths": ["a"]}), &["only for reindex_paths"])
        .await;
}

#[tokio::test]
async fn grep_answers_with_context_in_order() {
    let mut client = Client::open().await;
    let answer = client.call(1, "context_grep", json!({"pattern": "(?i)retr", "context": 1})).await;
    let found = &answer["result"]["structuredContent"];
    assert_eq!((&found["total_count"], &found["truncated"]), (&json!(2), &json!(false)), "{answer}");
    assert_eq!(
        found["results"][0],
        json!({
            "file": "docs/guide.md", "line": 3, "content": "\nHow retries work.", "match": "retr",
        })
    );
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(
        text.contains("src/client.rs\n1-/// Connects again.\n2:pub fn retry_with_backoff() {\n3-    sleep();\n"),
        "{text}"
    );
}

#[tokio::test]
async fn runs_are_started_watched_refused_and_stopped() {
    let mut client = Client::open().await;
    let state = |answer: &Value| answer["result"]["structuredContent"].clone();
    let idle = state(&client.call(1, "context_index_control", json!({"action": "status"})).await);
    assert_eq!((&idle["running"], &idle["phase"]), (&json!(false), &json!("idle")));
    let started = state(&client.call(2, "context_index_control", json!({"action": "force_reindex"})).await);
    assert_eq!(started["running"], true);
    let joined = state(&client.call(3, "context_index_control", json!({"action": "start"})).await);
    assert!(joined["message"].as_str().unwrap().contains("already in progress"), "{joined}");
    let paths = json!({"action": "reindex_paths", "paths": ["src"]});
    let refused = client.call(4, "context_index_control", paths.clone()).await;
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    let stopped = state(&client.call(5, "context_index_control", json!({"action": "stop"})).await);
    assert_eq!((&stopped["running"], &stopped["outcome"]), (&json!(false), &json!("stopped")));
    let again = state(&client.call(6, "context_index_control", paths).await);
    assert_eq!(again["running"], true);
}

#[tokio::test]
async fn a_call_with_a_progress_token_waits_and_reports() {
    let mut client = Client::open().await;
    let params =
        json!({"name": "context_index_control", "arguments": {"action": "start"}, "_meta": {"progressToken": "p1"}});
    client.request(1, "tools/call", params).await;
    let mut progress = Vec::new();
    let answer = loop {
        let message = client.receive().await;
        if message["method"] == "notifications/progress" {
            assert_eq!(message["params"]["progressToken"], "p1");
            progress.push(message["params"]["progress"].as_f64().unwrap());
        } else {
            break message;
        }
    };
    assert!(progress.len() >= 3 && progress.is_sorted_by(|a, b| a < b), "{progress:?}");
    assert_eq!(answer["result"]["structuredContent"]["outcome"], "completed", "{answer}");
}

#[tokio::test]
async fn cancelling_ends_the_waiting_without_an_answer() {
    let mut client = Client::open().await;
    let wait =
        json!({"name": "context_index_control", "arguments": {"action": "start"}, "_meta": {"progressToken": 1}});
    client.request("wait", "tools/call", wait).await;
    client.request("slow", "tools/call", json!({"name": "context_search", "arguments": {"query": "slow"}})).await;
    assert_eq!(client.receive().await["method"], "notifications/progress");
    for id in ["wait", "slow"] {
        client.send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})).await;
    }
    client.request("after", "ping", json!({})).await;
    loop {
        let message = client.receive().await;
        if message["method"] != "notifications/progress" {
            assert_eq!(message["id"], "after", "{message}");
            break;
        }
    }
    // An id is free again once its request was cancelled.
    client.request("wait", "ping", json!({})).await;
    assert_eq!(client.receive().await["id"], "wait");
    client.write.shutdown().await.unwrap();
    let mut rest = String::new();
    tokio::time::timeout(Duration::from_secs(20), client.read.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, "", "nothing comes after all");
}

#[tokio::test]
async fn an_id_in_flight_is_not_taken_twice() {
    let mut client = Client::open().await;
    let slow = json!({"name": "context_search", "arguments": {"query": "slow"}});
    client.request(1, "tools/call", slow).await;
    client.request(1, "ping", json!({})).await;
    let refused = client.receive().await;
    assert_eq!((&refused["error"]["code"], &refused["id"]), (&json!(-32600), &json!(1)), "{refused}");
    assert_eq!(client.receive().await["result"]["isError"], false, "the first one is answered");
}

#[tokio::test]
async fn more_requests_than_places_all_get_answers() {
    let mut client = Client::open().await;
    let Client { write, read, .. } = &mut client;
    let asking = async {
        for id in 0..1000 {
            let line = format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": "ping"}));
            write.write_all(line.as_bytes()).await.unwrap();
        }
    };
    let hearing = async {
        let mut ids = std::collections::HashSet::new();
        while ids.len() < 1000 {
            let mut line = String::new();
            read.read_line(&mut line).await.unwrap();
            let answer: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(answer["result"], json!({}), "{answer}");
            assert!(ids.insert(answer["id"].as_u64().unwrap()));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(asking, hearing) }).await.unwrap();
}

#[tokio::test]
async fn what_was_asked_before_the_end_is_answered() {
    let mut client = Client::open().await;
    client.request(1, "tools/call", json!({"name": "context_search", "arguments": {"query": "slow"}})).await;
    // The last line has no newline.
    client.write.write_all(br#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#).await.unwrap();
    client.write.shutdown().await.unwrap();
    let ids = [client.receive().await["id"].clone(), client.receive().await["id"].clone()];
    assert_eq!(ids, [json!(2), json!(1)]);
    assert_eq!(client.served.await.unwrap().unwrap(), StreamEnd::Closed);
}

#[tokio::test]
async fn stopping_ends_the_stream_soon() {
    let mut client = Client::open().await;
    client.request(1, "tools/call", json!({"name": "context_search", "arguments": {"query": "slow"}})).await;
    client.ask(2, "ping", json!({})).await;
    let started = Instant::now();
    client.stop.cancel();
    assert_eq!(client.served.await.unwrap().unwrap(), StreamEnd::Stopped);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let unopened = Client::connect();
    unopened.stop.cancel();
    assert_eq!(unopened.served.await.unwrap().unwrap(), StreamEnd::Stopped);
}

#[tokio::test]
async fn resources_are_listed_in_pages_and_read_whole() {
    let mut client = Client::open().await;
    for i in 0..600 {
        std::fs::write(client._folder.path().join(format!("many{i:03}.txt")), "x\n").unwrap();
    }
    let first = client.ask(1, "resources/list", json!({})).await["result"].clone();
    let resources = first["resources"].as_array().unwrap();
    assert_eq!((resources.len(), &resources[0]["uri"]), (501, &json!("engine://files/")));
    let next = client.ask(2, "resources/list", json!({"cursor": first["nextCursor"]})).await["result"].clone();
    let rest = next["resources"].as_array().unwrap();
    assert_eq!((rest.len(), next.get("nextCursor")), (103, None));
    let slug = rest.iter().find(|resource| resource["name"] == "src/[slug].tsx").unwrap();
    assert_eq!(slug["uri"], "engine://file/src/%5Bslug%5D.tsx");

    let read = async |client: &mut Client, uri: &str| client.ask(3, "resources/read", json!({"uri": uri})).await;
    let file = read(&mut client, "engine://file/src/%5Bslug%5D.tsx").await;
    assert_eq!(file["result"]["contents"][0]["text"], "export const page = 1;\n");
    std::fs::write(client._folder.path().join("bin.dat"), b"\xff\x00").unwrap();
    assert_eq!(read(&mut client, "engine://file/bin.dat").await["result"]["contents"][0]["blob"], "/wA=");
    let listing = read(&mut client, "engine://files/docs/").await;
    let listing: Value = serde_json::from_str(listing["result"]["contents"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(listing["files"][0]["path"], "docs/guide.md");
    let all = read(&mut client, "engine://files/").await;
    let all: Value = serde_json::from_str(all["result"]["contents"][0]["text"].as_str().unwrap()).unwrap();
    let cursor = all["next_cursor"].as_str().unwrap();
    let page = read(&mut client, &format!("engine://files/?cursor={cursor}")).await;
    let page: Value = serde_json::from_str(page["result"]["contents"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!((page["files"].as_array().unwrap().len(), &page["next_cursor"]), (104, &Value::Null));

    for (uri, code) in [
        ("engine://file/../x", -32602),
        ("engine://file/%2e%2e/x", -32602),
        ("engine://file//etc/passwd", -32602),
        ("engine://file/none.rs", -32002),
        ("engine://file/src", -32002),
        ("engine://file/secret.log", -32002),
        ("engine://file/%zz", -32602),
        ("engine://files/../", -32602),
        ("engine://files/none/", -32002),
        ("file:///etc/passwd", -32002),
        ("", -32002),
    ] {
        let answer = read(&mut client, uri).await;
        assert_eq!(answer["error"]["code"], code, "{uri}: {answer}");
    }
    let templates = client.ask(4, "resources/templates/list", json!({})).await;
    assert_eq!(templates["result"]["resourceTemplates"][0]["uriTemplate"], "engine://file/{+path}");
}

#[tokio::test]
async fn every_request_is_counted_once_traced_and_ended() {
    use conexus_proto::facts::{ErrorType, Fact, Method, SearchType, Status};

    let folder = fixture::folder();
    let (telemetry, capture) = Telemetry::captured(&crate::telemetry::TelemetryOptions::default());
    let mut client = Client::over(fixture::services(folder.path(), telemetry.clone()), folder);
    let early = json!({"_meta": {"traceparent": "00-1af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"}});
    client.ask(10, "ping", early.clone()).await;
    client.ask(11, "no/such", early).await;
    client.ask(1, "initialize", initialize("2025-06-18")).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
    let arguments = json!({"query": "retry"});
    let params = json!({"name": "context.search", "arguments": arguments, "_meta": {"traceparent": parent}});
    client.ask(2, "tools/call", params).await;
    client.call(3, "context_grep", json!({"pattern": "retry"})).await;
    client.call(4, "context_grep", json!({"pattern": "("})).await;
    client.call(5, "context_search", json!({"query": "fail"})).await;
    client.call(6, "no_such_tool", json!({})).await;
    client.ask(7, "no/such/method", json!({})).await;
    client.send_text("{").await;
    client.receive().await;
    client.request(8, "tools/call", json!({"name": "context_search", "arguments": {"query": "slow"}})).await;
    client.send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 8}})).await;
    client.ask(9, "ping", json!({})).await;
    client.write.shutdown().await.unwrap();
    client.served.await.unwrap().unwrap();

    let totals = telemetry.snapshot();
    let started = |method| totals.count(Fact::RequestStarted { method });
    let finished = |method, status| totals.count(Fact::RequestFinished { method, status, nanos: 0 });
    let failed = |method, error| totals.count(Fact::RequestFailed { method, error });
    for &method in Method::ALL {
        let ended = finished(method, Status::Ok) + finished(method, Status::Error);
        assert_eq!(started(method), ended, "{method}: what began has ended");
        let reasons: u64 = ErrorType::ALL.iter().map(|&error| failed(method, error)).sum();
        assert_eq!(finished(method, Status::Error), reasons, "{method}: every failure has one reason");
    }
    assert_eq!((started(Method::Initialize), started(Method::Ping), started(Method::Other)), (1, 2, 4));
    assert_eq!((started(Method::ContextSearch), finished(Method::ContextSearch, Status::Ok)), (3, 1));
    assert_eq!(failed(Method::ContextSearch, ErrorType::Tool), 1);
    assert_eq!(failed(Method::ContextSearch, ErrorType::Cancelled), 1);
    assert_eq!(failed(Method::ContextGrep, ErrorType::InvalidParams), 1);
    assert_eq!(failed(Method::Other, ErrorType::InvalidParams), 1, "an unknown tool");
    assert_eq!(failed(Method::Other, ErrorType::MethodNotFound), 2);
    assert_eq!(failed(Method::Other, ErrorType::Parse), 1);
    assert_eq!(totals.count(Fact::Searched { lane: SearchType::Grep, nanos: 0 }), 2);

    let spans = capture.spans();
    let search = spans.iter().find(|span| span.name == "mcp.search").unwrap();
    assert_eq!(hex(&search.trace_id), "0af7651916cd43dd8448eb211c80319c", "the caller's trace goes on");
    assert!(spans.iter().any(|span| span.name == "mcp.grep") && spans.iter().any(|span| span.name == "grep.search"));
    let roots: Vec<_> = spans.iter().filter(|span| span.root).collect();
    assert_eq!(roots.len(), 11, "each request is a trace, also what is refused; the cancelled one ends with its work");
    assert!(roots.iter().all(|root| root.kind() == v1::SpanKind::Server));
    check(search, &[("method", "context_search"), ("mcp.method.name", "tools/call"), ("jsonrpc.request.id", "2")]);
    check(search, &[("gen_ai.tool.name", "context_search"), ("gen_ai.operation.name", "execute_tool")]);
    check(search, &[("query", "retry"), ("top_k", "20"), ("results", "1"), ("network.transport", "pipe")]);
    let with_id = |id: &str| *roots.iter().find(|root| text(root, "jsonrpc.request.id") == id).unwrap();
    check(with_id("4"), &[("error", "invalid_params"), ("error.type", "tool_error"), ("query", "(")]);
    check(with_id("5"), &[("error", "tool"), ("query", "fail")]);
    check(
        with_id("6"),
        &[("error", "invalid_params"), ("error.type", "-32602"), ("rpc.response.status_code", "-32602")],
    );
    check(with_id("7"), &[("error", "method_not_found"), ("error.type", "-32601")]);
    // Answered before the handshake, one by the protocol library and one by nobody.
    check(with_id("10"), &[("method", "ping"), ("mcp.method.name", "ping"), ("network.transport", "pipe")]);
    check(with_id("11"), &[("method", "other"), ("mcp.method.name", "no/such"), ("network.transport", "pipe")]);
    for id in ["10", "11"] {
        assert_eq!(hex(&with_id(id).trace_id), "1af7651916cd43dd8448eb211c80319c", "{id}");
    }
    assert!(!with_id("10").error && with_id("11").error);
    assert!(with_id("5").error && with_id("5").error_message.contains("cannot be read"));
}

#[tokio::test]
async fn a_secret_that_is_sent_is_neither_recorded_nor_repeated() {
    let folder = fixture::folder();
    let (telemetry, capture) = Telemetry::captured(&crate::telemetry::TelemetryOptions::default());
    let mut client = Client::over(fixture::services(folder.path(), telemetry.clone()), folder);
    client.ask(1, "initialize", initialize("2025-06-18")).await;
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    let long = format!("{} {secret}", "why ".repeat(60));
    let mut answers = vec![];
    for (id, query) in [(2, &secret), (3, &long)] {
        client.call(id, "context_search", json!({"query": query})).await;
    }
    let arguments = json!({"query": "fail", "password": "hunter2", "nested": {"api_key": "k 1"}, "filters": secret});
    answers.push(client.call(4, "context_search", arguments).await);
    answers.push(client.call(5, &secret, json!({})).await);
    answers.push(client.ask(6, &secret, json!({})).await);
    answers.push(client.ask(7, "resources/read", json!({"uri": format!("engine://file/{secret}")})).await);
    let records = capture.records();
    let said = format!("{records:?} {answers:?}");
    for planted in [secret.as_str(), "ghp_", "hunter2", "k 1"] {
        assert!(!said.contains(planted), "{planted} in {said}");
    }
    let queries: Vec<String> = records
        .iter()
        .filter_map(|record| match record {
            v1::record::Record::Span(span) if span.root => Some(text(span, "query")),
            _ => None,
        })
        .collect();
    assert!(queries.contains(&"[redacted]".to_owned()), "{queries:?}");
    assert!(queries.iter().any(|query| query.ends_with("[redacted]") && query.len() <= 256), "{queries:?}");
    let report = records.iter().find_map(|record| match record {
        v1::record::Record::Error(error) if error.request_id == "4" => Some(error),
        _ => None,
    });
    let parameters: Vec<(&str, String)> =
        report.unwrap().context.iter().map(|attribute| (attribute.key.as_str(), value(attribute))).collect();
    assert!(parameters.contains(&("parameter.query", "fail".into())), "{parameters:?}");
    assert!(parameters.contains(&("parameter.password", "[redacted]".into())), "{parameters:?}");
}

#[track_caller]
fn check(span: &v1::Span, expect: &[(&str, &str)]) {
    for (key, value) in expect {
        assert_eq!(text(span, key), *value, "{key} of {span:?}");
    }
}

/// An attribute as text; empty if there is none.
fn text(span: &v1::Span, key: &str) -> String {
    span.attributes.iter().find(|attribute| attribute.key == key).map(value).unwrap_or_default()
}

fn value(attribute: &v1::Attribute) -> String {
    match &attribute.value {
        Some(v1::attribute::Value::Text(text)) => text.clone(),
        Some(v1::attribute::Value::Integer(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn many_greps_take_turns_and_all_answer() {
    let mut client = Client::open().await;
    for id in 0..40 {
        client.request(id, "tools/call", json!({"name": "context_grep", "arguments": {"pattern": "retry"}})).await;
    }
    let mut ids = std::collections::HashSet::new();
    for _ in 0..40 {
        let answer = client.receive().await;
        assert_eq!(answer["result"]["structuredContent"]["total_count"], 1, "{answer}");
        ids.insert(answer["id"].as_u64().unwrap());
    }
    assert_eq!(ids.len(), 40);
}
