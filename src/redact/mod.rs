//! Keeps the values of secrets out of everything that is shown or kept.
//!
//! Whoever reads a secret registers it with [`add`]; the sinks (output, progress, journal) pass all they get through
//! [`text`], [`json`] or [`tail`], which put `[secret REF]` in its place. It is done there and not where a text is made:
//! no path into a record can be forgotten. The registry belongs to the process, since the terminal does too. While no
//! secret is known, a look at one flag is all it costs.
//!
//! What a run is resumed and undone from (parameters, results, paths to put back) cannot be replaced without breaking
//! it, so there [`held`] says that it must be refused instead. A value that is a plain word or number, such as
//! `postgres`, may stand inside other text by chance: it is replaced in what is shown and recorded, and refused only where
//! it stands alone.

mod forms;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use serde_json::{Map, Value};

use forms::Form;

/// Values below this many bytes stand in too much other text to be looked for.
pub const LEAST: usize = 6;

/// Plain words and numbers from this length on are not taken for ordinary text.
const WORD: usize = 16;

/// How surely a value can be told from other text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Below [`LEAST`] bytes: found only where it is a whole field.
    Short,
    /// Small letters or digits alone.
    Word,
    /// Everything else.
    Strong,
}

/// One value and how it is shown.
struct Known {
    forms: Vec<Form>,
    value: secrecy::SecretString,
    label: String,
    strength: Strength,
}

/// All values of this process, and where to look for which.
struct Registry {
    known: Vec<Known>,
    /// For every byte: the values that have a form which begins with it.
    starts: [Vec<usize>; 256],
}

static ANY: AtomicBool = AtomicBool::new(false);
static REGISTRY: RwLock<Registry> = RwLock::new(Registry { known: Vec::new(), starts: [const { Vec::new() }; 256] });

/// Registers a value; from now on it is shown as `[secret REF]`. Lines of a value of several are known on their own as
/// well, since output is often shown line by line.
pub fn add(value: &str, reference: &str) -> Strength {
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    let strength = registry.add(value, reference);
    for line in value.lines().map(str::trim).filter(|line| line.len() >= LEAST && *line != value) {
        registry.add(line, reference);
    }
    ANY.store(true, Ordering::Release);
    strength
}

fn with<T>(look: impl FnOnce(&Registry) -> T) -> Option<T> {
    ANY.load(Ordering::Acquire).then(|| look(&REGISTRY.read().unwrap_or_else(PoisonError::into_inner)))
}

/// `text` without values.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    match with(|registry| registry.replace(text.as_bytes(), 0)).flatten() {
        None => Cow::Borrowed(text),
        Some(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// An owned `text` without values.
#[must_use]
pub fn owned(text: String) -> String {
    match self::text(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(clean) => clean,
    }
}

/// The last `keep` bytes of an output, without values. A value that the cut would split is left out as a whole.
#[must_use]
pub fn tail(output: Vec<u8>, keep: usize) -> Vec<u8> {
    let start = output.len().saturating_sub(keep);
    match with(|registry| registry.replace(&output, start)).flatten() {
        Some(clean) => clean,
        None if start == 0 => output,
        None => output[start..].to_vec(),
    }
}

/// `value` without values of secrets, in keys, texts and numbers.
#[must_use]
pub fn json(value: Value) -> Value {
    match with(|_| ()) {
        None => value,
        Some(()) => clean(&value),
    }
}

fn clean(value: &Value) -> Value {
    match value {
        Value::String(string) => Value::String(text(string).into_owned()),
        Value::Number(number) => match alone(&number.to_string(), LEAST) {
            Some(label) => Value::String(label),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(clean).collect(),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, item)| (text(key).into_owned(), clean(item)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

/// The secret whose value of at least `least` bytes this text is.
fn alone(text: &str, least: usize) -> Option<String> {
    with(|registry| {
        let same = |known: &&Known| text.len() >= least && known.is(text);
        registry.known.iter().find(same).map(|known| known.label.clone())
    })
    .flatten()
}

/// The secret that `text` holds and that must not stand in what a run is resumed or undone from.
#[must_use]
pub fn held(text: &str) -> Option<String> {
    alone(text, 0).or_else(|| with(|registry| registry.first(text, |_| false)).flatten())
}

/// The secret that `text`, a word of a command, holds; a plain word counts where no letter or digit touches it.
#[must_use]
pub fn spoken(text: &str) -> Option<String> {
    let apart = |range: Range<usize>| {
        let touches = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        !touches(range.start.checked_sub(1).and_then(|at| bytes.get(at))) && !touches(bytes.get(range.end))
    };
    alone(text, 0).or_else(|| with(|registry| registry.first(text, apart)).flatten())
}

/// Where in `value` something is [`held`]: the path to it, which begins with `at`, and the secret.
#[must_use]
pub fn held_in(value: &Value, at: &str) -> Option<(String, String)> {
    match value {
        Value::String(text) => held(text).map(|label| (at.to_owned(), label)),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| held_in(item, &format!("{at}[{index}]")))
        }
        Value::Object(map) => map.iter().find_map(|(key, item)| {
            // A key that is itself the value must not be named.
            let key_at = || held(key).map(|label| (format!("{at}, a key"), label));
            key_at().or_else(|| held_in(item, &format!("{at}.{key}")))
        }),
        Value::Number(number) => alone(&number.to_string(), LEAST).map(|label| (at.to_owned(), label)),
        Value::Null | Value::Bool(_) => None,
    }
}

impl Known {
    fn is(&self, text: &str) -> bool {
        secrecy::ExposeSecret::expose_secret(&self.value) == text
    }
}

impl Registry {
    fn add(&mut self, value: &str, reference: &str) -> Strength {
        let word = value.len() < WORD
            && (value.bytes().all(|byte| byte.is_ascii_lowercase()) || value.bytes().all(|byte| byte.is_ascii_digit()));
        let strength = match (value.len(), word) {
            (..LEAST, _) => Strength::Short,
            (_, true) => Strength::Word,
            (_, false) => Strength::Strong,
        };
        if self.known.iter().any(|known| known.is(value)) {
            return strength;
        }
        let forms = if strength == Strength::Short { Vec::new() } else { forms::of(value) };
        let mut label = format!("[secret {}]", plain(reference));
        if forms.iter().any(|form| (0..label.len()).any(|at| form.matches(label.as_bytes(), at).is_some())) {
            "[secret]".clone_into(&mut label);
        }
        let number = self.known.len();
        for byte in 0..=u8::MAX {
            if forms.iter().any(|form| form.begins_with(byte)) {
                self.starts[usize::from(byte)].push(number);
            }
        }
        self.known.push(Known { forms, value: value.into(), label, strength });
        strength
    }

    /// The longest form of any value at `at`.
    fn longest(&self, text: &[u8], at: usize) -> Option<(Range<usize>, &Known)> {
        let known = self.starts[usize::from(text[at])].iter().map(|number| &self.known[*number]);
        known
            .flat_map(|known| known.forms.iter().map(move |form| (form, known)))
            .filter_map(|(form, known)| form.matches(text, at).map(|range| (range, known)))
            .max_by_key(|(range, _)| range.end)
    }

    /// `text` from `start` on without values; `None` if it is to be left as it is. What overlaps is replaced as one: of
    /// two values that share a part nothing is left.
    fn replace(&self, text: &[u8], start: usize) -> Option<Vec<u8>> {
        let mut found: Vec<(Range<usize>, &Known)> = Vec::new();
        for at in 0..text.len() {
            let Some((range, known)) = self.longest(text, at) else { continue };
            match found.last_mut().filter(|(last, _)| range.start < last.end) {
                Some((last, _)) => last.end = last.end.max(range.end),
                None => found.push((range, known)),
            }
        }
        if found.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(text.len() - start);
        let mut at = start;
        for (range, known) in found.into_iter().filter(|(range, _)| range.end > start) {
            out.extend_from_slice(&text[at..range.start.max(at)]);
            out.extend_from_slice(known.label.as_bytes());
            at = range.end;
        }
        out.extend_from_slice(&text[at..]);
        Some(out)
    }

    /// The first value in `text` that is strong, or a word that `counts` there.
    fn first(&self, text: &str, counts: impl Fn(Range<usize>) -> bool) -> Option<String> {
        let text = text.as_bytes();
        (0..text.len()).find_map(|at| {
            let (range, known) = self.longest(text, at)?;
            (known.strength == Strength::Strong || counts(range)).then(|| known.label.clone())
        })
    }
}

/// A reference as it may stand in any text.
fn plain(reference: &str) -> String {
    const LONGEST: usize = 80;
    let one = |c: char| match c {
        '"' => '\'',
        '\\' => '/',
        c if c.is_control() => ' ',
        c => c,
    };
    let mut text: String = reference.chars().map(one).take(LONGEST).collect();
    if reference.chars().count() > LONGEST {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn of(values: &[(&str, &str)]) -> Registry {
        let mut registry = Registry { known: Vec::new(), starts: [const { Vec::new() }; 256] };
        for (value, reference) in values {
            registry.add(value, reference);
        }
        registry
    }

    fn replaced(registry: &Registry, text: &str) -> String {
        let clean = registry.replace(text.as_bytes(), 0);
        clean.map_or_else(|| text.to_owned(), |bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn values_that_overlap_leave_nothing_behind() {
        let registry = of(&[("Abcdef-", "env:A"), ("def-ghi", "env:B"), ("zZzZzZ", "env:Z")]);
        assert_eq!(replaced(&registry, "x Abcdef-ghi y"), "x [secret env:A] y");
        assert_eq!(replaced(&registry, "zZzZzZzZzZ"), "[secret env:Z]");
        assert_eq!(replaced(&registry, "Abcdef"), "Abcdef");
    }

    #[test]
    fn a_cut_never_leaves_the_end_of_a_value() {
        let registry = of(&[("S3cret-word", "env:S")]);
        let output = b"....S3cret-word....";
        for keep in 0..=output.len() {
            let kept = registry.replace(output, output.len() - keep).unwrap();
            let kept = String::from_utf8(kept).unwrap();
            let rest = kept.replace("[secret env:S]", "");
            assert!(rest.bytes().all(|byte| byte == b'.'), "{keep}: {kept}");
        }
    }

    #[test]
    fn a_reference_that_holds_the_value_is_not_shown() {
        let registry = of(&[("Hunter22", "command:echo Hunter22")]);
        assert_eq!(replaced(&registry, "it is Hunter22!"), "it is [secret]!");
        let registry = of(&[("Hunter22", "command:sh -c \"cat \\x\"")]);
        assert_eq!(replaced(&registry, "Hunter22"), "[secret command:sh -c 'cat /x']");
    }

    #[test]
    fn words_are_refused_only_where_they_stand_alone() {
        add("redactedword", "env:WORD");
        add("Redacted-strong", "env:STRONG");
        add("shrt!", "env:SHORT");
        let label = |name: &str| Some(format!("[secret env:{name}]"));
        assert_eq!(held("/srv/redactedword/data"), None);
        assert_eq!(held("redactedword"), label("WORD"));
        assert_eq!(spoken("--password=redactedword"), label("WORD"));
        assert_eq!(spoken("redactedwordql"), None);
        assert_eq!(held("a Redacted-strong b"), label("STRONG"));
        assert_eq!((held("shrt!"), held("a shrt!")), (label("SHORT"), None));
        assert_eq!(text("a shrt! redactedwordql"), "a shrt! [secret env:WORD]ql");
        assert_eq!(
            held_in(&json!({ "a": [1, { "b": "x Redacted-strong" }] }), "result"),
            Some(("result.a[1].b".into(), "[secret env:STRONG]".into()))
        );
        assert_eq!(held_in(&json!({ "Redacted-strong": 1 }), "result").unwrap().0, "result, a key");
    }

    #[test]
    fn json_is_clean_in_keys_texts_and_numbers() {
        add("917364528193", "file:/pin");
        add("Json\"secret\\", "env:JSON");
        let dirty = json!({ "Json\"secret\\": ["x Json\"secret\\ y", 917_364_528_193_u64, 5, null] });
        let wanted = json!({ "[secret env:JSON]": ["x [secret env:JSON] y", "[secret file:/pin]", 5, null] });
        assert_eq!(json(dirty), wanted);
    }

    #[test]
    fn every_line_of_a_key_is_known() {
        add("-----BEGIN QKEY-----\nMIIBqqqqqqqqX\n-----END QKEY-----", "file:/key");
        assert_eq!(text("line 2: MIIBqqqqqqqqX"), "line 2: [secret file:/key]");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the value and whatever stands around it, none of its forms survives.
        #[test]
        fn no_form_survives(value in "[ -~é\\n]{6,24}", before in "[a-z=:/ ]{0,5}", after in "[a-z=:/ ]{0,5}") {
            // Of less than that nothing can be told once a shell has quoted it.
            prop_assume!(value.bytes().filter(|byte| !b"'\"\\".contains(byte)).count() >= LEAST);
            let registry = of(&[(&value, "env:X")]);
            for form in forms::tests::written(&value, &before, &after) {
                let clean = replaced(&registry, &form);
                prop_assert!(clean.contains("[secret"), "{form:?} became {clean:?}");
            }
        }
    }
}
