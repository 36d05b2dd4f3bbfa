//! Block devices, from what the kernel tells in `/sys/class/block`. What they hold is for the block engine to say.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::super::fault::Fault;
use super::mounts::{Mount, mounts};

/// One block device or partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// The kernel's name: `sda1`.
    pub name: String,
    /// Its node: `/dev/sda1`.
    pub path: String,
    /// Device numbers, `8:1`.
    pub device: String,
    /// Bytes.
    pub size: u64,
    /// It cannot be written to.
    pub read_only: bool,
    /// The disk a partition is part of.
    pub parent: Option<String>,
    /// The serial number, where it has one.
    pub serial: Option<String>,
    /// The model, where it has one.
    pub model: Option<String>,
    /// What a device mapper or loop device is called: its name there, or the file behind it.
    pub label: Option<String>,
    /// Devices made of this one.
    pub holders: Vec<String>,
    /// Where it is mounted, raw bytes.
    pub mounts: Vec<Vec<u8>>,
}

const LIST: &str = "/sys/class/block";

/// Every block device of this machine, by name. Devices that hold nothing (of 0 bytes) are left out.
///
/// # Errors
/// [`Fault`] if the lists of devices or mounts cannot be read.
pub fn block_devices() -> Result<Vec<Device>, Fault> {
    let mounted = mounts()?;
    let mut found = Vec::new();
    for item in fs::read_dir(LIST).map_err(Fault::io("open", LIST.as_bytes()))? {
        let item = item.map_err(Fault::io("read", LIST.as_bytes()))?;
        // One that vanishes meanwhile is no device any more.
        found.extend(of(&item.path(), &mounted).filter(|device| device.size > 0));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn of(dir: &Path, mounted: &[Mount]) -> Option<Device> {
    let text = |below: &str| {
        let bytes = fs::read(dir.join(below)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned()).filter(|text| !text.is_empty())
    };
    let name = dir.file_name()?.to_str()?.to_owned();
    let device = text("dev")?;
    let sectors: u64 = text("size")?.parse().ok()?;
    let parent = text("partition").and_then(|_| {
        let real = fs::canonicalize(dir).ok()?;
        Some(real.parent()?.file_name()?.to_str()?.to_owned())
    });
    let holders = fs::read_dir(dir.join("holders")).ok().into_iter().flatten().flatten();
    let at = mounted.iter().filter(|mount| mount.device == device).map(|mount| mount.point.clone());
    Some(Device {
        // A slash in a device's name is written as an exclamation mark there.
        path: format!("/dev/{}", name.replace('!', "/")),
        size: sectors.saturating_mul(512),
        read_only: text("ro").is_some_and(|text| text == "1"),
        parent,
        serial: text("device/serial").or_else(|| text("serial")).or_else(|| text("device/vpd_pg80").map(printable)),
        model: text("device/model"),
        label: text("dm/name").or_else(|| text("loop/backing_file")),
        holders: holders.map(|item| String::from_utf8_lossy(item.file_name().as_bytes()).into_owned()).collect(),
        mounts: at.collect(),
        name,
        device,
    })
}

/// A page of vital data without its header of four bytes and what cannot be printed.
fn printable(page: String) -> String {
    page.chars().filter(char::is_ascii_graphic).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn devices_are_told_as_the_kernel_does() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("cciss!c0");
        fs::create_dir_all(disk.join("device")).unwrap();
        fs::create_dir_all(disk.join("holders/dm-0")).unwrap();
        for (name, text) in
            [("dev", "8:0\n"), ("size", "2048\n"), ("ro", "1\n"), ("device/serial", " S1 \n"), ("device/model", "M\n")]
        {
            fs::write(disk.join(name), text).unwrap();
        }
        let mount = Mount {
            id: 1,
            parent: 0,
            device: "8:0".into(),
            root: b"/".to_vec(),
            point: b"/srv".to_vec(),
            options: String::new(),
            fs_type: String::new(),
            source: Vec::new(),
            super_options: String::new(),
        };
        let device = of(&disk, &[mount]).unwrap();
        assert_eq!((device.path.as_str(), device.size, device.read_only), ("/dev/cciss/c0", 1 << 20, true));
        assert_eq!((device.serial.as_deref(), device.model.as_deref()), (Some("S1"), Some("M")));
        assert_eq!((device.holders, device.mounts), (vec!["dm-0".to_owned()], vec![b"/srv".to_vec()]));
    }
}
