//! The program: hands the command line over and turns the result into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    decamp::cli::main(std::env::args_os())
}
