//! Batches: many questions from a file, answered one after another with the caches off: what benchmarks are made of.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use super::{Filters, SearchEngine, SearchError, SearchRequest, WorkContext};
use crate::telemetry::Telemetry;

#[derive(Deserialize)]
struct Question {
    id: String,
    query: String,
}

#[derive(Serialize)]
struct Answer {
    id: String,
    results: Vec<Place>,
    ms: f64,
}

#[derive(Serialize)]
struct Place {
    path: String,
    start_line: u32,
    end_line: u32,
    score: f32,
}

/// Why a batch ended early.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BatchError {
    #[error("line {line}: {source}")]
    Line { line: usize, source: serde_json::Error },
    #[error("line {line}, query {id:?}: {source}")]
    Search { line: usize, id: String, source: SearchError },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads `{"id","query"}` lines and writes `{"id","results":[{"path","start_line","end_line","score"}],"ms"}` lines, in
/// the same order; blank lines are skipped and other keys ignored. `ms` is the time of the search alone. Returns how
/// many questions were answered.
pub fn run(
    engine: &SearchEngine,
    telemetry: &Telemetry,
    input: impl BufRead,
    mut output: impl Write,
    top_k: usize,
) -> Result<usize, BatchError> {
    let mut answered = 0;
    for (number, line) in input.lines().enumerate() {
        let (line, number) = (line?, number + 1);
        if line.trim().is_empty() {
            continue;
        }
        let question: Question =
            serde_json::from_str(&line).map_err(|source| BatchError::Line { line: number, source })?;
        let request = SearchRequest {
            query: question.query,
            top_k,
            offset: 0,
            filters: Filters::default(),
            work_context: WorkContext::default(),
            max_tokens: None,
            cache: false,
        };
        let response = engine
            .search(&request, &mut telemetry.trace("mcp.search"))
            .map_err(|source| BatchError::Search { line: number, id: question.id.clone(), source })?;
        let results = response.results.into_iter().map(|result| Place {
            path: result.path,
            start_line: result.start_line,
            end_line: result.end_line,
            score: result.score,
        });
        let answer = Answer { id: question.id, results: results.collect(), ms: response.query_time_ms };
        serde_json::to_writer(&mut output, &answer).map_err(std::io::Error::from)?;
        output.write_all(b"\n")?;
        answered += 1;
    }
    output.flush()?;
    Ok(answered)
}
