//! Processes: started, watched, fed and signalled (spec VM8).
//!
//! A process is a `Running` in the registry. Its output goes from pipes or a terminal through `pump` into an `Outlet`,
//! which hands it to every reader and waits for the slowest. Its whole tree is a `Tree`.

mod cgroup;
mod command;
mod environment;
pub mod feed;
mod fork;
mod input;
mod lifecycle;
mod oom;
mod outlet;
mod proc_tree;
mod pump;
pub mod registry;
mod running;
pub mod service;
mod start;
mod status;
mod terminal;
mod tree;
