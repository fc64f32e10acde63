//! `/etc/wrenn/resume.d`: programs of the image that make clones differ where only they can, such as generators in user
//! space (SN11). They run as root, one after the other, before any process goes on.

use crate::fault::Fault;
use serde::Serialize;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

const FOLDER: &str = "/etc/wrenn/resume.d";
/// For one hook.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Serialize)]
pub struct HookRun {
    name: String,
    exit_code: i32,
    ms: f64,
}

/// Runs every executable file of the folder in the order of their names. One that fails is a fault.
pub async fn run(sandbox_id: &str) -> Result<Vec<HookRun>, Fault> {
    let mut runs = Vec::new();
    for hook in hooks(Path::new(FOLDER)).map_err(|error| Fault::io(format!("cannot read {FOLDER}"), &error))? {
        runs.push(run_one(&hook, sandbox_id).await?);
    }
    Ok(runs)
}

fn hooks(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut hooks = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let metadata = fs::metadata(&path)?;
        if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
            hooks.push(path);
        }
    }
    hooks.sort();
    Ok(hooks)
}

async fn run_one(hook: &Path, sandbox_id: &str) -> Result<HookRun, Fault> {
    let name = hook.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let started = Instant::now();
    let mut child = Command::new(hook)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("WRENN_SANDBOX_ID", sandbox_id)
        .stdin(Stdio::null())
        .stdout(Stdio::inherit()) // the console
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Fault::io(format!("resume hook '{name}' does not start"), &error))?;
    let status = tokio::time::timeout(LIMIT, child.wait())
        .await
        .map_err(|_| Fault::internal(format!("resume hook '{name}' did not end within {LIMIT:?}")))?
        .map_err(|error| Fault::io(format!("resume hook '{name}'"), &error))?;
    if !status.success() {
        return Err(Fault::internal(format!("resume hook '{name}' failed: {status}")));
    }
    Ok(HookRun {
        name,
        exit_code: 0,
        ms: started.elapsed().as_secs_f64() * 1e3,
    })
}
