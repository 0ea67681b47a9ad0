//! Request: what one request is called, how long it took, and how it ended.
//!
//! Counted when it is taken up, and once more when it ends, before its answer is sent. One that is dropped without an
//! end (its connection broke, its client gave up) counts as cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use conexus_proto::facts::{ErrorType, Fact, Method, Status};
use rmcp::ErrorData;
use rmcp::model::RequestId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error;
use crate::telemetry::Telemetry;

/// Takes requests up, so many at a time.
#[derive(Clone)]
pub(crate) struct Desk {
    telemetry: Telemetry,
    places: Arc<Semaphore>,
    places_max: usize,
}

/// A request that has been taken up. Clones are the same request.
#[derive(Clone)]
pub(crate) struct Request(Arc<Inner>);

struct Inner {
    telemetry: Telemetry,
    method: Method,
    id: String,
    started: fastant::Instant,
    ended: AtomicBool,
    /// Given back when the request ends, not when its last trace in memory goes.
    place: std::sync::Mutex<Option<OwnedSemaphorePermit>>,
}

/// How a request ended well, or did not.
pub(crate) struct Ending {
    /// Results in the answer, where that means something.
    pub(crate) results: Option<usize>,
    /// Why it failed, and the message that the client got.
    pub(crate) error: Option<(ErrorType, String)>,
}

impl Desk {
    pub(crate) fn new(telemetry: Telemetry, places_max: usize) -> Self {
        Self { telemetry, places: Arc::new(Semaphore::new(places_max)), places_max }
    }

    /// Takes a request up, or refuses it because too many are in flight.
    pub(crate) fn take(&self, method: Method, id: Option<&RequestId>) -> Result<Request, ErrorData> {
        let request = self.begin(method, id);
        match self.places.clone().try_acquire_owned() {
            Ok(place) => {
                *request.0.place.lock().expect("nothing panics while it holds a place") = Some(place);
                Ok(request)
            }
            Err(_) => {
                let message = format!("the server is busy with {} requests; try again in a moment", self.places_max);
                let refusal = ErrorData::new(error::OVERLOADED, message, None);
                request.fail(&refusal);
                Err(refusal)
            }
        }
    }

    /// Counts a request that is refused before anything is done for it.
    pub(crate) fn refuse(&self, method: Method, id: Option<&RequestId>, error: &ErrorData) {
        self.begin(method, id).fail(error);
    }

    /// Counts a request from somebody who may not ask.
    pub(crate) fn refuse_stranger(&self, message: &str) {
        self.begin(Method::Other, None)
            .end(Ending { results: None, error: Some((ErrorType::Auth, message.to_owned())) });
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn idle(&self) {
        // Fails only if the semaphore is closed, which it never is.
        let _all = self.places.acquire_many(self.places_max as u32).await;
    }

    fn begin(&self, method: Method, id: Option<&RequestId>) -> Request {
        self.telemetry.emit(Fact::RequestStarted { method });
        Request(Arc::new(Inner {
            telemetry: self.telemetry.clone(),
            method,
            id: id.map(ToString::to_string).unwrap_or_default(),
            started: fastant::Instant::now(),
            ended: AtomicBool::new(false),
            place: std::sync::Mutex::new(None),
        }))
    }
}

impl Request {
    /// What it is counted as.
    pub(crate) fn method(&self) -> Method {
        self.0.method
    }

    /// Its JSON-RPC id.
    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    /// Counts and logs its end; only the first time.
    pub(crate) fn end(&self, ending: Ending) {
        self.0.end(ending);
    }

    /// Ends with a protocol error.
    pub(crate) fn fail(&self, error: &ErrorData) {
        self.end(Ending { results: None, error: Some((error::class(error), error.message.to_string())) });
    }
}

impl Inner {
    fn end(&self, ending: Ending) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let taken = self.started.elapsed();
        let method = self.method;
        let status = if ending.error.is_some() { Status::Error } else { Status::Ok };
        self.telemetry.emit(Fact::RequestFinished { method, status, nanos: taken.as_nanos() as u64 });
        if let Some((error, _)) = &ending.error {
            self.telemetry.emit(Fact::RequestFailed { method, error: *error });
        }
        tracing::info!(
            method = method.as_str(),
            duration_ms = (taken.as_secs_f64() * 1e6).round() / 1e3,
            results = ending.results.map(|n| n as u64),
            error = ending.error.as_ref().map(|(_, message)| message.as_str()),
            "MCP request completed"
        );
        drop(self.place.lock().expect("nothing panics while it holds a place").take());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end(Ending { results: None, error: Some((ErrorType::Cancelled, "dropped before it was answered".into())) });
    }
}

/// The name of a method's root span.
pub(crate) fn span_name(method: Method) -> &'static str {
    match method {
        Method::Initialize => "mcp.initialize",
        Method::Discover => "mcp.server/discover",
        Method::Ping => "mcp.ping",
        Method::ToolsList => "mcp.tools/list",
        Method::ContextSearch => "mcp.search",
        Method::ContextGetRelatedInfo => "mcp.get_related_info",
        Method::ContextExplain => "mcp.explain",
        Method::ContextGrep => "mcp.grep",
        Method::ContextIndexControl => "mcp.index_control",
        Method::ContextConnectorManagement => "mcp.connector_management",
        Method::ResourcesList => "mcp.resources/list",
        Method::ResourcesTemplatesList => "mcp.resources/templates/list",
        Method::ResourcesRead => "mcp.resources/read",
        Method::ResourcesSubscribe => "mcp.resources/subscribe",
        Method::ResourcesUnsubscribe => "mcp.resources/unsubscribe",
        Method::PromptsList => "mcp.prompts/list",
        Method::PromptsGet => "mcp.prompts/get",
        Method::CompletionComplete => "mcp.completion/complete",
        Method::LoggingSetLevel => "mcp.logging/setLevel",
        Method::Other => "mcp.other",
    }
}
