//! `host::`, the part about files and the machine: on this one and on others by the same words.

use rhai::plugin::*;

#[export_module]
#[allow(
    clippy::needless_pass_by_value,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "Rhai hands values over, wants `pub`, and makes the code"
)]
pub(crate) mod files {
    use super::super::fs;
    use super::super::host::Host;
    use super::*;
    use crate::script::api::error::{raise, raise_data};
    use rhai::Map;

    type Result = std::result::Result<Dynamic, Box<EvalAltResult>>;

    /// Reads a file of a host as text.
    ///
    /// # Shape
    /// host.read(path: path, [opts: map]) -> string
    /// opts   offset_bytes: int = 0, length_bytes: int (all there is), bytes: bool = false (a blob in place of a text)
    ///
    /// # Units
    /// Bytes; at most 16 MiB at once.
    ///
    /// # Effects
    /// Reads only. Over SSH an agent of decamp is sent to the machine for as long as the run is at work; in a plan it runs from
    /// memory, by python or perl, and where neither is there the result is unknown. The value of a secret comes back as `[secret REF]`.
    ///
    /// # Errors
    /// `not_found`, `denied`, `invalid` for a directory, for more than 16 MiB and for what is no text; as `host::ssh` says.
    ///
    /// # Source
    /// src/script/api/fs.rs, src/agent/files.rs
    ///
    /// # Example
    /// ```rhai
    /// let h = host::local();
    /// step("write", || host::local().write(tmp + "/note", "one\ntwo\n"));
    /// assert_eq(h.read(tmp + "/note"), "one\ntwo\n");
    /// assert_eq(h.read(tmp + "/note", #{ offset_bytes: 4, length_bytes: 3 }), "two");
    /// ```
    #[rhai_fn(name = "read", global, return_raw, volatile)]
    pub fn read_plain(context: NativeCallContext, host: &mut Host, path: &str) -> Result {
        raise(&context, fs::read(&context, host, path, Map::new()))
    }

    #[rhai_fn(name = "read", global, return_raw, volatile)]
    pub fn read_with(context: NativeCallContext, host: &mut Host, path: &str, opts: Map) -> Result {
        raise(&context, fs::read(&context, host, path, opts))
    }

    /// Makes a file of a host hold `content`, whole or not at all, and returns what it is then.
    ///
    /// # Shape
    /// host.write(path: path, content: string or secret, [opts: map]) -> map
    /// opts   mode: string (digits, "0600"), owner: string (numbers, "1000:1000"), only_new: bool = false (there may be
    ///        no such file)
    /// result as host.stat, with written: bool
    ///
    /// # Effects
    /// Converge: written beside it, synced, and put in its place; a file that holds just that already is left. What is not
    /// given stays as it was, or is 0644 for a new file. No link is written through. The journal keeps a hash of the
    /// content, and of what was there the content (up to 1 MiB), mode and owner: undo puts that back, or removes a file that
    /// was new, if what is there is still what was written. Where a secret is written or replaced nothing is kept, and
    /// there is no undo. A plan looks, as host.read does.
    ///
    /// # Errors
    /// `exists` with `only_new`, `not_found` for its directory, `denied`, `no_space`, `conflict` if what is there is no regular
    /// file; as `host::ssh` says.
    ///
    /// # Source
    /// src/script/api/fs.rs, src/agent/serve/write.rs
    ///
    /// # Example
    /// ```rhai
    /// let made = step("write", || host::local().write(tmp + "/conf", "a = 1\n", #{ mode: "0600" }));
    /// assert_eq([made.mode, made.size_bytes, made.written], ["0600", 6, true]);
    /// let again = step("again", || host::local().write(tmp + "/conf", "a = 1\n").written);
    /// assert_eq(again, false);
    /// ```
    #[rhai_fn(name = "write", global, return_raw, volatile)]
    pub fn write_plain(context: NativeCallContext, host: &mut Host, path: &str, content: Dynamic) -> Result {
        raise_data(&context, fs::write(&context, host, path, &content, Map::new()))
    }

    #[rhai_fn(name = "write", global, return_raw, volatile)]
    pub fn write_with(context: NativeCallContext, host: &mut Host, path: &str, content: Dynamic, opts: Map) -> Result {
        raise_data(&context, fs::write(&context, host, path, &content, opts))
    }

    /// Says what there is at a path of a host.
    ///
    /// # Shape
    /// host.stat(path: path, [opts: map]) -> map
    /// opts   link: bool = false (a link itself, not what it leads to)
    /// result #{ kind, mode, uid, gid, links, size_bytes, mtime_ns, ctime_ns, target }; () if there is nothing
    ///
    /// `kind` is file, dir, link, fifo, socket, char_device or block_device, `mode` digits such as "0644", `target` where a
    /// link leads. Of a block device the size is 0: see `host.block_devices`.
    ///
    /// # Units
    /// `size_bytes` bytes, `_ns` nanoseconds since the epoch.
    ///
    /// # Effects
    /// Reads only, as host.read.
    ///
    /// # Errors
    /// `denied`, `io`; as `host::ssh` says.
    ///
    /// # Source
    /// stat(2); src/agent/machine/stat.rs
    ///
    /// # Example
    /// ```rhai
    /// let h = host::local();
    /// assert_eq(h.stat(tmp + "/a").kind, "dir");
    /// assert_eq(h.stat(tmp + "/none"), ());
    /// ```
    #[rhai_fn(name = "stat", global, return_raw, volatile)]
    pub fn stat_plain(context: NativeCallContext, host: &mut Host, path: &str) -> Result {
        raise_data(&context, fs::stat(&context, host, path, Map::new()))
    }

    #[rhai_fn(name = "stat", global, return_raw, volatile)]
    pub fn stat_with(context: NativeCallContext, host: &mut Host, path: &str, opts: Map) -> Result {
        raise_data(&context, fs::stat(&context, host, path, opts))
    }

    /// Lists a directory of a host, by name.
    ///
    /// # Shape
    /// host.list(path: path) -> list
    /// result maps as host.stat gives them for links themselves, each with its name
    ///
    /// # Effects
    /// Reads only, as host.read. What vanishes meanwhile is left out.
    ///
    /// # Errors
    /// `not_found`, `denied`, `invalid` if it is no directory; as `host::ssh` says.
    ///
    /// # Source
    /// getdents(2); src/agent/machine/stat.rs
    ///
    /// # Example
    /// ```rhai
    /// let h = host::local();
    /// assert_eq(h.list(tmp + "/a").map(|one| one.kind).contains("file"), true);
    /// ```
    #[rhai_fn(name = "list", global, return_raw, volatile)]
    pub fn list(context: NativeCallContext, host: &mut Host, path: &str) -> Result {
        raise_data(&context, fs::list(&context, host, path))
    }

    /// Says how full the file system of a path is.
    ///
    /// # Shape
    /// host.statfs(path: path) -> map
    /// result #{ magic, total_bytes, free_bytes, inodes, free_inodes, name_max_bytes, read_only }
    ///
    /// `magic` is the number of its type, in hexadecimal; `inodes` is 0 where they are not limited.
    ///
    /// # Units
    /// `_bytes` bytes; what this user may still use.
    ///
    /// # Effects
    /// Reads only, as host.read.
    ///
    /// # Errors
    /// `not_found`, `denied`; as `host::ssh` says.
    ///
    /// # Source
    /// statfs(2); src/agent/machine/stat.rs
    ///
    /// # Example
    /// ```rhai
    /// let h = host::local();
    /// assert_eq(h.statfs(tmp).total_bytes > 0, true);
    /// ```
    #[rhai_fn(name = "statfs", global, return_raw, volatile)]
    pub fn statfs(context: NativeCallContext, host: &mut Host, path: &str) -> Result {
        raise_data(&context, fs::statfs(&context, host, path))
    }

    /// Lists what is mounted on a host, in the kernel's order.
    ///
    /// # Shape
    /// host.mounts() -> list
    /// result maps #{ path, source, root, device, fs_type, options, fs_options }
    ///
    /// # Effects
    /// Reads only, as host.read.
    ///
    /// # Errors
    /// `io`; as `host::ssh` says.
    ///
    /// # Source
    /// proc_pid_mountinfo(5); src/agent/machine/mounts.rs
    ///
    /// # Example
    /// ```rhai
    /// let h = host::local();
    /// assert_eq(h.mounts().some(|one| one.path == "/"), true);
    /// ```
    #[rhai_fn(name = "mounts", global, return_raw, volatile)]
    pub fn mounts(context: NativeCallContext, host: &mut Host) -> Result {
        raise_data(&context, fs::mounts(&context, host))
    }

    /// Lists the block devices of a host as the kernel has them, without opening one.
    ///
    /// # Shape
    /// host.block_devices() -> list
    /// result maps #{ name, path, device, size_bytes, read_only, part_of, serial, model, label, holders, mounts }
    ///
    /// `label` is the name of a mapped device or the file behind a loop device; () is what is not known. What devices hold, and
    /// by what they are known again, `block::devices` says.
    ///
    /// # Units
    /// `size_bytes` bytes.
    ///
    /// # Effects
    /// Reads only, as host.read.
    ///
    /// # Errors
    /// `io`; as `host::ssh` says.
    ///
    /// # Source
    /// sysfs(5); src/agent/machine/devices.rs
    ///
    /// # Example
    /// ```rhai
    /// let h = host::local();
    /// assert_eq(type_of(h.block_devices()), "array");
    /// ```
    #[rhai_fn(name = "block_devices", global, return_raw, volatile)]
    pub fn block_devices(context: NativeCallContext, host: &mut Host) -> Result {
        raise_data(&context, fs::block_devices(&context, host))
    }
}
