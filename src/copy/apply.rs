//! Sets an entry's metadata and proves that it stuck.
//!
//! The order matters: a change of owner clears setuid and capabilities, an ACL is part of the mode, and the times come
//! last because they are what the next pass takes for "this entry is done".

use std::collections::BTreeSet;

use rustix::io::Errno;

use super::decide::Rules;
use super::options::Loss;
use super::sys::xattr::{self, CAPABILITY, Xattrs};
use super::sys::{Kind, Meta, Target};
use super::trouble::Trouble;

/// Sets metadata under the rules of one pass.
#[derive(Debug)]
pub(super) struct Setter<'a> {
    pub accept: &'a BTreeSet<Loss>,
    pub rules: Rules,
    /// Who a new entry belongs to.
    pub creator: (u32, u32),
}

/// How much is known of the entry whose metadata is set.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known<'a> {
    /// This process has just made it, and no attribute can have been inherited.
    Fresh,
    /// As `Fresh`, and it has the wanted owner already, and this mode.
    Ready { mode: u32 },
    /// This process has just made it, and attributes may have been inherited.
    Inherited,
    /// It is like this.
    Is(&'a Meta),
}

impl Setter<'_> {
    /// The mode to make a new file with so that it need not be changed later; `None` if it must be: `umask` takes
    /// something from it, the owner it will have decides about it, or who made the file could not set its attributes.
    ///
    /// For a directory that only the maker can enter: elsewhere a mode must not come before its owner, unless it
    /// [gives nothing](Self::gives_nothing).
    pub(super) fn mode_to_make(&self, wanted: &Meta, umask: u32) -> Option<u32> {
        let mode = wanted.mode & 0o777;
        let workable = self.creator.0 == 0 || mode & 0o600 == 0o600;
        (workable && mode & umask == 0 && !self.rules.any_owner).then_some(mode)
    }

    /// Whether nobody could get more of a file that has its final mode before its final owner: group and others may do the
    /// same, its owner no less, and no ACL takes anything away.
    pub(super) fn gives_nothing(wanted: &Meta, xattrs: &Xattrs) -> bool {
        let [user, group, others] = [6, 3, 0].map(|shift| wanted.mode >> shift & 7);
        let acl = xattrs.iter().any(|(name, _)| xattr::property(name) == Some(Loss::Acl));
        group == others && user & group == group && !acl
    }

    /// Gives a file that is still empty to whom it will belong.
    pub(super) fn give(&self, target: Target<'_>, wanted: &Meta) -> Result<(), Trouble> {
        if self.creator == (wanted.uid, wanted.gid) { Ok(()) } else { self.chown(target, wanted) }
    }

    /// Makes `target` like `wanted`, and reads it back. `xattrs` of `None` leaves attributes alone; an existing entry
    /// loses those it should not have.
    pub(super) fn apply(
        &self,
        target: Target<'_>,
        wanted: &Meta,
        xattrs: Option<&Xattrs>,
        known: Known<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<Meta, Trouble> {
        let old_owner = match known {
            Known::Fresh | Known::Inherited => self.creator,
            Known::Ready { .. } => (wanted.uid, wanted.gid),
            Known::Is(meta) => (meta.uid, meta.gid),
        };
        let moved = old_owner != (wanted.uid, wanted.gid);
        if moved {
            self.chown(target, wanted)?;
        }
        let present = match (xattrs, known) {
            (None, _) | (_, Known::Fresh | Known::Ready { .. }) => Xattrs::new(),
            _ => xattr::read(target, scratch).map_err(Trouble::dest("list the attributes of"))?,
        };
        if let Some(xattrs) = xattrs {
            if let Known::Is(meta) = known
                && self.creator.0 != 0
                && meta.mode & 0o200 == 0
                && *xattrs != present
            {
                // Who may not write may not set attributes either, not even as the owner.
                target.chmod(meta.mode | 0o600).map_err(Trouble::dest("change the mode of"))?;
            }
            self.set_xattrs(target, xattrs, &present)?;
        }
        let mut now = match known {
            Known::Is(meta) if !moved && xattrs.is_none_or(|list| *list == present) => *meta,
            Known::Ready { mode } if xattrs.is_none_or(Xattrs::is_empty) => Meta { mode, ..*wanted },
            // The mode of another new entry is not the final one, and most other changes can change the mode.
            _ => Meta { mode: u32::MAX, ..*wanted },
        };
        if now.mode != wanted.mode && wanted.kind != Kind::Link {
            let mode = if self.rules.any_owner && moved {
                let owner = target.meta().map_err(Trouble::dest("stat"))?;
                self.rules.mode_for(wanted, &owner)
            } else {
                self.rules.mode_for(wanted, &now)
            };
            target.chmod(mode).map_err(Trouble::dest("change the mode of"))?;
        }
        let capability = xattrs.and_then(|list| list.iter().find(|(name, _)| name.as_c_str() == CAPABILITY));
        if let Some((name, value)) = capability {
            let kept = present.iter().any(|(other, old)| other == name && old == value) && !moved;
            if !kept {
                self.tolerate(Loss::Capability, "set the capability of", xattr::set(target, name, value))?;
            }
        }
        target.set_times(wanted.atime, wanted.mtime).map_err(Trouble::dest("set the times of"))?;
        now = target.meta().map_err(Trouble::dest("stat"))?;
        if !self.rules.same_owner(wanted, &now) || !self.rules.same_mode(wanted, &now) {
            // A setgid directory gave the entry another group than its maker's, or the like: once more, knowing that.
            if !self.rules.same_owner(wanted, &now) {
                self.chown(target, wanted)?;
            }
            target.chmod(wanted.mode).map_err(Trouble::dest("change the mode of"))?;
            if let Some((name, value)) = capability {
                self.tolerate(Loss::Capability, "set the capability of", xattr::set(target, name, value))?;
            }
            target.set_times(wanted.atime, wanted.mtime).map_err(Trouble::dest("set the times of"))?;
            now = target.meta().map_err(Trouble::dest("stat"))?;
        }
        self.prove(wanted, &now)?;
        Ok(now)
    }

    fn prove(&self, wanted: &Meta, now: &Meta) -> Result<(), Trouble> {
        let refuse = |op, text| Err(Trouble::Refused(op, text));
        if !self.rules.same_owner(wanted, now) {
            return refuse(
                "change the owner of",
                format!("{}:{} was set and became {}:{}", wanted.uid, wanted.gid, now.uid, now.gid),
            );
        }
        if !self.rules.same_mode(wanted, now) {
            return refuse("change the mode of", format!("{:04o} was set and became {:04o}", wanted.mode, now.mode));
        }
        if !self.rules.same_time(wanted.mtime, now.mtime) {
            return refuse("set the times of", "the destination does not keep times exactly".into());
        }
        Ok(())
    }

    fn chown(&self, target: Target<'_>, wanted: &Meta) -> Result<(), Trouble> {
        match target.chown(Some(wanted.uid), Some(wanted.gid)) {
            Err(Errno::PERM | Errno::INVAL | Errno::ACCESS) if self.rules.any_owner => {
                // The group alone may be one of the user's own.
                target.chown(None, Some(wanted.gid)).ok();
                Ok(())
            }
            other => other.map_err(Trouble::dest("change the owner of")),
        }
    }

    fn set_xattrs(&self, target: Target<'_>, wanted: &Xattrs, present: &Xattrs) -> Result<(), Trouble> {
        let unwanted = present.iter().filter(|(name, _)| !wanted.iter().any(|(other, _)| other == name));
        for (name, _) in unwanted {
            let loss = xattr::property(name).unwrap_or(Loss::Xattr);
            self.tolerate(loss, "remove an attribute of", xattr::remove(target, name))?;
        }
        let missing = wanted.iter().filter(|(name, value)| {
            name.as_c_str() != CAPABILITY && !present.iter().any(|(other, old)| other == name && old == value)
        });
        // An ACL is part of the mode, and may take from us the right to set the other attributes.
        let (acls, others): (Vec<_>, Vec<_>) = missing.partition(|(name, _)| xattr::property(name) == Some(Loss::Acl));
        for (name, value) in others {
            self.tolerate(Loss::Xattr, "set an attribute of", xattr::set(target, name, value))?;
        }
        for (name, value) in acls {
            self.tolerate(Loss::Acl, "set the ACL of", xattr::set(target, name, value))?;
        }
        Ok(())
    }

    /// An attribute that does not fit is said to be lack of space by some file systems; it is the entry's trouble and
    /// not the destination's.
    fn tolerate(&self, loss: Loss, op: &'static str, result: Result<(), Errno>) -> Result<(), Trouble> {
        match result {
            Ok(()) => Ok(()),
            Err(errno) if self.accept.contains(&loss) && errno != Errno::IO => Ok(()),
            Err(errno) => Err(Trouble::Refused(op, super::trouble::say(errno))),
        }
    }

    /// Attributes that count when two lists are compared.
    pub(super) fn same_xattrs(&self, left: &Xattrs, right: &Xattrs) -> bool {
        let counts = |entry: &&(std::ffi::CString, Vec<u8>)| {
            xattr::property(&entry.0).is_some_and(|property| !self.accept.contains(&property))
        };
        left.iter().filter(counts).eq(right.iter().filter(counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::sys::sample::meta;

    #[test]
    fn a_mode_comes_before_the_owner_only_where_that_gives_nothing_away() {
        let none = Xattrs::new();
        let gives = |mode, xattrs: &Xattrs| !Setter::gives_nothing(&Meta { mode, ..meta(Kind::File) }, xattrs);
        for mode in [0o644, 0o755, 0o600, 0o400, 0o444, 0o666, 0o4755, 0o700] {
            assert!(!gives(mode, &none), "{mode:o}");
        }
        // A group of the maker's could read it, or everybody whom the owner, who is one of them, may not.
        for mode in [0o640, 0o664, 0o604, 0o460, 0o066, 0o044, 0o750] {
            assert!(gives(mode, &none), "{mode:o}");
        }
        // What the mode seems to allow, the list may forbid to some.
        let acl = vec![(xattr::ACL_ACCESS.to_owned(), vec![2, 0, 0, 0])];
        assert!(gives(0o644, &acl));
    }
}
