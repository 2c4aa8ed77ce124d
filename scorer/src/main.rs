//! The `scorer` program: see `scorer --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    scorer::cli::main()
}
