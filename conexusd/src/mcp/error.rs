//! Errors: which JSON-RPC code and which class does a failure have?

use std::fmt;

use conexus_proto::facts::ErrorType;
use conexus_proto::scrub::scrubbed;
use rmcp::ErrorData;
use rmcp::model::ErrorCode;

/// The server has as many requests in flight as it takes. From the range that JSON-RPC leaves to servers.
pub(crate) const OVERLOADED: ErrorCode = ErrorCode(-32000);

/// The sender may not ask at all: its host, its origin or its token. From the same range.
pub(crate) const REFUSED: ErrorCode = ErrorCode(-32001);

/// What a request is answered when the code that handles it panicked.
pub(crate) const PANICKED: &str = "the server failed while it answered; its log says where";

/// The class of a protocol error, for facts.
pub(crate) fn class(error: &ErrorData) -> ErrorType {
    match error.code {
        ErrorCode::PARSE_ERROR => ErrorType::Parse,
        ErrorCode::INVALID_REQUEST | ErrorCode::UNSUPPORTED_PROTOCOL_VERSION | ErrorCode::HEADER_MISMATCH => {
            ErrorType::InvalidRequest
        }
        ErrorCode::METHOD_NOT_FOUND => ErrorType::MethodNotFound,
        ErrorCode::INVALID_PARAMS | ErrorCode::RESOURCE_NOT_FOUND => ErrorType::InvalidParams,
        OVERLOADED => ErrorType::RateLimited,
        REFUSED => ErrorType::Auth,
        _ if error.message == PANICKED => ErrorType::Internal,
        _ => ErrorType::Handler,
    }
}

/// The same error with nothing secret of what was sent repeated in it.
pub(crate) fn without_secrets(mut error: ErrorData) -> ErrorData {
    error.message = scrubbed(&error.message).into_owned().into();
    for value in error.data.iter_mut().filter_map(|data| data.as_object_mut()).flat_map(|data| data.values_mut()) {
        if let Some(text) = value.as_str() {
            *value = scrubbed(text).into();
        }
    }
    error
}

/// Why a tool has no result, as the asker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToolError {
    /// Arguments that cannot be used, all of them.
    Arguments(Vec<String>),
    /// The tool could not do it.
    Failed(String),
    /// It took too long.
    TimedOut(String),
    /// The asker gave up.
    Cancelled,
}

impl ToolError {
    /// One argument that cannot be used.
    pub(crate) fn argument(name: &str, problem: impl fmt::Display) -> Self {
        Self::Arguments(vec![format!("{name}: {problem}")])
    }

    /// The class, for facts.
    pub(crate) fn class(&self) -> ErrorType {
        match self {
            Self::Arguments(_) => ErrorType::InvalidParams,
            Self::Failed(_) => ErrorType::Tool,
            Self::TimedOut(_) => ErrorType::Timeout,
            Self::Cancelled => ErrorType::Cancelled,
        }
    }

    /// On one line, for logs and traces.
    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Arguments(problems) => problems.join("; "),
            Self::Failed(problem) | Self::TimedOut(problem) => problem.clone(),
            Self::Cancelled => "cancelled".to_owned(),
        }
    }

    /// What the asker reads. A secret in what it sent is not repeated.
    pub(crate) fn text(&self, tool: &str) -> String {
        let text = match self {
            Self::Arguments(problems) => {
                let plural = if problems.len() == 1 { "" } else { "s" };
                format!("invalid argument{plural} for {tool}:\n- {}", problems.join("\n- "))
            }
            Self::Failed(problem) | Self::TimedOut(problem) => format!("{tool} failed: {problem}"),
            Self::Cancelled => format!("{tool} was cancelled"),
        };
        scrubbed(&text).into_owned()
    }
}
