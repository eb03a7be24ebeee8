//! The `amends` command.

use std::process::ExitCode;

use amends::cli::{Cli, run};
use clap::Parser;

fn main() -> ExitCode {
    run(Cli::parse())
}
