//! Request: what one request is called, how long it took, and how it ended.
//!
//! Counted when it is taken up, and once more when it ends, before its answer is sent. One that is dropped without an
//! end (its connection broke, its client gave up) counts as cancelled.

mod asked;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use conexus_proto::facts::{ErrorType, Fact, Method, Status};
use rmcp::ErrorData;
use rmcp::model::JsonObject;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error;
use crate::telemetry::{AttributeValue, ErrorReport, RootInfo, Telemetry, Tick, Trace};
pub(crate) use asked::Asked;

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
    asked: Asked,
    id: String,
    /// Whether its trace has begun.
    traced: AtomicBool,
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
    /// The code of the protocol error in the answer.
    pub(crate) code: Option<i32>,
    /// The tool's arguments, for the report of its failure.
    pub(crate) parameters: Option<JsonObject>,
}

impl Ending {
    /// Answered.
    pub(crate) fn well(results: Option<usize>) -> Self {
        Self { results, error: None, code: None, parameters: None }
    }

    /// Not answered with a result.
    pub(crate) fn failed(class: ErrorType, message: impl Into<String>) -> Self {
        Self { results: None, error: Some((class, message.into())), code: None, parameters: None }
    }

    /// The same, of a tool that was called with these arguments.
    pub(crate) fn with_parameters(self, parameters: JsonObject) -> Self {
        Self { parameters: Some(parameters), ..self }
    }

    /// Answered with a protocol error.
    pub(crate) fn refused(error: &ErrorData) -> Self {
        Self { code: Some(error.code.0), ..Self::failed(error::class(error), error.message.to_string()) }
    }
}

impl Desk {
    pub(crate) fn new(telemetry: Telemetry, places_max: usize) -> Self {
        Self { telemetry, places: Arc::new(Semaphore::new(places_max)), places_max }
    }

    /// Takes a request up, or refuses it because too many are in flight.
    pub(crate) fn take(&self, asked: Asked) -> Result<Request, ErrorData> {
        let request = self.begin(asked);
        match self.places.clone().try_acquire_owned() {
            Ok(place) => {
                *request.0.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
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
    pub(crate) fn refuse(&self, asked: Asked, error: &ErrorData) {
        self.begin(asked).fail(error);
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn idle(&self) {
        // Fails only if the semaphore is closed, which it never is.
        let _all = self.places.acquire_many(self.places_max as u32).await;
    }

    fn begin(&self, asked: Asked) -> Request {
        self.telemetry.emit(Fact::RequestStarted { method: asked.method });
        Request(Arc::new(Inner {
            telemetry: self.telemetry.clone(),
            id: asked.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            asked,
            traced: AtomicBool::new(false),
            user: OnceLock::new(),
            started: Tick::now(),
            ended: AtomicBool::new(false),
            place: Mutex::new(None),
        }))
    }
}

impl Request {
    /// Says who asked. Only the first time counts.
    pub(crate) fn asked_by(&self, user: Arc<str>) {
        let _ = self.0.user.set(user);
    }

    /// Begins its trace, to be given back with its end.
    pub(crate) fn trace(&self) -> Trace {
        self.0.trace()
    }

    /// Counts and logs its end, and ends its trace; only the first time. Where no trace has begun, there is one that says how
    /// the request ended.
    pub(crate) fn end(&self, ending: Ending, trace: Option<Trace>) {
        self.0.end(ending, trace);
    }

    /// Ends with a protocol error before anything was done for it.
    pub(crate) fn fail(&self, error: &ErrorData) {
        self.end(Ending::refused(error), None);
    }
}

impl Inner {
    /// The trace, from the moment at which the request was taken up.
    fn trace(&self) -> Trace {
        self.traced.store(true, Ordering::Release);
        let Asked { method, name, parent, transport, .. } = &self.asked;
        let mut trace = self.telemetry.trace(RootInfo::request(span_name(*method), *parent).since(self.started));
        let root = trace.root();
        trace.set(root, "method", AttributeValue::Static(method.as_str()));
        match name {
            Cow::Borrowed("") => {}
            Cow::Borrowed(name) => trace.set(root, "mcp.method.name", AttributeValue::Static(name)),
            Cow::Owned(name) => trace.set(root, "mcp.method.name", name),
        }
        if !self.id.is_empty() {
            trace.set(root, "jsonrpc.request.id", &self.id);
        }
        trace.set(root, "network.transport", AttributeValue::Static(transport));
        trace
    }

    fn end(&self, ending: Ending, trace: Option<Trace>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut trace = trace.or_else(|| (!self.traced.load(Ordering::Acquire)).then(|| self.trace()));
        let method = self.asked.method;
        let status = if ending.error.is_some() { Status::Error } else { Status::Ok };
        let nanos = self.started.elapsed_nanos();
        let finished = Fact::RequestFinished { method, status, nanos };
        match &mut trace {
            Some(trace) => trace.measure(trace.root(), finished),
            None => self.telemetry.emit(finished),
        }
        if let (Some(trace), Some(code)) = (&mut trace, ending.code) {
            let (root, code) = (trace.root(), code.to_string());
            trace.set(root, "rpc.response.status_code", &code);
            trace.set(root, "error.type", &code);
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
        self.telemetry.emit(Fact::RequestFailed { method: self.asked.method, error: class });
        let name = self.asked.method.as_str();
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
            method = self.asked.method.as_str(),
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
fn span_name(method: Method) -> &'static str {
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
