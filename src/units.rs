//! Quantities with their unit in the type, and the one text form of a path.
//!
//! Everything a person or a script writes as text ("4GiB", "90s", a path with odd bytes) is read and printed here
//! and nowhere else, so that both directions agree.

use std::fmt;
use std::time::Duration;

/// A text that is not a quantity or path of the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseError {
    /// What was given.
    pub text: String,
    /// The form that is understood, with an example.
    pub expected: &'static str,
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

const SIZE_FORM: &str = "a size such as 4096, 64MiB or 4GiB";

impl Bytes {
    /// Reads `4096`, `64KiB`, `4GiB`, `1.5TiB` (powers of 1024) or `10MB` (powers of 1000).
    ///
    /// # Errors
    /// [`ParseError`] for anything else, for a negative size and for one above `i64::MAX`, which scripts cannot hold.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError { text: text.to_owned(), expected: SIZE_FORM };
        let (number, unit) = split_number(text.trim()).ok_or_else(bad)?;
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "p" | "pib" => 1 << 50,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(bad()),
        };
        scale(number, factor).map(Bytes).ok_or_else(bad)
    }
}

impl fmt::Display for Bytes {
    /// Prints three significant digits in powers of 1024: `0 B`, `1.50 KiB`, `20.0 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 999.5 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let digits = if value < 9.995 {
            2
        } else if value < 99.95 {
            1
        } else {
            0
        };
        write!(f, "{value:.digits$} {}", UNITS[unit])
    }
}

const SPAN_FORM: &str = "a duration such as 90, 90s, 5m, 2h or 1h30m";

/// Reads a duration: `90` (seconds), `250ms`, `90s`, `5m`, `2h`, `1d`, `1h30m`.
///
/// # Errors
/// [`ParseError`] for anything else, and for more milliseconds than an `i64` holds.
pub fn parse_duration(text: &str) -> Result<Duration, ParseError> {
    let bad = || ParseError { text: text.to_owned(), expected: SPAN_FORM };
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut parts = 0;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest).ok_or_else(bad)?;
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(letters);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "" if parts == 0 && next.is_empty() => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        total = scale(number, factor).and_then(|part| total.checked_add(part)).ok_or_else(bad)?;
        rest = next;
        parts += 1;
    }
    if parts == 0 || i64::try_from(total).is_err() {
        return Err(bad());
    }
    Ok(Duration::from_millis(total))
}

/// Prints a duration for people: `0.4 s`, `12.0 s`, `3m 05s`, `2h 10m`, `3d 04h`.
#[must_use]
pub fn show_duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", span.as_secs_f64()),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Prints a count with a comma between thousands: `1,234,567`.
#[must_use]
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Splits a leading decimal number (`12`, `1.5`) from what follows it.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let plain = !number.is_empty() && !number.starts_with('.') && !number.ends_with('.');
    (plain && number.matches('.').count() <= 1).then(|| (number, rest.trim_start()))
}

/// Multiplies a decimal number by a unit; whole numbers exactly.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let total = if number.contains('.') {
        let value = number.parse::<f64>().ok()? * factor as f64;
        // Above 2^53 a float no longer holds every byte.
        (value < 9.0e15).then_some(value.round() as u64)?
    } else {
        number.parse::<u64>().ok()?.checked_mul(factor)?
    };
    i64::try_from(total).ok().map(|_| total)
}

/// A point in time as the kernel gives it: seconds since 1970 (may be negative) and nanoseconds (0 to 999,999,999).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Whole seconds since the epoch.
    pub sec: i64,
    /// Nanoseconds within the second.
    pub nsec: u32,
}

/// A half-open range of bytes: `start` is in it, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// First byte of the range.
    pub start: u64,
    /// First byte after the range.
    pub end: u64,
}

impl ByteRange {
    /// How many bytes the range holds.
    #[must_use]
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether the range holds no byte.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// The text form of a path: UTF-8 as it is; any other byte, backslash and control characters as `\xNN`.
///
/// [`path_bytes`] reverses it exactly.
#[must_use]
pub fn path_text(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() {
                let mut buffer = [0; 4];
                c.encode_utf8(&mut buffer).bytes().for_each(|byte| push_escape(&mut out, byte));
            } else {
                out.push(c);
            }
        }
        chunk.invalid().iter().for_each(|&byte| push_escape(&mut out, byte));
    }
    out
}

fn push_escape(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push_str("\\x");
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

/// The bytes of a path given in its text form (see [`path_text`]).
///
/// # Errors
/// [`ParseError`] if a backslash is not followed by `x` and two hexadecimal digits, or if the path holds a zero byte.
pub fn path_bytes(text: &str) -> Result<Vec<u8>, ParseError> {
    let bad = || ParseError {
        text: text.to_owned(),
        expected: "a path (write a backslash as \\x5c, any other odd byte as \\xNN; zero bytes cannot be in a path)",
    };
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\' {
            let digits = tail.strip_prefix(b"x").and_then(|hex| hex.get(..2)).ok_or_else(bad)?;
            let hex = str::from_utf8(digits).map_err(|_| bad())?;
            if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            out.push(u8::from_str_radix(hex, 16).map_err(|_| bad())?);
            rest = &tail[3..];
        } else {
            out.push(first);
            rest = tail;
        }
    }
    if out.contains(&0) { Err(bad()) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_in_both_families_of_units() {
        for (text, bytes) in [("4096", 4096), ("64MiB", 64 << 20), ("1.5 GiB", 3 << 29), ("10MB", 10_000_000), ("0", 0)]
        {
            assert_eq!(Bytes::parse(text), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "-1", "12 parsecs", "1.2.3", ".5", "9223372036854775808", "16EiB"] {
            assert!(Bytes::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_and_shown() {
        for (text, ms) in [("90", 90_000), ("250ms", 250), ("5m", 300_000), ("1h30m", 5_400_000), ("1.5s", 1_500)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5 fortnights", "1h30", "-1s", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(show_duration(Duration::from_secs(185)), "3m 05s");
    }

    #[test]
    fn sizes_and_counts_are_shown_for_people() {
        let shown: Vec<_> = [0, 1023, 1536, 20 << 30, 1_048_575].map(|b| Bytes(b).to_string()).into();
        assert_eq!(shown, ["0 B", "1023 B", "1.50 KiB", "20.0 GiB", "1.00 MiB"]);
        assert_eq!([1, 999, 1_000, 1_234_567].map(show_count), ["1", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn odd_paths_have_one_text_form() {
        assert_eq!(path_text(b"a\nb\\c\xff\xc2\x85"), "a\\x0ab\\x5cc\\xff\\xc2\\x85");
        for text in ["a\\", "a\\x1", "a\\n", "a\\xg0", "\\x00", "\\x+1"] {
            assert!(path_bytes(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn path_text_is_reversible(path in proptest::collection::vec(1u8..=255, 0..64)) {
            let text = path_text(&path);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert_eq!(path_bytes(&text).unwrap(), path);
        }
    }
}
