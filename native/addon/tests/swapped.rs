//! What a VMM has written and the kernel has swapped out since belongs into its snapshot. With a real swap file, as root.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use wrenn_addon::snapshot::{
    base,
    build_id::BuildId,
    capture::Prepared,
    chain::{Chain, Reader},
    dirty::Method,
    publish::publish,
};

#[path = "common/vmm.rs"]
mod vmm;
use vmm::Vmm;

const PAGE: usize = 4096;
const MEMORY: usize = 8 << 20;
const SWAP: usize = 16 << 20;
/// A word of /proc/pid/pagemap.
const WORD_SWAPPED: u64 = 1 << 62;

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A swap file that is in use as long as this lives.
struct Swap(CString);

impl Swap {
    /// Where the file system has no swap files (as tmpfs), or we may not: why not.
    fn on(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        // Version 1 of the header: 1 KiB for a boot loader, version, last page, number of bad pages; the magic ends the page.
        let mut header = vec![0; PAGE];
        header[1024..1028].copy_from_slice(&1u32.to_ne_bytes());
        header[1028..1032].copy_from_slice(&((SWAP / PAGE - 1) as u32).to_ne_bytes());
        header[PAGE - 10..].copy_from_slice(b"SWAPSPACE2");
        file.write_all(&header)?;
        file.write_all(&vec![0; SWAP - PAGE])?; // without holes
        file.sync_all()?;
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a C string.
        match unsafe { libc::swapon(path.as_ptr(), 0) } {
            0 => Ok(Self(path)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // SAFETY: the path is a C string.
        assert_eq!(unsafe { libc::swapoff(self.0.as_ptr()) }, 0);
    }
}

/// Asks the kernel to swap these out now.
fn page_out(vmm: &Vmm) -> io::Result<()> {
    let ranges: Vec<_> = vmm
        .addresses()
        .into_iter()
        .map(|range| libc::iovec {
            iov_base: range.start as *mut libc::c_void,
            iov_len: (range.end - range.start) as usize,
        })
        .collect();
    // SAFETY: the vector outlives the calls; it names memory of the other process.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, vmm.process.pid, 0);
        if process < 0 {
            return Err(io::Error::last_os_error());
        }
        let advised = libc::syscall(
            libc::SYS_process_madvise,
            process,
            ranges.as_ptr(),
            ranges.len(),
            libc::MADV_PAGEOUT,
            0,
        );
        let error = io::Error::last_os_error();
        libc::close(process as libc::c_int);
        if advised < 0 { Err(error) } else { Ok(()) }
    }
}

fn swapped(pagemap: &File, vmm: &Vmm) -> usize {
    let mut count = 0;
    for range in vmm.addresses() {
        let mut words = vec![0; (range.end - range.start) as usize / PAGE * 8];
        pagemap
            .read_exact_at(&mut words, range.start / PAGE as u64 * 8)
            .unwrap();
        let words = words.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        count += words.filter(|word| word & WORD_SWAPPED != 0).count();
    }
    count
}

#[test]
fn sn14_a_page_that_is_swapped_out_is_saved() {
    let folder = Folder(Path::new("/var/tmp").join(format!("wrenn-swapped-{}", std::process::id())));
    fs::create_dir(&folder.0).unwrap();
    let _swap = match Swap::on(&folder.0.join("swap")) {
        Ok(swap) => swap,
        Err(error) => return println!("skipped: no swap file here: {error}"),
    };
    let mut memory = vec![1; MEMORY];
    fs::write(folder.0.join("memory"), &memory).unwrap();
    let id = || BuildId::random().unwrap();
    base::publish(&folder.0.join("memory"), MEMORY as u64, &folder.0, "0", id()).unwrap();
    let base = folder.0.join("0");
    let vmm = Vmm::start(&base, MEMORY, 1);
    vmm.read(0, MEMORY as u64);
    let mut written = 0;
    for at in (0..MEMORY).step_by(3 * PAGE) {
        memory[at..at + PAGE].fill((at / PAGE % 255) as u8 + 1);
        vmm.write(at as u64, &memory[at..at + PAGE]);
        written += PAGE as u64;
    }

    let pagemap = File::open(format!("/proc/{}/pagemap", vmm.process.pid)).unwrap();
    if let Err(error) = page_out(&vmm) {
        return println!("skipped: nothing can be swapped out here: {error}");
    }
    let out = swapped(&pagemap, &vmm);
    if out == 0 {
        return println!("skipped: the kernel swaps nothing out here");
    }
    println!("{out} of {} pages are swapped out", written / PAGE as u64);

    let of = |method: Method| {
        let mut found = vec![];
        for range in vmm.addresses() {
            method.find(&pagemap, range, &mut found)?;
        }
        io::Result::Ok(found.iter().map(|range| range.end - range.start).sum::<u64>())
    };
    assert_eq!(of(Method::Words).unwrap(), written);
    match of(Method::Scan) {
        Ok(found) => assert_eq!(found, written),
        Err(error) => println!("no PAGEMAP_SCAN here: {error}"),
    }
    let captured = Prepared::new(vmm.process, &base).unwrap().capture().unwrap();
    assert_eq!(captured.dirty_bytes(), written);
    publish(&captured, &Chain::open(&[base.clone()]).unwrap(), &folder.0, "1", id()).unwrap();
    let chain = Chain::open(&[base, folder.0.join("1")]).unwrap();
    let mut stored = vec![0; MEMORY];
    Reader::new(&chain).read_memory(0, &mut stored).unwrap();
    let differs = stored
        .chunks(PAGE)
        .zip(memory.chunks(PAGE))
        .position(|(one, other)| one != other);
    assert_eq!(differs, None, "a page is not what the VM has");
}
