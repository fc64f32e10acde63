//! Processes that outlive whoever started them (VM2, VM3): started into their own session, namespaces and control
//! groups, known by pid **and** start time, and watched through pidfds whether they are our children or not.

pub mod identity;
pub mod spawn;
pub mod stat;
pub mod watch;
