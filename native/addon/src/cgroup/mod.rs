//! Control groups of sandboxes, `wrenn/<name>`, on whatever hierarchies the machine has.

pub mod group;
pub mod hierarchy;
