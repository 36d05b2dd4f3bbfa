//! Home directories: a hundred users whose sizes are skewed as they are in life, files of a few KiB, and of everything
//! else as much as one meets: links 2 %, hard links 1 %, xattrs 1 %, ACLs 0.2 %, some odd names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::content::{Content, past};
use super::{Grown, SEED};
use crate::bench::{About, Outcome};
use crate::support::dress;
use crate::support::rng::Rng;

/// Users by number, and three whose names break scripts.
const PLAIN_USERS: usize = 97;
const ODD_USERS: [&str; 3] = ["user with space", "us'er-quote", ".dotuser"];

pub(super) fn grow(root: &Path, files: u64, largest: u64) -> Outcome<Grown> {
    let mut rng = Rng::new(SEED);
    let content = Content::new(&mut rng, 8 << 20);
    fs::create_dir(root).at(root)?;
    let mut grower = Grower { rng, content, largest, made: Grown::default() };
    let names = (0..PLAIN_USERS).map(|user| format!("user{user:03}")).chain(ODD_USERS.map(String::from));
    let names: Vec<_> = names.collect();
    let mut weights: Vec<_> = (0..names.len()).map(|user| 1.0 / (user as f64 + 2.0).powf(0.8)).collect();
    let all: f64 = weights.iter().sum();
    // The copier that leaves out dot names must not gain much by it.
    weights[names.len() - 1] = 0.002 * all;
    let all: f64 = weights.iter().sum();
    for (user, name) in names.iter().enumerate() {
        let share = weights[user] / all;
        let files = ((files as f64 * share) as u64).max(3);
        // A hundred files to a directory.
        let dirs = (files / 100).max(2);
        grower.user(&root.join(name), 1000 + user as u32, files, dirs)?;
    }
    let (second, nanosecond) = past(&mut grower.rng);
    dress::stamp(root, second, nanosecond);
    Ok(grower.made)
}

struct Grower {
    rng: Rng,
    content: Content,
    largest: u64,
    made: Grown,
}

impl Grower {
    fn user(&mut self, home: &Path, uid: u32, files: u64, dirs: u64) -> Outcome<()> {
        fs::create_dir(home).at(home)?;
        let mut all = vec![home.to_owned()];
        for number in 1..dirs {
            // Mostly below one of the last made: some depth.
            let last = &all[all.len().saturating_sub(12)..];
            let parent = if self.rng.chance(70) { self.rng.pick(last).clone() } else { home.to_owned() };
            let kind = *self.rng.pick(&["src", "lib", "data", ".cache", "notebooks", "papers", "build"]);
            let dir = parent.join(format!("{kind}{number}"));
            fs::create_dir(&dir).at(&dir)?;
            all.push(dir);
        }
        for number in 0..files {
            let dir = self.rng.pick(&all).clone();
            self.file(&dir, home, uid, number)?;
        }
        self.made.entries += all.len() as u64;
        // Children before parents, when nothing is made in them any more.
        for dir in all.iter().rev() {
            dress::own(dir, uid, 100);
            self.stamp(dir);
        }
        Ok(())
    }

    fn file(&mut self, dir: &Path, home: &Path, uid: u32, number: u64) -> Outcome<()> {
        let ending = *self.rng.pick(&[".txt", ".py", ".c", ".ipynb", "", ".o", ".json"]);
        let path = if number % 977 == 5 {
            let mut name = b"od d\nname\xff".to_vec();
            name.extend_from_slice(number.to_string().as_bytes());
            dir.join(OsStr::from_bytes(&name))
        } else {
            dir.join(format!("f{number}{ending}"))
        };
        let size = self.size();
        fs::write(&path, self.content.cut(&mut self.rng, size)).at(&path)?;
        self.made.entries += 1;
        self.made.bytes += size as u64;
        dress::own(&path, uid, 100 + uid % 7);
        // One draw in a thousand decides what else it is.
        match self.rng.below(1000) {
            0..10 => dress::xattr(&path, "user.tag", format!("v{number}").as_bytes()),
            10..12 => dress::acl(&path, "access", &acl()),
            970..980 => self.second_name(&path, &home.join(format!("hl{number}")))?,
            what @ 980.. => {
                let target = path.file_name().filter(|_| what < 990).map_or("../nowhere".into(), PathBuf::from);
                self.link(&path, &target, uid)?;
            }
            20..970 => dress::mode(&path, *self.rng.pick(&[0o644, 0o600, 0o755, 0o640, 0o444])),
            _ => {}
        }
        self.stamp(&path);
        Ok(())
    }

    fn size(&mut self) -> usize {
        let least = self.largest.min(1024) / 2;
        usize::try_from(least + self.rng.below(self.largest - least + 1)).unwrap_or(usize::MAX)
    }

    fn second_name(&mut self, of: &Path, path: &Path) -> Outcome<()> {
        self.made.entries += 1;
        fs::hard_link(of, path).at(path)
    }

    fn link(&mut self, beside: &Path, target: &Path, uid: u32) -> Outcome<()> {
        let mut name = beside.file_name().unwrap_or_default().to_owned();
        name.push(".lnk");
        let path = beside.with_file_name(name);
        symlink(target, &path).at(&path)?;
        dress::own(&path, uid, 100);
        self.stamp(&path);
        self.made.entries += 1;
        Ok(())
    }

    fn stamp(&mut self, path: &Path) {
        let (second, nanosecond) = past(&mut self.rng);
        dress::stamp(path, second, nanosecond);
    }
}

/// `u::rw- u:1234:r-- g::r-- m::r-- o::---`
fn acl() -> Vec<u8> {
    let nobody = u32::MAX;
    dress::raw_acl(&[(0x01, 6, nobody), (0x02, 4, 1234), (0x04, 4, nobody), (0x10, 4, nobody), (0x20, 0, nobody)])
}
