//! Dates: RFC 3339 text in, a moment out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a date argument looks like.
pub(crate) const FORM: &str = "a date (2025-06-30) or a moment (2025-06-30T12:00:00Z) from 1970 on";

/// The moment that a date begins, or that is given exactly.
pub(crate) fn first_moment(text: &str) -> Option<SystemTime> {
    parse(text).map(|(moment, _)| moment)
}

/// The last moment of a date, or the one that is given exactly.
pub(crate) fn last_moment(text: &str) -> Option<SystemTime> {
    let (moment, whole_day) = parse(text)?;
    Some(if whole_day { moment + Duration::from_nanos(86_400_000_000_000 - 1) } else { moment })
}

fn parse(text: &str) -> Option<(SystemTime, bool)> {
    let (date, time) = (text.get(..10)?, text.get(10..)?);
    let days = days_since_1970(date)?;
    let (seconds, nanos) = if time.is_empty() { (0, 0) } else { seconds_of_day(time)? };
    let seconds = u64::try_from(days * 86_400 + seconds).ok()?;
    Some((UNIX_EPOCH + Duration::new(seconds, nanos), time.is_empty()))
}

fn days_since_1970(date: &str) -> Option<i64> {
    let (year, month, day) = (number(date.get(..4)?)?, number(date.get(5..7)?)?, number(date.get(8..10)?)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let dashes = date.get(4..5)? == "-" && date.get(7..8)? == "-";
    let length = *lengths.get(usize::try_from(month - 1).ok()?)?;
    if !dashes || !(1..=length).contains(&day) {
        return None;
    }
    // Leap days before this year, counted from year 1, less those before 1970.
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400 - 477;
    let in_year: i64 = lengths[..month as usize - 1].iter().sum();
    Some((year - 1970) * 365 + leap_days + in_year + day - 1)
}

/// `T12:00:00`, a fraction, then `Z` or `+02:00`: seconds since the day began in UTC, and nanoseconds.
fn seconds_of_day(time: &str) -> Option<(i64, u32)> {
    let rest = time.strip_prefix(['T', 't', ' '])?;
    let (hour, minute, second) = (number(rest.get(..2)?)?, number(rest.get(3..5)?)?, number(rest.get(6..8)?)?);
    let colons = rest.get(2..3)? == ":" && rest.get(5..6)? == ":";
    if !colons || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = rest.get(8..)?;
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.len() - fraction.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let nine: String = fraction[..digits].chars().chain("000000000".chars()).take(9).collect();
        nanos = if digits == 0 { return None } else { number(&nine)? as u32 };
        rest = &fraction[digits..];
    }
    let offset = match rest {
        "Z" | "z" => 0,
        _ => {
            let sign = match rest.get(..1)? {
                "+" => 1,
                "-" => -1,
                _ => return None,
            };
            let (hours, minutes) = (number(rest.get(1..3)?)?, number(rest.get(4..6)?)?);
            if rest.len() != 6 || rest.get(3..4)? != ":" || hours > 23 || minutes > 59 {
                return None;
            }
            sign * (hours * 3600 + minutes * 60)
        }
    };
    Some((hour * 3600 + minute * 60 + second - offset, nanos))
}

fn number(digits: &str) -> Option<i64> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_moments_are_read_as_utc() {
        // Expected values from `date -u -d TEXT +%s`.
        let check = |text: &str, seconds: u64| {
            let found = first_moment(text).map(|m| m.duration_since(UNIX_EPOCH).unwrap().as_secs());
            assert_eq!(found, Some(seconds), "{text}");
        };
        check("1970-01-01", 0);
        check("2000-02-29", 951_782_400);
        check("2025-06-30", 1_751_241_600);
        check("2024-12-31T23:59:59Z", 1_735_689_599);
        check("2025-06-30T12:00:00+02:00", 1_751_277_600);
        check("2025-06-30t12:00:00.25-01:30", 1_751_290_200);
        let day_end = last_moment("1970-01-01").unwrap().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!((day_end.as_secs(), day_end.subsec_nanos()), (86_399, 999_999_999));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2025",
            "2025-13-01",
            "2025-02-29",
            "2025-00-01",
            "2025-01-00",
            "2025/01/01",
            "1969-12-31",
            "today",
            "2025-06-30T",
            "2025-06-30T24:00:00Z",
            "2025-06-30T12:00:00",
            "2025-06-30T12:00:00+2",
            "2025-06-30Tgarbage",
            "20250630",
            "é025-06-30",
            "+025-06-30",
            "2025-06-30T12:00:00.Z",
        ] {
            assert_eq!(first_moment(text), None, "{text}");
        }
    }
}
