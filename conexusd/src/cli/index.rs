//! `conexusd index`: brings the index up to date once and says what was done.

use std::io::Write as _;

use clap::Args;
use serde_json::Value;

use super::session::Session;
use super::{CliResult, Globals, Root, render};

/// Flags of `conexusd index`.
#[derive(Debug, Args)]
pub struct IndexArgs {
    #[command(flatten)]
    root: Root,
    /// Read and parse everything anew
    #[arg(long)]
    rebuild: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Indexes, with a progress bar on a terminal, and prints a summary.
pub async fn run(args: IndexArgs, globals: &Globals) -> CliResult {
    let loaded = globals.load(&[args.root.flag()])?;
    let mut session = Session::open(&loaded.config, "conexusd index").await?;
    let action = if args.rebuild { "force_reindex" } else { "start" };
    let status = session.index(action, globals.quiet || args.json).await?;
    let text = if args.json { format!("{status:#}\n") } else { summary(&status) };
    let _ = anstream::stdout().write_all(text.as_bytes());
    session.close().await
}

/// What a run did, in two lines.
pub fn summary(status: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let files = &status["files"];
    let seconds = status["elapsed_seconds"].as_f64().unwrap_or_default();
    let bytes = number(&files["bytes"]);
    let mut text = format!(
        "Indexed {} files ({}, {} chunks) in {}: {}/s.",
        render::count(number(&files["indexed"])),
        render::bytes(bytes),
        render::count(number(&status["chunks"]["done"])),
        render::duration(seconds),
        render::bytes((bytes as f64 / seconds.max(1e-3)) as u64),
    );
    let failed = number(&files["failed"]);
    if failed > 0 {
        text.push_str(&format!(
            " {} failed, the latest: {}.",
            render::count(failed),
            status["last_error"].as_str().unwrap_or("no reason")
        ));
    }
    let skipped: Vec<String> = files["skipped_by_reason"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, count)| number(count) > 0)
        .map(|(reason, count)| format!("{} {}", render::count(number(count)), reason.replace('_', " ")))
        .collect();
    if !skipped.is_empty() {
        text.push_str(&format!("\nLeft out: {}.", skipped.join(", ")));
    }
    let index = &status["index"];
    text.push_str(&format!(
        "\nThe index has {} files and {} chunks{}.\n",
        render::count(number(&index["files"])),
        render::count(number(&index["chunks"])),
        if index["complete"] == true { "" } else { ", and is not complete" },
    ));
    text
}
