//! Wire: is this text a JSON-RPC message of MCP, and if not, what is its sender told?
//!
//! Stands before the protocol library, which drops text that is not JSON, answers malformed parameters with "method not
//! found", and ends a connection whose first message is a notification.

use conexus_proto::facts::Method;
use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, ClientJsonRpcMessage, ClientRequest, ErrorCode, GetMeta, InitializeRequestParams,
    JsonRpcRequest, PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, RequestId, RequestMetaObject,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::without_secrets;
use super::request::Asked;
use super::tools;
use crate::telemetry::TraceParent;

/// A text, read.
pub(crate) enum Incoming {
    /// A message for the protocol library.
    Message(Box<ClientJsonRpcMessage>),
    /// A notification that nobody needs. Notifications get no reply, however odd they are.
    Ignored,
    /// Not a message that can be answered with a result.
    Rejected(Rejection),
}

/// What the sender of a bad message is told.
pub(crate) struct Rejection {
    /// What could be read of the request.
    pub(crate) asked: Asked,
    /// What was wrong.
    pub(crate) error: ErrorData,
}

fn rejected(asked: Asked, error: ErrorData) -> Incoming {
    Incoming::Rejected(Rejection { asked, error })
}

/// An error response. Its id is null where none could be read, as JSON-RPC asks. A secret in what was sent is not repeated.
pub(crate) fn error_json(id: Option<&RequestId>, error: &ErrorData) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": id, "error": without_secrets(error.clone())}).to_string().into_bytes()
}

/// Reads one message.
pub(crate) fn read(text: &[u8]) -> Incoming {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let message = match serde_json::from_slice::<Value>(text) {
        Ok(Value::Object(message)) => message,
        Ok(Value::Array(_)) => {
            let text = "batches are not supported: send one JSON-RPC object at a time";
            return rejected(Asked::unreadable(), invalid_request(text));
        }
        Ok(_) => return rejected(Asked::unreadable(), invalid_request("a JSON-RPC message must be an object")),
        Err(error) => {
            let error = ErrorData::parse_error(format!("not valid JSON: {error}"), None);
            return rejected(Asked::unreadable(), error);
        }
    };
    let mut asked = Asked { parent: parent(&message), ..Asked::unreadable() };
    if let Some(Value::String(name)) = message.get("method") {
        asked.name = match METHODS.iter().find(|method| *method == name) {
            Some(method) => (*method).into(),
            None => name.chars().take(100).collect::<String>().into(),
        };
    }
    asked.id = match message.get("id").map(id) {
        Some(None) => return rejected(asked, invalid_request("`id` must be a string or an integer (64 bits)")),
        Some(id) => id,
        None => None,
    };
    if message.get("jsonrpc") != Some(&Value::from("2.0")) {
        return rejected(asked, invalid_request("`jsonrpc` must be \"2.0\""));
    }
    match message.get("method") {
        Some(Value::String(_)) if asked.id.is_some() => request(asked, message),
        Some(Value::String(_)) => notification(message),
        Some(_) => rejected(asked, invalid_request("`method` must be a string")),
        None if asked.id.is_some() && (message.contains_key("result") || message.contains_key("error")) => {
            response(message)
        }
        None => rejected(asked, invalid_request("`method` is missing")),
    }
}

/// The caller's span in the `_meta` of a message. A malformed one is none.
fn parent(message: &Map<String, Value>) -> Option<TraceParent> {
    message.get("params")?.get("_meta")?.get("traceparent")?.as_str()?.parse().ok()
}

/// What is known of a request that was read.
pub(crate) fn asked(message: &JsonRpcRequest<ClientRequest>) -> Asked {
    let name = METHODS.iter().find(|method| **method == message.request.method()).copied().unwrap_or_default();
    let parent = message.request.get_meta().get_traceparent().and_then(|parent| parent.parse().ok());
    Asked { parent, ..Asked::new(method(&message.request), name, Some(message.id.clone())) }
}

/// What a request is counted as.
fn method(request: &ClientRequest) -> Method {
    match request {
        ClientRequest::CallToolRequest(call) => tools::method(&call.params.name),
        other => method_named(other.method()),
    }
}

fn method_named(name: &str) -> Method {
    // Tool names share the label's set and are no methods.
    Method::from_text(name).filter(|method| !method.as_str().starts_with("context_")).unwrap_or(Method::Other)
}

/// The methods of this server.
const METHODS: [&str; 8] = [
    "initialize",
    DISCOVER,
    "ping",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
];

fn request(mut asked: Asked, message: Map<String, Value>) -> Incoming {
    let name = &*asked.name;
    asked.method = method_named(name);
    if !METHODS.contains(&name) {
        let known = METHODS.join(", ").replace(DISCOVER, &format!("{DISCOVER} (protocol version {FIRST_TO_DISCOVER})"));
        let text = format!("unknown method `{name}`; this server has {known}");
        return rejected(asked, ErrorData::new(ErrorCode::METHOD_NOT_FOUND, text, None));
    }
    let problem = match message.get("params") {
        Some(Value::Object(_)) | None => params_problem(name, message.get("params")),
        Some(_) => Some("`params` must be an object".to_owned()),
    };
    if let Some(problem) = problem {
        let error = ErrorData::invalid_params(format!("invalid params of {name}: {problem}"), None);
        return rejected(asked, error);
    }
    match serde_json::from_value::<ClientJsonRpcMessage>(Value::Object(message)) {
        Ok(message) => Incoming::Message(Box::new(message)),
        Err(error) => rejected(asked, invalid_request(format!("not a valid request: {error}"))),
    }
}

/// A method that only those versions have in which each request carries its version.
const DISCOVER: &str = "server/discover";

/// The first of them.
const FIRST_TO_DISCOVER: ProtocolVersion = ProtocolVersion::V_2026_07_28;

/// What is wrong with the parameters of a method that this server has.
fn params_problem(method: &str, params: Option<&Value>) -> Option<String> {
    let meta = params.and_then(|params| params.get("_meta"));
    if meta.is_some_and(|meta| !meta.is_object()) {
        return Some("`_meta` must be an object".to_owned());
    }
    match method {
        "initialize" => required::<InitializeRequestParams>(params),
        "tools/call" => required::<CallToolRequestParams>(params),
        "resources/read" => required::<ReadResourceRequestParams>(params),
        "tools/list" | "resources/list" | "resources/templates/list" => params
            .and_then(|params| serde_json::from_value::<PaginatedRequestParams>(params.clone()).err())
            .map(|error| error.to_string()),
        DISCOVER => discover_problem(meta),
        _ => None,
    }
}

fn discover_problem(meta: Option<&Value>) -> Option<String> {
    let meta: RequestMetaObject = meta.and_then(|meta| serde_json::from_value(meta.clone()).ok()).unwrap_or_default();
    let missing = meta.missing_required_keys(&FIRST_TO_DISCOVER);
    let text = || {
        format!(
            "it belongs to protocol version {FIRST_TO_DISCOVER} and needs `_meta` with {}; earlier versions begin with initialize",
            missing.join(", ")
        )
    };
    (!missing.is_empty()).then(text)
}

fn required<P: DeserializeOwned>(params: Option<&Value>) -> Option<String> {
    let Some(params) = params else { return Some("`params` is missing".to_owned()) };
    // The error names the field that is missing or of the wrong type.
    serde_json::from_value::<P>(params.clone()).err().map(|error| error.to_string())
}

fn notification(message: Map<String, Value>) -> Incoming {
    match serde_json::from_value(Value::Object(message)) {
        Ok(message) => Incoming::Message(Box::new(message)),
        Err(error) => {
            tracing::debug!(%error, "ignored a malformed notification");
            Incoming::Ignored
        }
    }
}

fn response(message: Map<String, Value>) -> Incoming {
    match serde_json::from_value(Value::Object(message)) {
        Ok(message) => Incoming::Message(Box::new(message)),
        Err(error) => {
            tracing::debug!(%error, "ignored a malformed response");
            Incoming::Ignored
        }
    }
}

fn id(value: &Value) -> Option<RequestId> {
    serde_json::from_value(value.clone()).ok()
}

fn invalid_request(message: impl Into<std::borrow::Cow<'static, str>>) -> ErrorData {
    ErrorData::invalid_request(message, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(text: &str) -> (i32, Value, String) {
        match read(text.as_bytes()) {
            Incoming::Rejected(rejection) => {
                let reply: Value =
                    serde_json::from_slice(&error_json(rejection.asked.id.as_ref(), &rejection.error)).unwrap();
                (rejection.error.code.0, reply["id"].clone(), rejection.error.message.to_string())
            }
            Incoming::Ignored => panic!("ignored: {text}"),
            Incoming::Message(message) => panic!("taken: {message:?}"),
        }
    }

    #[test]
    fn what_is_no_message_is_rejected_with_its_code_and_id() {
        let check = |text: &str, code: i32, id: Value, says: &str| {
            let (found, found_id, message) = rejection(text);
            assert_eq!((found, found_id), (code, id), "{text}: {message}");
            assert!(message.contains(says), "{text}: {message}");
        };
        check("{", -32700, Value::Null, "not valid JSON");
        check("\u{0}", -32700, Value::Null, "not valid JSON");
        check(&"[".repeat(5000), -32700, Value::Null, "not valid JSON");
        check("[]", -32600, Value::Null, "batches");
        check(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600, Value::Null, "batches");
        check("1", -32600, Value::Null, "object");
        check("{}", -32600, Value::Null, "jsonrpc");
        check(r#"{"jsonrpc":"1.0","id":4,"method":"ping"}"#, -32600, json!(4), "jsonrpc");
        check(r#"{"jsonrpc":"2.0","id":4}"#, -32600, json!(4), "`method` is missing");
        check(r#"{"jsonrpc":"2.0","id":"a","method":7}"#, -32600, json!("a"), "string");
        check(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600, Value::Null, "id");
        check(r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600, Value::Null, "id");
        check(r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600, Value::Null, "id");
        check(r#"{"jsonrpc":"2.0","id":5,"method":"ping","params":[1]}"#, -32602, json!(5), "params");
        check(r#"{"jsonrpc":"2.0","id":5,"method":"tools/call"}"#, -32602, json!(5), "missing");
        check(r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{}}"#, -32602, json!(5), "name");
        check(
            r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"context_grep","arguments":[]}}"#,
            -32602,
            json!(5),
            "invalid type",
        );
        check(r#"{"jsonrpc":"2.0","id":5,"method":"resources/read","params":{"uri":5}}"#, -32602, json!(5), "string");
        check(r#"{"jsonrpc":"2.0","id":5,"method":"tools/list","params":{"cursor":5}}"#, -32602, json!(5), "string");
        check(r#"{"jsonrpc":"2.0","id":5,"method":"initialize","params":{}}"#, -32602, json!(5), "protocolVersion");
        check(r#"{"jsonrpc":"2.0","id":5,"method":"ping","params":{"_meta":1}}"#, -32602, json!(5), "_meta");
        check(r#"{"jsonrpc":"2.0","id":5,"method":"no/such"}"#, -32601, json!(5), "no/such");
        for params in ["", r#","params":{}"#, r#","params":{"_meta":{}}"#] {
            let discover = format!(r#"{{"jsonrpc":"2.0","id":5,"method":"server/discover"{params}}}"#);
            check(&discover, -32602, json!(5), "protocol version 2026-07-28");
        }
        check(r#"{"jsonrpc":"2.0","id":5,"method":"context_search"}"#, -32601, json!(5), "context_search");
        check(r#"{"jsonrpc":"2.0","id":5,"method":"prompts/list"}"#, -32601, json!(5), "prompts/list");
    }

    #[test]
    fn requests_are_counted_as_methods_and_tools_from_the_closed_set() {
        let check = |text: &str, expect: Method| match read(text.as_bytes()) {
            Incoming::Message(message) => match *message {
                ClientJsonRpcMessage::Request(request) => assert_eq!(method(&request.request), expect, "{text}"),
                other => panic!("{other:?}"),
            },
            _ => panic!("not taken: {text}"),
        };
        check(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Method::Ping);
        let call =
            |name: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}"}}}}"#);
        check(&call("context_search"), Method::ContextSearch);
        check(&call("context.grep"), Method::ContextGrep);
        check(&call("context_explain"), Method::Other);
        check(&call("ping"), Method::Other);
    }

    #[test]
    fn notifications_are_never_rejected() {
        for text in [
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/no_such","params":{"a":1}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":[]}"#,
            r#"{"jsonrpc":"2.0","method":"tools/call"}"#,
        ] {
            assert!(!matches!(read(text.as_bytes()), Incoming::Rejected(_)), "{text}");
        }
    }
}
