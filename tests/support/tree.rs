//! Home directories as they grow in the wild, from a seed.
//!
//! A *gallery* holds one of every oddity, so that each is there whatever the size; around it users of very different
//! sizes keep files, links and directories with random metadata. The same [`Recipe`] makes the same tree.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat};

use super::dress::{self, Kind};
use super::rng::Rng;
use super::skip::is_root;

/// What a tree holds that not every file system, and not every user, can have.
#[derive(Debug, Clone)]
pub(crate) struct Oddities {
    /// How many owners there are; none: everything belongs to who makes it.
    pub(crate) owners: u64,
    /// Entries their own owner may not read or write (mode 0000, read-only directories).
    pub(crate) locked: bool,
    /// `user.` xattrs.
    pub(crate) user_xattrs: bool,
    /// `trusted.` xattrs and capabilities.
    pub(crate) root_xattrs: bool,
    /// Access and default ACLs.
    pub(crate) acls: bool,
    /// Character and block devices.
    pub(crate) devices: bool,
    /// A socket: it cannot be copied.
    pub(crate) sockets: bool,
    /// Files with holes, one of them above 4 GiB.
    pub(crate) holes: bool,
    /// Several names of one file.
    pub(crate) hard_links: bool,
    /// Paths longer than `PATH_MAX`.
    pub(crate) deep: bool,
    /// Times before 1970.
    pub(crate) old_times: bool,
}

impl Oddities {
    /// All the present user can make, apart from sockets.
    pub(crate) fn all() -> Self {
        let root = is_root();
        Self {
            owners: if root { 40 } else { 0 },
            locked: root,
            user_xattrs: true,
            root_xattrs: root,
            acls: true,
            devices: root,
            sockets: false,
            holes: true,
            hard_links: true,
            deep: true,
            old_times: true,
        }
    }

    /// What an ordinary user can make and read back.
    pub(crate) fn ordinary() -> Self {
        Self { owners: 0, locked: false, root_xattrs: false, devices: false, ..Self::all() }
    }
}

/// How to make a tree.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// The same seed makes the same tree.
    pub(crate) seed: u64,
    /// About how many entries; the gallery alone has some eighty.
    pub(crate) entries: u64,
    /// What is in it.
    pub(crate) odd: Oddities,
}

impl Recipe {
    pub(crate) fn new(seed: u64, entries: u64) -> Self {
        Self { seed, entries, odd: Oddities::all() }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Oddities)) -> Self {
        change(&mut self.odd);
        self
    }

    /// Makes the tree; `root` must not exist. Returns how many entries it has, the root not counted.
    pub(crate) fn grow(&self, root: &Path) -> u64 {
        let mut grower = Grower { rng: Rng::new(self.seed), odd: &self.odd, made: 0, dirs: Vec::new() };
        grower.dir(root.to_owned());
        grower.made = 0;
        grower.gallery(&root.join("gallery"));
        grower.homes(&root.join("home"), self.entries);
        grower.finish(root)
    }
}

/// Names that break programs.
const NAMES: [&[u8]; 18] = [
    b"line\nbreak",
    b" leading and trailing ",
    b"quote\"and'apostrophe",
    b"not-utf8-\xff\xfe\x80",
    b"back\\slash",
    b"-rf",
    b"*",
    b"$HOME;`id`",
    b"...",
    b".hidden",
    b"~",
    b"tab\tand\x1b[31mescape",
    b"\xc3\xa9-composed",
    b"e\xcc\x81-decomposed",
    b"%s%n",
    // What decamp itself leaves at the root of a destination is an ordinary name anywhere else.
    b".decamp-run",
    b"lost+found",
    b"#1",
];

struct Grower<'r> {
    rng: Rng,
    odd: &'r Oddities,
    made: u64,
    /// Every directory, parents first: they get their metadata last, children before parents.
    dirs: Vec<PathBuf>,
}

impl Grower<'_> {
    fn dir(&mut self, path: PathBuf) -> PathBuf {
        fs::create_dir(&path).unwrap_or_else(|error| panic!("mkdir {}: {error}", path.display()));
        self.dirs.push(path.clone());
        self.made += 1;
        path
    }

    fn file(&mut self, path: &Path, content: &[u8]) {
        File::create_new(path).unwrap().write_all(content).unwrap();
        dress::random(path, Kind::File, self.odd, &mut self.rng);
        self.made += 1;
    }

    fn link(&mut self, path: &Path, target: impl AsRef<Path>) {
        symlink(target, path).unwrap();
        dress::random(path, Kind::Link, self.odd, &mut self.rng);
        self.made += 1;
    }

    fn node(&mut self, path: &Path, kind: FileType, dev: u64) {
        mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), dev).unwrap();
        dress::random(path, Kind::Special, self.odd, &mut self.rng);
        self.made += 1;
    }

    /// One more name. The clock of the directory moves, which is why directories are dressed last.
    fn name(&mut self, of: &Path, path: &Path) {
        fs::hard_link(of, path).unwrap();
        self.made += 1;
    }

    /// One of everything.
    fn gallery(&mut self, at: &Path) {
        let at = self.dir(at.to_owned());
        let names = self.dir(at.join("names"));
        for name in NAMES {
            let text = self.rng.bytes(20);
            self.file(&names.join(OsStr::from_bytes(name)), &text);
        }
        self.file(&names.join("n".repeat(255)), b"a name of 255 bytes");
        self.file(&names.join(".decamp-tmp-0123456789abcdef"), b"looks like a temporary file, and is not");
        self.dir(names.join(OsStr::from_bytes(b"dir\n\xff")));
        self.modes(&at);
        self.links(&at);
        self.specials(&at);
        if self.odd.holes {
            self.holes(&at);
        }
        if self.odd.deep {
            self.deep(&at);
        }
        self.xattrs(&at);
    }

    fn modes(&mut self, at: &Path) {
        let modes = self.dir(at.join("modes"));
        self.file(&modes.join("empty"), b"");
        self.dir(modes.join("empty-dir"));
        for bits in [0o444, 0o4755, 0o2755, 0o6711, 0o1644, 0o777] {
            let path = modes.join(format!("{bits:o}"));
            self.file(&path, b"mode");
            dress::mode(&path, bits);
            dress::stamp(&path, 1_000_000_000, 999_999_999);
        }
        if self.odd.locked {
            let path = modes.join("0");
            self.file(&path, b"nobody may read this");
            dress::mode(&path, 0);
            let inner = self.dir(modes.join("read-only-dir"));
            self.file(&inner.join("inside"), b"inside");
            let inner = self.dir(modes.join("locked-dir"));
            self.file(&inner.join("inside"), b"inside");
        }
    }

    fn links(&mut self, at: &Path) {
        let links = self.dir(at.join("links"));
        self.link(&links.join("dangling"), "no/such/file");
        self.link(&links.join("absolute"), "/etc/passwd");
        self.link(&links.join("to-dir"), "../names");
        self.link(&links.join("up"), "../../..");
        self.link(&links.join("to-itself"), "to-itself");
        self.link(&links.join("not-utf8"), OsStr::from_bytes(b"\xff\n\x80"));
        self.link(&links.join("long"), "x/".repeat(500));
        if !self.odd.hard_links {
            return;
        }
        let others = self.dir(at.join("links-of-others"));
        for group in 2..=5 {
            let first = links.join(format!("group{group}-1"));
            self.file(&first, format!("one of {group} names").as_bytes());
            for member in 2..=group {
                let home = if member % 2 == 0 { &others } else { &links };
                self.name(&first, &home.join(format!("group{group}-{member}")));
            }
        }
        self.name(&links.join("dangling"), &others.join("dangling-too"));
        // Same size, same times, same content, yet two files: only the groups tell them from one.
        for name in ["twin-1", "twin-2"] {
            self.file(&others.join(name), b"twins");
            dress::stamp(&others.join(name), 1_500_000_000, 5);
        }
    }

    fn specials(&mut self, at: &Path) {
        let specials = self.dir(at.join("specials"));
        self.node(&specials.join("fifo"), FileType::Fifo, 0);
        if self.odd.hard_links {
            self.name(&specials.join("fifo"), &specials.join("fifo-again"));
        }
        if self.odd.devices {
            self.node(&specials.join("null"), FileType::CharacterDevice, makedev(1, 3));
            self.node(&specials.join("big-minor"), FileType::CharacterDevice, makedev(510, 70_000));
            self.node(&specials.join("loop"), FileType::BlockDevice, makedev(7, 63));
        }
        if self.odd.sockets {
            let path = specials.join("socket");
            // A socket's address holds 108 bytes only.
            let short = PathBuf::from(format!("/proc/self/fd/{}", raw(&open_dir(&specials)))).join("socket");
            drop(UnixListener::bind(if path.as_os_str().len() < 100 { &path } else { &short }).unwrap());
            dress::random(&path, Kind::Special, self.odd, &mut self.rng);
            self.made += 1;
        }
    }

    fn holes(&mut self, at: &Path) {
        const MIB: u64 = 1 << 20;
        let holes = self.dir(at.join("holes"));
        // Name, size, and where a little data stands.
        let shapes: [(&str, u64, &[u64]); 6] = [
            ("leading", 8 * MIB, &[8 * MIB - 4096]),
            ("middle", 8 * MIB, &[0, 8 * MIB - 100]),
            ("trailing", 8 * MIB, &[0]),
            ("all", 5 * MIB, &[]),
            ("odd-size", 6 * MIB + 13, &[3 * MIB + 1]),
            ("above-4-gib", 5 << 30, &[0, (4 << 30) + 7]),
        ];
        for (name, size, data) in shapes {
            let path = holes.join(name);
            let file = File::create_new(&path).unwrap();
            file.set_len(size).unwrap();
            for at in data {
                file.write_all_at(&self.rng.bytes(100), *at).unwrap();
            }
            dress::random(&path, Kind::File, self.odd, &mut self.rng);
            self.made += 1;
        }
    }

    /// A chain of directories no path can name, made step by step through descriptors.
    fn deep(&mut self, at: &Path) {
        let mut here = open_dir(&self.dir(at.join("deep")));
        let name = "d".repeat(200);
        let mut chain = Vec::new();
        for level in 0..25u32 {
            mkdirat(&here, &*name, Mode::from_raw_mode(0o755)).unwrap();
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let file = File::from(openat(&here, "file", flags, Mode::from_raw_mode(0o640)).unwrap());
            file.write_all_at(format!("level {level}").as_bytes(), 0).unwrap();
            stamp_open(&file, 1_300_000_000 + i64::from(level));
            self.made += 2;
            let inner = openat(&here, &*name, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
            chain.push(std::mem::replace(&mut here, inner));
        }
        rustix::fs::symlinkat("target", &here, "link").unwrap();
        self.made += 1;
        let link = PathBuf::from(format!("/proc/self/fd/{}/link", raw(&here)));
        dress::random(&link, Kind::Link, self.odd, &mut self.rng);
        stamp_open(&here, 1_299_999_999);
        // The first of the chain is dressed with the other directories.
        for (level, dir) in chain.iter().enumerate().skip(1).rev() {
            stamp_open(dir, 1_100_000_000 + i64::try_from(level).unwrap());
        }
    }

    fn xattrs(&mut self, at: &Path) {
        let xattrs = self.dir(at.join("xattrs"));
        let plain = |name: &str, grower: &mut Self| {
            let path = xattrs.join(name);
            let quiet = Oddities { user_xattrs: false, root_xattrs: false, acls: false, ..grower.odd.clone() };
            File::create_new(&path).unwrap().write_all(name.as_bytes()).unwrap();
            dress::random(&path, Kind::File, &quiet, &mut grower.rng);
            grower.made += 1;
            path
        };
        if self.odd.user_xattrs {
            let path = plain("user", self);
            dress::xattr(&path, "user.empty", b"");
            dress::xattr(&path, "user.binary", &[0, 255, 10, 0]);
            dress::xattr(&path, &format!("user.{}", "n".repeat(240)), b"long name");
            dress::xattr(&path, "user.long", &[7; 1500]);
        }
        if self.odd.acls {
            let path = plain("acl", self);
            dress::acl(&path, "access", &dress::access_acl(&mut self.rng));
            let path = self.dir(xattrs.join("default-acl"));
            dress::acl(&path, "default", &dress::access_acl(&mut self.rng));
            // The default ACL of its parent gives this file one of its own.
            self.file(&path.join("heir"), b"heir");
        }
        if self.odd.root_xattrs {
            let path = plain("trusted", self);
            dress::xattr(&path, "trusted.decamp-test", b"for root only");
            let path = plain("capability", self);
            dress::mode(&path, 0o755);
            dress::capability(&path, 1 << 10);
            let path = xattrs.join("link-with-xattr");
            self.link(&path, "user");
            dress::xattr(&path, "trusted.decamp-test", b"of the link itself");
        }
    }

    /// Users with very different numbers of files.
    fn homes(&mut self, at: &Path, entries: u64) {
        let at = self.dir(at.to_owned());
        let users = usize::try_from((entries / 150).clamp(3, 200)).unwrap();
        let mut places: Vec<Vec<PathBuf>> =
            (0..users).map(|user| vec![self.dir(at.join(format!("user{user:03}")))]).collect();
        let mut files: Vec<PathBuf> = Vec::new();
        let mut big = 3;
        for number in 0u64.. {
            if self.made >= entries {
                break;
            }
            let user = self.rng.zipf(users);
            let place = self.rng.pick(&places[user]).clone();
            let dots = if self.rng.chance(10) { "." } else { "" };
            let path = place.join(format!("{dots}{}{number}", self.rng.pick(&["note", "Foto ", "src_", "data-", "ü"])));
            match self.rng.below(100) {
                0..12 if place.as_os_str().len() < 2_000 => {
                    let path = self.dir(path);
                    places[user].push(path);
                }
                12..20 => {
                    let target = if self.rng.chance(70) { "../user000" } else { "/nowhere/at all" };
                    self.link(&path, target);
                }
                20..25 if self.odd.hard_links && !files.is_empty() => {
                    // Five names at most: the last files made are linked to.
                    let of = self.rng.pick(&files[files.len().saturating_sub(5)..]).clone();
                    self.name(&of, &path);
                }
                _ => {
                    let size = match self.rng.below(100) {
                        0..8 => 0,
                        8..75 => self.rng.index(2_000),
                        _ if big > 0 => {
                            big -= 1;
                            1_000_000 + self.rng.index(3_000_000)
                        }
                        _ => self.rng.index(16_000),
                    };
                    let content = self.rng.bytes(size);
                    self.file(&path, &content);
                    files.push(path);
                }
            }
        }
    }

    /// Dresses the directories, children before parents, the root last.
    fn finish(mut self, root: &Path) -> u64 {
        for path in std::mem::take(&mut self.dirs).into_iter().rev() {
            dress::random(&path, Kind::Dir, self.odd, &mut self.rng);
            let bits = match path.file_name().map(OsStrExt::as_bytes) {
                Some(b"read-only-dir") => 0o555,
                Some(b"locked-dir") => 0,
                _ => continue,
            };
            dress::mode(&path, bits);
        }
        if self.odd.user_xattrs {
            dress::xattr(root, "user.root", b"the root is an entry, too");
        }
        dress::mode(root, 0o2751);
        dress::stamp(root, 1_111_111_111, 123_456_789);
        self.made
    }
}

fn open_dir(path: &Path) -> OwnedFd {
    openat(CWD, path, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap()
}

fn raw(fd: &OwnedFd) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(fd)
}

fn stamp_open(fd: impl std::os::fd::AsFd, second: i64) {
    let time = rustix::fs::Timespec { tv_sec: second, tv_nsec: 987_654_321 };
    let both = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::futimens(fd, &both).unwrap();
}
