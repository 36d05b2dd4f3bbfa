//! Files of all sizes: most are small, most bytes are in few of them, and some have holes.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::content::{Content, past};
use super::{Grown, SEED};
use crate::bench::{About, Outcome};
use crate::support::dress;
use crate::support::rng::Rng;

/// How much of `bytes` each of the large files is, and how much a file with holes seems to be, and has in data.
const LARGE: u64 = 16;
const SPARSE: (u64, u64) = (4, 256);

/// So many files of log-normal sizes, `bytes` in all.
pub(super) fn grow(root: &Path, files: u64, bytes: u64) -> Outcome<Grown> {
    let mut grower = Grower::new(root)?;
    let mut dirs = Vec::new();
    for project in 0..40 {
        for part in 0..10 {
            let dir = root.join(format!("proj{project:02}")).join(format!("d{part}"));
            fs::create_dir_all(&dir).at(&dir)?;
            dirs.push(dir);
        }
    }
    let shares: Vec<f64> = (0..files).map(|_| (9.2 + 2.2 * grower.normal()).exp()).collect();
    let scale = (bytes - 3 * (bytes / LARGE)) as f64 / shares.iter().sum::<f64>();
    for (number, share) in shares.iter().enumerate() {
        let path = grower.rng.pick(&dirs).join(format!("m{number}"));
        grower.file(&path, (share * scale) as u64)?;
        dress::own(&path, 1000 + number as u32 % 50, 100);
        grower.stamp(&path);
    }
    for large in 0..3 {
        let path = dirs[large * 100].join(format!("big{large}"));
        grower.file(&path, bytes / LARGE)?;
        grower.stamp(&path);
    }
    for sparse in 0..4 {
        let path = dirs[sparse * 90 + 5].join(format!("sparse{sparse}.img"));
        grower.sparse(&path, bytes / SPARSE.0, bytes / SPARSE.1)?;
        grower.stamp(&path);
    }
    for dir in &dirs {
        grower.stamp(dir);
    }
    for project in 0..40 {
        grower.stamp(&root.join(format!("proj{project:02}")));
    }
    grower.stamp(root);
    grower.made.entries += dirs.len() as u64 + 40;
    Ok(grower.made)
}

/// One file of so many bytes.
pub(super) fn grow_one(root: &Path, bytes: u64) -> Outcome<Grown> {
    let mut grower = Grower::new(root)?;
    let path = root.join("big.bin");
    grower.file(&path, bytes)?;
    grower.stamp(&path);
    grower.stamp(root);
    Ok(grower.made)
}

struct Grower {
    rng: Rng,
    content: Content,
    made: Grown,
}

impl Grower {
    fn new(root: &Path) -> Outcome<Self> {
        fs::create_dir(root).at(root)?;
        let mut rng = Rng::new(SEED);
        let content = Content::new(&mut rng, 32 << 20);
        Ok(Self { rng, content, made: Grown::default() })
    }

    fn file(&mut self, path: &PathBuf, bytes: u64) -> Outcome<()> {
        let mut file = File::create_new(path).at(path)?;
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(1 << 20);
            file.write_all(self.content.cut(&mut self.rng, piece as usize)).at(path)?;
            left -= piece;
        }
        self.made.entries += 1;
        self.made.bytes += bytes;
        Ok(())
    }

    /// A file that seems to have `bytes`, with `data` of them in sixteen places.
    fn sparse(&mut self, path: &PathBuf, bytes: u64, data: u64) -> Outcome<()> {
        let file = File::create_new(path).at(path)?;
        file.set_len(bytes).at(path)?;
        for place in 0..16 {
            let piece = self.content.cut(&mut self.rng, (data / 16) as usize);
            file.write_all_at(piece, place * (bytes / 16)).at(path)?;
        }
        self.made.entries += 1;
        self.made.bytes += data;
        Ok(())
    }

    /// A number of the standard normal distribution (Box and Muller).
    fn normal(&mut self) -> f64 {
        let [u, v] = [self.unit(), self.unit()];
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// A number above 0 and up to 1.
    fn unit(&mut self) -> f64 {
        ((self.rng.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    fn stamp(&mut self, path: &Path) {
        let (second, nanosecond) = past(&mut self.rng);
        dress::stamp(path, second, nanosecond);
    }
}
