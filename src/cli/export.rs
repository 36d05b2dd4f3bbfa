//! `decamp export`: all that is known of a run in one archive, for a ticket or a colleague.
//!
//! Secrets are never stored, so none can be in it; command lines can hold what nobody meant to show, so of those only the
//! program is kept, wherever they stand. The scripts are packed as they are: their text is the author's.

mod lines;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{Write, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use self::lines::{Lines, program};
use super::ctx::Ctx;
use super::{show, state};
use crate::error::{Error, Exit, Kind};
use crate::journal::{EventRow, Reader, RunDetail, Source, doctor};
use crate::report::json::document;
use crate::script::params::ParamKind;
use crate::script::site::Used;
use crate::script::{self, Script};
use crate::units::{Bytes, path_text};

/// Write all that is known of a run into one archive
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The archive holds the run with its steps and effects, its events, the script as it ran, and what is known \
                        of this machine. Secrets are not stored and so not in it; of command lines only the program \
                        is, and not what commands wrote. What stands in the script itself, or was made a result or \
                        note by it, is in it.\n\nExamples:\n  decamp export 4f1c09aa\n  decamp export 4f1c09aa --out - | ssh host tar --zstd -t"
)]
pub(crate) struct Args {
    /// The run: its name, or a beginning or end of it that no other run has
    run: String,

    /// Where it goes, - for standard output; never overwrites [default: decamp-RUN.tar.zst]
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
}

/// How hard it is packed.
const LEVEL: i32 = 9;

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let (reader, id) = state::find(ctx, &args.run)?;
    let files = files(ctx, &reader, &reader.run(&id)?)?;
    let out = args.out.unwrap_or_else(|| PathBuf::from(format!("decamp-{}.tar.zst", id.short())));
    let packed = pack(&format!("decamp-{}", id.short()), &files)
        .map_err(|source| Error::new(Kind::Io, "cannot pack the archive").because(source))?;
    let shown = path_text(out.as_os_str().as_encoded_bytes());
    let failed = |source: std::io::Error| {
        let exists = source.kind() == std::io::ErrorKind::AlreadyExists;
        let kind = if exists { Kind::Exists } else { Kind::Io };
        Error::new(kind, format!("cannot write `{shown}`")).because(source).hint("name another file with --out")
    };
    if out == Path::new("-") {
        stdout().lock().write_all(&packed).and_then(|()| stdout().flush()).map_err(failed)?;
        return Ok(Exit::Success);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&out).map_err(failed)?;
    if let Err(error) = file.write_all(&packed).and_then(|()| file.sync_all()) {
        // Half an archive would be taken for a whole one.
        std::fs::remove_file(&out).ok();
        return Err(failed(error));
    }
    let size = Bytes(packed.len() as u64);
    ctx.result(
        || format!("wrote {shown} ({size}, {} files); nobody else can read it\n", files.len()),
        || json!({ "run": id.as_str(), "file": shown, "bytes": size.0, "files": files.len() }),
    );
    Ok(Exit::Success)
}

/// Names and contents, in the order they are packed.
fn files(ctx: &Ctx, reader: &Reader, found: &RunDetail) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let id = &found.summary.id;
    let sources = reader.sources(id)?;
    let hidden = hidden(found, &sources);
    let mut run = show::data(found, &show::More::default(), &[]);
    if let Some(params) = run["run"]["params"].as_object_mut() {
        params.iter_mut().filter(|(name, _)| hidden.contains(*name)).for_each(|(_, value)| *value = program(value));
    }
    let rows = reader.events(id)?;
    let lines = lines(found, &hidden, &rows);
    run["incarnations"] = json!(found.incarnations);
    run["sources"] = json!(found.sources);
    lines.hide(&mut run);
    let mut events = Vec::new();
    for event in rows {
        let mut event = json!(event);
        if let Some(params) = event["data"]["params"].as_object_mut() {
            params.iter_mut().filter(|(name, _)| hidden.contains(*name)).for_each(|(_, value)| *value = program(value));
        }
        lines.hide(&mut event);
        events.extend(event.to_string().into_bytes());
        events.push(b'\n');
    }
    let checkup = doctor::check(&ctx.state_dir()?)?;
    let findings: Vec<Value> = checkup
        .findings
        .iter()
        .map(|f| json!({ "severity": f.severity, "what": f.what, "path": path_text(f.path.as_os_str().as_encoded_bytes()) }))
        .collect();
    let text = |value: Value| format!("{:#}\n", document(value)).into_bytes();
    let mut files = vec![
        ("run.json".to_owned(), text(run)),
        ("events.ndjson".to_owned(), events),
        ("environment.json".to_owned(), text(environment())),
        ("doctor.json".to_owned(), text(json!({ "trusted": checkup.trusted(), "findings": findings }))),
    ];
    files.extend(sources.into_iter().map(|source| (source_name(&source.module), source.text.into_bytes())));
    Ok(files)
}

/// `sources/std/passes.rhai`, and nothing outside `sources`.
fn source_name(module: &str) -> String {
    let parts: Vec<&str> =
        module.trim_end_matches(".rhai").split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    format!("sources/{}.rhai", parts.join("/"))
}

/// The command lines of a run: its own, those among its parameters, those it ran, and those that give secrets.
fn lines(found: &RunDetail, hidden: &BTreeSet<String>, events: &[EventRow]) -> Lines {
    let params = || found.summary.params.as_object().into_iter().flatten();
    let shown = params().filter(|(name, _)| !hidden.contains(*name)).filter_map(|(_, value)| value.as_str());
    let mut lines = Lines::except(shown.map(str::to_owned).collect());
    params().filter(|(name, _)| hidden.contains(*name)).for_each(|(_, value)| lines.add(value));
    found.summary.argv.iter().skip(1).for_each(|word| lines.word(word));
    for effect in found.effects.iter().filter(|effect| effect.function == "host.exec") {
        lines.add(&json!(effect.target));
        lines.add(&effect.request["argv"]);
    }
    let site = Used::recorded(events);
    site.iter().flat_map(|site| site.secrets.values()).for_each(|reference| lines.add(&json!(reference)));
    lines
}

/// Parameters that are command lines or secrets; all of them where the script does not tell.
fn hidden(found: &RunDetail, sources: &[Source]) -> BTreeSet<String> {
    let main = sources.iter().find(|source| source.module == "main");
    let path = found.summary.script_path.as_ref().map(PathBuf::from);
    let declared = main.and_then(|main| {
        let script = Script { name: found.summary.script.clone(), path, text: main.text.clone() };
        script::params(&script).ok()
    });
    match declared {
        Some(declared) => declared
            .into_iter()
            .filter(|param| matches!(param.kind, ParamKind::Argv | ParamKind::Secret))
            .map(|param| param.name)
            .collect(),
        None => found.summary.params.as_object().map(Map::keys).into_iter().flatten().cloned().collect(),
    }
}

/// What is known of this machine.
fn environment() -> Value {
    let uname = rustix::system::uname();
    let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).map(|name| name.trim_matches('"'));
    json!({
        "decamp": env!("CARGO_PKG_VERSION"),
        "system": system,
        "kernel": format!("{} {}", text(uname.sysname()), text(uname.release())),
        "machine": text(uname.machine()),
        "host": text(uname.nodename()),
        "exported_at": jiff::Timestamp::now().to_string(),
    })
}

fn pack(top: &str, files: &[(String, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), LEVEL)?);
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default());
        archive.append_data(&mut header, format!("{top}/{name}"), content.as_slice())?;
    }
    archive.into_inner()?.finish()
}
