//! The `trainer` program: see `trainer --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    trainer::cli::main()
}
