//! Two ends and what is between them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use decamp::cancel::Cancel;
use decamp::copy::far::{Source, serve};
use decamp::copy::options::Options;
use decamp::copy::report::Report;
use decamp::copy::{Error, Work, tree_from};
use decamp::progress::{Checkpoint, Forgetful, Progress, Silent};
use decamp::wire::{Broken, Inbox, Line, Outbox, pair};

/// What goes over the lines of one pass, and when they break.
#[derive(Default)]
pub(super) struct Between {
    pub lines: usize,
    /// So many messages may still go, either way; below zero all of them.
    pub credit: Option<Arc<AtomicI64>>,
    pub messages: Arc<AtomicU64>,
    pub bytes: Arc<AtomicU64>,
}

impl Between {
    pub(super) fn lines(lines: usize) -> Self {
        Self { lines, ..Self::default() }
    }

    pub(super) fn cut_after(messages: i64) -> Self {
        Self { lines: 1, credit: Some(Arc::new(AtomicI64::new(messages))), ..Self::default() }
    }

    fn line(&self, line: Line) -> Line {
        let (credit, messages, bytes) = (self.credit.clone(), self.messages.clone(), self.bytes.clone());
        let watched = Watched { inner: Some(line.outbox), credit, messages, bytes };
        Line { outbox: Box::new(watched), inbox: line.inbox }
    }

    pub(super) fn copy(
        &self,
        src: &Path,
        dst: &Path,
        options: &Options,
        checkpoint: &dyn Checkpoint,
        progress: &dyn Progress,
    ) -> Result<Report, Error> {
        let cancel = Cancel::new();
        let (near, far): (Vec<_>, Vec<_>) =
            (0..self.lines.max(1)).map(|_| pair(16)).map(|(near, far)| (self.line(near), self.line(far))).unzip();
        let serving = std::thread::spawn(move || serve(far));
        let result = Source::open(src, near, &options.exclude, &cancel).and_then(|source| {
            let report = tree_from(&source, dst, options, &Work { progress, checkpoint, cancel: &cancel })?;
            source.close()?;
            Ok(report)
        });
        let served = serving.join().expect("the sending end does not panic");
        assert!(result.is_err() || served.is_ok(), "{served:?}");
        result
    }
}

/// Counts what is sent, and breaks when the credit is used up.
struct Watched {
    inner: Option<Box<dyn Outbox>>,
    credit: Option<Arc<AtomicI64>>,
    messages: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Outbox for Watched {
    fn send(&mut self, parts: &[&[u8]]) -> Result<(), Broken> {
        if self.credit.as_ref().is_some_and(|credit| credit.fetch_sub(1, Ordering::SeqCst) <= 0) {
            self.inner = None;
        }
        self.messages.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(parts.iter().map(|part| part.len() as u64).sum(), Ordering::SeqCst);
        self.inner.as_mut().ok_or(Broken::Cut)?.send(parts)
    }

    fn flush(&mut self) -> Result<(), Broken> {
        self.inner.as_mut().ok_or(Broken::Cut)?.flush()
    }

    fn finish(&mut self) -> Result<(), Broken> {
        self.inner.as_mut().ok_or(Broken::Cut)?.finish()
    }
}

/// Copies over one line.
pub(super) fn copy(src: &Path, dst: &Path, options: &Options) -> Report {
    let report = Between::lines(1).copy(src, dst, options, &Forgetful, &Silent).unwrap();
    assert_eq!((report.failed, &report.errors[..]), (0, &[][..]));
    report
}

/// Receives the next message, which must come.
pub(super) fn receive(inbox: &mut dyn Inbox) -> Vec<u8> {
    let mut message = Vec::new();
    assert!(inbox.receive(&mut message).expect("a message comes"), "the end came");
    message
}
