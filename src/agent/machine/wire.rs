//! How what is told of a machine travels.

use super::devices::Device;
use super::mounts::Mount;
use super::stat::{Entry, FileSystem, Stat};
use crate::units::Stamp;
use crate::wire::{Malformed, Put, Take};

/// Something that travels in a message.
pub(in super::super) trait Wire: Sized {
    /// Appends it.
    fn put(&self, put: &mut Put);
    /// Takes it.
    fn take(take: &mut Take<'_>) -> Result<Self, Malformed>;
}

fn put_text(put: &mut Put, text: &str) {
    put.bytes(text.as_bytes());
}

fn text(take: &mut Take<'_>) -> Result<String, Malformed> {
    Ok(String::from_utf8_lossy(take.bytes()?).into_owned())
}

fn put_maybe(put: &mut Put, value: Option<&[u8]>) {
    put.flag(value.is_some());
    value.map(|value| put.bytes(value));
}

fn maybe(take: &mut Take<'_>) -> Result<Option<Vec<u8>>, Malformed> {
    Ok(if take.flag()? { Some(take.bytes()?.to_owned()) } else { None })
}

fn maybe_text(take: &mut Take<'_>) -> Result<Option<String>, Malformed> {
    Ok(maybe(take)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, put: &mut Put) {
        put.number(self.len() as u64);
        self.iter().for_each(|item| item.put(put));
    }
    fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let count: usize = take.small()?;
        // Grown as they come: a count is only what the other side says.
        (0..count).map(|_| T::take(take)).collect()
    }
}

impl Wire for Vec<u8> {
    fn put(&self, put: &mut Put) {
        put.bytes(self);
    }
    fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(take.bytes()?.to_owned())
    }
}

impl Wire for String {
    fn put(&self, put: &mut Put) {
        put_text(put, self);
    }
    fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        text(take)
    }
}

impl Wire for u64 {
    fn put(&self, put: &mut Put) {
        put.number(*self);
    }
    fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        take.number()
    }
}

impl Wire for () {
    fn put(&self, _: &mut Put) {}
    fn take(_: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

impl Wire for Stamp {
    fn put(&self, put: &mut Put) {
        put.signed(self.sec).number(self.nsec.into());
    }
    fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let (sec, nsec) = (take.signed()?, take.small()?);
        if nsec < 1_000_000_000 { Ok(Self { sec, nsec }) } else { Err(Malformed::Range) }
    }
}

impl Wire for Stat {
    fn put(&self, put: &mut Put) {
        put.byte(self.letter).number(self.mode.into()).number(self.uid.into()).number(self.gid.into());
        for number in [self.nlink, self.size, self.dev, self.ino, self.rdev] {
            put.number(number);
        }
        self.mtime.put(put);
        self.ctime.put(put);
        put_maybe(put, self.target.as_deref());
    }
    fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            letter: take.byte()?,
            mode: take.small()?,
            uid: take.small()?,
            gid: take.small()?,
            nlink: take.number()?,
            size: take.number()?,
            dev: take.number()?,
            ino: take.number()?,
            rdev: take.number()?,
            mtime: Stamp::take(take)?,
            ctime: Stamp::take(take)?,
            target: maybe(take)?,
        })
    }
}

impl Wire for Entry {
    fn put(&self, put: &mut Put) {
        put.bytes(&self.name);
        self.stat.put(put);
    }
    fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let name = take.bytes()?.to_owned();
        // No file system has such a name: whoever sends it wants to be led elsewhere.
        if name.is_empty() || name == b"." || name == b".." || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(Malformed::Range);
        }
        Ok(Self { name, stat: Stat::take(take)? })
    }
}

impl Wire for FileSystem {
    fn put(&self, put: &mut Put) {
        for number in [self.magic, self.total, self.available, self.inodes, self.inodes_free, self.name_max] {
            put.number(number);
        }
        put.flag(self.read_only);
    }
    fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            magic: take.number()?,
            total: take.number()?,
            available: take.number()?,
            inodes: take.number()?,
            inodes_free: take.number()?,
            name_max: take.number()?,
            read_only: take.flag()?,
        })
    }
}

impl Wire for Mount {
    fn put(&self, put: &mut Put) {
        put.number(self.id).number(self.parent);
        put_text(put, &self.device);
        put.bytes(&self.root).bytes(&self.point);
        put_text(put, &self.options);
        put_text(put, &self.fs_type);
        put.bytes(&self.source);
        put_text(put, &self.super_options);
    }
    fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: take.number()?,
            parent: take.number()?,
            device: text(take)?,
            root: take.bytes()?.to_owned(),
            point: take.bytes()?.to_owned(),
            options: text(take)?,
            fs_type: text(take)?,
            source: take.bytes()?.to_owned(),
            super_options: text(take)?,
        })
    }
}

impl Wire for Device {
    fn put(&self, put: &mut Put) {
        put_text(put, &self.name);
        put_text(put, &self.path);
        put_text(put, &self.device);
        put.number(self.size).flag(self.read_only);
        for value in [&self.parent, &self.serial, &self.model, &self.label] {
            put_maybe(put, value.as_ref().map(String::as_bytes));
        }
        self.holders.put(put);
        self.mounts.put(put);
    }
    fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            name: text(take)?,
            path: text(take)?,
            device: text(take)?,
            size: take.number()?,
            read_only: take.flag()?,
            parent: maybe_text(take)?,
            serial: maybe_text(take)?,
            model: maybe_text(take)?,
            label: maybe_text(take)?,
            holders: Wire::take(take)?,
            mounts: Wire::take(take)?,
        })
    }
}
