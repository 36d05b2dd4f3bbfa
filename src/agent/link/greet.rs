//! How a link begins: a line of text each way, before the first frame.
//!
//! The near side calls: `: decamp-agent MARK VERSION SILENT TOKEN`, the far side answers: `MARK VERSION SUM`, on a line
//! of its own. The mark is made anew each time, so that whatever a login prints before can be skipped without being taken
//! for the answer; a shell that is told the call by mistake does nothing. SILENT is in milliseconds; the token is `-` on
//! an agent's first link, and what it gave out on those that join. SUM is the SHA-256 of the agent's own file, or `-`
//! where it cannot read itself.

use std::collections::HashSet;
use std::io::{BufRead, Read};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::super::VERSION;
use super::super::frame::FrameReader;
use super::{Link, held};
use crate::wire::Broken;

/// So much may be printed before the answer, bytes.
const NOISE: usize = 1 << 20;
/// No line of a greeting is longer.
const LINE: u64 = 512;
/// The first word of a call, behind what makes it nothing to a shell.
const NAME: &str = "decamp-agent";

/// Tokens that were given out, each good for one link.
pub(in super::super) type Tokens = Arc<Mutex<HashSet<String>>>;

/// Which side of a link this is.
pub(in super::super) enum Role {
    /// It calls.
    Near {
        /// What the agent gave out, where the link joins others.
        token: Option<String>,
        /// The agent must have this sum, if it knows its own.
        sum: Option<String>,
    },
    /// It answers.
    Far(Far),
}

/// What an answer needs.
pub(in super::super) struct Far {
    /// Of the agent's own file.
    pub sum: Option<String>,
    /// The link joins others: its token must be one of these.
    pub tokens: Option<Tokens>,
}

/// What the other side said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Greeting {
    /// SHA-256 of the agent's file, in hexadecimal.
    pub sum: Option<String>,
}

/// Sixteen bytes nobody can guess, in hexadecimal.
///
/// # Errors
/// [`Broken::Io`] if the kernel gives none.
pub(in super::super) fn secret() -> Result<String, Broken> {
    let mut bytes = [0u8; 16];
    let mut done = 0;
    while done < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => done += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Broken::Io(errno.into())),
        }
    }
    Ok(hex(&bytes))
}

/// Bytes in hexadecimal.
#[must_use]
pub(in super::super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seeds of the frames to the far side and from it.
pub(super) fn seeds(mark: &str) -> (u64, u64) {
    let to = mark.bytes().fold(0u64, |sum, byte| sum.rotate_left(4) ^ u64::from(byte));
    (to, !to)
}

/// Greets, and gives what reads the frames that follow.
pub(super) fn greet<R: BufRead>(link: &Link, mut from: R, role: Role) -> Result<FrameReader<R>, Broken> {
    let (greeting, seed) = match role {
        Role::Near { token, sum } => call(link, &mut from, token.as_deref(), sum.as_deref())?,
        Role::Far(far) => answer(link, &mut from, &far)?,
    };
    {
        let _held = held(&link.lock);
        link.greeting.set(greeting).ok();
    }
    link.changed.notify_all();
    Ok(FrameReader::new(from, seed))
}

fn call<R: BufRead>(
    link: &Link,
    from: &mut R,
    token: Option<&str>,
    wanted: Option<&str>,
) -> Result<(Greeting, u64), Broken> {
    let mark = secret()?;
    let (to, back) = seeds(&mark);
    let silent = link.silent.load(Ordering::Relaxed);
    let text = format!(": {NAME} {mark} {VERSION} {silent} {}\n", token.unwrap_or("-"));
    link.writer.plain(link, text.as_bytes(), to)?;
    skip(from, &format!("\n{mark} "))?;
    let answer = line(from)?;
    let words: Vec<&str> = answer.split(' ').collect();
    let (version, sum) = match words.as_slice() {
        ["refused", ..] => return Err(Broken::Refused(words[1..].join(" "))),
        [version, sum] => (*version, Some(*sum).filter(|sum| *sum != "-")),
        _ => return Err(Broken::Corrupt(format!("the agent answers {answer:?}"))),
    };
    if version != VERSION {
        return Err(Broken::Refused(format!("the agent there is of decamp {version}, this is decamp {VERSION}")));
    }
    if let (Some(wanted), Some(sum)) = (wanted, sum)
        && wanted != sum
    {
        return Err(Broken::Refused("the agent there is another file than the one that belongs to this decamp".into()));
    }
    Ok((Greeting { sum: sum.map(str::to_owned) }, back))
}

/// Reads until `mark` was read.
fn skip<R: BufRead>(from: &mut R, mark: &str) -> Result<(), Broken> {
    // The mark may stand at the very beginning, without a line before it.
    let mut seen = vec![b'\n'];
    loop {
        let mut byte = [0];
        if from.read(&mut byte)? == 0 {
            return Err(no_agent(&seen));
        }
        seen.push(byte[0]);
        if seen.ends_with(mark.as_bytes()) {
            return Ok(());
        }
        if seen.len() > NOISE {
            return Err(no_agent(&seen));
        }
    }
}

/// Something else answers, or nobody.
fn no_agent(seen: &[u8]) -> Broken {
    let text = String::from_utf8_lossy(&seen[1..]);
    let first: String = text.trim().chars().take(300).collect();
    if first.is_empty() { Broken::Cut } else { Broken::Refused(format!("no agent answers there, but: {first}")) }
}

fn line<R: BufRead>(from: &mut R) -> Result<String, Broken> {
    let mut bytes = Vec::new();
    from.by_ref().take(LINE).read_until(b'\n', &mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        return Err(if bytes.len() + 1 >= LINE as usize {
            Broken::Corrupt("the line of a greeting does not end".into())
        } else {
            Broken::Cut
        });
    }
    String::from_utf8(bytes).map_err(|_| Broken::Corrupt("a greeting is no text".into()))
}

fn answer<R: BufRead>(link: &Link, from: &mut R, far: &Far) -> Result<(Greeting, u64), Broken> {
    let call = line(from)?;
    let words: Vec<&str> = call.split(' ').collect();
    let [":", NAME, mark, version, silent, token] = words.as_slice() else {
        return Err(Broken::Corrupt("this is no call of decamp's".into()));
    };
    let (back, to) = seeds(mark);
    let refuse = |text: String| {
        // Whether it is heard or not, the link is over.
        link.writer.plain(link, format!("\n{mark} refused {text}\n").as_bytes(), to).ok();
        Err(Broken::Refused(text))
    };
    let silent = match silent.parse() {
        Ok(silent @ 1..=86_400_000) => silent,
        _ => return refuse(format!("{silent} is no time to be silent")),
    };
    link.silent.store(silent, Ordering::Relaxed);
    let joins = far.tokens.as_ref().map(|tokens| held(tokens).remove(*token));
    if joins == Some(false) || joins.is_none() && *token != "-" {
        return refuse("the token of a joined stream is not known".into());
    }
    let sum = far.sum.as_deref().unwrap_or("-");
    link.writer.plain(link, format!("\n{mark} {VERSION} {sum}\n").as_bytes(), to)?;
    if *version != VERSION {
        return Err(Broken::Refused(format!("decamp there is {version}, this is the agent of {VERSION}")));
    }
    Ok((Greeting { sum: None }, back))
}
