//! Devices of a host without an agent: its own `dd`, `stat` and `/sys`, one range at a time.

use std::sync::Arc;

use rustix::io::Errno;

use super::quote::word;
use super::run::{Input, Task};
use super::{Error, Host, Sudo};
use crate::block::{Error as BlockError, Kind, Ranged, Seen};
use crate::cancel::Cancel;
use crate::units::ByteRange;
use crate::wire::Broken;

/// What `dd` reads and writes at once: offsets are told in such blocks.
const BLOCK: u64 = 4096;

/// One device or image there.
#[derive(Debug)]
pub struct Plain {
    host: Arc<Host>,
    sudo: Option<Sudo>,
    /// The path as a word of the shell.
    word: String,
    /// What it is called in errors.
    name: String,
    cancel: Cancel,
}

impl Plain {
    /// The device or image `path`, called `name`.
    ///
    /// # Errors
    /// [`Error::Unsendable`] for a path that is no text.
    pub fn new(host: Arc<Host>, sudo: Option<Sudo>, path: &[u8], name: String, cancel: Cancel) -> Result<Self, Error> {
        let path = String::from_utf8(path.to_vec())
            .map_err(|_| Error::Unsendable { what: "a path that is no text needs the agent".into() })?;
        let word = word(&path)?;
        Ok(Self { host, sudo, word, name, cancel })
    }

    /// Runs shell code with the path in `p`; its output, if it ends with 0.
    fn run(&self, op: &'static str, code: &str, input: &[u8]) -> Result<Vec<u8>, BlockError> {
        let code = format!("{}p={}; {code} ", super::quote::NEWLINE, self.word);
        let (sudo, name) = (self.sudo.as_ref(), "dd");
        // Code that reads has its input to itself, and cannot hear meanwhile that this side goes away.
        let after = (!input.is_empty()).then(String::new);
        let task = Task { code, input: Input::Raw(input), timeout: None, sudo, name, after };
        let done = self.host.task(&task, &self.cancel);
        let (how, ended, _) = done.map_err(|error| self.lost(error))?;
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        // What was to be written has arrived only if `dd` counted as much.
        let whole = input.is_empty() || said.split(['\n', ' ']).any(|word| word == input.len().to_string());
        if how == "0" && whole {
            return Ok(ended.stdout);
        }
        let path = self.name.clone();
        let errnos = [
            ("Permission denied", Errno::ACCESS),
            ("No space left", Errno::NOSPC),
            ("Read-only", Errno::ROFS),
            ("busy", Errno::BUSY),
            ("exists", Errno::EXIST),
        ];
        match errnos.iter().find(|(text, _)| said.contains(text)).map(|(_, errno)| *errno) {
            Some(Errno::NOSPC) => Err(BlockError::NoSpace { path }),
            Some(source) => Err(BlockError::Io { op, path, source }),
            None if said.is_empty() => Err(BlockError::Io { op, path, source: Errno::IO }),
            None => Err(BlockError::Broken { path, broken: Broken::Refused(format!("cannot {op}: {said}")) }),
        }
    }

    fn lost(&self, error: Error) -> BlockError {
        match error {
            Error::Cancelled { source, .. } => source.into(),
            error => BlockError::Broken { path: self.name.clone(), broken: Broken::Refused(error.to_string()) },
        }
    }
}

/// Says what the path in `p` is, a line each.
const LOOK: &str = r#"c=0; say() { [ -z "$2" ] || printf "%s %s\n" "$1" "$2"; }; get() { cat "$1" 2>/dev/null; }; \
say kernel "$(get /proc/sys/kernel/random/boot_id)"; \
used() { while read -r i u n r q z; do [ "$n" = "$1" ] && say use "mounted at $q"; done </proc/self/mountinfo; \
for h in "/sys/dev/block/$1/holders"/*; do [ -e "$h" ] && say use "held by ${h##*/}"; done; \
while read -r f z; do [ -b "$f" ] && s=$(stat -Lc "%t %T" "$f") && [ "$((0x${s% *})):$((0x${s#* }))" = "$1" ] && say use "used as swap"; done </proc/swaps; }; \
if [ ! -e "$p" ]; then d=${p%/*}; [ -d "${d:-/}" ] && say kind missing || say kind none; \
elif [ -b "$p" ]; then say kind device; s=$(stat -Lc "%t %T" "$p"); m=$((0x${s% *})):$((0x${s#* })); say device "$m"; b=/sys/dev/block/$m; \
n=$(get $b/size); say size $((n * 512)); say ro "$(get $b/ro)"; used "$m"; \
for t in $b/*/partition; do [ -e "$t" ] && used "$(get "${t%/partition}/dev")"; done; \
w=$b; t=$(get $b/partition); [ -z "$t" ] || w=$b/..; say part "$t"; \
for f in dm/uuid md/uuid wwid device/wwid device/wwn serial device/serial; do v=$(get $w/$f); [ -z "$v" ] || { say id "$v"; break; }; done; \
for f in wwid device/wwid device/wwn; do v=$(get $w/$f); [ -z "$v" ] || { say wwn "$v"; break; }; done; \
elif [ -f "$p" ]; then say kind image; say size "$(stat -Lc %s "$p")"; say image "$(stat -f -c %i "$p"):$(stat -Lc %i "$p")"; [ -w "$p" ] || say ro 1; \
else say kind other; fi;"#;

impl Ranged for Plain {
    fn look(&self) -> Result<Seen, BlockError> {
        let said = self.run("stat", &LOOK.replace("\\\n", ""), b"")?;
        let said = String::from_utf8_lossy(&said).into_owned();
        let all = |key: &str| {
            let line =
                |line: &str| line.split_once(' ').filter(|(name, _)| *name == key).map(|(_, text)| text.to_owned());
            said.lines().filter_map(line).collect::<Vec<_>>()
        };
        let one = |key: &str| all(key).into_iter().next();
        let (path, kernel) = (self.name.clone(), one("kernel").unwrap_or_default());
        let size = one("size").and_then(|size| size.parse().ok());
        let part = one("part").map_or_else(String::new, |part| format!("/{part}"));
        let (kind, identity) = match one("kind").as_deref() {
            Some("device") => {
                let number = || format!("number:{}@{kernel}", one("device").unwrap_or_default());
                (Kind::Device, one("id").map_or_else(number, |id| format!("disk:{id}")))
            }
            Some("image") => (Kind::Image, format!("image:{}", one("image").unwrap_or_default())),
            Some("missing") => (Kind::Missing, String::new()),
            Some("none") => return Err(BlockError::NotFound { path }),
            _ => return Err(BlockError::NotBlock { path }),
        };
        let told =
            || BlockError::Broken { path: path.clone(), broken: Broken::Refused(format!("it has no size: {said}")) };
        let size = if kind == Kind::Missing { 0 } else { size.ok_or_else(told)? };
        // As the engine names what it opens itself, where that needs no more than this.
        let identity = match kind {
            Kind::Device => format!("{identity}{part}={size}"),
            _ => identity,
        };
        let (read_only, uses, wwn, device) = (one("ro").as_deref() == Some("1"), all("use"), one("wwn"), one("device"));
        Ok(Seen { kind, size, identity, read_only, uses, wwn, kernel, device })
    }

    fn read(&self, range: ByteRange) -> Result<Vec<u8>, BlockError> {
        let (first, last) = (range.start / BLOCK, range.end.div_ceil(BLOCK));
        let code = format!("dd if=\"$p\" bs={BLOCK} skip={first} count={} 2>/dev/null; c=$?;", last - first);
        let mut bytes = self.run("read", &code, b"")?;
        let from = (range.start - first * BLOCK) as usize;
        let len = range.len() as usize;
        if bytes.len() < from + len {
            let (path, offset, length) = (self.name.clone(), range.start, range.len());
            return Err(BlockError::Unreadable { path, offset, length, source: Errno::IO });
        }
        bytes.truncate(from + len);
        bytes.drain(..from);
        Ok(bytes)
    }

    fn write(&self, start: u64, data: &[u8]) -> Result<(), BlockError> {
        let (seek, rest) = (start / BLOCK, start % BLOCK);
        if rest != 0 {
            let (op, path) = ("write", self.name.clone());
            return Err(BlockError::Io { op, path, source: Errno::INVAL });
        }
        let code = format!("head -c {} | LC_ALL=C dd of=\"$p\" bs={BLOCK} seek={seek} conv=notrunc; c=$?;", data.len());
        self.run("write", &code, data).map(drop)
    }

    fn create(&self, size: u64) -> Result<(), BlockError> {
        let code = format!(
            "c=0; ( set -C; umask 077; : >\"$p\" ) && dd if=/dev/null of=\"$p\" bs=1 seek={size} 2>/dev/null || c=1; \
             [ \"$(stat -Lc %s \"$p\")\" = {size} ] || c=1;"
        );
        self.run("create", &code, b"").map(drop)
    }

    fn sync(&self) -> Result<(), BlockError> {
        self.run("sync", "dd if=/dev/null of=\"$p\" conv=notrunc,fsync 2>/dev/null; c=$?;", b"").map(drop)
    }
}
