//! `conexusd search --batch`: a file of questions in, a line of JSON each out, for scorers.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::CliError;
use super::session::Session;

/// Answers each `{"id","query"}` line of `file` with `{"id","results":[{"path","start_line","end_line","score"}],"ms"}`.
///
/// The result cache is off; `ms` is the time of the search itself, without start-up and transport.
pub async fn run(session: &mut Session, file: &Path, top_k: u64) -> Result<(), CliError> {
    let text = read(file)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}:{}", file.display(), number + 1);
        let question: Value =
            serde_json::from_str(line).map_err(|error| CliError::failure(format!("{}: not JSON: {error}", place())))?;
        let (id, query) = (&question["id"], &question["query"]);
        if id.is_null() || !query.is_string() {
            return Err(CliError::failure(format!("{}: a line needs \"id\" and \"query\" (a text)", place())));
        }
        let answer = session
            .client
            .call_tool(
                "context_search",
                json!({"query": query, "top_k": top_k}),
                Some(json!({"conexus/cache": false})),
                &mut |_| {},
            )
            .await
            .map_err(|error| CliError::failure(format!("{}: {error}", place())))?;
        writeln!(out, "{}", reply(id, &answer)).map_err(CliError::failure)?;
    }
    out.flush().map_err(CliError::failure)
}

fn reply(id: &Value, answer: &Value) -> Value {
    let pick = |result: &Value| {
        json!({
            "path": result["path"],
            "start_line": result["start_line"],
            "end_line": result["end_line"],
            "score": result["score"],
        })
    };
    let results: Vec<Value> = answer["results"].as_array().into_iter().flatten().map(pick).collect();
    json!({"id": id, "results": results, "ms": answer["query_time_ms"]})
}

fn read(file: &Path) -> Result<String, CliError> {
    let text =
        if file == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    text.map_err(|error| CliError::failure(format!("{}: {error}", file.display())))
}
