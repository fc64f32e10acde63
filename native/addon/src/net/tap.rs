//! Tap devices in the calling thread's namespace.

use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd,
};

/// Makes a device that stays when its descriptor closes; a VMM under `owner` may then attach to it.
/// Returns its interface index.
pub fn create(name: &str, owner: Option<u32>) -> io::Result<u32> {
    let device = attach(name)?;
    if let Some(owner) = owner {
        // SAFETY: TUNSETOWNER takes its argument by value.
        check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETOWNER, libc::c_ulong::from(owner)) })?;
    }
    // SAFETY: TUNSETPERSIST takes its argument by value.
    check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETPERSIST, 1 as libc::c_ulong) })?;
    let name = CString::new(name)?;
    // SAFETY: `name` is a C string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// The wire's end of a device, as a VMM holds it: each read is a frame behind a virtio-net header. Makes the device if
/// there is none.
pub fn attach(name: &str) -> io::Result<File> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: an all-zero ifreq is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as i16;
    // SAFETY: `device` is open and `request` outlives the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    Ok(device)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
