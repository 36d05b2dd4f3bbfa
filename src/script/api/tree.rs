//! What stands behind `copy::tree` and `copy::root`: options, the engine call inside an effect, and their undo.

use std::sync::Arc;

use rhai::{Dynamic, Map, NativeCallContext};
use serde_json::{Value, json};

use super::choices::{jobs, losses, max_delete, max_rate};
use super::ctx::Ctx;
use super::effect::{Effect, Planned, Unfinished};
use super::error::Fail;
use super::far::Place;
use super::hold::{Writing, claim_root, lease, lease_root};
use super::ledger::Ledger;
use super::options::Options;
use super::paths::{kept_path, path, text};
use super::root::{self, id, is_missing, planned};
use crate::copy::exclude::Exclude;
use crate::copy::far::Look;
use crate::copy::identity::RootId;
use crate::copy::options::{self as engine, Equality, Foreign, MaxDelete};
use crate::copy::report::Report;
use crate::copy::{self, Work};
use crate::error::{Error, Exit, Kind};
use crate::host::tree::{self, Root};
use crate::journal::Class;
use crate::progress::{Checkpoint, Forgetful};
use crate::rate::MaxRate;
use crate::report::json as shown;
use crate::script::profile::Profile;
use crate::script::value;
use crate::units::{Bytes, path_text, show_count};

type Answer = Result<Value, Fail>;

/// Options of one pass, as the script gave them.
pub(super) struct Pass {
    pub(super) engine: engine::Options,
    request: Value,
    max_rate: MaxRate,
    /// A pass after another of the same run.
    again: bool,
}

pub(super) fn pass_options(opts: Map) -> Result<Pass, Error> {
    let mut request = value::encode(&opts.clone().into(), "opts").map_err(super::step::not_data)?;
    if let Some(request) = request.as_object_mut() {
        // How fast is not part of what: a script may slow down and still take up an effect that is in doubt.
        request.shift_remove("max_rate");
    }
    let mut options = Options::new("copy::tree", opts);
    let delete = options.flag("delete")?;
    let limit = match options.any("max_delete") {
        None => MaxDelete::default(),
        Some(limit) => max_delete(&limit.to_string())?,
    };
    let backup = options.text("backup_dir")?.map(|text| path(&text)).transpose()?;
    let foreign = match (options.text("foreign")?.as_deref(), backup) {
        (None, Some(dir)) => Foreign::Backup(dir),
        (None | Some("refuse"), None) => Foreign::Refuse,
        (Some("allow"), None) => Foreign::Allow,
        (Some(_), Some(_)) => {
            return Err(Error::new(Kind::Invalid, "copy::tree takes either `foreign` or `backup_dir`"));
        }
        (Some(other), None) => {
            return Err(
                Error::new(Kind::Invalid, format!("`foreign` cannot be `{other}`")).hint("known: refuse, allow")
            );
        }
    };
    let expect = match options.map_if_known("roots")? {
        None => None,
        Some(roots) => expected(&value::describe(&roots.into()))?,
    };
    let engine = engine::Options {
        delete,
        max_delete: limit,
        exclude: Exclude::parse(&options.texts("exclude")?)?,
        one_file_system: options.flag("one_file_system")?,
        equality: if options.flag("checksum")? { Equality::Content } else { Equality::Meta },
        accept: losses(&options.texts("accept")?)?,
        jobs: jobs(&mut options)?,
        foreign,
        dry_run: options.flag("dry_run")?,
        more_follow: options.flag("more_follow")?,
        expect,
        ..engine::Options::default()
    };
    let again = options.flag("again")?;
    let max_rate = max_rate(&mut options)?;
    options.done()?;
    Ok(Pass { engine, request, max_rate, again })
}

fn expected(roots: &Value) -> Result<Option<(RootId, RootId)>, Error> {
    let id = |key: &str| roots.get(key).and_then(Value::as_str).map(str::parse::<RootId>).transpose();
    let (source, dest) = (id("source")?, id("dest")?);
    Ok(source.zip(dest))
}

/// `copy::tree(src, dst, opts)`.
pub(super) fn copy(context: &NativeCallContext<'_>, src: &Dynamic, dst: &Dynamic, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut pass = pass_options(opts)?;
    pass.engine.rate = ctx.rate.below(pass.max_rate.0);
    let (source, dest) = (Place::of(&ctx, src)?, Place::of(&ctx, dst)?);
    let [from, to] = match root::roots(&ctx, [&source, &dest])? {
        Ok(roots) => roots,
        Err(why) => {
            let unknown = root::unknown(&format!("what is copied from {source} to {dest}"), &why);
            let target = format!("{source} → {dest}");
            return if pass.engine.dry_run { Ok(unknown) } else { unasked(&ctx, "copy::tree", target, unknown, why) };
        }
    };
    let cancel = ctx.cancel();
    let store = progress_store(&ctx, &dest)?;
    let progress = ctx.progress();
    let work = Work { progress: &*progress, checkpoint: &*store, cancel: &cancel };
    if ctx.profile() == Profile::Plan {
        for (place, root) in [(&source, &from), (&dest, &to)] {
            ctx.saw(&place.key(), id(root, &work).ok().as_ref());
        }
    }
    if pass.engine.dry_run {
        let report = tree::tree(&from, &to, &pass.engine, &work).map_err(Error::from)?;
        let (would, dest_entries) = (report.deleted, report.dest_entries);
        let limit = pass.engine.max_delete.limit(dest_entries);
        if pass.engine.delete && would > limit {
            return Err(Error::from(copy::Error::TooManyDeletes { would, limit, dest_entries }).into());
        }
        return Ok(shown::report(&report));
    }
    if ctx.profile() == Profile::Live {
        lease(&ctx, &source, &dest)?;
    }
    let backup = match &pass.engine.foreign {
        Foreign::Backup(dir) => Some(text(dir)),
        Foreign::Refuse | Foreign::Allow => None,
    };
    let root = id(&to, &work).map(|id| id.to_string()).ok();
    let (src, dst) = (source.to_string(), dest.to_string());
    let effect = Effect {
        function: "copy::tree",
        target: format!("{src} → {dst}"),
        class: Class::Converge,
        request: json!({ "src": src, "dst": dst, "opts": pass.request }),
        undo: Some(json!({ "native": "copy::tree", "src": src, "dst": dst, "backup": backup, "root": root })),
        happened: Value::Null,
        before: None,
    };
    let plan = || {
        let found = id(&to, &work);
        let missing = is_missing(&found);
        let certainty = to_be_there(&ctx, &dest, found)?;
        if pass.again {
            let nothing = Report { planned: true, ..Report::default() };
            let summary = "what has changed until then".to_owned();
            return Ok(Planned { result: shown::report(&nothing), certainty: "unknown", changes: None, summary });
        }
        let mut options = pass.engine.clone();
        options.dry_run = true;
        let mut report = tree::tree(&from, &to, &options, &work).map_err(Error::from)?;
        if missing {
            // The root itself is made by `copy::root`, which the plan lists; the copy only dresses it.
            report.created.dirs -= report.created.dirs.min(1);
            report.meta_updated += 1;
        }
        Ok(Planned {
            result: shown::report(&report),
            certainty,
            changes: Some(changes(&report)),
            summary: summary(&report),
        })
    };
    let act = || {
        claim_root(&ctx, &dest, pass.engine.expect.as_ref().map(|(_, dest)| dest))?;
        let kept = match &pass.engine.foreign {
            Foreign::Backup(dir) => Some(dest.beside(dir).key()),
            Foreign::Refuse | Foreign::Allow => None,
        };
        let key = dest.key();
        let _writing = Writing::begin(&ctx, kept.iter().map(|kept| &**kept).chain([&*key]))?;
        let report = tree::tree(&from, &to, &pass.engine, &work).map_err(Error::from)?;
        Ok::<_, Unfinished>((shown::report(&report), changes(&report)))
    };
    ctx.effect(effect, plan, act)
}

/// Plans an effect on a machine that cannot be asked before the run.
fn unasked(ctx: &Ctx, function: &'static str, target: String, result: Value, why: String) -> Answer {
    let (request, happened, class) = (Value::Null, Value::Null, Class::Converge);
    let effect = Effect { function, target, class, request, undo: None, before: None, happened };
    let summary = format!("unknown until run: {why}");
    let plan = || Ok(Planned { result, certainty: "unknown", changes: None, summary });
    let act = || Err(Error::new(Kind::Internal, format!("{function} was planned, and is to act")).into());
    ctx.effect(effect, plan, act)
}

/// How certain a plan is that the destination is there by then: a missing one is made by an earlier `copy::root` of the
/// plan, or perhaps by an earlier command.
///
/// # Errors
/// `not_found`, as the run would fail.
fn to_be_there(ctx: &Ctx, dest: &Place, found: Result<RootId, tree::Error>) -> Result<&'static str, Error> {
    let missing = match found {
        Err(error @ tree::Error::Tree(copy::Error::NotFound { .. })) => error,
        found => return Ok(found.map(|_| "exact")?),
    };
    let state = ctx.state();
    if state.planned_roots.contains(&planned(dest)) {
        return Ok("exact");
    }
    if state.plan.iter().any(|item| item.function == "host.exec") {
        return Ok("maybe");
    }
    Err(Error::from(missing).hint("make it in a step before: copy::root(…)").exit(Exit::Failed))
}

fn changes(report: &Report) -> bool {
    report.created.entries() + report.updated + report.meta_updated + report.deleted > 0
}

fn summary(report: &Report) -> String {
    format!(
        "{} entries to make, {} to replace, {} to change, {} to delete, {} to write, {} unchanged",
        show_count(report.created.entries()),
        show_count(report.updated),
        show_count(report.meta_updated),
        show_count(report.deleted),
        Bytes(report.copied_bytes),
        show_count(report.unchanged),
    )
}

/// Where the engine remembers: the run's own store, in the part for this destination, or nowhere.
fn progress_store(ctx: &Ctx, dest: &Place) -> Result<Arc<dyn Checkpoint>, Fail> {
    match (&ctx.run, ctx.profile()) {
        (Some(run), Profile::Live) => Ok(Arc::new(Ledger::of(run.progress()?, &dest.key()))),
        _ => Ok(Arc::new(Forgetful)),
    }
}

/// `copy::root(dst)`.
pub(super) fn make_root(context: &NativeCallContext<'_>, dst: &Dynamic) -> Answer {
    let ctx = Ctx::of(context)?;
    let dest = Place::of(&ctx, dst)?;
    let to = match root::roots(&ctx, [&dest])? {
        Ok([to]) => to,
        Err(why) => {
            let unknown = root::unknown(&format!("whether {dest} is there"), &why);
            return unasked(&ctx, "copy::root", dest.to_string(), unknown, why);
        }
    };
    let (cancel, progress) = (ctx.cancel(), ctx.progress());
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
    let existed = exists(&to, &work)?;
    if ctx.profile() == Profile::Live {
        lease_root(&ctx, &dest)?;
    }
    let effect = Effect {
        function: "copy::root",
        target: dest.to_string(),
        class: Class::Converge,
        request: json!({ "dst": dest.to_string() }),
        undo: Some(json!({ "native": "copy::root", "dst": dest.to_string(), "existed": existed })),
        happened: Value::Null,
        before: None,
    };
    let result = |made: bool| {
        let empty = match dest.here() {
            _ if made => true,
            Some(here) => copy::bare(here).map_err(Error::from)?,
            None => to.look(Look::Id, &work).map_err(Error::from)?.empty,
        };
        Ok::<_, Error>(json!({ "made": made, "empty": empty, "path": dest.to_string() }))
    };
    let failed = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            std::io::ErrorKind::PermissionDenied => Kind::Denied,
            _ => Kind::Io,
        };
        Error::new(kind, format!("cannot make the directory `{dest}`")).because(error)
    };
    let plan = || {
        let missing = !existed;
        if missing {
            ctx.state().planned_roots.insert(planned(&dest));
        }
        let summary = if missing { "to be made" } else { "is there" };
        Ok(Planned { result: result(missing)?, certainty: "exact", changes: Some(missing), summary: summary.into() })
    };
    let holder = ctx.run.as_ref().map(|run| run.id().as_str().to_owned()).unwrap_or_default();
    let act = || {
        let Some(here) = dest.here() else {
            let made = to.make(&holder, &work).map_err(Error::from)?;
            return Ok::<_, Unfinished>((result(made)?, made));
        };
        copy::claim::check_above(here, &holder).map_err(Error::from)?;
        match std::fs::create_dir(here) {
            Ok(()) => Ok((result(true)?, true)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && here.is_dir() => {
                Ok((result(false)?, false))
            }
            Err(error) => Err(Unfinished::from(failed(error))),
        }
    };
    ctx.effect(effect, plan, act)
}

/// Whether anything is where a root is to be.
fn exists(root: &Root, work: &Work<'_>) -> Result<bool, Error> {
    match root {
        Root::Here(path) => Ok(path.symlink_metadata().is_ok()),
        Root::There { .. } => match id(root, work) {
            Ok(_) | Err(tree::Error::Tree(copy::Error::NotDirectory { .. })) => Ok(true),
            found if is_missing(&found) => Ok(false),
            Err(error) => Err(error.into()),
        },
    }
}

/// Puts back what `copy::tree` and `copy::root` did, from what they recorded; lines for people about what was left.
pub(crate) fn undo(ctx: &Ctx, recorded: &Value) -> Result<Vec<String>, Fail> {
    let field = |key: &str| recorded.get(key).and_then(Value::as_str);
    let dest = Place::kept(ctx, field("dst").unwrap_or_default())?;
    if field("native") == Some("copy::root") {
        return undo_root(ctx, &dest, recorded.get("existed") == Some(&Value::Bool(true)));
    }
    let source = Place::kept(ctx, field("src").unwrap_or_default())?;
    let backup = field("backup").map(kept_path).transpose()?;
    let root = field("root").map(str::parse::<RootId>).transpose().map_err(Error::from)?;
    let to = dest.root(ctx)?;
    let store = progress_store(ctx, &dest)?;
    let cancel = ctx.cancel();
    let progress = ctx.progress();
    let work = Work { progress: &*progress, checkpoint: &*store, cancel: &cancel };
    if !exists(&to, &work)? {
        // Removed by an undo before this one, or by somebody else: there is nothing to take back any more.
        let lost = backup.map(|backup| format!("{dest}: does not exist; look into {}", text(&backup)));
        return Ok(lost.into_iter().collect());
    }
    claim_root(ctx, &dest, root.as_ref())?;
    let mut lines = Vec::new();
    let from = match source.root(ctx) {
        Ok(from) => Some(from),
        Err(Fail::Error(error)) => {
            lines.push(format!("{source}: cannot be reached, so that less is recognised: {}", error.message));
            None
        }
        Err(stop) => return Err(stop),
    };
    let said = lines.len();
    let undone = tree::undo(&to, from.as_ref(), backup.as_deref(), root.as_ref(), &work).map_err(Error::from)?;
    lines.extend(undone.named.iter().map(|(path, why)| format!("{}: left: {why}", path_text(path))));
    lines.extend(
        undone.errors.iter().map(|error| format!("{}: {}: {}", path_text(&error.path), error.op, error.reason)),
    );
    let named = u64::try_from(lines.len() - said).unwrap_or(u64::MAX);
    if let Some(more @ 1..) = (undone.left + undone.failed).checked_sub(named) {
        lines.push(format!("and {} more", show_count(more)));
    }
    Ok(lines)
}

fn undo_root(ctx: &Ctx, dest: &Place, existed: bool) -> Result<Vec<String>, Fail> {
    if existed {
        return Ok(Vec::new());
    }
    // The run's own marker is in it.
    let key = match dest.here() {
        Some(path) => path.canonicalize().ok(),
        None => Some(dest.key()),
    };
    let claim = key.and_then(|key| ctx.state().claims.remove(&key));
    if let Some(claim) = claim {
        claim.release().map_err(Error::from)?;
    }
    let Some(path) = dest.here() else {
        let (cancel, progress) = (ctx.cancel(), ctx.progress());
        let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
        return Ok(match dest.root(ctx)?.remove(&work) {
            Ok(_) => Vec::new(),
            Err(tree::Error::Tree(copy::Error::Io { source, .. })) => vec![format!("{dest}: left: {source}")],
            Err(error) => return Err(Error::from(error).into()),
        });
    };
    Ok(match std::fs::remove_dir(path) {
        Ok(()) => Vec::new(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => vec![format!("{dest}: left: {error}")],
    })
}
