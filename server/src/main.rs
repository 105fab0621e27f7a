//! The program: hands over to a worker if it was started as one, else to the command line. Both before any thread exists.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|a| a == "worker") {
        return engine::worker::main();
    }
    wharf::cli::main()
}
