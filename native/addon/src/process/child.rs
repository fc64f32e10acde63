//! What a child does between its birth and its program.
//!
//! Everything that can be prepared is prepared before; in the child only system calls happen, since it borrows the
//! memory of a program of many threads. The order matters: control groups first (nothing may run outside them), then
//! what needs root, the user last.

use std::{
    collections::HashMap,
    ffi::CString,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    },
    path::{Path, PathBuf},
    ptr,
};

use super::spawn::Launch;
use crate::{
    failure::{During, Failure, Outcome},
    net::namespace,
};

/// All that the child needs, down to the C strings.
pub(super) struct Child {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// Standard input, output and error.
    standard: [File; 3],
    netns: Option<OwnedFd>,
    cgroups: Vec<File>,
    oom_score_adj: Option<CString>,
    mounts: Vec<(CString, CString, bool)>,
    root: Option<CString>,
    cwd: Option<CString>,
    uid: Option<u32>,
    gid: Option<u32>,
    groups: Vec<libc::gid_t>,
    new_session: bool,
    no_new_privs: bool,
}

impl Child {
    pub fn of(launch: &Launch) -> Outcome<Self> {
        let program = launch
            .argv
            .first()
            .ok_or_else(|| Failure::invalid("argv", "there is no program"))?;
        let text =
            |text: &String| CString::new(text.as_str()).map_err(|_| Failure::invalid("argv", "it contains a NUL"));
        let variables = launch.env.iter().map(|(name, value)| text(&format!("{name}={value}")));
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
        let mounts = launch.mounts.iter().map(|bind| {
            let target = from_outside(launch.root.as_deref(), &bind.target);
            Ok((c_path(&bind.source)?, c_path(&target)?, bind.readonly))
        });
        Ok(Self {
            program: c_path(&locate(program, &launch.env))?,
            arguments: launch.argv.iter().map(text).collect::<Outcome<_>>()?,
            environment: variables.collect::<Outcome<_>>()?,
            standard: [
                File::open("/dev/null").during(|| "opening /dev/null".to_owned())?,
                output(launch.stdout.as_deref())?,
                output(launch.stderr.as_deref())?,
            ],
            netns: netns.transpose()?,
            cgroups: cgroups.collect::<Outcome<_>>()?,
            oom_score_adj: launch
                .oom_score_adj
                .map(|score| CString::new(score.to_string()).expect("digits")),
            mounts: mounts.collect::<Outcome<_>>()?,
            root: launch.root.as_ref().map(|root| c_path(root)).transpose()?,
            cwd: launch.cwd.as_ref().map(|cwd| c_path(cwd)).transpose()?,
            uid: launch.uid,
            gid: launch.gid,
            groups: launch.supplementary_gids.clone(),
            new_session: launch.new_session,
            no_new_privs: launch.no_new_privs,
        })
    }

    /// Pointers for execve, which the child may not make itself.
    pub fn pointers(&self) -> Pointers {
        let terminated = |strings: &[CString]| strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
        Pointers {
            arguments: terminated(&self.arguments),
            environment: terminated(&self.environment),
        }
    }

    /// In the child: becomes the program, or says why not.
    pub fn exec(&self, pointers: &Pointers) -> io::Error {
        if let Err(error) = self.enter() {
            return error;
        }
        // SAFETY: both arrays end with a null pointer, and what they point to is ours.
        unsafe {
            libc::execve(
                self.program.as_ptr(),
                pointers.arguments.as_ptr(),
                pointers.environment.as_ptr(),
            )
        };
        io::Error::last_os_error()
    }

    fn enter(&self) -> io::Result<()> {
        for (number, file) in (0..).zip(&self.standard) {
            // SAFETY: the descriptor is open, and not one of the three: those are open in every Node program.
            check(unsafe { libc::dup2(file.as_raw_fd(), number) })?;
        }
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
        if let Some(root) = &self.root {
            // SAFETY: both are C strings.
            check(unsafe { libc::chroot(root.as_ptr()) })?;
            check(unsafe { libc::chdir(c"/".as_ptr()) })?;
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
        // Closed by exec, not now: a failed one has still to be told of.
        // SAFETY: marks the child's descriptors, touches no memory.
        check_call(unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) })
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

    /// By system call: the C library's functions would change the user of every thread of our own program. (The kernel
    /// marks the memory that we share as not to be dumped: an agent of root that has done this leaves no core file.)
    fn become_user(&self) -> io::Result<()> {
        if self.uid.is_some() || self.gid.is_some() || !self.groups.is_empty() {
            // SAFETY: the pointer and the length are the vector's.
            check_call(unsafe { libc::syscall(libc::SYS_setgroups, self.groups.len(), self.groups.as_ptr()) })?;
        }
        if let Some(gid) = self.gid {
            // SAFETY: takes a number.
            check_call(unsafe { libc::syscall(libc::SYS_setgid, gid) })?;
        }
        if let Some(uid) = self.uid {
            // SAFETY: takes a number.
            check_call(unsafe { libc::syscall(libc::SYS_setuid, uid) })?;
        }
        Ok(())
    }
}

pub(super) struct Pointers {
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
}

/// Where a path is that the child will see from its root.
fn from_outside(root: Option<&Path>, path: &Path) -> PathBuf {
    root.map_or_else(|| path.into(), |root| root.join(path.strip_prefix("/").unwrap_or(path)))
}

/// A name without a slash is looked up in the child's `PATH`; where it is not found execve says so.
fn locate(program: &str, env: &HashMap<String, String>) -> PathBuf {
    let folders = env.get("PATH").filter(|_| !program.contains('/'));
    let candidates = folders
        .into_iter()
        .flat_map(|folders| folders.split(':'))
        .map(|folder| Path::new(folder).join(program));
    candidates
        .into_iter()
        .find(|file| file.is_file())
        .unwrap_or_else(|| program.into())
}

fn output(path: Option<&Path>) -> Outcome<File> {
    let path = path.unwrap_or(Path::new("/dev/null"));
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    file.during(|| format!("opening {}", path.display()))
}

fn mount(source: Option<&CString>, target: &std::ffi::CStr, flags: libc::c_ulong) -> io::Result<()> {
    let source = source.map_or(ptr::null(), |source| source.as_ptr());
    // SAFETY: the strings are C strings or null where mount(2) ignores them.
    check(unsafe { libc::mount(source, target.as_ptr(), ptr::null(), flags, ptr::null()) }).map(|_| ())
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

fn check_call(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
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

fn c_path(path: &Path) -> Outcome<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Failure::invalid("path", "it contains a NUL"))
}
