//! Pseudo-terminals.

use crate::fault::Fault;
use crate::proto::process::pty;
use crate::users::User;
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Group that owns terminals on Debian; it may write messages to them.
const TTY_GROUP: u32 = 5;

pub struct Terminal {
    /// Ours.
    pub master: OwnedFd,
    /// The process's.
    pub slave: OwnedFd,
}

/// Opens a terminal of this size that belongs to the user.
pub fn open(size: &pty::Size, user: &User) -> Result<Terminal, Fault> {
    let fail = |error: rustix::io::Errno| Fault::io("cannot open a terminal", &io::Error::from(error));
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).map_err(fail)?;
    rustix::pty::unlockpt(&master).map_err(fail)?;
    let name = rustix::pty::ptsname(&master, Vec::new()).map_err(fail)?;
    let slave =
        rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
    // Both fail for an agent that is not root; the terminal works all the same.
    let _ = rustix::fs::fchown(&slave, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(TTY_GROUP)));
    let _ = rustix::fs::fchmod(&slave, Mode::from_raw_mode(0o620));
    resize(&master, size)?;
    Ok(Terminal { master, slave })
}

/// Sets the size; the kernel tells the foreground processes by SIGWINCH.
pub fn resize(terminal: impl AsFd, size: &pty::Size) -> Result<(), Fault> {
    let side = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    let size = Winsize {
        ws_row: side(size.rows),
        ws_col: side(size.cols),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size)
        .map_err(|error| Fault::io("cannot resize the terminal", &io::Error::from(error)))
}
