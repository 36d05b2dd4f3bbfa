//! `block::`: devices and images. Every function here checks its arguments, calls the engine, and converts what comes back.

use rhai::plugin::*;

#[export_module]
#[allow(clippy::needless_pass_by_value, unreachable_pub, reason = "Rhai hands values over and wants `pub`")]
pub(crate) mod block {
    use super::super::disk;
    use super::super::host::Host;
    use super::*;
    use crate::script::api::error::raise_data;
    use rhai::Map;

    type Result = std::result::Result<Dynamic, Box<EvalAltResult>>;

    /// Makes the block device or image at `dst` hold what the one at `src` holds, and returns a report.
    ///
    /// # Shape
    /// block::copy(src: endpoint, dst: endpoint, [opts: map]) -> map
    /// opts   overwrite: bool = false (what is on the target may go), create: bool = false (make the image file `dst`),
    ///        live: bool = false (copy a source that is in use), content: "unknown" | "zero" | "compare" = "unknown" (what
    ///        the target holds before), on_read_error: "fail" | "zero" = "fail", used_only: bool = false (ext2 to ext4: what
    ///        the file system does not use becomes zeros), compress: string = "auto" (or "none", "zstd:1" to "zstd:19"),
    ///        verify: "none" | "written" | "whole" = "written" (what is read back at the end), digests: path (file of digests
    ///        that a later run goes by), expect: map (of block::pair), in_flight: int = 0 (extents of 1 MiB; 32),
    ///        max_rate: size ("50MiB" a second; the limit of the run holds as well), channels: int = 4 (over SSH:
    ///        conversations with each end, an extent in each), streams: int = 1 (over SSH: sessions they share)
    /// result #{ planned, pass, bytes, extents, sent, zero, same, already, found, verified, raw_bytes, wire_bytes, lost, digest,
    ///        target_read, target_changed, tail_bytes, tail_signatures, gpt_backup_misplaced, overwritten, degraded,
    ///        source, target, elapsed_ms, bytes_per_second }; `extents` are `sent`, `zero`, `same` or `already` done by an attempt before;
    ///        `lost` is a list of ranges, `source` and `target` are as block::pair gives them
    ///
    /// An end is a path, `ssh://[user@]host[:port]/path`, or what `host.at` and `host::endpoint` give. Over SSH an agent of
    /// decamp is sent to the machine for as long as the run is at work; between two such ends the data comes through here,
    /// compressed. Where no agent can be (another processor, no place from which programs run), the machine's own `dd` is
    /// used, said aloud and named in `degraded`: slower, without compression, and nobody else is kept from the device.
    ///
    /// # Units
    /// `_bytes` and `bytes` bytes, `_ms` milliseconds; everything else counts extents of 1 MiB.
    ///
    /// # Effects
    /// Converge: writes to `dst` only, goes on where an earlier attempt ended, and sends what changed after that. A target that
    /// is in use, smaller, read-only, or holds anything (without `overwrite`) is refused, and nothing is written. What the
    /// target held cannot be put back by undo. A plan looks at both ends and writes nothing; the agent runs from memory then, by
    /// python or perl. After a connection was lost, an end that the agent there still holds is waited for, up to 35 seconds.
    ///
    /// # Errors
    /// `not_found`, `invalid` for what is no device or image and for the same storage under two names, `no_space` for a smaller
    /// target, `conflict` if an end is in use, is not the one it was, or the target was written to since the last pass,
    /// `exists` if the target holds something, `denied` if it is read-only, `io` if the source cannot be read, `mismatch` if
    /// what is read back is not what was written, `unreachable` if a connection is lost: a resume goes on from there.
    ///
    /// # Source
    /// src/block/copy.rs
    ///
    /// # Example
    /// ```rhai
    /// let report = step("copy", || block::copy(tmp + "/a/one", tmp + "/image", #{ create: true }));
    /// assert_eq(report.bytes, 3);
    /// assert_eq(report.verified, 1);
    /// ```
    #[rhai_fn(name = "copy", return_raw, volatile)]
    pub fn copy_plain(context: NativeCallContext, src: Dynamic, dst: Dynamic) -> Result {
        raise_data(&context, disk::copy(&context, &src, &dst, Map::new()))
    }

    #[rhai_fn(name = "copy", return_raw, volatile)]
    pub fn copy_with(context: NativeCallContext, src: Dynamic, dst: Dynamic, opts: Map) -> Result {
        raise_data(&context, disk::copy(&context, &src, &dst, opts))
    }

    /// Says what two ends of a copy are, and refuses what `block::copy` would refuse at first sight.
    ///
    /// # Shape
    /// block::pair(src: endpoint, dst: endpoint, [opts: map]) -> map
    /// opts   overwrite: bool = false, create: bool = false, live: bool = false
    /// result #{ source: #{ path, kind, size_bytes, identity, read_only, uses, signatures, wwn }, target }; `kind` is device,
    ///        image or missing, `uses` a list of texts, `signatures` a list of names with their `offset_bytes`
    ///
    /// # Units
    /// `_bytes` bytes.
    ///
    /// # Effects
    /// Reads only. Kept as a fact and given to `block::copy` as `expect`, it makes every later pass refuse an end that is another
    /// device than it was, or both swapped.
    ///
    /// # Errors
    /// As `block::copy`, before it writes.
    ///
    /// # Source
    /// src/block/facts.rs, src/block/refuse.rs
    ///
    /// # Example
    /// ```rhai
    /// let pair = block::pair(tmp + "/a/one", tmp + "/image", #{ create: true });
    /// assert_eq(pair.target.kind, "missing");
    /// ```
    #[rhai_fn(name = "pair", return_raw, volatile)]
    pub fn pair_plain(context: NativeCallContext, src: Dynamic, dst: Dynamic) -> Result {
        raise_data(&context, disk::pair(&context, &src, &dst, Map::new()))
    }

    #[rhai_fn(name = "pair", return_raw, volatile)]
    pub fn pair_with(context: NativeCallContext, src: Dynamic, dst: Dynamic, opts: Map) -> Result {
        raise_data(&context, disk::pair(&context, &src, &dst, opts))
    }

    /// Compares two block devices or images by digests, byte for byte. Only digests come from another machine.
    ///
    /// # Shape
    /// block::compare(left: endpoint, right: endpoint, [opts: map]) -> map
    /// opts   length_bytes: int (as much as the smaller one has), in_flight: int = 0 (extents of 1 MiB; 32),
    ///        channels: int = 4 (over SSH: conversations with each end), streams: int = 1 (over SSH: sessions they share)
    /// result #{ equal, bytes, differing, ranges, left_digest, right_digest, left, right, elapsed_ms }; `differing` counts pieces of
    ///        64 KiB, `ranges` names the first of them, `left` and `right` are as block::pair gives its ends
    ///
    /// # Units
    /// `bytes` and `_bytes` bytes, `_ms` milliseconds.
    ///
    /// # Effects
    /// Reads only.
    ///
    /// # Errors
    /// `not_found`, `invalid` for what is no device or image, `io` if one cannot be read. Differences are counted, not thrown.
    ///
    /// # Source
    /// src/block/compare.rs
    ///
    /// # Example
    /// ```rhai
    /// let seen = block::compare(tmp + "/a/one", tmp + "/a/two");
    /// assert_eq(seen.equal, false);
    /// ```
    #[rhai_fn(name = "compare", return_raw, volatile)]
    pub fn compare_plain(context: NativeCallContext, left: Dynamic, right: Dynamic) -> Result {
        raise_data(&context, disk::compare(&context, &left, &right, Map::new()))
    }

    #[rhai_fn(name = "compare", return_raw, volatile)]
    pub fn compare_with(context: NativeCallContext, left: Dynamic, right: Dynamic, opts: Map) -> Result {
        raise_data(&context, disk::compare(&context, &left, &right, opts))
    }

    /// Lists the block devices of this machine, or of a host.
    ///
    /// # Shape
    /// block::devices([host: host]) -> list
    ///
    /// # Units
    /// `_bytes` bytes.
    ///
    /// # Effects
    /// Reads only. Each is a map: `name`, `path`, `part_of` (the disk, for a partition), `size_bytes`, `sector_bytes`, `serial`,
    /// `wwn`, `model`, `links` (its names in /dev/disk), `identity`, `read_only`, `uses`, `signatures`, and `error` for one that
    /// cannot be opened; () is what is not known.
    ///
    /// # Errors
    /// `io` if the system does not list them.
    ///
    /// # Source
    /// sysfs(5); src/block/devices.rs
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(type_of(block::devices()), "array");
    /// ```
    #[rhai_fn(name = "devices", return_raw, volatile)]
    pub fn devices_here(context: NativeCallContext) -> Result {
        raise_data(&context, disk::devices(&context, &Host::Local))
    }

    #[rhai_fn(name = "devices", return_raw, volatile)]
    pub fn devices_of(context: NativeCallContext, host: Host) -> Result {
        raise_data(&context, disk::devices(&context, &host))
    }
}
