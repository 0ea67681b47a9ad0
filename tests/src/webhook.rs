//! A webhook: takes what is posted to it, as JSON, and answers 200.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// A listener on a loopback port; it ends with the test's process.
#[derive(Debug)]
pub struct Webhook {
    address: String,
    posted: Arc<Mutex<Vec<Value>>>,
}

impl Default for Webhook {
    fn default() -> Self {
        Self::start()
    }
}

impl Webhook {
    /// Listens on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound listener has an address").to_string();
        let posted = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&posted);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Ok(body) = take(stream) {
                    kept.lock().expect("no reader panics").push(body);
                }
            }
        });
        Self { address, posted }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Everything posted so far.
    pub fn posted(&self) -> Vec<Value> {
        self.posted.lock().expect("no reader panics").clone()
    }
}

/// Reads one request with a length, and answers it.
fn take(mut stream: TcpStream) -> anyhow::Result<Value> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok(serde_json::from_slice(&body)?)
}
