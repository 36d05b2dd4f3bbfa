//! `copy::`: trees. Every function here checks its arguments, calls the engine, and converts what comes back.

use rhai::plugin::*;

#[export_module]
#[allow(clippy::needless_pass_by_value, unreachable_pub, reason = "Rhai hands values over and wants `pub`")]
pub(crate) mod copy {
    use super::super::{look, tree};
    use super::*;
    use crate::script::api::error::raise_data;
    use rhai::Map;

    type Result = std::result::Result<Dynamic, Box<EvalAltResult>>;

    /// Makes the tree at `dst` hold what the tree at `src` holds, and returns a report of every entry.
    ///
    /// # Shape
    /// copy::tree(src: endpoint, dst: endpoint, [opts: map]) -> map
    /// opts   delete: bool = false, max_delete: int or "N%" = "5%" (of the destination's entries), exclude: list = []
    ///        (rsync's patterns), one_file_system: bool = false, checksum: bool = false, accept: list = [] (owner xattr acl
    ///        capability hardlink holes times special unreadable empty-source), jobs: int = 0 (tuned while running),
    ///        max_rate: size ("50MiB" a second; the limit of the run holds as well),
    ///        backup_dir: path, foreign: "refuse" | "allow" = "refuse" without backup_dir, roots: map (of copy::roots),
    ///        dry_run: bool = false (a read), more_follow: bool = false (what only a pass with `delete` may
    ///        remove is skipped), again: bool = false (a plan does not walk: what a later pass finds is not known yet)
    /// result #{ listed, created, updated, meta_updated, unchanged, deleted, backed_up, foreign, skipped, vanished, changed,
    ///        failed, errors, listed_bytes, copied_bytes, dest_entries, elapsed_ms, bytes_per_second, planned, effort };
    ///        `listed` and `created` are #{ entries, files, dirs, links, specials }, `errors` a list of #{ path, op, reason };
    ///        `effort` is #{ operations, operations_per_second, bytes_per_second, elapsed_ms, workers, most_workers, held },
    ///        `held` why there were no more workers: given, no-gain, limit, idle, or () if it ended before that was known
    ///
    /// An end is a path, `ssh://[user@]host[:port]/path`, or what `host.at` and `host::endpoint` give. Over SSH an agent of
    /// decamp is sent to the machine for as long as the run is at work: the source is read and the destination is written
    /// where they are, of large files that changed only the parts that did cross, and what crosses is compressed as far as
    /// that is faster. Between two such ends everything comes through here. `backup_dir` is on the destination's machine.
    ///
    /// # Units
    /// `_bytes` bytes, `_ms` milliseconds; everything else counts entries.
    ///
    /// # Effects
    /// Converge: writes below `dst` only, takes up where an earlier attempt ended. What this run did not make is moved to
    /// `backup_dir`, or left alone and counted as failed, or (`foreign: "allow"`) replaced. Undo removes what the run made
    /// and nobody changed since, and puts the backup back. A plan walks both trees and writes nothing; so does `dry_run`,
    /// which may be called outside a step, and fails as the pass would if more would be deleted than allowed. A plan that
    /// cannot ask another machine without a file there gives what is not known, as the other functions here do. After a lost
    /// connection a resume lists again and sends what is missing; it waits while the agent there still holds the destination.
    ///
    /// # Errors
    /// `not_found` and `invalid` for roots that cannot be used; both must be there, in a plan `copy::root` in a step before
    /// will do. `conflict` if another run has a root, a root is no longer
    /// the same directory, or more would be deleted than allowed. `no_space` if `dst` fills: what was copied stays.
    /// `unsupported` if `dst` cannot hold what `src` has and it was not accepted. A single entry that fails is no error: it
    /// is counted in `failed` and named in `errors`.
    ///
    /// # Source
    /// src/copy/tree.rs
    ///
    /// # Example
    /// ```rhai
    /// let report = step("copy", || copy::tree(tmp + "/a", tmp + "/b"));
    /// assert_eq(report.failed, 0);
    /// assert_eq(report.created.files, 3);
    /// ```
    #[rhai_fn(name = "tree", return_raw, volatile)]
    pub fn tree_plain(context: NativeCallContext, src: Dynamic, dst: Dynamic) -> Result {
        raise_data(&context, tree::copy(&context, &src, &dst, Map::new()))
    }

    #[rhai_fn(name = "tree", return_raw, volatile)]
    pub fn tree_with(context: NativeCallContext, src: Dynamic, dst: Dynamic, opts: Map) -> Result {
        raise_data(&context, tree::copy(&context, &src, &dst, opts))
    }

    /// Makes the directory `dst` if it does not exist; the one above it must.
    ///
    /// # Shape
    /// copy::root(dst: endpoint) -> map
    /// result #{ made: bool, empty: bool, path: string }; `empty`: it holds nothing that a copy would look at
    ///
    /// # Effects
    /// Converge. Undo removes the directory if it was made here and is empty. A plan makes nothing.
    ///
    /// # Errors
    /// `not_found` if the directory above does not exist, `invalid` if `dst` is something else, `denied` or `io` as the
    /// system says.
    ///
    /// # Source
    /// mkdirat(2); src/script/api/tree.rs
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(step("root", || copy::root(tmp + "/new")).made, true);
    /// ```
    #[rhai_fn(name = "root", return_raw, volatile)]
    pub fn root(context: NativeCallContext, dst: Dynamic) -> Result {
        raise_data(&context, tree::make_root(&context, &dst))
    }

    /// Counts a tree: entries by type, bytes, and what a destination must be able to hold.
    ///
    /// # Shape
    /// copy::scan(path: endpoint, [opts: map]) -> map
    /// opts   content: bool = false (read it into the digest), xattrs: bool = false, exclude: list = [],
    ///        one_file_system: bool = false, jobs: int = 0
    /// result #{ counts, bytes, disk_bytes, hardlinks, sparse, xattrs, acls, capabilities, sockets, devices, others_owner,
    ///        subsecond, longest_name_bytes, longest_path_bytes, largest_bytes, odd_names, failed, errors, digest,
    ///        elapsed_ms }; `counts` is #{ entries, files, dirs, links, specials }
    ///
    /// # Units
    /// `_bytes` and `bytes` bytes, `_ms` milliseconds; everything else but the digest counts entries.
    ///
    /// # Effects
    /// Reads only.
    ///
    /// # Errors
    /// `not_found`, `invalid` if it is no directory. Entries that cannot be read are counted in `failed`.
    ///
    /// # Source
    /// src/copy/scan.rs
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(copy::scan(tmp + "/a").counts.files, 3);
    /// ```
    #[rhai_fn(name = "scan", return_raw, volatile)]
    pub fn scan_plain(context: NativeCallContext, path: Dynamic) -> Result {
        raise_data(&context, look::scan(&context, &path, Map::new()))
    }

    #[rhai_fn(name = "scan", return_raw, volatile)]
    pub fn scan_with(context: NativeCallContext, path: Dynamic, opts: Map) -> Result {
        raise_data(&context, look::scan(&context, &path, opts))
    }

    /// Compares two trees: every property, and as much content as asked for.
    ///
    /// # Shape
    /// copy::compare(left: endpoint, right: endpoint, [opts: map]) -> map
    /// opts   content: "none" | "sample" | "full" = "full", sample: int = 5 (per cent), exclude: list = [],
    ///        accept: list = [], one_file_system: bool = false, jobs: int = 0
    /// result #{ equal, left: #{ counts, bytes, digest }, right, differences, named, content_files, content_bytes, failed,
    ///        errors, elapsed_ms }; `named` is a list of #{ path, what, detail }
    ///
    /// # Units
    /// Bytes, milliseconds, entries.
    ///
    /// # Effects
    /// Reads only.
    ///
    /// # Errors
    /// `not_found`, `invalid` for roots that cannot be used. Differences are counted, not thrown.
    ///
    /// # Source
    /// src/copy/compare.rs
    ///
    /// # Example
    /// ```rhai
    /// step("copy", || copy::tree(tmp + "/a", tmp + "/b"));
    /// let seen = copy::compare(tmp + "/a", tmp + "/b");
    /// assert_eq(seen.differences, 0);
    /// assert_eq(seen.left.digest, seen.right.digest);
    /// ```
    #[rhai_fn(name = "compare", return_raw, volatile)]
    pub fn compare_plain(context: NativeCallContext, left: Dynamic, right: Dynamic) -> Result {
        raise_data(&context, look::compare(&context, &left, &right, Map::new()))
    }

    #[rhai_fn(name = "compare", return_raw, volatile)]
    pub fn compare_with(context: NativeCallContext, left: Dynamic, right: Dynamic, opts: Map) -> Result {
        raise_data(&context, look::compare(&context, &left, &right, opts))
    }

    /// Says what a destination can hold, and what the user may do there.
    ///
    /// # Shape
    /// copy::probe(path: endpoint) -> map
    /// result #{ fs_type, writable, read_only_reason, free_bytes, free_inodes, chown, squash, xattr, acl, capability, hardlink,
    ///        holes, time_ns, device, name_max_bytes }; () where it cannot be told without making a named file
    ///
    /// # Units
    /// `free_bytes` bytes, `time_ns` nanoseconds (the smallest step of a time), `name_max_bytes` bytes.
    ///
    /// # Effects
    /// Reads only, by an unnamed file that is gone afterwards; outside a plan, where that is not possible, a named one.
    ///
    /// # Errors
    /// `not_found`, `invalid` if it is no directory.
    ///
    /// # Source
    /// open(2) O_TMPFILE, statfs(2); src/copy/probe.rs
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(copy::probe(tmp).writable, true);
    /// ```
    #[rhai_fn(name = "probe", return_raw, volatile)]
    pub fn probe(context: NativeCallContext, path: Dynamic) -> Result {
        raise_data(&context, look::probe(&context, &path))
    }

    /// Says what of the tree at `src` the file system at `dst` cannot hold, space and length of names included.
    ///
    /// # Shape
    /// copy::shortfalls(src: endpoint, dst: endpoint, [opts: map]) -> map
    /// opts   exclude: list = [], one_file_system: bool = false, jobs: int = 0
    /// result #{ missing: [#{ accept, entries, reason }], scan, probe }; `accept` is the word to accept it by, () if it cannot be;
    ///        of `scan`, xattrs, acls and capabilities are () where the destination can hold all of them: nobody looks then
    ///
    /// # Units
    /// Entries.
    ///
    /// # Effects
    /// Reads only, as `copy::scan` and `copy::probe`.
    ///
    /// # Errors
    /// As these.
    ///
    /// # Source
    /// src/copy/probe.rs
    ///
    /// # Example
    /// ```rhai
    /// let found = copy::shortfalls(tmp + "/a", tmp);
    /// assert_eq(found.scan.counts.files, 3);
    /// ```
    #[rhai_fn(name = "shortfalls", return_raw, volatile)]
    pub fn shortfalls_plain(context: NativeCallContext, src: Dynamic, dst: Dynamic) -> Result {
        raise_data(&context, look::shortfalls(&context, &src, &dst, Map::new()))
    }

    #[rhai_fn(name = "shortfalls", return_raw, volatile)]
    pub fn shortfalls_with(context: NativeCallContext, src: Dynamic, dst: Dynamic, opts: Map) -> Result {
        raise_data(&context, look::shortfalls(&context, &src, &dst, opts))
    }

    /// Says which directories two roots really are, and refuses roots that overlap.
    ///
    /// # Shape
    /// copy::roots(src: endpoint, dst: endpoint, [opts: map]) -> map
    /// opts   expect: map (what an earlier call gave), options: map (of copy::tree, checked here already)
    /// result #{ source: string, dest: string }; `dest` is () if it does not exist yet
    ///
    /// # Effects
    /// Reads only, and takes both roots for the run: another run cannot have them until this one is over. Kept as a fact
    /// and given to `copy::tree` as `roots`, it makes every later pass refuse a root that was unmounted, remounted or
    /// replaced; given as `expect`, it does so here.
    ///
    /// # Errors
    /// `not_found`, `invalid` if one lies inside the other, also through a link or a bind mount (on another machine a bind
    /// mount is seen by `copy::tree`), if the backup directory or the state directory lies in one of them, or an option cannot
    /// be used. `conflict` if another run has one of them, or one is not what was expected.
    ///
    /// # Source
    /// src/copy/identity.rs, src/copy/overlap.rs
    ///
    /// # Example
    /// ```rhai
    /// let ids = copy::roots(tmp + "/a", tmp + "/b");
    /// assert_eq(type_of(ids.source), "string");
    /// ```
    #[rhai_fn(name = "roots", return_raw, volatile)]
    pub fn roots_plain(context: NativeCallContext, src: Dynamic, dst: Dynamic) -> Result {
        raise_data(&context, look::roots(&context, &src, &dst, Map::new()))
    }

    #[rhai_fn(name = "roots", return_raw, volatile)]
    pub fn roots_with(context: NativeCallContext, src: Dynamic, dst: Dynamic, opts: Map) -> Result {
        raise_data(&context, look::roots(&context, &src, &dst, opts))
    }
}
