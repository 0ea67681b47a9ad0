//! Embeddings: a server on loopback that speaks OpenAI's embeddings API, well or badly, as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    /// With vectors of 8 dimensions.
    Good,
    /// 500, once; then well.
    OneError,
    /// 400.
    Refuses,
    /// 429 with `Retry-After: 0`.
    Busy,
    /// With vectors of 3 dimensions.
    WrongLength,
    /// With what is no list of vectors.
    Nonsense,
    /// Not within a second.
    Slow,
    /// 401, with the authorization that it got in the body.
    RepeatsTheKey,
}

const MOODS: [Mood; 8] = [
    Mood::Good,
    Mood::OneError,
    Mood::Refuses,
    Mood::Busy,
    Mood::WrongLength,
    Mood::Nonsense,
    Mood::Slow,
    Mood::RepeatsTheKey,
];

/// A listener on a loopback port; it ends with the test's process.
#[derive(Debug)]
pub struct Embeddings {
    address: String,
    mood: Arc<AtomicU8>,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Default for Embeddings {
    fn default() -> Self {
        Self::start()
    }
}

impl Embeddings {
    /// Listens on a free port, in good mood.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound listener has an address").to_string();
        let (mood, requests) = (Arc::new(AtomicU8::new(Mood::Good as u8)), Arc::new(Mutex::new(Vec::new())));
        let (its_mood, seen) = (Arc::clone(&mood), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mood, seen) = (Arc::clone(&its_mood), Arc::clone(&seen));
                // A client that goes away in the middle is no failure of the test.
                std::thread::spawn(move || answer(stream, &mood, &seen).ok());
            }
        });
        Self { address, mood, requests }
    }

    /// `http://host:port/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Answers so from now on.
    pub fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// The bodies of all requests so far.
    pub fn requests(&self) -> Vec<Value> {
        self.requests.lock().expect("no writer panics").clone()
    }
}

/// Takes one request and answers it.
fn answer(mut stream: TcpStream, mood: &AtomicU8, seen: &Mutex<Vec<Value>>) -> anyhow::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "authorization" => authorization = value.trim().to_owned(),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body)?;
    seen.lock().expect("no reader panics").push(body.clone());
    let (status, text) = match MOODS[usize::from(mood.load(Ordering::SeqCst))] {
        Mood::Good => ("200 OK", vectors(&body, 8)),
        Mood::OneError => {
            mood.store(Mood::Good as u8, Ordering::SeqCst);
            ("500 Internal Server Error", "oops".to_owned())
        }
        Mood::Refuses => ("400 Bad Request", "no".to_owned()),
        Mood::Busy => ("429 Too Many Requests", "slow down".to_owned()),
        Mood::WrongLength => ("200 OK", vectors(&body, 3)),
        Mood::Nonsense => ("200 OK", "{\"data\": 7}".to_owned()),
        Mood::Slow => {
            std::thread::sleep(Duration::from_millis(1_500));
            ("200 OK", vectors(&body, 8))
        }
        Mood::RepeatsTheKey => ("401 Unauthorized", format!("bad key: {authorization}")),
    };
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nRetry-After: 0\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )?;
    Ok(())
}

/// A vector for each text, made of its bytes.
fn vectors(body: &Value, dimensions: usize) -> String {
    let texts = body["input"].as_array().cloned().unwrap_or_default();
    let vector = |text: &Value| {
        let mut vector = vec![1.0; dimensions];
        for (place, byte) in text.as_str().unwrap_or_default().bytes().enumerate() {
            vector[place % dimensions] += f64::from(byte);
        }
        vector
    };
    let data: Vec<Value> =
        texts.iter().enumerate().map(|(index, text)| json!({"index": index, "embedding": vector(text)})).collect();
    json!({"data": data}).to_string()
}
