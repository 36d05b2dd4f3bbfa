//! What stands behind `block::`: options, the engine call inside an effect.

use std::path::Path;
use std::sync::Arc;

use rhai::{Map, NativeCallContext};
use serde_json::{Value, json};

use super::choices::max_rate;
use super::ctx::Ctx;
use super::effect::{Effect, Planned, Unfinished};
use super::error::Fail;
use super::hold::{Writing, whole};
use super::ledger::Ledger;
use super::options::Options;
use super::paths::{path, text};
use crate::block::{self, CompareOptions, Compress, Content, Endpoint, Identity, OnReadError, Report, Verify, Work};
use crate::error::{Error, Kind};
use crate::journal::{Class, LeaseMode, Target, TargetKind};
use crate::progress::{Checkpoint, Forgetful};
use crate::report::block as shown;
use crate::script::near;
use crate::script::profile::Profile;
use crate::script::value;
use crate::units::{Bytes, show_count};

type Answer = Result<Value, Fail>;

/// An end that a script names. Only of this machine: what is elsewhere needs lines to an agent there.
fn endpoint(text: &str) -> Result<Endpoint, Error> {
    Ok(Endpoint::local(path(text)?))
}

/// One of a few words.
fn word<T: Copy>(
    options: &mut Options<'_>,
    key: &'static str,
    known: &[(&'static str, T)],
) -> Result<Option<T>, Error> {
    let Some(given) = options.text(key)? else { return Ok(None) };
    let found = known.iter().find(|(name, _)| *name == given).map(|(_, value)| *value);
    found.map(Some).ok_or_else(|| {
        let names = || known.iter().map(|(name, _)| *name);
        let error = Error::new(Kind::Invalid, format!("`{key}` cannot be `{given}`"));
        error.hint(
            near::hint(&given, names()).unwrap_or_else(|| format!("known: {}", names().collect::<Vec<_>>().join(", "))),
        )
    })
}

fn compress(options: &mut Options<'_>) -> Result<Compress, Error> {
    let Some(given) = options.text("compress")? else { return Ok(Compress::Auto) };
    let level =
        given.strip_prefix("zstd:").and_then(|level| level.parse().ok()).filter(|level| (1..=19).contains(level));
    match (&*given, level) {
        ("auto", _) => Ok(Compress::Auto),
        ("none", _) => Ok(Compress::Never),
        (_, Some(level)) => Ok(Compress::Level(level)),
        _ => Err(Error::new(Kind::Invalid, format!("`compress` cannot be `{given}`"))
            .hint("known: auto, none, zstd:1 to zstd:19")),
    }
}

/// Options of one pass, and what of them decides whether a request is the same.
struct Pass {
    engine: block::Options,
    request: Value,
}

fn pass_options(opts: Map) -> Result<Pass, Error> {
    let mut request = value::encode(&opts.clone().into(), "opts").map_err(super::step::not_data)?;
    if let Some(request) = request.as_object_mut() {
        // How fast is not part of what.
        ["max_rate", "in_flight", "compress"].iter().for_each(|key| _ = request.shift_remove(*key));
    }
    let mut options = Options::new("block::copy", opts);
    let contents = [("unknown", Content::Unknown), ("zero", Content::Zero), ("compare", Content::Compare)];
    let errors = [("fail", OnReadError::Fail), ("zero", OnReadError::Zero)];
    let proofs = [("none", Verify::None), ("written", Verify::Written), ("whole", Verify::Whole)];
    let expect = match options.map("expect")? {
        None => None,
        Some(pair) => expected(&value::describe(&pair.into())),
    };
    let engine = block::Options {
        overwrite: options.flag("overwrite")?,
        create: options.flag("create")?,
        live: options.flag("live")?,
        content: word(&mut options, "content", &contents)?.unwrap_or_default(),
        on_read_error: word(&mut options, "on_read_error", &errors)?.unwrap_or_default(),
        used_only: options.flag("used_only")?,
        compress: compress(&mut options)?,
        verify: word(&mut options, "verify", &proofs)?.unwrap_or_default(),
        digests: options.text("digests")?.map(|text| path(&text)).transpose()?,
        expect,
        in_flight: in_flight(&mut options)?,
        ..block::Options::default()
    };
    let rate = max_rate(&mut options)?;
    options.done()?;
    Ok(Pass { engine: block::Options { rate: crate::rate::Rate::new(rate.0), ..engine }, request })
}

fn in_flight(options: &mut Options<'_>) -> Result<usize, Error> {
    let wanted = usize::try_from(options.count("in_flight")?.unwrap_or(0)).ok().filter(|wanted| *wanted <= 1024);
    wanted.ok_or_else(|| Error::new(Kind::Invalid, "`in_flight` is at most 1024"))
}

/// The identities in what `block::pair` gave.
fn expected(pair: &Value) -> Option<(Identity, Identity)> {
    let id = |key: &str| Some(Identity(pair.get(key)?.get("identity")?.as_str()?.to_owned()));
    id("source").zip(id("target"))
}

/// Takes the leases of both ends in the journal; an image that does not exist yet is known by its place.
fn lease(ctx: &Ctx, source: &Path, dest: &Path) -> Result<(), Fail> {
    let Some(run) = &ctx.run else { return Ok(()) };
    for (path, mode) in [(source, LeaseMode::Shared), (dest, LeaseMode::Exclusive)] {
        let place = whole(path);
        let id = block::look(path).map_or_else(|_| text(&place), |facts| facts.identity.0);
        let path = place.into_os_string().into_encoded_bytes();
        run.lease(Target { kind: TargetKind::Block, key: format!("block:{id}"), path, mode })?;
    }
    Ok(())
}

/// `block::copy(src, dst, opts)`.
pub(super) fn copy(context: &NativeCallContext<'_>, src: &str, dst: &str, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut pass = pass_options(opts)?;
    pass.engine.rate = ctx.rate.below(pass.engine.rate.limit());
    let (source, dest) = (path(src)?, path(dst)?);
    let cancel = ctx.cancel();
    let store: Arc<dyn Checkpoint> = match (&ctx.run, ctx.profile()) {
        (Some(run), Profile::Live) => Arc::new(Ledger::of(run.progress()?, &dest)),
        _ => Arc::new(Forgetful),
    };
    let progress = ctx.progress();
    let work = Work { progress: &*progress, checkpoint: &*store, cancel: &cancel };
    if ctx.profile() == Profile::Live {
        lease(&ctx, &source, &dest)?;
    }
    let effect = Effect {
        function: "block::copy",
        target: format!("{} → {}", text(&source), text(&dest)),
        // Repeating it ends in the same; what the target held before was looked at, and is gone.
        class: Class::Converge,
        request: json!({ "src": text(&source), "dst": text(&dest), "opts": pass.request }),
        undo: None,
        happened: Value::Null,
    };
    let plan = || {
        let seen = block::preview(endpoint(src)?, endpoint(dst)?, &pass.engine, &work).map_err(Error::from)?;
        let over = if seen.target.signatures.is_empty() { "" } else { ", over what it holds" };
        Ok(Planned {
            result: shown::planned(&seen.source, &seen.target),
            certainty: "exact",
            changes: Some(true),
            summary: format!("{} to copy{over}", Bytes(seen.source.size)),
        })
    };
    let act = || {
        let _writing = Writing::begin(&ctx, [dest.as_path()])?;
        let report = block::copy(endpoint(src)?, endpoint(dst)?, &pass.engine, &work).map_err(Error::from)?;
        tell(&report, &work);
        Ok::<_, Unfinished>((shown::report(&report), report.sent + report.zero > 0))
    };
    ctx.effect(effect, plan, act)
}

/// What an operator should know even if no script looks at the report.
fn tell(report: &Report, work: &Work<'_>) {
    let note = |text: String| {
        let path = report.target.path.as_bytes();
        work.progress.event(crate::progress::Event::Notice { path, text: &text });
    };
    if report.gpt_backup_misplaced {
        note("the backup of the partition table is not at the end of this larger device: sgdisk -e moves it".into());
    }
    if !report.tail_signatures.is_empty() {
        note(format!("behind the copy there is still something of before ({})", Bytes(report.tail_bytes)));
    }
    if report.found > 0 {
        note(format!("{} extents of an attempt before had arrived and were not sent again", show_count(report.found)));
    }
}

/// `block::pair(src, dst, opts)`.
pub(super) fn pair(context: &NativeCallContext<'_>, src: &str, dst: &str, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("block::pair", opts);
    let wanted = block::Options {
        overwrite: options.flag("overwrite")?,
        create: options.flag("create")?,
        live: options.flag("live")?,
        ..block::Options::default()
    };
    options.done()?;
    let cancel = ctx.cancel();
    let progress = ctx.progress();
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
    let seen = block::preview(endpoint(src)?, endpoint(dst)?, &wanted, &work).map_err(Error::from)?;
    Ok(json!({ "source": shown::facts(&seen.source), "target": shown::facts(&seen.target) }))
}

/// `block::compare(left, right, opts)`.
pub(super) fn compare(context: &NativeCallContext<'_>, left: &str, right: &str, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("block::compare", opts);
    let wanted = CompareOptions { length: options.count("length_bytes")?, in_flight: in_flight(&mut options)? };
    options.done()?;
    let cancel = ctx.cancel();
    let progress = ctx.progress();
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
    let seen = block::compare(endpoint(left)?, endpoint(right)?, &wanted, &work).map_err(Error::from)?;
    Ok(shown::comparison(&seen))
}

/// `block::devices()`.
pub(super) fn devices(context: &NativeCallContext<'_>) -> Answer {
    Ctx::of(context)?;
    Ok(block::devices().map_err(Error::from)?.iter().map(shown::device).collect())
}
