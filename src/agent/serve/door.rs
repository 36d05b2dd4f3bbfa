//! The door: more streams into one process. Another process that was started with them, `decamp-agent join`, hands its
//! standard input and output over a socket and waits; nothing is relayed.

use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use super::command::stream;
use super::{Context, held};
use crate::agent::link::secret;
use crate::agent::machine::Wire;
use crate::wire::{Broken, Line, Put, Take};

/// No more streams than this.
const MOST: u64 = 64;

/// Opens the door if it is not open, and gives out tokens for as many streams as are asked for.
pub(super) fn serve(context: &Context, args: &[u8], mut lines: Vec<Line>) -> Result<(), Broken> {
    let mut take = Take(args);
    let count = take.number()?;
    take.end()?;
    if count > MOST {
        return Err(Broken::Refused(format!("{count} streams are more than {MOST}")));
    }
    let socket = context.open_door()?;
    let tokens = (0..count).map(|_| secret()).collect::<Result<Vec<String>, Broken>>()?;
    held(&context.tokens).extend(tokens.iter().cloned());
    let mut put = Put::default();
    put.bytes(&socket);
    tokens.put(&mut put);
    for line in &mut lines {
        line.outbox.send(&[&put.0])?;
        line.outbox.finish()?;
    }
    Ok(())
}

impl Context {
    fn open_door(&self) -> Result<Vec<u8>, Broken> {
        let mut own = held(&self.own);
        if let Some(open) = &own.door {
            return Ok(open.clone());
        }
        let path = own.socket().ok_or_else(|| {
            Broken::Refused("the agent finds no directory of its own for a socket; one stream must do".into())
        })?;
        let listener = UnixListener::bind(&path)?;
        let path = path.as_os_str().as_bytes().to_vec();
        own.door = Some(path.clone());
        let context = self.me.upgrade().ok_or(Broken::Cut)?;
        std::thread::spawn(move || {
            for guest in listener.incoming().flatten() {
                let context = Arc::clone(&context);
                std::thread::spawn(move || {
                    // Whoever is not let in notices that the socket is closed.
                    context.let_in(&guest).ok();
                });
            }
        });
        Ok(path)
    }

    /// Serves a stream until it is over. The other process waits as long as its socket is open.
    fn let_in(self: &Arc<Self>, guest: &UnixStream) -> Result<(), Broken> {
        let peer = rustix::net::sockopt::socket_peercred(guest).map_err(std::io::Error::from)?;
        if peer.uid != rustix::process::geteuid() && !peer.uid.is_root() {
            return Err(Broken::Refused("a stream of another user".into()));
        }
        guest.set_read_timeout(Some(Duration::from_secs(10)))?;
        let [from, to] = receive(guest)?;
        self.stream(Box::new(stream(from.as_fd())?), Box::new(stream(to.as_fd())?), Some(Arc::clone(&self.tokens)))
    }
}

fn receive(guest: &UnixStream) -> Result<[OwnedFd; 2], Broken> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(guest, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(std::io::Error::from)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            fds.extend(some);
        }
    }
    <[OwnedFd; 2]>::try_from(fds).map_err(|fds| Broken::Corrupt(format!("{} streams came, not two", fds.len())))
}

/// Hands this process's standard input and output to the agent behind `socket`, and waits until it is done with them.
///
/// # Errors
/// [`Broken::Io`] if there is none, or it does not take them.
pub(super) fn join(socket: &Path) -> Result<(), Broken> {
    let mut agent = UnixStream::connect(socket)?;
    {
        let (from, to) = (std::io::stdin(), std::io::stdout());
        let fds = [from.as_fd(), to.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(std::io::Error::other("two descriptors do not fit into a message").into());
        }
        rustix::net::sendmsg(&agent, &[IoSlice::new(b"j")], &mut control, SendFlags::NOSIGNAL)
            .map_err(std::io::Error::from)?;
    }
    // Held on to here, they would not end when the agent closes them.
    rustix::stdio::dup2_stdin(&agent).map_err(std::io::Error::from)?;
    rustix::stdio::dup2_stdout(&agent).map_err(std::io::Error::from)?;
    let mut nothing = [0];
    while agent.read(&mut nothing)? > 0 {}
    Ok(())
}
