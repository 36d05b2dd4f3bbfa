//! Builds `decamp-agent`, the far side, as one static file, for the library to embed: the same package once more, without
//! its default features, in a target directory of its own.
#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
#![allow(clippy::exit, reason = "a failure must be seen as one: cargo shows what a failing script printed")]

use std::{env, path::Path, path::PathBuf, process::Command};

/// What the agent is made of. An edit of anything else must not run this again: it would slow every check.
const MADE_OF: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "build.rs",
    "src/agent",
    "src/bin",
    "src/block",
    "src/cancel.rs",
    "src/copy",
    "src/lib.rs",
    "src/progress.rs",
    "src/rate.rs",
    "src/units.rs",
    "src/wire",
];

fn main() {
    println!("cargo::rerun-if-env-changed=DECAMP_AGENT_FILE");
    // One that does not exist would run this script every time.
    for path in MADE_OF.iter().filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    // The nested build runs this script too.
    if env::var_os("CARGO_FEATURE_FULL").is_none() {
        return;
    }
    let file = env::var_os("DECAMP_AGENT_FILE").map_or_else(build, PathBuf::from);
    if !file.is_absolute() || !file.is_file() {
        println!("cargo::error=DECAMP_AGENT_FILE must be the absolute path of a file, and `{}` is none", file.display());
        std::process::exit(1);
    }
    println!("cargo::rerun-if-changed={}", file.display());
    println!("cargo::rustc-env=DECAMP_AGENT_FILE={}", file.display());
}

fn build() -> PathBuf {
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("agent");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    cargo
        .args(["build", "--locked", "--profile", "agent", "--bin", "decamp-agent", "--no-default-features"])
        .args(["--features", "agent", "--target", &target, "--target-dir"])
        // Of its own: cargo holds the lock of the outer one while this script runs.
        .arg(&dir);
    // Inherited, they reach every build script of the nested build, this one first: it would call itself for ever.
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_FEATURE_") {
            cargo.env_remove(name);
        }
    }
    // Whoever develops builds it often: there it may be larger and slower.
    if env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        cargo.envs([("CARGO_PROFILE_AGENT_LTO", "off"), ("CARGO_PROFILE_AGENT_OPT_LEVEL", "1")]);
        cargo.envs([("CARGO_PROFILE_AGENT_CODEGEN_UNITS", "16"), ("CARGO_PROFILE_AGENT_INCREMENTAL", "true")]);
    }
    // The flags take the place of RUSTFLAGS and of all configured ones; the wrapper is clippy's.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static").env("CARGO_BUILD_BUILD_DIR", &dir);
    let status = cargo.env_remove("RUSTC_WORKSPACE_WRAPPER").status().expect("cargo can be started");
    if !status.success() {
        println!(
            "cargo::error=decamp-agent did not build ({status}); it is linked statically, which needs libc.a: on Debian \
             and Ubuntu it is in libc6-dev, on Fedora in glibc-static. DECAMP_AGENT_FILE=/path takes a finished one"
        );
        std::process::exit(1);
    }
    dir.join(target).join("agent/decamp-agent")
}
