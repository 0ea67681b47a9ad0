//! Envelopes: a loopback endpoint that keeps what is posted to Sentry, and answers as it is told or passes it on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// What it answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This status with these header lines.
    With(u16, &'static str),
    /// What the server at `host:port` answers.
    From(String),
}

/// A listener on a loopback port; it ends with the test's process.
#[derive(Debug)]
pub struct Envelopes {
    address: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    answer: Answer,
    items: Vec<(String, Value)>,
    requests: usize,
}

impl Envelopes {
    /// Listens on a free port.
    pub fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound listener has an address").to_string();
        let shared = Arc::new(Mutex::new(Shared { answer, items: Vec::new(), requests: 0 }));
        let kept = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    let _ = serve(stream, &kept);
                });
            }
        });
        Self { address, shared }
    }

    /// A DSN with this key and project that leads here.
    pub fn dsn(&self, key: &str, project: &str) -> String {
        format!("http://{key}@{}/{project}", self.address)
    }

    /// Answers so from now on.
    pub fn answer(&self, answer: Answer) {
        self.lock().answer = answer;
    }

    /// The items of a type that came so far.
    pub fn items(&self, kind: &str) -> Vec<Value> {
        self.lock().items.iter().filter(|(found, _)| found == kind).map(|(_, item)| item.clone()).collect()
    }

    /// How many requests came, with items or without.
    pub fn requests(&self) -> usize {
        self.lock().requests
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("no reader panics")
    }
}

/// Serves one connection, a request after another.
fn serve(stream: TcpStream, shared: &Mutex<Shared>) -> anyhow::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
            let end = line.trim().is_empty();
            head += &line;
            if end {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let answer = {
            let mut shared = shared.lock().expect("no reader panics");
            shared.requests += 1;
            let items = items(&body);
            shared.items.extend(items);
            shared.answer.clone()
        };
        let answer = match answer {
            Answer::With(status, headers) => {
                format!("HTTP/1.1 {status} Told\r\n{headers}Content-Length: 2\r\n\r\n{{}}").into_bytes()
            }
            Answer::From(server) => forward(&server, &head, &body)?,
        };
        stream.write_all(&answer)?;
    }
}

fn forward(server: &str, head: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(server)?;
    let kept = head.lines().filter(|line| {
        let line = line.to_ascii_lowercase();
        !line.is_empty() && !line.starts_with("connection:") && !line.starts_with("host:")
    });
    let mut request: String = kept.map(|line| format!("{line}\r\n")).collect();
    request += &format!("Host: {server}\r\nConnection: close\r\n\r\n");
    upstream.write_all(request.as_bytes())?;
    upstream.write_all(body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The items of an envelope: a header line and a line of JSON each, behind the envelope's own header.
fn items(body: &[u8]) -> Vec<(String, Value)> {
    let text = String::from_utf8_lossy(body);
    let lines: Vec<Value> = text.lines().skip(1).filter_map(|line| serde_json::from_str(line).ok()).collect();
    lines
        .chunks_exact(2)
        .map(|pair| (pair[0]["type"].as_str().unwrap_or_default().to_owned(), pair[1].clone()))
        .collect()
}
