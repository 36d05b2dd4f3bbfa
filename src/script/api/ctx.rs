//! What every native reaches through its call context: the run, the profile, the step it is called in.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rhai::{Dynamic, FnPtr, NativeCallContext};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::error::{Fail, Stop};
use crate::cancel::Cancel;
use crate::copy::identity::RootId;
use crate::error::{Error, Kind};
use crate::host::tree::Ours;
use crate::journal::{Class, EffectId, Run, StepId, StepKind, StepStatus};
use crate::progress::Progress;
use crate::rate::Rate;
use crate::script::library::Library;
use crate::script::names::step_name;
use crate::script::outcome::{Call, PlanItem, Question, Say, StepLine};
use crate::script::profile::{Profile, Recorded, RecordedState};
use crate::script::secret::Secrets;

/// The services behind the natives of one engine.
pub(crate) struct Ctx {
    /// What the caller gave.
    pub(crate) call: Call,
    /// The run in the journal; none in a plan and in tests.
    pub(crate) run: Option<Arc<Run>>,
    /// What the journal holds already: for plans and replays.
    pub(crate) recorded: Recorded,
    /// The secrets that were read.
    pub(crate) secrets: Secrets,
    /// The texts of the script.
    pub(crate) library: Arc<OnceLock<Library>>,
    /// How fast everything the run does may move file content, together.
    pub(crate) rate: Rate,
    /// Asked before an effect begins; set by an interactive session only.
    pub(crate) guard: OnceLock<Guard>,
    /// The directory of a run that is only looked back at.
    past: OnceLock<PathBuf>,
    profile: RwLock<Profile>,
    state: Mutex<State>,
}

/// Refuses an effect, by its native, target and class, before its intent is recorded.
pub(crate) type Guard = Box<dyn Fn(&str, &str, Class) -> Result<(), Error> + Send + Sync>;

/// What gathers while a script runs.
#[derive(Default)]
pub(crate) struct State {
    /// Notes for the report.
    pub(crate) notes: Vec<(String, Value)>,
    /// Steps in the order they ended.
    pub(crate) steps: Vec<StepLine>,
    /// Intended effects.
    pub(crate) plan: Vec<PlanItem>,
    /// Directories the plan would have made by then.
    pub(crate) planned_roots: BTreeSet<PathBuf>,
    /// Keys of steps that have begun: a second step of the same key is a mistake.
    pub(crate) seen: BTreeSet<String>,
    /// How to undo the steps that were done, oldest first.
    pub(crate) undos: Vec<Kept>,
    /// What to release if the run stops before the next pivot, oldest first.
    pub(crate) releases: Vec<Kept>,
    /// Whether an effect has begun, in this process or one before.
    pub(crate) acted: bool,
    /// The last pivot that was passed.
    pub(crate) pivot: Option<String>,
    /// Identities of the roots a plan looked at, by path; none: it did not exist.
    pub(crate) targets: BTreeMap<String, Option<String>>,
    /// Destinations this process has claimed, by path.
    pub(crate) claims: BTreeMap<PathBuf, Ours>,
    /// Hosts by what was asked for: handles of the same one share its connection.
    pub(crate) hosts: BTreeMap<String, Arc<super::ssh::Remote>>,
    /// Clusters by what was asked for.
    pub(crate) clusters: BTreeMap<String, Arc<super::cluster::Joined>>,
    /// What answers questions about files for this machine.
    pub(crate) here: Option<Arc<crate::agent::Client>>,
    /// Destinations that are written to at this moment.
    pub(crate) writing: BTreeSet<PathBuf>,
    /// Why no further step begins.
    pub(crate) halt: Option<Halt>,
    /// Whether the run stops at a point of no return, and not where it was to.
    pub(crate) short: bool,
}

/// Why no further step begins, although what has begun goes on to the end of its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The run stops here on purpose.
    Pause,
    /// A person has to answer first. Further questions are asked all the same, so that all can be answered at once.
    Question,
}

/// A closure that outlives the call it was given to.
#[derive(Clone)]
pub(crate) struct Kept {
    /// The step it belongs to.
    pub(crate) key: String,
    /// Journal id of that step.
    pub(crate) step: Option<StepId>,
    /// The closure, its captures frozen; none: the step has effects and no closure.
    pub(crate) closure: Option<(FnPtr, Arc<Context>)>,
    /// The step's result, its argument.
    pub(crate) result: Dynamic,
}

/// The call context a closure was made in: it still sees its script's imports after `run` has returned.
#[allow(deprecated, reason = "Rhai marks the type as volatile that way; the version is pinned")]
pub(crate) struct Context(rhai::NativeCallContextStore);

impl Context {
    /// Keeps `context`.
    pub(crate) fn keep(context: &NativeCallContext<'_>) -> Arc<Self> {
        #[allow(deprecated, reason = "see the type")]
        Arc::new(Self(context.store_data()))
    }

    /// The context again.
    pub(crate) fn restore<'a>(&'a self, engine: &'a rhai::Engine) -> NativeCallContext<'a> {
        #[allow(deprecated, reason = "see the type")]
        self.0.create_context(engine)
    }
}

/// What drives the connections to clusters; one of a process, begun when it is first needed.
fn runtime() -> Result<&'static Runtime, Error> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(1).enable_all().build());
    made.as_ref().map_err(|error| Error::new(Kind::Io, format!("cannot start a thread: {error}")))
}

/// The step a thread is in.
#[derive(Clone)]
pub(crate) struct Frame {
    /// Journal id; none in a plan.
    pub(crate) step: Option<StepId>,
    /// Its key.
    pub(crate) key: String,
    /// Number of the next effect.
    pub(crate) next_effect: u32,
    /// Whether an effect changed something.
    pub(crate) changed: bool,
    /// The run's token with the step's deadline.
    pub(crate) cancel: Cancel,
    /// A branch of `parallel` outside any step: a part of the path, and no step.
    pub(crate) bare: bool,
    /// What only reads around it (`fact`, `wait_until`): no effect may begin.
    pub(crate) reads: Option<&'static str>,
    /// Where progress goes, if not to all the run's.
    pub(crate) progress: Option<Arc<dyn Progress>>,
    /// The effect that acts now, and its key.
    pub(crate) effect: Option<(EffectId, String)>,
}

impl Frame {
    /// A step of the key `key`.
    pub(crate) fn new(step: Option<StepId>, key: &str, cancel: Cancel) -> Self {
        let progress = Ctx::frame().and_then(|outer| outer.progress);
        let (next_effect, changed, bare, reads, effect) = (0, false, false, None, None);
        Self { step, key: key.to_owned(), next_effect, changed, cancel, bare, reads, progress, effect }
    }
}

thread_local! {
    // Rhai is synchronous and the tag of a call context cannot change during a run: a stack per thread is exact.
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Takes the step off the stack again, however its body ended.
pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        FRAMES.with_borrow_mut(Vec::pop);
    }
}

impl Ctx {
    /// The services of one engine.
    pub(crate) fn new(call: Call, run: Option<Run>, profile: Profile, recorded: Recorded) -> Self {
        Self::sharing(call, run.map(Arc::new), profile, recorded)
    }

    /// The same for one of several engines that work on one run, one after the other.
    pub(crate) fn sharing(call: Call, run: Option<Arc<Run>>, profile: Profile, recorded: Recorded) -> Self {
        let aliases = call.site.as_ref().map(|site| site.secrets.clone()).unwrap_or_default();
        let secrets = Secrets::new(aliases, run.as_ref().map(|run| run.fingerprint()));
        let (library, rate, guard, past) = (Arc::default(), Rate::default(), OnceLock::new(), OnceLock::new());
        let (profile, state) = (RwLock::new(profile), Mutex::default());
        Self { call, run, recorded, secrets, library, rate, guard, past, profile, state }
    }

    /// Says where a run is kept that is not this one's, but has to be known as the script knew it.
    pub(crate) fn looks_back_at(&self, dir: PathBuf) {
        self.past.set(dir).ok();
    }

    /// The directory of the run, also of one that is only looked back at.
    pub(crate) fn kept(&self) -> Option<&Path> {
        self.run.as_ref().map(|run| run.dir()).or_else(|| self.past.get().map(PathBuf::as_path))
    }

    /// The services behind a native call.
    ///
    /// # Errors
    /// Kind `internal` if the engine was built without them.
    pub(crate) fn of(context: &NativeCallContext<'_>) -> Result<Arc<Self>, Fail> {
        let tag = context.tag().and_then(|tag| tag.clone().try_cast::<Arc<Self>>());
        tag.ok_or_else(|| Fail::Error(Error::new(Kind::Internal, "the engine has no run behind it")))
    }

    /// How natives behave now.
    pub(crate) fn profile(&self) -> Profile {
        *self.profile.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes how natives behave: undo replays first and acts then.
    pub(crate) fn set_profile(&self, profile: Profile) {
        *self.profile.write().unwrap_or_else(PoisonError::into_inner) = profile;
    }

    /// What has gathered so far.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a root is, for a plan: whoever does it later compares.
    pub(crate) fn saw(&self, path: &Path, id: Option<&RootId>) {
        if self.profile() == Profile::Plan {
            self.state().targets.insert(super::paths::text(path), id.map(ToString::to_string));
        }
    }

    /// Tells the caller something.
    pub(crate) fn say(&self, what: Say<'_>) {
        (self.call.say)(what);
    }

    /// The token work in the current step looks at.
    pub(crate) fn cancel(&self) -> Cancel {
        FRAMES
            .with_borrow(|frames| frames.last().map_or_else(|| self.call.cancel.clone(), |frame| frame.cancel.clone()))
    }

    /// Where work in the current step or branch tells how far it is.
    pub(crate) fn progress(&self) -> Arc<dyn Progress> {
        Self::frame().and_then(|frame| frame.progress).unwrap_or_else(|| Arc::clone(&self.call.progress))
    }

    /// Lets no further step begin; the first reason stays.
    pub(crate) fn halt(&self, why: Halt) {
        self.state().halt.get_or_insert(why);
    }

    /// Whether a step may begin; what is done already only gives its result, and that is always possible.
    ///
    /// # Errors
    /// Ends the script if the run stops before its next step.
    pub(crate) fn may_begin(&self, key: &str, kind: StepKind) -> Result<(), Fail> {
        let halt = self.state().halt;
        let known = |key: &str| self.recorded.0.get(key).is_some_and(|step| !matches!(step.state, RecordedState::Open));
        // A step that will ask as well, or something inside it will.
        let asks = |key: &str| self.recorded.0.iter().any(|(other, step)| step.doubtful && other.starts_with(key));
        match halt {
            None => Ok(()),
            Some(Halt::Question) if kind == StepKind::Approval || known(key) || asks(key) => Ok(()),
            Some(_) => Err(Stop::Paused.into()),
        }
    }

    /// Asks before a step that would really run, if every step is to be asked about.
    ///
    /// # Errors
    /// Ends the script if the person says no.
    pub(crate) fn ask_for(&self, key: &str, kind: StepKind) -> Result<(), Fail> {
        let (Some(ask), Some(run)) = (self.call.ask.as_ref().filter(|_| self.call.step_by_step), &self.run) else {
            return Ok(());
        };
        if self.profile() != Profile::Live || kind != StepKind::Step {
            return Ok(());
        }
        let done = run.recorded(key)?.is_some_and(|step| matches!(step.status, StepStatus::Done | StepStatus::Handled));
        let question =
            Question { name: key.to_owned(), summary: "run this step?".into(), details: Vec::new(), dangerous: false };
        if done || ask.ask(&question, &|| self.state().halt.is_some()) == Some(true) {
            return Ok(());
        }
        self.cancel().check().map_err(Error::from)?;
        self.halt(Halt::Pause);
        Err(Stop::Reached(format!("before step `{key}`")).into())
    }

    /// Ends the script before a point of no return that the run was not told to pass. Whether a script comes to a step
    /// is known when it does; behind this point a wrong name could not be made good.
    ///
    /// # Errors
    /// See above.
    pub(crate) fn may_pass(&self, name: &str, key: &str, kind: StepKind) -> Result<(), Fail> {
        let live = matches!(self.profile(), Profile::Live | Profile::Plan);
        let Some(until) = self.call.until.as_deref().filter(|_| live && kind == StepKind::Pivot) else {
            return Ok(());
        };
        // Whoever names the step around it wants it whole.
        let around = key.match_indices('/').map(|(at, _)| &key[..at]);
        let meant = until == name || around.chain([key]).any(|part| part == until || step_name(part) == until);
        if meant || self.recorded.0.get(key).is_some_and(|step| matches!(step.state, RecordedState::Done(_))) {
            return Ok(());
        }
        self.halt(Halt::Pause);
        self.state().short = true;
        Err(Stop::Reached(format!(
            "before the point of no return `{key}`: `{until}` was not reached, and --until passes none that it does not name"
        ))
        .into())
    }

    /// Ends the script if the run was to go up to the step that has just ended.
    ///
    /// # Errors
    /// See above.
    pub(crate) fn reached(&self, name: &str, key: &str) -> Result<(), Fail> {
        match self.call.until.as_deref() {
            Some(until) if until == name || until == key => {
                self.halt(Halt::Pause);
                Err(Stop::Reached(format!("after step `{key}`")).into())
            }
            _ => Ok(()),
        }
    }

    /// Waits for `span`, as long as the run goes on.
    ///
    /// # Errors
    /// Ends the script when the run is stopped or pauses.
    pub(crate) fn pause(&self, span: Duration) -> Result<(), Fail> {
        const LOOK: Duration = Duration::from_millis(100);
        let end = Instant::now() + span;
        loop {
            if self.state().halt.is_some() {
                return Err(Stop::Paused.into());
            }
            let left = end.saturating_duration_since(Instant::now());
            self.cancel().sleep(left.min(LOOK)).map_err(|stop| Fail::from(Error::from(stop)))?;
            if left <= LOOK {
                return Ok(());
            }
        }
    }

    /// Waits for what works asynchronously, as long as the run goes on.
    ///
    /// # Errors
    /// Ends the script when the run is stopped.
    pub(crate) fn wait_for<T>(&self, work: impl Future<Output = T>) -> Result<T, Fail> {
        const LOOK: Duration = Duration::from_millis(50);
        let cancel = self.cancel();
        runtime()?.block_on(async {
            let mut work = pin!(work);
            loop {
                cancel.check().map_err(Error::from)?;
                if let Ok(done) = tokio::time::timeout(LOOK, work.as_mut()).await {
                    return Ok(done);
                }
            }
        })
    }

    /// Puts a step on the stack of this thread.
    pub(crate) fn enter(frame: Frame) -> Entered {
        FRAMES.with_borrow_mut(|frames| frames.push(frame));
        Entered
    }

    /// The innermost step of this thread.
    pub(crate) fn frame() -> Option<Frame> {
        FRAMES.with_borrow(|frames| frames.last().cloned())
    }

    /// Changes the innermost step of this thread; `None` outside any step.
    pub(crate) fn with_frame<T>(act: impl FnOnce(&mut Frame) -> T) -> Option<T> {
        FRAMES.with_borrow_mut(|frames| frames.last_mut().map(act))
    }

    /// Notes the end of a step for the summary.
    pub(crate) fn ended(&self, key: &str, state: &'static str, changed: bool, since: Instant) {
        let elapsed_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.state().steps.push(StepLine { key: key.to_owned(), state, changed, elapsed_ms });
    }
}
