//! How a process ended.

use crate::proto::process::process_event::EndEvent;
use rustix::process::WaitIdStatus;

/// Exit code or signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Exited(i32),
    Killed { signal: i32, dumped: bool },
}

impl End {
    pub fn of(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signal)) => Self::Killed {
                signal,
                dumped: status.dumped(),
            },
            (None, None) => Self::Exited(-1),
        }
    }

    /// The words are those that SDKs show to their users.
    pub fn event(self) -> EndEvent {
        let (exit_code, exited, status) = match self {
            Self::Exited(code) => (code, true, format!("exit status {code}")),
            Self::Killed { signal, dumped } => {
                let dumped = if dumped { " (core dumped)" } else { "" };
                (-1, false, format!("signal: {}{dumped}", signal_name(signal)))
            }
        };
        let error = (exit_code != 0).then(|| status.clone());
        EndEvent {
            exit_code,
            exited,
            status,
            error,
            ..Default::default()
        }
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGQUIT => "quit",
        libc::SIGILL => "illegal instruction",
        libc::SIGTRAP => "trace/breakpoint trap",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "floating point exception",
        libc::SIGKILL => "killed",
        libc::SIGUSR1 => "user defined signal 1",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGUSR2 => "user defined signal 2",
        libc::SIGPIPE => "broken pipe",
        libc::SIGALRM => "alarm clock",
        libc::SIGTERM => "terminated",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_of_exits_and_signals() {
        let event = End::Exited(3).event();
        assert_eq!(
            (event.exit_code, event.exited, event.status.as_str()),
            (3, true, "exit status 3")
        );
        assert_eq!(event.error.as_deref(), Some("exit status 3"));
        assert_eq!(End::Exited(0).event().error, None);
        let event = End::Killed {
            signal: libc::SIGKILL,
            dumped: false,
        }
        .event();
        assert_eq!(
            (event.exit_code, event.exited, event.status.as_str()),
            (-1, false, "signal: killed")
        );
        assert_eq!(event.error.as_deref(), Some("signal: killed"));
    }
}
