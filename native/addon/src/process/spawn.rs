//! Starting a process that outlives us (VM2).

use std::{collections::HashMap, io, path::PathBuf};

use super::{child::Child, identity::Identity, vfork, watch};
use crate::failure::{During, Outcome};

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
    /// Folder that becomes its root: it sees nothing but what lies in there and what is mounted there. Program, `cwd` and
    /// the targets of `mounts` are paths as it sees them. Who is not root does not get out: every descriptor is closed.
    pub root: Option<PathBuf>,
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
pub fn spawn(launch: &Launch) -> Outcome<Identity> {
    let child = Child::of(launch)?;
    let pid = vfork::start(&child).during(|| format!("starting {}", launch.argv[0]))?;
    // It cannot have been reaped: only we do that, below.
    let identity = Identity::of(pid)
        .and_then(|found| found.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .during(|| format!("looking at process {pid}"))?;
    watch::adopt_child(identity)?;
    Ok(identity)
}
