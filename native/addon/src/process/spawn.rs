//! Starting a process that outlives us (VM2).
//!
//! Everything that can be prepared is prepared before the fork; between fork and exec only system calls happen, since
//! in a process of many threads nothing else is safe there. The order matters: control groups first (nothing may run
//! outside them), then what needs root, the user last.

use std::{
    collections::HashMap,
    ffi::CString,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{identity::Identity, watch};
use crate::{
    failure::{During, Failure, Outcome},
    net::namespace,
};

#[derive(Default)]
pub struct Launch {
    /// The program and its arguments; the program by path or looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: HashMap<String, String>,
    pub cwd: Option<PathBuf>,
    /// Name of a network namespace.
    pub netns: Option<String>,
    /// With mounts the process gets a mount namespace of its own, into which later unmounts still propagate (else it
    /// would pin every network namespace of the host).
    pub mounts: Vec<Bind>,
    /// Folders of control groups.
    pub cgroups: Vec<PathBuf>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub supplementary_gids: Vec<u32>,
    pub oom_score_adj: Option<i32>,
    /// Appended to; `None` is /dev/null.
    pub stdout: Option<PathBuf>,
    pub stderr: Option<PathBuf>,
    pub new_session: bool,
    pub no_new_privs: bool,
}

pub struct Bind {
    pub source: PathBuf,
    pub target: PathBuf,
    pub readonly: bool,
}

/// Starts the process. When this returns it has exec'd, and it is reaped when it ends.
pub fn spawn(launch: Launch) -> Outcome<Identity> {
    let (program, arguments) = launch
        .argv
        .split_first()
        .ok_or_else(|| Failure::invalid("argv", "there is no program"))?;
    let preparation = Preparation::of(&launch)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(&launch.env)
        .stdin(Stdio::null())
        .stdout(output(launch.stdout.as_ref())?)
        .stderr(output(launch.stderr.as_ref())?);
    // SAFETY: `enter` makes system calls only and allocates nothing.
    unsafe { command.pre_exec(move || preparation.enter()) };
    let child = command.spawn().during(|| format!("starting {program}"))?;
    // It cannot have been reaped: only we do that, below.
    let pid = i32::try_from(child.id()).expect("a pid is an i32");
    let identity = Identity::of(pid)
        .and_then(|found| found.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .during(|| format!("looking at process {pid}"))?;
    watch::adopt_child(identity)?;
    Ok(identity)
}

fn output(path: Option<&PathBuf>) -> Outcome<Stdio> {
    path.map_or_else(
        || Ok(Stdio::null()),
        |path| {
            let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
            Ok(Stdio::from(file.during(|| format!("opening {}", path.display()))?))
        },
    )
}

/// The descriptors and C strings that the child needs.
struct Preparation {
    netns: Option<OwnedFd>,
    cgroups: Vec<File>,
    oom_score_adj: Option<CString>,
    mounts: Vec<(CString, CString, bool)>,
    cwd: Option<CString>,
    uid: Option<u32>,
    gid: Option<u32>,
    groups: Vec<libc::gid_t>,
    new_session: bool,
    no_new_privs: bool,
}

impl Preparation {
    fn of(launch: &Launch) -> Outcome<Self> {
        let netns = launch.netns.as_deref().map(|name| {
            let file = File::open(namespace::path(name)).during(|| format!("opening namespace {name}"))?;
            Ok(file.into())
        });
        let cgroups = launch.cgroups.iter().map(|folder| {
            let members = folder.join("cgroup.procs");
            OpenOptions::new()
                .write(true)
                .open(&members)
                .during(|| format!("opening {}", members.display()))
        });
        let mounts = launch
            .mounts
            .iter()
            .map(|bind| Ok((c_path(&bind.source)?, c_path(&bind.target)?, bind.readonly)));
        Ok(Self {
            netns: netns.transpose()?,
            cgroups: cgroups.collect::<Outcome<_>>()?,
            oom_score_adj: launch
                .oom_score_adj
                .map(|score| CString::new(score.to_string()).expect("digits")),
            mounts: mounts.collect::<Outcome<_>>()?,
            cwd: launch.cwd.as_ref().map(c_path).transpose()?,
            uid: launch.uid,
            gid: launch.gid,
            groups: launch.supplementary_gids.clone(),
            new_session: launch.new_session,
            no_new_privs: launch.no_new_privs,
        })
    }

    /// In the child, between fork and exec.
    fn enter(&self) -> io::Result<()> {
        for group in &self.cgroups {
            write_all(group.as_raw_fd(), b"0")?;
        }
        if let Some(score) = &self.oom_score_adj {
            // SAFETY: the path is a C string; the descriptor ends with exec.
            let file =
                check(unsafe { libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) })?;
            write_all(file, score.as_bytes())?;
        }
        if self.new_session {
            // SAFETY: no arguments. A forked child leads no process group, so it may.
            check(unsafe { libc::setsid() })?;
        }
        if let Some(netns) = &self.netns {
            // SAFETY: the descriptor is open.
            check(unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) })?;
        }
        if !self.mounts.is_empty() {
            self.mount()?;
        }
        if let Some(cwd) = &self.cwd {
            // SAFETY: `cwd` is a C string.
            check(unsafe { libc::chdir(cwd.as_ptr()) })?;
        }
        self.become_user()?;
        if self.no_new_privs {
            // SAFETY: PR_SET_NO_NEW_PRIVS takes these constants.
            check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        }
        // Closed by exec, not now: the pipe that tells our parent of a failed exec is among them.
        // SAFETY: marks descriptors, touches no memory.
        check(
            unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) }
                as libc::c_int,
        )
        .map(|_| ())
    }

    fn mount(&self) -> io::Result<()> {
        // SAFETY: takes a flag only.
        check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
        mount(None, c"/", libc::MS_REC | libc::MS_SLAVE)?;
        for (source, target, readonly) in &self.mounts {
            mount(Some(source), target, libc::MS_BIND)?;
            if *readonly {
                mount(
                    None,
                    target,
                    libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_NOSUID,
                )?;
            }
        }
        Ok(())
    }

    fn become_user(&self) -> io::Result<()> {
        if self.uid.is_some() || self.gid.is_some() || !self.groups.is_empty() {
            // SAFETY: the pointer and the length are the vector's.
            check(unsafe { libc::setgroups(self.groups.len(), self.groups.as_ptr()) })?;
        }
        if let Some(gid) = self.gid {
            // SAFETY: takes a number.
            check(unsafe { libc::setgid(gid) })?;
        }
        if let Some(uid) = self.uid {
            // SAFETY: takes a number.
            check(unsafe { libc::setuid(uid) })?;
        }
        Ok(())
    }
}

fn mount(source: Option<&CString>, target: &std::ffi::CStr, flags: libc::c_ulong) -> io::Result<()> {
    let source = source.map_or(std::ptr::null(), |source| source.as_ptr());
    // SAFETY: the strings are C strings or null where mount(2) ignores them.
    check(unsafe { libc::mount(source, target.as_ptr(), std::ptr::null(), flags, std::ptr::null()) }).map(|_| ())
}

fn write_all(file: libc::c_int, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length are the slice's.
    let written = unsafe { libc::write(file, bytes.as_ptr().cast(), bytes.len()) };
    if written < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn c_path(path: &PathBuf) -> Outcome<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Failure::invalid("path", "it contains a NUL"))
}
