//! The ways a value may be written: as it is, escaped for URLs, shells, JSON and Rust, in hexadecimal and base64.
//!
//! Escapes are undone while comparing instead of listed: every character may be escaped or not, and one mixture more
//! than anybody thought of is no way out.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::zeroize::Zeroizing;

/// One way in which a value is written.
pub(super) enum Form {
    /// Exactly so.
    Exact(Zeroizing<Vec<u8>>),
    /// Each character as it is, or as any escape of it.
    Escaped(Zeroizing<Vec<char>>),
    /// Without quotation marks and backslashes, which a shell may have anywhere.
    Bare(Zeroizing<Vec<u8>>),
    /// In hexadecimal, any case, with or without something between the bytes.
    Hex(Zeroizing<Vec<u8>>),
    /// The part of its base64 that depends on nothing around it; `open` tells whether the characters before and after
    /// hold some of its bits.
    Base64 { core: Zeroizing<Vec<u8>>, open: (bool, bool) },
}

/// The most backslashes that are taken for one escape.
const DEEPEST: usize = 16;

/// Every form of `value`.
pub(super) fn of(value: &str) -> Vec<Form> {
    let json = |text: &str| {
        let quoted = Zeroizing::new(serde_json::Value::from(text).to_string());
        Zeroizing::new(quoted[1..quoted.len() - 1].to_owned())
    };
    let exact = |text: &str| Form::Exact(Zeroizing::new(text.as_bytes().to_vec()));
    let once = json(value);
    let mut forms = vec![
        exact(value),
        Form::Escaped(Zeroizing::new(value.chars().collect())),
        Form::Hex(Zeroizing::new(value.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())),
    ];
    let bare = Zeroizing::new(value.bytes().filter(|byte| !quotes(*byte)).collect::<Vec<_>>());
    if bare.len() >= super::LEAST {
        forms.push(Form::Bare(bare));
    }
    // What is escaped twice, as JSON inside JSON.
    if *once != value {
        forms.extend([exact(&once), exact(&json(&once))]);
    }
    for before in 0..3 {
        let mut bytes = Zeroizing::new(vec![0; before]);
        bytes.extend_from_slice(value.as_bytes());
        let bits = 8 * bytes.len();
        for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let whole = Zeroizing::new(alphabet.encode(&*bytes));
            let core = whole.as_bytes()[(8 * before).div_ceil(6)..bits / 6].to_vec();
            forms.push(Form::Base64 { core: Zeroizing::new(core), open: (before > 0, bits % 6 != 0) });
        }
    }
    forms
}

/// What a shell quotes with.
fn quotes(byte: u8) -> bool {
    matches!(byte, b'\'' | b'"' | b'\\')
}

fn digit(half: u8) -> u8 {
    b"0123456789abcdef"[usize::from(half)]
}

impl Form {
    /// Whether it may begin with `byte`.
    pub(super) fn begins_with(&self, byte: u8) -> bool {
        match self {
            Self::Exact(bytes) | Self::Bare(bytes) => bytes.first() == Some(&byte),
            Self::Escaped(chars) => {
                let mut buffer = [0; 4];
                let first = chars.first().map(|c| c.encode_utf8(&mut buffer).as_bytes()[0]);
                matches!(byte, b'%' | b'\\') || first == Some(byte) || (first == Some(b' ') && byte == b'+')
            }
            Self::Hex(digits) => digits.first() == Some(&byte.to_ascii_lowercase()),
            Self::Base64 { core, .. } => core.first() == Some(&byte),
        }
    }

    /// Where in `text` it stands, if it begins at `at`.
    pub(super) fn matches(&self, text: &[u8], at: usize) -> Option<Range<usize>> {
        match self {
            Self::Exact(bytes) => text[at..].starts_with(bytes).then(|| at..at + bytes.len()),
            Self::Escaped(chars) => {
                // What a row of backslashes means shows only in what follows: every reading of it is followed.
                let (mut here, mut next) = (vec![at], Vec::new());
                for c in chars.iter() {
                    here.iter().for_each(|at| escaped(text, *at, *c, &mut next));
                    next.sort_unstable();
                    next.dedup();
                    std::mem::swap(&mut here, &mut next);
                    next.clear();
                    if here.is_empty() {
                        return None;
                    }
                }
                here.last().map(|end| at..*end)
            }
            Self::Bare(bytes) => Some(at..spread(text, at, bytes, quotes, |byte| byte)?),
            Self::Hex(digits) => {
                let gap = |byte: u8| byte.is_ascii_whitespace() || byte == b':';
                let end = spread(text, at, digits, gap, |byte| byte.to_ascii_lowercase())?;
                Some(at..end)
            }
            Self::Base64 { core, open } => {
                // Long base64 is broken into lines.
                let mut end = spread(text, at, core, |byte| matches!(byte, b'\n' | b'\r'), |byte| byte)?;
                let letter =
                    |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte));
                let mut start = at;
                if open.0 && letter(start.checked_sub(1).and_then(|before| text.get(before))) {
                    start -= 1;
                }
                if open.1 && letter(text.get(end)) {
                    end += 1;
                }
                while text.get(end) == Some(&b'=') {
                    end += 1;
                }
                Some(start..end)
            }
        }
    }
}

/// The end of `wanted` in `text` from `at` on, with gaps between its bytes.
fn spread(text: &[u8], at: usize, wanted: &[u8], gap: impl Fn(u8) -> bool, same: impl Fn(u8) -> u8) -> Option<usize> {
    let mut at = at;
    for (number, byte) in wanted.iter().enumerate() {
        while number > 0 && text.get(at).is_some_and(|found| gap(*found)) {
            at += 1;
        }
        if same(*text.get(at)?) != *byte {
            return None;
        }
        at += 1;
    }
    Some(at)
}

/// Every end that `wanted` in `text` from `at` on may have, as it is or escaped.
fn escaped(text: &[u8], at: usize, wanted: char, ends: &mut Vec<usize>) {
    let Some(rest) = text.get(at..) else { return };
    let mut buffer = [0; 4];
    let bytes = wanted.encode_utf8(&mut buffer).as_bytes();
    if rest.starts_with(bytes) {
        ends.push(at + bytes.len());
    }
    match rest.first() {
        Some(b'%') => ends.extend(percent(rest, bytes).map(|length| at + length)),
        Some(b'+') if wanted == ' ' => ends.push(at + 1),
        Some(b'\\') => {
            // An escape that was escaped again begins with several.
            let run = rest.iter().take(DEEPEST).take_while(|byte| **byte == b'\\').count();
            let lengths = (0..run).filter_map(|skip| Some(skip + backslash(&rest[skip..], wanted, bytes)?));
            ends.extend(lengths.map(|length| at + length));
            if wanted == '\\' {
                ends.extend(at + 1..=at + run);
            }
        }
        _ => {}
    }
}

/// Length of the percent escapes of `bytes` at the start of `rest`.
fn percent(rest: &[u8], bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for byte in bytes {
        let escape = rest.get(at..at + 3).filter(|escape| escape[0] == b'%')?;
        if number(&escape[1..]) != Some(u32::from(*byte)) {
            return None;
        }
        at += 3;
    }
    Some(at)
}

/// Length of the backslash escape at the start of `rest`, if it means `wanted`.
fn backslash(rest: &[u8], wanted: char, bytes: &[u8]) -> Option<usize> {
    let code = u32::from(wanted);
    let named = [(b'n', '\n'), (b'r', '\r'), (b't', '\t'), (b'b', '\u{8}'), (b'f', '\u{c}'), (b'0', '\0')];
    match rest.get(1)? {
        b'u' if rest.get(2) == Some(&b'{') => {
            let length = rest[3..].iter().position(|byte| *byte == b'}')?;
            (number(&rest[3..3 + length])? == code).then_some(length + 4)
        }
        b'u' => {
            let mut units = [0; 2];
            let units = wanted.encode_utf16(&mut units);
            let mut at = 0;
            for unit in units.iter() {
                let escape = rest.get(at..at + 6)?;
                if !escape.starts_with(b"\\u") || number(&escape[2..])? != u32::from(*unit) {
                    return (wanted == 'u').then_some(2);
                }
                at += 6;
            }
            Some(at)
        }
        b'x' => {
            let mut at = 0;
            for byte in bytes {
                let escape = rest.get(at..at + 4)?;
                if !escape.starts_with(b"\\x") || number(&escape[2..])? != u32::from(*byte) {
                    return (wanted == 'x').then_some(2);
                }
                at += 4;
            }
            Some(at)
        }
        letter if named.iter().any(|(name, meant)| name == letter && *meant == wanted) => Some(2),
        _ => rest[1..].starts_with(bytes).then_some(1 + bytes.len()),
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    let digits = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// `value` between `before` and `after`, written in every way a program may write it.
    pub(in super::super) fn written(value: &str, before: &str, after: &str) -> Vec<String> {
        let around = |text: &str| format!("{before}{text}{after}");
        let whole = around(value);
        let percent = |keep: &str, upper: bool| -> String {
            let one = |byte: u8| match byte {
                byte if byte.is_ascii_alphanumeric() || keep.as_bytes().contains(&byte) => char::from(byte).to_string(),
                byte if upper => format!("%{byte:02X}"),
                byte => format!("%{byte:02x}"),
            };
            value.bytes().map(one).collect()
        };
        let json = serde_json::Value::from(value).to_string();
        let ascii: String = value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let hex: Vec<String> = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        let wide = base64::engine::general_purpose::STANDARD.encode(&whole);
        let lines: Vec<&str> = wide.as_bytes().chunks(8).map(|chunk| str::from_utf8(chunk).unwrap()).collect();
        vec![
            whole.clone(),
            around(&percent("-_.~", true)),
            around(&percent("/-_.!~*'()", false)),
            around(&percent("-_.*", true).replace("%20", "+")),
            around(&json[1..json.len() - 1]),
            serde_json::Value::from(json.as_str()).to_string(),
            around(&ascii),
            around(&format!("'{}'", value.replace('\'', r"'\''"))),
            around(&format!("'{}'", value.replace('\'', r#"'"'"'"#))),
            around(&shlex::try_quote(value).unwrap()),
            around(&value.escape_debug().to_string()),
            around(&crate::units::path_text(value.as_bytes())),
            around(&crate::units::path_text(value.as_bytes()).escape_debug().to_string()),
            around(&hex.concat()),
            around(&hex.concat().to_uppercase()),
            around(&hex.join(" ")),
            lines.join("\n"),
            URL_SAFE_NO_PAD.encode(&whole),
            wide,
        ]
    }

    #[test]
    fn base64_at_any_place_is_found_with_the_characters_that_hold_its_ends() {
        for before in 0..4 {
            for after in 0..4 {
                let whole = format!("{}Hunter-2:word{}", "a".repeat(before), "b".repeat(after));
                let text = base64::engine::general_purpose::STANDARD.encode(&whole);
                let forms = of("Hunter-2:word");
                let found = (0..text.len()).find_map(|at| {
                    forms
                        .iter()
                        .filter(|form| form.begins_with(text.as_bytes()[at]))
                        .find_map(|form| form.matches(text.as_bytes(), at))
                });
                let range = found.unwrap_or_else(|| panic!("{text}"));
                // The characters that are left hold bits of what stands around, and no others.
                assert!(6 * range.start <= 8 * before && range.end * 6 >= 8 * (before + 13), "{text} {range:?}");
            }
        }
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        let forms = of("S3cret+word");
        for text in ["S3cret+wor", "S3cret%word", "s3cret+word", "S3cret\\+wor", "%53%33", "\\u{", "\\x5", "%"] {
            let found = (0..text.len()).any(|at| forms.iter().any(|form| form.matches(text.as_bytes(), at).is_some()));
            assert!(!found, "{text}");
        }
    }
}
