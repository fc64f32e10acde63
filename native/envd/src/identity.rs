//! Who this guest is. A clone gets all of it anew before its processes run on (SN11).

use crate::clock;
use crate::connections;
use crate::fault::Fault;
use crate::guest::Guest;
use crate::hostname;
use crate::resume_hooks::{self, HookRun};
use crate::rewrite::rewrite;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

/// What the host deals out must be worth a whole seed of the kernel's generator.
const MIN_ENTROPY: usize = 32;
const MAX_ENTROPY: usize = 512;
/// The sandbox's id for programs in the guest.
const ID_FILE: &str = "/run/wrenn/sandbox_id";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Base64.
    entropy: String,
    /// Since 1970.
    time_ns: u64,
    hostname: String,
    sandbox_id: String,
    access_token: String,
    #[serde(default)]
    envs: BTreeMap<String, String>,
    default_user: String,
}

#[derive(Serialize, Default)]
pub struct Assumed {
    reseed_ms: f64,
    clock_step_ms: f64,
    hooks: Vec<HookRun>,
    connections_reset: usize,
}

/// Becomes somebody else; the first thing that fails ends it, and the caller must not thaw then.
pub async fn assume(guest: &Guest, identity: Identity) -> Result<Assumed, Fault> {
    let entropy = STANDARD
        .decode(&identity.entropy)
        .map_err(|error| Fault::invalid(format!("bad entropy: {error}")))?;
    if !(MIN_ENTROPY..=MAX_ENTROPY).contains(&entropy.len()) {
        return Err(Fault::invalid(format!(
            "entropy has {} bytes, {MIN_ENTROPY} to {MAX_ENTROPY} are needed",
            entropy.len()
        )));
    }
    let started = Instant::now();
    reseed(&entropy).map_err(|error| Fault::io("cannot reseed the random number generator", &error))?;
    let reseed_ms = started.elapsed().as_secs_f64() * 1e3;
    let clock_step_ms = clock::step(identity.time_ns)?;
    hostname::set(&identity.hostname)?;
    name_machine(&identity.sandbox_id).map_err(|error| Fault::io("cannot write the sandbox's id", &error))?;
    {
        let mut settings = guest.settings.write().unwrap();
        settings.access_token = Some(identity.access_token).filter(|token| !token.is_empty());
        settings.envs = identity.envs;
        settings.default_user = identity.default_user;
    }
    let hooks = resume_hooks::run(&identity.sandbox_id).await?;
    guest.freezer.end_inherited_connections();
    let connections_reset = match guest.sole_at {
        Some(port) => {
            connections::reset_all(port).map_err(|error| Fault::io("cannot end inherited connections", &error))?
        }
        None => 0,
    };
    Ok(Assumed {
        reseed_ms,
        clock_step_ms,
        hooks,
        connections_reset,
    })
}

/// Mixes bytes into the kernel's pool, credits them, and makes the generator start from them at once (random(4)).
fn reseed(entropy: &[u8]) -> io::Result<()> {
    /// `struct rand_pool_info` of linux/random.h.
    #[repr(C)]
    struct PoolInfo {
        entropy_count: i32,
        buf_size: i32,
        buf: [u8; MAX_ENTROPY],
    }
    const RNDADDENTROPY: u32 = 0x4008_5203;
    const RNDRESEEDCRNG: u32 = 0x5207;
    let mut info = PoolInfo {
        entropy_count: (entropy.len() * 8) as i32,
        buf_size: entropy.len() as i32,
        buf: [0; MAX_ENTROPY],
    };
    info.buf[..entropy.len()].copy_from_slice(entropy);
    let device = rustix::fs::open("/dev/urandom", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    // SAFETY: the kernel reads `buf_size` bytes of `buf`, which are there; the second call has no argument.
    let done = unsafe {
        libc::ioctl(device.as_raw_fd(), RNDADDENTROPY as _, &raw const info) == 0
            && libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG as _, 0) == 0
    };
    match done {
        true => Ok(()),
        false => Err(io::Error::last_os_error()),
    }
}

/// The id as a file, and a machine id that no other sandbox has.
fn name_machine(sandbox_id: &str) -> io::Result<()> {
    // All but the first time the folder is there.
    rewrite(ID_FILE, sandbox_id).or_else(|_| {
        fs::create_dir_all("/run/wrenn")?;
        rewrite(ID_FILE, sandbox_id)
    })?;
    let digest: String = Sha256::digest(sandbox_id)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // A read-only /etc does not matter.
    let _ = rewrite("/etc/machine-id", &format!("{}\n", &digest[..32]));
    Ok(())
}
