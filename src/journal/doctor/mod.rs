//! Looking whether a journal can be trusted, and making it anew where it cannot.
//!
//! Looking changes nothing, and goes on past whatever it finds, so that everything is found at once. Making anew never
//! repairs in place: what is there is put aside, and a fresh journal is made of the newest good copy and of what the
//! event files tell.

mod files;
mod rebuild;
mod tables;

use std::path::{Path, PathBuf};

use super::error::Error;
use super::open;
use super::words::words;

pub(super) use rebuild::incomplete;
pub use rebuild::{Rebuilt, rebuild};

words! {
    /// How bad a finding is.
    Severity {
        /// Worth knowing.
        Note = "note",
        /// Something to see to; the journal can be trusted all the same.
        Warning = "warning",
        /// The journal cannot be trusted.
        Error = "error",
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// With what.
    pub path: PathBuf,
    /// What to do about it.
    pub advice: String,
}

/// What was looked at and found.
#[derive(Debug, Clone, Default)]
pub struct Checkup {
    /// Everything that is not as it should be, the worst first.
    pub findings: Vec<Finding>,
    /// How many runs the journal knows.
    pub runs: usize,
}

impl Checkup {
    /// Whether the journal can be trusted.
    #[must_use]
    pub fn trusted(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }

    fn add(&mut self, severity: Severity, path: &Path, what: impl Into<String>, advice: impl Into<String>) {
        let finding = Finding { severity, what: what.into(), path: path.to_path_buf(), advice: advice.into() };
        self.findings.push(finding);
    }

    fn error(&mut self, path: &Path, what: impl Into<String>) {
        self.add(Severity::Error, path, what, REBUILD);
    }

    fn warn(&mut self, path: &Path, what: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Warning, path, what, advice);
    }

    fn note(&mut self, path: &Path, what: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Note, path, what, advice);
    }
}

/// What mends a journal that cannot be trusted.
const REBUILD: &str = "decamp doctor --rebuild";

/// Looks at everything in the state directory `dir`.
///
/// # Errors
/// [`Error::Io`] if the directory itself cannot be looked at; everything else is a finding.
pub fn check(dir: &Path) -> Result<Checkup, Error> {
    let mut checkup = Checkup::default();
    if !dir.try_exists().map_err(|source| Error::io("look at", dir, source))? {
        return Ok(checkup);
    }
    let dir = dir.canonicalize().map_err(|source| Error::io("resolve", dir, source))?;
    if let Err(error) = open::local(&dir) {
        let advice = "move it to a local disk and name that with --state-dir";
        checkup.add(Severity::Error, &dir, error.to_string(), advice);
    }
    let known = tables::look(&dir, &mut checkup)?;
    files::look(&dir, known.as_deref(), &mut checkup)?;
    // The worst first; what was found in order stays in order.
    checkup.findings.sort_by_key(|finding| match finding.severity {
        Severity::Error => 0,
        Severity::Warning => 1,
        Severity::Note => 2,
    });
    Ok(checkup)
}
