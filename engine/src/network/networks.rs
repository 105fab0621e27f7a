//! The handle: networks of tenants. Policy-free: the engine's facade has judged before. Attachments are in `endpoint`,
//! repair and adoption in `repair`.

use super::child::{self, Child};
use super::dns;
use super::ipam::AddressPool;
use super::kernel::{self, Kernel, KernelThread};
use super::link;
use super::state::{BridgeFacts, Net, State};
use super::{Network, NetworkSpec, PortUse};
use crate::id::{NetworkId, TenantId};
use crate::inventory::networks::{self as rows, NetworkRow};
use crate::inventory::{Inventory, Tx};
use crate::{Doing, Error, Instance, Result};
use jiff::Timestamp;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The networks of this instance. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Networks(pub(super) Arc<Inner>);

/// What the handles share.
#[derive(Debug)]
pub(super) struct Inner {
    pub tag: String,
    /// The name of our nft tables.
    pub table: String,
    /// Where automatic subnets begin to be looked for.
    pub(super) start: usize,
    /// Where they come from, if an administrator said so.
    pub(super) pools: Vec<AddressPool>,
    pub inventory: Inventory,
    pub kernel: KernelThread,
    state: Mutex<State>,
    /// Held while networks come and go: names and subnets are decided by one at a time.
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
    pub dns: dns::Server,
}

impl Inner {
    /// The state. A panic while it was held leaves it as it was: our changes to it are single steps.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What bridges' names begin with.
    pub fn bridge_prefix(&self) -> String {
        bridge_prefix(&self.tag)
    }

    /// What veths' names begin with.
    pub fn veth_prefix(&self) -> String {
        veth_prefix(&self.tag)
    }
}

fn bridge_prefix(tag: &str) -> String {
    format!("w{tag}b")
}

fn veth_prefix(tag: &str) -> String {
    format!("w{tag}v")
}

/// Docker's text.
pub(super) fn not_found(name: &str) -> Error {
    Error::new(crate::Kind::NotFound, format!("network {name} not found"))
}

impl Networks {
    /// Loads the networks and makes what is missing of them in the kernel: in the network namespace of the calling thread.
    /// Attachments in the database stay until [`Self::adopt`] tells which containers are alive.
    ///
    /// # Errors
    /// When the kernel refuses bridges or nf_tables (the message says what is missing).
    pub async fn open(instance: &Instance, inventory: Inventory) -> Result<Self> {
        Self::open_with(instance, inventory, Vec::new()).await
    }

    /// [`Self::open`], with automatic subnets from these pools; none: from the usual private ranges.
    ///
    /// # Errors
    /// As there.
    pub async fn open_with(instance: &Instance, inventory: Inventory, pools: Vec<AddressPool>) -> Result<Self> {
        let prefixes = [bridge_prefix(instance.tag()), veth_prefix(instance.tag())];
        let kernel = KernelThread::start(instance.name(), prefixes, instance.run_dir().join("forwarding.json"))?;
        let mut state = State::default();
        for row in rows::all(&inventory).await? {
            state.insert(Net::load(row)?);
        }
        let tag = instance.tag().to_owned();
        let dns = dns::Server::new()?;
        let start = if instance.name() == "wharf" { 0 } else { usize::from_str_radix(&tag, 16).unwrap_or(0) };
        let attachments = rows::endpoints(&inventory).await?;
        let table = instance.name();
        let inner = Inner { tag, table, start, pools, inventory, kernel, state: Mutex::new(state), changing: Arc::default(), dns };
        let networks = Self(Arc::new(inner));
        networks.restore(attachments);
        let inner = networks.0.clone();
        networks.0.kernel.run(move |kernel| inner.build_all(kernel)).await?;
        networks.0.dns.start(Arc::downgrade(&networks.0))?;
        networks.watch()?;
        Ok(networks)
    }

    /// Removes a network's bridge, which is no longer in the state. Returns before the kernel has: it waits tens of
    /// milliseconds for its readers. Whoever wants the subnet next comes after it in the queue.
    pub(super) async fn unmake(&self, net: Net) -> Result<()> {
        if net.row.ifname.is_empty() {
            return Ok(());
        }
        // A VLAN that another network stands on as well stays for that one.
        if net.child.is_some() && self.0.state().networks.values().any(|n| n.child.as_ref().map(|c| &c.parent) == Some(&net.row.ifname)) {
            return Ok(());
        }
        let (ifname, elements, inner) = (net.row.ifname.clone(), net.elements(), self.0.clone());
        self.0
            .kernel
            .queue(move |kernel| {
                delete_link(kernel, &ifname)?;
                inner.change(kernel, &elements, &[])
            })
            .await
    }

    /// The three networks that every tenant has, made when they are first asked for.
    pub(super) async fn ensure_predefined(&self, tenant: TenantId) -> Result<()> {
        let has = |name: &str| self.0.state().names.contains_key(&(tenant, name.to_owned()));
        if has("bridge") && has("host") && has("none") {
            return Ok(());
        }
        let _one_at_a_time = self.0.changing.lock().await;
        if !has("bridge") {
            let spec = NetworkSpec { name: "bridge".to_owned(), ..Default::default() };
            let planned = self.plan(tenant, spec, true).await?;
            self.make_alone(planned).await?;
        }
        for (name, driver) in [("host", "host"), ("none", "null")] {
            if has(name) {
                continue;
            }
            let spec = NetworkSpec {
                name: name.to_owned(),
                driver: driver.to_owned(),
                ipam_driver: "default".to_owned(),
                ipv4: Some(true),
                ipv6: Some(false),
                ..Default::default()
            };
            let row = NetworkRow {
                id: NetworkId::random(),
                tenant,
                ifname: String::new(),
                predefined: true,
                spec,
                chosen: false,
                created: Timestamp::now(),
            };
            let mut tx = self.0.inventory.begin().await?;
            rows::insert(&mut tx, &row).await?;
            tx.commit().await.doing(|| format!("writing network {name}"))?;
            self.0.state().insert(Net::load(row)?);
        }
        Ok(())
    }

    /// What the server reaches and this tenant must not: the host's own, and all subnets of others.
    pub fn reach(&self, tenant: TenantId) -> super::Reach {
        let state = self.0.state();
        let others = state.networks.values().filter(|n| n.row.tenant != tenant);
        super::Reach::new(others.flat_map(super::state::Net::subnets).collect())
    }

    /// The tenant's networks: bridge, host, none, then others by name.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<Network>> {
        self.ensure_predefined(tenant).await?;
        let state = self.0.state();
        let mut all: Vec<Network> = state.networks.values().filter(|n| n.row.tenant == tenant).map(|n| state.view(n)).collect();
        all.sort_by(|a, b| b.predefined.cmp(&a.predefined).then_with(|| a.spec.name.cmp(&b.spec.name)));
        Ok(all)
    }

    /// One network, by id, name or unique id prefix.
    ///
    /// # Errors
    /// `NotFound` with Docker's text, also for another tenant's.
    pub async fn get(&self, tenant: TenantId, name: &str) -> Result<Network> {
        self.ensure_predefined(tenant).await?;
        let state = self.0.state();
        state.find(tenant, name).map(|net| state.view(net)).ok_or_else(|| not_found(name))
    }

    /// How many networks of its own a tenant has.
    pub fn count(&self, tenant: TenantId) -> u64 {
        self.0.state().networks.values().filter(|n| n.row.tenant == tenant && !n.row.predefined).count() as u64
    }

    /// The id of a network that is there.
    pub fn id_of(&self, tenant: TenantId, name: &str) -> Option<NetworkId> {
        self.0.state().find(tenant, name).map(|net| net.row.id.clone())
    }

    /// The tenant's own network named `bridge`, made when it is first asked for.
    pub async fn default_network(&self, tenant: TenantId) -> Result<Network> {
        self.get(tenant, "bridge").await
    }

    /// The address that `host-gateway` stands for: the gateway of the tenant's default network.
    pub async fn host_gateway(&self, tenant: TenantId) -> Result<Option<IpAddr>> {
        self.ensure_predefined(tenant).await?;
        let state = self.0.state();
        Ok(state.find(tenant, "bridge").and_then(|net| net.v4.as_ref()).map(|s| s.gateway))
    }

    /// Removes a network that nobody is in; returns what it was.
    ///
    /// # Errors
    /// `Forbidden` with Docker's "has active endpoints", or for a predefined network.
    pub async fn remove(&self, tenant: TenantId, name: &str) -> Result<Network> {
        let going = self.remove_begin(tenant, name).await?;
        let mut tx = self.0.inventory.begin().await?;
        self.record_removal(&mut tx, &going).await?;
        tx.commit().await.doing(|| format!("removing network {name}"))?;
        self.remove_end(going).await
    }

    /// Takes a network that nobody is in out of the state: from here on nobody can join it. Dropped instead of ended, it is
    /// put back.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub async fn remove_begin(&self, tenant: TenantId, name: &str) -> Result<Going> {
        self.ensure_predefined(tenant).await?;
        let one_at_a_time = self.0.changing.clone().lock_owned().await;
        let mut state = self.0.state();
        let net = state.find(tenant, name).ok_or_else(|| not_found(name))?;
        let view = state.view(net);
        if view.predefined {
            return Err(Error::forbidden(format!("{} is a pre-defined network and cannot be removed", view.spec.name)));
        }
        if let Some(member) = view.containers.values().next() {
            let (n, e) = (&member.name, member.endpoint.short());
            return Err(Error::forbidden(format!(
                "error while removing network: network {} has active endpoints (name:{n:?} id:{e:?})",
                view.spec.name
            )));
        }
        let net = state.remove(&view.id);
        drop(state);
        Ok(Going { view, net, inner: self.0.clone(), _one_at_a_time: one_at_a_time })
    }

    /// Removes its rows in the caller's transaction. Should we die before the bridge is gone, `adopt` finds an orphan.
    pub async fn record_removal(&self, tx: &mut Tx, going: &Going) -> Result<()> {
        // Those whose teardown has not written its rows yet.
        rows::delete_endpoints_of(tx, &going.view.id).await?;
        rows::delete(tx, &going.view.id).await
    }

    /// Removes the bridge of a network whose rows are gone.
    pub async fn remove_end(&self, mut going: Going) -> Result<Network> {
        if let Some(net) = going.net.take() {
            self.unmake(net).await?;
        }
        Ok(going.view.clone())
    }

    async fn delete_row(&self, id: &NetworkId) -> Result<()> {
        let mut tx = self.0.inventory.begin().await?;
        // Those whose teardown has not written its rows yet.
        rows::delete_endpoints_of(&mut tx, id).await?;
        rows::delete(&mut tx, id).await?;
        tx.commit().await.doing(|| format!("removing network {}", id.short()))
    }

    /// Removes all networks of a tenant that is going away. Its containers are gone.
    pub async fn remove_tenant(&self, tenant: TenantId) -> Result<()> {
        let _one_at_a_time = self.0.changing.lock().await;
        let ids: Vec<NetworkId> = self.0.state().networks.values().filter(|n| n.row.tenant == tenant).map(|n| n.row.id.clone()).collect();
        for id in ids {
            let net = self.0.state().remove(&id);
            if let Some(net) = net {
                self.unmake(net).await?;
            }
            self.delete_row(&id).await?;
        }
        Ok(())
    }

    /// Takes everything of ours out of the kernel: tables, rules in others' chains, interfaces. For uninstalling and for
    /// tests; the database stays.
    pub async fn withdraw(&self) -> Result<()> {
        let inner = self.0.clone();
        self.0.kernel.run(move |kernel| inner.withdraw(kernel, Rule::Goes)).await
    }

    /// For a clean stop: bridges that no running container is on go, and with the last of them our tables and what we
    /// switched on. What runs keeps all it has.
    pub async fn close(&self) -> Result<()> {
        let inner = self.0.clone();
        self.0
            .kernel
            .run(move |kernel| {
                if inner.state().endpoints.is_empty() {
                    return inner.withdraw(kernel, Rule::StaysWhileNeeded);
                }
                let (names, elements) = {
                    let mut state = inner.state();
                    let used: std::collections::HashSet<NetworkId> =
                        state.endpoints.values().map(|e| e.attachment.network.clone()).collect();
                    let mut idle = (Vec::new(), Vec::new());
                    for net in state.networks.values_mut().filter(|n| !n.row.ifname.is_empty() && !used.contains(&n.row.id)) {
                        net.index = None;
                        idle.0.push(net.row.ifname.clone());
                        idle.1.extend(net.elements());
                    }
                    idle
                };
                inner.delete_links(kernel, &names)?;
                kernel.firewall.change(&elements, &[]).doing(|| "taking idle networks out of the firewall".to_owned())
            })
            .await
    }

    /// Interfaces of the host that are in use: bridges and the host's ends of containers.
    pub fn links(&self) -> std::collections::BTreeSet<String> {
        let state = self.0.state();
        let bridges = state.networks.values().map(|n| n.row.ifname.clone());
        let ends = state.endpoints.values().map(|e| e.attachment.host_ifname.clone());
        let ready = state.prepared.values().map(|p| p.host_ifname.clone());
        bridges.chain(ends).chain(ready).filter(|name| !name.is_empty()).collect()
    }

    /// The tenant's published ports.
    pub fn ports(&self, tenant: TenantId) -> Vec<PortUse> {
        let state = self.0.state();
        let own = |container: &crate::ContainerId| state.attachments(container).iter().any(|a| a.tenant == tenant);
        state.ports.all().into_iter().filter(|u| own(&u.container)).collect()
    }
}

/// A network that is being removed: out of the state, its rows and its bridge still there.
#[derive(Debug)]
pub struct Going {
    view: Network,
    net: Option<Net>,
    inner: Arc<Inner>,
    _one_at_a_time: tokio::sync::OwnedMutexGuard<()>,
}

impl Going {
    /// What it was.
    pub fn network(&self) -> &Network {
        &self.view
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        if let Some(net) = self.net.take() {
            self.inner.state().insert(net);
        }
    }
}

/// What becomes of the rule that keeps the host's older interfaces from forwarding among themselves, when somebody else came
/// to need forwarding and it stays on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    StaysWhileNeeded,
    Goes,
}

impl Inner {
    fn withdraw(&self, kernel: &mut Kernel, rule: Rule) -> Result<()> {
        let doing = || "taking our networks out of the kernel".to_owned();
        let names: Vec<String> = {
            let mut state = self.state();
            let veths = state.endpoints.values().filter(|e| e.installed).map(|e| e.attachment.host_ifname.clone());
            let own = state.networks.values().map(|n| n.row.ifname.clone());
            let names = veths.chain(own).filter(|name| !name.is_empty()).collect();
            // What is not there is not repaired.
            state.networks.values_mut().for_each(|n| n.index = None);
            names
        };
        self.delete_links(kernel, &names)?;
        kernel.firewall.close_foreign_chains().doing(doing)?;
        if kernel.forward_no_more()? || rule == Rule::Goes {
            kernel.firewall.remove().doing(doing)
        } else {
            // Others forward by now: what keeps the host's older interfaces apart stays.
            let elements = kernel.forwarding.elements();
            kernel.firewall.rebuild(&elements).doing(doing)
        }
    }

    /// Removes many interfaces at the price of one: the kernel waits for its readers once per message, and one message can
    /// name a group.
    fn delete_links(&self, kernel: &mut Kernel, names: &[String]) -> Result<()> {
        let doing = || "removing our interfaces".to_owned();
        let links = kernel.routes.links().doing(doing)?;
        let there: Vec<&str> = links.iter().map(|l| l.name.as_str()).filter(|n| names.iter().any(|name| name == n)).collect();
        if there.is_empty() {
            return Ok(());
        }
        // Nobody else has this group: the tag is this instance's.
        let group = u32::from_str_radix(&self.tag, 16).unwrap_or(0) | 0x5700_0000;
        kernel.routes.send(there.iter().map(|name| link::join_group(name, group))).doing(doing)?;
        kernel.routes.send([link::delete_group(group)]).doing(doing)
    }

    /// Changes elements; when the kernel's tables are not what we think, writes them anew from what we know, which holds
    /// the change already.
    pub fn change(&self, kernel: &mut Kernel, remove: &[super::firewall::Element], add: &[super::firewall::Element]) -> Result<()> {
        if let Err(error) = kernel.firewall.change(remove, add) {
            tracing::warn!(%error, "the firewall's tables were not as expected; writing them anew");
            self.rebuild(kernel).doing(|| "writing the firewall's tables".to_owned())?;
        }
        Ok(())
    }

    /// Writes our tables anew, whole, in one step.
    pub fn rebuild(&self, kernel: &mut Kernel) -> io::Result<()> {
        let mut elements = self.state().elements();
        elements.extend(kernel.forwarding.elements());
        kernel.firewall.rebuild(&elements)
    }

    /// Makes all that shall be in the host's network namespace and is not there: forwarding, tables, bridges.
    pub fn build_all(&self, kernel: &mut Kernel) -> Result<()> {
        self.rebuild(kernel)
            .doing(|| "writing our nft tables (the kernel needs CONFIG_NF_TABLES_INET, _BRIDGE, NFT_NAT, NFT_MASQ, NFT_CT, NFT_FIB_INET, NFT_REJECT_INET)".to_owned())?;
        kernel.forward_v4()?;
        let opened =
            kernel.firewall.open_foreign_chains(&self.bridge_prefix()).doing(|| "making way in other firewalls' chains".to_owned())?;
        for chain in opened {
            tracing::info!(chain, "another firewall drops forwarded packets; an accept rule for our bridges was put into it");
        }
        let facts: Vec<(NetworkId, BridgeFacts)> =
            self.state().networks.values().filter(|n| n.is_bridge()).map(|n| (n.row.id.clone(), n.facts())).collect();
        let parents: Vec<(Child, String)> = {
            let state = self.state();
            let own = state.networks.values().filter(|n| !n.row.ifname.is_empty());
            own.filter_map(|n| Some((n.child.clone()?, n.row.ifname.clone()))).collect()
        };
        for (child, own) in parents {
            // A parent that went away since must not keep the server from starting: its containers say so when they start.
            if let Err(error) = child::make_parent(kernel, &child, &own) {
                tracing::warn!(?error, interface = own, "what a network stands on cannot be made again");
            }
        }
        for (id, facts) in facts {
            let index = make_bridge(kernel, &facts, false)?;
            if let Some(net) = self.state().networks.get_mut(&id) {
                net.index = Some(index);
            }
        }
        Ok(())
    }
}

/// Makes a bridge, or completes one that is there. `must_be_new`: its owner chose the name, and somebody else's interface
/// must not become it.
pub(super) fn make_bridge(kernel: &mut Kernel, facts: &BridgeFacts, must_be_new: bool) -> Result<u32> {
    let name = &facts.ifname;
    let doing = || format!("making the bridge {name}");
    match kernel.routes.send([link::new_bridge(name, facts.mac, facts.mtu)]) {
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) && must_be_new => {
            return Err(Error::conflict(format!("cannot create network: an interface named {name} exists on the host")));
        }
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
        other => other.doing(doing)?,
    }
    let made = kernel.routes.link(name).doing(doing)?.ok_or_else(|| Error::internal(doing(), io::Error::from_raw_os_error(libc::ENODEV)));
    let index = made?.index;
    kernel.host_routes.own(index);
    // Nobody's router advertisement configures our bridges, and a network without IPv6 has none at all (CVE-2020-13401,
    // CVE-2024-32473).
    kernel::set(&format!("ipv6/conf/{name}/accept_ra"), "0").doing(doing)?;
    kernel::set(&format!("ipv6/conf/{name}/disable_ipv6"), if facts.has_v6() { "0" } else { "1" }).doing(doing)?;
    if facts.has_v6() {
        // The bridge asks for containers by its link-local address, which nobody else on it can have: without looking for one who
        // does, the first packets from outside are forwarded at once, not a second or two later.
        kernel::set(&format!("ipv6/conf/{name}/accept_dad"), "0").doing(doing)?;
        kernel.forward_v6()?;
    }
    let addresses = facts.addresses.iter().map(|(ip, length)| link::address(index, *ip, *length));
    kernel.routes.send(addresses.chain([link::up(name)])).doing(doing)?;
    Ok(index)
}

/// Removes an interface; an absent one is no error.
pub(super) fn delete_link(kernel: &mut Kernel, name: &str) -> Result<()> {
    match kernel.routes.send([link::delete(name)]) {
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other.doing(|| format!("removing the interface {name}")),
    }
}
