//! Words for the shell of the far side.
//!
//! A login shell may be fish or csh, which agree with `sh` on little: it only ever sees `sh -c '…'` with a text that holds
//! no quotation mark, backslash, exclamation mark or newline. Everything else is one line that this `sh` reads from its
//! standard input and evaluates, so that no word of it is seen in a list of processes.

use super::Error;

/// `text` as one word for `sh`, in one line: newlines stand in the variable `nl`, see [`NEWLINE`].
///
/// # Errors
/// [`Error::Unsendable`] for a zero byte, which no shell can hold.
pub(crate) fn word(text: &str) -> Result<String, Error> {
    if text.contains('\0') {
        return Err(Error::Unsendable { what: "a word of a command holds a zero byte".into() });
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''").replace('\n', r#"'"$nl"'"#)))
}

/// Sets the variable that [`word`] refers to.
pub(crate) const NEWLINE: &str = r#"nl=$(printf '\n_'); nl=${nl%_}; "#;

/// `bytes` as an argument of `printf %b`, in printable characters alone.
pub(crate) fn octal(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + bytes.len() / 4);
    for byte in bytes {
        match byte {
            b' '..=b'~' if *byte != b'\\' => out.push(char::from(*byte)),
            byte => out.push_str(&format!("\\0{byte:03o}")),
        }
    }
    out
}

/// Whether a shell can export a variable of that name.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    plain && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    #[test]
    fn words_and_bytes_come_out_as_they_were() {
        for text in ["", "a b", "it's", "$(x) `y` \\n \"q\"", "two\nlines\n", "!! ~ * ? # ü\u{1}"] {
            let script = format!("{NEWLINE}printf %s {}", word(text).unwrap());
            assert!(!script.contains('\n'));
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
        let all: Vec<u8> = (0..=255).chain([b'0', b'7', 0, b'1']).collect();
        let script = format!("printf %b {}", word(&octal(&all)).unwrap());
        assert_eq!(Command::new("sh").args(["-c", &script]).output().unwrap().stdout, all);
        assert!(word("a\0b").is_err());
        assert!(is_name("PATH_1") && !is_name("1A") && !is_name("a.b") && !is_name(""));
    }
}
