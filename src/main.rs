//! The `groundwork` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    groundwork::cli::run(std::env::args_os())
}
