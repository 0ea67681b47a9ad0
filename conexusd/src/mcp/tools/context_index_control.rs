//! `context_index_control`: start, stop and watch the indexing.

use std::time::Duration;

use rmcp::model::{JsonObject, Tool};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::arguments::Arguments;
use super::{Answer, Call, tool};
use crate::app::{IndexStatus, Job, RunOutcome, RunRefused, age_seconds};
use crate::mcp::error::ToolError;
use crate::telemetry::AttributeValue;

pub(crate) const NAME: &str = "context_index_control";

const ACTIONS: &[&str] = &["start", "stop", "status", "force_reindex", "reindex_paths"];
const PATHS_MAX: usize = 1_000;

/// How often a waiting call looks at the run, and reports progress.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long `stop` waits for the run to end.
const STOP_WAIT: Duration = Duration::from_secs(10);

const DESCRIPTION: &str = "Control the index behind context_search. `status` says what is indexed, how fresh it is and how \
a run is going. `start` indexes what changed (a watcher normally does this by itself). `reindex_paths` indexes the files and \
folders in `paths` again. `force_reindex` indexes everything afresh; it is rarely needed and can take minutes. `stop` stops \
a run and keeps what it has done. A call that starts a run returns at once, and `status` tells how it goes; a call with a \
progress token waits until the run has ended and reports progress meanwhile (cancelling the call ends the waiting, not the \
run). There is one run at a time: while one is going on, `start` joins it and the other two are refused.";

pub(crate) fn describe() -> Tool {
    let input = json!({
        "type": "object",
        "properties": {
            "action": {"type": "string", "enum": ACTIONS, "description": "What to do."},
            "paths": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": PATHS_MAX,
                "description": "For reindex_paths, and only for it: files and folders relative to the root."},
        },
        "required": ["action"],
        "additionalProperties": false,
    });
    let count = json!({"type": "integer", "minimum": 0});
    let number = json!({"type": "number", "minimum": 0});
    let output = json!({
        "type": "object",
        "properties": {
            "action": {"type": "string", "enum": ACTIONS},
            "message": {"type": "string", "description": "What the call did."},
            "running": {"type": "boolean"},
            "phase": {"type": "string", "description": "idle, or what the run is doing."},
            "outcome": {"type": "string", "enum": ["none", "completed", "stopped", "failed"],
                "description": "How the latest ended run ended."},
            "files": {
                "type": "object",
                "properties": {"total": count, "done": count, "indexed": count, "failed": count, "skipped": count,
                    "skipped_by_reason": {"type": "object", "additionalProperties": count}, "bytes": count},
                "required": ["total", "done", "indexed", "failed", "skipped", "skipped_by_reason", "bytes"],
                "description": "Of the run: found, done with, and of these read and indexed, failed, left out; bytes of the indexed ones.",
                "additionalProperties": false,
            },
            "chunks": {
                "type": "object",
                "properties": {"done": count, "total": count},
                "required": ["done", "total"],
                "additionalProperties": false,
                "description": "Made by the run; in the index.",
            },
            "elapsed_seconds": number,
            "files_per_second": number,
            "eta_seconds": {"type": ["number", "null"]},
            "last_error": {"type": ["string", "null"]},
            "index": {
                "type": "object",
                "properties": {"files": count, "chunks": count, "age_seconds": {"type": ["number", "null"]},
                    "pending": count, "complete": {"type": "boolean"}},
                "required": ["files", "chunks", "age_seconds", "pending", "complete"],
                "additionalProperties": false,
            },
        },
        "required": ["action", "message", "running", "phase", "outcome", "files", "chunks", "elapsed_seconds",
            "files_per_second", "eta_seconds", "last_error", "index"],
        "additionalProperties": false,
    });
    tool(NAME, "Control the index", DESCRIPTION, input, output, false)
}

pub(crate) async fn run(arguments: &JsonObject, call: &mut Call) -> Result<Answer, ToolError> {
    let (action, paths) = read(arguments)?;
    call.note("action", AttributeValue::Static(action));
    let message = match action {
        "status" => "this is the state".to_owned(),
        "stop" => stop(call).await?,
        "reindex_paths" => {
            let paths = inside(&paths, call)?;
            start(action, Job::Paths(paths), call).await?
        }
        "force_reindex" => start(action, Job::Everything, call).await?,
        _ => start(action, Job::Changed, call).await?,
    };
    let status = call.services.index.status();
    Ok(Answer { text: text(&message, &status), structured: structured(action, &message, &status), results: None })
}

fn read(arguments: &JsonObject) -> Result<(&'static str, Vec<String>), ToolError> {
    let mut arguments = Arguments::new(arguments);
    let has_action = arguments.text("action").is_some();
    let action = if has_action { arguments.word("action", ACTIONS) } else { None };
    if !has_action {
        arguments.problem("action", format!("is required; use one of {}", ACTIONS.join(", ")));
    }
    let paths: Vec<String> = arguments.texts("paths", PATHS_MAX).into_iter().map(str::to_owned).collect();
    match action {
        Some("reindex_paths") if paths.is_empty() => {
            arguments.problem("paths", "is required for reindex_paths; name at least one file or folder");
        }
        Some("reindex_paths") | None => {}
        Some(_) if !paths.is_empty() => arguments.problem("paths", "is only for reindex_paths"),
        Some(_) => {}
    }
    arguments.finish()?;
    Ok((action.unwrap_or("status"), paths))
}

/// The paths relative to the root, if all of them are inside it. One that is gone is fine: it leaves the index.
fn inside(paths: &[String], call: &Call) -> Result<Vec<String>, ToolError> {
    let root = &call.services.root;
    let found = paths.iter().map(|path| root.resolve_or_gone(path));
    let (good, bad): (Vec<_>, Vec<_>) = found.enumerate().partition(|(_, found)| found.is_ok());
    if !bad.is_empty() {
        let problems = bad.into_iter().filter_map(|(i, refusal)| Some(format!("paths[{i}]: {}", refusal.err()?)));
        return Err(ToolError::Arguments(problems.collect()));
    }
    Ok(good.into_iter().filter_map(|(_, found)| found.ok()).collect())
}

async fn start(action: &str, job: Job, call: &Call) -> Result<String, ToolError> {
    let joins = job == Job::Changed;
    let message = match call.services.index.start(job) {
        Ok(()) => "a run was started".to_owned(),
        Err(RunRefused::Running) if joins => "a run was already in progress".to_owned(),
        Err(RunRefused::Running) => {
            return Err(ToolError::Failed(format!(
                "{action} was not started: {}; wait for it (status) or stop it first",
                RunRefused::Running
            )));
        }
        Err(RunRefused::Failed(reason)) => return Err(ToolError::Failed(reason)),
    };
    if call.progress.is_none() {
        return Ok(format!("{message}; ask for its status"));
    }
    let status = wait(call, None).await?;
    match status.outcome {
        RunOutcome::Failed => Err(ToolError::Failed(format!(
            "the run failed: {}",
            status.last_error.as_deref().unwrap_or("no reason was given")
        ))),
        outcome => Ok(format!(
            "{message}; it has {}",
            if outcome == RunOutcome::Stopped { "been stopped" } else { "completed" }
        )),
    }
}

async fn stop(call: &Call) -> Result<String, ToolError> {
    if !call.services.index.stop() {
        return Ok("no run was in progress".to_owned());
    }
    let status = wait(call, Some(STOP_WAIT)).await?;
    if status.running {
        return Ok("the run was asked to stop and is still ending".to_owned());
    }
    Ok("the run was stopped; what it had indexed stays".to_owned())
}

/// Waits until the run of this moment has ended, or the time is up, and reports progress.
async fn wait(call: &Call, limit: Option<Duration>) -> Result<IndexStatus, ToolError> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let run = call.services.index.status().run;
    loop {
        let status = call.services.index.status();
        let ended = !status.running || status.run != run;
        if let Some(progress) = &call.progress {
            let message = format!(
                "{}: {} of {} files, {} chunks",
                status.phase, status.files_done, status.files_total, status.chunks_done
            );
            progress.report(status.files_done, status.files_total, message).await;
        }
        if ended || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(status);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = call.cancelled.cancelled() => return Err(ToolError::Cancelled),
        }
    }
}

fn structured(action: &str, message: &str, status: &IndexStatus) -> Value {
    json!({
        "action": action,
        "message": message,
        "running": status.running,
        "phase": status.phase,
        "outcome": status.outcome.as_str(),
        "files": {
            "total": status.files_total,
            "done": status.files_done,
            "indexed": status.files_indexed,
            "failed": status.files_failed,
            "skipped": status.skipped.values().sum::<u64>(),
            "skipped_by_reason": status.skipped,
            "bytes": status.bytes_done,
        },
        "chunks": {"done": status.chunks_done, "total": status.indexed_chunks},
        "elapsed_seconds": status.elapsed_seconds,
        "files_per_second": status.files_per_second,
        "eta_seconds": status.eta_seconds,
        "last_error": status.last_error,
        "index": {
            "files": status.indexed_files,
            "chunks": status.indexed_chunks,
            "age_seconds": age_seconds(&status.freshness),
            "pending": status.freshness.pending,
            "complete": status.freshness.complete,
        },
    })
}

fn text(message: &str, status: &IndexStatus) -> String {
    let mut text = format!("{message}.\n");
    if status.running {
        let eta = status.eta_seconds.map(|eta| format!(", about {eta:.0} s to go")).unwrap_or_default();
        text.push_str(&format!(
            "Run in progress ({}): {} of {} files, {} chunks, {:.0} files/s{eta}.\n",
            status.phase, status.files_done, status.files_total, status.chunks_done, status.files_per_second
        ));
    } else if status.outcome != RunOutcome::None {
        text.push_str(&format!(
            "The last run {} after {:.1} s: {} files indexed, {} failed, {} chunks.\n",
            status.outcome.as_str(),
            status.elapsed_seconds,
            status.files_indexed,
            status.files_failed,
            status.chunks_done
        ));
    }
    if !status.skipped.is_empty() {
        let reasons: Vec<String> = status.skipped.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        text.push_str(&format!("Left out: {}.\n", reasons.join(", ")));
    }
    let fresh = match age_seconds(&status.freshness) {
        Some(age) => format!("checked {age:.0} s ago, {} files pending", status.freshness.pending),
        None => "never checked".to_owned(),
    };
    let whole = if status.freshness.complete { "complete" } else { "not complete" };
    text.push_str(&format!(
        "Index: {} files, {} chunks, {whole}, {fresh}.\n",
        status.indexed_files, status.indexed_chunks
    ));
    if let Some(error) = &status.last_error {
        text.push_str(&format!("Last error: {error}\n"));
    }
    text
}
