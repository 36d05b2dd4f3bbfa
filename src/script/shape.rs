//! What the documentation of a native says in a form that programs can use: its ways to be called, its options with
//! their types, and what calling it means.
//!
//! The checks, the editor definitions and the documentation read the same lines, so that they cannot disagree; a test
//! calls every native with every documented option, and fails if the two differ.

use rhai::Engine;

use super::docs::{self, Doc};
use crate::units::{self, Bytes};

/// What calling a native means for the world and the journal: the first word of its `Effects` section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Neither reads the world nor changes it.
    Plain,
    /// `Reads only`.
    Read,
    /// `Journalled`: runs under a name of its own, and gives back what the journal holds.
    Flow,
    /// `Converge`.
    Converge,
    /// `Once`.
    Once,
    /// `Destroy`.
    Destroy,
}

impl Class {
    fn of(doc: &Doc) -> Option<Self> {
        let Some(effects) = doc.section("Effects") else { return Some(Self::Plain) };
        let word = effects.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        Some(match word {
            "None" => Self::Plain,
            "Reads" => Self::Read,
            "Journalled" => Self::Flow,
            "Converge" => Self::Converge,
            "Once" => Self::Once,
            "Destroy" => Self::Destroy,
            _ => return None,
        })
    }

    /// Whether it changes things, so that it belongs into a step.
    pub(super) fn changes(self) -> bool {
        matches!(self, Self::Converge | Self::Once | Self::Destroy)
    }
}

/// Type of a parameter or an option, as the documentation writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int,
    Float,
    Text,
    Duration,
    Size,
    List(Box<Type>),
    Map,
    /// Anything that can be kept in the journal.
    Data,
    /// A closure of so many parameters.
    Closure(usize),
    /// A secret, and never a text.
    Secret,
    /// One of these texts.
    Words(Vec<String>),
    Either(Vec<Type>),
    /// A handle: `host`.
    Handle(String),
}

impl Type {
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix('|') {
            let params = rest.split('|').next().unwrap_or_default();
            return Self::Closure(params.split(',').filter(|param| !param.trim().is_empty()).count());
        }
        let quoted = |part: &str| Some(part.trim().strip_prefix('"')?.strip_suffix('"')?.to_owned());
        let words: Option<Vec<String>> = text.split('|').map(quoted).collect();
        if let Some(words) = words {
            return Self::Words(words);
        }
        if text.contains(" or ") {
            // A quoted alternative is a pattern here: `int or "N%"`.
            let one = |part: &str| if part.trim().starts_with('"') { Self::Text } else { Self::parse(part) };
            return Self::Either(text.split(" or ").map(one).collect());
        }
        match text.split_once(" of ").map_or((text, None), |(outer, inner)| (outer, Some(inner))) {
            ("list", inner) => Self::List(Box::new(inner.map_or(Self::Text, Self::parse))),
            ("map", _) => Self::Map,
            _ => match text {
                "bool" => Self::Bool,
                "int" | "ints" => Self::Int,
                "float" => Self::Float,
                "string" | "strings" | "text" | "texts" | "path" | "paths" | "endpoint" => Self::Text,
                "duration" => Self::Duration,
                "size" | "rate" => Self::Size,
                "argv" => Self::List(Box::new(Self::Text)),
                "data" => Self::Data,
                "secret" => Self::Secret,
                other => Self::Handle(other.to_owned()),
            },
        }
    }

    /// Whether a literal can be a value of it; what is no literal may always be.
    pub(super) fn accepts(&self, value: &Literal) -> bool {
        match (self, value) {
            (_, Literal::Unknown | Literal::Unit)
            | (Self::Bool, Literal::Bool(_))
            | (Self::Float, Literal::Int(_) | Literal::Float)
            | (Self::Text | Self::Words(_), Literal::Text(None))
            | (Self::Text, Literal::Text(_))
            | (Self::Duration | Self::Size, Literal::Text(None))
            | (Self::Map, Literal::Map) => true,
            (Self::Int, Literal::Int(number)) => *number >= 0,
            (Self::Duration, Literal::Int(seconds)) => *seconds >= 0,
            (Self::Duration, Literal::Text(Some(text))) => units::parse_duration(text).is_ok(),
            (Self::Size, Literal::Int(bytes)) => *bytes >= 0,
            (Self::Size, Literal::Text(Some(text))) => text == "none" || Bytes::parse(text).is_ok(),
            (Self::Words(words), Literal::Text(Some(text))) => words.contains(text),
            // One text counts as a list of texts.
            (Self::List(item), Literal::Text(_)) => **item == Self::Text,
            (Self::List(item), Literal::List(values)) => values.iter().all(|value| match (&**item, value) {
                // Exit codes and the like may be negative.
                (Self::Int, Literal::Int(_)) => true,
                (item, value) => item.accepts(value),
            }),
            (Self::Data, value) => !matches!(value, Literal::Closure(_)),
            (Self::Closure(takes), Literal::Closure(params)) => params.is_none_or(|params| params == *takes),
            (Self::Either(types), value) => types.iter().any(|one| one.accepts(value)),
            _ => false,
        }
    }

    /// What is expected, in a message.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Bool => "true or false".into(),
            Self::Int => "a whole number of at least 0".into(),
            Self::Float => "a number".into(),
            Self::Text => "a text".into(),
            Self::Duration => "a duration such as \"90s\" or whole seconds".into(),
            Self::Size => "a size such as \"4GiB\" or whole bytes".into(),
            Self::List(item) => match **item {
                Self::Int => "a list of whole numbers".into(),
                _ => "a list of texts".into(),
            },
            Self::Map => "a map #{ … }".into(),
            Self::Data => "plain data".into(),
            Self::Secret => "a secret".into(),
            Self::Closure(0) => "a closure without parameters: || …".into(),
            Self::Closure(1) => "a closure of one parameter: |x| …".into(),
            Self::Closure(takes) => format!("a closure of {takes} parameters"),
            Self::Words(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or "),
            Self::Either(types) => types.iter().map(Self::words).collect::<Vec<_>>().join(", or "),
            Self::Handle(name) => format!("a {name}"),
        }
    }
}

/// What can be told of a value from the text of a script.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Bool(bool),
    Int(i64),
    Float,
    /// A text; none if parts of it are computed.
    Text(Option<String>),
    List(Vec<Literal>),
    Map,
    /// A closure, and how many parameters it takes where that is known.
    Closure(Option<usize>),
    Unit,
    Unknown,
}

impl Literal {
    /// What it is, in a message.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Bool(value) => format!("`{value}`"),
            Self::Int(number) => format!("`{number}`"),
            Self::Float => "a number with a fraction".into(),
            Self::Text(Some(text)) => format!("\"{text}\""),
            Self::Text(None) => "a text".into(),
            Self::List(_) => "a list like this".into(),
            Self::Map => "a map".into(),
            Self::Closure(Some(0)) => "a closure without parameters".into(),
            Self::Closure(Some(1)) => "a closure of one parameter".into(),
            Self::Closure(Some(takes)) => format!("a closure of {takes} parameters"),
            Self::Closure(None) => "a closure".into(),
            Self::Unit => "()".into(),
            Self::Unknown => "this".into(),
        }
    }
}

/// A positional parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) name: String,
    pub(super) kind: Type,
    /// May be left out: written in brackets.
    pub(super) optional: bool,
}

/// One way to call a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    /// What a method belongs to: `host` of `host.exec(…)`.
    pub(super) handle: Option<String>,
    pub(super) args: Vec<Argument>,
    pub(super) result: Option<Type>,
}

/// One option of a trailing map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) kind: Type,
    /// The documented text behind the name.
    pub(super) text: String,
    /// With it the call reads and changes nothing.
    pub(super) reads: bool,
}

/// A native as its documentation describes it.
#[derive(Debug, Clone)]
pub(super) struct Native {
    pub(super) doc: Doc,
    pub(super) signatures: Vec<Signature>,
    pub(super) options: Vec<Choice>,
    pub(super) class: Class,
}

impl Native {
    /// Full name: `copy::tree`, `host.exec`.
    pub(super) fn name(&self) -> &str {
        &self.doc.name
    }

    /// Whether it gives back what the journal holds, the same after every resume.
    pub(super) fn kept(&self) -> bool {
        let effects = self.doc.section("Effects").unwrap_or_default().to_lowercase();
        effects.contains("is journalled") || self.class == Class::Flow
    }

    /// Whether it runs a closure under a name given first, which must differ from every other.
    pub(super) fn named(&self) -> bool {
        let first = self.signatures.first().and_then(|how| how.args.first());
        first.is_some_and(|arg| arg.name == "name" && !arg.optional) && (self.class == Class::Flow || self.kept())
    }

    /// The closure it runs, if it takes one in a place of its own.
    pub(super) fn body(&self) -> Option<usize> {
        self.signatures.iter().flat_map(|how| &how.args).find_map(|arg| match arg.kind {
            Type::Closure(takes) => Some(takes),
            _ => None,
        })
    }

    /// The option of that name.
    pub(super) fn option(&self, name: &str) -> Option<&Choice> {
        self.options.iter().find(|option| option.name == name)
    }
}

/// Every native of `engine`, in the order of the documentation.
pub(super) fn natives(engine: &Engine) -> Vec<Native> {
    let docs = docs::natives(engine);
    let shapes: Vec<(Doc, Vec<(String, String)>)> =
        docs.into_iter().map(|doc| (doc.clone(), raw_options(&doc))).collect();
    let typed = |from: &str, name: &str| {
        let options = shapes.iter().find(|(doc, _)| doc.name == from).map(|(_, options)| options)?;
        options.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone())
    };
    let all = shapes.iter().map(|(doc, raw)| {
        // `base, cap as for `step``: what has no type of its own has that of the function named last.
        let from = raw.iter().find_map(|(_, text)| text.strip_prefix("as for ")).map(|from| from.trim_matches('`'));
        let options = raw.iter().map(|(name, text)| {
            let own = !text.is_empty() && !text.starts_with("as for ");
            let text = if own { Some(text.clone()) } else { from.and_then(|from| typed(from, name)) };
            choice(name, &text.unwrap_or_default())
        });
        Native {
            signatures: doc.signatures.iter().map(|line| signature(line)).collect(),
            options: options.collect(),
            class: Class::of(doc).unwrap_or(Class::Plain),
            doc: doc.clone(),
        }
    });
    all.collect()
}

fn choice(name: &str, text: &str) -> Choice {
    let kind = text.split(" = ").next().unwrap_or_default();
    let kind = kind.split(" (").next().unwrap_or_default();
    Choice { name: name.to_owned(), kind: Type::parse(kind), text: text.to_owned(), reads: text.ends_with("(a read)") }
}

/// Names and texts of the lines that begin with `opts`.
fn raw_options(doc: &Doc) -> Vec<(String, String)> {
    let shape = doc.section("Shape").unwrap_or_default();
    let lines = shape.lines().skip_while(|line| !line.starts_with("opts "));
    let mut text = String::new();
    for (number, line) in lines.enumerate() {
        if number > 0 && !line.starts_with(' ') {
            break;
        }
        text.push_str(line.strip_prefix("opts").unwrap_or(line).trim());
        text.push(' ');
    }
    let parts = split(text.trim(), ',').into_iter().filter(|part| !part.is_empty());
    let named = parts.map(|part| match part.split_once(": ") {
        Some((name, text)) if !name.contains(' ') => (name.to_owned(), text.trim().to_owned()),
        _ => match part.split_once(' ') {
            Some((name, text)) => (name.to_owned(), text.trim().to_owned()),
            None => (part, String::new()),
        },
    });
    // Words without a name, such as `as for copy::tree`, name no option.
    named.filter(|(name, _)| name != "as").collect()
}

/// `copy::tree(src: path, [opts: map]) -> map` in parts.
pub(super) fn signature(line: &str) -> Signature {
    let (head, rest) = line.split_once('(').unwrap_or((line, ""));
    let end = closing(rest);
    let (inside, behind) = (rest.get(..end).unwrap_or(rest), rest.get(end + 1..).unwrap_or_default());
    let args = split(inside, ',').into_iter().filter(|arg| !arg.is_empty()).map(|arg| {
        let bare = arg.trim_start_matches('[').trim_end_matches(']');
        let (name, kind) = bare.split_once(':').unwrap_or((bare, "data"));
        Argument { name: name.trim().to_owned(), kind: Type::parse(kind), optional: arg.starts_with('[') }
    });
    Signature {
        handle: head.split_once('.').map(|(handle, _)| handle.to_owned()),
        args: args.collect(),
        result: behind.trim().strip_prefix("->").map(Type::parse),
    }
}

/// Where the parenthesis that is open before `text` closes.
fn closing(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return at,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Splits at `by` outside brackets, quotes and the bars of a closure.
fn split(text: &str, by: char) -> Vec<String> {
    let (mut parts, mut depth, mut quoted, mut barred) = (vec![String::new()], 0_usize, false, false);
    let mut before = ' ';
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            // A bar between two quoted words is an alternative; one behind a colon or a space-less place begins a closure.
            '|' if !quoted && (barred || before != '"') => barred = !barred,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == by && depth == 0 && !quoted && !barred {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
        if c != ' ' {
            before = c;
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::Error;
    use crate::script::api::options::tests::asked;
    use crate::script::{engine, run};

    fn all() -> Vec<Native> {
        natives(&engine::bare())
    }

    /// A call with arguments that fit, and `opts` where it takes some; `tmp` is a directory with trees `a` and `b`.
    fn code(all: &[Native], native: &Native, opts: &str) -> String {
        let how = native.signatures.last().unwrap();
        let handle = how.handle.as_ref().map(|handle| {
            let gives = |other: &&Native| {
                other
                    .signatures
                    .iter()
                    .any(|how| how.args.is_empty() && how.result == Some(Type::Handle(handle.clone())))
            };
            format!("{}().", all.iter().find(gives).expect("something gives the handle").name())
        });
        let name = native.name().rsplit('.').next().unwrap();
        let args: Vec<String> = how.args.iter().map(|arg| sample(arg, opts)).collect();
        format!("{}{name}({})", handle.unwrap_or_default(), args.join(", "))
    }

    fn sample(arg: &Argument, opts: &str) -> String {
        match (&*arg.name, &arg.kind) {
            ("opts", _) => opts.to_owned(),
            ("src" | "path" | "left", _) => "tmp + \"/a\"".to_owned(),
            ("dst" | "right", _) => "tmp + \"/b\"".to_owned(),
            (_, Type::List(_)) => "[\"true\"]".to_owned(),
            (_, Type::Closure(0)) => "|| 1".to_owned(),
            (_, Type::Closure(_)) => "|x| 1".to_owned(),
            (_, Type::Text | Type::Either(_)) => "\"x\"".to_owned(),
            (_, Type::Map) => "#{}".to_owned(),
            _ => "1".to_owned(),
        }
    }

    fn call(code: &str) -> Result<(), Error> {
        let tmp = tempfile::tempdir().unwrap();
        for dir in ["a", "b"] {
            std::fs::create_dir(tmp.path().join(dir)).unwrap();
        }
        run::example(code, tmp.path())
    }

    /// The same, in a step if it has to be.
    fn called(all: &[Native], native: &Native, opts: &str) -> Result<(), Error> {
        let code = code(all, native, opts);
        call(&if native.class.changes() { format!("step(\"outer\", || {{ {code}; () }})") } else { code })
    }

    #[test]
    fn every_effects_section_begins_with_a_word_that_is_known() {
        for native in all() {
            assert!(Class::of(&native.doc).is_some(), "{}: {:?}", native.name(), native.doc.section("Effects"));
        }
    }

    #[test]
    fn the_documented_options_are_those_that_are_asked_for() {
        let all = all();
        let with = |native: &&Native| native.signatures.iter().any(|how| how.args.iter().any(|arg| arg.name == "opts"));
        assert!(all.iter().filter(with).count() >= 8);
        for native in all.iter().filter(with) {
            let _outcome = called(&all, native, "#{}");
            let documented: std::collections::BTreeSet<&str> =
                native.options.iter().map(|option| option.name.as_str()).collect();
            assert_eq!(documented, asked(native.name()), "{}", native.name());
            for option in &native.options {
                assert!(!option.text.is_empty(), "{}: {} has no type", native.name(), option.name);
                let handle = matches!(&option.kind, Type::Handle(_));
                assert!(!handle, "{}: {}: the type `{}` is not known", native.name(), option.name, option.text);
            }
        }
    }

    #[test]
    fn the_documented_types_are_those_that_are_taken() {
        let all = all();
        let samples = [
            (Literal::Bool(true), "true"),
            (Literal::Int(1), "1"),
            (Literal::Int(-1), "-1"),
            (Literal::Text(Some("zz zz".into())), "\"zz zz\""),
            (Literal::Text(Some("90s".into())), "\"90s\""),
            (Literal::List(vec![Literal::Int(0)]), "[0]"),
            (Literal::List(vec![Literal::Text(Some("x".into()))]), "[\"x\"]"),
            (Literal::Map, "#{ x: \"y\" }"),
            (Literal::Closure(Some(0)), "|| 1"),
        ];
        let mut tried = 0;
        for native in all.iter().filter(|native| !native.options.is_empty()) {
            let rest: String = native
                .options
                .iter()
                .filter(|option| option.text.contains("(required)"))
                .map(|option| format!("{}: \"1s\", ", option.name))
                .collect();
            for option in &native.options {
                // How many parameters a closure takes is seen when it is called.
                let counted = matches!(option.kind, Type::Closure(_));
                for (literal, code) in
                    samples.iter().filter(|(literal, _)| !counted || *literal != Literal::Closure(Some(0)))
                {
                    let rest = if option.text.contains("(required)") { "" } else { &*rest };
                    // A path that is taken may be made.
                    let path = option.text.starts_with("path") && matches!(literal, Literal::Text(_));
                    let code = if path { "tmp + \"/other\"" } else { code };
                    let outcome = called(&all, native, &format!("#{{ {rest}{}: {code} }}", option.name));
                    let place = format!("{}: {}: {code}: {outcome:?}", native.name(), option.name);
                    if option.kind.accepts(literal) {
                        let refused = outcome.as_ref().is_err_and(|error| error.message.contains("must be"));
                        assert!(!refused, "documented and refused: {place}");
                    } else {
                        assert!(outcome.is_err(), "taken and not documented: {place}");
                    }
                    tried += 1;
                }
            }
        }
        assert!(tried > 100, "{tried}");
    }

    #[test]
    fn what_changes_things_says_so_and_nothing_else_does() {
        let all = all();
        let outside = |native: &Native, opts: &str| {
            call(&code(&all, native, opts)).is_err_and(|error| error.message.contains("outside a step"))
        };
        for native in &all {
            let required = native.options.iter().filter(|option| option.text.contains("(required)"));
            let required: String = required.map(|option| format!("{}: \"1s\", ", option.name)).collect();
            let opts = format!("#{{ {required} }}");
            assert_eq!(outside(native, &opts), native.class.changes(), "{}", native.name());
            for option in native.options.iter().filter(|option| option.reads) {
                assert!(
                    !outside(native, &format!("#{{ {}: true }}", option.name)),
                    "{} {}",
                    native.name(),
                    option.name
                );
            }
        }
        assert!(all.iter().any(|native| native.option("read_only").is_some_and(|option| option.reads)));
    }

    #[test]
    fn a_shape_is_taken_apart() {
        let how = signature("host.exec(argv: list, [opts: map]) -> map");
        assert_eq!(how.handle.as_deref(), Some("host"));
        assert_eq!(
            how.args.iter().map(|arg| (&*arg.name, arg.optional)).collect::<Vec<_>>(),
            [("argv", false), ("opts", true)]
        );
        assert_eq!(how.result, Some(Type::Map));
        assert_eq!(signature("pivot(name: string)").result, None);
        assert_eq!(
            signature("step(name: string, [opts: map], body: || -> data) -> data").args[2].kind,
            Type::Closure(0)
        );
        let parts = split("a: |x| …, b: \"p\" | \"q\" = \"p\", c: map (of x, y), d", ',');
        assert_eq!(parts, ["a: |x| …", "b: \"p\" | \"q\" = \"p\"", "c: map (of x, y)", "d"]);
        assert_eq!(Type::parse("\"p\" | \"q\""), Type::Words(vec!["p".into(), "q".into()]));
        assert_eq!(Type::parse("int or \"N%\""), Type::Either(vec![Type::Int, Type::Text]));
    }
}
