//! What callers hand to the journal and what they get back: plain data, no behaviour beyond words and names.

mod effect;
mod lease;
mod run;
mod signal;
mod step;

pub use effect::{Begun, Class, Decision, EffectId, EffectOutcome, NewEffect, OldEffect};
pub use lease::{Lease, LeaseMode, Target, TargetKind};
pub use run::{Level, Mode, NewRun, RunEnd, RunId, Source};
pub use signal::{Answer, Signal, SignalState};
pub use step::{Entered, NewStep, StepId, StepKind, StepOutcome};
