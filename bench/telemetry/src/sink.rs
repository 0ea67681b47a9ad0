//! Sink: HTTP servers for exporters: one that takes everything, and ones that fail in every way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
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
    /// Never accepts: connections wait in the backlog, and when that is full nothing answers.
    BlackHole,
}

/// Starts a server on a free loopback port; it ends with the process. Returns `host:port`.
pub fn start(manner: Manner) -> std::io::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        if manner == Manner::BlackHole {
            loop {
                std::thread::park();
            }
        }
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, manner));
        }
    });
    Ok(address)
}

fn serve(stream: TcpStream, manner: Manner) -> Option<()> {
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
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).ok()?;
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
