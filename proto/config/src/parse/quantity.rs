//! Quantities: switches, numbers, sizes and times, read from text without loss and without rounding.

use std::time::Duration;

/// `true`, `yes`, `on`, `1` and their opposites, in any case.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Digits and nothing else.
pub(super) fn integer(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A decimal number from 0 to 1.
pub(super) fn ratio(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number: f64 = plain.then(|| text.parse().ok()).flatten()?;
    (0.0..=1.0).contains(&number).then_some(number)
}

/// A whole number of bytes, with or without a unit: `4096`, `64 MiB`, `1MB`, `16Ki`. Binary units are powers of 1024,
/// decimal ones of 1000; case does not matter.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let size: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" | "ki" => 1 << 10,
        "mib" | "mi" => 1 << 20,
        "gib" | "gi" => 1 << 30,
        "tib" | "ti" => 1 << 40,
        _ => return None,
    };
    integer(number)?.checked_mul(size)
}

/// One or more numbers with units, added up: `250ms`, `1.5s`, `1m30s`, `2 h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let nanos: u128 = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, nanos)?)?;
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// A decimal number of units of so many nanoseconds; none if it is no whole number of nanoseconds.
fn scaled(number: &str, unit_nanos: u128) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.len() > 9 {
        return None;
    }
    let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(integer(fraction)?) * unit_nanos;
    if !part.is_multiple_of(divisor) {
        return None;
    }
    let nanos = u128::from(integer(whole)?).checked_mul(unit_nanos)?.checked_add(part / divisor)?;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{bytes_text, duration_text};
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, expect) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("1MiB", Some(1 << 20)),
            ("64 MiB", Some(64 << 20)),
            ("1 GiB", Some(1 << 30)),
            ("16Ki", Some(16 << 10)),
            ("1kB", Some(1000)),
            ("5 mb", Some(5_000_000)),
            ("7 B", Some(7)),
            ("2TiB", Some(2 << 40)),
            ("1M", None),
            ("1.5MiB", None),
            ("-1", None),
            ("MiB", None),
            ("", None),
            ("1 MiB 2", None),
            ("99999999999 TiB", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(bytes(text), expect, "{text}");
        }
    }

    #[test]
    fn times_are_read_with_their_units() {
        let ms = Duration::from_millis;
        for (text, expect) in [
            ("30s", Some(ms(30_000))),
            ("250ms", Some(ms(250))),
            ("1m", Some(ms(60_000))),
            ("1m30s", Some(ms(90_000))),
            ("1.5 s", Some(ms(1_500))),
            ("0s", Some(ms(0))),
            ("2h 5m", Some(ms(7_500_000))),
            ("1d", Some(ms(86_400_000))),
            ("30", None),
            ("0", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("1 fortnight", None),
            ("1..5s", None),
            ("1.s", None),
            (".5s", None),
            ("1s2", None),
            ("0.5ns", None),
            ("99999999999999999999d", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration(text), expect, "{text}");
        }
    }

    #[test]
    fn ratios_are_decimal_numbers_from_0_to_1() {
        for (text, expect) in [
            ("0", Some(0.0)),
            ("1", Some(1.0)),
            ("1.0", Some(1.0)),
            ("0.25", Some(0.25)),
            (".5", Some(0.5)),
            ("1.01", None),
            ("-0.1", None),
            ("NaN", None),
            ("inf", None),
            ("1e-1", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(ratio(text), expect, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_size_survives_being_written_and_read(size in any::<u64>()) {
            prop_assert_eq!(bytes(&bytes_text(size)), Some(size));
        }

        #[test]
        fn a_time_survives_being_written_and_read(seconds in 0..1_u64 << 40, nanos in 0..1_000_000_000_u32) {
            let time = Duration::new(seconds, nanos);
            prop_assert_eq!(duration(&duration_text(time)), Some(time));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,24}") {
            let _ = (switch(&text), integer(&text), ratio(&text), bytes(&text), duration(&text));
        }
    }
}
