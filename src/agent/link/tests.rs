//! Both ends of a link in one process, over a pair of sockets.
#![allow(clippy::unwrap_used)]

use std::os::unix::net::UnixStream;
use std::time::Duration;

use proptest::prelude::*;

use super::super::client::Client;
use super::super::serve::testing;
use super::*;
use crate::wire::Broken;

fn quick(silent: u64) -> Options {
    Options { silent: Duration::from_millis(silent), ..Options::default() }
}

/// A client, and the thread of an agent it speaks to.
fn both() -> (Client, std::thread::JoinHandle<Result<(), Broken>>) {
    let (near, far) = UnixStream::pair().unwrap();
    let agent = std::thread::spawn(move || testing::serve(far));
    (connect(near, Options::default()).unwrap(), agent)
}

fn connect(near: UnixStream, mut options: Options) -> Result<Client, Broken> {
    let shut = near.try_clone().unwrap();
    options.shut = Some(Box::new(move || {
        shut.shutdown(std::net::Shutdown::Both).ok();
    }));
    Client::connect(Box::new(near.try_clone().unwrap()), Box::new(near), None, options)
}

#[test]
fn messages_of_all_sizes_come_back_and_end() {
    let (client, agent) = both();
    let mut line = client.open("echo", b"").unwrap();
    let sizes = [0, 1, 100, 16 << 10, (16 << 10) - 1, 70_000, 1 << 20, crate::wire::LARGEST, 3];
    let messages: Vec<Vec<u8>> = sizes.iter().map(|size| vec![*size as u8; *size]).collect();
    let sending = messages.clone();
    let mut outbox = line.outbox;
    let sender = std::thread::spawn(move || {
        for message in &sending {
            let (left, right) = message.split_at(message.len() / 2);
            outbox.send(&[left, right]).unwrap();
        }
        outbox.finish().unwrap();
    });
    let mut got = Vec::new();
    let mut message = vec![1, 2, 3];
    while line.inbox.receive(&mut message).unwrap() {
        got.push(message.clone());
    }
    assert!(got == messages);
    sender.join().unwrap();
    client.close().unwrap();
    agent.join().unwrap().unwrap();
}

#[test]
fn one_that_is_not_attended_to_blocks_no_other() {
    let (client, _agent) = both();
    let mut stalled = client.open("echo", b"").unwrap();
    // More than may be under way both ways: the sender is held up, and nobody takes the answers.
    let piece = vec![0; 1 << 20];
    let sender = std::thread::spawn(move || {
        let sent = (0..40).try_for_each(|_| stalled.outbox.send(&[&piece]));
        (stalled, sent)
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(!sender.is_finished());
    for _ in 0..100 {
        let mut other = client.open("echo", b"").unwrap();
        other.outbox.send(&[b"still there?"]).unwrap();
        other.outbox.finish().unwrap();
        let mut message = Vec::new();
        assert!(other.inbox.receive(&mut message).unwrap() && message == b"still there?");
        assert!(!other.inbox.receive(&mut message).unwrap());
    }
    drop(client);
    let (_, sent) = sender.join().unwrap();
    assert!(matches!(sent, Err(Broken::Cut)), "{sent:?}");
}

#[test]
fn a_failure_and_a_panic_over_there_are_told() {
    let (client, agent) = both();
    for (args, words) in [(&b"fail"[..], "out of ideas"), (b"panic", "a defect of decamp: at its wits' end")] {
        let mut line = client.open("fail", args).unwrap();
        let told = line.inbox.receive(&mut Vec::new()).unwrap_err();
        assert!(matches!(&told, Broken::Refused(text) if text.contains(words)), "{told}");
        let told = (0..).find_map(|_| line.outbox.send(&[&[0; 100_000]]).err()).unwrap();
        assert!(matches!(&told, Broken::Refused(text) if text.contains(words)), "{told}");
    }
    let mut line = client.open("no such thing", b"").unwrap();
    let told = line.inbox.receive(&mut Vec::new()).unwrap_err();
    assert!(matches!(&told, Broken::Refused(text) if text.contains("`no such thing`")), "{told}");
    client.close().unwrap();
    agent.join().unwrap().unwrap();
}

#[test]
fn what_is_dropped_before_its_end_is_no_end() {
    let (client, _agent) = both();
    let mut line = client.open("count", b"").unwrap();
    line.outbox.send(&[b"one"]).unwrap();
    line.outbox.flush().unwrap();
    drop(line.outbox);
    let told = line.inbox.receive(&mut Vec::new()).unwrap_err();
    assert!(matches!(&told, Broken::Refused(text) if text.contains("cut")), "{told}");
}

#[test]
fn lines_of_one_conversation_come_together() {
    let (client, _agent) = both();
    let lines = client.open_many("together", b"", 3).unwrap();
    for (at, mut line) in lines.into_iter().enumerate() {
        let mut message = Vec::new();
        assert!(line.inbox.receive(&mut message).unwrap());
        assert_eq!(message, [at as u8, 3]);
    }
}

#[test]
fn a_link_that_is_cut_says_so_to_everybody() {
    let (near, far) = UnixStream::pair().unwrap();
    let cutter = far.try_clone().unwrap();
    std::thread::spawn(move || testing::serve(far));
    let client = connect(near, Options::default()).unwrap();
    let (mut one, mut two) = (client.open("echo", b"").unwrap(), client.open("echo", b"").unwrap());
    let waiting = std::thread::spawn(move || one.inbox.receive(&mut Vec::new()));
    two.outbox.send(&[b"x"]).unwrap();
    cutter.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(matches!(waiting.join().unwrap(), Err(Broken::Cut)));
    assert!(matches!(two.inbox.receive(&mut Vec::new()), Err(Broken::Cut)));
    assert!(matches!(two.outbox.finish(), Err(Broken::Cut)));
    assert!(matches!(client.close(), Err(Broken::Cut)));
}

#[test]
fn silence_is_noticed_and_idleness_is_none() {
    let (near, far) = UnixStream::pair().unwrap();
    std::thread::spawn(move || testing::serve(far));
    let client = connect(near, quick(2_000)).unwrap();
    std::thread::sleep(Duration::from_millis(5_000));
    client.files().stat(b"/").unwrap();
    client.close().unwrap();
    // One that answers, and then says nothing.
    let (near, mut far) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        answer(&mut far, VERSION, "-");
        std::thread::sleep(Duration::from_secs(60));
    });
    let client = connect(near, quick(2_000)).unwrap();
    let told = client.files().stat(b"/").unwrap_err();
    assert!(told.to_string().contains("nothing was heard"), "{told}");
    // One that does not even answer.
    let (near, _far) = UnixStream::pair().unwrap();
    assert!(matches!(connect(near, quick(2_000)).err(), Some(Broken::Silent(_))));
}

use super::super::VERSION;

/// Reads a call, and answers it.
fn answer(far: &mut UnixStream, version: &str, sum: &str) {
    let mut call = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(far.try_clone().unwrap()), &mut call).unwrap();
    let mark = call.split(' ').nth(2).unwrap();
    write!(far, "motd: welcome to {version}\n\n{mark} {version} {sum}\n").unwrap();
}

#[test]
fn another_version_or_file_is_refused_by_name() {
    for (version, sum, words) in [("0.0.1", "-", "decamp 0.0.1"), (VERSION, "beef", "another file")] {
        let (near, mut far) = UnixStream::pair().unwrap();
        std::thread::spawn(move || answer(&mut far, version, sum));
        let near = Client::connect(
            Box::new(near.try_clone().unwrap()),
            Box::new(near),
            Some("cafe".into()),
            Options::default(),
        );
        assert!(matches!(near.as_ref().err(), Some(Broken::Refused(text)) if text.contains(words)), "{:?}", near.err());
    }
    let (mut near, far) = UnixStream::pair().unwrap();
    let agent = std::thread::spawn(move || testing::serve(far));
    near.write_all(b": decamp-agent abc 0.0.1 1000 -\n").unwrap();
    assert!(matches!(agent.join().unwrap(), Err(Broken::Refused(text)) if text.contains("0.0.1")));
}

#[test]
fn what_is_no_agent_is_quoted() {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"sh: 1: decamp-agent: Exec format error\n").unwrap();
    drop(far);
    let told = connect(near, Options::default()).err().unwrap();
    assert!(told.to_string().contains("Exec format error"), "{told}");
}

/// What a near side sends: the call, a conversation, messages, an end.
fn spoken() -> Vec<u8> {
    let (near, far) = UnixStream::pair().unwrap();
    let recorder = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        Read::read_to_end(&mut &far, &mut bytes).unwrap();
        bytes
    });
    let role = Role::Near { token: None, sum: None };
    let link = Link::start(
        Box::new(near.try_clone().unwrap()),
        Box::new(near.try_clone().unwrap()),
        role,
        quick(60_000),
        None,
    );
    while link.writer.seed() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut line = link.open(&testing::opening("count")).unwrap();
    for size in [3, 40_000, 0, 20_000] {
        line.outbox.send(&[&vec![1; size]]).unwrap();
    }
    line.outbox.finish().unwrap();
    link.close().unwrap();
    near.shutdown(std::net::Shutdown::Both).unwrap();
    recorder.join().unwrap()
}

/// How an agent ends that is told these bytes, and how many messages it counted to the end of a conversation.
fn told(bytes: &[u8]) -> (Result<(), Broken>, Option<u64>) {
    let (mut near, far) = UnixStream::pair().unwrap();
    let counted = Arc::new(Mutex::new(None));
    let count = Arc::clone(&counted);
    let agent = std::thread::spawn(move || testing::serve_counting(far, &count));
    let mut draining = near.try_clone().unwrap();
    std::thread::spawn(move || std::io::copy(&mut draining, &mut std::io::sink()));
    near.write_all(bytes).ok();
    near.shutdown(std::net::Shutdown::Write).ok();
    let ended = agent.join().unwrap();
    let count = *counted.lock().unwrap();
    (ended, count)
}

#[test]
fn a_whole_conversation_is_counted() {
    let (ended, count) = told(&spoken());
    ended.unwrap();
    assert_eq!(count, Some(4));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn no_cut_is_an_end(at: prop::sample::Index) {
        let bytes = spoken();
        let (ended, count) = told(&bytes[..at.index(bytes.len())]);
        prop_assert!(matches!(ended, Err(Broken::Cut)), "{ended:?}");
        // All but the last frame may have come; a conversation that counts was whole.
        prop_assert!(count.is_none_or(|count| count == 4));
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed(bit: prop::sample::Index) {
        let mut bytes = spoken();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (ended, count) = told(&bytes);
        prop_assert!(ended.is_err() && count.is_none_or(|count| count == 4), "{ended:?} {count:?}");
    }

    #[test]
    fn any_bytes_are_no_conversation(noise in prop::collection::vec(any::<u8>(), 0..3000), greeted: bool) {
        let mut bytes = if greeted { spoken()[..=spoken().iter().position(|byte| *byte == b'\n').unwrap()].to_vec() } else { Vec::new() };
        bytes.extend(noise);
        let (ended, count) = told(&bytes);
        prop_assert!(ended.is_err() && count.is_none(), "{ended:?}");
    }
}

/// Frames that are whole and come in order, and say what cannot be.
#[test]
fn a_peer_that_lies_is_refused() {
    use super::super::frame::FrameWriter;
    type Lie = (Kind, u32, Vec<u8>);
    let open = || (Kind::Open, 1, testing::opening("count"));
    let number = |value: u64| {
        let mut put = crate::wire::Put::default();
        put.number(value);
        put.0
    };
    let lies: Vec<(&str, Vec<Lie>)> = vec![
        ("unknown", vec![(Kind::One, 1, vec![1])]),
        ("twice", vec![open(), open()]),
        ("link as conversation", vec![(Kind::One, 0, vec![1])]),
        ("granted too much", vec![open(), (Kind::Grant, 1, number(1 << 40))]),
        ("no number", vec![open(), (Kind::Grant, 1, vec![])]),
        (
            "another total",
            vec![open(), (Kind::One, 1, vec![1]), (Kind::End, 1, [number(2), number(1), number(2)].concat())],
        ),
        (
            "after the end",
            vec![open(), (Kind::End, 1, [number(0), number(0), number(0)].concat()), (Kind::One, 1, vec![1])],
        ),
        (
            "fewer messages",
            vec![open(), (Kind::One, 1, vec![1]), (Kind::End, 1, [number(1), number(1), number(2)].concat())],
        ),
        ("message longer than its frame", vec![open(), (Kind::Many, 1, vec![200, 1, 0])]),
        ("never opened", vec![(Kind::End, 7, vec![0, 0, 0])]),
        ("a bye that counts wrong", vec![(Kind::Bye, 0, [number(9), number(9)].concat())]),
    ];
    for (name, frames) in lies {
        let (near, far) = UnixStream::pair().unwrap();
        let agent = std::thread::spawn(move || testing::serve(far));
        let mut draining = near.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let mut said = Vec::new();
            Read::read_to_end(&mut draining, &mut said).ok();
            said
        });
        let mark = "00112233445566778899aabbccddeeff";
        let (seed, _) = greet::seeds(mark);
        let mut writer = FrameWriter::new(Box::new(near.try_clone().unwrap()));
        writer.plain(format!(": decamp-agent {mark} {VERSION} 60000 -\n").as_bytes()).unwrap();
        writer.seed(seed);
        for (kind, channel, body) in &frames {
            writer.write(&[Frame { kind: *kind, channel: *channel, parts: &[body], sum: sum(seed, &[body]) }]).ok();
        }
        let ended = agent.join().unwrap();
        assert!(matches!(ended, Err(Broken::Corrupt(_))), "{name}: {ended:?}");
        near.shutdown(std::net::Shutdown::Both).ok();
        assert!(!reader.join().unwrap().is_empty());
    }
}

#[test]
fn more_than_was_granted_is_refused() {
    use super::super::frame::FrameWriter;
    let (near, far) = UnixStream::pair().unwrap();
    let agent = std::thread::spawn(move || testing::serve(far));
    let mut draining = near.try_clone().unwrap();
    std::thread::spawn(move || std::io::copy(&mut draining, &mut std::io::sink()));
    let mark = "00112233445566778899aabbccddeeff";
    let (seed, _) = greet::seeds(mark);
    let mut writer = FrameWriter::new(Box::new(near));
    writer.plain(format!(": decamp-agent {mark} {VERSION} 60000 -\n").as_bytes()).unwrap();
    writer.seed(seed);
    let mut write =
        |kind, body: &[u8]| writer.write(&[Frame { kind, channel: 1, parts: &[body], sum: sum(seed, &[body]) }]);
    write(Kind::Open, &testing::opening("stall")).unwrap();
    let body = vec![0; 1 << 20];
    let sent = (0..200).try_for_each(|_| write(Kind::One, &body));
    assert!(sent.is_err());
    assert!(matches!(agent.join().unwrap(), Err(Broken::Corrupt(text)) if text.contains("granted")));
}

/// Not a test of how fast it is: it says so, and that nothing is lost at speed.
#[test]
fn many_bytes_go_through() {
    let (client, _agent) = both();
    let began = Instant::now();
    let mut line = client.open("count", b"").unwrap();
    let piece = vec![5; 1 << 20];
    for _ in 0..200 {
        line.outbox.send(&[&piece]).unwrap();
    }
    for _ in 0..100_000 {
        line.outbox.send(&[&piece[..200]]).unwrap();
    }
    line.outbox.finish().unwrap();
    let mut message = Vec::new();
    assert!(line.inbox.receive(&mut message).unwrap());
    assert_eq!(message, 100_200u64.to_le_bytes());
    let speed = 220.0 / began.elapsed().as_secs_f64();
    Write::write_all(&mut std::io::stderr(), format!("frames over a socket pair: {speed:.0} MB/s\n").as_bytes()).ok();
}
