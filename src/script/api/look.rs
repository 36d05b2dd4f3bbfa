//! What stands behind the functions of `copy::` that only read.

use rhai::{Dynamic, Map, NativeCallContext};
use serde_json::{Value, json};

use super::apart::{apart, backup_there, beside, pair};
use super::choices::{jobs, losses};
use super::ctx::Ctx;
use super::error::Fail;
use super::far::Place;
use super::hold::lease;
use super::options::Options;
use super::root::{id, is_missing, roots as reached, unknown};
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
    let place = Place::of(&ctx, root)?;
    let root = match reached(&ctx, [&place])? {
        Ok([root]) => root,
        Err(why) => return Ok(unknown(&format!("what {place} holds"), &why)),
    };
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
    let (left, right) = (Place::of(&ctx, left)?, Place::of(&ctx, right)?);
    let [left, right] = match reached(&ctx, [&left, &right])? {
        Ok(roots) => roots,
        Err(why) => return Ok(unknown(&format!("how {left} and {right} differ"), &why)),
    };
    let seen = tree::compare(&left, &right, &wanted, &work).map_err(Error::from)?;
    Ok(shown::comparison(&seen))
}

/// `copy::probe(path)`.
pub(super) fn probe(context: &NativeCallContext<'_>, root: &Dynamic) -> Answer {
    let ctx = Ctx::of(context)?;
    let (cancel, progress) = (ctx.cancel(), ctx.progress());
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
    let place = Place::of(&ctx, root)?;
    match reached(&ctx, [&place])? {
        Ok([root]) => Ok(shown::probe(&probed(&ctx, &root, &work)?)),
        Err(why) => Ok(unknown(&format!("what {place} can hold"), &why)),
    }
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
    let (src, dst) = (Place::of(&ctx, src)?, Place::of(&ctx, dst)?);
    let [src, dst] = match reached(&ctx, [&src, &dst])? {
        Ok(roots) => roots,
        Err(why) => return Ok(unknown(&format!("what of {src} {dst} can hold"), &why)),
    };
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
    let expect = options.map_if_known("expect")?.map(|expect| value::describe(&expect.into()));
    let wanted = options.map("options")?;
    options.done()?;
    let (source, dest) = (Place::of(&ctx, src)?, Place::of(&ctx, dst)?);
    let [from, to] = match reached(&ctx, [&source, &dest])? {
        Ok(roots) => roots,
        Err(why) => return Ok(unknown(&format!("which directories {source} and {dest} are"), &why)),
    };
    let (cancel, progress) = (ctx.cancel(), ctx.progress());
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
    pair(&from, &to, &work)?;
    apart("the state directory", &ctx.call.state, &[&source, &dest])?;
    // Every option is read here, so that one that cannot be used is found now.
    let foreign = wanted.map(super::tree::pass_options).transpose()?.map(|pass| pass.engine.foreign);
    if let Some(Foreign::Backup(dir)) = foreign {
        match &to {
            Root::Here(to) => {
                apart("the backup directory", &dir, &[&source, &dest])?;
                beside(&dir, to)?;
            }
            Root::There { .. } => backup_there(&dir, &from, &to, &work)?,
        }
    }
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
