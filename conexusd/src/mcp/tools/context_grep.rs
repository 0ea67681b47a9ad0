//! `context_grep`: every line that matches a regular expression, in the files as they are now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use conexus_proto::facts::{Fact, SearchType};
use rmcp::model::{JsonObject, Tool};
use serde_json::{Value, json};

use super::arguments::Arguments;
use super::{Answer, Call, tool};
use crate::grep::{GrepAnswer, GrepError, GrepRequest, grep};
use crate::mcp::error::ToolError;

pub(crate) const NAME: &str = "context_grep";

const CONTEXT_MAX: u64 = 20;
const RESULTS_MAX: u64 = 2_000;
const PATTERN_CHARS_MAX: usize = 8_192;

const DESCRIPTION: &str = "Find every line that matches a regular expression (Rust syntax, as in ripgrep: no look-around, \
no back-references) in the files of the indexed folder as they are on disk now. Use it for exact identifiers, strings and \
call sites once you know the name; use context_search when you only know what the code does. Searches line by line; escape \
`( ) [ ] { } . * + ? | ^ $ \\` to find them literally. Files that .gitignore, .ignore or .conexusignore exclude and binary \
files are left out. Results are in the order of path and line. `total_count` counts matching lines, also those beyond \
max_results; if `truncated` is true there are more than were returned: narrow with path or include.";

pub(crate) fn describe() -> Tool {
    let input = json!({
        "type": "object",
        "properties": {
            "pattern": {"type": "string", "minLength": 1, "maxLength": PATTERN_CHARS_MAX,
                "description": "A regular expression in Rust's syntax."},
            "path": {"type": "string", "description": "A file or folder to search, relative to the root. Default: all of it."},
            "include": {"type": "string",
                "description": "A glob that files must match: *.rs (any folder), src/**/*.{ts,tsx} (from the root)."},
            "case_insensitive": {"type": "boolean", "default": false, "description": "Whether a and A are the same."},
            "context": {"type": "integer", "minimum": 0, "maximum": CONTEXT_MAX, "default": 2,
                "description": "Lines before and after each match."},
            "max_results": {"type": "integer", "minimum": 1, "maximum": RESULTS_MAX, "default": 200,
                "description": "The most matching lines to return."},
        },
        "required": ["pattern"],
        "additionalProperties": false,
    });
    let output = json!({
        "type": "object",
        "properties": {
            "results": {"type": "array", "items": {
                "type": "object",
                "properties": {
                    "file": {"type": "string", "description": "Relative to the root."},
                    "line": {"type": "integer", "minimum": 1, "description": "Of the match."},
                    "content": {"type": "string", "description": "The matching line with the lines around it; long lines are cut."},
                    "match": {"type": "string", "description": "What matched first in the line."},
                },
                "required": ["file", "line", "content", "match"],
                "additionalProperties": false,
            }},
            "total_count": {"type": "integer", "minimum": 0,
                "description": "Matching lines found, returned or not. Exact unless the search stopped early (then truncated is true)."},
            "truncated": {"type": "boolean", "description": "Whether there are, or may be, more matching lines than results."},
        },
        "required": ["results", "total_count", "truncated"],
        "additionalProperties": false,
    });
    tool(NAME, "Search by regular expression", DESCRIPTION, input, output, true)
}

pub(crate) async fn run(arguments: &JsonObject, call: &mut Call) -> Result<Answer, ToolError> {
    let request = read(arguments)?;
    call.note("query", request.pattern.as_str());
    let context = request.context;
    let _place = tokio::select! {
        place = call.greps.clone().acquire_owned() => place,
        () = call.cancelled.cancelled() => return Err(ToolError::Cancelled),
    };
    // The search ends when nobody waits for it any more, whatever the reason.
    let give_up = SetOnDrop(Arc::default());
    let cancel = give_up.0.clone();
    let answer = call
        .blocking(move |services, trace| {
            let span = trace.start(trace.root(), "grep.search");
            let answer = grep(&services.root, &services.filter, &request, &services.grep, &cancel);
            let nanos = trace.end(span);
            trace.measure(span, Fact::Searched { lane: SearchType::Grep, nanos });
            answer
        })
        .await?;
    let answer = answer.map_err(|error| explained(&error))?;
    if answer.timed_out && answer.files.is_empty() {
        let (searched, found) = (answer.files_searched, answer.files_found);
        return Err(ToolError::TimedOut(format!(
            "no match in {searched} of {found} files before the time was up; narrow the search with path or include"
        )));
    }
    let results = answer.files.iter().map(|file| file.matches()).sum();
    Ok(Answer { text: text(&answer, context), structured: structured(&answer, context), results: Some(results) })
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn read(arguments: &JsonObject) -> Result<GrepRequest, ToolError> {
    let mut arguments = Arguments::new(arguments);
    let request = GrepRequest {
        pattern: arguments.required_text("pattern", PATTERN_CHARS_MAX).to_owned(),
        path: arguments.text("path").filter(|path| !path.is_empty()).map(str::to_owned),
        include: arguments.text("include").filter(|include| !include.is_empty()).map(str::to_owned),
        case_insensitive: arguments.flag("case_insensitive"),
        context: arguments.integer("context", 0..=CONTEXT_MAX, 2),
        max_results: arguments.integer("max_results", 1..=RESULTS_MAX, 200),
    };
    arguments.finish()?;
    Ok(request)
}

fn explained(error: &GrepError) -> ToolError {
    match error {
        GrepError::Pattern(_) => ToolError::argument("pattern", error),
        GrepError::Include(_) => ToolError::argument("include", error),
        GrepError::Path(_) | GrepError::Ignored(_) => ToolError::argument("path", error),
        GrepError::Cancelled => ToolError::Cancelled,
    }
}

fn structured(answer: &GrepAnswer, context: usize) -> Value {
    let results = answer.files.iter().flat_map(|file| {
        file.lines.iter().filter_map(move |line| {
            let matched = line.matched.as_ref()?;
            let content: Vec<&str> = file.around(line.number, context).map(|line| line.text.as_str()).collect();
            Some(json!({"file": file.path, "line": line.number, "content": content.join("\n"), "match": matched}))
        })
    });
    json!({
        "results": results.collect::<Vec<_>>(),
        "total_count": answer.total_count,
        "truncated": answer.truncated,
    })
}

/// What an agent reads: a heading a file, `12:` before a match, `12-` before a line beside one.
fn text(answer: &GrepAnswer, context: usize) -> String {
    let mut text = match answer.total_count {
        0 => format!("No match in {} files.\n", answer.files_searched),
        1 => "1 matching line.\n".to_owned(),
        n => format!("{n} matching lines.\n"),
    };
    for file in &answer.files {
        text.push_str(&format!("\n{}\n", file.path));
        let mut previous = None;
        for line in &file.lines {
            if context > 0 && previous.is_some_and(|previous| line.number > previous + 1) {
                text.push_str("--\n");
            }
            let mark = if line.matched.is_some() { ':' } else { '-' };
            text.push_str(&format!("{}{mark}{}\n", line.number, line.text));
            previous = Some(line.number);
        }
    }
    let returned: usize = answer.files.iter().map(|file| file.matches()).sum();
    if answer.timed_out {
        let (searched, found) = (answer.files_searched, answer.files_found);
        text.push_str(&format!("\n[stopped: the time was up after {searched} of {found} files]\n"));
    } else if answer.truncated {
        text.push_str(&format!("\n[cut: the first {returned} are shown; narrow with path or include]\n"));
    }
    if answer.files_unreadable > 0 {
        text.push_str(&format!("\n[{} files could not be read]\n", answer.files_unreadable));
    }
    text
}
