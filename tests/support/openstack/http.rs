//! As much of an HTTP server as the clients of a cloud need: JSON in, JSON out, connections that stay open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::Value;

/// What a client asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the question mark and what follows it.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    /// Names in small letters.
    headers: Vec<(String, String)>,
    /// `null` if there was none.
    pub(crate) body: Value,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn asked(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The parts of the path.
    pub(crate) fn parts(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }
}

/// What it is told. Status 0 stands for a connection that is cut without an answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn new(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub(crate) fn ok(body: Value) -> Self {
        Self::new(200, body)
    }

    /// An error in the form all services use.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        let name = match status {
            400 => "badRequest",
            401 => "unauthorized",
            403 => "forbidden",
            404 => "itemNotFound",
            409 => "conflictingRequest",
            413 => "overLimit",
            _ => "computeFault",
        };
        Self::new(status, serde_json::json!({ name: { "code": status, "message": message } }))
    }
}

type Handler = dyn Fn(Request) -> Answer + Send + Sync;

/// A server on a port of its own on the loopback address; gone when it is dropped.
pub(crate) struct Server {
    at: SocketAddr,
    ends: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (ends, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let seen = (Arc::clone(&ends), Arc::clone(&open));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if seen.0.load(Ordering::Relaxed) {
                    return;
                }
                let mut kept = seen.1.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(stream.try_clone());
                drop(kept);
                let handler = Arc::clone(&handler);
                // A client that goes away in the middle is no failure of the server.
                thread::spawn(move || serve(stream, &*handler).ok());
            }
        });
        Self { at, ends, open, accepting: Some(accepting) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.at.port()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the accepting thread.
        TcpStream::connect(self.at).ok();
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok();
        }
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

fn serve(stream: TcpStream, handler: &Handler) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        let answer = handler(request);
        if answer.status == 0 {
            return writer.shutdown(Shutdown::Both);
        }
        write(&mut writer, &answer)?;
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(std::io::Error::other(format!("no request: {line}")));
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value.as_str());
    let mut body = vec![0; length.parse().map_err(std::io::Error::other)?];
    reader.read_exact(&mut body)?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (plain(k), plain(v))).collect();
    Ok(Some(Request { method, path: plain(path), query, headers, body }))
}

/// Undoes `%41` and `+`.
fn plain(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let code = (*first == b'%').then(|| std::str::from_utf8(more.get(..2)?).ok()).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn write(writer: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
    let body = if answer.body.is_null() { String::new() } else { answer.body.to_string() };
    let mut text = format!("HTTP/1.1 {} Said\r\n", answer.status);
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    writer.write_all(text.as_bytes())
}
