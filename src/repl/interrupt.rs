//! Signals: Ctrl-C stops the line that runs and nothing else; the others end the session after it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::iterator::Signals;

use crate::cancel::{Cancel, Reason};
use crate::error::{Error, Exit, Kind};
use crate::report::output::tell;
use crate::report::style::redraws;

/// A second Ctrl-C within this time ends the process at once.
const TWICE: Duration = Duration::from_secs(3);

/// What signals do to a session.
pub(super) struct Interrupt {
    /// The token of the line that runs.
    line: Mutex<Option<Cancel>>,
    /// The session is to end.
    ended: Mutex<Option<Reason>>,
    /// Takes the editor out of waiting for keys.
    pub(super) wake: Arc<AtomicBool>,
    /// A signal ends the process at once: nothing runs that could be stopped.
    at_once: Arc<AtomicBool>,
    /// A reader waits for a person while nothing runs, and can be left.
    reader: bool,
}

impl Interrupt {
    /// Catches signals from now on.
    pub(super) fn watch(reader: bool) -> Result<Arc<Self>, Error> {
        let failed = |source| Error::new(Kind::Internal, "cannot catch signals").because(source);
        let own = Arc::new(Self {
            line: Mutex::default(),
            ended: Mutex::default(),
            wake: Arc::default(),
            at_once: Arc::new(AtomicBool::new(!reader)),
            reader,
        });
        let all = [(SIGINT, Exit::Interrupted), (SIGTERM, Exit::Terminated), (SIGHUP, Exit::HangUp)];
        // Registered before the catching of signals below: the first Ctrl-C in a line finds it unarmed.
        for (signal, exit) in all {
            register_conditional_shutdown(signal, i32::from(exit.code()), Arc::clone(&own.at_once)).map_err(failed)?;
        }
        let mut signals = Signals::new(all.map(|(signal, _)| signal)).map_err(failed)?;
        let shared = Arc::clone(&own);
        std::thread::spawn(move || {
            for signal in signals.forever() {
                match signal {
                    SIGTERM => shared.end(Reason::Terminate),
                    SIGHUP => shared.end(Reason::HangUp),
                    _ => shared.stop_line(),
                }
            }
        });
        Ok(own)
    }

    /// A line begins: its token.
    pub(super) fn begin(&self) -> Cancel {
        let cancel = Cancel::new();
        self.at_once.store(false, Ordering::SeqCst);
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = Some(cancel.clone());
        if let Some(reason) = self.ended() {
            cancel.cancel(reason);
        }
        cancel
    }

    /// The line is over.
    pub(super) fn over(&self) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.at_once.store(!self.reader, Ordering::SeqCst);
    }

    /// Why the session is to end, if it is.
    pub(super) fn ended(&self) -> Option<Reason> {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session is to end, and the line that runs with it.
    pub(super) fn end(&self, reason: Reason) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        self.wake.store(true, Ordering::SeqCst);
        if let Some(cancel) = &*self.line.lock().unwrap_or_else(PoisonError::into_inner) {
            cancel.cancel(reason);
        }
    }

    fn stop_line(self: &Arc<Self>) {
        let running = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(cancel) = &*running else { return };
        cancel.cancel(Reason::Interrupt);
        // Before it is promised: the answer may come at once.
        self.at_once.store(true, Ordering::SeqCst);
        drop(running);
        let clear = if redraws() { "\r\x1b[2K" } else { "" };
        tell(&format!("{clear}stopping the line (Ctrl-C again within 3 s ends decamp at once)"));
        let own = Arc::clone(self);
        std::thread::spawn(move || {
            std::thread::sleep(TWICE);
            let running = own.line.lock().unwrap_or_else(PoisonError::into_inner);
            // Where nothing can be woken, a signal goes on to end the process between two lines.
            own.at_once.store(running.is_none() && !own.reader, Ordering::SeqCst);
        });
    }
}
