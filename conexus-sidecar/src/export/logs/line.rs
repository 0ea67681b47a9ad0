//! Line: how does a core's log line look in a file? As conexusd writes it to stderr, and no longer than a line may be.

use std::fmt::{Display, Write as _};
use std::time::{Duration, SystemTime};

use conexus_config::LogFormat;
use conexus_proto::line::{self, LineWriter, ValueRef};
use conexus_proto::v1::{self, Level, attribute};

/// The longest line, in bytes. A longer one loses its fields and the end of its message, and says so.
pub(super) const LINE_BYTES_MAX: usize = 32 << 10;
/// What is left of a message that is too long.
const MESSAGE_BYTES_KEPT: usize = 4 << 10;

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
    let format = match format {
        LogFormat::Json => line::LogFormat::Json,
        LogFormat::Text => line::LogFormat::Text,
    };
    let level = level_name(log.level());
    let mut line = LineWriter::begin(&mut out, format, log.unix_nanos.max(0), level, &log.target, message);
    for field in fields {
        let Some(value) = &field.value else { continue };
        line.field(&field.key, value_of(value));
    }
    if cut_short {
        line.field("truncated", ValueRef::Flag(true));
    }
    let trace = hex(&log.trace_id);
    line.end((!trace.is_empty()).then_some((&trace as &dyn Display, log.span_id)));
    out.push('\n');
    out
}

fn value_of(value: &attribute::Value) -> ValueRef<'_> {
    match value {
        attribute::Value::Text(text) => ValueRef::Text(text),
        attribute::Value::Integer(value) => ValueRef::Integer(*value),
        attribute::Value::Number(value) => ValueRef::Number(*value),
        attribute::Value::Flag(value) => ValueRef::Flag(*value),
    }
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

/// Two digits a byte, lower case: how ids are written.
pub(crate) fn hex(bytes: &[u8]) -> String {
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
