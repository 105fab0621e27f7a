//! The handle: networks of tenants and the attachments in them. Policy-free: the engine's facade has judged before.

use super::attach::{Alive, AttachRequest, Attachment, Prepared, Reserved, ResolverSpec};
use super::{Network, NetworkSpec, PortUse};
use crate::id::{ContainerId, EndpointId, NetworkId, TenantId};
use crate::inventory::{Inventory, Tx};
use crate::{Error, Instance, Result};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The networks of this instance. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Networks(Arc<()>);

#[allow(unused_variables)]
impl Networks {
    /// Loads the networks and makes what is missing of them in the kernel: in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel refuses bridges or nf_tables (the message says what is missing).
    pub async fn open(instance: &Instance, inventory: Inventory) -> Result<Self> {
        Err(Error::unsupported("network"))
    }

    /// Makes a network; the text is a warning, usually empty.
    ///
    /// # Errors
    /// `Conflict` for a taken name, `Forbidden` for overlapping subnets (as Docker's 403), `Invalid` for bad input.
    pub async fn create(&self, tenant: TenantId, spec: NetworkSpec) -> Result<(NetworkId, String)> {
        Err(Error::unsupported("network create"))
    }

    /// The tenant's networks: bridge, host, none, then others by name.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<Network>> {
        Err(Error::unsupported("network list"))
    }

    /// One network, by id, name or unique id prefix.
    pub async fn get(&self, tenant: TenantId, name: &str) -> Result<Network> {
        Err(Error::unsupported("network get"))
    }

    /// The tenant's own network named `bridge`, made when it is first asked for.
    pub async fn default_network(&self, tenant: TenantId) -> Result<Network> {
        Err(Error::unsupported("network get"))
    }

    /// Removes a network that nobody is in.
    ///
    /// # Errors
    /// `Forbidden` with Docker's "has active endpoints", or for a predefined network.
    pub async fn remove(&self, tenant: TenantId, name: &str) -> Result<Network> {
        Err(Error::unsupported("network remove"))
    }

    /// Takes address, MAC, names and host ports for a container in memory, and opens its host sockets.
    ///
    /// # Errors
    /// Docker's texts for taken addresses and ports.
    pub async fn reserve(&self, tenant: TenantId, network: &NetworkId, request: AttachRequest) -> Result<Reserved> {
        Err(Error::unsupported("network attach"))
    }

    /// Writes an attachment's row in the caller's transaction.
    pub async fn record(&self, tx: &mut Tx, attachment: &Attachment) -> Result<()> {
        Err(Error::unsupported("network attach"))
    }

    /// Makes a reserved attachment real: veth into `netns` (unless prepared), addresses, routes, firewall elements.
    pub async fn join(&self, attachment: &Attachment, netns: OwnedFd) -> Result<()> {
        Err(Error::unsupported("network attach"))
    }

    /// [`Self::reserve`], [`Self::record`] in its own transaction, and [`Self::join`].
    pub async fn attach(&self, tenant: TenantId, network: &NetworkId, request: AttachRequest, netns: OwnedFd) -> Result<Reserved> {
        Err(Error::unsupported("network attach"))
    }

    /// Takes a container out of a network: interface, elements, address, ports, row. An absent endpoint is no error.
    pub async fn detach(&self, endpoint: &EndpointId) -> Result<()> {
        Err(Error::unsupported("network detach"))
    }

    /// Takes a container out of all its networks and ends its DNS.
    pub async fn detach_container(&self, container: &ContainerId) -> Result<()> {
        Err(Error::unsupported("network detach"))
    }

    /// A container's attachments.
    pub fn attachments(&self, container: &ContainerId) -> Vec<Attachment> {
        Vec::new()
    }

    /// Gives a container another name in DNS.
    pub async fn rename(&self, container: &ContainerId, name: &str) -> Result<()> {
        Err(Error::unsupported("network rename"))
    }

    /// Makes a veth on the tenant's default bridge in a pooled network namespace.
    pub async fn prepare_netns(&self, tenant: TenantId, netns: OwnedFd) -> Result<Prepared> {
        Err(Error::unsupported("pooled network namespaces"))
    }

    /// Gives a prepared veth back.
    pub async fn discard(&self, prepared: Prepared) -> Result<()> {
        Err(Error::unsupported("pooled network namespaces"))
    }

    /// Opens DNS at 127.0.0.11 in a container's namespace and serves it. The sockets returned are copies for the shim to
    /// keep. Call it for containers in user-defined networks.
    pub async fn serve_dns(&self, container: &ContainerId, netns: OwnedFd, spec: ResolverSpec) -> Result<Vec<OwnedFd>> {
        Err(Error::unsupported("DNS"))
    }

    /// What a container's /etc/resolv.conf holds: 127.0.0.11 in user-defined networks (`embedded`), else the host's
    /// servers without loopback ones.
    pub fn resolv_conf(&self, embedded: bool, spec: &ResolverSpec) -> String {
        String::new()
    }

    /// After the server's start: keeps the attachments of these containers, removes all others' remains.
    pub async fn adopt(&self, alive: Vec<Alive>) -> Result<()> {
        Err(Error::unsupported("network adopt"))
    }

    /// Compares kernel and inventory and repairs; returns what was repaired. Also runs by itself.
    pub async fn reconcile(&self) -> Result<Vec<String>> {
        Err(Error::unsupported("network reconcile"))
    }

    /// The tenant's published ports.
    pub fn ports(&self, tenant: TenantId) -> Vec<PortUse> {
        Vec::new()
    }

    /// The address that `host-gateway` stands for: the gateway of the tenant's default network.
    pub async fn host_gateway(&self, tenant: TenantId) -> Result<Option<IpAddr>> {
        Err(Error::unsupported("network get"))
    }
}
