//! Giving a run up: its targets are free in the journal, and its marks are taken off the targets themselves.

use super::outcome::Call;
use super::run::detail;
use super::{api, undo};
use crate::error::Error;
use crate::journal::{Journal, Lease};

/// `decamp abandon`.
pub(super) fn abandon(id: &str, call: &Call) -> Result<(), Error> {
    let (id, detail, sources) = detail(id, call)?;
    let leases = Journal::open(&call.state)?.abandon(&id)?;
    let (far, here): (Vec<&Lease>, Vec<_>) = leases.iter().partition(|lease| api::hold::marked_far(&lease.target));
    here.iter().try_for_each(|lease| api::hold::forget(&id, &lease.target))?;
    if far.is_empty() {
        return Ok(());
    }
    // How its hosts are reached only the script knows.
    let machine = undo::looked_back(&id, call, &detail, &sources)?;
    far.iter().try_for_each(|lease| api::hold::forget_far(&machine.ctx, &id, &lease.target))
}
