//! The smallest HTTP client that can scrape.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer: status, header lines in lower case, body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text is UTF-8")
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("the port is open");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("the request can be sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the answer can be read");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, headers: head, body: answer[end + 4..].to_vec() }
}

/// The samples of the text format.
pub(crate) async fn scrape(address: SocketAddr) -> HashMap<String, f64> {
    let answer = get(address, "/metrics", "").await;
    assert_eq!(answer.status, 200);
    answer
        .text()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// Asserts that no counter or histogram of `before` fell or vanished.
pub(crate) fn never_fell(before: &HashMap<String, f64>, after: &HashMap<String, f64>) {
    let counts = |name: &str| {
        let bare = name.split('{').next().unwrap_or(name);
        let gauge = bare == "conexus_vectorstore_documents_total";
        !gauge && ["_total", "_bucket", "_sum", "_count"].iter().any(|suffix| bare.ends_with(suffix))
    };
    for (name, old) in before.iter().filter(|(name, _)| counts(name)) {
        let new = after.get(name).unwrap_or_else(|| panic!("{name} vanished"));
        assert!(new >= old, "{name} fell from {old} to {new}");
    }
}
