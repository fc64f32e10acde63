//! What Wrenn's host agent needs of the kernel, without a shell: network slots, processes, control groups, loop
//! devices, files, snapshots of memory, and the byte path to the guests. The JavaScript face of it all is in `api`.

pub mod api;
pub mod cgroup;
pub mod dm;
pub mod door;
pub mod failure;
pub mod files;
pub mod front;
pub mod h1;
pub mod loops;
pub mod net;
pub mod probe;
pub mod process;
pub mod snapshot;
pub mod uffd;
