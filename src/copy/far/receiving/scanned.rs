//! How what a scan found is written.

use super::forms;
use crate::copy::far::errors::text;
use crate::copy::report::Scan;
use crate::wire::{Broken, Put, Take};

/// The plain numbers, in one order for both ways.
fn numbers(scan: &mut Scan) -> [&mut u64; 18] {
    [
        &mut scan.bytes,
        &mut scan.disk_bytes,
        &mut scan.hardlinks,
        &mut scan.sparse,
        &mut scan.xattrs,
        &mut scan.acls,
        &mut scan.capabilities,
        &mut scan.sockets,
        &mut scan.devices,
        &mut scan.others_owner,
        &mut scan.subsecond,
        &mut scan.longest_name,
        &mut scan.longest_path,
        &mut scan.largest_bytes,
        &mut scan.odd_names,
        &mut scan.failed,
        &mut scan.mounts,
        &mut scan.names_only,
    ]
}

pub(super) fn put(put: &mut Put, mut scan: Scan) {
    forms::put_counts(put, &scan.counts);
    for number in numbers(&mut scan) {
        put.number(*number);
    }
    forms::put_errors(put, &scan.errors);
    put.bytes(scan.digest.as_bytes());
    forms::put_time(put, scan.elapsed);
}

pub(super) fn read(take: &mut Take<'_>) -> Result<Scan, Broken> {
    let mut scan = Scan { counts: forms::counts(take)?, ..Scan::default() };
    for number in numbers(&mut scan) {
        *number = take.number()?;
    }
    scan.errors = forms::errors(take)?;
    scan.digest = text(take)?;
    scan.elapsed = forms::time(take)?;
    Ok(scan)
}
