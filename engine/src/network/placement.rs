//! Where a container's published ports are: at the network that gives it its default route, for answers leave there. They
//! move when a network is joined or left and another one is that.

use super::attach::{Attachment, Listener};
use super::endpoint::forget_flows;
use super::kernel::Kernel;
use super::networks::{Inner, Networks};
use super::publish;
use super::state::State;
use crate::container::spec::{ContainerPort, HostPort};
use crate::container::view::PublishedPort;
use crate::id::{ContainerId, EndpointId};
use crate::inventory::networks as rows;
use crate::{Doing, Result};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// What came of publishing.
#[derive(Debug)]
pub struct Placed {
    /// Attachments that changed: one that had the ports, one that has them now.
    pub changed: Vec<Attachment>,
    /// Listeners for the container's shim, in place of all it had.
    pub sockets: Vec<(Listener, OwnedFd)>,
}

/// From, to: which endpoint has the ports, and which shall.
fn places(state: &State, container: &ContainerId) -> (Option<Attachment>, Option<Attachment>) {
    let from = state.attachments(container).into_iter().find(|a| !a.ports.is_empty()).cloned();
    (from, state.publisher(container).cloned())
}

impl Networks {
    /// Whether [`Self::publish`] would change anything. The shim's listeners have to be closed before, for they hold the
    /// ports.
    pub fn ports_are_misplaced(&self, container: &ContainerId) -> bool {
        let (from, to) = places(&self.0.state(), container);
        from.map(|a| a.endpoint) != to.map(|a| a.endpoint)
    }

    /// Publishes a container's ports where its default route is. Those that are published elsewhere move, and
    /// keep their host ports. `None`: all is as it must be.
    ///
    /// # Errors
    /// Docker's texts for taken ports; then the container publishes none.
    pub async fn publish(&self, container: &ContainerId, asked: &BTreeMap<ContainerPort, Vec<HostPort>>) -> Result<Option<Placed>> {
        if asked.is_empty() {
            return Ok(None);
        }
        let (inner, container, asked) = (self.0.clone(), container.clone(), asked.clone());
        self.0.kernel.run(move |kernel| inner.place(kernel, &container, &asked)).await
    }

    /// Writes what [`Self::publish`] changed.
    pub async fn record_placed(&self, placed: &Placed) -> Result<()> {
        let mut tx = self.0.inventory.begin().await?;
        for attachment in &placed.changed {
            rows::put_endpoint(&mut tx, attachment).await?;
        }
        tx.commit().await.doing(|| "recording published ports".to_owned())
    }
}

impl Inner {
    fn place(
        &self,
        kernel: &mut Kernel,
        container: &ContainerId,
        asked: &BTreeMap<ContainerPort, Vec<HostPort>>,
    ) -> Result<Option<Placed>> {
        let (from, to) = places(&self.state(), container);
        if from.as_ref().map(|a| &a.endpoint) == to.as_ref().map(|a| &a.endpoint) {
            return Ok(None);
        }
        let mut placed = Placed { changed: Vec::new(), sockets: Vec::new() };
        let before = from.as_ref().map(|a| a.ports.clone()).unwrap_or_default();
        if let Some(from) = from {
            if self.is_installed(&from.endpoint) {
                let elements = self.state().port_elements(&from);
                self.change(kernel, &elements, &[])?;
            }
            forget_flows(kernel, &from, true);
            placed.changed.extend(self.set_ports(&from.endpoint, Vec::new(), Vec::new()));
        }
        let Some(to) = to else { return Ok(Some(placed)) };
        let default = self.state().networks.get(&to.network).and_then(|net| net.bridge.host_ip);
        let published = publish::publish(self, &to, default, &as_before(asked, &before))?;
        let listeners = published.sockets.iter().map(|(l, _)| *l).collect();
        if let Some(now) = self.set_ports(&to.endpoint, published.ports, listeners) {
            // One that is only reserved gets them with the rest when it joins.
            if self.is_installed(&now.endpoint) {
                let elements = self.state().port_elements(&now);
                self.change(kernel, &[], &elements)?;
                forget_flows(kernel, &now, false);
            }
            placed.changed.push(now);
        }
        placed.sockets = published.sockets;
        Ok(Some(placed))
    }

    fn is_installed(&self, endpoint: &EndpointId) -> bool {
        self.state().endpoints.get(endpoint).is_some_and(|e| e.plugged && e.netns.is_some())
    }

    /// Sets what an endpoint publishes; what it published before is given back.
    fn set_ports(&self, endpoint: &EndpointId, ports: Vec<PublishedPort>, listeners: Vec<Listener>) -> Option<Attachment> {
        let mut state = self.state();
        let a = &mut state.endpoints.get_mut(endpoint)?.attachment;
        let before = std::mem::replace(&mut a.ports, ports);
        a.listeners = listeners;
        let now = a.clone();
        for port in before {
            state.ports.give(port.ip, port.port, port.container.protocol);
        }
        Some(now)
    }
}

/// What was asked, with the host ports that were had before in place of ranges and random ones.
pub fn as_before(asked: &BTreeMap<ContainerPort, Vec<HostPort>>, before: &[PublishedPort]) -> BTreeMap<ContainerPort, Vec<HostPort>> {
    let mut exact = asked.clone();
    for (container, bindings) in &mut exact {
        let mut had: Vec<u16> = before.iter().filter(|p| p.container == *container).map(|p| p.port).collect();
        had.dedup();
        for binding in bindings {
            let (low, high) = binding.ports;
            if let Some(at) = had.iter().position(|port| low == 0 || (low..=high).contains(port)) {
                let port = had.remove(at);
                binding.ports = (port, port);
            }
        }
    }
    exact
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TenantId;
    use crate::network::testing::{ask, on_host, ports, serve, silent};
    use crate::network::{AttachRequest, NetworkSpec};

    #[test]
    fn ports_keep_their_numbers_when_they_move() {
        let port =
            |ip: &str, port: u16, container: &str| PublishedPort { container: container.parse().unwrap(), ip: ip.parse().unwrap(), port };
        let mut asked = ports(&[("", 0, "80/tcp"), ("", 8081, "81/tcp")]);
        asked.insert("82/tcp".parse().unwrap(), vec![HostPort { ip: None, ports: (9000, 9010) }]);
        let before = [port("0.0.0.0", 40000, "80/tcp"), port("::", 40000, "80/tcp"), port("0.0.0.0", 9004, "82/tcp")];
        let exact = as_before(&asked, &before);
        let numbers: Vec<u16> = exact.values().flatten().map(|b| b.ports.0).collect();
        assert_eq!(numbers, [40000, 8081, 9004]);
        assert_eq!(as_before(&asked, &[]), asked);
    }

    /// What is published where the default route is not would be answered by another way, and dropped there.
    #[test]
    fn ports_follow_the_default_route() {
        on_host(|host| async move {
            let n = &host.networks;
            let tenant = TenantId(1);
            for (name, internal) in [("closed", true), ("mid", false), ("alpha", false)] {
                n.create(tenant, NetworkSpec { name: name.to_owned(), internal, ..Default::default() }).await.unwrap();
            }
            let asked = ports(&[("192.0.2.2", 0, "80/tcp")]);
            let a = host.attach(1, "closed", "a", |_| {}).await.unwrap();
            serve(&a.netns, "0.0.0.0:80", "a");
            assert!(n.publish(&a.container, &asked).await.unwrap().is_none(), "nowhere to publish");
            let join = async |network: &str| {
                let request = AttachRequest {
                    container: a.container.clone(),
                    name: "a".to_owned(),
                    hostname: String::new(),
                    endpoint: Default::default(),
                    extra_names: Vec::new(),
                    ports: Default::default(),
                    prepared: None,
                };
                let network = n.get(tenant, network).await.unwrap().id;
                n.attach(tenant, &network, request, a.netns.try_clone().unwrap()).await.unwrap().attachment
            };
            let mid = join("mid").await;
            assert!(n.ports_are_misplaced(&a.container));
            let placed = n.publish(&a.container, &asked).await.unwrap().unwrap();
            let port = placed.changed[0].ports[0].port;
            let published = format!("192.0.2.2:{port}");
            assert_eq!(ask(&host.outside, &published).unwrap(), "a 192.0.2.1");
            // The first by name takes the default route.
            let alpha = join("alpha").await;
            assert!(silent(&host.outside, &published), "answers leave by the new route");
            let placed = n.publish(&a.container, &asked).await.unwrap().unwrap();
            let now: Vec<_> = placed.changed.iter().map(|c| (c.endpoint.clone(), c.ports.len())).collect();
            assert_eq!(now, [(mid.endpoint.clone(), 0), (alpha.endpoint.clone(), 1)]);
            assert_eq!(ask(&host.outside, &published).unwrap(), "a 192.0.2.1", "and is the same port");
            assert!(n.publish(&a.container, &asked).await.unwrap().is_none(), "nothing to do twice");
            n.detach(&alpha.endpoint).await.unwrap();
            let placed = n.publish(&a.container, &as_before(&asked, &placed.changed[1].ports)).await.unwrap().unwrap();
            assert_eq!((placed.changed[0].endpoint.clone(), placed.changed[0].ports[0].port), (mid.endpoint.clone(), port));
            assert_eq!(ask(&host.outside, &published).unwrap(), "a 192.0.2.1");
            n.detach(&mid.endpoint).await.unwrap();
            assert!(n.ports(tenant).is_empty(), "given back with the last place");
        });
    }
}
