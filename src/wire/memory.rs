//! Both ends of a line within one process.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Broken, Inbox, LARGEST, Line, Outbox};

/// `None` is the end of messages.
type Message = Option<Vec<u8>>;

/// Two ends that speak to each other; each direction holds `depth` messages before it blocks.
#[must_use]
pub fn pair(depth: usize) -> (Line, Line) {
    let (to_right, from_left) = sync_channel(depth);
    let (to_left, from_right) = sync_channel(depth);
    let line = |sender, receiver| Line { outbox: Box::new(Sending(sender)), inbox: Box::new(Receiving(receiver)) };
    (line(to_right, from_right), line(to_left, from_left))
}

struct Sending(SyncSender<Message>);

struct Receiving(Receiver<Message>);

impl Outbox for Sending {
    fn send(&mut self, parts: &[&[u8]]) -> Result<(), Broken> {
        let message = parts.concat();
        if message.len() > LARGEST {
            return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput).into());
        }
        self.0.send(Some(message)).map_err(|_| Broken::Cut)
    }

    fn flush(&mut self) -> Result<(), Broken> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Broken> {
        self.0.send(None).map_err(|_| Broken::Cut)
    }
}

impl Inbox for Receiving {
    fn receive(&mut self, into: &mut Vec<u8>) -> Result<bool, Broken> {
        into.clear();
        match self.0.recv() {
            Ok(Some(message)) => {
                *into = message;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(_) => Err(Broken::Cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_end() {
        let (mut left, mut right) = pair(4);
        left.outbox.send(&[b"one", b"", b"two"]).expect("there is room");
        left.outbox.send(&[]).expect("there is room");
        left.outbox.finish().expect("there is room");
        let mut message = vec![9];
        assert!(right.inbox.receive(&mut message).expect("one came") && message == b"onetwo");
        assert!(right.inbox.receive(&mut message).expect("one came") && message.is_empty());
        assert!(!right.inbox.receive(&mut message).expect("the end came"));
    }

    #[test]
    fn a_line_that_is_cut_is_no_end() {
        let (mut left, mut right) = pair(4);
        left.outbox.send(&[b"one"]).expect("there is room");
        drop(left);
        let mut message = Vec::new();
        assert!(right.inbox.receive(&mut message).expect("one came"));
        assert!(matches!(right.inbox.receive(&mut message), Err(Broken::Cut)));
        assert!(matches!(right.outbox.send(&[b"two"]), Err(Broken::Cut)));
    }

    #[test]
    fn what_is_too_large_is_not_sent() {
        let (mut left, _right) = pair(1);
        assert!(matches!(left.outbox.send(&[&vec![0; LARGEST], b"x"]), Err(Broken::Io(_))));
    }
}
