//! `context_search`: the pieces of the codebase that answer a question.

use globset::Glob;
use rmcp::model::{JsonObject, Tool};
use serde_json::{Value, json};

use super::arguments::Arguments;
use super::{Answer, Call, date, tool};
use crate::app::{SearchFailure, age_seconds};
use crate::mcp::error::ToolError;
use crate::search::filter::language;
use crate::search::{Filters, SearchRequest, SearchResponse, SearchResult, WorkContext};

pub(crate) const NAME: &str = "context_search";

const SOURCE_TYPES: &[&str] = &["code", "docs", "config", "test"];
/// The longest question, in characters.
pub(crate) const QUERY_CHARS_MAX: usize = 65_536;
/// The most results that are returned at a time.
pub(crate) const TOP_K_MAX: u64 = crate::search::TOP_K_MAX as u64;
/// The most results that are left out.
pub(crate) const OFFSET_MAX: u64 = 10_000;
/// The most entries of a list.
pub(crate) const LIST_MAX: usize = 100;

const DESCRIPTION: &str = "Search the indexed codebase by meaning and by words, and get the best matching pieces of \
source with their file, lines and symbol. Use it first when you do not know where something is: ask in plain language \
(\"where are retries with backoff implemented\"), or give an identifier, an error message or a path. Any text is a valid \
query. Results are whole functions, types or sections, best first; `total_count` and `offset` page through the same \
ranking. Narrow with `filters`; say what you are working on in `work_context` to prefer what is near it. `index` in the \
answer says how fresh it is: if `complete` is false the first indexing is still running and results may be missing. For \
every occurrence of an exact text or regular expression use context_grep instead.";

pub(crate) fn describe(top_k: usize) -> Tool {
    tool(NAME, "Search the codebase", DESCRIPTION, input_schema(top_k), output_schema(), true)
}

fn input_schema(top_k: usize) -> Value {
    let texts = |description: &str| json!({"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": LIST_MAX, "description": description});
    json!({
        "type": "object",
        "properties": {
            "query": {"type": "string", "minLength": 1, "maxLength": QUERY_CHARS_MAX,
                "description": "What to look for: a question, an identifier, an error message, a path. Any text."},
            "top_k": {"type": "integer", "minimum": 1, "maximum": TOP_K_MAX, "default": top_k,
                "description": "The most results to return."},
            "offset": {"type": "integer", "minimum": 0, "maximum": OFFSET_MAX, "default": 0,
                "description": "Results of the ranking to skip: for the next page add top_k."},
            "filters": {
                "type": "object",
                "description": "Only results that pass all of these.",
                "properties": {
                    "source_types": {"type": "array", "items": {"type": "string", "enum": SOURCE_TYPES},
                        "maxItems": LIST_MAX, "description": "Kinds of files."},
                    "languages": texts("Languages by lower-case name: rust, python, typescript, go, markdown, ..."),
                    "paths": texts("Globs over paths relative to the root: src/**, **/*.rs, docs/*.md."),
                    "date_range": {
                        "type": "object",
                        "description": "Files by when they were last changed.",
                        "properties": {
                            "from": {"type": "string", "description": "At or after: a date (2025-06-30) or a moment (RFC 3339)."},
                            "to": {"type": "string", "description": "At or before: a date (that whole day, UTC) or a moment."},
                        },
                        "additionalProperties": false,
                    },
                },
                "additionalProperties": false,
            },
            "work_context": {
                "type": "object",
                "description": "What you are working on. Prefers results near it and never leaves any out.",
                "properties": {
                    "active_file": {"type": "string", "description": "The file you are editing, relative to the root."},
                    "git_branch": {"type": "string", "description": "The branch you are on."},
                    "open_ticket_ids": texts("Tickets you are working on (ABC-123)."),
                },
                "additionalProperties": false,
            },
        },
        "required": ["query"],
        "additionalProperties": false,
    })
}

fn output_schema() -> Value {
    let count = json!({"type": "integer", "minimum": 0});
    json!({
        "type": "object",
        "properties": {
            "results": {"type": "array", "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "description": "path:start-end"},
                    "path": {"type": "string", "description": "Relative to the root."},
                    "start_line": {"type": "integer", "minimum": 1},
                    "end_line": {"type": "integer", "minimum": 1},
                    "symbol": {"type": "string", "description": "The name it defines, if it is a definition."},
                    "language": {"type": "string"},
                    "source_type": {"type": "string", "enum": SOURCE_TYPES},
                    "score": {"type": "number"},
                    "content": {"type": "string", "description": "The lines themselves."},
                    "metadata": {
                        "type": "object",
                        "properties": {
                            "kind": {"type": "string", "description": "function, method, type, section, block, ..."},
                            "scope": {"type": "string", "description": "What encloses it."},
                            "enclosing": {"type": "string",
                                "description": "The first line of the definition around it, where content begins inside of one."},
                            "truncated": {"type": "boolean", "description": "Whether content lacks its last lines."},
                        },
                        "required": ["kind", "truncated"],
                        "additionalProperties": false,
                    },
                },
                "required": ["id", "path", "start_line", "end_line", "language", "source_type", "score", "content", "metadata"],
                "additionalProperties": false,
            }},
            "total_count": count,
            "query_time_ms": {"type": "number", "minimum": 0},
            "offset": count,
            "limit": {"type": "integer", "minimum": 1},
            "has_more": {"type": "boolean"},
            "index": {
                "type": "object",
                "properties": {
                    "age_seconds": {"type": ["number", "null"],
                        "description": "Since the index was last checked against the disk; null if never."},
                    "pending": {"type": "integer", "minimum": 0, "description": "Files known to be new or changed and not in it yet."},
                    "complete": {"type": "boolean", "description": "Whether everything has been indexed once."},
                },
                "required": ["age_seconds", "pending", "complete"],
                "additionalProperties": false,
            },
        },
        "required": ["results", "total_count", "query_time_ms", "offset", "limit", "has_more", "index"],
        "additionalProperties": false,
    })
}

pub(crate) async fn run(arguments: &JsonObject, call: &mut Call) -> Result<Answer, ToolError> {
    let request = read(arguments, call)?;
    call.note("query", request.query.as_str());
    call.note("top_k", request.top_k);
    let query = request.query.clone();
    let response = call.blocking(move |services, trace| services.search.search(&request, trace)).await?;
    let response = response.map_err(|failure| match failure {
        SearchFailure::Invalid(problem) => ToolError::Arguments(vec![problem]),
        SearchFailure::Failed(problem) => ToolError::Failed(problem),
    })?;
    let results = Some(response.results.len());
    Ok(Answer { text: text(&query, &response), structured: structured(&response), results })
}

fn read(arguments: &JsonObject, call: &Call) -> Result<SearchRequest, ToolError> {
    let mut arguments = Arguments::new(arguments);
    let request = SearchRequest {
        query: arguments.required_text("query", QUERY_CHARS_MAX).to_owned(),
        top_k: arguments.integer("top_k", 1..=TOP_K_MAX, call.services.top_k as u64),
        offset: arguments.integer("offset", 0..=OFFSET_MAX, 0),
        filters: arguments.object("filters", read_filters),
        work_context: arguments.object("work_context", |work| WorkContext {
            active_file: work.text("active_file").map(str::to_owned),
            git_branch: work.text("git_branch").map(str::to_owned),
            open_ticket_ids: owned(work.texts("open_ticket_ids", LIST_MAX)),
        }),
        max_tokens: call.services.max_tokens,
        cache: call.cache,
    };
    arguments.finish()?;
    Ok(request)
}

fn read_filters(filters: &mut Arguments<'_>) -> Filters {
    let paths = filters.texts("paths", LIST_MAX);
    for (i, glob) in paths.iter().enumerate() {
        if let Err(error) = Glob::new(glob) {
            filters.problem(&format!("paths[{i}]"), format!("`{glob}` is not a valid glob: {}", error.kind()));
        }
    }
    let source_types = owned(filters.words("source_types", SOURCE_TYPES));
    let languages = filters.texts("languages", LIST_MAX);
    for (i, name) in languages.iter().enumerate() {
        if let Err(error) = language(name) {
            filters.problem(&format!("languages[{i}]"), error.to_string());
        }
    }
    let languages = owned(languages);
    let (modified_from, modified_to) = filters.object("date_range", |range| {
        let mut moment = |name, parse: fn(&str) -> Option<std::time::SystemTime>| {
            let text = range.text(name)?;
            let moment = parse(text);
            if moment.is_none() {
                range.problem(name, format!("{text:?} is not allowed; use {}", date::FORM));
            }
            moment
        };
        let (from, to) = (moment("from", date::first_moment), moment("to", date::last_moment));
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            range.problem("from", "is after `to`, so no file can be in the range");
        }
        (from, to)
    });
    Filters { source_types, languages, paths: owned(paths), modified_from, modified_to }
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

fn structured(response: &SearchResponse) -> Value {
    json!({
        "results": response.results.iter().map(result).collect::<Vec<_>>(),
        "total_count": response.total_count,
        "query_time_ms": response.query_time_ms,
        "offset": response.offset,
        "limit": response.limit,
        "has_more": response.has_more,
        "index": {
            "age_seconds": age_seconds(&response.freshness),
            "pending": response.freshness.pending,
            "complete": response.freshness.complete,
        },
    })
}

fn result(result: &SearchResult) -> Value {
    let mut metadata = json!({"kind": result.kind, "truncated": result.truncated});
    for (key, value) in [("scope", &result.scope), ("enclosing", &result.enclosing)] {
        if let Some(value) = value {
            metadata[key] = json!(value);
        }
    }
    let mut value = json!({
        "id": result.id,
        "path": result.path,
        "start_line": result.start_line,
        "end_line": result.end_line,
        "language": result.language,
        "source_type": result.source_type,
        "score": (f64::from(result.score) * 1e4).round() / 1e4,
        "content": result.content,
        "metadata": metadata,
    });
    if let Some(symbol) = &result.symbol {
        value["symbol"] = json!(symbol);
    }
    value
}

/// What an agent reads: one heading a result, then its lines.
fn text(query: &str, response: &SearchResponse) -> String {
    let mut text = String::new();
    if response.results.is_empty() {
        let why = if response.offset > 0 && response.total_count > 0 { " at this offset" } else { "" };
        text.push_str(&format!("No results{why} for {:?}.\n", query.chars().take(80).collect::<String>()));
    } else {
        let (first, last) = (response.offset + 1, response.offset + response.results.len());
        text.push_str(&format!("Results {first}-{last} of {}.\n", response.total_count));
    }
    if !response.freshness.complete {
        text.push_str("The first indexing is not finished: results may be missing.\n");
    } else if response.freshness.pending > 0 {
        text.push_str(&format!("{} changed files are not indexed yet.\n", response.freshness.pending));
    }
    for result in &response.results {
        let symbol = match (&result.scope, &result.symbol) {
            (Some(scope), Some(symbol)) => format!("  {} {scope}.{symbol}", result.kind),
            (None, Some(symbol)) => format!("  {} {symbol}", result.kind),
            _ => String::new(),
        };
        let (path, start, end) = (&result.path, result.start_line, result.end_line);
        text.push_str(&format!("\n{path}:{start}-{end}{symbol}\n"));
        if let Some(line) = &result.enclosing {
            text.push_str(&format!("[in: {line}]\n"));
        }
        text.push_str(&format!("{}\n", result.content.trim_end_matches('\n')));
        if result.truncated {
            text.push_str("[cut: the last lines are left out]\n");
        }
    }
    if response.has_more {
        let next = response.offset + response.results.len();
        text.push_str(&format!("\nMore: the same query with offset {next}.\n"));
    }
    text
}
