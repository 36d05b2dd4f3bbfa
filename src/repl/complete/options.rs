//! Options and parameters of a function, read off its documented shape.

use crate::script::docs::Doc;

/// Names and types of the keys a function's trailing map can have.
pub(super) fn of(doc: &Doc) -> Vec<(String, String)> {
    let shape = doc.section("Shape").unwrap_or_default();
    let mut text = String::new();
    let mut inside = false;
    for line in shape.lines() {
        if let Some(rest) = line.strip_prefix("opts") {
            inside = true;
            text.push_str(rest);
        } else if inside && line.starts_with(' ') {
            text.push_str(line);
        } else {
            inside = false;
        }
    }
    let keys = split(&text).into_iter().filter_map(|part| {
        let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
        let (name, about) = part.split_once(':').unwrap_or_else(|| part.split_once(' ').unwrap_or((&part, "")));
        let good = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
        good.then(|| (name.to_owned(), about.trim().to_owned()))
    });
    keys.filter(|(name, _)| name != "as").collect()
}

/// Names of a function's positional parameters.
pub(in crate::repl) fn parameters(signature: &str) -> Vec<String> {
    let inside = signature.split_once('(').map_or("", |(_, rest)| rest);
    let inside = inside.split(')').next().unwrap_or_default();
    split(inside)
        .iter()
        .map(|part| part.trim().trim_start_matches('[').split(':').next().unwrap_or_default().to_owned())
        .collect()
}

/// Parts between commas that are in no bracket and no quotes.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted) = (vec![String::new()], 0_i32, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 && !quoted {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn options_are_those_of_the_shape() {
        let docs = crate::script::docs();
        let keys = |name: &str| {
            let doc = docs.iter().find(|doc| doc.name == name).unwrap();
            of(doc).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(keys("copy::compare"), ["content", "sample", "exclude", "accept", "one_file_system", "jobs"]);
        for option in ["delete", "max_delete", "checksum", "backup_dir", "dry_run"] {
            assert!(keys("copy::tree").contains(&option.to_owned()), "{option}");
        }
        for option in ["key", "undo", "retries", "deadline"] {
            assert!(keys("step").contains(&option.to_owned()), "{option}");
        }
        assert!(keys("sleep").is_empty());
    }

    #[test]
    fn parameters_are_those_of_the_signature() {
        assert_eq!(parameters("copy::tree(src: path, dst: path, [opts: map]) -> map"), ["src", "dst", "opts"]);
    }
}
