//! `conexusd status`: what is indexed, how fresh, how large.

use std::io::Write as _;
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::session::Session;
use super::{CliError, CliResult, Globals, Root, render};
use crate::wiring;

/// Flags of `conexusd status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    root: Root,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the state of the index.
pub async fn run(args: StatusArgs, globals: &Globals) -> CliResult {
    let loaded = globals.load(&[args.root.flag()])?;
    let root = wiring::root(&loaded.config).map_err(CliError::failure)?;
    let folder = wiring::folder(&loaded.config, &root);
    let mut session = Session::open(&loaded.config, "conexusd status").await?;
    let mut status = session.status().await?;
    status["root"] = json!(root);
    status["folder"] = json!(folder);
    status["bytes"] = json!(size(&folder));
    status["served"] = json!(session.is_attached());
    let text = if args.json { format!("{status:#}\n") } else { describe(&status) };
    let _ = anstream::stdout().write_all(text.as_bytes());
    session.close().await
}

fn describe(status: &Value) -> String {
    let index = &status["index"];
    let number = |value: &Value| render::count(value.as_u64().unwrap_or_default());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fresh = match index["age_seconds"].as_f64() {
        Some(age) => format!(
            "checked against the disk {} ago, {} files pending",
            render::duration(age),
            number(&index["pending"])
        ),
        None if index["files"].as_u64().unwrap_or_default() > 0 => {
            "no run has come to its end yet: files may be missing".to_owned()
        }
        None => "nothing indexed yet".to_owned(),
    };
    let run = match status["running"].as_bool() {
        Some(true) => format!(
            "{}: {} of {} files",
            text(&status["phase"]),
            number(&status["files"]["done"]),
            number(&status["files"]["total"])
        ),
        _ => "none in progress".to_owned(),
    };
    let mut lines = vec![
        format!("root    {}", text(&status["root"])),
        format!(
            "index   {} files, {} chunks, {}",
            number(&index["files"]),
            number(&index["chunks"]),
            if index["complete"] == true { "complete" } else { "not complete" }
        ),
        format!("fresh   {fresh}"),
        format!("run     {run}"),
        format!(
            "disk    {} in {}",
            render::bytes(status["bytes"].as_u64().unwrap_or_default()),
            text(&status["folder"])
        ),
        format!(
            "owner   {}",
            if status["served"] == true { "another process" } else { "none: nothing keeps it fresh" }
        ),
    ];
    if let Some(error) = status["last_error"].as_str() {
        lines.push(format!("error   {error}"));
    }
    lines.join("\n") + "\n"
}

/// Bytes of the files in a folder and below.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_whose_first_run_was_interrupted_is_not_said_to_be_empty() {
        let status = |files: u64| {
            describe(&json!({"index": {"files": files, "chunks": files, "complete": false, "age_seconds": null}}))
        };
        let interrupted = status(996);
        assert!(interrupted.contains("index   996 files, 996 chunks, not complete\n"), "{interrupted}");
        assert!(
            interrupted.contains("fresh   no run has come to its end yet: files may be missing\n"),
            "{interrupted}"
        );
        assert!(status(0).contains("fresh   nothing indexed yet\n"), "{}", status(0));
    }
}
