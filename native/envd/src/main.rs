//! envd, the agent inside a sandbox (spec VM7, VM8, VM9).
//!
//! One static binary on one thread: it starts processes, moves files and reports what the guest does.
//! It decides nothing; who may talk to it is decided by the access token that the host sets through `/init`.

mod args;
mod auth;
mod clock;
mod connections;
mod descriptor;
mod fault;
mod filesystem;
mod freezer;
mod guest;
mod hostname;
mod http;
mod identity;
mod limits;
mod paths;
mod ports;
mod process;
mod resume_hooks;
mod rewrite;
mod serve;
mod users;

/// Messages and service traits generated from `proto/` by the build script.
#[allow(clippy::all)]
mod proto {
    connectrpc::include_generated!();
}

use std::process::ExitCode;

/// The guest protocol version that we are compatible with; SDKs choose features by it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(args::Command::Serve(args)) => args,
        Ok(args::Command::Print(text)) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("envd: {message}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    // New files are 0644 and directories 0755 whatever started us.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    limits::tune_allocator();
    limits::raise_open_files();
    // One thread: a guest often has one vCPU, and a wake-up across threads costs more than the work.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8) // file I/O; more would only add stacks
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .build();
    match runtime.and_then(|runtime| runtime.block_on(serve::run(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("envd: {error}");
            ExitCode::FAILURE
        }
    }
}
