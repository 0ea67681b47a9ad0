//! Request: what one request is called, how long it took, and how it ended.
//!
//! Counted when it is taken up, and once more when it ends, before its answer is sent. One that is dropped without an
//! end (its connection broke, its client gave up) counts as cancelled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use conexus_proto::facts::{ErrorType, Fact, Method, Status};
use rmcp::ErrorData;
use rmcp::model::{JsonObject, RequestId};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error;
use crate::telemetry::{AttributeValue, ErrorReport, RootInfo, Telemetry, Tick, Trace};

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
    /// The name of the token with which it came, where there is one.
    user: OnceLock<Arc<str>>,
    started: Tick,
    ended: AtomicBool,
    /// Given back when the request ends, not when its last trace in memory goes.
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

/// How a request ended, well or not.
pub(crate) struct Ending {
    /// Results in the answer, where that means something.
    pub(crate) results: Option<usize>,
    /// Why it failed, and the message that the client got.
    pub(crate) error: Option<(ErrorType, String)>,
    /// The tool's arguments, for the report of its failure.
    pub(crate) parameters: Option<JsonObject>,
}

impl Ending {
    /// Answered.
    pub(crate) fn well(results: Option<usize>) -> Self {
        Self { results, error: None, parameters: None }
    }

    /// Not answered with a result.
    pub(crate) fn failed(class: ErrorType, message: impl Into<String>) -> Self {
        Self { results: None, error: Some((class, message.into())), parameters: None }
    }

    /// The same, of a tool that was called with these arguments.
    pub(crate) fn with_parameters(self, parameters: JsonObject) -> Self {
        Self { parameters: Some(parameters), ..self }
    }

    /// Answered with a protocol error.
    pub(crate) fn refused(error: &ErrorData) -> Self {
        Self::failed(error::class(error), error.message.to_string())
    }
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
                *request.0.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
                Ok(request)
            }
            Err(_) => {
                let message = format!("the server is busy with {} requests; try again in a moment", self.places_max);
                let refusal = ErrorData::new(error::OVERLOADED, message, None);
                request.refuse(&refusal);
                Err(refusal)
            }
        }
    }

    /// Counts a request that is refused before anything is done for it.
    pub(crate) fn refuse(&self, method: Method, id: Option<&RequestId>, error: &ErrorData) {
        self.begin(method, id).refuse(error);
    }

    /// Counts a request from somebody who may not ask.
    pub(crate) fn refuse_stranger(&self, message: &str) {
        self.begin(Method::Other, None).refuse(&ErrorData::new(error::REFUSED, message.to_owned(), None));
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
            user: OnceLock::new(),
            started: Tick::now(),
            ended: AtomicBool::new(false),
            place: Mutex::new(None),
        }))
    }
}

impl Request {
    /// What it is counted as.
    pub(crate) fn method(&self) -> Method {
        self.0.method
    }

    /// Says who asked. Only the first time counts.
    pub(crate) fn asked_by(&self, user: Arc<str>) {
        let _ = self.0.user.set(user);
    }

    /// Its JSON-RPC id.
    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    /// Counts and logs its end, and ends its trace; only the first time.
    pub(crate) fn end(&self, ending: Ending, trace: Option<Trace>) {
        self.0.end(ending, trace);
    }

    /// Ends before anything was done for it, with a trace that says why.
    fn refuse(&self, error: &ErrorData) {
        let mut trace = self.0.telemetry.trace(RootInfo::request(span_name(self.0.method), None));
        let (root, code) = (trace.root(), error.code.0.to_string());
        trace.set(root, "method", AttributeValue::Static(self.0.method.as_str()));
        trace.set(root, "jsonrpc.request.id", &self.0.id);
        trace.set(root, "rpc.response.status_code", &code);
        trace.set(root, "error.type", &code);
        self.end(Ending::refused(error), Some(trace));
    }

    /// Ends with a protocol error, without a trace.
    pub(crate) fn fail(&self, error: &ErrorData) {
        self.end(Ending::refused(error), None);
    }
}

impl Inner {
    fn end(&self, ending: Ending, mut trace: Option<Trace>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let method = self.method;
        let status = if ending.error.is_some() { Status::Error } else { Status::Ok };
        let nanos = self.started.elapsed_nanos();
        let finished = Fact::RequestFinished { method, status, nanos };
        match &mut trace {
            Some(trace) => trace.measure(trace.root(), finished),
            None => self.telemetry.emit(finished),
        }
        if let Some((class, message)) = &ending.error {
            self.report(*class, message, ending.parameters.as_ref(), trace.as_mut());
        }
        if let (Some(trace), Some(results)) = (&mut trace, ending.results) {
            trace.set(trace.root(), "results", results);
        }
        self.log(&ending, nanos, trace.as_mut());
        if let Some(trace) = trace {
            trace.finish();
        }
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn report(&self, class: ErrorType, message: &str, parameters: Option<&JsonObject>, trace: Option<&mut Trace>) {
        self.telemetry.emit(Fact::RequestFailed { method: self.method, error: class });
        let name = self.method.as_str();
        let mut report = ErrorReport::new(class, message);
        report = match name.starts_with("context_") {
            true => report.request("tools/call", &self.id).tool(name),
            false => report.request(name, &self.id),
        };
        if let Some(user) = self.user.get() {
            report = report.with("user", &**user);
        }
        for (name, value) in parameters.into_iter().flatten() {
            // A name that tells of a secret must stand last for the value to be seen as one.
            report = report.with(format!("parameter.{name}"), plain(value));
        }
        if let Some(trace) = trace {
            let root = trace.root();
            trace.set(root, "error", AttributeValue::Static(class.as_str()));
            trace.fail(root, message);
            report = report.in_trace(trace.context(root));
        }
        // Nobody needs to look at a client that changed its mind.
        if class != ErrorType::Cancelled {
            self.telemetry.error(report);
        }
    }

    /// The line a request. Inside a trace it carries its ids.
    fn log(&self, ending: &Ending, nanos: u64, trace: Option<&mut Trace>) {
        let _entered = trace.map(|trace| trace.scope(trace.root()).entered());
        tracing::info!(
            method = self.method.as_str(),
            duration_ms = (nanos / 1_000) as f64 / 1e3,
            results = ending.results.map(|results| results as u64),
            error = ending.error.as_ref().map(|(_, message)| message.as_str()),
            "MCP request completed"
        );
    }
}

/// An argument as a report shows it.
fn plain(value: &Value) -> AttributeValue<'_> {
    match value {
        Value::String(text) => AttributeValue::Str(text),
        Value::Bool(flag) => AttributeValue::Flag(*flag),
        Value::Number(number) if number.is_i64() => AttributeValue::Integer(number.as_i64().unwrap_or_default()),
        other => AttributeValue::Text(other.to_string()),
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end(Ending::failed(ErrorType::Cancelled, "dropped before it was answered"), None);
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
