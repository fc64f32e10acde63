//! Network slots (NET1-NET5).

use napi::{Env, bindgen_prelude::Object};
use napi_derive::napi;

use super::{RUNTIME, promise};
use crate::failure::{During, Failure, Outcome};
use crate::net::{
    conntrack,
    egress::{self, Policy, Resolving},
    host,
    plan::{GUEST_ADDRESS, GUEST_MAC, Slot, SlotRange, TAP},
    slot::{self, SlotOptions},
};

/// The slots of one agent, both ends included; 1..9999.
#[napi(object)]
pub struct SlotBounds {
    pub first: u32,
    pub last: u32,
}

#[napi(object)]
pub struct NetworkOptions {
    pub slots: SlotBounds,
}

#[napi(object)]
pub struct SlotSpec {
    pub index: u32,
    /// The user that the VMM runs as, if not root.
    pub tap_owner_uid: Option<u32>,
}

#[napi(object)]
pub struct SlotIndex {
    pub index: u32,
}

/// Names and addresses of a slot: all follow from its index (NET1).
#[napi(object)]
pub struct SlotInfo {
    pub index: u32,
    /// Name of the network namespace, for `processSpawn({netns})`.
    pub namespace: String,
    /// Where the host reaches the guest.
    pub host_ip: String,
    pub veth_host_ip: String,
    pub veth_guest_ip: String,
    /// The guest's own address, the same in every sandbox.
    pub guest_ip: String,
    pub guest_mac: String,
    /// The tap device inside the namespace.
    pub tap: String,
}

/// What there is of a slot. A whole one has all three.
#[napi(object)]
pub struct SlotParts {
    pub index: u32,
    pub namespace: bool,
    pub veth: bool,
    pub route: bool,
}

impl From<Slot> for SlotInfo {
    fn from(slot: Slot) -> Self {
        Self {
            index: slot.index().into(),
            namespace: slot.namespace(),
            host_ip: slot.host_ip().to_string(),
            veth_host_ip: slot.veth_host_ip().to_string(),
            veth_guest_ip: slot.veth_guest_ip().to_string(),
            guest_ip: GUEST_ADDRESS.to_string(),
            guest_mac: GUEST_MAC.map(|byte| format!("{byte:02X}")).join(":"),
            tap: TAP.to_owned(),
        }
    }
}

/// Switches forwarding on and installs the host's rules for the range (NET2, NET4). Once per agent start; again is fine.
#[napi(ts_return_type = "Promise<void>")]
pub fn network_prepare<'env>(env: &'env Env, options: NetworkOptions) -> napi::Result<Object<'env>> {
    promise(env, move || {
        host::prepare(SlotRange::new(options.slots.first, options.slots.last)?)
    })
}

/// Removes the range's slots and rules. Processes in the namespaces are not ended: that comes first.
#[napi(ts_return_type = "Promise<void>")]
pub fn network_remove<'env>(env: &'env Env, options: NetworkOptions) -> napi::Result<Object<'env>> {
    promise(env, move || {
        host::remove(SlotRange::new(options.slots.first, options.slots.last)?)
    })
}

/// Makes a slot whole or not at all. Rejects with `slot_exists`, or `slot_failed` and its `step`.
#[napi(ts_return_type = "Promise<SlotInfo>")]
pub fn slot_create<'env>(env: &'env Env, spec: SlotSpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let slot = Slot::new(spec.index)?;
        slot::create(
            slot,
            SlotOptions {
                tap_owner: spec.tap_owner_uid,
                fail_at: None,
            },
        )?;
        Ok(SlotInfo::from(slot))
    })
}

/// What a slot of this index is called, whether there is one or not.
#[napi(ts_return_type = "Promise<SlotInfo>")]
pub fn slot_describe<'env>(env: &'env Env, slot: SlotIndex) -> napi::Result<Object<'env>> {
    promise(env, move || Slot::new(slot.index).map(SlotInfo::from))
}

/// What a guest may reach: networks in CIDR notation and domain names (`example.com`, `*.example.com` for what is below
/// it). `allow` goes before `deny`, the rest is allowed.
#[napi(object)]
pub struct EgressSpec {
    pub index: u32,
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    /// `ip:port` of the servers that resolve names for the guest, where the policy has names; the first that answers.
    pub name_servers: Option<Vec<String>>,
}

impl EgressSpec {
    fn read(self) -> Outcome<(Slot, Policy, Resolving)> {
        let server = |text: &String| {
            let parsed = text.parse();
            parsed.map_err(|_| Failure::invalid("name_servers", format!("{text:?} is not ip:port")))
        };
        let resolving = Resolving {
            servers: self.name_servers.iter().flatten().map(server).collect::<Outcome<_>>()?,
            runtime: RUNTIME.handle().clone(),
        };
        Ok((
            Slot::new(self.index)?,
            Policy::parse(&self.allow, &self.deny)?,
            resolving,
        ))
    }
}

/// Puts an egress policy in force (NET4), also for open connections; the one before is gone. Rejects with
/// `invalid_argument` for what is neither an IPv4 network nor a name.
#[napi(ts_return_type = "Promise<void>")]
pub fn slot_egress<'env>(env: &'env Env, spec: EgressSpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let (slot, policy, resolving) = spec.read()?;
        egress::set(slot, policy, &resolving)
    })
}

/// For a slot whose policy is in force since before this program was started: its names are resolved again.
#[napi(ts_return_type = "Promise<void>")]
pub fn slot_names<'env>(env: &'env Env, spec: EgressSpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let (slot, policy, resolving) = spec.read()?;
        egress::serve(slot, policy, &resolving)
    })
}

/// Removes as much of a slot as there is, and the connections that NAT remembers of it. Ends no process.
#[napi(ts_return_type = "Promise<void>")]
pub fn slot_remove<'env>(env: &'env Env, slot: SlotIndex) -> napi::Result<Object<'env>> {
    promise(env, move || slot::remove(Slot::new(slot.index)?))
}

/// The slots of a range of which anything is there (NET3), lowest first.
#[napi(ts_return_type = "Promise<Array<SlotParts>>")]
pub fn slot_list<'env>(env: &'env Env, slots: SlotBounds) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let found = slot::list(SlotRange::new(slots.first, slots.last)?)?;
        let parts = found.into_iter().map(|presence| SlotParts {
            index: presence.slot.index().into(),
            namespace: presence.namespace,
            veth: presence.veth,
            route: presence.route,
        });
        Ok(parts.collect::<Vec<_>>())
    })
}

/// Ends what NAT remembers of a slot's connections; `slotRemove` does this too.
#[napi(ts_return_type = "Promise<void>")]
pub fn connections_flush<'env>(env: &'env Env, slot: SlotIndex) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let slot = Slot::new(slot.index)?;
        conntrack::flush(slot).during(|| format!("forgetting the connections of slot {}", slot.index()))
    })
}
