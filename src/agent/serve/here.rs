//! The far side within this process: this machine answers the same questions, by the same code, as every other.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use super::Context;
use super::own::Own;
use crate::agent::{Client, Options};
use crate::cancel::Cancel;
use crate::wire::Broken;

/// A client of this process itself. It ends with the client.
///
/// # Errors
/// [`Broken::Io`] if the kernel gives no pair of sockets.
pub fn here(cancel: &Cancel) -> Result<Client, Broken> {
    let (near, far) = UnixStream::pair()?;
    let (from, to, shut) = (far.try_clone()?, far, near.try_clone()?);
    std::thread::spawn(move || {
        let context = Context::new(Own::none());
        // The client has heard why, or was what ended it.
        context.stream(Box::new(from), Box::new(to), None).ok();
        context.end();
    });
    let shut = Box::new(move || {
        // One that is closed already is what is wanted.
        shut.shutdown(Shutdown::Both).ok();
    });
    let options = Options { cancel: cancel.clone(), shut: Some(shut), ..Options::default() };
    Client::connect(Box::new(near.try_clone()?), Box::new(near), None, options)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::agent::WriteOptions;

    #[test]
    fn this_machine_answers_like_any_other() {
        let client = here(&Cancel::new()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let path = path.as_os_str().as_encoded_bytes();
        let stat = client.files().write(path, &mut &b"content"[..], &WriteOptions::default()).unwrap();
        assert_eq!((stat.size, client.files().stat(path).unwrap()), (7, stat));
        assert!(client.files().stat(b"relative").is_err());
        client.close().unwrap();
    }
}
