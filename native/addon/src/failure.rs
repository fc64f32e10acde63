//! The addon's one error type. The doc comment of a variant is its message, `code()` is the stable string
//! that TypeScript matches on.

use std::io;

use displaydoc::Display;
use thiserror::Error;

pub type Outcome<T> = Result<T, Failure>;

#[derive(Debug, Display, Error)]
pub enum Failure {
    /// {what}: {why}
    InvalidArgument { what: &'static str, why: String },
    /// slot {index} exists already
    SlotExists { index: u16 },
    /// slot {index} could not be made, step {step}: {source}
    SlotStep {
        index: u16,
        step: &'static str,
        source: Box<Failure>,
    },
    /// {path} is locked by another process
    Locked { path: String },
    /// the front stopped before it could listen on {address}: {source}
    Listen { address: String, source: io::Error },
    /// {path} cannot be used: {why}
    SnapshotDamaged { path: String, why: String },
    /// process {pid} has ended
    ProcessGone { pid: i32 },
    /// {action}: {source}
    System { action: String, source: io::Error },
    /// the addon panicked: {message}
    Panic { message: String },
}

impl Failure {
    /// Stable code for `error.code` in JavaScript. A failed system call is named after its errno.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidArgument { .. } => "invalid_argument",
            Self::SlotExists { .. } => "slot_exists",
            Self::SlotStep { .. } => "slot_failed",
            Self::Locked { .. } => "locked",
            Self::Listen { .. } => "listen_failed",
            Self::SnapshotDamaged { .. } => "snapshot_damaged",
            Self::ProcessGone { .. } => "process_gone",
            Self::Panic { .. } => "internal",
            Self::System { source, .. } => match source.raw_os_error() {
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ESRCH) => "not_found",
                Some(libc::EEXIST) => "already_exists",
                Some(libc::EACCES | libc::EPERM | libc::EROFS) => "permission_denied",
                Some(libc::EBUSY | libc::ETXTBSY) => "busy",
                Some(libc::ENOSPC | libc::EDQUOT) => "no_space",
                Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EPROTONOSUPPORT) => "not_supported",
                Some(libc::EINVAL) => "invalid_argument",
                _ => "system_error",
            },
        }
    }

    /// The errno below this failure, where a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } | Self::Listen { source, .. } => source.raw_os_error(),
            Self::SlotStep { source, .. } => source.errno(),
            _ => None,
        }
    }

    pub fn invalid(what: &'static str, why: impl Into<String>) -> Self {
        Self::InvalidArgument { what, why: why.into() }
    }
}

/// Turns an `io::Result` into an `Outcome` by saying what was being done.
pub trait During<T> {
    fn during(self, action: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, action: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|error| Failure::System {
            action: action(),
            source: error.into(),
        })
    }
}
