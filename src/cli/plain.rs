//! A copy to or from a machine on which no agent can run: rsync, there and here, does it over our connection.
//!
//! That is announced as degraded. What decamp promises of a tree rests on looking at both sides itself: rsync's word is
//! all there is here. So only a copy by hand is done this way, no run that could be resumed or undone.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::itemized::Itemized;
use crate::copy::claim::NAME;
use crate::copy::options::{Equality, Foreign, Loss, Options};
use crate::copy::report::Report;
use crate::copy::{self, Work};
use crate::error::{Error, Kind};
use crate::host::local::which;
use crate::host::ssh;
use crate::progress::Event;

/// How much of what rsync says is kept to tell why it failed.
const SAID: usize = 4096;

/// A side of the copy.
pub(crate) enum Side {
    /// On this machine.
    Here(PathBuf),
    /// On the one without an agent.
    There {
        /// The machine.
        host: Arc<ssh::Host>,
        /// `ssh://host`.
        name: String,
        /// The path there.
        path: PathBuf,
    },
}

impl Side {
    /// As rsync takes it: the content of the directory.
    fn argument(&self) -> Result<OsString, Error> {
        let mut bytes = match self {
            // A relative path with a colon in it would be taken for one on a machine.
            Self::Here(path) => std::path::absolute(path).map_err(failed)?.into_os_string().into_vec(),
            Self::There { path, .. } => [b"decamp:", path.as_os_str().as_bytes()].concat(),
        };
        bytes.push(b'/');
        Ok(OsString::from_vec(bytes))
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Here(path) => crate::units::path_text(path.as_os_str().as_bytes()),
            Self::There { name, path, .. } => {
                format!("{name}{}", crate::units::path_text(path.as_os_str().as_bytes()))
            }
        }
    }
}

/// Makes `dst` hold what `src` holds, by rsync; `why` there is no agent.
///
/// # Errors
/// [`Kind::Unsupported`] for two machines, [`Kind::NotFound`] without rsync at either end; what would be deleted in error
/// as [`copy::tree()`]; [`Kind::RemoteFailed`] with what rsync said.
pub(crate) fn tree(
    src: &Side,
    dst: &Side,
    why: &Error,
    options: &Options,
    work: &Work<'_>,
) -> Result<(Report, String), Error> {
    let (host, name) = match (src, dst) {
        (Side::There { host, name, .. }, Side::Here(_)) | (Side::Here(_), Side::There { host, name, .. }) => {
            (host, name)
        }
        _ => {
            return Err(Error::new(Kind::Unsupported, why.message.clone())
                .hint("without an agent one end of a copy must be here: copy to a directory here, and from there on"));
        }
    };
    let text = format!(
        "{}; rsync copies, degraded: decamp proves nothing of it, and nobody else is kept out there",
        why.message
    );
    work.progress.event(Event::Notice { path: name.as_bytes(), text: &text });
    if which("rsync").is_none() {
        return Err(Error::new(Kind::NotFound, "there is no `rsync` here, which copies where no agent can run")
            .hint("install rsync here and there"));
    }
    let version = ssh::Call { argv: vec!["rsync".into(), "--version".into()], ..ssh::Call::default() };
    let missing = |error: Error| error.hint("install rsync there: it copies where no agent can run");
    let ended = host.exec(&version, work.cancel).map_err(|error| missing(error.into()))?;
    if ended.code != Some(0) {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        let error = Error::new(Kind::NotFound, format!("rsync does not run on `{}`", host.name()));
        return Err(missing(error.because(said)));
    }
    let shell = host.shell(work.cancel)?;
    let call = |dry: bool, most| Call { src, dst, shell: shell.words(), options, dry, most }.run(work);
    let mut most = None;
    if options.delete {
        let planned = call(true, None)?;
        let limit = options.max_delete.limit(planned.dest_entries);
        if planned.listed.entries() <= 1 && planned.deleted > 0 && !options.accept.contains(&Loss::EmptySource) {
            return Err(copy::Error::EmptySource { src: src.text(), dst: dst.text() }.into());
        }
        if planned.deleted > limit {
            let (would, dest_entries) = (planned.deleted, planned.dest_entries);
            return Err(copy::Error::TooManyDeletes { would, limit, dest_entries }.into());
        }
        if options.dry_run {
            return Ok((planned, name.clone()));
        }
        // The source may be another by then, such as one that was unmounted.
        most = Some(planned.deleted);
    }
    let report = call(options.dry_run, most)?;
    if !options.dry_run {
        settle(dst, work)?;
    }
    Ok((report, name.clone()))
}

/// Waits until what was written is on the disk.
fn settle(dst: &Side, work: &Work<'_>) -> Result<(), Error> {
    work.progress.event(Event::Phase("sync"));
    let unsynced = |said: String| {
        Error::new(Kind::Io, format!("cannot sync `{}`: it is not known what of the copy would survive", dst.text()))
            .because(said)
            .hint("look at the storage there, then run the same command again")
    };
    match dst {
        Side::Here(path) => {
            let root = std::fs::File::open(path).map_err(|error| unsynced(error.to_string()))?;
            rustix::fs::syncfs(&root).map_err(|errno| unsynced(errno.to_string()))
        }
        Side::There { host, .. } => {
            let sync = ssh::Call { argv: vec!["sync".into()], ..ssh::Call::default() };
            let ended = host.exec(&sync, work.cancel)?;
            if ended.code == Some(0) {
                Ok(())
            } else {
                Err(unsynced(String::from_utf8_lossy(&ended.stderr).into_owned()))
            }
        }
    }
}

/// One call of rsync.
struct Call<'a> {
    src: &'a Side,
    dst: &'a Side,
    shell: &'a str,
    options: &'a Options,
    dry: bool,
    /// So many entries may be deleted.
    most: Option<u64>,
}

impl Call<'_> {
    fn arguments(&self) -> Result<Vec<OsString>, Error> {
        let options = self.options;
        let lost = |loss| options.accept.contains(&loss);
        let mut words: Vec<OsString> =
            ["-rlptD", "--numeric-ids", "--secluded-args", "--no-human-readable", "--modify-window=-1"]
                .into_iter()
                .chain(["--stats", "--info=progress2", "--out-format=%i", "-e", self.shell])
                .map(OsString::from)
                .collect();
        let flags = [
            (!lost(Loss::Owner), "-og"),
            (!lost(Loss::Hardlink), "-H"),
            (!lost(Loss::Acl), "-A"),
            // With them go capabilities.
            (!lost(Loss::Xattr), "-X"),
            (!lost(Loss::Holes), "-S"),
            (lost(Loss::Special), "--no-specials"),
            (options.equality == Equality::Content, "-c"),
            (options.one_file_system, "-x"),
            (options.delete, "--delete"),
            (self.dry, "-n"),
        ];
        words.extend(flags.iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| OsString::from(flag)));
        if let Foreign::Backup(dir) = &options.foreign {
            words.push("--backup".into());
            // To rsync, a relative one lies in the destination.
            let dir = match self.dst {
                Side::Here(_) => std::path::absolute(dir).map_err(failed)?,
                Side::There { .. } if dir.is_absolute() => dir.clone(),
                Side::There { .. } => {
                    let dir = crate::units::path_text(dir.as_os_str().as_bytes());
                    return Err(Error::new(Kind::Invalid, format!("the backup directory `{dir}` is relative"))
                        .hint("on another machine it is named by its whole path"));
                }
            };
            let mut word = OsString::from("--backup-dir=");
            word.push(dir);
            words.push(word);
        }
        words.extend(self.most.map(|most| format!("--max-delete={most}").into()));
        if let Some(rate) = options.rate.limit() {
            words.push(format!("--bwlimit={}", (rate.0 / 1024).max(1)).into());
        }
        words.push(format!("--filter=- /{NAME}").into());
        for pattern in options.exclude.patterns() {
            let signed = pattern.starts_with("+ ") || pattern.starts_with("- ");
            words.push(format!("--filter={}{pattern}", if signed { "" } else { "- " }).into());
        }
        words.push("--".into());
        words.extend([self.src.argument()?, self.dst.argument()?]);
        Ok(words)
    }

    fn run(&self, work: &Work<'_>) -> Result<Report, Error> {
        let since = Instant::now();
        if !self.dry {
            work.progress.event(Event::Phase("copy"));
        }
        let mut rsync = Command::new("rsync");
        rsync.args(self.arguments()?).env("LC_ALL", "C").env_remove("RSYNC_RSH");
        rsync.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = rsync.spawn().map_err(failed)?;
        let (out, errors) = (child.stdout.take(), child.stderr.take());
        let mut seen = Itemized::default();
        let said = std::thread::scope(|scope| {
            let errors = scope.spawn(move || errors.map(lines).unwrap_or_default());
            let out = scope.spawn(|| out.map(|out| seen.read(out, self.dry, work.progress)));
            let ended = wait(&mut child, work);
            let said = errors.join().unwrap_or_default();
            out.join().ok();
            ended.map(|code| (code, said))
        });
        let (code, said) = said?;
        let mut report = seen.report(&said);
        report.planned = self.dry;
        report.elapsed = since.elapsed();
        match code {
            // The root itself is counted: without it nothing was looked at.
            Some(0 | 23 | 24) if report.listed.entries() > 0 => {
                if code == Some(23) && report.failed == 0 {
                    report.failed = 1;
                }
                Ok(report)
            }
            code => {
                // Of sockets and streams, a time that was up, and of ssh itself.
                let lost = matches!(code, Some(10 | 12 | 30 | 35 | 255));
                let kind = if lost { Kind::Unreachable } else { Kind::RemoteFailed };
                let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("status {code}"));
                let said = said.join("\n");
                let tail = said.char_indices().rev().nth(SAID).map_or(0, |(at, _)| at);
                Err(Error::new(kind, format!("rsync ended with {code}"))
                    .because(said[tail..].to_owned())
                    .hint("what it copied stays; what one side cannot hold may be given up: --accept xattr,acl,…"))
            }
        }
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::new(Kind::Io, "cannot run rsync").because(error)
}

/// Lines of what is written to standard error.
fn lines(from: impl Read) -> Vec<String> {
    let lines = BufReader::new(from).split(b'\n').map_while(Result::ok);
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| !line.is_empty()).collect()
}

/// Waits for the end; a cancelled copy ends rsync and what it started.
fn wait(child: &mut Child, work: &Work<'_>) -> Result<Option<i32>, Error> {
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status.code());
        }
        if let Err(cancelled) = work.cancel.check() {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                kill_process_group(group, Signal::TERM).ok();
            }
            child.wait().map_err(failed)?;
            return Err(cancelled.into());
        }
        work.cancel.sleep(Duration::from_millis(20)).ok();
    }
}
