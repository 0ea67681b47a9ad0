//! Against a real server on this machine that answers as each test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::*;

/// A request that the server got.
struct Got {
    /// From 0.
    number: usize,
    body: Value,
    authorization: Option<String>,
    path: String,
}

impl Got {
    fn texts(&self) -> Vec<&str> {
        self.body["input"].as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
    }

    /// The answer of a good server: for a text of n bytes, the vector [n, 1, 0].
    fn good(&self) -> Response {
        let data: Vec<Value> = self
            .texts()
            .iter()
            .enumerate()
            .map(|(index, text)| json!({ "index": index, "embedding": [text.len(), 1, 0] }))
            .collect();
        axum::Json(json!({ "object": "list", "data": data })).into_response()
    }
}

/// A server that stops when dropped.
struct Server {
    base_url: String,
    requests: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

fn serve(answer: impl Fn(Got) -> Response + Send + Sync + 'static) -> Server {
    let requests = Arc::new(AtomicUsize::new(0));
    let (counter, answer) = (requests.clone(), Arc::new(answer));
    let app = Router::new().fallback(move |uri: axum::http::Uri, headers: HeaderMap, body: Bytes| {
        let got = Got {
            number: counter.fetch_add(1, Ordering::SeqCst),
            body: serde_json::from_slice(&body).expect("JSON"),
            authorization: headers.get("authorization").map(|value| value.to_str().expect("text").to_owned()),
            path: uri.to_string(),
        };
        let answer = answer.clone();
        async move { tokio::task::spawn_blocking(move || answer(got)).await.expect("the answer did not panic") }
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let base_url = format!("http://{}", listener.local_addr().expect("bound"));
    runtime.spawn(async { axum::serve(listener, app).await });
    Server { base_url, requests, _runtime: runtime }
}

impl Server {
    fn options(&self) -> OpenAiOptions {
        OpenAiOptions {
            base_url: self.base_url.clone(),
            model: "m".into(),
            dimensions: Some(3),
            timeout: Duration::from_secs(10),
            ..OpenAiOptions::default()
        }
    }

    fn embedder(&self) -> OpenAiEmbedder {
        connect(self.options())
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn connect(options: OpenAiOptions) -> OpenAiEmbedder {
    OpenAiEmbedder::connect(options, Telemetry::detached()).expect("good settings")
}

fn documents<'a>(texts: &[&'a str]) -> Vec<Document<'a>> {
    texts.iter().map(|text| Document { path: "p", text }).collect()
}

/// What a good server's vector for a text of n bytes is when scaled to length 1.
fn unit(bytes: usize) -> Vec<f32> {
    let mut vector = vec![bytes as f32, 1.0, 0.0];
    normalize(&mut vector);
    vector
}

fn error_of(embedder: &OpenAiEmbedder) -> EmbedError {
    embedder.embed_documents(&documents(&["text"])).expect_err("refused")
}

#[test]
fn texts_become_unit_vectors_and_the_request_is_as_the_api_wants_it() {
    let server = serve(|got| {
        assert_eq!(got.path, "/v1/embeddings");
        assert_eq!(got.authorization.as_deref(), Some("Bearer k3y"));
        assert_eq!(got.body, json!({ "model": "m", "input": ["one", "three", " "], "dimensions": 3 }));
        got.good()
    });
    let embedder = connect(OpenAiOptions { api_key: Some("k3y".into()), ..server.options() });
    let vectors = embedder.embed_documents(&documents(&["one", "three", ""])).expect("good");
    assert_eq!(vectors, [unit(3), unit(5), unit(1)]);
    assert_eq!(embedder.dimensions(), 3);
    assert!(embedder.embed_documents(&[]).expect("nothing to do").is_empty());
    assert_eq!(server.requests(), 1);
}

#[test]
fn without_a_key_none_is_sent() {
    let server = serve(|got| {
        assert_eq!(got.authorization, None);
        got.good()
    });
    assert_eq!(server.embedder().embed_query("ab").expect("good"), unit(2));
}

#[test]
fn shuffled_answers_are_put_in_order() {
    let server = serve(|got| {
        let data: Vec<Value> =
            (0..got.texts().len()).rev().map(|index| json!({ "index": index, "embedding": [index, 1, 0] })).collect();
        axum::Json(json!({ "data": data })).into_response()
    });
    let vectors = server.embedder().embed_documents(&documents(&["a", "b", "c"])).expect("good");
    assert_eq!(vectors, [unit(0), unit(1), unit(2)]);
}

#[test]
fn batches_are_bounded_by_number_and_by_bytes() {
    let server = serve(|got| {
        assert!(got.texts().len() <= 4);
        assert!(got.texts().iter().map(|text| text.len()).sum::<usize>() <= BATCH_BYTES_MAX);
        got.good()
    });
    let embedder = connect(OpenAiOptions { batch_size: 4, ..server.options() });
    let texts: Vec<String> = (1..=10).map(|length| "x".repeat(length)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = embedder.embed_documents(&documents(&texts)).expect("good");
    assert_eq!(vectors, (1..=10).map(unit).collect::<Vec<_>>());
    assert_eq!(server.requests(), 3);

    let long = "y".repeat(TEXT_BYTES_MAX);
    assert_eq!(batch_length(&vec![long.as_str(); 100], 64), BATCH_BYTES_MAX / TEXT_BYTES_MAX);
    assert_eq!(batch_length(&[&"z".repeat(BATCH_BYTES_MAX + 1), "a"], 64), 1);
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let server = serve(|got| got.good());
    let text = "é".repeat(TEXT_BYTES_MAX) + "end";
    assert_eq!(server.embedder().embed_query(&text).expect("good"), unit(TEXT_BYTES_MAX));
    assert_eq!(sendable(&format!("a{text}")).len(), TEXT_BYTES_MAX - 1);
}

#[test]
fn a_rate_limit_is_waited_out_as_the_server_asks() {
    let server = serve(|got| match got.number {
        0 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], "slow down").into_response(),
        _ => got.good(),
    });
    let start = Instant::now();
    assert_eq!(server.embedder().embed_documents(&documents(&["ab"])).expect("good"), [unit(2)]);
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(server.requests(), 2);
}

#[test]
fn a_date_to_retry_after_is_understood() {
    let server = serve(|got| match got.number {
        0 => {
            let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(3));
            (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", date)], "").into_response()
        }
        _ => got.good(),
    });
    // Dates have whole seconds: at least two of them, longer than a first wait of our own.
    let start = Instant::now();
    assert_eq!(server.embedder().embed_documents(&documents(&["ab"])).expect("good"), [unit(2)]);
    assert!(start.elapsed() >= Duration::from_millis(1900), "{:?}", start.elapsed());
}

#[test]
fn a_server_error_is_tried_again() {
    let server = serve(|got| match got.number {
        0 => (StatusCode::INTERNAL_SERVER_ERROR, [("retry-after", "0")], "oops").into_response(),
        _ => got.good(),
    });
    assert_eq!(server.embedder().embed_documents(&documents(&["ab"])).expect("good"), [unit(2)]);
    assert_eq!(server.requests(), 2);
}

#[test]
fn tries_end_and_the_error_says_how_many_there_were() {
    let server = serve(|_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], "slow\ndown").into_response());
    let error = error_of(&connect(OpenAiOptions { max_retries: 2, ..server.options() }));
    assert_eq!(error.class, EmbeddingError::RateLimited);
    let url = format!("{}/v1/embeddings", server.base_url);
    assert_eq!(error.message, format!("{url} answered 429 Too Many Requests: slow down (after 3 tries)"));
    assert_eq!(server.requests(), 3);
}

#[test]
fn a_query_gives_up_rather_than_wait_long() {
    let server = serve(|_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "30")], "").into_response());
    let start = Instant::now();
    let error = server.embedder().embed_query("q").expect_err("refused");
    assert_eq!(error.class, EmbeddingError::RateLimited);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_refusal_is_final_and_shows_the_answer_but_not_the_key() {
    let server = serve(|_| {
        let long = format!("Incorrect API key provided: s3cret. {}", "x".repeat(1000));
        (StatusCode::UNAUTHORIZED, long).into_response()
    });
    let options = OpenAiOptions {
        api_key: Some("s3cret".into()),
        base_url: format!("{}/v1?token=hidden", server.base_url),
        ..server.options()
    };
    assert!(!format!("{options:?}").contains("s3cret") && !format!("{options:?}").contains("hidden"));
    let embedder = connect(options);
    assert!(!format!("{embedder:?}").contains("s3cret"), "{embedder:?}");
    assert!(!embedder.identity().contains("hidden"));
    let error = error_of(&embedder);
    assert_eq!(error.class, EmbeddingError::Http);
    let start =
        format!("{}/v1/embeddings answered 401 Unauthorized: Incorrect API key provided: ***. xxx", server.base_url);
    assert!(error.message.starts_with(&start), "{error}");
    assert!(error.message.len() < start.len() + 200 && !error.message.contains("hidden"), "{error}");
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_slow_server_is_a_timeout() {
    let server = serve(|got| {
        std::thread::sleep(Duration::from_millis(1500));
        got.good()
    });
    let options = OpenAiOptions { timeout: Duration::from_millis(100), max_retries: 1, ..server.options() };
    let error = error_of(&connect(options));
    assert_eq!(error.class, EmbeddingError::Timeout);
    assert!(error.message.contains(&server.base_url) && error.message.contains("after 2 tries"), "{error}");
}

#[test]
fn a_body_that_stops_halfway_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let base_url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut socket, _) = listener.accept().expect("a client");
        let mut buffer = [0; 4096];
        let _ = socket.read(&mut buffer).expect("a request");
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"data\":[").expect("written");
    });
    let error =
        error_of(&connect(OpenAiOptions { base_url, dimensions: Some(3), max_retries: 0, ..OpenAiOptions::default() }));
    server.join().expect("served");
    assert_eq!(error.class, EmbeddingError::Http, "{error}");
}

#[test]
fn a_refused_connection_names_the_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let base_url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let options =
        OpenAiOptions { base_url: base_url.clone(), dimensions: Some(3), max_retries: 1, ..OpenAiOptions::default() };
    let error = error_of(&connect(options));
    assert_eq!(error.class, EmbeddingError::Http);
    assert!(error.message.starts_with(&base_url) && error.message.contains("efused"), "{error}");
}

#[test]
fn other_dimensions_than_configured_are_refused() {
    let server = serve(|got| got.good());
    let error = error_of(&connect(OpenAiOptions { dimensions: Some(4), ..server.options() }));
    assert_eq!(error.class, EmbeddingError::Dimension);
    assert!(
        error
            .message
            .ends_with("gives vectors of 3 dimensions with the model \"m\", 4 are expected (embedding.dimensions)"),
        "{error}"
    );
}

#[test]
fn dimensions_that_change_between_calls_are_refused() {
    let server = serve(|got| match got.number {
        0 => got.good(),
        _ => axum::Json(json!({ "data": [{ "embedding": [1, 2] }] })).into_response(),
    });
    let embedder = connect(OpenAiOptions { dimensions: None, ..server.options() });
    assert_eq!(embedder.dimensions(), 3);
    assert_eq!(error_of(&embedder).class, EmbeddingError::Dimension);
}

#[test]
fn a_server_that_cannot_be_asked_for_its_dimensions_is_an_error_at_the_start() {
    let server = serve(|_| (StatusCode::NOT_FOUND, "no such model").into_response());
    let options = OpenAiOptions { dimensions: None, ..server.options() };
    let error = OpenAiEmbedder::connect(options, Telemetry::detached()).expect_err("refused");
    assert!(
        error
            .message
            .ends_with("answered 404 Not Found: no such model (asked because embedding.dimensions is not set)"),
        "{error}"
    );
}

#[test]
fn a_server_that_refuses_the_dimensions_parameter_is_asked_without_it() {
    let server = serve(|got| match got.body.get("dimensions") {
        Some(_) => {
            (StatusCode::BAD_REQUEST, r#"{"error":"model does not support matryoshka: Dimensions"}"#).into_response()
        }
        None => got.good(),
    });
    let embedder = server.embedder();
    for _ in 0..2 {
        assert_eq!(embedder.embed_query("ab").expect("good"), unit(2));
    }
    assert_eq!(server.requests(), 3);
}

#[test]
fn answers_that_make_no_sense_are_refused() {
    for (answer, expect) in [
        ("<html>hello</html>", "answered what is no list of embeddings"),
        (r#"{"error":"no"}"#, "answered what is no list of embeddings (missing field `data`"),
        (r#"{"data":[]}"#, "answered 0 embeddings for 1 texts"),
        (r#"{"data":[{"index":1,"embedding":[1,2,3]}]}"#, "answered the index 1 twice or beyond 1 texts"),
        (r#"{"data":[{"index":0,"embedding":[1e39,2,3]}]}"#, "answered values that are no numbers"),
        ("\u{fffd}", "answered what is no list of embeddings"),
    ] {
        let server = serve(move |_| answer.into_response());
        let error = error_of(&server.embedder());
        assert_eq!(error.class, EmbeddingError::Other, "{error}");
        assert!(error.message.contains(expect) && error.message.contains(&server.base_url), "{error}");
        assert_eq!(server.requests(), 1, "{answer}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let server = serve(|_| (StatusCode::TEMPORARY_REDIRECT, [("location", "http://127.0.0.1:1/")], "").into_response());
    let error = error_of(&server.embedder());
    assert_eq!(error.class, EmbeddingError::Http);
    assert!(error.message.contains("answered 307 Temporary Redirect"), "{error}");
}

#[test]
fn waiting_ends_when_cancelled() {
    let server = serve(|_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "60")], "").into_response());
    let embedder = server.embedder();
    let (start, mut effort) = (Instant::now(), Effort::default());
    let error = embedder
        .embed_documents_unless(&documents(&["a"]), &|| start.elapsed() > Duration::from_millis(200), &mut effort)
        .expect_err("cancelled");
    assert!(error.message.ends_with("was cancelled"), "{error}");
    let [retry] = effort.retries[..] else { panic!("{effort:?}") };
    assert_eq!((retry.error, retry.wait_ms), (EmbeddingError::RateLimited, 60_000));
    assert!(start.elapsed() < Duration::from_secs(10));
    embedder.embed_documents_unless(&documents(&["a"]), &|| true, &mut Effort::default()).expect_err("cancelled");
    assert_eq!(server.requests(), 1);
}

#[test]
fn bad_settings_are_refused_by_name() {
    for (options, expect) in [
        (OpenAiOptions { model: " ".into(), ..OpenAiOptions::default() }, "embedding.model is empty"),
        (
            OpenAiOptions { batch_size: 0, ..OpenAiOptions::default() },
            "embedding.batch_size is 0, 1 to 2048 are allowed",
        ),
        (OpenAiOptions { batch_size: 4096, ..OpenAiOptions::default() }, "embedding.batch_size is 4096"),
        (
            OpenAiOptions { dimensions: Some(0), ..OpenAiOptions::default() },
            "embedding.dimensions is 0, 1 to 65536 are allowed",
        ),
        (OpenAiOptions { timeout: Duration::ZERO, ..OpenAiOptions::default() }, "embedding.timeout is 0"),
        (OpenAiOptions { base_url: "nowhere".into(), ..OpenAiOptions::default() }, "embedding.base_url \"nowhere\""),
        (
            OpenAiOptions { api_key: Some("a\nb".into()), ..OpenAiOptions::default() },
            "embedding.api_key has characters",
        ),
    ] {
        let error = OpenAiEmbedder::connect(options, Telemetry::detached()).expect_err("refused");
        assert!(error.message.starts_with(expect), "{error}");
    }
}

#[test]
fn a_remote_call_is_a_client_span_with_its_retries() {
    let server = serve(|got| match got.number {
        0 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], "busy").into_response(),
        _ => got.good(),
    });
    let (embedder, mut effort) = (server.embedder(), Effort::default());
    embedder.embed_query_noting("ab", &mut effort).expect("good");
    let (telemetry, capture) = Telemetry::captured(&crate::telemetry::TelemetryOptions::default());
    let mut trace = telemetry.trace("mcp.search");
    let span = trace.start(trace.root(), "embedding.generate");
    super::super::describe(&mut trace, span, &embedder, &effort, false);
    trace.finish();
    let spans = capture.spans();
    let span = &spans[1];
    assert_eq!(span.kind(), conexus_proto::v1::SpanKind::Client);
    let attributes = format!("{:?}", span.attributes);
    let port = server.base_url.rsplit(':').next().expect("a port");
    for part in ["\"http.client\"", "\"embeddings\"", "\"127.0.0.1\"", "gen_ai.request.model", port] {
        assert!(attributes.contains(part), "{part} in {attributes}");
    }
    assert_eq!((span.events.len(), span.events[0].name.as_str()), (1, "retry"));
    assert!(format!("{:?}", span.events[0].attributes).contains("\"http\""), "{:?}", span.events);
}
