//! The `feed` program: see `feed --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    feed::cli::main()
}
