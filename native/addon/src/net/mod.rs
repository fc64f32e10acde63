//! Network slots (NET1-NET4), by netlink alone.

pub mod conntrack;
pub mod dns;
pub mod egress;
pub mod host;
pub mod names;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod plan;
pub mod rtnl;
pub mod rules;
pub mod slot;
pub mod tap;
