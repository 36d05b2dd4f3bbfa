//! The scripts and standard modules inside the program: the one table of what `scripts/` and `stdlib/` hold.

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "scripts/"]
struct Scripts;

#[derive(RustEmbed)]
#[folder = "stdlib/"]
struct Stdlib;

/// Names of the shipped scripts, in order.
pub(super) fn script_names() -> Vec<String> {
    names(Scripts::iter())
}

/// Names of the standard modules, in order, without `std/`.
pub(super) fn module_names() -> Vec<String> {
    names(Stdlib::iter())
}

/// Text of a shipped script.
pub(super) fn script(name: &str) -> Option<String> {
    text(Scripts::get(&format!("{name}.rhai")))
}

/// Text of a standard module, named without `std/`.
pub(super) fn module(name: &str) -> Option<String> {
    text(Stdlib::get(&format!("{name}.rhai")))
}

fn names(files: impl Iterator<Item = std::borrow::Cow<'static, str>>) -> Vec<String> {
    let mut names: Vec<_> = files.filter_map(|file| file.strip_suffix(".rhai").map(str::to_owned)).collect();
    names.sort();
    names
}

fn text(file: Option<rust_embed::EmbeddedFile>) -> Option<String> {
    file.and_then(|file| String::from_utf8(file.data.into_owned()).ok())
}
