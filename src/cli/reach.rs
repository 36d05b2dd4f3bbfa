//! Trees that a command line names: paths here, and `ssh://[user@]host[:port]/path`.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ctx::Ctx;
use super::plain::Side;
use crate::error::{Error, Kind};
use crate::host::Endpoint;
use crate::host::ssh::{self, Far, NoAgent};
use crate::host::tree::{BY_HAND, Root};
use crate::progress::{Event, Progress};
use crate::units::path_text;

/// How machines are reached.
#[derive(Debug, clap::Args)]
pub(crate) struct Reach {
    /// A configuration of ssh in place of yours, as `ssh -F FILE`
    #[arg(long, value_name = "FILE")]
    ssh_config: Option<PathBuf>,
}

impl Reach {
    /// The roots these words name, with an agent on every other machine; one machine has one. `memory`: it is no file
    /// there, because nothing may be written.
    pub(crate) fn roots<const N: usize>(
        &self,
        ctx: &Ctx,
        words: [&Path; N],
        memory: bool,
        progress: &dyn Progress,
    ) -> Result<[Root; N], Error> {
        let mut known: Vec<(String, Arc<Far>)> = Vec::new();
        let mut roots = Vec::with_capacity(N);
        for word in words {
            roots.push(self.root(ctx, word, memory, progress, &mut known)?);
        }
        roots.try_into().map_err(|_| Error::new(Kind::Internal, "a root was lost"))
    }

    /// The sides of a copy by these words where `why` no agent could be had; the error itself if it says something else.
    pub(crate) fn plain<const N: usize>(&self, words: [&Path; N], why: Error) -> Result<([Side; N], Error), Error> {
        if !why.hints.iter().any(|hint| hint == BY_HAND) {
            return Err(why);
        }
        let mut sides = Vec::with_capacity(N);
        for word in words {
            sides.push(
                match is_far(word).then(|| Endpoint::parse(&path_text(word.as_os_str().as_bytes()))).transpose()? {
                    Some(Endpoint::Ssh { dest, path }) => {
                        let name = Endpoint::Ssh { dest: dest.clone(), path: Vec::new() }.to_string();
                        let path = PathBuf::from(std::ffi::OsStr::from_bytes(&path));
                        Side::There { host: self.host(dest), name, path }
                    }
                    _ => Side::Here(word.to_owned()),
                },
            );
        }
        let sides = sides.try_into().map_err(|_| Error::new(Kind::Internal, "a side was lost"))?;
        Ok((sides, why))
    }

    fn host(&self, dest: ssh::Dest) -> Arc<ssh::Host> {
        let options = ssh::Options { config: self.ssh_config.clone(), ..ssh::Options::default() };
        Arc::new(ssh::Host::new(dest, options))
    }

    fn root(
        &self,
        ctx: &Ctx,
        word: &Path,
        memory: bool,
        progress: &dyn Progress,
        known: &mut Vec<(String, Arc<Far>)>,
    ) -> Result<Root, Error> {
        if !is_far(word) {
            return Ok(Root::Here(word.to_owned()));
        }
        let text = path_text(word.as_os_str().as_bytes());
        let Endpoint::Ssh { dest, path } = Endpoint::parse(&text)? else {
            return Err(Error::new(Kind::Unsupported, format!("`{text}` is in a pod, where this cannot be done yet")));
        };
        let host = Endpoint::Ssh { dest: dest.clone(), path: Vec::new() }.to_string();
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(&path));
        if let Some((_, far)) = known.iter().find(|(name, _)| *name == host) {
            return Ok(Root::There { far: Arc::clone(far), host, path });
        }
        let far = self.host(dest).reach(memory, None, &ctx.cancel, &ctx.cancel);
        let far = Arc::new(far.map_err(|why| {
            use ssh::Error::{NoPlace, NoProgram, OtherMachine};
            let none = matches!(&why, NoAgent::Host(OtherMachine { .. } | NoPlace { .. } | NoProgram { .. }));
            let error = Error::from(why);
            if none { error.hint(BY_HAND) } else { error }
        })?);
        let place = far.path().map_or_else(|| "in memory".to_owned(), |path| format!("as {path}"));
        let text = format!("decamp-agent runs there {place}, until this ends");
        progress.event(Event::Notice { path: host.as_bytes(), text: &text });
        known.push((host.clone(), Arc::clone(&far)));
        Ok(Root::There { far, host, path })
    }
}

/// Whether a word names something on another machine.
pub(crate) fn is_far(word: &Path) -> bool {
    let bytes = word.as_os_str().as_bytes();
    bytes.starts_with(b"ssh://") || bytes.starts_with(b"pod://")
}
