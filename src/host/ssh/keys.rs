//! Keys for one purpose: made here, let in there, taken out again.
//!
//! A line is added to `authorized_keys` by one append, which leaves owner, mode and everything else of the file as they
//! are. It is taken out again by its exact text, and no other line is touched.

use std::path::Path;
use std::process::{Command, Stdio};

use super::quote::{NEWLINE, word};
use super::{Error, Host, Sudo};
use crate::cancel::Cancel;

/// What letting a key in found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// It was not there before.
    pub added: bool,
    /// Nor was the file.
    pub made: bool,
}

/// Makes a key pair at `path` and `path.pub`, without a passphrase, and gives the public one. A pair that is there is
/// kept.
///
/// # Errors
/// [`Error::Start`], [`Error::Io`]; [`Error::Unsendable`] if `ssh-keygen` refuses.
pub fn keypair(path: &Path, comment: &str) -> Result<String, Error> {
    let public = path.with_added_extension("pub");
    if !path.exists() {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(path).stdin(Stdio::null());
        let output = keygen.output().map_err(|source| Error::Start { program: "ssh-keygen", source })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Unsendable { what: format!("ssh-keygen makes no key at `{}`: {said}", path.display()) });
        }
    }
    let read = std::fs::read_to_string(&public);
    Ok(read.map_err(|source| Error::Io { op: "read", path: public, source })?.trim().to_owned())
}

/// The line that lets `public` in: with `options` as sshd(8) has them, and `mark` as its comment.
///
/// # Errors
/// [`Error::Unsendable`] for what is no public key, or more than one line.
pub fn line(public: &str, options: Option<&str>, mark: &str) -> Result<String, Error> {
    let mut words = public.split_whitespace();
    let (kind, data) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let base64 = data.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    let known = ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| kind.starts_with(prefix));
    if !known || data.len() < 16 || !base64 {
        return Err(Error::Unsendable { what: "what was given is no public key of OpenSSH".into() });
    }
    let options = options.filter(|options| !options.is_empty()).map_or_else(String::new, |text| format!("{text} "));
    let line = format!("{options}{kind} {data} {mark}");
    if line.chars().any(char::is_control) {
        return Err(Error::Unsendable { what: "a line of authorized_keys holds a newline or another control".into() });
    }
    Ok(line)
}

/// Sets `f` to the file; a link is followed, so that it stays one.
const FILE: &str = "h=$HOME/.ssh; f=$h/authorized_keys; [ ! -L \"$f\" ] || f=$(readlink -f \"$f\"); ";

impl Host {
    /// Lets a key in, by its whole line.
    ///
    /// # Errors
    /// As [`Host::exec`]; [`Error::Task`] if the file cannot be written.
    pub fn authorize(&self, line: &str, sudo: Option<&Sudo>, cancel: &Cancel) -> Result<Added, Error> {
        let code = format!(
            "{NEWLINE}l={}; umask 077; {FILE}mkdir -p \"$h\" || c=failed; \
             if [ -z \"$c\" ]; then if [ ! -e \"$f\" ]; then c=made; elif grep -qxF -e \"$l\" \"$f\"; then c=same; else c=added; fi; \
             s=; [ ! -s \"$f\" ] || [ -z \"$(tail -c 1 \"$f\")\" ] || s=$nl; \
             [ $c = same ] || printf \"%s%s\\n\" \"$s\" \"$l\" >>\"$f\" || c=failed; fi; ",
            word(line)?
        );
        let (how, ended) = self.small("let a key in", &code, sudo, cancel)?;
        match how.as_str() {
            "same" => Ok(Added { added: false, made: false }),
            "added" => Ok(Added { added: true, made: false }),
            "made" => Ok(Added { added: true, made: true }),
            _ => Err(self.failed("let a key in", &ended)),
        }
    }

    /// Takes exactly that line out again; whether it was there. With `made`, a file that is empty then is removed.
    ///
    /// # Errors
    /// As [`Host::authorize`].
    pub fn revoke(&self, line: &str, made: bool, sudo: Option<&Sudo>, cancel: &Cancel) -> Result<bool, Error> {
        let gone = if made { "[ -s \"$f\" ] || rm -f \"$f\"; " } else { "" };
        let code = format!(
            "{NEWLINE}l={}; umask 077; {FILE}n=$f.decamp-$$; \
             if [ ! -e \"$f\" ] || ! grep -qxF -e \"$l\" \"$f\"; then c=same; \
             elif cp -p \"$f\" \"$n\" && {{ grep -vxF -e \"$l\" \"$f\" >\"$n\"; [ $? -le 1 ]; }} && mv -f \"$n\" \"$f\"; \
             then c=gone; {gone}else rm -f \"$n\"; c=failed; fi; ",
            word(line)?
        );
        let (how, ended) = self.small("take a key out", &code, sudo, cancel)?;
        match how.as_str() {
            "same" => Ok(false),
            "gone" => Ok(true),
            _ => Err(self.failed("take a key out", &ended)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_one_key_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let public = keypair(&path, "for a test").unwrap();
        assert_eq!(keypair(&path, "other").unwrap(), public);
        let line = line(&public, Some("restrict"), "decamp-run-1").unwrap();
        assert!(line.starts_with("restrict ssh-ed25519 AAAA") && line.ends_with(" decamp-run-1"));
        for (public, options, mark) in [
            ("", None, "m"),
            ("ssh-ed25519", None, "m"),
            ("hello AAAAAAAAAAAAAAAAAAAAAAAA", None, "m"),
            (&*public, Some("a\nb"), "m"),
            (&*public, None, "m\nssh-rsa AAAA"),
        ] {
            assert!(super::line(public, options, mark).is_err(), "{public} {options:?} {mark}");
        }
    }
}
