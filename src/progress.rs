//! How engines speak to whoever runs them: what happened ([`Progress`]) and what must be remembered ([`Checkpoint`]).
//!
//! Engines know neither a terminal nor a database; the caller hands in both traits.

/// Something an engine wants seen. Paths are raw bytes, relative to the root they belong to.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A new phase begins: `scan`, `copy`, `delete`, `verify`, …
    Phase(&'a str),
    /// What the phase expects in all, as far as it is known.
    Total { entries: u64, bytes: u64 },
    /// So much more is done since the last such event.
    Advance { entries: u64, bytes: u64 },
    /// So many workers are at it, and have done so many more operations (about one request to a file system each) since
    /// the last such event. `held`: why there are no more workers; `None`: there will be, if that makes the work faster.
    Workers { running: usize, operations: u64, held: Option<Held> },
    /// One entry could not be handled; the engine goes on with the others and counts it in its report.
    Failed { path: &'a [u8], error: &'a str },
    /// How many bytes a second may be moved from here on; `None`: as many as can be.
    Limit(Option<u64>),
    /// Something an operator should know, and that is not an error.
    Notice { path: &'a [u8], text: &'a str },
}

/// Why an engine has no more workers than it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The user gave the number.
    Given,
    /// More were not faster.
    NoGain,
    /// No more may be: of the engine, of open files, or because other trees are worked on beside this one.
    Limit,
    /// There was nothing to give to more of them.
    Idle,
}

impl Held {
    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::NoGain => "no-gain",
            Self::Limit => "limit",
            Self::Idle => "idle",
        }
    }
}

/// Receives events; called from many threads, must not block for long.
pub trait Progress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event<'_>);

    /// A receiver for work that goes on beside other work, each with phases of its own; `None`: one for all will do.
    fn lane(&self) -> Option<Box<dyn Progress>> {
        None
    }
}

/// Ignores every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}

/// A record could not be kept or read back. The work that needs it must stop.
#[derive(Debug, thiserror::Error)]
#[error("the progress store failed: {0}")]
pub struct CheckpointError(pub Box<dyn std::error::Error + Send + Sync>);

/// One record of a [`Checkpoint`]: an engine's own key and value, kept apart by `kind`.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Which of the engine's tables the record belongs to.
    pub kind: u8,
    /// The key, unique within its kind; keys are ordered as bytes.
    pub key: &'a [u8],
    /// The value; `None` removes the record.
    pub value: Option<&'a [u8]>,
}

/// Called with key and value of one record; returns `false` to stop.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> bool + 'v;

/// Where an engine keeps what a later process needs in order to resume or undo.
///
/// The journal implements it. Keys and values are the engine's own business.
pub trait Checkpoint: Send + Sync {
    /// Keeps all `records` or none. On return they survive the death of this process (not of the machine).
    ///
    /// # Errors
    /// [`CheckpointError`] if the store could not take them; nothing was kept.
    fn put(&self, records: &[Record<'_>]) -> Result<(), CheckpointError>;

    /// The value kept under `key`.
    ///
    /// # Errors
    /// [`CheckpointError`] if the store cannot be read.
    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError>;

    /// Visits the records of `kind` whose key begins with `prefix`, in byte order of the keys, or against it.
    /// The store may be written to meanwhile; records put during the visit may or may not be seen.
    ///
    /// # Errors
    /// [`CheckpointError`] if the store cannot be read.
    fn visit(&self, kind: u8, prefix: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), CheckpointError>;

    /// Makes everything put so far survive a power cut as well.
    ///
    /// # Errors
    /// [`CheckpointError`] if the store could not be synced.
    fn sync(&self) -> Result<(), CheckpointError>;

    /// Whether anything is kept at all: engines skip the work of making records for a store that forgets them.
    fn keeps(&self) -> bool {
        true
    }
}

/// Keeps nothing: for work nobody will resume or undo.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forgetful;

impl Checkpoint for Forgetful {
    fn put(&self, _: &[Record<'_>]) -> Result<(), CheckpointError> {
        Ok(())
    }

    fn get(&self, _: u8, _: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
        Ok(None)
    }

    fn visit(&self, _: u8, _: &[u8], _: bool, _: &mut Visit<'_>) -> Result<(), CheckpointError> {
        Ok(())
    }

    fn sync(&self) -> Result<(), CheckpointError> {
        Ok(())
    }

    fn keeps(&self) -> bool {
        false
    }
}
