//! What every native reaches through its call context: the run, the profile, the step it is called in.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use rhai::{Dynamic, FnPtr, NativeCallContext};
use serde_json::Value;

use super::error::Fail;
use crate::cancel::Cancel;
use crate::copy::claim::Claim;
use crate::error::{Error, Kind};
use crate::journal::{Run, StepId};
use crate::script::library::Library;
use crate::script::outcome::{Call, PlanItem, Say, StepLine};
use crate::script::profile::{Profile, Recorded};

/// The services behind the natives of one engine.
pub(crate) struct Ctx {
    /// What the caller gave.
    pub(crate) call: Call,
    /// The run in the journal; none in a plan and in tests.
    pub(crate) run: Option<Run>,
    /// What the journal holds already: for plans and replays.
    pub(crate) recorded: Recorded,
    /// The texts of the script.
    pub(crate) library: Arc<OnceLock<Library>>,
    profile: RwLock<Profile>,
    state: Mutex<State>,
}

/// What gathers while a script runs.
#[derive(Default)]
pub(crate) struct State {
    /// Notes for the report.
    pub(crate) notes: Vec<(String, Value)>,
    /// Steps in the order they ended.
    pub(crate) steps: Vec<StepLine>,
    /// Intended effects.
    pub(crate) plan: Vec<PlanItem>,
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
    /// Destinations this process has claimed, by path.
    pub(crate) claims: BTreeMap<PathBuf, Claim>,
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
        let library = Arc::default();
        Self { call, run, recorded, library, profile: RwLock::new(profile), state: Mutex::default() }
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

    /// Tells the caller something.
    pub(crate) fn say(&self, what: Say<'_>) {
        (self.call.say)(what);
    }

    /// The token work in the current step looks at.
    pub(crate) fn cancel(&self) -> Cancel {
        FRAMES
            .with_borrow(|frames| frames.last().map_or_else(|| self.call.cancel.clone(), |frame| frame.cancel.clone()))
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
