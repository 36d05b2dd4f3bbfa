//! What stands behind the functions of `copy::` that only read.

use std::path::Path;

use rhai::{Dynamic, Map, NativeCallContext};
use serde_json::{Value, json};

use super::choices::{jobs, losses};
use super::ctx::Ctx;
use super::error::Fail;
use super::far::Place;
use super::hold::lease;
use super::options::Options;
use super::paths::text;
use super::root::{id, is_missing};
use crate::copy::exclude::Exclude;
use crate::copy::far::Look;
use crate::copy::identity::RootId;
use crate::copy::options::{self as engine, Content, Foreign};
use crate::copy::report::Probe;
use crate::copy::{self, Work};
use crate::error::{Error, Kind};
use crate::host::tree::{self, Root};
use crate::progress::Forgetful;
use crate::report::json as shown;
use crate::script::profile::Profile;
use crate::script::value;

type Answer = Result<Value, Fail>;

/// `copy::scan(path, opts)`.
pub(super) fn scan(context: &NativeCallContext<'_>, root: &Dynamic, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("copy::scan", opts);
    let wanted = engine::ScanOptions {
        content: options.flag("content")?,
        xattrs: options.flag("xattrs")?,
        ..scan_options(&mut options)?
    };
    options.done()?;
    let cancel = ctx.cancel();
    let progress = ctx.progress();
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
    let root = Place::of(&ctx, root)?.root(&ctx)?;
    Ok(shown::scan(&root.scan(&wanted, &work).map_err(Error::from)?))
}

fn scan_options(options: &mut Options<'_>) -> Result<engine::ScanOptions, Error> {
    Ok(engine::ScanOptions {
        exclude: Exclude::parse(&options.texts("exclude")?)?,
        one_file_system: options.flag("one_file_system")?,
        jobs: jobs(options)?,
        ..engine::ScanOptions::default()
    })
}

/// `copy::compare(left, right, opts)`.
pub(super) fn compare(context: &NativeCallContext<'_>, left: &Dynamic, right: &Dynamic, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("copy::compare", opts);
    let percent = options.count("sample")?.unwrap_or(5);
    let percent = u8::try_from(percent).ok().filter(|percent| *percent <= 100);
    let percent = percent.ok_or_else(|| Error::new(Kind::Invalid, "`sample` is a share from 0 to 100"))?;
    let content = match options.text("content")?.as_deref() {
        None | Some("full") => Content::Full,
        Some("none") => Content::None,
        Some("sample") => Content::Sample(percent),
        Some(other) => {
            return Err(Error::new(Kind::Invalid, format!("`content` cannot be `{other}`"))
                .hint("known: none, sample, full")
                .into());
        }
    };
    let wanted = engine::CompareOptions {
        content,
        exclude: Exclude::parse(&options.texts("exclude")?).map_err(Error::from)?,
        one_file_system: options.flag("one_file_system")?,
        accept: losses(&options.texts("accept")?)?,
        jobs: jobs(&mut options)?,
    };
    options.done()?;
    let cancel = ctx.cancel();
    let progress = ctx.progress();
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
    let (left, right) = (Place::of(&ctx, left)?.root(&ctx)?, Place::of(&ctx, right)?.root(&ctx)?);
    let seen = tree::compare(&left, &right, &wanted, &work).map_err(Error::from)?;
    Ok(shown::comparison(&seen))
}

/// `copy::probe(path)`.
pub(super) fn probe(context: &NativeCallContext<'_>, root: &Dynamic) -> Answer {
    let ctx = Ctx::of(context)?;
    let (cancel, progress) = (ctx.cancel(), ctx.progress());
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
    Ok(shown::probe(&probed(&ctx, &Place::of(&ctx, root)?.root(&ctx)?, &work)?))
}

/// What `root` can hold; if only its last part is missing, what the directory above can.
fn probed(ctx: &Ctx, root: &Root, work: &Work<'_>) -> Result<Probe, Error> {
    let named = ctx.profile() == Profile::Live;
    let Root::Here(root) = root else {
        let how = if named { Look::Named } else { Look::Unnamed };
        let mut looked = root.look(how, work);
        if is_missing(&looked)
            && let Some(parent) = root.path().parent()
        {
            looked = root.beside(parent.to_owned()).look(how, work);
        }
        return Ok(looked?.probe.unwrap_or_default());
    };
    match (copy::probe(root, named), root.parent()) {
        (Err(copy::Error::NotFound { .. }), Some(parent)) => Ok(copy::probe(parent, named)?),
        (probed, _) => Ok(probed?),
    }
}

/// `copy::shortfalls(src, dst, opts)`.
pub(super) fn shortfalls(context: &NativeCallContext<'_>, src: &Dynamic, dst: &Dynamic, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("copy::shortfalls", opts);
    let asked = scan_options(&mut options)?;
    options.done()?;
    let cancel = ctx.cancel();
    let progress = ctx.progress();
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
    let (src, dst) = (Place::of(&ctx, src)?.root(&ctx)?, Place::of(&ctx, dst)?.root(&ctx)?);
    let probe = probed(&ctx, &dst, &work)?;
    // What the destination can hold need not be looked for: it costs a call for every entry.
    let holds = [probe.xattr, probe.acl, probe.capability].iter().all(|held| *held == Some(true));
    let wanted = engine::ScanOptions { xattrs: !holds, ..asked };
    let scan = src.scan(&wanted, &work).map_err(Error::from)?;
    let missing = shown::shortfalls(&copy::shortfalls(&scan, &probe));
    let mut seen = shown::scan(&scan);
    if holds {
        // Nobody looked: that is not none.
        ["xattrs", "acls", "capabilities"].iter().for_each(|key| seen[*key] = Value::Null);
    }
    Ok(json!({ "missing": missing, "scan": seen, "probe": shown::probe(&probe) }))
}

/// `copy::roots(src, dst, opts)`.
pub(super) fn roots(context: &NativeCallContext<'_>, src: &Dynamic, dst: &Dynamic, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("copy::roots", opts);
    let expect = options.map("expect")?.map(|expect| value::describe(&expect.into()));
    let wanted = options.map("options")?;
    options.done()?;
    let (source, dest) = (Place::of(&ctx, src)?, Place::of(&ctx, dst)?);
    let (from, to) = (source.root(&ctx)?, dest.root(&ctx)?);
    if let (Root::Here(from), Root::Here(to)) = (&from, &to) {
        // Where one is elsewhere, the pass looks: both may be on that machine.
        copy::check_pair(from, to).map_err(Error::from)?;
    }
    apart("the state directory", &ctx.call.state, &[&source, &dest])?;
    // Every option is read here, so that one that cannot be used is found now.
    let foreign = wanted.map(super::tree::pass_options).transpose()?.map(|pass| pass.engine.foreign);
    if let (Some(Foreign::Backup(dir)), Root::Here(to)) = (foreign, &to) {
        apart("the backup directory", &dir, &[&source, &dest])?;
        beside(&dir, to)?;
    }
    let (cancel, progress) = (ctx.cancel(), ctx.progress());
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
    let found = id(&from, &work).map_err(Error::from)?;
    let there = id(&to, &work);
    let there = if is_missing(&there) { None } else { Some(there.map_err(Error::from)?) };
    ctx.saw(&source.key(), Some(&found));
    ctx.saw(&dest.key(), there.as_ref());
    let known = |key: &str| expect.as_ref()?.get(key)?.as_str().map(str::parse::<RootId>);
    for (place, key, found) in [(&source, "source", Some(&found)), (&dest, "dest", there.as_ref())] {
        let path = place.to_string();
        let Some(expected) = known(key).transpose().map_err(Error::from)? else { continue };
        let Some(found) = found else { return Err(Error::from(copy::Error::NotFound { path }).into()) };
        if *found != expected {
            let found = found.clone();
            return Err(Error::from(copy::Error::RootChanged { path, expected, found }).into());
        }
    }
    if ctx.profile() == Profile::Live {
        lease(&ctx, &source, &dest)?;
    }
    Ok(json!({ "source": found.to_string(), "dest": there.map(|id| id.to_string()) }))
}

/// Refuses a directory that lies in one of the roots, or holds one.
fn apart(what: &str, dir: &Path, [source, dest]: &[&Place; 2]) -> Result<(), Error> {
    // What does not exist yet is judged by the place it would have.
    let place = |path: &Path| {
        let known = path.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
        known.map(|(part, full)| full.join(path.strip_prefix(part).unwrap_or(Path::new(""))))
    };
    let Some(own) = place(dir) else { return Ok(()) };
    for (name, root) in [("source", source), ("destination", dest)] {
        // What is elsewhere holds nothing of this machine.
        let Some(root) = root.here() else { continue };
        // The state directory may stand above a root, as a home directory does; a backup above one would be odd, not wrong.
        if place(root).is_some_and(|root| own.starts_with(&root)) {
            let message = format!("{what} `{}` lies inside the {name} `{}`", text(dir), text(root));
            return Err(Error::new(Kind::Invalid, message).hint(format!("choose {what} elsewhere")));
        }
    }
    Ok(())
}

/// Refuses a backup directory that entries of the destination cannot be moved to.
fn beside(dir: &Path, dest: &Path) -> Result<(), Error> {
    let device = |path: &Path| path.metadata().map(|meta| std::os::unix::fs::MetadataExt::dev(&meta));
    let there = |path: &Path| device(path).or_else(|_| path.parent().map_or(device(path), device));
    let failed = |error| {
        Error::new(Kind::NotFound, format!("the backup directory `{}` cannot be used", text(dir))).because(error)
    };
    if dir.exists() && !dir.is_dir() {
        return Err(Error::new(Kind::Invalid, format!("the backup directory `{}` is no directory", text(dir))));
    }
    if there(dir).map_err(failed)? != there(dest).map_err(failed)? {
        let message = format!("the backup directory `{}` is not on the file system of the destination", text(dir));
        return Err(
            Error::new(Kind::Invalid, message).hint("entries are moved there, which works only within one file system")
        );
    }
    Ok(())
}
