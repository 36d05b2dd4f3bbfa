//! What the tests of the engine share: a pair of directories, a store in memory that can fail on demand, short calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use decamp::cancel::Cancel;
use decamp::copy::options::{CompareOptions, MaxDelete, Options, ScanOptions};
use decamp::copy::report::{Comparison, Report, Scan, Undone};
use decamp::copy::{self, Error, Work};
use decamp::progress::{Checkpoint, CheckpointError, Forgetful, Progress, Record, Silent, Visit};

/// A source and a destination that vanish with the test.
pub(crate) struct Pair {
    pub base: tempfile::TempDir,
    pub src: PathBuf,
    pub dst: PathBuf,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::in_dir(&std::env::temp_dir())
    }

    pub(crate) fn in_dir(dir: &Path) -> Self {
        let base = tempfile::tempdir_in(dir).unwrap();
        let (src, dst) = (base.path().join("src"), base.path().join("dst"));
        std::fs::create_dir(&src).unwrap();
        std::fs::create_dir(&dst).unwrap();
        Self { base, src, dst }
    }

    pub(crate) fn copy(&self, options: &Options) -> Result<Report, Error> {
        self.copy_with(options, &Forgetful)
    }

    pub(crate) fn copy_with(&self, options: &Options, checkpoint: &dyn Checkpoint) -> Result<Report, Error> {
        self.copy_told(options, checkpoint, &Silent)
    }

    pub(crate) fn copy_told(
        &self,
        options: &Options,
        checkpoint: &dyn Checkpoint,
        progress: &dyn Progress,
    ) -> Result<Report, Error> {
        let cancel = Cancel::new();
        copy::tree(&self.src, &self.dst, options, &Work { progress, checkpoint, cancel: &cancel })
    }

    /// Copies and expects that every entry arrived.
    pub(crate) fn copy_all(&self, options: &Options) -> Report {
        let report = self.copy(options).unwrap();
        assert_eq!((report.failed, &report.errors[..]), (0, &[][..]));
        report
    }

    pub(crate) fn undo(&self, backup: Option<&Path>, checkpoint: &dyn Checkpoint) -> Result<Undone, Error> {
        let cancel = Cancel::new();
        let work = Work { progress: &Silent, checkpoint, cancel: &cancel };
        copy::undo(&self.dst, &self.src, backup, None, &work)
    }

    pub(crate) fn assert_same(&self) {
        let found = compare(&self.src, &self.dst, &CompareOptions::default());
        assert_eq!(found.named, []);
        assert_eq!((found.differences, found.failed), (0, 0));
        assert_eq!(found.left, found.right);
    }
}

pub(crate) fn compare(left: &Path, right: &Path, options: &CompareOptions) -> Comparison {
    let cancel = Cancel::new();
    let work = Work { progress: &Silent, checkpoint: &Forgetful, cancel: &cancel };
    copy::compare(left, right, options, &work).unwrap()
}

pub(crate) fn scan(root: &Path) -> Scan {
    let cancel = Cancel::new();
    let work = Work { progress: &Silent, checkpoint: &Forgetful, cancel: &cancel };
    let options = ScanOptions { content: true, xattrs: true, ..ScanOptions::default() };
    copy::scan(root, &options, &work).unwrap()
}

/// Everything about a tree that undo must bring back.
pub(crate) fn state(root: &Path) -> String {
    let list =
        sh(root, "find . -printf '%p %y %m %U:%G %T@ %s %n %l\\n' | sed -E 's/(d [0-9]+ [^ ]+ [^ ]+) .*/\\1/' | sort");
    format!("{list}{}", scan(root).digest)
}

pub(crate) fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let path = path.as_ref();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

pub(crate) fn deleting() -> Options {
    Options { delete: true, max_delete: MaxDelete::Percent(100), ..Options::default() }
}

/// Values by kind and key.
type Records = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

/// A store in memory. It fails for good once its credit is used up: the process could as well have died.
#[derive(Default)]
pub(crate) struct Memory {
    records: Mutex<Records>,
    credit: Option<AtomicI64>,
    /// What fails for want of credit is kept all the same: a death right after it.
    pub late: bool,
    pub puts: AtomicI64,
}

impl Memory {
    pub(crate) fn with_credit(&mut self, credit: i64) {
        self.credit = Some(AtomicI64::new(credit));
    }

    pub(crate) fn heal(&mut self) {
        self.credit = None;
    }

    pub(crate) fn count(&self, kind: u8) -> usize {
        self.records.lock().unwrap().keys().filter(|(k, _)| *k == kind).count()
    }

    /// Loses every other record of a kind, as a store does that lost its end.
    pub(crate) fn forget_half(&self, kind: u8) {
        let mut nth = 0;
        self.records.lock().unwrap().retain(|(k, _), _| {
            nth += usize::from(*k == kind);
            *k != kind || nth % 2 == 0
        });
    }

    fn spend(&self) -> Result<(), CheckpointError> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        match &self.credit {
            Some(credit) if credit.fetch_sub(1, Ordering::SeqCst) <= 0 => Err(CheckpointError("out of credit".into())),
            _ => Ok(()),
        }
    }
}

impl Checkpoint for Memory {
    fn put(&self, records: &[Record<'_>]) -> Result<(), CheckpointError> {
        let spent = self.spend();
        if spent.is_err() && !self.late {
            return spent;
        }
        let mut map = self.records.lock().unwrap();
        for record in records {
            let key = (record.kind, record.key.to_vec());
            match record.value {
                Some(value) => map.insert(key, value.to_vec()),
                None => map.remove(&key),
            };
        }
        spent
    }

    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
        Ok(self.records.lock().unwrap().get(&(kind, key.to_vec())).cloned())
    }

    fn visit(&self, kind: u8, prefix: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), CheckpointError> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = self
            .records
            .lock()
            .unwrap()
            .iter()
            .filter(|((k, key), _)| *k == kind && key.starts_with(prefix))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        if reverse {
            found.reverse();
        }
        for (key, value) in found {
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), CheckpointError> {
        Ok(())
    }
}

/// Runs a command that must succeed.
pub(crate) fn sh(dir: &Path, script: &str) -> String {
    let out = std::process::Command::new("sh").arg("-euc").arg(script).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A tree with one of everything.
pub(crate) fn furnish(root: &Path) {
    write(root.join("plain"), "plain");
    write(root.join("dir/sub/file"), vec![7; 100_000]);
    write(root.join("dir/empty"), "");
    write(root.join("b\nad\\name"), "odd");
    std::fs::write(root.join(std::ffi::OsStr::new("x")), "x").unwrap();
    sh(
        root,
        r#"
        ln plain hard1; ln plain dir/hard2
        ln -s plain link; ln -s /nowhere dir/dangling
        mkfifo dir/fifo
        truncate -s 5M sparse; printf data | dd of=sparse bs=1 seek=2000000 conv=notrunc 2>/dev/null
        mkdir -p closed none; chmod 0550 closed; chmod 2775 dir; chmod 1777 none
        chmod 4755 plain; chmod 0600 dir/empty
        printf 'n' > "$(printf 'bad\377name')"
        setfattr -n user.colour -v blue dir/sub/file; setfattr -n user.dir -v green dir 2>/dev/null || true
        touch -d '2001-02-03 04:05:06.123456789' plain dir/sub/file
        touch -h -d '1999-01-01 00:00:00.987654321' link
        "#,
    );
    if is_root() {
        sh(
            root,
            r#"
            chown -h 1234:5678 link plain dir; chmod 4755 plain
            mknod null c 1 3
            setfacl -m u:1234:r dir/sub/file; setfacl -d -m g:5678:rwx dir
            setcap cap_net_bind_service+ep dir/empty
            setfattr -n trusted.t -v 1 none
            "#,
        );
    }
    sh(root, "touch -d '2002-02-02 02:02:02.222222222' dir/sub dir none .");
}
