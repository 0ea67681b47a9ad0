//! Tools: which there are, how they are described to agents, and which code a call goes to.

pub(super) mod context_grep;
pub(super) mod context_index_control;
pub(crate) mod context_search;

mod arguments;
mod date;

use std::sync::Arc;

use conexus_proto::facts::{ErrorType, Method};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool, ToolAnnotations};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::error::ToolError;
use super::server::Progress;
use crate::app::Services;
use crate::telemetry::{AttributeValue, Trace};

/// The tools, in the order in which they are advertised.
const TOOLS: [(&str, Method); 3] = [
    (context_search::NAME, Method::ContextSearch),
    (context_grep::NAME, Method::ContextGrep),
    (context_index_control::NAME, Method::ContextIndexControl),
];

/// What a tool may use while it answers one call.
pub(crate) struct Call {
    /// The program's parts.
    pub(crate) services: Arc<Services>,
    /// Set once the client gives up.
    pub(crate) cancelled: CancellationToken,
    /// Where progress is reported, if the client asked for it.
    pub(crate) progress: Option<Progress>,
    /// Whether a cache may answer; benchmarks say no, with `_meta`'s `conexus/cache`.
    pub(crate) cache: bool,
    /// Places for searches through files, over all requests.
    greps: Arc<Semaphore>,
    /// The request's spans; `None` while they are lent to another thread.
    trace: Option<Trace>,
}

impl Call {
    /// A call whose root span is that of `trace`.
    pub(crate) fn new(
        services: Arc<Services>,
        cancelled: CancellationToken,
        progress: Option<Progress>,
        greps: Arc<Semaphore>,
        trace: Trace,
    ) -> Self {
        Self { services, cancelled, progress, cache: true, greps, trace: Some(trace) }
    }

    /// Sets an attribute of the root span.
    pub(crate) fn note<'a>(&mut self, key: &'static str, value: impl Into<AttributeValue<'a>>) {
        if let Some(trace) = &mut self.trace {
            trace.set(trace.root(), key, value);
        }
    }

    /// Does work that blocks, on a thread of its own that may add spans. Ends early when the client gives up; then the spans
    /// stay with the work.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Services, &mut Trace) -> T + Send + 'static,
    ) -> Result<T, ToolError> {
        let services = self.services.clone();
        let mut trace = self.trace.take().expect("a call's spans are lent to one thread at a time");
        let cancelled = self.cancelled.clone();
        let work = tokio::task::spawn_blocking(move || {
            let done = work(&services, &mut trace);
            if cancelled.is_cancelled() {
                // The request has ended without these spans, which therefore say it themselves.
                trace.set(trace.root(), "error", AttributeValue::Static(ErrorType::Cancelled.as_str()));
            }
            (done, trace)
        });
        tokio::select! {
            done = work => {
                let (done, trace) = done.map_err(|_| ToolError::Failed("it ended unexpectedly; the server's log says why".into()))?;
                self.trace = Some(trace);
                Ok(done)
            }
            () = self.cancelled.cancelled() => Err(ToolError::Cancelled),
        }
    }

    /// The spans, at the end.
    pub(crate) fn into_trace(self) -> Option<Trace> {
        self.trace
    }
}

/// A tool's result.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Compact, for reading.
    pub(crate) text: String,
    /// The same for programs, as the output schema says.
    pub(crate) structured: Value,
    /// How many results it holds, where that means something.
    pub(crate) results: Option<usize>,
}

/// Every tool, described. `top_k` is how many results a search returns that does not say.
pub(crate) fn all(top_k: usize) -> Vec<Tool> {
    vec![context_search::describe(top_k), context_grep::describe(), context_index_control::describe()]
}

/// The advertised name of a tool that may be called with a dot (`context.search`).
pub(crate) fn canonical(name: &str) -> Option<&'static str> {
    TOOLS.iter().find(|(tool, _)| same_name(tool, name)).map(|(tool, _)| *tool)
}

/// What a call is counted as.
pub(crate) fn method(name: &str) -> Method {
    TOOLS.iter().find(|(tool, _)| same_name(tool, name)).map_or(Method::Other, |(_, method)| *method)
}

fn same_name(tool: &str, name: &str) -> bool {
    tool == name
        || name.split_once('.').is_some_and(|(group, rest)| tool.strip_prefix(group) == Some(&format!("_{rest}")))
}

/// The names, for errors.
pub(crate) fn names() -> String {
    TOOLS.map(|(name, _)| name).join(", ")
}

/// Runs a tool by its advertised name.
pub(crate) async fn run(name: &'static str, arguments: &JsonObject, call: &mut Call) -> Result<Answer, ToolError> {
    match name {
        context_search::NAME => context_search::run(arguments, call).await,
        context_grep::NAME => context_grep::run(arguments, call).await,
        _ => context_index_control::run(arguments, call).await,
    }
}

/// An outcome as the protocol has it.
pub(crate) fn to_result(name: &str, outcome: Result<Answer, ToolError>) -> CallToolResult {
    match outcome {
        Ok(answer) => {
            let mut result = CallToolResult::success(vec![ContentBlock::text(answer.text)]);
            result.structured_content = Some(answer.structured);
            result
        }
        Err(error) => CallToolResult::error(vec![ContentBlock::text(error.text(name))]),
    }
}

/// A tool's description. Panics if a schema is not an object: schemas are literals, and a test describes every tool.
fn tool(name: &'static str, title: &str, description: &'static str, input: Value, output: Value, reads: bool) -> Tool {
    let object = |schema: Value| match schema {
        Value::Object(schema) => Arc::new(schema),
        other => unreachable!("a schema is an object, not {other}"),
    };
    let hints =
        ToolAnnotations::with_title(title).read_only(reads).idempotent(true).destructive(false).open_world(false);
    Tool::new(name, description, object(input))
        .with_title(title)
        .with_raw_output_schema(object(output))
        .with_annotations(hints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted_with_a_dot_and_unknown_ones_are_not() {
        assert_eq!(canonical("context_search"), Some("context_search"));
        assert_eq!(canonical("context.search"), Some("context_search"));
        assert_eq!(canonical("context.index_control"), Some("context_index_control"));
        for name in
            ["context.", "context", "search", "context__search", "context.explain", "context_index.control2", ""]
        {
            assert_eq!(canonical(name), None, "{name}");
        }
    }

    #[test]
    fn every_tool_is_described_with_closed_schemas() {
        let tools = all(7);
        assert_eq!(tools[0].input_schema["properties"]["top_k"]["default"], 7);
        assert_eq!(tools.iter().map(|t| t.name.as_ref()).collect::<Vec<_>>(), TOOLS.map(|(name, _)| name));
        for tool in tools {
            assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
            let output = tool.output_schema.as_ref().unwrap();
            let mut properties: Vec<_> = output["properties"].as_object().unwrap().keys().cloned().collect();
            let mut required: Vec<_> =
                output["required"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect();
            properties.sort();
            required.sort();
            assert_eq!(properties, required, "every field of {} is always there", tool.name);
            assert!(tool.description.as_ref().unwrap().len() > 100);
            assert!(tool.annotations.as_ref().unwrap().read_only_hint.is_some());
        }
    }
}
