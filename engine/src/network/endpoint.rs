//! Containers join and leave networks. In memory first, then the row, then the kernel (see `attach`).

use super::attach::{AttachRequest, Attachment, Listener, Prepared, Reserved, ResolverSpec};
use super::child::{self, Child, Place};
use super::dns;
use super::kernel::{self, Kernel};
use super::link::{self, Peer};
use super::networks::{Inner, Networks, delete_link, not_found};
use super::option;
use super::plan::{format_mac, mac_of, parse_mac};
use super::publish;
use super::state::{Endpoint, State, addresses, prepared_addresses};
use crate::container::spec::Protocol;
use crate::id::{ContainerId, EndpointId, NetworkId, TenantId};
use crate::inventory::{Tx, networks as rows};
use crate::{Doing, Error, Kind, Result};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// Addresses taken for an endpoint.
struct Addresses {
    ipv4: Option<(Ipv4Addr, u8)>,
    ipv6: Option<(Ipv6Addr, u8)>,
}

fn exhausted(network: &str) -> Error {
    Error::new(Kind::Exhausted, format!("no available IPv4 or IPv6 addresses on network {network}: its pool is used up"))
}

/// Takes the asked or the next addresses of a network; all or none.
fn take(state: &mut State, network: &NetworkId, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Result<Addresses> {
    let net = state.networks.get_mut(network).ok_or_else(|| not_found(network.short()))?;
    if v4.is_some() && net.v4.is_none() {
        return Err(Error::invalid(format!("network {} has no IPv4 subnet", net.row.spec.name)));
    }
    if v6.is_some() && net.v6.is_none() {
        return Err(Error::invalid(format!("network {} has no IPv6 subnet", net.row.spec.name)));
    }
    let name = net.row.spec.name.clone();
    let mut taken = Addresses { ipv4: None, ipv6: None };
    if let Some(subnet) = &mut net.v4 {
        let ip = match v4 {
            Some(ip) => subnet.pool.take_this(IpAddr::V4(ip)).map(|()| IpAddr::V4(ip))?,
            None => subnet.pool.take().ok_or_else(|| exhausted(&name))?,
        };
        if let IpAddr::V4(ip) = ip {
            taken.ipv4 = Some((ip, subnet.pool.subnet().length()));
        }
    }
    let second = match &mut net.v6 {
        None => Ok(None),
        Some(subnet) => match v6 {
            Some(ip) => subnet.pool.take_this(IpAddr::V6(ip)).map(|()| Some(IpAddr::V6(ip))),
            None => subnet.pool.take().map(Some).ok_or_else(|| exhausted(&name)),
        }
        .map(|ip| ip.map(|ip| (ip, subnet.pool.subnet().length()))),
    };
    match second {
        Ok(Some((IpAddr::V6(ip), length))) => taken.ipv6 = Some((ip, length)),
        Ok(_) => {}
        Err(error) => {
            net.give(taken.ipv4.map(|(ip, _)| IpAddr::V4(ip)));
            return Err(error);
        }
    }
    Ok(taken)
}

/// Everything of a reservation that needs no kernel.
fn reserve_in(state: &mut State, veth_prefix: &str, tenant: TenantId, network: &NetworkId, request: &AttachRequest) -> Result<Attachment> {
    let net = state.networks.get(network).filter(|n| n.row.tenant == tenant).ok_or_else(|| not_found(network.short()))?;
    let spec = &request.endpoint;
    let name = net.row.spec.name.clone();
    if !net.takes_containers() {
        return Err(Error::invalid(format!("containers do not join the network {name}: it is a mode")));
    }
    if state.attachments(&request.container).iter().any(|a| a.network == *network) {
        return Err(Error::forbidden(format!("endpoint with name {} already exists in network {name}", request.name)));
    }
    if net.is_default() && (spec.ipv4.is_some() || spec.ipv6.is_some()) {
        return Err(Error::invalid("user specified IP address is supported on user defined networks only"));
    }
    if !net.row.chosen && (spec.ipv4.is_some() || spec.ipv6.is_some()) {
        return Err(Error::invalid("user specified IP address is supported only when connecting to networks with user configured subnets"));
    }
    if net.is_default() && !spec.aliases.is_empty() {
        return Err(Error::invalid("network-scoped aliases are only supported for user-defined networks"));
    }
    let options = option::read(spec)?;
    if let Some(ip) = spec
        .link_local
        .iter()
        .find(|ip| state.endpoints.values().any(|e| e.attachment.network == *network && e.attachment.link_local.contains(ip)))
    {
        return Err(Error::forbidden(format!("Address already in use: {ip}")));
    }
    let fixed_mac = spec.mac_address.as_deref().filter(|m| !m.is_empty()).map(parse_mac).transpose()?;
    let mut dns_names = Vec::new();
    if !net.is_default() {
        let all = [request.name.as_str()].into_iter().chain(spec.aliases.iter().map(String::as_str));
        let all = all.chain(request.extra_names.iter().map(String::as_str));
        for dns_name in all.chain([request.container.short(), request.hostname.as_str()]) {
            if !dns_name.is_empty() && !dns_names.iter().any(|n| n == dns_name) {
                dns_names.push(dns_name.to_owned());
            }
        }
    }
    let links = spec.links.iter().map(|l| {
        let (container, alias) = l.split_once(':').unwrap_or((l, l));
        (alias.to_owned(), container.to_owned())
    });
    let links = links.collect();
    let gateway4 = net.gateway(true).and_then(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None });
    let gateway6 = net.gateway(false).and_then(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None });
    let prefix = net.bridge.prefix.clone();
    let has_veth = net.is_bridge();
    let used: Vec<&str> = state.attachments(&request.container).iter().map(|a| a.ifname.as_str()).collect();
    let ifname = match options.ifname {
        Some(name) if used.contains(&name.as_str()) => {
            return Err(Error::conflict(format!("the container has an interface named {name} already")));
        }
        Some(name) => name,
        None => (0..)
            .map(|n| format!("{prefix}{n}"))
            .find(|n| !used.contains(&n.as_str()))
            .ok_or_else(|| Error::invalid("too many networks"))?,
    };
    let (endpoint, host_ifname, taken, mac) = match &request.prepared {
        Some(p) => {
            state.prepared.remove(&p.endpoint);
            let taken = Addresses { ipv4: p.ipv4, ipv6: p.ipv6 };
            (p.endpoint.clone(), p.host_ifname.clone(), taken, parse_mac(&p.mac_address)?)
        }
        None => {
            let taken = take(state, network, spec.ipv4, spec.ipv6)?;
            let mac = fixed_mac.unwrap_or_else(|| mac_of(taken.ipv4.map(|(ip, _)| ip), taken.ipv6.map(|(ip, _)| ip)));
            let endpoint = EndpointId::random();
            let host_ifname = if has_veth { format!("{veth_prefix}{}", &endpoint.as_str()[..8]) } else { String::new() };
            (endpoint, host_ifname, taken, mac)
        }
    };
    Ok(Attachment {
        endpoint,
        tenant,
        network: network.clone(),
        container: request.container.clone(),
        name: request.name.clone(),
        ifname,
        host_ifname,
        ipv4: taken.ipv4,
        ipv6: taken.ipv6,
        gateway4,
        gateway6,
        mac_address: format_mac(mac),
        gateway_priority: spec.gateway_priority,
        dns_names,
        links,
        ports: Vec::new(),
        listeners: Vec::new(),
        link_local: spec.link_local.clone(),
        sysctls: options.sysctls,
    })
}

impl Networks {
    /// Takes address, MAC, names and host ports for a container in memory, and opens its host sockets.
    ///
    /// # Errors
    /// Docker's texts for taken addresses and ports.
    pub async fn reserve(&self, tenant: TenantId, network: &NetworkId, mut request: AttachRequest) -> Result<Reserved> {
        // A prepared veth that does not fit must not be in the way of the one that will.
        let spec = &request.endpoint;
        let plain = spec.ipv4.is_none()
            && spec.ipv6.is_none()
            && spec.link_local.is_empty()
            && option::read(spec).is_ok_and(|o| o == option::Options::default())
            && spec.mac_address.as_deref().is_none_or(str::is_empty);
        if let Some(p) = request.prepared.take() {
            if plain && p.network == *network && p.tenant == tenant {
                request.prepared = Some(p);
            } else {
                self.discard(p).await?;
            }
        }
        let ports = std::mem::take(&mut request.ports);
        let (mut attachment, default_host_ip, publishes) = {
            let mut state = self.0.state();
            let attachment = reserve_in(&mut state, &self.0.veth_prefix(), tenant, network, &request)?;
            let net = state.networks.get(network).ok_or_else(|| not_found(network.short()))?;
            let host_ip = net.bridge.host_ip;
            // What is on the host's wire is reached there; dockerd passes over its ports in silence, too.
            let internal = !net.is_bridge() || net.row.spec.internal;
            let already = state.attachments(&request.container).iter().any(|a| !a.ports.is_empty());
            let id = attachment.endpoint.clone();
            state.containers.entry(attachment.container.clone()).or_default().push(id.clone());
            let prepared = request.prepared.is_some();
            state
                .endpoints
                .insert(id, Endpoint { attachment: attachment.clone(), prepared, installed: prepared, plugged: prepared, netns: None });
            (attachment, host_ip, !internal && !already)
        };
        let mut sockets: Vec<(Listener, OwnedFd)> = Vec::new();
        if publishes && !ports.is_empty() {
            let (inner, mine) = (self.0.clone(), attachment.clone());
            let published = self.0.kernel.run(move |_| publish::publish(&inner, &mine, default_host_ip, &ports)).await;
            match published {
                Ok(published) => {
                    attachment.ports = published.ports;
                    attachment.listeners = published.sockets.iter().map(|(l, _)| *l).collect();
                    sockets = published.sockets;
                    if let Some(endpoint) = self.0.state().endpoints.get_mut(&attachment.endpoint) {
                        endpoint.attachment = attachment.clone();
                    }
                }
                Err(error) => {
                    self.detach(&attachment.endpoint).await?;
                    return Err(error);
                }
            }
        }
        Ok(Reserved { attachment, sockets })
    }

    /// Writes an attachment's row in the caller's transaction.
    pub async fn record(&self, tx: &mut Tx, attachment: &Attachment) -> Result<()> {
        rows::put_endpoint(tx, attachment).await
    }

    /// Brings up the loopback interface of a container that is in no network: one that is gets it with its first.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn loopback(&self, netns: OwnedFd) -> Result<()> {
        let up = move |kernel: &mut Kernel| kernel.inside(netns.as_fd(), || link::Routes::open()?.send([link::up("lo")]));
        self.0.kernel.run(move |kernel| up(kernel).doing(|| "bringing up a container's loopback interface".to_owned())).await
    }

    /// Makes a reserved attachment real: veth into `netns` (unless prepared), addresses, routes, firewall elements.
    ///
    /// # Errors
    /// When the kernel refuses; then nothing of it is left, and the reservation still stands.
    pub async fn join(&self, attachment: &Attachment, netns: OwnedFd) -> Result<()> {
        let netns = Arc::new(netns);
        let (prepared, a) = {
            let mut state = self.0.state();
            let endpoint = state
                .endpoints
                .get_mut(&attachment.endpoint)
                .ok_or_else(|| Error::conflict(format!("container {} left the network meanwhile", attachment.name)))?;
            endpoint.netns = Some(netns.clone());
            endpoint.installed = true;
            let joining = (endpoint.prepared, endpoint.attachment.clone());
            state.show(&attachment.endpoint);
            joining
        };
        if prepared && a.ports.is_empty() {
            return Ok(()); // All of it is there.
        }
        let inner = self.0.clone();
        self.0
            .kernel
            .run(move |kernel| {
                let plugged = inner.plug(kernel, &a, prepared, &netns);
                let mut state = inner.state();
                if plugged.is_err() {
                    state.hide(&a.endpoint);
                }
                if let Some(endpoint) = state.endpoints.get_mut(&a.endpoint) {
                    match plugged {
                        Ok(()) => endpoint.plugged = true,
                        Err(_) => {
                            endpoint.installed = endpoint.prepared;
                            endpoint.netns = None;
                        }
                    }
                }
                drop(state);
                plugged
            })
            .await
    }

    /// [`Self::reserve`], [`Self::record`] in its own transaction, and [`Self::join`].
    pub async fn attach(&self, tenant: TenantId, network: &NetworkId, request: AttachRequest, netns: OwnedFd) -> Result<Reserved> {
        let reserved = self.reserve(tenant, network, request).await?;
        let made = async {
            let mut tx = self.0.inventory.begin().await?;
            self.record(&mut tx, &reserved.attachment).await?;
            tx.commit().await.doing(|| "recording an endpoint".to_owned())?;
            self.join(&reserved.attachment, netns).await
        };
        if let Err(error) = made.await {
            self.detach(&reserved.attachment.endpoint).await?;
            return Err(error);
        }
        Ok(reserved)
    }

    /// Takes a running container out of a network: interface, elements, address, ports, row. An absent endpoint is no error.
    pub async fn detach(&self, endpoint: &EndpointId) -> Result<()> {
        let Some(a) = self.0.state().endpoints.get(endpoint).map(|e| e.attachment.clone()) else {
            return Ok(());
        };
        let inner = self.0.clone();
        self.0
            .kernel
            .run(move |kernel| {
                // The addresses and ports are free for others only after the kernel has forgotten them.
                inner.delete_interface(kernel, &a)?;
                let netns = inner.unplug(kernel, &a)?;
                netns.map_or(Ok(()), |netns| inner.route(kernel, &a.container, &netns))
            })
            .await?;
        self.forget(std::slice::from_ref(endpoint)).await
    }

    /// Takes an ended container out of all its networks and ends its DNS. Its interfaces go with its namespace: to remove
    /// one by hand costs the kernel tens of milliseconds, during which nobody else gets an interface. They are mute from
    /// here on.
    pub async fn detach_container(&self, container: &ContainerId) -> Result<()> {
        self.0.dns.stop(container);
        let ids: Vec<EndpointId> = self.0.state().containers.get(container).cloned().unwrap_or_default();
        if ids.is_empty() {
            return Ok(());
        }
        let (inner, ended) = (self.0.clone(), container.clone());
        self.0
            .kernel
            .run(move |kernel| {
                let attachments: Vec<Attachment> = inner.state().attachments(&ended).into_iter().cloned().collect();
                for a in attachments {
                    if a.host_ifname.is_empty() {
                        // Whoever shares the namespace must not keep an address that others get.
                        inner.delete_interface(kernel, &a)?;
                    }
                    inner.unplug(kernel, &a)?;
                    if !a.host_ifname.is_empty() {
                        inner.state().ended.push((Instant::now(), a.host_ifname));
                    }
                }
                Ok(())
            })
            .await?;
        // The rows follow: whoever waits for the teardown waits for addresses and ports, and a row that stays in a crash is
        // removed by the next `adopt`.
        let networks = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(crate::inventory::SOON).await;
            if let Err(error) = networks.forget(&ids).await {
                tracing::warn!(?error, "rows of endpoints remain until the next start of the server");
            }
        });
        Ok(())
    }

    async fn forget(&self, endpoints: &[EndpointId]) -> Result<()> {
        let mut tx = self.0.inventory.begin().await?;
        rows::delete_endpoints(&mut tx, endpoints).await?;
        tx.commit().await.doing(|| "removing endpoints' rows".to_owned())
    }

    /// A container's attachments, in the order they came.
    pub fn attachments(&self, container: &ContainerId) -> Vec<Attachment> {
        self.0.state().attachments(container).into_iter().cloned().collect()
    }

    /// Gives a container another name in DNS.
    pub async fn rename(&self, container: &ContainerId, name: &str) -> Result<()> {
        let renamed: Vec<Attachment> = {
            let mut state = self.0.state();
            let ids = state.containers.get(container).cloned().unwrap_or_default();
            let mut renamed = Vec::new();
            for id in ids {
                state.hide(&id);
                if let Some(endpoint) = state.endpoints.get_mut(&id) {
                    let a = &mut endpoint.attachment;
                    for dns_name in &mut a.dns_names {
                        if *dns_name == a.name {
                            name.clone_into(dns_name);
                        }
                    }
                    name.clone_into(&mut a.name);
                    renamed.push(a.clone());
                    if endpoint.installed {
                        state.show(&id);
                    }
                }
            }
            renamed
        };
        if renamed.is_empty() {
            return Ok(());
        }
        let mut tx = self.0.inventory.begin().await?;
        for attachment in &renamed {
            rows::put_endpoint(&mut tx, attachment).await?;
        }
        tx.commit().await.doing(|| "renaming endpoints".to_owned())
    }

    /// Opens DNS at 127.0.0.11 in a container's namespace (where loopback is up: after [`Self::join`]) and serves it. The
    /// sockets returned are copies for the shim to keep. For containers in user-defined networks.
    pub async fn serve_dns(&self, container: &ContainerId, netns: OwnedFd, spec: ResolverSpec) -> Result<Vec<OwnedFd>> {
        let doing = || "opening DNS at 127.0.0.11 in a container".to_owned();
        let netns = Arc::new(netns);
        let inside = netns.clone();
        let (udp, tcp) = self.0.kernel.run(move |kernel| kernel.inside(inside.as_fd(), dns::open_sockets).doing(doing)).await?;
        let copies = vec![udp.try_clone().doing(doing)?.into(), tcp.try_clone().doing(doing)?.into()];
        self.0.dns.serve(container, netns, (udp, tcp), spec).doing(doing)?;
        Ok(copies)
    }

    /// What a container's /etc/resolv.conf holds: 127.0.0.11 in user-defined networks (`embedded`), else the host's
    /// servers without loopback ones.
    pub fn resolv_conf(&self, embedded: bool, spec: &ResolverSpec) -> String {
        dns::resolv::container(embedded, spec)
    }

    /// Makes a veth on the tenant's default bridge in a pooled network namespace, as `eth0` with address and route.
    pub async fn prepare_netns(&self, tenant: TenantId, netns: OwnedFd) -> Result<Prepared> {
        let network = self.default_network(tenant).await?.id;
        let (prepared, elements, plug) = {
            let mut state = self.0.state();
            let taken = take(&mut state, &network, None, None)?;
            let endpoint = EndpointId::random();
            let mac = mac_of(taken.ipv4.map(|(ip, _)| ip), taken.ipv6.map(|(ip, _)| ip));
            let prepared = Prepared {
                tenant,
                network: network.clone(),
                host_ifname: format!("{}{}", self.0.veth_prefix(), &endpoint.as_str()[..8]),
                endpoint,
                ipv4: taken.ipv4,
                ipv6: taken.ipv6,
                mac_address: format_mac(mac),
            };
            let elements = state.veth_elements(&network, &prepared.host_ifname, &prepared.mac_address, &prepared_addresses(&prepared));
            let net = state.networks.get(&network).ok_or_else(|| not_found("bridge"))?;
            let plug = Plug {
                host_ifname: prepared.host_ifname.clone(),
                bridge: net.index.ok_or_else(|| not_found("bridge"))?,
                mtu: net.bridge.mtu,
                ifname: format!("{}0", net.bridge.prefix),
                mac,
                addresses: with_lengths(prepared.ipv4, prepared.ipv6),
                gateways: [&net.v4, &net.v6].into_iter().flatten().map(|s| s.gateway).collect(),
                by_device: false,
                place: None,
                sysctls: Vec::new(),
            };
            state.prepared.insert(prepared.endpoint.clone(), prepared.clone());
            (prepared, elements, plug)
        };
        let inner = self.0.clone();
        let made = self
            .0
            .kernel
            .run(move |kernel| {
                inner.change(kernel, &[], &elements)?;
                plug.plug(kernel, netns.as_fd())
            })
            .await;
        match made {
            Ok(()) => Ok(prepared),
            Err(error) => {
                self.discard(prepared).await?;
                Err(error)
            }
        }
    }

    /// Gives a prepared veth back.
    pub async fn discard(&self, prepared: Prepared) -> Result<()> {
        let inner = self.0.clone();
        self.0
            .kernel
            .run(move |kernel| {
                delete_link(kernel, &prepared.host_ifname)?;
                let elements = {
                    let mut state = inner.state();
                    if state.prepared.remove(&prepared.endpoint).is_none() {
                        return Ok(());
                    }
                    if let Some(net) = state.networks.get_mut(&prepared.network) {
                        net.give(prepared_addresses(&prepared));
                    }
                    state.veth_elements(&prepared.network, &prepared.host_ifname, &prepared.mac_address, &prepared_addresses(&prepared))
                };
                inner.change(kernel, &elements, &[])
            })
            .await
    }
}

/// Old UDP flows of an attachment's published ports go where they went before: have them forgotten. A kernel that cannot
/// (before 5.8) forgets them by itself after half a minute of silence.
pub(super) fn forget_flows(kernel: &mut Kernel, a: &Attachment, gone: bool) {
    let udp = a.ports.iter().filter(|p| p.container.protocol == Protocol::Udp && !p.ip.is_loopback());
    let udp: Vec<(IpAddr, u16)> = udp.map(|p| (p.ip, p.port)).collect();
    if udp.is_empty() {
        return;
    }
    let container = if gone { addresses(a) } else { Vec::new() };
    if let Err(error) = kernel.firewall.forget_flows(&udp, &container) {
        tracing::warn!(%error, container.id = a.container.short(), "old UDP flows could not be forgotten");
    }
}

fn with_lengths(ipv4: Option<(Ipv4Addr, u8)>, ipv6: Option<(Ipv6Addr, u8)>) -> Vec<(IpAddr, u8)> {
    let v4 = ipv4.map(|(ip, l)| (IpAddr::V4(ip), l));
    v4.into_iter().chain(ipv6.map(|(ip, l)| (IpAddr::V6(ip), l))).collect()
}

/// A veth to make.
pub(super) struct Plug {
    pub host_ifname: String,
    pub bridge: u32,
    pub mtu: Option<u32>,
    pub ifname: String,
    pub mac: [u8; 6],
    pub addresses: Vec<(IpAddr, u8)>,
    pub gateways: Vec<IpAddr>,
    /// The default route needs no gateway.
    pub by_device: bool,
    /// It is no veth, but stands on an interface of the host.
    pub place: Option<Place>,
    pub sysctls: Vec<(String, String)>,
}

impl Plug {
    /// Makes it. On an error nothing of it stays.
    pub fn plug(&self, kernel: &mut Kernel, netns: std::os::fd::BorrowedFd<'_>) -> Result<()> {
        let doing = || format!("making the interface {} of a container", self.ifname);
        if let Some(place) = &self.place {
            place.make(kernel, netns)?;
            let made = self.family(kernel, netns).and_then(|()| self.configure(kernel, netns));
            if made.is_err() {
                kernel.inside(netns, || link::Routes::open()?.send([link::delete(&self.ifname)])).doing(doing)?;
            }
            return made.doing(doing);
        }
        let made = self.try_plug(kernel, netns);
        if made.is_err() {
            delete_link(kernel, &self.host_ifname)?;
        }
        made.doing(doing)
    }

    /// Before the interface is there: whether it will have IPv6, and that no router configures it.
    fn family(&self, kernel: &mut Kernel, netns: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
        let has_v6 = self.addresses.iter().any(|(ip, _)| ip.is_ipv6());
        let (v4, flag) = ("ipv6/conf/default/disable_ipv6", if has_v6 { "0" } else { "1" });
        kernel.inside(netns, || {
            kernel::set(v4, flag)?;
            kernel::set("ipv6/conf/default/accept_ra", "0")
        })
    }

    /// Addresses, settings and routes of the interface that now is in the namespace.
    fn configure(&self, kernel: &mut Kernel, netns: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
        kernel.inside(netns, || {
            // An interface of macvlan's is made with the namespace's "default"; one that was there before keeps its own.
            if self.place.is_some() {
                let has_v6 = self.addresses.iter().any(|(ip, _)| ip.is_ipv6());
                kernel::set(&format!("ipv6/conf/{}/disable_ipv6", self.ifname), if has_v6 { "0" } else { "1" })?;
                kernel::set(&format!("ipv6/conf/{}/accept_ra", self.ifname), "0")?;
            }
            for (path, value) in &self.sysctls {
                kernel::set_existing(&path.replace("IFNAME", &self.ifname), value)?;
            }
            let mut routes = link::Routes::open()?;
            let index = routes.link(&self.ifname)?.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?.index;
            let addresses = self.addresses.iter().map(|(ip, length)| link::address(index, *ip, *length));
            let gateways = self.gateways.iter().map(|ip| link::add_default_route(index, *ip));
            let families = if self.by_device { child::families(&self.addresses) } else { Vec::new() };
            let devices = families.into_iter().map(|v4| link::add_device_route(index, v4));
            routes.send([link::up("lo"), link::up(&self.ifname)].into_iter().chain(addresses).chain(gateways).chain(devices))
        })
    }

    fn try_plug(&self, kernel: &mut Kernel, netns: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
        self.family(kernel, netns)?;
        let peer = Peer { name: &self.ifname, mac: self.mac, netns };
        kernel.routes.send([
            link::new_veth(&self.host_ifname, self.bridge, self.mtu, &peer),
            link::without_link_local(&self.host_ifname),
            link::hairpin(&self.host_ifname),
            link::up(&self.host_ifname),
        ])?;
        self.configure(kernel, netns)?;
        // First the port, which gives the bridge its carrier when it is the first, then the bridge.
        kernel.routes.link(&self.host_ifname)?;
        kernel.routes.settle(self.bridge)
    }
}

impl Inner {
    /// The interface that an attachment is.
    pub fn plug_of(&self, a: &Attachment) -> Result<Plug> {
        let state = self.state();
        let net = state.networks.get(&a.network).ok_or_else(|| not_found(a.network.short()))?;
        let first = |v4: bool| state.gateway(&a.container, v4).is_some_and(|g| g.endpoint == a.endpoint);
        let gateway4 = a.gateway4.map(IpAddr::V4).filter(|_| first(true));
        let gateway6 = a.gateway6.map(IpAddr::V6).filter(|_| first(false));
        let mac = parse_mac(&a.mac_address)?;
        let place = net.child.as_ref().map(|child| Place {
            sharing: child.sharing,
            parent: if child.parent.is_empty() { net.row.ifname.clone() } else { child.parent.clone() },
            ifname: a.ifname.clone(),
            mac,
            mtu: net.bridge.mtu,
        });
        let mut addresses = with_lengths(a.ipv4, a.ipv6);
        // RFC 3927, RFC 4291: a link-local prefix is a /16, and a /64.
        addresses.extend(a.link_local.iter().map(|ip| (*ip, if ip.is_ipv4() { 16 } else { 64 })));
        Ok(Plug {
            host_ifname: a.host_ifname.clone(),
            bridge: match &place {
                Some(_) => 0,
                None => net.index.ok_or_else(|| not_found(&net.row.spec.name))?,
            },
            mtu: net.bridge.mtu,
            ifname: a.ifname.clone(),
            mac,
            addresses,
            gateways: gateway4.into_iter().chain(gateway6).collect(),
            // Another network of the container's that has a gateway is preferred.
            by_device: net.child.as_ref().is_some_and(Child::routes_by_device)
                && !net.is_closed()
                && state.gateway(&a.container, true).is_none()
                && state.gateway(&a.container, false).is_none(),
            place,
            sysctls: a.sysctls.clone(),
        })
    }

    /// Removes an attachment's interface: by its end in the host, or, where it has none, in the container.
    fn delete_interface(&self, kernel: &mut Kernel, a: &Attachment) -> Result<()> {
        if !a.host_ifname.is_empty() {
            return delete_link(kernel, &a.host_ifname);
        }
        let netns = self.state().endpoints.get(&a.endpoint).filter(|e| e.plugged).and_then(|e| e.netns.clone());
        let Some(netns) = netns else { return Ok(()) };
        let removed = kernel.inside(netns.as_fd(), || link::Routes::open()?.send([link::delete(&a.ifname)]));
        match removed {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other.doing(|| format!("removing the interface {} of container {}", a.ifname, a.name)),
        }
    }

    /// Makes a reserved attachment real.
    pub fn plug(&self, kernel: &mut Kernel, a: &Attachment, prepared: bool, netns: &OwnedFd) -> Result<()> {
        let published = self.state().port_elements(a);
        if prepared {
            self.change(kernel, &[], &published)?;
            forget_flows(kernel, a, false);
            return Ok(());
        }
        let elements = self.state().endpoint_elements(a);
        let plug = self.plug_of(a)?;
        // Heard only from its own address before it can speak; published only when somebody is there.
        self.change(kernel, &[], &elements)?;
        if let Err(error) = plug.plug(kernel, netns.as_fd()) {
            self.change(kernel, &elements, &[])?;
            return Err(error);
        }
        self.change(kernel, &[], &published)?;
        forget_flows(kernel, a, false);
        Ok(())
    }

    /// Takes an endpoint out of firewall and state; returns its namespace, where it was joined.
    fn unplug(&self, kernel: &mut Kernel, a: &Attachment) -> Result<Option<Arc<OwnedFd>>> {
        let (elements, netns) = {
            let mut state = self.state();
            let mut elements = state.endpoint_elements(a);
            elements.extend(state.port_elements(a));
            match state.release(&a.endpoint) {
                Some(endpoint) if endpoint.installed => (elements, endpoint.netns),
                // Reserved, never joined: there is nothing in the tables.
                _ => (Vec::new(), None),
            }
        };
        self.change(kernel, &elements, &[])?;
        forget_flows(kernel, a, true);
        Ok(netns)
    }

    /// Sets the default routes of a container again after it left a network.
    pub fn route(&self, kernel: &mut Kernel, container: &ContainerId, netns: &OwnedFd) -> Result<()> {
        let gateways: Vec<(String, IpAddr)> = {
            let state = self.state();
            let v4 = state.gateway(container, true).and_then(|a| a.gateway4.map(|g| (a.ifname.clone(), IpAddr::V4(g))));
            let v6 = state.gateway(container, false).and_then(|a| a.gateway6.map(|g| (a.ifname.clone(), IpAddr::V6(g))));
            v4.into_iter().chain(v6).collect()
        };
        if gateways.is_empty() {
            return Ok(());
        }
        kernel
            .inside(netns.as_fd(), || {
                let mut routes = link::Routes::open()?;
                for (ifname, gateway) in gateways {
                    // Reserved but not plugged yet: its own plugging sets the route.
                    if let Some(link) = routes.link(&ifname)? {
                        routes.send([link::add_default_route(link.index, gateway)])?;
                    }
                }
                Ok(())
            })
            .doing(|| "setting a container's default route".to_owned())
    }
}
