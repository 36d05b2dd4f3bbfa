//! SIGINT, SIGTERM and SIGHUP stop work alike: the token is cancelled, the work saves its state and ends by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::iterator::Signals;

use crate::cancel::{Cancel, Reason};
use crate::error::{Error, Exit, Kind};
use crate::report::output::tell;
use crate::report::style::redraws;

/// A second Ctrl-C within this time ends the process at once. Everything it did is as safe as after a power cut.
const TWICE: Duration = Duration::from_secs(3);

/// Stops `cancel` on signals from now on.
///
/// # Errors
/// `internal` if the signals cannot be caught.
pub(crate) fn stop_on_signals(cancel: &Cancel) -> Result<(), Error> {
    let failed = |source| Error::new(Kind::Internal, "cannot catch signals").because(source);
    let armed = Arc::new(AtomicBool::new(false));
    // Registered before the catching of signals below: the first Ctrl-C finds it unarmed.
    register_conditional_shutdown(SIGINT, i32::from(Exit::Interrupted.code()), Arc::clone(&armed)).map_err(failed)?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let cancel = cancel.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGTERM => cancel.cancel(Reason::Terminate),
                SIGHUP => cancel.cancel(Reason::HangUp),
                _ => {
                    cancel.cancel(Reason::Interrupt);
                    // Before it is promised: the answer may come at once.
                    armed.store(true, Ordering::SeqCst);
                    // Over the bar, if there is one.
                    let clear = if redraws() { "\r\x1b[2K" } else { "" };
                    tell(&format!("{clear}stopping; state is being saved (Ctrl-C again within 3 s exits at once)"));
                    let armed = Arc::clone(&armed);
                    std::thread::spawn(move || {
                        std::thread::sleep(TWICE);
                        armed.store(false, Ordering::SeqCst);
                    });
                }
            }
        }
    });
    Ok(())
}
