//! Ends that are only read and written by ranges.

use std::sync::{Arc, Mutex};

use decamp::block::{self, Endpoint, Error, Kind, Options, Ranged, Seen, Verify};
use decamp::progress::Forgetful;
use decamp::units::ByteRange;

use super::kit::{MIB, Memory, content, copy_with, mixed, write};

/// Storage in memory, of which a part may be broken.
struct Ram {
    held: Mutex<Vec<u8>>,
    broken: Option<ByteRange>,
    uses: Vec<String>,
}

impl Ram {
    fn new(held: Vec<u8>) -> Self {
        Self { held: Mutex::new(held), broken: None, uses: Vec::new() }
    }
}

impl Ranged for Ram {
    fn look(&self) -> Result<Seen, Error> {
        let size = self.held.lock().unwrap().len() as u64;
        Ok(Seen {
            kind: if size == 0 { Kind::Missing } else { Kind::Device },
            size,
            identity: format!("ram={size}"),
            read_only: false,
            uses: self.uses.clone(),
            wwn: None,
            kernel: "another".into(),
            device: Some("7:99".into()),
        })
    }

    fn read(&self, range: ByteRange) -> Result<Vec<u8>, Error> {
        if self.broken.is_some_and(|broken| broken.start < range.end && range.start < broken.end) {
            let (path, offset, length) = ("ram".into(), range.start, range.len());
            return Err(Error::Unreadable { path, offset, length, source: rustix::io::Errno::IO });
        }
        Ok(self.held.lock().unwrap()[range.start as usize..range.end as usize].to_vec())
    }

    fn write(&self, start: u64, data: &[u8]) -> Result<(), Error> {
        self.held.lock().unwrap()[start as usize..start as usize + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn create(&self, size: u64) -> Result<(), Error> {
        *self.held.lock().unwrap() = vec![0; size as usize];
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn end(storage: &Arc<Ram>, target: bool) -> Endpoint {
    Endpoint::ranged("ssh://h/dev/ram", Arc::clone(storage) as Arc<dyn Ranged>, target, 3)
}

#[test]
fn storage_by_ranges_is_copied_from_and_to_and_compared() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("source");
    // Neither a whole extent nor a whole grain at the end.
    let held = mixed(3, 5 * MIB + 70_000);
    std::fs::write(&source, &held).unwrap();
    let (ram, books) = (Arc::new(Ram::new(Vec::new())), Memory::default());
    let options = Options { create: true, verify: Verify::Whole, ..Options::default() };
    let report = copy_with(Endpoint::local(&source), end(&ram, true), &options, &books).unwrap();
    assert!(*ram.held.lock().unwrap() == held);
    assert_eq!((report.extents, report.target.path.as_str()), (6, "ssh://h/dev/ram"));
    // A second pass sends the grain that changed.
    write(&source, 2 * MIB, b"changed");
    let report = copy_with(Endpoint::local(&source), end(&ram, true), &options, &books).unwrap();
    assert_eq!((report.sent, report.raw_bytes, report.pass), (1, 64 << 10, 2), "{report:?}");
    let back = home.path().join("back");
    copy_with(end(&ram, false), Endpoint::local(&back), &options, &Forgetful).unwrap();
    assert!(content(&back) == content(&source));
    let cancel = decamp::cancel::Cancel::new();
    let work = block::Work { progress: &decamp::progress::Silent, checkpoint: &Forgetful, cancel: &cancel };
    let seen = block::compare(end(&ram, false), Endpoint::local(&source), &block::CompareOptions::default(), &work);
    assert!(seen.unwrap().equal);
}

#[test]
fn what_stands_in_the_way_of_ranges_is_told() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let mut ram = Ram::new(mixed(4, 3 * MIB));
    ram.broken = Some(ByteRange { start: MIB + 5, end: MIB + 6 });
    let options = Options { create: true, ..Options::default() };
    // Signatures are looked for elsewhere.
    let told = copy_with(end(&Arc::new(ram), false), Endpoint::local(&out), &options, &Forgetful).unwrap_err();
    assert!(matches!(&told, Error::Unreadable { path, .. } if path == "ssh://h/dev/ram"), "{told:?}");
    let mut used = Ram::new(vec![0; 3 << 20]);
    used.uses = vec!["mounted at /srv".into()];
    let source = home.path().join("source");
    std::fs::write(&source, mixed(5, 3 * MIB)).unwrap();
    let used = Arc::new(used);
    let told = copy_with(Endpoint::local(&source), end(&used, true), &options, &Forgetful).unwrap_err();
    assert!(matches!(told, Error::InUse { .. }), "{told:?}");
    assert!(used.held.lock().unwrap().iter().all(|byte| *byte == 0));
    let small = Arc::new(Ram::new(vec![0; 2 << 20]));
    let told = copy_with(Endpoint::local(&source), end(&small, true), &options, &Forgetful).unwrap_err();
    assert!(matches!(told, Error::Smaller { .. }), "{told:?}");
    let source_ram = Arc::new(Ram::new(mixed(6, 3 * MIB)));
    let only_used = Options { used_only: true, create: true, ..Options::default() };
    let told = copy_with(end(&source_ram, false), Endpoint::local(home.path().join("new")), &only_used, &Forgetful);
    assert!(matches!(told, Err(Error::NoMap { .. })), "{told:?}");
}
