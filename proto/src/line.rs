//! Line: how does a log line look to a person or a program?
//!
//! JSON: `timestamp`, `level`, `message`, `target`, the fields, then `trace_id` and `span_id` inside a trace. A field that
//! would repeat one of those keys gets `field.` before its name, so a line never has a key twice. conexusd writes such lines
//! to stderr, the sidecar to its files.

use std::fmt::{self, Write as _};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// Text.
    Text(&'a str),
    /// A whole number.
    Integer(i64),
    /// Any number. What JSON cannot hold is written as text: `"NaN"`.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

/// Writes one line, without its end.
#[derive(Debug)]
pub struct LineWriter<'a> {
    out: &'a mut String,
    format: LogFormat,
}

const RESERVED: [&str; 6] = ["timestamp", "level", "message", "target", "trace_id", "span_id"];

impl<'a> LineWriter<'a> {
    /// Begins a line. `level` is the level's name in lower case.
    pub fn begin(
        out: &'a mut String,
        format: LogFormat,
        unix_nanos: i64,
        level: &str,
        target: &str,
        message: &str,
    ) -> Self {
        match format {
            LogFormat::Json => {
                out.push_str("{\"timestamp\":\"");
                push_time(out, unix_nanos);
                let _ = write!(out, "\",\"level\":\"{level}\",\"message\":");
                push_json_text(out, message);
                out.push_str(",\"target\":");
                push_json_text(out, target);
            }
            LogFormat::Text => {
                push_time(out, unix_nanos);
                let _ = write!(out, " {:>5} {target}: ", level.to_ascii_uppercase());
                push_one_line(out, message);
            }
        }
        Self { out, format }
    }

    /// Adds a field.
    pub fn field(&mut self, key: &str, value: ValueRef<'_>) {
        match self.format {
            LogFormat::Json => {
                self.out.push(',');
                if RESERVED.contains(&key) {
                    push_json_text(self.out, &format!("field.{key}"));
                } else {
                    push_json_text(self.out, key);
                }
                self.out.push(':');
                push_json_value(self.out, value);
            }
            LogFormat::Text => {
                let _ = write!(self.out, " {key}=");
                match value {
                    ValueRef::Text(text) if is_plain(text) => self.out.push_str(text),
                    value => push_json_value(self.out, value),
                }
            }
        }
    }

    /// Ends a line; inside a trace with the trace's id in hexadecimal digits and the span's.
    pub fn end(self, trace: Option<(&dyn fmt::Display, u64)>) {
        match (self.format, trace) {
            (LogFormat::Json, Some((trace, span))) => {
                let _ = write!(self.out, ",\"trace_id\":\"{trace}\",\"span_id\":\"{span:016x}\"}}");
            }
            (LogFormat::Json, None) => self.out.push('}'),
            (LogFormat::Text, Some((trace, _))) => {
                let _ = write!(self.out, " trace_id={trace}");
            }
            (LogFormat::Text, None) => {}
        }
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '=')
}

/// What a terminal obeys (C1 control characters too), and what some readers split lines at.
fn obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

fn push_one_line(out: &mut String, text: &str) {
    for c in text.chars() {
        if obeyed(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
}

fn push_json_value(out: &mut String, value: ValueRef<'_>) {
    let _ = match value {
        ValueRef::Text(text) => {
            push_json_text(out, text);
            Ok(())
        }
        ValueRef::Integer(value) => write!(out, "{value}"),
        // JSON has no infinities and no NaN.
        ValueRef::Number(value) if value.is_finite() => write!(out, "{value}"),
        ValueRef::Number(value) => write!(out, "\"{value}\""),
        ValueRef::Flag(value) => write!(out, "{value}"),
    };
}

fn push_json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if obeyed(c) => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends a moment, in nanoseconds since 1970, as RFC 3339 in UTC with microseconds.
pub fn push_time(out: &mut String, unix_nanos: i64) {
    let (seconds, nanos) = (unix_nanos.div_euclid(1_000_000_000), unix_nanos.rem_euclid(1_000_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let micros = nanos / 1_000;
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z");
}

/// Year, month and day of the days since 1970: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn line(format: LogFormat, message: &str, key: &str, value: ValueRef<'_>) -> String {
        let mut out = String::new();
        let mut line = LineWriter::begin(&mut out, format, 1_700_000_000_123_456_789, "warn", "a::b", message);
        line.field(key, value);
        line.end(None);
        out
    }

    fn time(unix_nanos: i64) -> String {
        let mut out = String::new();
        push_time(&mut out, unix_nanos);
        out
    }

    #[test]
    fn times_are_told_as_rfc_3339() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123456Z");
        assert_eq!(time(951_782_399_999_999_999), "2000-02-28T23:59:59.999999Z");
        assert_eq!(time(951_868_799_000_000_000), "2000-02-29T23:59:59.000000Z");
        assert_eq!(time(4_107_542_400_000_000_000), "2100-03-01T00:00:00.000000Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn text_is_for_people() {
        let text = line(LogFormat::Text, "two\nlines", "path", ValueRef::Text("a b"));
        assert_eq!(text, "2023-11-14T22:13:20.123456Z  WARN a::b: two\\nlines path=\"a b\"");
    }

    #[test]
    fn a_field_never_repeats_a_key_of_the_line() {
        let text = line(LogFormat::Json, "m", "level", ValueRef::Number(f64::NAN));
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&json["level"], &json["field.level"]), (&"warn".into(), &"NaN".into()));
    }

    proptest! {
        #[test]
        fn any_json_line_parses_and_keeps_its_text(message: String, key in "[a-z\"\\\\.]{1,8}", value: String) {
            let text = line(LogFormat::Json, &message, &key, ValueRef::Text(&value));
            prop_assert!(!text.contains('\n'));
            let json: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&json["message"], &message);
            prop_assert_eq!(&json[&key], &value);
        }
    }
}
