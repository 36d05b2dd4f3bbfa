//! The block devices of another machine: what [`super::devices`] finds there, as it crosses a line.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::devices::{Device, devices};
use super::error::Error;
use super::facts::{Facts, list, string};
use crate::wire::{Broken, Line, Malformed, Put, Take};

/// Tells the devices of this machine over every line, and ends.
///
/// # Errors
/// [`Broken`] if nobody hears it, or the kernel does not list them.
pub fn serve_devices(lines: Vec<Line>) -> Result<(), Broken> {
    let all = devices().map_err(|error| Broken::Refused(error.to_string()))?;
    for Line { mut outbox, .. } in lines {
        for device in &all {
            let mut put = Put::default();
            device.put(&mut put);
            outbox.send(&[&put.0])?;
        }
        outbox.finish()?;
    }
    Ok(())
}

/// The devices that are told over a line by [`serve_devices`].
///
/// # Errors
/// [`Error::Broken`], [`Error::Lied`]; `name` is what they call the machine.
pub fn devices_of(name: &str, mut line: Line) -> Result<Vec<Device>, Error> {
    let broken = |broken| Error::Broken { path: name.to_owned(), broken };
    line.outbox.finish().map_err(broken)?;
    let (mut all, mut message) = (Vec::new(), Vec::new());
    while line.inbox.receive(&mut message).map_err(broken)? {
        let mut take = Take(&message);
        let device = Device::take(&mut take).and_then(|device| take.end().map(|()| device));
        all.push(device.map_err(Error::malformed(name))?);
    }
    Ok(all)
}

fn put_text(put: &mut Put, text: Option<&str>) {
    put.flag(text.is_some()).bytes(text.unwrap_or_default().as_bytes());
}

fn take_text(take: &mut Take<'_>) -> Result<Option<String>, Malformed> {
    let (there, text) = (take.flag()?, string(take)?);
    Ok(there.then_some(text))
}

fn put_path(put: &mut Put, path: &Path) {
    put.bytes(path.as_os_str().as_bytes());
}

fn take_path(take: &mut Take<'_>) -> Result<PathBuf, Malformed> {
    Ok(OsString::from_vec(take.bytes()?.to_vec()).into())
}

impl Device {
    fn put(&self, put: &mut Put) {
        put.bytes(self.name.as_bytes());
        put_path(put, &self.path);
        put_text(put, self.part_of.as_deref());
        put.number(self.sector_bytes);
        [&self.serial, &self.model, &self.error].iter().for_each(|text| put_text(put, text.as_deref()));
        put.number(self.links.len() as u64);
        self.links.iter().for_each(|link| put_path(put, link));
        put.flag(self.facts.is_some());
        if let Some(facts) = &self.facts {
            facts.put(put);
        }
    }

    fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let (name, path, part_of, sector_bytes) = (string(take)?, take_path(take)?, take_text(take)?, take.number()?);
        let (serial, model, error) = (take_text(take)?, take_text(take)?, take_text(take)?);
        let links = list(take, take_path)?;
        let facts = if take.flag()? { Some(Facts::take(take)?) } else { None };
        Ok(Self { name, path, part_of, sector_bytes, serial, model, links, facts, error })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::block::facts::missing;
    use crate::wire::pair;

    #[test]
    fn devices_cross_a_line_as_they_are() {
        let whole = Device {
            name: "sda".into(),
            path: "/dev/sda".into(),
            part_of: None,
            sector_bytes: 4096,
            serial: Some("S1".into()),
            model: None,
            links: vec!["/dev/disk/by-id/x".into(), OsString::from_vec(b"/dev/\xff".to_vec()).into()],
            facts: Some(missing(b"/dev/sda")),
            error: None,
        };
        let bad = Device { facts: None, error: Some("no medium".into()), part_of: Some("sda".into()), ..whole.clone() };
        for device in [&whole, &bad] {
            let mut put = Put::default();
            device.put(&mut put);
            let mut take = Take(&put.0);
            assert_eq!(format!("{:?}", Device::take(&mut take).unwrap()), format!("{device:?}"));
            take.end().unwrap();
            for cut in 0..put.0.len() {
                let mut take = Take(&put.0[..cut]);
                assert!(Device::take(&mut take).is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn what_ends_early_is_no_list() {
        let (near, mut far) = pair(4);
        far.outbox.send(&[b"\xff"]).unwrap();
        assert!(matches!(devices_of("h", near), Err(Error::Lied { .. })));
        let (near, far) = pair(4);
        drop(far);
        assert!(matches!(devices_of("h", near), Err(Error::Broken { broken: Broken::Cut, .. })));
    }
}
