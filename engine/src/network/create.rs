//! Making a network. Planned first, which can fail; then the caller writes its row, with the audit row in one transaction; then
//! it is made in the kernel. A crash between leaves a row, and the next start makes what it says.

use super::NetworkSpec;
use super::child::{self, Child};
use super::firewall::Element;
use super::networks::{Networks, make_bridge};
use super::plan;
use super::state::{BridgeFacts, Net};
use crate::id::{NetworkId, TenantId};
use crate::inventory::Tx;
use crate::inventory::networks::{self as rows, NetworkRow};
use crate::{Doing, Error, Result};
use jiff::Timestamp;

/// A network that is to be made. Nobody else plans one meanwhile.
#[derive(Debug)]
pub struct Planned {
    net: Net,
    facts: BridgeFacts,
    elements: Vec<Element>,
    /// Its owner chose the bridge's name.
    named: bool,
    /// Absent for predefined networks, whose maker holds the lock.
    _one_at_a_time: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Networks {
    /// Makes a network on its own; the text is a warning, usually empty.
    ///
    /// # Errors
    /// `Conflict` for a taken name, `Forbidden` for overlapping subnets (as Docker's 403), `Invalid` for bad input.
    pub async fn create(&self, tenant: TenantId, spec: NetworkSpec) -> Result<(NetworkId, String)> {
        let planned = self.create_begin(tenant, spec).await?;
        Ok((self.make_alone(planned).await?, String::new()))
    }

    /// Plans a network: name, subnets, options. Nothing is changed.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn create_begin(&self, tenant: TenantId, spec: NetworkSpec) -> Result<Planned> {
        let name = &spec.name;
        // dockerd takes any text; a space is the one character outside of container names that clients make use of.
        let in_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b' ');
        if name.is_empty() || name.len() > 255 || name.trim() != name || !name.bytes().all(in_name) {
            return Err(Error::invalid(format!("invalid network name {name:?}: expected letters, digits and _ . - with spaces between")));
        }
        self.ensure_predefined(tenant).await?;
        let one_at_a_time = self.0.changing.clone().lock_owned().await;
        if ["bridge", "host", "none", "default"].contains(&name.as_str()) {
            return Err(Error::forbidden(format!("operation is not permitted on predefined {name} network ")));
        }
        if self.0.state().names.contains_key(&(tenant, name.clone())) {
            return Err(Error::conflict(format!("network with name {name} already exists")));
        }
        let planned = self.plan(tenant, spec, false).await?;
        Ok(Planned { _one_at_a_time: Some(one_at_a_time), ..planned })
    }

    /// Writes its row in the caller's transaction.
    pub async fn record_new(&self, tx: &mut Tx, planned: &Planned) -> Result<()> {
        rows::insert(tx, &planned.net.row).await
    }

    /// Makes what was planned and written. On an error nothing of it is left, the row neither.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn create_end(&self, planned: Planned) -> Result<NetworkId> {
        let Planned { mut net, facts, elements, named, _one_at_a_time } = planned;
        let id = net.row.id.clone();
        let made = async {
            if let Some(child) = &net.child {
                let own = format!("{}{}", self.0.bridge_prefix(), &id.as_str()[..8]);
                net.row.ifname = self.make_parent(child, own).await?;
                if !net.row.ifname.is_empty() {
                    // Only what we made is ours to remove; it is known to be now.
                    let mut tx = self.0.inventory.begin().await?;
                    rows::delete(&mut tx, &id).await?;
                    rows::insert(&mut tx, &net.row).await?;
                    tx.commit().await.doing(|| "writing what a network stands on".to_owned())?;
                }
            }
            if net.is_bridge() {
                let inner = self.0.clone();
                let making = move |kernel: &mut super::kernel::Kernel| {
                    // Known to the firewall before it is there; both in one go.
                    inner.change(kernel, &[], &elements)?;
                    let made = make_bridge(kernel, &facts, named);
                    if made.is_err() {
                        inner.change(kernel, &elements, &[])?;
                    }
                    made
                };
                net.index = Some(self.0.kernel.run(making).await?);
            }
            Ok(())
        };
        if let Err(error) = made.await {
            let mut tx = self.0.inventory.begin().await?;
            rows::delete(&mut tx, &id).await?;
            tx.commit().await.doing(|| format!("removing network {}", id.short()))?;
            return Err(error);
        }
        self.0.state().insert(net);
        Ok(id)
    }

    /// Writes and makes it.
    pub(super) async fn make_alone(&self, planned: Planned) -> Result<NetworkId> {
        let mut tx = self.0.inventory.begin().await?;
        self.record_new(&mut tx, &planned).await?;
        tx.commit().await.doing(|| format!("writing network {}", planned.net.row.spec.name))?;
        self.create_end(planned).await
    }

    /// Plans a network. `changing` is held.
    pub(super) async fn plan(&self, tenant: TenantId, spec: NetworkSpec, predefined: bool) -> Result<Planned> {
        // A subnet that is named for a network on the host's wire is that wire's: the host has a route to it.
        let on_the_wire = child::is_child(&spec) && spec.ipam.iter().any(|p| !p.subnet.is_empty());
        let mut busy = match on_the_wire {
            true => Vec::new(),
            false => {
                let reading = || "reading the host's routes".to_owned();
                self.0.kernel.run(move |k| k.host_routes.busy(&mut k.routes).doing(reading)).await?
            }
        };
        busy.extend(self.0.state().subnets());
        let plan = plan::plan(spec, &busy, &self.0.tag, self.0.start, &self.0.pools)?;
        let id = NetworkId::random();
        let child = child::child(&plan.spec)?;
        let own = format!("{}{}", self.0.bridge_prefix(), &id.as_str()[..8]);
        let named = plan.bridge.ifname.is_some();
        let ifname = match &child {
            Some(child) => {
                self.check_parent(child)?;
                String::new()
            }
            None => plan.bridge.ifname.clone().unwrap_or(own),
        };
        let row = NetworkRow { id, tenant, ifname, predefined, spec: plan.spec, chosen: plan.chosen, created: Timestamp::now() };
        let net = Net { row, bridge: plan.bridge, child, index: None, v4: plan.v4, v6: plan.v6 };
        let (facts, elements) = (net.facts(), net.elements());
        Ok(Planned { net, facts, elements, named, _one_at_a_time: None })
    }

    /// That what a macvlan or ipvlan network stands on may be stood on.
    fn check_parent(&self, child: &Child) -> Result<()> {
        let state = self.0.state();
        let ours = |name: &str| name.starts_with(&self.0.bridge_prefix()) || name.starts_with(&self.0.veth_prefix());
        if ours(&child.parent) || state.networks.values().any(|n| n.is_bridge() && n.row.ifname == child.parent) {
            return Err(Error::forbidden(format!("the parent interface {} is a bridge of this server", child.parent)));
        }
        for other in state.networks.values() {
            if let Some(there) = &other.child {
                child::conflict(child, there, &other.row.spec.name)?;
            }
        }
        Ok(())
    }

    /// What a macvlan or ipvlan network stands on; returns the name of what was made for it: a dummy or a VLAN, else nothing.
    async fn make_parent(&self, child: &Child, own: String) -> Result<String> {
        let (child, name) = (child.clone(), if child.parent.is_empty() { own } else { child.parent.clone() });
        let made = {
            let name = name.clone();
            self.0.kernel.run(move |kernel| child::make_parent(kernel, &child, &name)).await?
        };
        Ok(if made { name } else { String::new() })
    }
}
