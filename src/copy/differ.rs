//! Compares the properties of two entries, and names what differs.

use super::compare::{Comparer, Comparing};
use super::options::Loss;
use super::report::{Difference, NAMED};
use super::side::More;
use super::sys::xattr;
use super::sys::{Kind, Meta};
use crate::units::{Stamp, path_text};

impl Comparing<'_> {
    /// Compares all that is known of two entries of one type.
    pub(super) fn properties(
        &self,
        worker: &mut Comparer<'_>,
        path: &[u8],
        left: (&Meta, &More),
        right: (&Meta, &More),
    ) {
        let ((a, a_more), (b, b_more)) = (left, right);
        if a.kind != b.kind {
            return differ(worker, path, "type", format!("{} | {}", a.kind.word(), b.kind.word()));
        }
        if a.kind == Kind::File && a.size != b.size {
            differ(worker, path, "size", format!("{} | {}", a.size, b.size));
        }
        if !self.rules.same_owner(a, b) {
            differ(worker, path, "owner", format!("{}:{} | {}:{}", a.uid, a.gid, b.uid, b.gid));
        }
        if !self.rules.same_mode(a, b) {
            differ(worker, path, "mode", format!("{:04o} | {:04o}", a.mode, b.mode));
        }
        if !self.rules.same_time(a.mtime, b.mtime) {
            let show = |time: Stamp| format!("{}.{:09}", time.sec, time.nsec);
            differ(worker, path, "mtime", format!("{} | {}", show(a.mtime), show(b.mtime)));
        }
        if a_more.target != b_more.target {
            let show = |more: &More| more.target.as_ref().map(|t| path_text(t.to_bytes())).unwrap_or_default();
            differ(worker, path, "link-target", format!("{} | {}", show(a_more), show(b_more)));
        }
        if a.kind.is_device() && a.rdev != b.rdev {
            let show = |rdev| format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev));
            differ(worker, path, "device", format!("{} | {}", show(a.rdev), show(b.rdev)));
        }
        for (loss, what) in [(Loss::Xattr, "xattr"), (Loss::Acl, "acl"), (Loss::Capability, "capability")] {
            let of = |more: &More| -> Vec<_> {
                let mine = |entry: &&(std::ffi::CString, Vec<u8>)| xattr::property(&entry.0) == Some(loss);
                more.xattrs.iter().filter(mine).cloned().collect()
            };
            let (one, two) = (of(a_more), of(b_more));
            if one != two && !self.accepts(loss) {
                let show = |list: &[(std::ffi::CString, Vec<u8>)]| {
                    let show = |(name, value): &(std::ffi::CString, Vec<u8>)| {
                        format!("{} ({} bytes)", path_text(name.to_bytes()), value.len())
                    };
                    let names: Vec<_> = list.iter().map(show).collect();
                    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
                };
                differ(worker, path, what, format!("{} | {}", show(&one), show(&two)));
            }
        }
    }
}

/// Counts and names a difference.
pub(super) fn differ(worker: &mut Comparer<'_>, path: &[u8], what: &'static str, detail: String) {
    worker.report.differences += 1;
    if worker.report.named.len() < NAMED {
        worker.report.named.push(Difference { path: path.to_vec(), what, detail });
    }
}
