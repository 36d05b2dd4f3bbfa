//! The state machines of run, step and effect: pure, total, and the only place that says which status follows which.
//!
//! Every change of a status in the database goes through one of the three `next` functions; what they refuse is
//! [`Illegal`] and never reaches a table. *Interrupted* is not a status: it is `running` without a live process.

use super::model::{Class, Decision};
use super::words::words;

words! {
    /// Where a run stands.
    RunStatus {
        /// The script is going forward, or was when its process died.
        Running = "running",
        /// It stopped for a person to answer.
        Waiting = "waiting",
        /// It came to its end.
        Succeeded = "succeeded",
        /// The script threw.
        Failed = "failed",
        /// It was stopped on request.
        Cancelled = "cancelled",
        /// It is going back, or was when its process died.
        Undoing = "undoing",
        /// Undo came to its end.
        Undone = "undone",
        /// Undo stopped.
        UndoFailed = "undo_failed",
        /// Given up by a person.
        Abandoned = "abandoned",
    }
}

impl RunStatus {
    /// Whether nothing more will happen by itself or by `resume`: its leases are given back.
    #[must_use]
    pub fn finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Undone | Self::Abandoned)
    }
}

words! {
    /// Where a step stands.
    StepStatus {
        /// Its body runs.
        Running = "running",
        /// It waits for a person.
        Waiting = "waiting",
        /// Its body returned.
        Done = "done",
        /// Its body threw; a resume runs it again.
        Failed = "failed",
        /// Its body threw and the script went on: the failure is the outcome.
        Handled = "handled",
        /// Its process died inside the body.
        Lost = "lost",
        /// What it held was given back when the run stopped: it runs again on resume.
        Released = "released",
    }
}

words! {
    /// Where an effect stands.
    EffectStatus {
        /// About to act, or acting.
        Intent = "intent",
        /// Its process died before the outcome was known.
        InDoubt = "in_doubt",
        /// It took effect.
        Done = "done",
        /// It certainly did not, or may be repeated.
        Failed = "failed",
        /// Given up.
        Abandoned = "abandoned",
    }
}

/// A change of status that the state machine refuses: a mistake of the caller, nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {thing} that is {status} cannot {event}")]
pub struct Illegal {
    /// `run`, `step` or `effect`.
    pub thing: &'static str,
    /// The status it has.
    pub status: &'static str,
    /// What was asked of it.
    pub event: &'static str,
}

words! {
    /// What can happen to a run.
    RunEvent {
        /// Another process goes on with it, forward.
        Resume = "resume",
        /// A process begins or goes on to undo it.
        Undo = "begin undo",
        /// It stops for a person.
        Wait = "wait",
        /// Its script returned.
        Succeed = "succeed",
        /// Its script threw.
        Fail = "fail",
        /// It was stopped on request.
        Cancel = "be cancelled",
        /// Its undo returned.
        Undone = "be undone",
        /// Its undo threw.
        UndoFail = "fail to undo",
        /// A person gives it up.
        Abandon = "be abandoned",
    }
}

/// The status of a run after `event`. A new run is [`RunStatus::Running`].
///
/// Once undo has begun there is no way forward: whatever stops it leaves `undo_failed`.
///
/// # Errors
/// [`Illegal`].
pub fn next_run(status: RunStatus, event: RunEvent) -> Result<RunStatus, Illegal> {
    use RunEvent as E;
    use RunStatus as S;
    Ok(match (status, event) {
        (S::Running | S::Waiting | S::Failed | S::Cancelled, E::Resume) => S::Running,
        (S::Running | S::Waiting | S::Failed | S::Cancelled | S::Succeeded | S::Undoing | S::UndoFailed, E::Undo) => {
            S::Undoing
        }
        (S::Running, E::Wait) => S::Waiting,
        (S::Running, E::Succeed) => S::Succeeded,
        (S::Running, E::Fail) => S::Failed,
        (S::Running, E::Cancel) => S::Cancelled,
        (S::Undoing, E::Undone) => S::Undone,
        (S::Undoing, E::UndoFail | E::Fail | E::Cancel | E::Wait) => S::UndoFailed,
        (S::Running | S::Waiting | S::Failed | S::Cancelled | S::Undoing | S::UndoFailed, E::Abandon) => S::Abandoned,
        _ => return Err(Illegal { thing: "run", status: status.name(), event: event.name() }),
    })
}

words! {
    /// What can happen to a step.
    StepEvent {
        /// Its body starts.
        Start = "start",
        /// Its body will be tried again.
        Retry = "be retried",
        /// It asks a person.
        Ask = "ask",
        /// The person answered.
        Answer = "be answered",
        /// Its body returned.
        Finish = "finish",
        /// Its body threw.
        Fail = "fail",
        /// The script went on after the failure.
        Handle = "be handled",
        /// Its process died.
        Lose = "be lost",
        /// What it, or a step before it, held was given back.
        Release = "be released",
    }
}

/// The status of a step after `event`; `None` is a step that was never entered.
///
/// # Errors
/// [`Illegal`].
pub fn next_step(status: Option<StepStatus>, event: StepEvent) -> Result<StepStatus, Illegal> {
    use StepEvent as E;
    use StepStatus as S;
    Ok(match (status, event) {
        (None | Some(S::Failed | S::Lost | S::Waiting | S::Released), E::Start) => S::Running,
        (Some(S::Running), E::Retry) => S::Running,
        (Some(S::Running | S::Waiting), E::Ask) => S::Waiting,
        (Some(S::Waiting), E::Answer) => S::Running,
        (Some(S::Running | S::Waiting), E::Finish) => S::Done,
        (Some(S::Running | S::Waiting), E::Fail) => S::Failed,
        (Some(S::Failed), E::Handle) => S::Handled,
        (Some(S::Running), E::Lose) => S::Lost,
        (Some(_), E::Release) => S::Released,
        _ => {
            return Err(Illegal { thing: "step", status: status.map_or("new", StepStatus::name), event: event.name() });
        }
    })
}

/// What can happen to an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectEvent {
    /// A native of this class is about to act.
    Begin(Class),
    /// It took effect.
    Finish,
    /// It did not.
    Fail,
    /// It is given up.
    Abandon,
    /// Its process died.
    Lose,
    /// A person answered about it.
    Decide(Decision),
    /// A probe or a person says that it may act again.
    ActAgain,
    /// Its step was released: what it did is no longer so.
    Release,
}

impl EffectEvent {
    fn name(self) -> &'static str {
        match self {
            Self::Begin(_) => "begin",
            Self::Finish => "finish",
            Self::Fail => "fail",
            Self::Abandon => "be abandoned",
            Self::Lose => "be lost",
            Self::Decide(_) => "be decided",
            Self::ActAgain => "act again",
            Self::Release => "be released",
        }
    }
}

/// The status of an effect after `event`; `None` is an effect that never began.
///
/// Only what is harmless to repeat may begin again after it was done or while it is in doubt.
///
/// # Errors
/// [`Illegal`].
pub fn next_effect(status: Option<EffectStatus>, event: EffectEvent) -> Result<EffectStatus, Illegal> {
    use EffectEvent as E;
    use EffectStatus as S;
    Ok(match (status, event) {
        (None | Some(S::Failed | S::Abandoned), E::Begin(_)) => S::Intent,
        (Some(S::Done | S::InDoubt), E::Begin(Class::Converge)) => S::Intent,
        (Some(S::Intent | S::InDoubt), E::Finish) => S::Done,
        (Some(S::Intent | S::InDoubt), E::Fail) => S::Failed,
        (Some(S::Intent | S::InDoubt), E::Abandon) => S::Abandoned,
        (Some(S::Done), E::Release) => S::Abandoned,
        (Some(S::Intent), E::Lose) => S::InDoubt,
        (Some(S::InDoubt), E::Decide(_)) => S::InDoubt,
        (Some(S::InDoubt), E::ActAgain) => S::Intent,
        _ => {
            return Err(Illegal {
                thing: "effect",
                status: status.map_or("new", EffectStatus::name),
                event: event.name(),
            });
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const EFFECT_EVENTS: [EffectEvent; 11] = [
        EffectEvent::Begin(Class::Converge),
        EffectEvent::Begin(Class::Once),
        EffectEvent::Begin(Class::Destroy),
        EffectEvent::Finish,
        EffectEvent::Fail,
        EffectEvent::Abandon,
        EffectEvent::Lose,
        EffectEvent::Decide(Decision::Happened),
        EffectEvent::Decide(Decision::Retry),
        EffectEvent::ActAgain,
        EffectEvent::Release,
    ];

    /// A table of what may follow: one line a status, `event>status` for each event that is allowed.
    fn table<S: Copy, E: Copy>(
        statuses: &[(&str, S)],
        events: &[(String, E)],
        next: impl Fn(S, E) -> Option<&'static str>,
    ) -> String {
        let mut lines = Vec::new();
        for (name, status) in statuses {
            let allowed: Vec<String> = events
                .iter()
                .filter_map(|(event, value)| next(*status, *value).map(|to| format!("{event}>{to}")))
                .collect();
            lines.push(format!("{name}: {}", allowed.join(", ")));
        }
        lines.join("\n")
    }

    #[test]
    fn what_a_run_may_do() {
        let statuses: Vec<_> = RunStatus::ALL.iter().map(|status| (status.name(), *status)).collect();
        let events: Vec<_> = RunEvent::ALL.iter().map(|event| (event.name().to_owned(), *event)).collect();
        let got = table(&statuses, &events, |status, event| next_run(status, event).ok().map(RunStatus::name));
        let wanted = "\
running: resume>running, begin undo>undoing, wait>waiting, succeed>succeeded, fail>failed, be cancelled>cancelled, be abandoned>abandoned
waiting: resume>running, begin undo>undoing, be abandoned>abandoned
succeeded: begin undo>undoing
failed: resume>running, begin undo>undoing, be abandoned>abandoned
cancelled: resume>running, begin undo>undoing, be abandoned>abandoned
undoing: begin undo>undoing, wait>undo_failed, fail>undo_failed, be cancelled>undo_failed, be undone>undone, fail to undo>undo_failed, be abandoned>abandoned
undone: 
undo_failed: begin undo>undoing, be abandoned>abandoned
abandoned: ";
        assert_eq!(got, wanted);
    }

    #[test]
    fn what_a_step_may_do() {
        let mut statuses = vec![("new", None)];
        statuses.extend(StepStatus::ALL.iter().map(|status| (status.name(), Some(*status))));
        let events: Vec<_> = StepEvent::ALL.iter().map(|event| (event.name().to_owned(), *event)).collect();
        let got = table(&statuses, &events, |status, event| next_step(status, event).ok().map(StepStatus::name));
        let wanted = "\
new: start>running
running: be retried>running, ask>waiting, finish>done, fail>failed, be lost>lost, be released>released
waiting: start>running, ask>waiting, be answered>running, finish>done, fail>failed, be released>released
done: be released>released
failed: start>running, be handled>handled, be released>released
handled: be released>released
lost: start>running, be released>released
released: start>running, be released>released";
        assert_eq!(got, wanted);
    }

    #[test]
    fn what_an_effect_may_do() {
        let mut statuses = vec![("new", None)];
        statuses.extend(EffectStatus::ALL.iter().map(|status| (status.name(), Some(*status))));
        let events: Vec<_> = EFFECT_EVENTS
            .iter()
            .map(|event| match event {
                EffectEvent::Begin(class) => (format!("begin {class}"), *event),
                EffectEvent::Decide(decision) => (format!("decide {decision}"), *event),
                other => (other.name().to_owned(), *event),
            })
            .collect();
        let got = table(&statuses, &events, |status, event| next_effect(status, event).ok().map(EffectStatus::name));
        let wanted = "\
new: begin converge>intent, begin once>intent, begin destroy>intent
intent: finish>done, fail>failed, be abandoned>abandoned, be lost>in_doubt
in_doubt: begin converge>intent, finish>done, fail>failed, be abandoned>abandoned, decide happened>in_doubt, decide retry>in_doubt, act again>intent
done: begin converge>intent, be released>abandoned
failed: begin converge>intent, begin once>intent, begin destroy>intent
abandoned: begin converge>intent, begin once>intent, begin destroy>intent";
        assert_eq!(got, wanted);
    }

    proptest! {
        /// Whatever happens, no effect that must not be repeated acts twice without a failure, a release or an answer
        /// that allowed it between.
        #[test]
        fn nothing_harmful_is_repeated(events in prop::collection::vec(0..EFFECT_EVENTS.len(), 0..60)) {
            let mut status = None;
            let mut may_act = true;
            for event in events.into_iter().map(|at| EFFECT_EVENTS[at]) {
                if matches!(event, EffectEvent::Begin(Class::Converge)) {
                    continue;
                }
                let Ok(next) = next_effect(status, event) else { continue };
                match event {
                    EffectEvent::Fail | EffectEvent::Abandon | EffectEvent::Release | EffectEvent::ActAgain => may_act = true,
                    _ => {}
                }
                if next == EffectStatus::Intent {
                    prop_assert!(may_act, "{:?} from {:?}", event, status);
                    may_act = false;
                }
                status = Some(next);
            }
        }

        /// A finished run stays finished, but that a success may still be undone; undo never turns forward.
        #[test]
        fn there_is_no_way_back_from_an_end(events in prop::collection::vec(0..RunEvent::ALL.len(), 0..60)) {
            let mut status = RunStatus::Running;
            let mut back = false;
            for event in events.into_iter().map(|at| RunEvent::ALL[at]) {
                let Ok(next) = next_run(status, event) else { continue };
                prop_assert!(!status.finished() || (status == RunStatus::Succeeded && next == RunStatus::Undoing));
                back |= next == RunStatus::Undoing;
                let behind = [RunStatus::Undoing, RunStatus::Undone, RunStatus::UndoFailed, RunStatus::Abandoned];
                prop_assert!(!back || behind.contains(&next));
                status = next;
            }
        }
    }
}
