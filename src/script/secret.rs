//! Secrets: a reference that may be written down, and a value that may not.
//!
//! `env:NAME`, `file:PATH` and `command:WORDS` say where a value is; it is read anew by every incarnation of a run,
//! registered with [`crate::redact`], and handed on to commands only. Scripts see a [`Secret`], which has no data that
//! could be printed, kept or compared by its order. What undoes a run is found by running its script again, where a
//! secret that is gone by now must not hide a step: a value is then read when it is used and not before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rhai::{AST, ASTNode, Expr, Stmt};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::api::paths;
use super::params::{Param, ParamKind};
use crate::cancel::Cancel;
use crate::error::{Error, Exit, Kind};
use crate::host::local::{self, Invocation};
use crate::journal::Fingerprint;
use crate::redact::{self, Strength};

/// The largest value that is taken.
const LONGEST: usize = 16 << 10;

/// How long a command may take to give a value: a person may have to unlock a store first.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// What a reference looks like.
pub(super) const FORMS: &str = "env:NAME, file:PATH or command:WORDS";

/// Where the value of a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Env(String),
    File(PathBuf),
    Command(Vec<String>),
}

/// A reference to a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// As it is written down: a path in it is absolute.
    pub(crate) text: String,
    place: Place,
}

impl Reference {
    /// Reads a reference; a relative path is below `base`, or below the working directory without one.
    ///
    /// The failure never holds `text`: it may be the secret itself, given by mistake.
    pub(crate) fn parse(text: &str, base: Option<&Path>) -> Result<Self, String> {
        let no_reference = || format!("a secret is given as a reference: {FORMS}");
        let (scheme, rest) = text.split_once(':').filter(|(_, rest)| !rest.is_empty()).ok_or_else(no_reference)?;
        match scheme {
            "env" => {
                let plain = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if !plain || rest.starts_with(|c: char| c.is_ascii_digit()) {
                    return Err("after `env:` stands the name of a variable: letters, digits and _".into());
                }
                Ok(Self { text: text.to_owned(), place: Place::Env(rest.to_owned()) })
            }
            "file" => {
                let path = paths::kept_path(rest)
                    .map_err(|error| format!("after `file:` stands a path: {}", error.message))?;
                let path = match (path.strip_prefix("~"), std::env::var_os("HOME")) {
                    (Ok(below), Some(home)) => Path::new(&home).join(below),
                    _ => base.map_or_else(|| path.clone(), |base| base.join(&path)),
                };
                let path = std::path::absolute(path).map_err(|error| error.to_string())?;
                Ok(Self { text: format!("file:{}", paths::text(&path)), place: Place::File(path) })
            }
            "command" => match shlex::split(rest).filter(|words| !words.is_empty()) {
                Some(words) => Ok(Self { text: text.to_owned(), place: Place::Command(words) }),
                None => Err("after `command:` stands a command; a quotation mark is open".into()),
            },
            _ => Err(no_reference()),
        }
    }

    /// Reads the value and registers it.
    fn read(&self, cancel: &Cancel) -> Result<(SecretString, Strength), Error> {
        let value = match &self.place {
            Place::Env(name) => self.of_env(name)?,
            Place::File(path) => self.of_file(path)?,
            Place::Command(words) => self.of_command(words, cancel)?,
        };
        if value.is_empty() {
            return Err(self.error(Kind::Invalid, "is empty"));
        }
        if value.len() > LONGEST {
            return Err(self.error(Kind::Invalid, &format!("has more than {} KiB", LONGEST >> 10)));
        }
        let strength = redact::add(&value, &self.text);
        Ok((value.as_str().into(), strength))
    }

    fn error(&self, kind: Kind, what: &str) -> Error {
        Error::new(kind, format!("the secret `{}` {what}", self.text))
    }

    fn of_env(&self, name: &str) -> Result<Zeroizing<String>, Error> {
        match std::env::var(name) {
            Ok(value) => Ok(Zeroizing::new(value)),
            Err(std::env::VarError::NotPresent) => Err(self
                .error(Kind::NotFound, "is not there")
                .hint(format!("set the variable {name} in the environment of decamp"))),
            Err(std::env::VarError::NotUnicode(_)) => Err(self.not_text()),
        }
    }

    fn of_file(&self, path: &Path) -> Result<Zeroizing<String>, Error> {
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => self.error(Kind::NotFound, "is not there").because(source),
            std::io::ErrorKind::PermissionDenied => self.error(Kind::Denied, "may not be read").because(source),
            _ => self.error(Kind::Io, "cannot be read").because(source),
        };
        // Without waiting: what stands there may be a pipe that nobody writes to.
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(self.error(Kind::Invalid, "is no regular file"));
        }
        let mode = meta.mode() & 0o7777;
        if mode & 0o077 != 0 {
            let shown = paths::text(path);
            return Err(self
                .error(Kind::Denied, &format!("may be read or written by others: its mode is {mode:04o}"))
                .hint(format!("chmod 600 {shown}; whoever could read it until now may know the secret")));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 4));
        file.take(LONGEST as u64 + 3).read_to_end(&mut bytes).map_err(failed)?;
        let value = str::from_utf8(&bytes).map_err(|_| self.not_text())?;
        let value = value.strip_suffix('\n').map_or(value, |line| line.strip_suffix('\r').unwrap_or(line));
        Ok(Zeroizing::new(value.to_owned()))
    }

    fn of_command(&self, words: &[String], cancel: &Cancel) -> Result<Zeroizing<String>, Error> {
        let call = Invocation { argv: words.to_vec(), timeout: Some(COMMAND_LIMIT), ..Invocation::default() };
        let ended = local::run(&call, cancel).map_err(|error| {
            let error = Error::from(error);
            match error.kind {
                Kind::Cancelled => error,
                kind => self.error(kind, "cannot be had").because(error),
            }
        })?;
        let (stdout, stderr) = (Zeroizing::new(ended.stdout), ended.stderr);
        let first = stdout.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let first = first.strip_suffix(b"\r").unwrap_or(first);
        if ended.code != Some(0) {
            // What it wrote before it failed may be the value, and the complaint may repeat it.
            if let Ok(value) = str::from_utf8(first) {
                redact::add(value, &self.text);
            }
            let said = redact::tail(stderr, local::KEPT_BYTES);
            let said = String::from_utf8_lossy(&said);
            let said: Vec<&str> = said.trim().lines().take(5).collect();
            let how = ended.code.map_or_else(|| "was ended".to_owned(), |code| format!("ended with exit code {code}"));
            let error = self.error(Kind::NotFound, &format!("cannot be had: its command {how}"));
            return Err(if said.is_empty() { error } else { error.hint(format!("it said: {}", said.join(" | "))) });
        }
        if stdout.len() >= local::KEPT_BYTES {
            return Err(self.error(Kind::Invalid, "cannot be had: its command wrote more than one line of a value"));
        }
        str::from_utf8(first).map(|value| Zeroizing::new(value.to_owned())).map_err(|_| self.not_text())
    }

    fn not_text(&self) -> Error {
        self.error(Kind::Invalid, "is not text (UTF-8)")
            .hint("keep it as base64, and let the command that uses it decode it")
    }
}

/// A secret as scripts have it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Secret(Arc<Inner>);

struct Inner {
    reference: Reference,
    value: OnceLock<(SecretString, Strength)>,
    /// Held while it is read: a store may ask a person, and asks once.
    reading: Mutex<()>,
    used: AtomicBool,
    hash: Option<Fingerprint>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    fn new(reference: Reference, hash: Option<Fingerprint>) -> Self {
        let (value, reading, used) = (OnceLock::new(), Mutex::default(), AtomicBool::new(false));
        Self(Arc::new(Inner { reference, value, reading, used, hash }))
    }

    /// Its reference.
    pub(crate) fn reference(&self) -> &str {
        &self.0.reference.text
    }

    /// Whether the script comes to it for the first time.
    pub(crate) fn first_use(&self) -> bool {
        !self.0.used.swap(true, Ordering::Relaxed)
    }

    /// Finds out whether it could be read, without running its command.
    pub(crate) fn look(&self, cancel: &Cancel) -> Result<(), Error> {
        match &self.0.reference.place {
            Place::Command(words) if local::which(&words[0]).is_none() => Err(self
                .0
                .reference
                .error(Kind::NotFound, &format!("cannot be had: there is no program `{}`", words[0]))),
            Place::Command(_) => Ok(()),
            Place::Env(_) | Place::File(_) => self.read(cancel).map(drop),
        }
    }

    /// Reads it if that has not been done; how surely its value can be told from other text.
    pub(crate) fn read(&self, cancel: &Cancel) -> Result<Strength, Error> {
        Ok(self.known(cancel)?.1)
    }

    /// Its value.
    pub(crate) fn value(&self, cancel: &Cancel) -> Result<&SecretString, Error> {
        Ok(&self.known(cancel)?.0)
    }

    fn known(&self, cancel: &Cancel) -> Result<&(SecretString, Strength), Error> {
        let _reading = self.0.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.0.value.get() {
            return Ok(known);
        }
        let read = self.0.reference.read(cancel)?;
        Ok(self.0.value.get_or_init(|| read))
    }

    /// What is kept of it where it is only compared: its reference, and a hash of its value if it was read.
    pub(crate) fn sealed(&self) -> Value {
        let hash = self.0.value.get().zip(self.0.hash.as_ref());
        json!({ "$secret": self.reference(), "hash": hash.map(|((value, _), hash)| hash.of(value.expose_secret())) })
    }

    /// Whether its value is `other`, in a time that tells nothing about where they differ.
    pub(crate) fn is(&self, other: &str, cancel: &Cancel) -> Result<bool, Error> {
        let [own, other] = [self.value(cancel)?.expose_secret(), other].map(|text| blake3::hash(text.as_bytes()));
        // Comparing two hashes of BLAKE3 takes constant time.
        Ok(own == other)
    }
}

/// The secrets of one run, each read once.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    read: Mutex<BTreeMap<String, Secret>>,
    /// Names that stand for references.
    aliases: BTreeMap<String, String>,
    hash: Option<Fingerprint>,
}

impl Secrets {
    /// With the aliases of a site file, and the hash of the journal.
    pub(crate) fn new(aliases: BTreeMap<String, String>, hash: Option<Fingerprint>) -> Self {
        Self { read: Mutex::default(), aliases, hash }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Secret>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The variables that hold secrets: a command inherits none of them, and gets what it is handed over.
    pub(crate) fn variables(&self) -> Vec<String> {
        let all = self.all();
        let name = |secret: &Secret| match &secret.0.reference.place {
            Place::Env(name) => Some(name.clone()),
            Place::File(_) | Place::Command(_) => None,
        };
        all.values().filter_map(name).collect()
    }

    /// The secret that `text`, a reference or an alias, means.
    pub(crate) fn find(&self, text: &str) -> Result<Secret, Error> {
        let reference = self.aliases.get(text).map_or(text, String::as_str);
        let parsed = Reference::parse(reference, None).map_err(|what| {
            let known = self.aliases.keys().map(String::as_str);
            let error = Error::new(Kind::Invalid, what);
            // A text without a colon may be a name of the site file, or the secret itself: it is not repeated.
            match super::near::nearest(text, known).first() {
                Some(near) => error.hint(format!("did you mean `{near}` of the site file?")),
                None => error.hint("a name works as well, if the run's site file has it under [secrets]"),
            }
        })?;
        Ok(self.all().entry(parsed.text.clone()).or_insert_with(|| Secret::new(parsed, self.hash.clone())).clone())
    }
}

/// The references among the parameters, with the flag of each.
fn given<'p>(declared: &'p [Param], params: &'p Value) -> impl Iterator<Item = (&'p str, String)> {
    let secret = declared.iter().filter(|param| param.kind == ParamKind::Secret);
    secret.flat_map(|param| {
        let texts: Vec<&str> = match params.get(&param.name) {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(text)) => vec![text.as_str()],
            _ => Vec::new(),
        };
        texts.into_iter().map(|text| (text, param.flag()))
    })
}

/// Reads what a run can be seen to need, before it is recorded: the references among its parameters, which must be
/// there, and those of [`register`]. Then refuses a parameter that is the value of one of them: parameters are kept.
pub(super) fn foresee<'a>(
    secrets: &Secrets,
    declared: &[Param],
    params: &Value,
    asts: impl Iterator<Item = &'a AST>,
    cancel: &Cancel,
) -> Result<(), Error> {
    for (text, flag) in given(declared, params) {
        let found = secrets.find(text).and_then(|secret| secret.look(cancel));
        found.map_err(|error| error.hint(format!("it was given as --{flag}")).exit(Exit::Usage))?;
    }
    register(secrets, &[], params, asts, cancel);
    refuse_values(params)
}

/// Registers the values of the references that stand in a run's parameters, texts and site file, so that none is shown
/// before the script comes to it. It may be in a branch that is not taken: what is wrong with one is said when it is
/// needed. Commands are not run.
pub(super) fn register<'a>(
    secrets: &Secrets,
    declared: &[Param],
    params: &Value,
    asts: impl Iterator<Item = &'a AST>,
    cancel: &Cancel,
) {
    let mut named: BTreeSet<String> = secrets.aliases.keys().cloned().collect();
    named.extend(given(declared, params).map(|(text, _)| text.to_owned()));
    asts.for_each(|ast| literals(ast, &mut named));
    for text in named {
        if let Ok(secret) = secrets.find(&text) {
            secret.look(cancel).ok();
        }
    }
}

/// Refuses a parameter that holds the value of a secret.
pub(super) fn refuse_values(params: &Value) -> Result<(), Error> {
    let Some((at, label)) = redact::held_in(params, "params") else { return Ok(()) };
    let name = at.trim_start_matches("params.");
    Err(Error::new(Kind::Invalid, format!("the parameter `{name}` holds the value of {label}"))
        .hint("parameters are kept in the journal: give a reference, as a parameter of type secret")
        .exit(Exit::Usage))
}

/// The literal arguments of `secret(…)` in a program.
fn literals(ast: &AST, into: &mut BTreeSet<String>) {
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(Stmt::FnCall(call, _)) | ASTNode::Expr(Expr::FnCall(call, _))) = path.last()
            && call.name == "secret"
            && call.namespace.is_empty()
            && let Some(Expr::StringConstant(text, _)) = call.args.first()
        {
            into.insert(text.to_string());
        }
        true
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn read(text: &str) -> Result<String, Error> {
        let (value, _) = Reference::parse(text, None).unwrap().read(&Cancel::new())?;
        Ok(value.expose_secret().to_owned())
    }

    #[test]
    fn a_literal_is_no_reference_and_is_not_repeated() {
        for text in
            ["Hunter2-literal", "pass:Hunter2-literal", "env:", "env:Hunter2-literal", "env:2X", "command:'Hunter2"]
        {
            let what = Reference::parse(text, None).unwrap_err();
            assert!(!what.contains("Hunter2"), "{what}");
        }
    }

    #[test]
    fn paths_become_absolute_below_their_base() {
        let text = |text, base: Option<&str>| Reference::parse(text, base.map(Path::new)).unwrap().text;
        assert_eq!(text("file:a/b", Some("/etc/site")), "file:/etc/site/a/b");
        assert_eq!(text("file:/a", Some("/etc/site")), "file:/a");
        assert!(text("file:a", None).starts_with("file:/"));
    }

    #[test]
    fn a_file_is_read_without_its_last_newline_and_only_if_it_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let reference = format!("file:{}", path.display());
        assert_eq!(read(&reference).unwrap_err().kind, Kind::NotFound);
        std::fs::write(&path, "Unit-secret-1\n\n").unwrap();
        for (mode, shown) in [(0o644, "0644"), (0o640, "0640"), (0o602, "0602")] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&reference).unwrap_err();
            assert!(error.kind == Kind::Denied && error.message.ends_with(shown), "{}", error.message);
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&reference).unwrap(), "Unit-secret-1\n");
        for (content, what) in
            [(&b""[..], "is empty"), (b"\n", "is empty"), (b"\xff", "not text"), (&[b'x'; 20_000], "16 KiB")]
        {
            std::fs::write(&path, content).unwrap();
            assert!(read(&reference).unwrap_err().message.contains(what), "{what}");
        }
        assert!(read(&format!("file:{}", dir.path().display())).unwrap_err().message.contains("no regular file"));
    }

    #[test]
    fn of_a_command_the_first_line_counts_and_its_failure_does_not_tell_the_value() {
        assert_eq!(read("command:printf 'Unit-secret-2\\nmore\\n'").unwrap(), "Unit-secret-2");
        let failed = read(
            "command:sh -c 'v=$(echo Unit-secret; printf %s -3); v=$(printf %s%s Unit-secret -3); echo $v; echo no $v >&2; exit 4'",
        );
        let error = failed.unwrap_err();
        let shown = format!("{} {:?}", error.message, error.hints);
        assert!(shown.contains("exit code 4") && shown.contains("it said: no [secret"), "{shown}");
        assert!(!shown.contains("Unit-secret-3"), "{shown}");
        assert!(read("command:no-such-program-at-all").unwrap_err().kind == Kind::NotFound);
    }

    #[test]
    fn a_secret_is_compared_and_never_shown() {
        let secret = Secret::new(Reference::parse("command:echo Unit-secret-4", None).unwrap(), None);
        assert_eq!(format!("{secret:?}"), "Secret");
        let cancel = Cancel::new();
        assert!(secret.is("Unit-secret-4", &cancel).unwrap());
        assert!(!secret.is("Unit-secret-5", &cancel).unwrap());
    }
}
