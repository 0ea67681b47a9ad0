//! A Jaeger: its interface and query API over traces in memory, a program of its own (`tests/jaeger`) built by `make backends`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::{build_folder, get};

/// A running one. Killed when dropped.
#[derive(Debug)]
pub struct Jaeger {
    child: Child,
    /// `host:port` of the interface and the query API.
    pub ui: String,
    /// `host:port` of OTLP over HTTP.
    pub http: String,
    /// `host:port` of OTLP over gRPC.
    pub grpc: String,
}

/// A span as the query API shows it.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its trace, in hexadecimal.
    pub trace_id: String,
    /// Its id, in hexadecimal.
    pub id: String,
    /// The span it is a part of.
    pub parent: Option<String>,
    /// The spans it points to: trace and id.
    pub links: Vec<(String, String)>,
    /// Its name.
    pub name: String,
    /// Microseconds since 1970.
    pub start: u64,
    /// Microseconds.
    pub duration: u64,
    /// Its attributes, and what Jaeger makes of kind and status.
    pub tags: BTreeMap<String, Value>,
    /// The names of its events.
    pub events: Vec<String>,
    /// The resource's attributes.
    pub process: BTreeMap<String, Value>,
}

impl Jaeger {
    /// Starts one on free ports.
    pub fn start() -> Self {
        Self::start_at(&[])
    }

    /// Starts one on the ports of one that has ended.
    pub fn start_again(ended: &Self) -> Self {
        let ports = [&ended.ui, &ended.http, &ended.grpc].map(|address| address.rsplit(':').next().unwrap_or("0"));
        Self::start_at(&ports)
    }

    fn start_at(ports: &[&str]) -> Self {
        let target = build_folder().parent().expect("a profile's folder is in the target folder").to_path_buf();
        let program = target.join("test-tools/jaeger/debug/conexus-test-jaeger");
        assert!(program.is_file(), "{} is not built: run `make backends`", program.display());
        let mut command = Command::new(program);
        command.args(ports).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let listens: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let at = |name: &str| listens[name].as_str().expect("an address").to_owned();
        Self { child, ui: at("ui"), http: at("http"), grpc: at("grpc") }
    }

    /// Ends it, as a crash does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The spans of a trace by start; none if it is not there (yet).
    pub fn trace(&self, id: &str) -> Vec<Span> {
        let (status, body) = get(&format!("http://{}/api/traces/{id}", self.ui)).expect("Jaeger answers");
        if status == 404 {
            return Vec::new();
        }
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        spans(&answer["data"][0])
    }

    /// All traces of the service whose root is there, newest first.
    pub fn traces(&self) -> Vec<Vec<Span>> {
        let url = format!("http://{}/api/traces?service=conexus&limit=1000000", self.ui);
        let (_, body) = get(&url).expect("Jaeger answers");
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        answer["data"].as_array().expect("a list of traces").iter().map(spans).collect()
    }

    /// All traces whose root has this name.
    pub fn rooted_in(&self, name: &str) -> Vec<Vec<Span>> {
        let mut traces = self.traces();
        traces.retain(|spans| root(spans).name == name);
        traces
    }
}

impl Drop for Jaeger {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The span of a trace whose parent is not in it.
pub fn root(spans: &[Span]) -> &Span {
    let is_here = |id: &String| spans.iter().any(|span| &span.id == id);
    let mut roots = spans.iter().filter(|span| !span.parent.as_ref().is_some_and(is_here));
    let root = roots.next().expect("a trace has a root");
    assert!(roots.next().is_none(), "a trace has one root: {spans:#?}");
    root
}

/// The trace as an indented list of names, siblings by name: some run at the same time.
pub fn outline(spans: &[Span]) -> String {
    fn add(out: &mut String, spans: &[Span], span: &Span, depth: usize) {
        out.push_str(&"  ".repeat(depth));
        out.push_str(&span.name);
        out.push('\n');
        let mut children: Vec<&Span> = spans.iter().filter(|child| child.parent.as_ref() == Some(&span.id)).collect();
        children.sort_by(|a, b| a.name.cmp(&b.name));
        children.into_iter().for_each(|child| add(out, spans, child, depth + 1));
    }
    let mut out = String::new();
    add(&mut out, spans, root(spans), 0);
    out
}

fn spans(trace: &Value) -> Vec<Span> {
    let mut spans: Vec<Span> =
        trace["spans"].as_array().expect("a list of spans").iter().map(|span| self::span(trace, span)).collect();
    spans.sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
    spans
}

fn span(trace: &Value, span: &Value) -> Span {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let references = span["references"].as_array().cloned().unwrap_or_default();
    let of_type = |wanted: &str| {
        let found = references.iter().filter(|reference| reference["refType"] == wanted);
        found.map(|reference| (text(&reference["traceID"]), text(&reference["spanID"]))).collect::<Vec<_>>()
    };
    Span {
        trace_id: text(&span["traceID"]),
        id: text(&span["spanID"]),
        parent: of_type("CHILD_OF").pop().map(|(_, id)| id),
        links: of_type("FOLLOWS_FROM"),
        name: text(&span["operationName"]),
        start: span["startTime"].as_u64().expect("a time"),
        duration: span["duration"].as_u64().expect("a duration"),
        tags: tags(&span["tags"]),
        events: span["logs"].as_array().into_iter().flatten().map(|log| text(&tags(&log["fields"])["event"])).collect(),
        process: tags(&trace["processes"][span["processID"].as_str().expect("a process")]["tags"]),
    }
}

fn tags(list: &Value) -> BTreeMap<String, Value> {
    let pairs = list.as_array().into_iter().flatten();
    pairs.map(|tag| (tag["key"].as_str().expect("a key").to_owned(), tag["value"].clone())).collect()
}
