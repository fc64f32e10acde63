//! KVM: runs kernel-mode code in a virtual machine, as a kernel's first instructions are.
//!
//! Real-mode code proves little: a KVM without hardware behind it can interpret that and still run no stock kernel. So
//! this is 64-bit code in ring 0 under paging, that sets its own page tables, descriptor table and a model-specific
//! register, and then counts for some milliseconds: an interpreter takes minutes for that.

use std::{
    io, ptr,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use kvm_bindings::{kvm_segment, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};

use super::failed;

const MEMORY: usize = 0x8000;
/// Page tables of three levels, the last with one large page: the first 2 MiB as they are.
const TABLES: [u64; 3] = [0x1000, 0x2000, 0x3000];
const GLOBAL_DESCRIPTORS: usize = 0x4000;
const START: usize = 0x5000;
const STACK: usize = 0x8000;
const PORT: u16 = 0x10;
const LIMIT: Duration = Duration::from_secs(2);

#[rustfmt::skip]
const CODE: &[u8] = &[
    0x0f, 0x20, 0xd8,                               // mov rax, cr3
    0x0f, 0x22, 0xd8,                               // mov cr3, rax
    0x0f, 0x01, 0x14, 0x25, 0x00, 0x40, 0x00, 0x00, // lgdt [0x4000]
    0xb9, 0x82, 0x00, 0x00, 0xc0,                   // mov ecx, IA32_LSTAR
    0xb8, 0x00, 0x50, 0x00, 0x00,                   // mov eax, 0x5000
    0x31, 0xd2,                                     // xor edx, edx
    0x0f, 0x30,                                     // wrmsr
    0x31, 0xc0,                                     // xor eax, eax
    0x0f, 0x32,                                     // rdmsr
    0xc1, 0xe8, 0x08,                               // shr eax, 8
    0x50,                                           // push rax
    0x58,                                           // pop rax
    0xb9, 0x00, 0x2d, 0x31, 0x01,                   // mov ecx, 20_000_000
    0xff, 0xc9,                                     // dec ecx
    0x75, 0xfc,                                     // jnz, back to dec
    0xe6, 0x10,                                     // out PORT, al
    0xf4,                                           // hlt
];
/// The second byte of the address that went through the register.
const ANSWER: u8 = 0x50;

pub fn run_kernel_code() -> io::Result<()> {
    let kvm = Kvm::new().map_err(|error| failed("opening /dev/kvm", error))?;
    let machine = kvm.create_vm().map_err(|error| failed("KVM_CREATE_VM", error))?;
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY as u64,
        userspace_addr: map_memory()? as u64,
    };
    // SAFETY: the region is mapped, and stays so.
    unsafe { machine.set_user_memory_region(region) }.map_err(|error| failed("giving it memory", error))?;
    let mut cpu = machine
        .create_vcpu(0)
        .map_err(|error| failed("KVM_CREATE_VCPU", error))?;
    let features = kvm.get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES);
    features
        .and_then(|features| cpu.set_cpuid2(&features))
        .map_err(|error| failed("KVM_SET_CPUID2", error))?;
    enter_long_mode(&cpu)?;

    let _watchdog = Watchdog::start()?;
    match cpu.run() {
        Ok(VcpuExit::IoOut(PORT, [ANSWER])) => Ok(()),
        Ok(other) => Err(failed("it cannot run kernel code", format!("{other:?}"))),
        Err(error) if error.errno() == libc::EINTR => {
            Err(failed("it cannot run kernel code", "too slow, it hangs or interprets"))
        }
        Err(error) => Err(failed("it cannot run kernel code", error)),
    }
}

/// The machine's memory with tables and code. Never unmapped: eight pages, and the machine may still use them.
fn map_memory() -> io::Result<*mut u8> {
    const PRESENT_WRITABLE: u64 = 0b11;
    const LARGE: u64 = 1 << 7;
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new anonymous mapping anywhere.
    let memory = unsafe { libc::mmap(ptr::null_mut(), MEMORY, protection, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is MEMORY bytes long, zeroed and ours alone.
    let bytes = unsafe { std::slice::from_raw_parts_mut(memory.cast::<u8>(), MEMORY) };
    let entries = [
        TABLES[1] | PRESENT_WRITABLE,
        TABLES[2] | PRESENT_WRITABLE,
        LARGE | PRESENT_WRITABLE,
    ];
    for (table, entry) in TABLES.into_iter().zip(entries) {
        bytes[table as usize..][..8].copy_from_slice(&entry.to_le_bytes());
    }
    bytes[GLOBAL_DESCRIPTORS..][..2].copy_from_slice(&7u16.to_le_bytes()); // an empty table, below 0x4000
    bytes[START..][..CODE.len()].copy_from_slice(CODE);
    Ok(memory.cast())
}

fn enter_long_mode(cpu: &VcpuFd) -> io::Result<()> {
    const CR0_PROTECTED_PAGED: u64 = 1 << 31 | 1;
    const CR4_LARGE_ADDRESSES: u64 = 1 << 5;
    const EFER_LONG_MODE: u64 = 1 << 10 | 1 << 8;
    let mut special: kvm_sregs = cpu.get_sregs().map_err(|error| failed("KVM_GET_SREGS", error))?;
    let flat = kvm_segment {
        limit: u32::MAX,
        present: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    special.cs = kvm_segment {
        selector: 8,
        type_: 11,
        l: 1,
        ..flat
    };
    let data = kvm_segment {
        selector: 16,
        type_: 3,
        db: 1,
        ..flat
    };
    (special.ds, special.es, special.fs, special.gs, special.ss) = (data, data, data, data, data);
    special.cr3 = TABLES[0];
    special.cr4 = CR4_LARGE_ADDRESSES;
    special.cr0 = CR0_PROTECTED_PAGED;
    special.efer = EFER_LONG_MODE;
    cpu.set_sregs(&special)
        .map_err(|error| failed("KVM_SET_SREGS", error))?;
    let mut registers = cpu.get_regs().map_err(|error| failed("KVM_GET_REGS", error))?;
    registers.rip = START as u64;
    registers.rsp = STACK as u64;
    registers.rflags = 2;
    cpu.set_regs(&registers).map_err(|error| failed("KVM_SET_REGS", error))
}

/// Breaks a machine that hangs off: a signal makes KVM_RUN of the thread that started this return.
struct Watchdog {
    _stop: std::sync::mpsc::Sender<()>,
}

impl Watchdog {
    fn start() -> io::Result<Self> {
        extern "C" fn nothing(_: libc::c_int) {}
        let signal = libc::SIGRTMIN() + 5;
        // SAFETY: an all-zero sigaction is valid; the handler does nothing and is there for good.
        let installed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as *const () as usize;
            libc::sigaction(signal, &action, ptr::null_mut())
        };
        super::checked("installing a signal handler", installed)?;
        let (stop, stopped): (_, Receiver<()>) = channel();
        // SAFETY: has no arguments.
        let runner = unsafe { libc::pthread_self() };
        thread::spawn(move || {
            if stopped.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                // SAFETY: the sender lives in the runner's stack frame, so the runner still runs.
                unsafe { libc::pthread_kill(runner, signal) };
            }
        });
        Ok(Self { _stop: stop })
    }
}
