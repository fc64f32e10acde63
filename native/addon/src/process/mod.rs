//! Processes that outlive whoever started them (VM2, VM3): started into their own session, namespaces and control
//! groups, known by pid **and** start time, and watched through pidfds whether they are our children or not.

mod child;
pub mod identity;
pub mod spawn;
pub mod stat;
mod vfork;
pub mod watch;
