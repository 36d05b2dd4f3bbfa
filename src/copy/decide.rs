//! What is to be done with one entry, from what is known of it on both sides. Pure: no system call is made here.

use std::collections::BTreeSet;

use super::options::{Equality, Loss, Options};
use super::sys::{Kind, Meta};
use crate::units::Stamp;

/// What is to be done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It is not there: make it.
    Create,
    /// It is there and is something else, or has other content: make it anew in its place.
    Replace,
    /// Only the content can tell: read both, then treat it as `Replace` or as `Fix`.
    Read,
    /// Its content is right and some of its metadata is not.
    Fix,
    /// All that was looked at is right.
    Keep,
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub action: Action,
    /// Attributes and ACLs must be looked at: they may have changed, and nothing cheaper would tell.
    pub look: bool,
}

/// What counts as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Rules {
    pub content: bool,
    pub any_owner: bool,
    pub coarse_times: bool,
}

impl Rules {
    pub(super) fn of(options: &Options) -> Self {
        Self { content: options.equality == Equality::Content, ..Self::accepting(&options.accept) }
    }

    pub(super) fn accepting(accept: &BTreeSet<Loss>) -> Self {
        Self { content: false, any_owner: accept.contains(&Loss::Owner), coarse_times: accept.contains(&Loss::Times) }
    }

    pub(super) fn same_time(&self, left: Stamp, right: Stamp) -> bool {
        left == right || self.coarse_times && left.sec.abs_diff(right.sec) <= 2
    }

    pub(super) fn same_owner(&self, left: &Meta, right: &Meta) -> bool {
        self.any_owner || (left.uid, left.gid) == (right.uid, right.gid)
    }

    /// Modes agree. Where another owner is accepted, setuid and setgid are not given to that owner.
    pub(super) fn same_mode(&self, left: &Meta, right: &Meta) -> bool {
        left.kind == Kind::Link || self.mode_for(left, right) == right.mode
    }

    /// The mode that `right`, whose owner is what it is, should have: a program must not run with the rights of
    /// somebody it was not given to. On a directory the bits give no rights.
    pub(super) fn mode_for(&self, left: &Meta, right: &Meta) -> u32 {
        let mut mode = left.mode;
        if left.kind != Kind::Dir {
            mode &= !if left.uid == right.uid { 0 } else { 0o4000 };
            mode &= !if left.gid == right.gid { 0 } else { 0o2000 };
        }
        mode
    }

    /// Owner, mode and time of change agree.
    pub(super) fn same_meta(&self, left: &Meta, right: &Meta) -> bool {
        self.same_owner(left, right) && self.same_mode(left, right) && self.same_time(left.mtime, right.mtime)
    }
}

/// Decides. `same_link`: both are links and say the same. `recorded`: the source's time of change when this run last
/// looked at the entry. `proved`: the attributes were found equal, and neither side was changed since.
pub(super) fn decide(
    left: &Meta,
    right: Option<&Meta>,
    same_link: bool,
    rules: &Rules,
    recorded: Option<Stamp>,
    proved: bool,
) -> Verdict {
    let Some(right) = right else { return Verdict { action: Action::Create, look: false } };
    let other_thing = left.kind != right.kind
        || left.kind == Kind::Link && !same_link
        || left.kind.is_device() && left.rdev != right.rdev
        || left.kind == Kind::File && left.size != right.size;
    if other_thing {
        return Verdict { action: Action::Replace, look: false };
    }
    let action = match left.kind {
        Kind::File if rules.content => Action::Read,
        Kind::File if !rules.same_time(left.mtime, right.mtime) => Action::Replace,
        // A name that was linked anew may have got another file of the same size and time; one wrong answer here would
        // go to every name of the group.
        Kind::File if left.nlink > 1 && left.ctime >= right.ctime => Action::Read,
        _ if rules.same_meta(left, right) => Action::Keep,
        _ => Action::Fix,
    };
    // Setting an attribute changes nothing but the time of change, and of the destination's only a record of ours says
    // what it had then. A directory's is changed by every new name in it, so it tells nothing there.
    let look = left.kind == Kind::Dir || left.ctime >= right.ctime || recorded != Some(left.ctime);
    Verdict { action, look: look && !proved && action != Action::Replace }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::sys::sample::meta;

    #[test]
    fn every_property_counts() {
        use Action::{Create, Fix, Keep, Read, Replace};
        type Change = fn(&mut Meta);
        let later: Change = |m| m.mtime.nsec += 1;
        let none: Change = |_| {};
        let rules = Rules::default();
        let content = Rules { content: true, ..rules };
        let squashed = Rules { any_owner: true, ..rules };
        let coarse = Rules { coarse_times: true, ..rules };
        let cases: [(Kind, Rules, Change, Action); 17] = [
            (Kind::File, rules, none, Keep),
            (Kind::File, rules, later, Replace),
            (Kind::File, coarse, |m| m.mtime.sec += 2, Keep),
            (Kind::File, coarse, |m| m.mtime.sec += 3, Replace),
            (Kind::File, rules, |m| m.size += 1, Replace),
            (Kind::File, rules, |m| m.mode = 0o600, Fix),
            (Kind::File, rules, |m| m.uid = 0, Fix),
            (Kind::File, squashed, |m| m.uid = 0, Keep),
            (Kind::File, rules, |m| m.gid = 0, Fix),
            (Kind::File, content, later, Read),
            (Kind::File, content, |m| m.size += 1, Replace),
            (Kind::File, rules, |m| m.kind = Kind::Dir, Replace),
            (Kind::Dir, rules, |m| m.size = 7, Keep),
            (Kind::Dir, rules, later, Fix),
            (Kind::Link, rules, |m| m.mode = 0o777, Keep),
            (Kind::Link, rules, later, Fix),
            (Kind::Char, rules, |m| m.rdev = 9, Replace),
        ];
        for (at, (kind, rules, change, action)) in cases.into_iter().enumerate() {
            let left = meta(kind);
            let mut right = left;
            change(&mut right);
            assert_eq!(decide(&left, Some(&right), true, &rules, None, false).action, action, "case {at}");
        }
        assert_eq!(decide(&meta(Kind::File), None, false, &rules, None, false).action, Create);
        let link = meta(Kind::Link);
        assert_eq!(decide(&link, Some(&link), false, &rules, None, false).action, Replace);
    }

    #[test]
    fn attributes_are_looked_at_where_they_may_have_changed() {
        let rules = Rules::default();
        let left = meta(Kind::File);
        let newer = Meta { ctime: Stamp { sec: 9, nsec: 0 }, ..left };
        let look = |right: &Meta, recorded| decide(&left, Some(right), true, &rules, recorded, false).look;
        assert!(look(&left, None));
        // Made by others, who may have left the attributes out.
        assert!(look(&newer, None));
        assert!(!look(&newer, Some(left.ctime)));
        assert!(look(&newer, Some(Stamp { sec: 1, nsec: 0 })));
    }

    #[test]
    fn setuid_is_not_given_to_another_owner() {
        let rules = Rules { any_owner: true, ..Rules::default() };
        let left = Meta { mode: 0o4755, ..meta(Kind::File) };
        let right = Meta { mode: 0o755, uid: 99, ..left };
        let dir = Meta { kind: Kind::Dir, ..left };
        assert_eq!(rules.mode_for(&dir, &right), 0o4755);
        assert_eq!(decide(&left, Some(&right), true, &rules, None, false).action, Action::Keep);
        let right = Meta { mode: 0o4755, uid: 99, ..left };
        assert_eq!(decide(&left, Some(&right), true, &rules, None, false).action, Action::Fix);
    }
}
