//! Pids are used again; a pid with the time its process started is not.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::failure::{During, Failure, Outcome};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub pid: i32,
    /// Clock ticks after boot, field 22 of /proc/pid/stat.
    pub start_time: u64,
}

/// The fields of /proc/pid/stat that we read.
pub struct Stat {
    pub state: u8,
    pub start_time: u64,
    pub user_ticks: u64,
    pub system_ticks: u64,
}

impl Identity {
    /// Who has this pid now. `None`: nobody.
    pub fn of(pid: i32) -> io::Result<Option<Self>> {
        Ok(stat(pid)?.map(|stat| Self {
            pid,
            start_time: stat.start_time,
        }))
    }

    /// A handle on exactly this process. `None`: it is gone, whoever has its pid now.
    pub fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.pid > 0) else {
            return Ok(None);
        };
        let handle = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(handle) => handle,
            // The second while it is being reaped: its number is still held, its process is not.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Asked after the handle was opened: while it is held the answer stays true.
        let same = stat(self.pid)?.is_some_and(|stat| stat.start_time == self.start_time);
        Ok(same.then_some(handle))
    }

    /// False for a process that has ended, also while nobody has waited for it.
    pub fn alive(self) -> Outcome<bool> {
        let stat = stat(self.pid).during(|| format!("looking at process {}", self.pid))?;
        Ok(stat.is_some_and(|stat| stat.start_time == self.start_time && !matches!(stat.state, b'Z' | b'X')))
    }

    /// Sends a signal to this process and no other. False: it is gone already.
    pub fn kill(self, signal: i32) -> Outcome<bool> {
        let signal =
            Signal::from_named_raw(signal).ok_or_else(|| Failure::invalid("signal", format!("{signal} is none")))?;
        let Some(handle) = self.open().during(|| format!("opening process {}", self.pid))? else {
            return Ok(false);
        };
        match pidfd_send_signal(handle.as_fd(), signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error).during(|| format!("signalling process {}", self.pid)),
        }
    }
}

/// `None`: no such process.
pub fn stat(pid: i32) -> io::Result<Option<Stat>> {
    let text = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => return Ok(None),
        Err(error) => return Err(error),
    };
    // The second field is a name in parentheses that may hold anything, parentheses too.
    let parsed = text.rsplit_once(") ").and_then(|(_, rest)| {
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse().ok();
        Some(Stat {
            state: fields.first()?.bytes().next()?,
            user_ticks: number(11)?,
            system_ticks: number(12)?,
            start_time: number(19)?,
        })
    });
    parsed
        .map(Some)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat: {text}")))
}
