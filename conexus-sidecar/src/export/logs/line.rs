//! Line: how does a core's log line look in a file?
//!
//! JSON: `timestamp`, `level`, `message`, `target`, the fields, then `trace_id` and `span_id` inside a trace; a field that
//! would repeat one of those keys gets `field.` before its name. It is the line that conexusd writes to stderr.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use conexus_config::LogFormat;
use conexus_proto::v1::{self, Level, attribute};

use crate::log::rfc3339_micros;

/// The longest line, in bytes. A longer one loses its fields and the end of its message, and says so.
pub(super) const LINE_BYTES_MAX: usize = 32 << 10;
/// What is left of a message that is too long.
const MESSAGE_BYTES_KEPT: usize = 4 << 10;

const RESERVED: [&str; 6] = ["timestamp", "level", "message", "target", "trace_id", "span_id"];

/// One line, with its end.
pub(super) fn line(format: LogFormat, log: &v1::Log) -> String {
    let whole = written(format, log, &log.message, &log.fields, false);
    if whole.len() <= LINE_BYTES_MAX {
        return whole;
    }
    written(format, log, cut(&log.message, MESSAGE_BYTES_KEPT), &[], true)
}

fn written(format: LogFormat, log: &v1::Log, message: &str, fields: &[v1::Attribute], cut_short: bool) -> String {
    let mut out = String::with_capacity(256);
    let time = rfc3339_micros(time_of(log.unix_nanos));
    match format {
        LogFormat::Json => {
            let _ = write!(out, "{{\"timestamp\":\"{time}\",\"level\":\"{}\",\"message\":", level_name(log.level()));
            push_text(&mut out, message);
            out.push_str(",\"target\":");
            push_text(&mut out, &log.target);
        }
        LogFormat::Text => {
            let level = level_name(log.level()).to_ascii_uppercase();
            let _ = write!(out, "{time} {level:>5} {}: ", log.target);
            message.chars().for_each(|c| push_visible(&mut out, c));
        }
    }
    for field in fields {
        push_field(&mut out, format, field);
    }
    if cut_short {
        let truncated = v1::Attribute { key: "truncated".into(), value: Some(attribute::Value::Flag(true)) };
        push_field(&mut out, format, &truncated);
    }
    if !log.trace_id.is_empty() {
        let trace = hex(&log.trace_id);
        let _ = match format {
            LogFormat::Json => write!(out, ",\"trace_id\":\"{trace}\",\"span_id\":\"{:016x}\"", log.span_id),
            LogFormat::Text => write!(out, " trace_id={trace}"),
        };
    }
    out.push_str(if format == LogFormat::Json { "}\n" } else { "\n" });
    out
}

fn push_field(out: &mut String, format: LogFormat, field: &v1::Attribute) {
    let Some(value) = &field.value else { return };
    match format {
        LogFormat::Json => {
            out.push(',');
            if RESERVED.contains(&field.key.as_str()) {
                push_text(out, &format!("field.{}", field.key));
            } else {
                push_text(out, &field.key);
            }
            out.push(':');
            push_value(out, value);
        }
        LogFormat::Text => {
            let _ = write!(out, " {}=", field.key);
            match value {
                attribute::Value::Text(text) if is_plain(text) => out.push_str(text),
                value => push_value(out, value),
            }
        }
    }
}

fn push_value(out: &mut String, value: &attribute::Value) {
    let _ = match value {
        attribute::Value::Text(text) => {
            push_text(out, text);
            Ok(())
        }
        attribute::Value::Integer(value) => write!(out, "{value}"),
        // JSON has no infinities and no NaN.
        attribute::Value::Number(value) if value.is_finite() => write!(out, "{value}"),
        attribute::Value::Number(value) => write!(out, "\"{value}\""),
        attribute::Value::Flag(value) => write!(out, "{value}"),
    };
}

/// A JSON string. What a terminal would obey (C1 controls) and what some readers take for the end of a line (U+2028, U+2029)
/// is escaped like the control characters that JSON forbids.
fn push_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_visible(out: &mut String, c: char) {
    match c {
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => out.extend(c.escape_default()),
        c => out.push(c),
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '=')
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// A core's time as the system's; one before 1970 is 1970.
pub(crate) fn time_of(unix_nanos: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(unix_nanos).unwrap_or(0))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The longest beginning of at most `bytes` bytes.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn log(message: &str, fields: Vec<(&str, attribute::Value)>) -> v1::Log {
        v1::Log {
            unix_nanos: 1_700_000_000_123_456_789,
            level: Level::Warn.into(),
            message: message.into(),
            target: "a::b".into(),
            fields: fields
                .into_iter()
                .map(|(key, value)| v1::Attribute { key: key.into(), value: Some(value) })
                .collect(),
            trace_id: vec![0xab; 16],
            span_id: 7,
        }
    }

    #[test]
    fn a_json_line_has_the_keys_of_the_contract_in_their_order() {
        let fields = vec![
            ("duration_ms", attribute::Value::Number(1.5)),
            ("results", attribute::Value::Integer(3)),
            ("level", attribute::Value::Text("x".into())),
        ];
        let expected = "{\"timestamp\":\"2023-11-14T22:13:20.123456Z\",\"level\":\"warn\",\"message\":\"m\",\"target\":\"a::b\",\
                        \"duration_ms\":1.5,\"results\":3,\"field.level\":\"x\",\
                        \"trace_id\":\"abababababababababababababababab\",\"span_id\":\"0000000000000007\"}\n";
        assert_eq!(line(LogFormat::Json, &log("m", fields)), expected);
    }

    #[test]
    fn text_is_one_line_for_people() {
        let fields = vec![("path", attribute::Value::Text("a b".into())), ("n", attribute::Value::Flag(true))];
        let expected = "2023-11-14T22:13:20.123456Z  WARN a::b: two\\nlines path=\"a b\" n=true \
                        trace_id=abababababababababababababababab\n";
        assert_eq!(line(LogFormat::Text, &log("two\nlines", fields)), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_says_so() {
        let text = line(LogFormat::Json, &log(&"é".repeat(LINE_BYTES_MAX), vec![]));
        let json: Value = serde_json::from_str(&text).unwrap();
        assert!(text.len() < LINE_BYTES_MAX && json["truncated"] == true, "{} bytes", text.len());
    }

    proptest! {
        #[test]
        fn any_line_is_one_json_object_that_keeps_its_text(message: String, key in "[a-z\"\\\\.]{1,8}", value: String) {
            let text = line(LogFormat::Json, &log(&message, vec![(&key, attribute::Value::Text(value.clone()))]));
            prop_assert_eq!(text.matches('\n').count(), 1);
            let json: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&json["message"], &message);
            prop_assert_eq!(&json[&key], &value);
        }
    }
}
