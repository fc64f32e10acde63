//! What one guest may reach (NET4): a table of its own in the slot's namespace, exchanged as a whole while the guest runs.
//! It only takes away: what the namespace's own rules drop stays dropped, and the table goes with the namespace.
//!
//! Names. The kernel knows addresses only, so where a policy names domains the guest's questions to any name server come to
//! a resolver of ours in its namespace (`dns/forwarder.rs`). It asks the host's servers, and puts the addresses of allowed
//! names into a set of the table before the guest has the answer, each for as long as the answer holds. Connections that
//! were let through by the set are marked with the policy's number, so that they outlive an address's time, and an agent
//! that is away, but no policy that is another.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use netlink_packet_netfilter::nftables::InetHookNumber::{Forward, PreRouting};
use tokio::runtime::Handle;

use super::{
    dns::forwarder::{Forwarder, Sockets},
    names::NamePattern,
    namespace,
    netlink::Netlink,
    nft::{self, AddressSet, Chain, ChainKind, TableBatch, TimedAddress},
    plan::{HOST_NET, Slot, TAP, TAP_ADDRESS, VETH_NET},
};
use crate::failure::{During, Failure, Outcome};

const TABLE: &str = "wrenn_egress";
/// Behind the namespace's own chain (-10).
const AFTER_OURS: i32 = -5;
/// Before the namespace's own translation (-100), which is for other packets.
const BEFORE_OURS: i32 = -110;
/// Rules are gone through one by one for each packet, names for each question.
pub const MAX_ENTRIES: usize = 512;
/// Addresses of allowed names; a guest that asks for more gets failures until some have gone.
const NAMED: AddressSet = AddressSet {
    name: "named",
    most: 4096,
};

/// An IPv4 network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl Network {
    /// `203.0.113.0/24`; bits behind the prefix do not count.
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        Some(Self {
            address: Ipv4Addr::from(u32::from(address) & mask),
            prefix,
        })
    }
}

/// Networks and names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    pub networks: Vec<Network>,
    pub names: Vec<NamePattern>,
}

impl Destinations {
    /// Of `203.0.113.0/24`, `example.com` and `*.example.com`.
    fn parse(texts: &[String]) -> Outcome<Self> {
        let mut found = Self::default();
        for text in texts {
            match (Network::parse(text), NamePattern::parse(text)) {
                (Some(network), _) => found.networks.push(network),
                (None, Some(name)) => found.names.push(name),
                (None, None) => {
                    let why = format!("{text:?} is neither an IPv4 network nor a domain name");
                    return Err(Failure::invalid("egress", why));
                }
            }
        }
        Ok(found)
    }

    fn name(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| pattern.names(name))
    }
}

/// `allow` goes before `deny`; what neither names is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    allow: Destinations,
    deny: Destinations,
    /// The same for the same policy, never 0: what connections are marked with.
    number: u32,
}

/// What becomes of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Asked, and the addresses may be reached.
    Opened,
    /// Asked: it is not the policy's business.
    Asked,
    NoSuchName,
}

impl Policy {
    pub fn parse(allow: &[String], deny: &[String]) -> Outcome<Self> {
        if allow.len() + deny.len() > MAX_ENTRIES {
            return Err(Failure::invalid("egress", format!("more than {MAX_ENTRIES} entries")));
        }
        let content = [allow.join(" "), deny.join(" ")].join("|");
        Ok(Self {
            allow: Destinations::parse(allow)?,
            deny: Destinations::parse(deny)?,
            number: crc32fast::hash(content.as_bytes()) | 1,
        })
    }

    fn denies_nothing(&self) -> bool {
        self.deny == Destinations::default()
    }

    fn has_names(&self) -> bool {
        let has_some = !self.allow.names.is_empty() || !self.deny.names.is_empty();
        has_some && !self.denies_nothing()
    }

    /// Where everything else is denied, so are questions for everything else: they reach servers of others, and may carry
    /// anything.
    fn denies_the_rest(&self) -> bool {
        self.deny.networks.iter().any(|network| network.prefix == 0)
    }

    /// `name` in lower case.
    pub fn fate_of(&self, name: &str) -> Fate {
        if self.allow.name(name) {
            Fate::Opened
        } else if self.denies_the_rest() || self.deny.name(name) {
            Fate::NoSuchName
        } else {
            Fate::Asked
        }
    }
}

/// What resolves names for guests: the host's name servers, in the order in which they are asked.
#[derive(Clone)]
pub struct Resolving {
    pub servers: Vec<SocketAddr>,
    pub runtime: Handle,
}

/// The resolvers of this process, by slot.
static FORWARDERS: LazyLock<Mutex<HashMap<u16, Forwarder>>> = LazyLock::new(Mutex::default);

/// Puts a policy in force, in one transaction, for connections that are open as well. An empty one allows everything.
pub fn set(slot: Slot, policy: Policy, resolving: &Resolving) -> Outcome<()> {
    let policy = Arc::new(policy);
    let mut forwarders = FORWARDERS.lock().unwrap_or_else(PoisonError::into_inner);
    let action = || format!("the egress policy of slot {}", slot.index());
    if !policy.has_names() {
        namespace::inside(&slot.namespace(), || {
            install(&mut Netlink::netfilter().during(action)?, &policy, &[]).during(action)
        })?;
        forwarders.remove(&slot.index());
        return Ok(());
    }
    if let Some(forwarder) = forwarders.get_mut(&slot.index()) {
        return forwarder
            .exchange(&policy, resolving, |netlink, kept| install(netlink, &policy, kept))
            .during(action);
    }
    let mut sockets = open_sockets(slot)?;
    install(&mut sockets.netlink, &policy, &[]).during(action)?;
    let forwarder = Forwarder::start(sockets, policy, resolving.clone()).during(action)?;
    forwarders.insert(slot.index(), forwarder);
    Ok(())
}

/// Resolves names again for a guest whose policy is in force already: its agent was away. The table is left as it is.
pub fn serve(slot: Slot, policy: Policy, resolving: &Resolving) -> Outcome<()> {
    let mut forwarders = FORWARDERS.lock().unwrap_or_else(PoisonError::into_inner);
    if policy.has_names() && !forwarders.contains_key(&slot.index()) {
        let forwarder = Forwarder::start(open_sockets(slot)?, Arc::new(policy), resolving.clone())
            .during(|| format!("resolving names for slot {}", slot.index()))?;
        forwarders.insert(slot.index(), forwarder);
    }
    Ok(())
}

/// Before the namespace goes: its sockets would keep it.
pub fn forget(slot: Slot) {
    FORWARDERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&slot.index());
}

fn open_sockets(slot: Slot) -> Outcome<Sockets> {
    namespace::inside(&slot.namespace(), || {
        Sockets::open(TAP_ADDRESS).during(|| format!("opening the resolver of slot {}", slot.index()))
    })
}

/// Lets the guest reach addresses for a while.
pub fn open_addresses(netlink: &mut Netlink, addresses: &[TimedAddress]) -> io::Result<()> {
    nft::put(netlink, TABLE, &NAMED, addresses)
}

/// `kept` is what allowed names are known to have.
fn install(netlink: &mut Netlink, policy: &Policy, kept: &[TimedAddress]) -> io::Result<()> {
    if policy.denies_nothing() {
        return nft::delete_table(netlink, TABLE);
    }
    let mut table = TableBatch::replacing(TABLE);
    if policy.has_names() {
        redirect_questions(&mut table);
        table.set(&NAMED);
        table.elements(&NAMED, &kept[..kept.len().min(NAMED.most as usize)]);
    }
    table.chain(Chain {
        name: "forward",
        kind: ChainKind::Filter,
        hook: Forward,
        priority: AFTER_OURS,
        drops_by_default: false,
    });
    // Answers to what reaches the guest through its host; the namespace's own rules let nothing else there.
    for net in [HOST_NET, VETH_NET] {
        table.rule(
            "forward",
            [nft::from_interface(TAP), nft::to_net(net, 16), nft::accept()],
        );
    }
    for Network { address, prefix } in &policy.allow.networks {
        let there = nft::to_net(*address, *prefix);
        table.rule("forward", [nft::from_interface(TAP), there, nft::accept()]);
    }
    if policy.has_names() {
        let (named, mark) = (nft::to_address_in(&NAMED), nft::mark_connection(policy.number));
        table.rule("forward", [nft::from_interface(TAP), named, mark, nft::accept()]);
        let marked = nft::of_marked_connection(policy.number);
        table.rule("forward", [nft::from_interface(TAP), marked, nft::accept()]);
    }
    for Network { address, prefix } in &policy.deny.networks {
        let there = nft::to_net(*address, *prefix);
        table.rule("forward", [nft::from_interface(TAP), there, nft::drop()]);
    }
    table.commit(netlink)
}

/// Whichever server the guest asks, also one that it could reach: what that says would open nothing.
fn redirect_questions(table: &mut TableBatch) {
    table.chain(Chain {
        name: "prerouting",
        kind: ChainKind::Nat,
        hook: PreRouting,
        priority: BEFORE_OURS,
        drops_by_default: false,
    });
    for port in [nft::to_udp_port(53), nft::to_tcp_port(53)] {
        let resolver = nft::destination_nat(TAP_ADDRESS);
        table.rule("prerouting", [nft::from_interface(TAP), port, resolver]);
    }
}

/// A shorter time would let a program's next connection fail that it makes with the address it has.
pub const LEAST_STAY: Duration = Duration::from_secs(60);
pub const MOST_STAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net4_networks_are_read_and_nothing_else() {
        let read = |text| Network::parse(text).map(|net| (net.address, net.prefix));
        assert_eq!(read("10.1.2.3/8"), Some((Ipv4Addr::new(10, 0, 0, 0), 8)));
        assert_eq!(read("0.0.0.0/0"), Some((Ipv4Addr::UNSPECIFIED, 0)));
        assert_eq!(read("203.0.113.7/32"), Some((Ipv4Addr::new(203, 0, 113, 7), 32)));
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/0", "a/1", "10.0.0.0/-1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    fn policy(allow: &[&str], deny: &[&str]) -> Policy {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Policy::parse(&owned(allow), &owned(deny)).unwrap()
    }

    #[test]
    fn net4_a_name_is_opened_asked_or_unknown() {
        let strict = policy(&["example.com", "10.0.0.0/8"], &["0.0.0.0/0"]);
        assert_eq!(strict.fate_of("example.com"), Fate::Opened);
        assert_eq!(strict.fate_of("example.org"), Fate::NoSuchName);
        let open = policy(&["ok.example.com"], &["*.example.com", "10.0.0.0/8"]);
        assert_eq!(open.fate_of("ok.example.com"), Fate::Opened, "allow goes before deny");
        assert_eq!(open.fate_of("bad.example.com"), Fate::NoSuchName);
        assert_eq!(open.fate_of("example.org"), Fate::Asked);
    }

    #[test]
    fn net4_the_same_policy_has_the_same_number() {
        let number = |allow, deny| policy(allow, deny).number;
        assert_eq!(number(&["a.com"], &["0.0.0.0/0"]), number(&["a.com"], &["0.0.0.0/0"]));
        assert_ne!(number(&["a.com"], &["0.0.0.0/0"]), number(&["b.com"], &["0.0.0.0/0"]));
        assert!(Policy::parse(&["nowhere".to_owned()], &[]).is_err());
    }
}
