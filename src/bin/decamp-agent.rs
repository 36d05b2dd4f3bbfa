//! The far side: started on another machine or in a pod, it speaks frames on standard input and output.

use std::process::ExitCode;

fn main() -> ExitCode {
    decamp::agent::main(std::env::args_os())
}
