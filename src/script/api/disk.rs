//! What stands behind `block::`: options, the engine call inside an effect.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rhai::{Dynamic, Map, NativeCallContext};
use serde_json::{Value, json};

use super::choices::max_rate;
use super::ctx::Ctx;
use super::effect::{Effect, Planned, Unfinished};
use super::error::Fail;
use super::far::{Place, SOURCE, TARGET, Width, unless_planned};
use super::hold::{Writing, whole};
use super::host::Host;
use super::ledger::Ledger;
use super::options::Options;
use super::paths::{path, text};
use crate::block::{self, CompareOptions, Compress, Content, Identity, OnReadError, Report, Verify, Work};
use crate::error::{Error, Kind};
use crate::host::ssh::SILENT;
use crate::journal::{Class, LeaseMode, Target, TargetKind};
use crate::progress::{Checkpoint, Event, Forgetful};
use crate::report::block as shown;
use crate::script::near;
use crate::script::profile::Profile;
use crate::script::value;
use crate::units::{Bytes, show_count};

type Answer = Result<Value, Fail>;

/// The conversation in which an agent lists devices.
const DEVICES: &str = "block-devices";

/// How long an end is waited for that an attempt of before may still hold: as long as its agent may take to notice that
/// nobody leads it any more, and a little longer.
const HELD: Duration = Duration::from_secs(SILENT.as_secs() + 15);

/// Both ends of one piece of work, and how many ways lead to each.
struct Pair<'c> {
    ctx: &'c Ctx,
    left: Place,
    right: Place,
    width: Width,
    /// Ends that were reached without an agent, the last time.
    degraded: RefCell<Vec<String>>,
}

impl<'c> Pair<'c> {
    fn of(ctx: &'c Ctx, left: &Dynamic, right: &Dynamic, width: Width) -> Result<Self, Error> {
        Ok(Self {
            ctx,
            left: Place::of(ctx, left)?,
            right: Place::of(ctx, right)?,
            width,
            degraded: RefCell::default(),
        })
    }

    /// Does something with both ends, each reached anew; the right one is in the room `room`.
    fn with<T>(
        &self,
        room: &str,
        work: impl FnOnce(block::Endpoint, block::Endpoint) -> Result<T, block::Error>,
    ) -> Result<Result<T, block::Error>, Error> {
        let left = self.left.block(self.ctx, SOURCE, self.width).map_err(Fail::into_error)?;
        let right = self.right.block(self.ctx, room, self.width).map_err(Fail::into_error)?;
        *self.degraded.borrow_mut() = left.degraded.into_iter().chain(right.degraded).collect();
        // Their agents stay until it is done.
        let _held = (left.far, right.far);
        Ok(work(left.endpoint, right.endpoint))
    }

    fn is_far(&self) -> bool {
        self.left.remote().or(self.right.remote()).is_some()
    }

    /// Copies. An end that only an attempt of before can hold, behind a connection that was lost, is waited for.
    fn copy(&self, options: &block::Options, work: &Work<'_>) -> Result<Report, Error> {
        let again = self.is_far() && block::begun(options, work.checkpoint)?;
        let end = Instant::now() + HELD;
        let mut told = false;
        loop {
            match self.with(TARGET, |source, target| block::copy(source, target, options, work))? {
                Err(error) if error.is_held() && again && Instant::now() < end => {
                    if !told {
                        let text = format!("{error}; waiting until the agent of an earlier attempt has let go of it");
                        work.progress.event(Event::Notice { path: b"", text: &text });
                    }
                    told = true;
                    work.cancel.sleep(Duration::from_millis(500))?;
                }
                done => return Ok(done?),
            }
        }
    }
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
    width: Width,
    request: Value,
}

fn pass_options(opts: Map) -> Result<Pass, Error> {
    let mut request = value::encode(&opts.clone().into(), "opts").map_err(super::step::not_data)?;
    if let Some(request) = request.as_object_mut() {
        // How fast is not part of what.
        ["max_rate", "in_flight", "compress", "channels", "streams"]
            .iter()
            .for_each(|key| _ = request.shift_remove(*key));
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
    let width = Width::of(&mut options)?;
    options.done()?;
    Ok(Pass { engine: block::Options { rate: crate::rate::Rate::new(rate.0), ..engine }, width, request })
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

/// Takes the leases of both ends in the journal; an image that does not exist yet is known by its place, and what is on
/// another machine by that machine's key as well.
fn lease(ctx: &Ctx, pair: &Pair<'_>) -> Result<(), Fail> {
    let Some(run) = &ctx.run else { return Ok(()) };
    for (place, mode) in [(&pair.left, LeaseMode::Shared), (&pair.right, LeaseMode::Exclusive)] {
        let (id, path) = match place.remote() {
            None => {
                let path = whole(place.path());
                let id = block::look(place.path()).map_or_else(|_| text(&path), |facts| facts.identity.0);
                (id, path)
            }
            Some(remote) => {
                let end = place.block(ctx, SOURCE, Width::ONE)?;
                let id = match block::look_at(end.endpoint, &ctx.cancel()) {
                    Ok(facts) => facts.identity.0,
                    Err(block::Error::NotFound { .. }) => text(place.path()),
                    Err(error) => return Err(Error::from(error).into()),
                };
                (format!("{}:{id}", remote.machine(ctx)?), place.key())
            }
        };
        let path = path.into_os_string().into_encoded_bytes();
        run.lease(Target { kind: TargetKind::Block, key: format!("block:{id}"), path, mode })?;
    }
    Ok(())
}

/// `block::copy(src, dst, opts)`.
pub(super) fn copy(context: &NativeCallContext<'_>, src: &Dynamic, dst: &Dynamic, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut pass = pass_options(opts)?;
    pass.engine.rate = ctx.rate.below(pass.engine.rate.limit());
    let pair = Pair::of(&ctx, src, dst, pass.width)?;
    let dest = pair.right.key();
    let cancel = ctx.cancel();
    let store: Arc<dyn Checkpoint> = match (&ctx.run, ctx.profile()) {
        (Some(run), Profile::Live) => Arc::new(Ledger::of(run.progress()?, &dest)),
        _ => Arc::new(Forgetful),
    };
    let progress = ctx.progress();
    let work = Work { progress: &*progress, checkpoint: &*store, cancel: &cancel };
    if ctx.profile() == Profile::Live {
        lease(&ctx, &pair)?;
    }
    let effect = Effect {
        function: "block::copy",
        target: format!("{} → {}", pair.left, pair.right),
        // Repeating it ends in the same; what the target held before was looked at, and is gone.
        class: Class::Converge,
        request: json!({ "src": pair.left.to_string(), "dst": pair.right.to_string(), "opts": pass.request }),
        undo: None,
        happened: Value::Null,
        before: None,
    };
    let plan = || {
        let seen = match pair.with(TARGET, |source, target| block::preview(source, target, &pass.engine, &work)) {
            Ok(seen) => seen?,
            Err(error) if error.kind == Kind::Unsupported => {
                let result = json!({ "$unknown": format!("what is copied to {}", pair.right) });
                let summary = format!("will copy; {}", error.message);
                return Ok(Planned { result, certainty: "unknown", changes: None, summary });
            }
            Err(error) => return Err(error),
        };
        let over = if seen.target.signatures.is_empty() { "" } else { ", over what it holds" };
        let mut result = shown::planned(&seen.source, &seen.target);
        result["degraded"] = pair.degraded.borrow().clone().into();
        Ok(Planned {
            result,
            certainty: "exact",
            changes: Some(true),
            summary: format!("{} to copy{over}", Bytes(seen.source.size)),
        })
    };
    let act = || {
        let _writing = Writing::begin(&ctx, [dest.as_path()])?;
        let report = pair.copy(&pass.engine, &work)?;
        tell(&report, &work);
        let mut shown = shown::report(&report);
        shown["degraded"] = pair.degraded.borrow().clone().into();
        Ok::<_, Unfinished>((shown, report.sent + report.zero > 0))
    };
    ctx.effect(effect, plan, act)
}

/// What an operator should know even if no script looks at the report.
fn tell(report: &Report, work: &Work<'_>) {
    let note = |text: String| {
        let path = report.target.path.as_bytes();
        work.progress.event(Event::Notice { path, text: &text });
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
pub(super) fn pair(context: &NativeCallContext<'_>, src: &Dynamic, dst: &Dynamic, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("block::pair", opts);
    let wanted = block::Options {
        overwrite: options.flag("overwrite")?,
        create: options.flag("create")?,
        live: options.flag("live")?,
        ..block::Options::default()
    };
    options.done()?;
    let pair = Pair::of(&ctx, src, dst, Width::ONE)?;
    let cancel = ctx.cancel();
    let progress = ctx.progress();
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
    let looked = || -> Answer {
        let seen = pair.with(TARGET, |source, target| block::preview(source, target, &wanted, &work))?;
        let seen = seen.map_err(Error::from)?;
        Ok(json!({ "source": shown::facts(&seen.source), "target": shown::facts(&seen.target) }))
    };
    unless_planned(&ctx, &format!("what {} and {} are", pair.left, pair.right), looked())
}

/// `block::compare(left, right, opts)`.
pub(super) fn compare(context: &NativeCallContext<'_>, left: &Dynamic, right: &Dynamic, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("block::compare", opts);
    let wanted = CompareOptions { length: options.count("length_bytes")?, in_flight: in_flight(&mut options)? };
    let width = Width::of(&mut options)?;
    options.done()?;
    let pair = Pair::of(&ctx, left, right, width)?;
    let cancel = ctx.cancel();
    let progress = ctx.progress();
    let work = Work { progress: &*progress, checkpoint: &Forgetful, cancel: &cancel };
    let compared = || -> Answer {
        let seen = pair.with(SOURCE, |left, right| block::compare(left, right, &wanted, &work))?;
        Ok(shown::comparison(&seen.map_err(Error::from)?))
    };
    unless_planned(&ctx, &format!("how {} and {} differ", pair.left, pair.right), compared())
}

/// `block::devices(host)`.
pub(super) fn devices(context: &NativeCallContext<'_>, host: &Host) -> Answer {
    let ctx = Ctx::of(context)?;
    let listed = || -> Answer {
        let all = match host {
            Host::Local => block::devices(),
            Host::Ssh(remote) => {
                let far = remote.far(&ctx)?;
                let mut lines = far.lines(DEVICES, 1, 1, &ctx.cancel()).map_err(Error::from)?;
                lines.pop().map_or_else(|| Ok(Vec::new()), |line| block::devices_of(&remote.name(), line))
            }
        };
        Ok(all.map_err(Error::from)?.iter().map(shown::device).collect())
    };
    unless_planned(&ctx, &format!("the devices of {host}"), listed())
}
