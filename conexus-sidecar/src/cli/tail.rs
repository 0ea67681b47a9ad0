//! `tail`: what passes right now?

use std::io::{self, Write};
use std::process::ExitCode;

use conexus_proto::v1::{self, attribute, record, tail_event};
use serde_json::{Map, Value, json};

use super::snapshot::series_name;
use super::style::{Style, printable};
use super::{Failure, client};
use crate::config::Options;
use crate::debug::tail::KINDS;
use crate::export::logs::{hex, time_of};
use crate::log::rfc3339;

/// Options of `tail`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A kind (span, log, error, measure) or a text that names, messages or methods contain; several may be given
    ///
    /// Kinds add up; the text must be contained. Example: --filter error --filter context_search
    #[arg(short, long, value_name = "KIND|TEXT")]
    filter: Vec<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Prints events until the sidecar ends.
pub async fn execute(args: &Args, options: &Options) -> Result<ExitCode, Failure> {
    let request = request(&args.filter)?;
    let mut client = client::connect(&options.socket).await?;
    let mut events = client.tail(request).await.map_err(|status| client::failed(&status))?.into_inner();
    let style = Style::stdout();
    let mut out = io::stdout();
    loop {
        match events.message().await {
            Ok(Some(event)) => {
                let line = if args.json { json_line(&event).to_string() } else { text_line(&event, style) };
                writeln!(out, "{line}")?;
            }
            Ok(None) => return Err(Failure::Sidecar("the sidecar has stopped".into())),
            Err(status) => return Err(client::failed(&status)),
        }
    }
}

fn request(filters: &[String]) -> Result<v1::TailRequest, Failure> {
    let (kinds, texts): (Vec<String>, Vec<String>) =
        filters.iter().cloned().partition(|filter| KINDS.contains(&filter.as_str()));
    match texts.as_slice() {
        [] => Ok(v1::TailRequest { kinds, contains: String::new() }),
        [text] => Ok(v1::TailRequest { kinds, contains: text.clone() }),
        _ => Err(Failure::Usage(format!(
            "--filter: {} are {} texts, one is possible; kinds are {}",
            texts.join(", "),
            texts.len(),
            KINDS.join(", ")
        ))),
    }
}

fn text_line(event: &v1::TailEvent, style: Style) -> String {
    match &event.event {
        Some(tail_event::Event::Record(v1::Record { record: Some(record) })) => record_line(record, style),
        Some(tail_event::Event::Measure(measure)) => {
            let name = printable(&series_name(&measure.metric, &measure.labels));
            let change = format!("{:+}", measure.change);
            format!("{} {name} {} {}", style.cyan("measure"), measure.value, style.green(&change))
        }
        Some(tail_event::Event::Missed(count)) => {
            style.yellow(&format!("missed {count} batches: this reader is too slow"))
        }
        _ => style.dim("an event that this version does not know"),
    }
}

fn record_line(record: &record::Record, style: Style) -> String {
    match record {
        record::Record::Span(span) => format!(
            "{} {} {} {:.3} ms {}{}",
            style.dim(&time(span.start_unix_nanos)),
            style.cyan("span"),
            style.bold(&printable(&span.name)),
            span.duration_nanos as f64 / 1e6,
            style.dim(&format!("trace={}", hex(&span.trace_id))),
            fields(&span.attributes) + &failure(span.error, &span.error_message, style),
        ),
        record::Record::Log(log) => {
            let level = level(log.level);
            let painted = match level {
                "error" => style.red(level),
                "warn" => style.yellow(level),
                _ => style.green(level),
            };
            let time = style.dim(&time(log.unix_nanos));
            format!("{time} {painted} {}{}", printable(&log.message), fields(&log.fields))
        }
        record::Record::Error(error) => format!(
            "{} {} {} {}{}",
            style.dim(&time(error.unix_nanos)),
            style.red("error"),
            printable(&error.error_type),
            printable(&error.message),
            fields(&error.context)
        ),
    }
}

fn failure(error: bool, message: &str, style: Style) -> String {
    if error { format!(" {}", style.red(&format!("failed: {}", printable(message)))) } else { String::new() }
}

fn fields(attributes: &[v1::Attribute]) -> String {
    attributes
        .iter()
        .map(|attribute| format!(" {}={}", printable(&attribute.key), printable(&value(attribute).to_string())))
        .collect()
}

fn value(attribute: &v1::Attribute) -> Value {
    match &attribute.value {
        Some(attribute::Value::Text(text)) => text.as_str().into(),
        Some(attribute::Value::Integer(number)) => (*number).into(),
        Some(attribute::Value::Number(number)) => (*number).into(),
        Some(attribute::Value::Flag(flag)) => (*flag).into(),
        None => Value::Null,
    }
}

fn json_line(event: &v1::TailEvent) -> Value {
    match &event.event {
        Some(tail_event::Event::Record(v1::Record { record: Some(record) })) => {
            let mut line = json_record(record);
            line.insert("boot_epoch".into(), format!("{:016x}", event.boot_epoch).into());
            Value::Object(line)
        }
        Some(tail_event::Event::Measure(measure)) => {
            let labels: Map<String, Value> =
                measure.labels.iter().map(|label| (label.name.clone(), label.value.clone().into())).collect();
            json!({ "kind": "measure", "metric": measure.metric, "labels": labels, "value": measure.value,
                    "change": measure.change })
        }
        Some(tail_event::Event::Missed(count)) => json!({ "kind": "missed", "batches": count }),
        _ => json!({ "kind": "unknown" }),
    }
}

fn json_record(record: &record::Record) -> Map<String, Value> {
    let object = match record {
        record::Record::Span(span) => json!({
            "kind": "span", "timestamp": time(span.start_unix_nanos), "name": span.name,
            "duration_ms": span.duration_nanos as f64 / 1e6, "trace_id": hex(&span.trace_id),
            "span_id": format!("{:016x}", span.span_id), "parent_span_id": format!("{:016x}", span.parent_span_id),
            "error": span.error, "error_message": span.error_message, "attributes": json_fields(&span.attributes),
        }),
        record::Record::Log(log) => json!({
            "kind": "log", "timestamp": time(log.unix_nanos), "level": level(log.level), "message": log.message,
            "target": log.target, "trace_id": hex(&log.trace_id), "fields": json_fields(&log.fields),
        }),
        record::Record::Error(error) => json!({
            "kind": "error", "timestamp": time(error.unix_nanos), "error_type": error.error_type,
            "message": error.message, "method": error.method, "tool": error.tool, "trace_id": hex(&error.trace_id),
            "context": json_fields(&error.context),
        }),
    };
    match object {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn json_fields(attributes: &[v1::Attribute]) -> Map<String, Value> {
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect()
}

fn level(level: i32) -> &'static str {
    match v1::Level::try_from(level) {
        Ok(v1::Level::Debug) => "debug",
        Ok(v1::Level::Warn) => "warn",
        Ok(v1::Level::Error) => "error",
        _ => "info",
    }
}

fn time(unix_nanos: i64) -> String {
    rfc3339(time_of(unix_nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_kinds_and_one_text() {
        let made = request(&["span".into(), "search".into(), "log".into()]).unwrap();
        assert_eq!(made, v1::TailRequest { kinds: vec!["span".into(), "log".into()], contains: "search".into() });
        assert!(request(&["a".into(), "b".into()]).unwrap_err().to_string().contains("a, b are 2 texts"));
    }

    #[test]
    fn a_record_is_one_line_in_both_forms() {
        let log = v1::Log { message: "two\nlines".into(), level: 3, ..v1::Log::default() };
        let record = v1::Record { record: Some(record::Record::Log(log)) };
        let event = v1::TailEvent { boot_epoch: 1, event: Some(tail_event::Event::Record(record)) };
        assert_eq!(text_line(&event, Style::plain()), "1970-01-01T00:00:00.000Z error two\\nlines");
        let json = json_line(&event);
        assert_eq!((json["level"].as_str(), json["message"].as_str()), (Some("error"), Some("two\nlines")));
    }
}
