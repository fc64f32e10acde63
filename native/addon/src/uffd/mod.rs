//! Gives a VMM the memory of a snapshot page by page, when it is touched (SN6): Firecracker's handshake, faults served
//! from the generations, the working set brought in ahead.
//!
//! One thread per VM does everything that puts a page in place. So no page can be put back after it was removed: a
//! removal is told by an event that the same thread reads, and until that is read the kernel refuses to place pages.
//! A thread of its own only reads ahead.

pub mod faults;
pub mod handshake;
pub mod pages;
pub mod prefetch;
pub mod server;
pub mod session;
pub mod working_set;
