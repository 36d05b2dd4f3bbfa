//! A long link: a proxy in front of a server, behind which everything is one round trip away and shares one rate.
//!
//! What is read at one end is sent through the link at its rate, after everything that came before it from any connection of
//! the same direction, and arrives half a round trip later. The link queues 40 ms, and a connection has at most a
//! round trip and 40 ms of bytes under way: whoever writes more waits. A connection takes a round trip to be made. Loss, and
//! the slow start of TCP, are not imitated.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How much the link holds back before it takes no more.
const QUEUED: Duration = Duration::from_millis(40);

/// Bytes a second of the link that benchmarks measure over: 1 Gbit/s.
pub(crate) const GIGABIT: u64 = 125_000_000;

const CHUNK: usize = 32 << 10;

/// The proxy; takes no more connections when dropped.
#[derive(Debug)]
pub(crate) struct Delay {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Delay {
    /// A link to `server` with the time of a round trip, and a rate in bytes a second for each direction.
    pub(crate) fn to(server: SocketAddr, round_trip: Duration, rate: u64) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, ended) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let [up, down] = [(); 2].map(|()| Arc::new(Link { round_trip, rate, free: Mutex::new(Instant::now()) }));
        let stop = Arc::clone(&ended);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (up, down) = (Arc::clone(&up), Arc::clone(&down));
                thread::spawn(move || {
                    thread::sleep(round_trip);
                    if let Ok(server) = TcpStream::connect(server) {
                        join(&client, &server, up).and_then(|()| join(&server, &client, down)).ok();
                    }
                });
            }
        });
        Ok(Self { address, ended })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes up who waits for the next connection.
        TcpStream::connect(self.address).ok();
    }
}

/// One direction.
#[derive(Debug)]
struct Link {
    round_trip: Duration,
    rate: u64,
    /// When all is sent that was taken.
    free: Mutex<Instant>,
}

impl Link {
    fn time(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.rate)
    }

    /// Takes bytes; when they arrive.
    fn take(&self, bytes: usize) -> Instant {
        let mut free = self.free.lock().unwrap();
        let now = Instant::now();
        *free = (*free).max(now) + self.time(bytes);
        let sent = *free;
        drop(free);
        thread::sleep(sent.saturating_duration_since(now).saturating_sub(QUEUED));
        sent + self.round_trip / 2
    }
}

/// What one connection has under way in one direction.
#[derive(Default)]
struct Way {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// The end that arrives cannot be written to.
    broken: bool,
}

/// Carries everything from one stream to the other, to its end.
fn join(from: &TcpStream, to: &TcpStream, link: Arc<Link>) -> io::Result<()> {
    let (source, mut from, mut to) = (from.try_clone()?, from.try_clone()?, to.try_clone()?);
    to.set_nodelay(true)?;
    let window = link.rate as usize / 1000 * (link.round_trip + QUEUED).as_millis() as usize;
    let ways = Arc::new((Mutex::new(Way::default()), Condvar::new()));
    let taken = Arc::clone(&ways);
    thread::spawn(move || {
        let (way, changed) = &*taken;
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            let due = link.take(read);
            let mut way = changed.wait_while(way.lock().unwrap(), |way| way.bytes > window && !way.broken).unwrap();
            way.bytes += read;
            // An empty one is the end.
            way.chunks.push_back((due, buffer[..read].to_vec()));
            changed.notify_all();
            if read == 0 || way.broken {
                return;
            }
        }
    });
    thread::spawn(move || {
        let (way, changed) = &*ways;
        loop {
            let mut next = changed.wait_while(way.lock().unwrap(), |way| way.chunks.is_empty()).unwrap();
            let (due, chunk) = next.chunks.pop_front().unwrap();
            drop(next);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let written = to.write_all(&chunk);
            let mut way = way.lock().unwrap();
            way.bytes -= chunk.len();
            way.broken = written.is_err();
            changed.notify_all();
            if chunk.is_empty() || way.broken {
                to.shutdown(Shutdown::Write).ok();
                source.shutdown(Shutdown::Read).ok();
                return;
            }
        }
    });
    Ok(())
}
