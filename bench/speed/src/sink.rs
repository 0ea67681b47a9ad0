//! Sink: HTTP servers for exporters: one that takes everything, and ones that fail in every way.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Takes everything at once.
    Good,
    /// Answers 500.
    Fails,
    /// Answers after two seconds.
    Slow,
    /// Accepts, reads and never answers.
    Silent,
    /// Nothing answers, not even a connection: what arrives is lost.
    BlackHole,
}

/// A server, and how often it was asked.
#[derive(Clone, Debug)]
pub struct Sink {
    /// `host:port`.
    pub address: String,
    requests: Arc<AtomicU64>,
}

impl Sink {
    /// Requests that it has read so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Starts a server on a free loopback port; it ends with the process.
pub fn start(manner: Manner) -> io::Result<Sink> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let sink = Sink { address: listener.local_addr()?.to_string(), requests: Arc::default() };
    if manner == Manner::BlackHole {
        let full = fill(&listener)?;
        std::thread::spawn(move || {
            loop {
                std::thread::park();
                std::hint::black_box((&listener, &full));
            }
        });
        return Ok(sink);
    }
    let requests = Arc::clone(&sink.requests);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let requests = Arc::clone(&requests);
            std::thread::spawn(move || serve(stream, manner, &requests));
        }
    });
    Ok(sink)
}

/// Connects until nobody is let in any more: the kernel drops what comes later, as a network that leads nowhere does.
fn fill(listener: &TcpListener) -> io::Result<Vec<TcpStream>> {
    rustix::net::listen(listener, 0)?;
    let address = listener.local_addr()?;
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
    }
    Ok(waiting)
}

fn serve(stream: TcpStream, manner: Manner, requests: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        std::io::copy(&mut (&mut reader).take(length), &mut io::sink()).ok()?;
        requests.fetch_add(1, Ordering::Relaxed);
        let status = match manner {
            Manner::Fails => "500 Internal Server Error",
            _ => "200 OK",
        };
        match manner {
            Manner::Slow => std::thread::sleep(Duration::from_secs(2)),
            Manner::Silent => loop {
                std::thread::park();
            },
            _ => {}
        }
        write!(writer, "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}").ok()?;
    }
}
