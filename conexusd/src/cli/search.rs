//! `conexusd search`: one question, or a file of them.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::session::Session;
use super::{CliError, CliResult, Globals, Root, batch, render};
use crate::mcp::tools::context_search::{LIST_MAX, OFFSET_MAX, QUERY_CHARS_MAX, TOP_K_MAX};
use crate::search::{SearchError, filter};

/// Flags of `conexusd search`.
#[derive(Debug, Args)]
pub struct SearchArgs {
    #[command(flatten)]
    root: Root,
    /// How many results, 1 to 100 [default: search.top_k]
    #[arg(long, short = 'k', value_name = "N", value_parser = clap::value_parser!(u64).range(1..=TOP_K_MAX))]
    top_k: Option<u64>,
    /// Leave out so many of the best, 10000 at most
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=OFFSET_MAX))]
    offset: u64,
    /// Only files of these languages, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = language)]
    language: Vec<String>,
    /// Only files whose path matches one of these globs
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    path: Vec<String>,
    /// Show results whole, not their first lines
    #[arg(long)]
    whole: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    /// Answer a file of {"id","query"} lines ("-": standard input) with a line of JSON each
    #[arg(long, value_name = "FILE", requires = "json", conflicts_with = "query")]
    batch: Option<PathBuf>,
    /// The question: words, an identifier, a path, an error message
    #[arg(required_unless_present = "batch", value_name = "QUERY")]
    query: Vec<String>,
}

/// Asks, and prints the answer.
pub async fn run(args: SearchArgs, globals: &Globals) -> CliResult {
    if let Some(problem) = problem(&args) {
        return Err(CliError::usage(problem));
    }
    let loaded = globals.load(&[args.root.flag()])?;
    let mut session = Session::open(&loaded.config, "conexusd search").await?;
    session.index_if_there_is_none(globals.quiet).await?;
    let top_k = args.top_k.unwrap_or(loaded.config.search.top_k as u64);
    if let Some(file) = &args.batch {
        batch::run(&mut session, file, top_k).await?;
        return session.close().await;
    }
    let mut arguments = json!({"query": args.query.join(" "), "top_k": top_k, "offset": args.offset});
    if !args.language.is_empty() {
        arguments["filters"]["languages"] = json!(args.language);
    }
    if !args.path.is_empty() {
        arguments["filters"]["paths"] = json!(args.path);
    }
    let answer = session.client.call_tool("context_search", arguments, None, &mut |_| {}).await;
    let answer = answer.map_err(CliError::failure)?;
    print(&answer, args.json, args.whole);
    session.close().await
}

/// What is wrong with arguments that are right one by one.
fn problem(args: &SearchArgs) -> Option<String> {
    let query = args.query.join(" ");
    let chars = query.chars().count();
    if args.batch.is_none() && query.is_empty() {
        return Some("QUERY is empty: ask with at least one character".to_owned());
    }
    if chars > QUERY_CHARS_MAX {
        return Some(format!("QUERY is {chars} characters long: the most is {QUERY_CHARS_MAX}"));
    }
    let lists = [("--language", args.language.len()), ("--path", args.path.len())];
    let (flag, entries) = lists.into_iter().find(|(_, entries)| *entries > LIST_MAX)?;
    Some(format!("{flag} has {entries} entries: the most is {LIST_MAX}"))
}

fn language(name: &str) -> Result<String, SearchError> {
    filter::language(name).map(|_| name.to_owned())
}

fn glob(glob: &str) -> Result<String, String> {
    if glob.is_empty() {
        return Err("a glob has at least one character".to_owned());
    }
    match globset::Glob::new(glob) {
        Ok(_) => Ok(glob.to_owned()),
        Err(error) => Err(format!("not a valid glob: {}", error.kind())),
    }
}

fn print(answer: &Value, as_json: bool, whole: bool) {
    use std::io::Write as _;
    let text = if as_json { format!("{answer:#}\n") } else { render::results(answer, whole) };
    // A reader that has seen enough closes the pipe: that is no failure.
    let _ = anstream::stdout().write_all(text.as_bytes());
}
