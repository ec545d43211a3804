//! The `strongroom` binary: parse, dispatch, map to an exit code.

use std::process::ExitCode;

use strongroom::cli::{self, Exit};

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            cli::complain(&format!("cannot start the runtime: {error}"));
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(cli::run());
    // A thread that still reads from a dead pg_dump must not hold up the end.
    runtime.shutdown_background();
    exit.into()
}
