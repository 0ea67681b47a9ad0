//! Heard: what does the OTLP library only log?
//!
//! Over gRPC `opentelemetry-otlp` returns an error as a text with the code, and a partial success as nothing. The status
//! and the count are fields of events that it emits with `tracing` before it returns. A subscriber around one
//! export takes them; so they do not come into the sidecar's log either, where they would say that spans are lost.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::{Code, Status};
use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber;
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Whose events are heard.
const TARGET: &str = "opentelemetry-otlp";
/// The event of a call that failed.
const FAILED: &str = "TonicTracesClient.ExportFailed";
/// The event of a call whose spans were not all taken.
const PARTIAL: &str = "TonicTracesClient.PartialSuccess";

/// What was said during one export.
#[derive(Debug, Default)]
pub struct Notes {
    /// How the call failed, without causes.
    pub status: Option<Status>,
    /// Spans that the collector did not take, and why.
    pub refused: Option<(u64, String)>,
}

/// Listens.
pub struct Heard {
    notes: Arc<Mutex<Notes>>,
    // Kept: to make one looks at every place of the program that logs.
    dispatch: Dispatch,
}

impl Default for Heard {
    fn default() -> Self {
        let notes = Arc::<Mutex<Notes>>::default();
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(Listener { notes: notes.clone() }));
        Self { notes, dispatch }
    }
}

impl Heard {
    /// Runs an export and returns its result with what was said.
    pub async fn during<T>(&mut self, export: impl Future<Output = T>) -> (T, Notes) {
        // One that was cancelled may have left something.
        drop(self.take());
        let result = export.with_subscriber(self.dispatch.clone()).await;
        (result, self.take())
    }

    fn take(&self) -> Notes {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Listener {
    notes: Arc<Mutex<Notes>>,
}

impl<S: Subscriber> Layer<S> for Listener {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == TARGET && metadata.is_event()
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let name = event.metadata().name();
        if name != FAILED && name != PARTIAL {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        match name {
            FAILED => notes.status = fields.status(),
            _ => notes.refused = (fields.rejected > 0).then(|| (fields.rejected.unsigned_abs(), fields.message)),
        }
    }
}

/// The fields of both events.
#[derive(Default)]
struct Fields {
    code: String,
    message: String,
    details: Vec<u8>,
    rejected: i64,
}

impl Fields {
    fn status(self) -> Option<Status> {
        let code = (0..=16).map(Code::from_i32).find(|code| format!("{code:?}") == self.code)?;
        Some(Status::with_details(code, self.message, self.details.into()))
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "grpc_code" => self.code = value.to_owned(),
            "grpc_message" | "error_message" => self.message = value.to_owned(),
            "grpc_details" => self.details = bytes(value),
            _ => {}
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == "rejected_spans" {
            self.rejected = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// Bytes that are written as a list of numbers, such as `[10, 40]`; none if they are not.
fn bytes(list: &str) -> Vec<u8> {
    let numbers = list.trim_matches(['[', ']']).split(", ").map(str::parse);
    numbers.collect::<Result<_, _>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_from_their_list() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&format!("{all:?}")), all);
        assert_eq!(bytes(&format!("{:?}", &all[..1])), [0]);
        assert_eq!((bytes("[]"), bytes("[1, 256]")), (vec![], vec![]));
    }
}
