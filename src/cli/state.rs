//! Finding a run in the journal, and runs in the journals of other users.

use std::path::{Path, PathBuf};

use super::ctx::Ctx;
use crate::error::{Error, Exit, Kind};
use crate::journal::{Journal, Reader, RunId, RunStatus, RunSummary};
use crate::units::path_text;

/// The journal for reading; none if nothing was ever run.
pub(crate) fn reader(ctx: &Ctx) -> Result<Option<Reader>, Error> {
    Ok(Journal::read(&ctx.state_dir()?)?)
}

/// The run meant by `text`, a whole name or a part that only one run has.
pub(crate) fn find(ctx: &Ctx, text: &str) -> Result<(Reader, RunId), Error> {
    let Some(reader) = reader(ctx)? else { return Err(no_runs(ctx)?) };
    let id = reader.resolve(text)?;
    Ok((reader, id))
}

/// The run to resume when none is named: the only one that can be.
pub(crate) fn only_unfinished(ctx: &Ctx) -> Result<RunId, Error> {
    let all = match reader(ctx)? {
        Some(reader) => reader.unfinished()?,
        None => Vec::new(),
    };
    let forward = |run: &&RunSummary| !matches!(run.status, RunStatus::Undoing | RunStatus::UndoFailed);
    let idle: Vec<&RunSummary> = all.iter().filter(forward).filter(|run| !run.live).collect();
    match (idle.as_slice(), all.as_slice()) {
        ([one], _) => Ok(one.id.clone()),
        // Whoever has it, or that it is going back, is told when it is taken up.
        ([], [one]) => Ok(one.id.clone()),
        ([], []) => Err(nothing_to_resume(ctx)?),
        _ => {
            let lines: Vec<String> =
                all.iter().map(|run| format!("\n  {}  {}  {}", run.id, run.script, run.state())).collect();
            let message = format!("{} runs are unfinished; name the one you mean:{}", all.len(), lines.concat());
            Err(Error::new(Kind::Invalid, message).hint(format!("decamp resume RUN{}", ctx.state_flag())))
        }
    }
}

/// That the journal holds no run at all, and where it was looked for.
fn no_runs(ctx: &Ctx) -> Result<Error, Error> {
    let dir = path_text(ctx.state_dir()?.as_os_str().as_encoded_bytes());
    Ok(with_others(ctx, Error::new(Kind::NotFound, format!("there are no runs in `{dir}`")))?.exit(Exit::Usage))
}

fn nothing_to_resume(ctx: &Ctx) -> Result<Error, Error> {
    let dir = path_text(ctx.state_dir()?.as_os_str().as_encoded_bytes());
    Ok(with_others(ctx, Error::new(Kind::NotFound, format!("no run in `{dir}` can be resumed")))?.exit(Exit::Usage))
}

/// Adds the unfinished runs of other users, as far as their journals may be read.
fn with_others(ctx: &Ctx, mut error: Error) -> Result<Error, Error> {
    let own = ctx.state_dir()?;
    for (user, dir) in others(&own) {
        // A journal that cannot be read is not ours to complain about: we only look for a hint.
        let Ok(Some(reader)) = Journal::read(&dir) else { continue };
        for run in reader.unfinished().unwrap_or_default() {
            let ours = std::fs::metadata(&dir)
                .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == rustix::process::getuid().as_raw());
            if ours {
                let (short, script, state) = (run.id.short(), &run.script, run.state());
                let place = path_text(dir.as_os_str().as_encoded_bytes());
                error = error.hint(format!(
                    "in `{place}` there is run {short} of {script} ({state}): decamp resume {} --state-dir {place}",
                    run.id
                ));
                continue;
            }
            error = error.hint(format!(
                "user {user} has run {} of {} ({}): sudo -u {user} decamp resume {}",
                run.id.short(),
                run.script,
                run.state(),
                run.id
            ));
        }
    }
    Ok(error)
}

/// State directories in the homes of other users.
fn others(own: &Path) -> Vec<(String, PathBuf)> {
    let table = std::fs::read("/etc/passwd").unwrap_or_default();
    let mut homes: Vec<(String, PathBuf)> = String::from_utf8_lossy(&table).lines().filter_map(home).collect();
    if let Some(user) = std::env::var("SUDO_USER").ok().filter(|user| !user.is_empty() && !user.contains('/')) {
        let home = Path::new("/home").join(&user);
        homes.push((user, home));
    }
    let mut dirs: Vec<(String, PathBuf)> =
        homes.into_iter().map(|(user, home)| (user, home.join(".local/state/decamp"))).collect();
    let mut seen = vec![own.to_path_buf()];
    dirs.retain(|(_, dir)| {
        let new = !seen.contains(dir);
        seen.push(dir.clone());
        new && dir.is_dir()
    });
    dirs
}

/// User and home of one line of the table of users.
fn home(line: &str) -> Option<(String, PathBuf)> {
    let mut fields = line.split(':');
    let user = fields.next()?;
    let home = fields.nth(4).filter(|home| home.starts_with('/') && *home != "/")?;
    Some((user.to_owned(), PathBuf::from(home)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_read_from_the_table_of_users() {
        let line = "ada:x:1000:1000:Ada,,,:/home/ada:/bin/sh";
        assert_eq!(home(line), Some(("ada".into(), PathBuf::from("/home/ada"))));
        for bad in ["", "ada", "nobody:x:1:1::/:/bin/false", "x:x:1:1::rel:/bin/sh"] {
            assert_eq!(home(bad), None, "{bad}");
        }
    }
}
