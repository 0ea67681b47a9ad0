//! The client: one request out, its vectors or what went wrong in.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use conexus_proto::facts::EmbeddingError;
use serde::{Deserialize, Serialize};
use ureq::http::{HeaderValue, Response, StatusCode, header};
use ureq::{Agent, Body, Proxy};

use super::address::Address;
use super::{EmbedError, OpenAiOptions, retry};

/// So much of an answer is shown in a message.
const SHOWN_BYTES: usize = 200;

/// The longest answer that is read: 2,048 vectors of 4,096 dimensions need about 100 MB.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// A connection to a server; requests share its sockets.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    address: Address,
    model: String,
    /// The header, marked as secret, and the key itself, to be taken out of what the server says.
    authorization: Option<HeaderValue>,
    key: Secret,
    dimensions: Option<usize>,
    /// Whether the server takes the `dimensions` parameter; not all do.
    send_dimensions: AtomicBool,
}

struct Secret(Option<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "***" } else { "none" })
    }
}

/// Why a request failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) class: EmbeddingError,
    pub(super) message: String,
    /// Whether it may go away by itself.
    pub(super) passing: bool,
    /// Whether the server may take the request without the `dimensions` parameter.
    pub(super) refuses_dimensions: bool,
    /// When the server wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// The error, after so many tries.
    pub(super) fn into_error(self, tries: u32) -> EmbedError {
        let tries = if tries > 1 { format!(" (after {tries} tries)") } else { String::new() };
        EmbedError::new(self.class, format!("{}{tries}", self.message))
    }
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    input: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    /// Which text it is the vector of; by its place if not given.
    index: Option<usize>,
    embedding: Vec<f32>,
}

impl Client {
    /// Refuses a key that no header can carry.
    pub(super) fn new(address: Address, options: OpenAiOptions) -> Result<Self, String> {
        let key = options.api_key.filter(|key| !key.is_empty());
        let authorization = match &key {
            None => None,
            Some(key) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                    .map_err(|_| "embedding.api_key has characters that no HTTP header can carry".to_owned())?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would carry the texts to a server that nobody configured.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(options.timeout))
            .proxy(if address.is_loopback() { None } else { Proxy::try_from_env() })
            .user_agent(concat!("conexusd/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            address,
            model: options.model,
            authorization,
            key: Secret(key),
            dimensions: options.dimensions,
            send_dimensions: AtomicBool::new(true),
        })
    }

    /// The address, for messages.
    pub(super) fn shown(&self) -> &str {
        self.address.shown()
    }

    /// Host and port.
    pub(super) fn server(&self) -> (&str, u16) {
        self.address.server()
    }

    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// One vector a text, in their order, as the server gives them.
    pub(super) fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Failure> {
        let dimensions = self.dimensions.filter(|_| self.send_dimensions.load(Ordering::Relaxed));
        match self.send(texts, dimensions) {
            // Many servers refuse the parameter: whether the vectors are right without it is checked by the caller.
            Err(failure) if dimensions.is_some() && failure.refuses_dimensions => {
                let vectors = self.send(texts, None)?;
                self.send_dimensions.store(false, Ordering::Relaxed);
                Ok(vectors)
            }
            result => result,
        }
    }

    /// One exchange.
    fn send(&self, texts: &[&str], dimensions: Option<usize>) -> Result<Vec<Vec<f32>>, Failure> {
        let mut request = self.agent.post(self.address.url());
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let question = Question { model: &self.model, input: texts, dimensions };
        let mut response = request.send_json(question).map_err(|error| self.broken(&error))?;
        if !response.status().is_success() {
            return Err(self.refused(&mut response));
        }
        let answer = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let answer = answer.map_err(|error| self.broken(&error))?;
        self.vectors(&answer, texts.len())
    }

    /// Takes an answer apart and puts the vectors into order.
    fn vectors(&self, answer: &[u8], count: usize) -> Result<Vec<Vec<f32>>, Failure> {
        let wrong = |what: String| {
            let message = format!("{} {what}: {}", self.shown(), self.shown_text(answer));
            Failure {
                class: EmbeddingError::Other,
                message,
                passing: false,
                refuses_dimensions: false,
                retry_after: None,
            }
        };
        let Answer { data } = serde_json::from_slice(answer)
            .map_err(|error| wrong(format!("answered what is no list of embeddings ({error})")))?;
        if data.len() != count {
            return Err(wrong(format!("answered {} embeddings for {count} texts", data.len())));
        }
        let mut vectors = vec![None; count];
        for (place, item) in data.into_iter().enumerate() {
            let index = item.index.unwrap_or(place);
            match vectors.get_mut(index) {
                Some(vector @ None) => *vector = Some(item.embedding),
                _ => return Err(wrong(format!("answered the index {index} twice or beyond {count} texts"))),
            }
        }
        // As many as there are places, and none twice: none is empty.
        let vectors: Vec<Vec<f32>> = vectors.into_iter().flatten().collect();
        if vectors.iter().flatten().any(|value| !value.is_finite()) {
            return Err(wrong("answered values that are no numbers".into()));
        }
        Ok(vectors)
    }

    /// The failure of an answer with another status than success.
    fn refused(&self, response: &mut Response<Body>) -> Failure {
        let mut body = Vec::new();
        // What cannot be read is not shown: the status says what matters.
        let _ = response.body_mut().as_reader().take(4096).read_to_end(&mut body);
        let (status, said) = (response.status(), self.shown_text(&body));
        let class = match status {
            StatusCode::TOO_MANY_REQUESTS => EmbeddingError::RateLimited,
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => EmbeddingError::Timeout,
            _ => EmbeddingError::Http,
        };
        Failure {
            class,
            message: format!("{} answered {status}: {said}", self.shown()),
            passing: is_passing(status),
            refuses_dimensions: refuses_dimensions(status, &said),
            retry_after: retry_after(response),
        }
    }

    /// The failure of an exchange that came to no answer.
    fn broken(&self, error: &ureq::Error) -> Failure {
        use ureq::Error;
        let (class, passing) = match error {
            Error::Timeout(_) => (EmbeddingError::Timeout, true),
            Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => (EmbeddingError::Timeout, true),
            Error::Io(_) | Error::HostNotFound | Error::ConnectionFailed | Error::Protocol(_) => {
                (EmbeddingError::Http, true)
            }
            Error::Rustls(_) | Error::Tls(_) | Error::ConnectProxyFailed(_) => (EmbeddingError::Http, false),
            _ => (EmbeddingError::Other, false),
        };
        let message = format!("{}: {}", self.shown(), self.without_key(&error.to_string()));
        Failure { class, message, passing, refuses_dimensions: false, retry_after: None }
    }

    /// The first bytes of what the server said, on one line, without the key.
    fn shown_text(&self, bytes: &[u8]) -> String {
        let text = self.without_key(&String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]));
        let text = text.replace(|character: char| character.is_control(), " ");
        let text = text.trim();
        text[..text.floor_char_boundary(SHOWN_BYTES)].to_owned()
    }

    fn without_key(&self, text: &str) -> String {
        match &self.key.0 {
            Some(key) => text.replace(key, "***"),
            None => text.to_owned(),
        }
    }
}

/// Whether a status is worth another try.
fn is_passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) || status.is_server_error()
}

/// Whether a server refuses the `dimensions` parameter.
fn refuses_dimensions(status: StatusCode, said: &str) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY)
        && said.to_ascii_lowercase().contains("dimension")
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    retry::parse_retry_after(value, SystemTime::now())
}
