//! userfaultfd: serves a fault of our own memory, as the snapshot store will serve a VMM's (SN6).

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr, thread,
};

use super::{checked, failed};

// linux/userfaultfd.h
const UFFDIO_API: libc::Ioctl = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00;
const UFFDIO_COPY: libc::Ioctl = 0xc028_aa03;
const API_VERSION: u64 = 0xaa;
const MODE_MISSING: u64 = 1;
const EVENT_PAGEFAULT: u8 = 0x12;
const PAGE: usize = 4096;

/// Without UFFD_USER_MODE_ONLY: a VMM's memory is also touched by the kernel (KVM, vhost), and those faults count.
pub fn serve_a_page() -> io::Result<()> {
    // SAFETY: takes flags only.
    let descriptor = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
    let descriptor = checked("userfaultfd", descriptor as libc::c_int)?;
    // SAFETY: the descriptor is new and ours.
    let faults = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let mut api = [API_VERSION, 0, 0];
    // SAFETY: three words, as `struct uffdio_api` has.
    checked("UFFDIO_API", unsafe {
        libc::ioctl(faults.as_raw_fd(), UFFDIO_API, &mut api)
    })?;

    let page = Page::map()?;
    let mut register = [page.0 as u64, PAGE as u64, MODE_MISSING, 0];
    // SAFETY: four words, as `struct uffdio_register` has; the page is ours.
    checked("UFFDIO_REGISTER", unsafe {
        libc::ioctl(faults.as_raw_fd(), UFFDIO_REGISTER, &mut register)
    })?;

    let address = page.0 as usize;
    thread::scope(|scope| {
        // SAFETY: the page stays mapped until the thread is joined; the read blocks until it is served.
        let reader = scope.spawn(move || unsafe { ptr::read_volatile(address as *const u8) });
        serve(&faults, address)?;
        match reader.join() {
            Ok(7) => Ok(()),
            other => Err(failed("reading the page that was served", format!("{other:?}"))),
        }
    })
}

fn serve(faults: &OwnedFd, page: usize) -> io::Result<()> {
    let mut event = [0u8; 32];
    let length = rustix::io::read(faults, &mut event[..])?;
    if length != event.len() || event[0] != EVENT_PAGEFAULT {
        return Err(failed("reading a fault", format!("{event:?}")));
    }
    let source = [7u8; PAGE];
    let mut copy = [page as u64, source.as_ptr() as u64, PAGE as u64, 0, 0];
    // SAFETY: five words, as `struct uffdio_copy` has; source and destination are one page each.
    checked("UFFDIO_COPY", unsafe {
        libc::ioctl(faults.as_raw_fd(), UFFDIO_COPY, &mut copy)
    })
    .map(|_| ())
}

struct Page(*mut libc::c_void);

impl Page {
    fn map() -> io::Result<Self> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new anonymous mapping anywhere.
        let address = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self(address))
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, used by nobody any more.
        unsafe { libc::munmap(self.0, PAGE) };
    }
}
