//! Transport: how does an envelope reach Sentry, and when must none be sent?
//!
//! One POST an envelope. What Sentry has no room for (429, `X-Sentry-Rate-Limits`) is dropped and counted, as its protocol
//! asks, and so is what comes before the named time; what may succeed later (no connection, 5xx) is for the worker to try again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conexus_config::Dsn;
use conexus_proto::facts::RecordKind;
use conexus_proto::v1::{self, record};
use sentry::protocol::Envelope;
use sentry::transports::{RateLimiter, RateLimitingCategory};

use crate::export::logs::cut;
use crate::export::outlet::Piece;
use crate::export::worker::{Destination, SendError, Sent};

/// What Sentry counts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    /// Errors and crashes.
    Error,
    /// Tool calls.
    Transaction,
    /// Lives of cores.
    Session,
}

impl Category {
    const ALL: [Self; 3] = [Self::Error, Self::Transaction, Self::Session];

    /// As what it is counted when it is dropped.
    pub(super) fn kind(self) -> RecordKind {
        if self == Self::Transaction { RecordKind::Span } else { RecordKind::Error }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Transaction => "transaction",
            Self::Session => "session",
        }
    }

    fn limit(self) -> RateLimitingCategory {
        match self {
            Self::Error => RateLimitingCategory::Error,
            Self::Transaction => RateLimitingCategory::Transaction,
            Self::Session => RateLimitingCategory::Session,
        }
    }
}

/// An envelope as a record, so that it can wait in an outlet and in the spool: the category is its name, the envelope its
/// message.
pub(super) fn parcel(category: Category, envelope: &Envelope) -> v1::Record {
    let mut bytes = Vec::new();
    envelope.to_writer(&mut bytes).expect("a vector has room, and our items are JSON");
    let text = String::from_utf8(bytes).expect("an envelope of JSON items is text");
    let record = match category.kind() {
        RecordKind::Span => {
            record::Record::Span(v1::Span { name: category.name().into(), error_message: text, ..v1::Span::default() })
        }
        _ => record::Record::Error(v1::Error {
            error_type: category.name().into(),
            message: text,
            ..v1::Error::default()
        }),
    };
    v1::Record { record: Some(record) }
}

pub(super) fn open(record: &v1::Record) -> Option<(Category, &str)> {
    let (name, text) = match record.record.as_ref()? {
        record::Record::Span(span) => (&span.name, &span.error_message),
        record::Record::Error(error) => (&error.error_type, &error.message),
        record::Record::Log(_) => return None,
    };
    Some((Category::ALL.into_iter().find(|category| category.name() == name)?, text))
}

/// What Sentry does not want for now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<RateLimiter>>);

impl Gate {
    fn limits(&self) -> MutexGuard<'_, RateLimiter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether envelopes of a category are to be dropped.
    pub(super) fn is_closed(&self, category: Category) -> bool {
        self.closed_for(category).is_some()
    }

    /// As if Sentry had sent this header.
    #[cfg(test)]
    pub(super) fn close_for_test(&self, header: &str) {
        self.limits().update_from_sentry_header(header);
    }

    fn closed_for(&self, category: Category) -> Option<Duration> {
        self.limits().is_disabled(category.limit())
    }
}

/// Posts envelopes.
#[derive(Clone, Debug)]
pub struct Transport {
    agent: ureq::Agent,
    url: String,
    authorisation: String,
    gate: Gate,
}

impl Transport {
    /// Posts to the project that the DSN names.
    pub fn new(dsn: &Dsn, gate: Gate) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_global(Some(Duration::from_secs(9)))
            .build()
            .into();
        let client = concat!("conexus-sidecar/", env!("CARGO_PKG_VERSION"));
        let authorisation = format!("Sentry sentry_version=7, sentry_client={client}, sentry_key={}", dsn.public_key());
        Self { agent, url: dsn.envelope_url(), authorisation, gate }
    }

    fn post(&self, body: &str) -> Result<Sent, SendError> {
        let request = self
            .agent
            .post(&self.url)
            .header("X-Sentry-Auth", &self.authorisation)
            .header("Content-Type", "application/x-sentry-envelope");
        // The address is the DSN's: its key is not in it.
        let mut response = request.send(body).map_err(|error| SendError::Later(error.to_string(), None))?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let mut limits = self.gate.limits();
        if let Some(limited) = header("x-sentry-rate-limits") {
            limits.update_from_sentry_header(limited);
        } else if let (429, Some(after)) = (status, header("retry-after")) {
            limits.update_from_retry_after(after);
        } else if status == 429 {
            limits.update_from_429();
        }
        drop(limits);
        let answer = response.body_mut().with_config().limit(4 << 10).read_to_string().unwrap_or_default();
        let said = || format!("answered {status}: {}", cut(answer.trim(), 200));
        match status {
            200..=299 => Ok(Sent::default()),
            429 => Ok(Sent { refused: Some((1, "Sentry limits the rate".into())) }),
            // A wrong key or project may be put right; what waits is worth keeping.
            401 | 403 | 404 | 408 | 500.. => Err(SendError::Later(said(), None)),
            _ => Err(SendError::Never(said())),
        }
    }

    async fn post_elsewhere(&self, body: String) -> Result<Sent, SendError> {
        let this = self.clone();
        let posted = tokio::task::spawn_blocking(move || this.post(&body)).await;
        posted.unwrap_or_else(|error| Err(SendError::Later(error.to_string(), None)))
    }
}

impl Destination for Transport {
    async fn send(&mut self, pieces: &[Piece]) -> Result<Sent, SendError> {
        let mut refused = 0;
        let envelopes: Vec<(Category, String)> = pieces
            .iter()
            .flat_map(Piece::records)
            .filter_map(|record| open(record).map(|(category, text)| (category, text.to_owned())))
            .collect();
        for (category, body) in envelopes {
            if self.gate.is_closed(category) || self.post_elsewhere(body).await?.refused.is_some() {
                refused += 1;
            }
        }
        Ok(Sent { refused: (refused > 0).then(|| (refused, "Sentry limits the rate".to_owned())) })
    }

    /// An envelope without items: Sentry answers whether it knows the key and the project.
    async fn probe(&mut self) -> Result<Sent, SendError> {
        self.post_elsewhere("{}\n".into()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_survives_being_a_record() {
        let mut envelope = Envelope::new();
        envelope.add_item(sentry::protocol::Event { message: Some("é\n".into()), ..Default::default() });
        for category in Category::ALL {
            let record = parcel(category, &envelope);
            let (back, text) = open(&record).unwrap();
            let read = Envelope::from_slice(text.as_bytes()).unwrap();
            assert_eq!((back, read.event().unwrap().message.as_deref()), (category, Some("é\n")));
        }
    }

    #[test]
    fn a_limit_closes_the_gate_for_what_it_names() {
        let gate = Gate::default();
        gate.limits().update_from_sentry_header("60:transaction;session:organization:quota");
        assert!(gate.is_closed(Category::Transaction) && gate.is_closed(Category::Session));
        assert!(!gate.is_closed(Category::Error));
        gate.limits().update_from_429();
        assert!(gate.is_closed(Category::Error));
    }
}
