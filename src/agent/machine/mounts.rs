//! What is mounted, from the kernel's own list.

use super::super::fault::Fault;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number, and that of the mount it lies on.
    pub id: u64,
    /// The mount it lies on.
    pub parent: u64,
    /// Device numbers, `8:1`.
    pub device: String,
    /// Which directory of the file system is mounted, raw bytes.
    pub root: Vec<u8>,
    /// Where, raw bytes.
    pub point: Vec<u8>,
    /// Options of the mount, `rw,relatime`.
    pub options: String,
    /// Type of the file system.
    pub fs_type: String,
    /// What is mounted, as it was given; raw bytes.
    pub source: Vec<u8>,
    /// Options of the file system itself.
    pub super_options: String,
}

const LIST: &str = "/proc/self/mountinfo";

/// Every mount of this process's namespace, in the kernel's order.
///
/// # Errors
/// [`Fault`] if the list cannot be read, or is none.
pub fn mounts() -> Result<Vec<Mount>, Fault> {
    let text = std::fs::read(LIST).map_err(Fault::io("read", LIST.as_bytes()))?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            parse(line).ok_or_else(|| {
                let why = format!("a line of it cannot be understood: {}", String::from_utf8_lossy(line));
                Fault::refused("read", LIST.as_bytes(), why)
            })
        })
        .collect()
}

/// One line; between the options and the type stand any number of tags, ended by `-`.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let (device, root, point) = (text(words.next()?), plain(words.next()?), plain(words.next()?));
    let options = text(words.next()?);
    words.find(|word| *word == b"-")?;
    let (fs_type, source) = (text(words.next()?), plain(words.next()?));
    Some(Mount { id, parent, device, root, point, options, fs_type, source, super_options: text(words.next()?) })
}

/// A word with `\NNN` (octal) put back.
fn plain(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        let digits = word.get(at + 1..at + 4).filter(|digits| digits.iter().all(|d| matches!(d, b'0'..=b'7')));
        match (word[at], digits) {
            (b'\\', Some(digits)) => {
                out.push(digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_understood() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 shared:7 - ext3 /dev/a\134b rw,errors=continue";
        let mount = parse(line).unwrap();
        assert_eq!((mount.id, mount.parent, mount.device.as_str()), (36, 35, "98:0"));
        assert_eq!((mount.root.as_slice(), mount.point.as_slice()), (&b"/mnt1"[..], &b"/mnt 2"[..]));
        assert_eq!((mount.options.as_str(), mount.fs_type.as_str()), ("rw,noatime", "ext3"));
        assert_eq!((mount.source.as_slice(), mount.super_options.as_str()), (&br"/dev/a\b"[..], "rw,errors=continue"));
        assert!(parse(b"36 35 98:0 / / rw").is_none() && parse(b"x").is_none());
    }

    #[test]
    fn this_machine_has_a_root() {
        assert!(mounts().unwrap().iter().any(|mount| mount.point == b"/" || mount.point.starts_with(b"/proc")));
    }
}
