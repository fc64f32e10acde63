//! Starts a process: its streams, its image, its control group, and the reason if it cannot be.

use super::fork::{self, Failure, Image, Step, Streams};
use super::input::Input;
use super::outlet::{Channel, Outlet};
use super::running::Running;
use super::tree::{Handles, Tree};
use super::{command, environment, terminal};
use crate::descriptor;
use crate::fault::{Fault, Kind};
use crate::guest::Guest;
use crate::limits;
use crate::proto::process::{ProcessConfig, StartRequest, pty};
use crate::users::User;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The process, with output that nobody reads yet.
pub struct Started {
    pub process: Arc<Running>,
    /// Readable at the end of the process itself.
    pub ended: Arc<AsyncFd<OwnedFd>>,
    pub sources: Vec<Source>,
}

pub type Source = (Arc<AsyncFd<OwnedFd>>, Channel);

/// Both sides of a new process's streams.
struct Wiring {
    theirs: [OwnedFd; 3],
    input: Input,
    sources: Vec<Source>,
}

/// Starts what was asked for; the fault tells a missing program from a bad directory. Where processes are frozen it must
/// not be called.
pub fn start(guest: &Guest, request: StartRequest, user: &User) -> Result<Started, Fault> {
    let config = request
        .process
        .into_option()
        .ok_or_else(|| Fault::invalid("no process is given"))?;
    let pty = request
        .pty
        .into_option()
        .map(|pty| pty.size.into_option().unwrap_or_default());
    let image = image(guest, &config, user, pty.is_some())?;
    let wiring = match &pty {
        Some(size) => wire_terminal(size, user)?,
        None => wire_pipes(request.stdin.unwrap_or(true))?,
    };
    let cgroup = guest.processes.cgroups.create();
    let [stdin, stdout, stderr] = wiring.theirs.each_ref().map(AsFd::as_fd);
    let streams = Streams { stdin, stdout, stderr };
    let forked = fork::fork(&image, &streams, cgroup.as_ref().map(|group| group.fd()));
    drop(wiring.theirs);
    let child = match forked {
        Ok(child) => child,
        Err(failure) => {
            guest.processes.cgroups.retire(cgroup);
            return Err(explain(&failure, &config, &image));
        }
    };
    let cgroup = cgroup.filter(|_| child.in_cgroup);
    let process = Arc::new(Running {
        pid: child.pid as u32,
        config,
        tag: request.tag,
        input: wiring.input,
        outlet: Arc::new(Outlet::default()),
        tree: Tree::new(
            child.pid,
            Handles {
                pidfd: child.pidfd.clone(),
                cgroup,
            },
        ),
    });
    guest.processes.add(process.clone());
    Ok(Started {
        process,
        ended: child.pidfd,
        sources: wiring.sources,
    })
}

fn image(guest: &Guest, config: &ProcessConfig, user: &User, terminal: bool) -> Result<Image, Fault> {
    let envs = environment::build(&guest.settings.read().unwrap(), user, &config.envs);
    let cwd = guest.resolve(config.cwd.as_deref().unwrap_or_default(), user)?;
    if !cwd.is_dir() {
        return Err(Fault::invalid(format!("cwd '{}' does not exist", cwd.display())));
    }
    let program = command::find(&config.cmd, envs.get("PATH").map_or("", String::as_str), &cwd)?;
    let args = std::iter::once(&config.cmd).chain(&config.args);
    let envs = envs.iter().map(|(name, value)| format!("{name}={value}"));
    Ok(Image {
        program: command::c_string(&program)?,
        args: args.map(command::c_string).collect::<Result<_, _>>()?,
        envs: envs.map(command::c_string).collect::<Result<_, _>>()?,
        cwd: command::c_string(&cwd)?,
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        open_files: limits::original_open_files(),
        terminal,
    })
}

fn wire_terminal(size: &pty::Size, user: &User) -> Result<Wiring, Fault> {
    let terminal = terminal::open(size, user)?;
    let both = Interest::READABLE | Interest::WRITABLE;
    let master = Arc::new(descriptor::register(terminal.master, both).map_err(failed)?);
    let copy = || terminal.slave.try_clone().map_err(failed);
    Ok(Wiring {
        theirs: [copy()?, copy()?, terminal.slave],
        input: Input::terminal(master.clone()),
        sources: vec![(master, Channel::Pty)],
    })
}

/// Without standard input it reads the end of file at once.
fn wire_pipes(stdin: bool) -> Result<Wiring, Fault> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()));
    let (their_input, input) = if stdin {
        let (theirs, ours) = pipe()?;
        (
            theirs,
            Some(descriptor::register(ours, Interest::WRITABLE).map_err(failed)?),
        )
    } else {
        (std::fs::File::open("/dev/null").map_err(failed)?.into(), None)
    };
    let source = |channel| {
        let (ours, theirs) = pipe()?;
        let ours = descriptor::register(ours, Interest::READABLE).map_err(failed)?;
        Ok(((Arc::new(ours), channel), theirs))
    };
    let (out, stdout) = source(Channel::Stdout)?;
    let (err, stderr) = source(Channel::Stderr)?;
    Ok(Wiring {
        theirs: [their_input, stdout, stderr],
        input: Input::pipe(input),
        sources: vec![out, err],
    })
}

fn failed(error: io::Error) -> Fault {
    Fault::io("cannot start the process", &error)
}

fn explain(failure: &Failure, config: &ProcessConfig, image: &Image) -> Fault {
    let error = &failure.error;
    match (failure.step, error.kind()) {
        (Step::Exec, io::ErrorKind::NotFound) => {
            Fault::not_found(format!("command '{}' not found (or its interpreter)", config.cmd))
        }
        (Step::Exec, io::ErrorKind::PermissionDenied) => Fault::new(
            Kind::PermissionDenied,
            format!("command '{}' may not be executed", config.cmd),
        ),
        (Step::Exec, _) => Fault::invalid(format!("command '{}' cannot be executed: {error}", config.cmd)),
        (Step::Cwd, _) => Fault::io(format!("cannot use cwd '{}'", image.cwd.to_string_lossy()), error),
        (Step::User, _) => Fault::io("cannot become the user", error),
        (Step::Setup, _) => Fault::io("cannot start the process", error),
    }
}
