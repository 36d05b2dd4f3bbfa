//! Putting a program of ours on the far side: sent, checked, started as often as needed, and gone when this side is.
//!
//! The directory it lies in is found by running a small script there, which tells more than the options of a mount. The
//! session that received it stays open and removes it at its end, so that nothing stays behind when the connection is
//! lost or this process dies.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::quote::{NEWLINE, word};
use super::run::{Held, Input, Task};
use super::session::Channel;
use super::{Error, Host, Sudo};
use crate::cancel::Cancel;

/// Where a program may lie.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// In this directory and nowhere else.
    pub dir: Option<String>,
    /// In memory alone, by way of python or perl, where no directory lets programs run.
    pub memory: bool,
}

/// A program on the far side, removed when this is dropped.
#[derive(Debug)]
pub struct Placed {
    host: Arc<Host>,
    sudo: Option<Sudo>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A file.
    File { path: String, _held: Held },
    /// Sent anew to each process.
    Memory { bytes: Arc<[u8]>, by: String },
}

/// SHA-256 of the agent, in hexadecimal digits.
pub(super) fn digest() -> String {
    Sha256::digest(crate::AGENT).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What far-side machines that this program was built for say to `uname -sm`.
fn machines() -> [String; 2] {
    let names = match std::env::consts::ARCH {
        "aarch64" => ["aarch64", "arm64"],
        "x86_64" => ["x86_64", "amd64"],
        other => [other, other],
    };
    names.map(|name| format!("Linux {name}"))
}

impl Host {
    /// What kind of machine it is: `Linux x86_64`.
    ///
    /// # Errors
    /// As [`Host::exec`].
    pub fn machine(&self, sudo: Option<&Sudo>, cancel: &Cancel) -> Result<String, Error> {
        let (_, ended) = self.small("uname", "uname -sm; c=0; ", sudo, cancel)?;
        Ok(String::from_utf8_lossy(&ended.stdout).trim().to_owned())
    }

    /// Sends the agent.
    ///
    /// # Errors
    /// As [`Host::place`].
    pub fn place_agent(self: &Arc<Self>, place: &Place, sudo: Option<&Sudo>, cancel: &Cancel) -> Result<Placed, Error> {
        self.place(crate::AGENT, &digest(), place, sudo, cancel)
    }

    /// Sends the program `bytes` and makes it ready to be started; `digest` is its SHA-256 in hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::OtherMachine`], [`Error::NoPlace`], [`Error::NoSpace`], [`Error::Damaged`]; as [`Host::exec`].
    pub fn place(
        self: &Arc<Self>,
        bytes: &[u8],
        digest: &str,
        place: &Place,
        sudo: Option<&Sudo>,
        cancel: &Cancel,
    ) -> Result<Placed, Error> {
        let placed = |kind| Placed { host: Arc::clone(self), sudo: sudo.cloned(), kind };
        if place.memory {
            let machine = self.machine(sudo, cancel)?;
            if !machines().contains(&machine) {
                return Err(Error::OtherMachine { host: self.name(), machine });
            }
            return Ok(placed(Kind::Memory { bytes: bytes.into(), by: self.memory(sudo, cancel)? }));
        }
        let nonce = uuid::Uuid::now_v7().simple().to_string();
        let task = Task {
            code: stage(bytes.len(), digest, place, &nonce)?,
            input: Input::Raw(bytes),
            timeout: None,
            sudo,
            name: "sending a program",
            after: Some("cd /; [ -z \"$x\" ] || rm -rf \"$x\"; ".into()),
        };
        let (how, ended, mut held) = self.task(&task, cancel)?;
        held.keep();
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        let out = String::from_utf8_lossy(&ended.stdout).trim_end_matches('\n').to_owned();
        let host = self.name();
        match how.as_str() {
            "placed" => Ok(placed(Kind::File { path: out, _held: held })),
            "machine" => Err(Error::OtherMachine { host, machine: out }),
            "noexec" => Err(Error::NoPlace { host, dir: place.dir.clone() }),
            "full" => Err(Error::NoSpace { host, said }),
            "short" | "damaged" => Err(Error::Damaged { host }),
            _ => Err(self.failed("send a program", &ended)),
        }
    }

    /// What can start a program from memory there.
    fn memory(&self, sudo: Option<&Sudo>, cancel: &Cancel) -> Result<String, Error> {
        let code = "for c in python3 python perl none; do command -v $c >/dev/null 2>&1 && break; done; ";
        match self.small("look for python or perl", code, sudo, cancel)?.0.as_str() {
            "none" => Err(Error::NoProgram { host: self.name(), program: "python3".into() }),
            by => Ok(by.to_owned()),
        }
    }
}

/// Receives so many bytes; leaves `x`, the directory, and says the path of the program. Nothing is touched on a machine
/// that cannot run it: it is said what that is. One script for all, as each session costs a way to the far side and more.
fn stage(length: usize, digest: &str, place: &Place, nonce: &str) -> Result<String, Error> {
    let candidates = match &place.dir {
        Some(dir) => word(dir)?,
        None => "\"$XDG_RUNTIME_DIR\" /dev/shm \"$HOME/.cache\" /var/tmp /tmp \"$HOME\"".to_owned(),
    };
    let machines = machines().map(|machine| format!("\"{machine}\"")).join("|");
    Ok(format!(
        "umask 077; x=; m=$(uname -sm); case $m in {machines}) \
         for d in {candidates}; do [ -n \"$d\" ] && [ -d \"$d\" ] || continue; t=$d/.decamp-{nonce}; \
         mkdir \"$t\" 2>/dev/null || continue; \
         if printf \"#!/bin/sh\\necho ok\\n\" >\"$t/probe\" && chmod 700 \"$t/probe\" && [ \"$(\"$t/probe\" 2>/dev/null)\" = ok ]; \
         then rm -f \"$t/probe\"; x=$t; break; fi; rm -rf \"$t\"; done; \
         if [ -z \"$x\" ]; then c=noexec; elif ! head -c {length} >\"$x/decamp-agent\"; then c=full; \
         elif [ \"$(wc -c <\"$x/decamp-agent\")\" -ne {length} ]; then c=short; else \
         s=$(sha256sum <\"$x/decamp-agent\" 2>/dev/null || shasum -a 256 <\"$x/decamp-agent\" 2>/dev/null \
         || openssl dgst -sha256 -r <\"$x/decamp-agent\"); \
         if [ \"${{s%% *}}\" != {digest} ]; then c=damaged; else chmod 700 \"$x/decamp-agent\" && c=placed; \
         printf \"%s\\n\" \"$x/decamp-agent\"; fi; fi ;; *) c=machine; printf \"%s\\n\" \"$m\" ;; esac; [ \"$c\" = placed ] || {{ [ -z \"$x\" ] || rm -rf \"$x\"; }}; "
    ))
}

/// Python that reads so many bytes into a file in memory, and becomes it.
fn python(length: usize) -> String {
    format!(
        "import os,sys;f=os.memfd_create('decamp-agent');n={length}\n\
         while n:\n b=os.read(0,min(n,65536))\n if not b: sys.exit(1)\n n-=len(b)\n \
         while b: b=b[os.write(f,b):]\n\
         os.execv('/proc/self/fd/%d'%f,['decamp-agent']+sys.argv[1:])"
    )
}

/// The same in Perl; 319 and 279 are the numbers of memfd_create on the machines this can be sent to.
fn perl(length: usize) -> String {
    let call = if cfg!(target_arch = "x86_64") { 319 } else { 279 };
    format!(
        "$^F=255; my $n='decamp-agent'; my $f=syscall({call},$n,0); exit 1 if $f<0; open(my $o,'>&=',$f) or exit 1; my $l={length}; \
         while($l>0){{my $g=sysread(STDIN,my $b,$l<65536?$l:65536) or exit 1; $l-=$g; my $w=0; \
         while($w<$g){{my $k=syswrite($o,$b,$g-$w,$w) or exit 1; $w+=$k}}}} \
         exec {{\"/proc/self/fd/$f\"}} $n,@ARGV; exit 1"
    )
}

impl Placed {
    /// Where it lies; none in memory.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match &self.kind {
            Kind::File { path, .. } => Some(path),
            Kind::Memory { .. } => None,
        }
    }

    /// Starts it with these arguments, and gives its pipes: as often as sessions may be open.
    ///
    /// # Errors
    /// As [`Host::stream`].
    pub fn start(&self, args: &[&str], cancel: &Cancel) -> Result<Channel, Error> {
        let words = args.iter().map(|arg| word(arg)).collect::<Result<Vec<_>, _>>()?.join(" ");
        let (code, bytes) = match &self.kind {
            Kind::File { path, .. } => (format!("{NEWLINE}exec {} {words}", word(path)?), None),
            Kind::Memory { bytes, by } => {
                let (flag, program) =
                    if by == "perl" { ("-e", perl(bytes.len())) } else { ("-c", python(bytes.len())) };
                (format!("{NEWLINE}exec {by} {flag} {} {words}", word(&program)?), Some(bytes))
            }
        };
        let mut channel = self.host.stream_code("decamp-agent", &code, self.sudo.as_ref(), cancel)?;
        if let (Some(bytes), Some(stdin)) = (bytes, channel.stdin.as_mut()) {
            let path = std::path::PathBuf::from("decamp-agent");
            std::io::Write::write_all(stdin, bytes).map_err(|source| Error::Io { op: "send", path, source })?;
        }
        Ok(channel)
    }
}
