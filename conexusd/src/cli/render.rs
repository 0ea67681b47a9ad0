//! Rendering: results and numbers for people, coloured where the terminal wants it.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::Value;

/// Lines of a result shown unless all are asked for.
const LINES_SHOWN: usize = 14;

const PATH: Style = AnsiColor::Cyan.on_default().bold();
const SYMBOL: Style = AnsiColor::Green.on_default();
const DIM: Style = Style::new().dimmed();

/// A page of search results (`context_search`'s structured content) as text with colours.
pub fn results(answer: &Value, whole: bool) -> String {
    let mut text = String::new();
    let results = answer["results"].as_array().map_or(&[][..], Vec::as_slice);
    if results.is_empty() {
        text.push_str("Nothing found.\n");
    }
    let offset = answer["offset"].as_u64().unwrap_or_default();
    for (place, result) in results.iter().enumerate() {
        write_result(&mut text, offset + place as u64 + 1, result, whole);
    }
    let total = answer["total_count"].as_u64().unwrap_or_default();
    let index = &answer["index"];
    let _ = write!(
        text,
        "{DIM}{} of {total} in {:.1} ms; index {}{DIM:#}",
        results.len(),
        answer["query_time_ms"].as_f64().unwrap_or_default(),
        freshness(index),
    );
    text.push('\n');
    text
}

/// How old and how whole the index is, in words.
fn freshness(index: &Value) -> String {
    let mut words = match index["age_seconds"].as_f64() {
        Some(age) => format!("checked {} ago", duration(age)),
        None => "never checked".to_owned(),
    };
    if index["complete"] == false {
        words.push_str(", not complete yet");
    }
    match index["pending"].as_u64().unwrap_or_default() {
        0 => {}
        pending => {
            let _ = write!(words, ", {} files pending", count(pending));
        }
    }
    words
}

fn write_result(text: &mut String, place: u64, result: &Value, whole: bool) {
    let path = result["path"].as_str().unwrap_or_default();
    let first = result["start_line"].as_u64().unwrap_or(1);
    let last = result["end_line"].as_u64().unwrap_or(first);
    let _ = write!(text, "{DIM}{place:>2}.{DIM:#} {PATH}{path}:{first}-{last}{PATH:#}");
    if let Some(symbol) = result["symbol"].as_str() {
        let _ = write!(text, "  {SYMBOL}{symbol}{SYMBOL:#}");
    }
    let language = result["language"].as_str().unwrap_or_default();
    let score = result["score"].as_f64().unwrap_or_default();
    let _ = writeln!(text, "  {DIM}{language}, {score:.2}{DIM:#}");
    let content = result["content"].as_str().unwrap_or_default();
    let lines: Vec<&str> = content.lines().collect();
    let shown = if whole { lines.len() } else { lines.len().min(LINES_SHOWN) };
    for (number, line) in (first..).zip(&lines[..shown]) {
        let _ = writeln!(text, "{DIM}{number:>6} │{DIM:#} {}", printable(line));
    }
    if shown < lines.len() {
        let _ = writeln!(text, "{DIM}       │ … {} more lines{DIM:#}", lines.len() - shown);
    }
    text.push('\n');
}

/// A line without the control characters that could rewrite a terminal.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12.3 MB` (powers of ten).
pub fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 || unit == "GB" {
            return if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    unreachable!("the last unit takes everything")
}

/// `350 ms`, `12.3 s`, `4 min`, `5 h`, `3 days`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500_000), "1.5 MB");
        assert_eq!(bytes(u64::MAX), "18446744073.7 GB");
        assert_eq!(duration(0.25), "250 ms");
        assert_eq!(duration(600.0), "10 min");
    }

    #[test]
    fn a_result_shows_where_it_is_and_its_lines() {
        let answer = json!({
            "results": [{"path": "src/a.rs", "start_line": 7, "end_line": 8, "symbol": "f", "language": "rust", "score": 1.0, "content": "fn f() {\n}\u{1b}[2J"}],
            "total_count": 1, "query_time_ms": 0.5, "offset": 0, "index": {"age_seconds": 3.0, "pending": 0, "complete": true},
        });
        let text = anstream::adapter::strip_str(&results(&answer, false)).to_string();
        assert!(text.contains("src/a.rs:7-8  f"), "{text}");
        assert!(text.contains("     8 │ }\u{fffd}[2J"), "{text}");
        assert!(text.contains("1 of 1 in 0.5 ms; index checked 3.0 s ago"), "{text}");
    }
}
