//! A running container joins and leaves networks: what follows in it from that. Its published ports move with its default
//! route, its names are answered from its first network with names on, and its /etc/hosts knows its addresses.

use super::record::{Entry, Joined};
use super::spec::{ContainerPort, EndpointSpec, HostPort, Protocol};
use super::start::{DNS_SOCKETS, Up, has_embedded_dns};
use crate::engine::Engine;
use crate::network::{AttachRequest, Attachment, Network};
use crate::runtime::{Fds, LoopbackListener};
use crate::{Doing, NetworkId, Result};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The ports that a container shall publish.
pub(super) fn asked_ports(entry: &Entry) -> BTreeMap<ContainerPort, Vec<HostPort>> {
    let mut ports: BTreeMap<ContainerPort, Vec<HostPort>> = BTreeMap::new();
    for request in &entry.fixed.effective.network.ports {
        ports.entry(request.container).or_default().push(request.host.clone());
    }
    ports
}

fn addresses(a: &Attachment) -> Vec<IpAddr> {
    [a.ipv4.map(|(ip, _)| IpAddr::V4(ip)), a.ipv6.map(|(ip, _)| IpAddr::V6(ip))].into_iter().flatten().collect()
}

impl Engine {
    /// Joins a container to a network, now if it runs, else at its next start.
    pub(super) async fn join_now(&self, entry: &Arc<Entry>, network: &Network, spec: EndpointSpec) -> Result<()> {
        let name = entry.record().name.clone();
        if let Some(up) = entry.up() {
            let netns = crate::sys::inside::namespace_of(up.shim.pid(), "net").doing(|| "opening its network namespace".to_owned())?;
            let had_names = has_embedded_dns(self.networks_handle().attachments(&entry.id).iter());
            let request = AttachRequest {
                container: entry.id.clone(),
                name: name.clone(),
                hostname: entry.fixed.effective.host.hostname.clone(),
                endpoint: spec.clone(),
                extra_names: vec![entry.id.short().to_owned()],
                ports: BTreeMap::new(),
                prepared: None,
            };
            let joined = self.networks_handle().attach(entry.tenant, &network.id, request, netns).await?.attachment;
            if let Err(error) = self.follow(entry, &up, &joined, had_names).await {
                self.networks_handle().detach(&joined.endpoint).await?;
                self.place_ports(entry, &up).await?;
                return Err(error);
            }
        }
        let mut after = entry.record().mutable.clone();
        after.networks.insert(network.spec.name.clone(), Joined { network: network.id.clone(), spec });
        self.save_mutable(entry, name, after).await
    }

    async fn follow(&self, entry: &Entry, up: &Up, joined: &Attachment, had_names: bool) -> Result<()> {
        self.place_ports(entry, up).await?;
        self.tell_hosts(entry, &addresses(joined), &[])?;
        if had_names || joined.dns_names.is_empty() {
            return Ok(());
        }
        let netns = crate::sys::inside::namespace_of(up.shim.pid(), "net").doing(|| "opening its network namespace".to_owned())?;
        let mut fds = Fds::new();
        for socket in self.networks_handle().serve_dns(&entry.id, netns, super::etc::resolver(&entry.fixed.effective)).await? {
            fds.add(socket);
        }
        up.shim.hold(DNS_SOCKETS, &fds).await?;
        self.tell_resolver(entry)
    }

    /// Takes a container that runs out of a network.
    pub(super) async fn leave_now(&self, entry: &Entry, network: &NetworkId) -> Result<()> {
        for one in self.networks_handle().attachments(&entry.id).into_iter().filter(|a| a.network == *network) {
            let up = entry.up();
            // The ports go to another network if there is one: they are taken along before their place is gone.
            let ports = one.ports.clone();
            self.networks_handle().detach(&one.endpoint).await?;
            if let Some(up) = up {
                if !ports.is_empty() {
                    up.shim.serve_loopback(Vec::new()).await?;
                    self.place_ports_as(entry, &up, &ports).await?;
                }
                self.tell_hosts(entry, &[], &addresses(&one))?;
            }
        }
        Ok(())
    }

    /// Sees to it that a running container's ports are published where its default route is.
    async fn place_ports(&self, entry: &Entry, up: &Up) -> Result<()> {
        self.place_ports_as(entry, up, &[]).await
    }

    /// `before`: what was published, by a place that is gone.
    async fn place_ports_as(&self, entry: &Entry, up: &Up, before: &[super::view::PublishedPort]) -> Result<()> {
        let asked = asked_ports(entry);
        if asked.is_empty() || !self.networks_handle().ports_are_misplaced(&entry.id) {
            return Ok(());
        }
        // They hold the ports that are to be taken again.
        up.shim.serve_loopback(Vec::new()).await?;
        let asked = crate::network::as_before(&asked, before);
        let Some(placed) = self.networks_handle().publish(&entry.id, &asked).await? else { return Ok(()) };
        self.networks_handle().record_placed(&placed).await?;
        let listeners = placed.sockets.into_iter().map(|(listener, socket)| LoopbackListener {
            listener: socket,
            udp: listener.protocol == Protocol::Udp,
            target: listener.target,
        });
        up.shim.serve_loopback(listeners.collect()).await
    }
}
