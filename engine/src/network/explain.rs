//! "Can A reach B's port, and can it be reached from outside?", answered twice: from what we know, with the reasons in
//! words, and by trying it from A's network namespace.

use super::Networks;
use super::attach::Attachment;
use super::state::{State, addresses};
use crate::container::spec::{ContainerPort, Protocol};
use crate::id::ContainerId;
use crate::{Doing, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long a try waits for an answer: what is open on one machine answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the question comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A container; that one's namespace, if it shares another's.
    Container(ContainerId),
    /// The host itself.
    Host,
    /// Anybody who reaches the host.
    Outside,
}

/// What a try found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// Somebody answers.
    Open,
    /// The container is reached, and nothing listens there.
    Refused,
    /// No answer: dropped on the way, or (UDP) nothing to say.
    Silent,
    /// There is no way.
    NoRoute,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether networks and firewall let it through.
    pub reachable: bool,
    /// By which address and port.
    pub at: Option<SocketAddr>,
    /// Names that stand for it there.
    pub names: Vec<String>,
    /// Why, a sentence each.
    pub reasons: Vec<String>,
    /// Where it is published for the outside.
    pub published: Vec<SocketAddr>,
    /// What a try from there found; `None`: nothing to try, or nobody to try it as (outside).
    pub tried: Option<Tried>,
}

impl Explanation {
    fn no(reason: impl Into<String>) -> Self {
        Self { reachable: false, at: None, names: Vec::new(), reasons: vec![reason.into()], published: Vec::new(), tried: None }
    }
}

impl Networks {
    /// Answers for a running container's port.
    ///
    /// # Errors
    /// When a try cannot be made at all.
    pub async fn explain(&self, from: &Origin, to: &ContainerId, port: ContainerPort) -> Result<Explanation> {
        let (mut answer, netns) = {
            let state = self.0.state();
            let answer = state.explain(from, to, port);
            let netns = match from {
                Origin::Container(id) => state.netns(id),
                Origin::Host | Origin::Outside => None,
            };
            (answer, netns)
        };
        let netns = match (from, netns) {
            (Origin::Container(_), Some(netns)) => netns.try_clone().doing(|| "keeping a network namespace".to_owned())?,
            (Origin::Container(_), None) | (Origin::Outside, _) => return Ok(answer),
            (Origin::Host, _) => self.0.kernel.run(|kernel| kernel.home().doing(|| "keeping the host's namespace".to_owned())).await?,
        };
        if let Some(at) = answer.at {
            let tried = attempt(netns, at, port.protocol).await?;
            answer.tried = tried;
            let outcome = match tried {
                None => "Connections by this protocol cannot be tried.",
                Some(Tried::Open) => "Tried just now: it answers.",
                Some(Tried::Refused) => "Tried just now: the container is reached, but nothing listens on that port.",
                Some(Tried::Silent) if port.protocol == Protocol::Udp => "Tried just now: no answer, which over UDP says little.",
                Some(Tried::Silent) => "Tried just now: no answer.",
                Some(Tried::NoRoute) => "Tried just now: there is no route.",
            };
            answer.reasons.push(outcome.to_owned());
        }
        Ok(answer)
    }
}

/// Connects from a namespace, on a thread that never does anything else.
async fn attempt(netns: OwnedFd, at: SocketAddr, protocol: Protocol) -> Result<Option<Tried>> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let work = move || -> io::Result<Option<Tried>> {
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
        let outcome = match protocol {
            Protocol::Tcp => TcpStream::connect_timeout(&at, PATIENCE).map(drop),
            Protocol::Udp => ask(at),
            Protocol::Sctp => return Ok(None),
        };
        Ok(Some(match outcome.map_err(|e| (e.kind(), e)) {
            Ok(()) => Tried::Open,
            Err((io::ErrorKind::ConnectionRefused, _)) => Tried::Refused,
            Err((io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock, _)) => Tried::Silent,
            Err((io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable, _)) => Tried::NoRoute,
            Err((_, e)) => return Err(e),
        }))
    };
    std::thread::Builder::new()
        .name("network-try".to_owned())
        .spawn(move || {
            // Who asked may have gone.
            let _ = tell.send(work());
        })
        .doing(|| "starting a thread".to_owned())?;
    let gone = |_| io::Error::other("the thread ended");
    told.await.map_err(gone).and_then(|outcome| outcome).doing(|| format!("trying {at}"))
}

/// An empty datagram, and whatever comes back.
fn ask(at: SocketAddr) -> io::Result<()> {
    let any: IpAddr = if at.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(at)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&[])?;
    socket.recv(&mut [0; 512]).map(drop)
}

impl State {
    /// A container's network namespace, where it is in a network.
    fn netns(&self, container: &ContainerId) -> Option<std::sync::Arc<OwnedFd>> {
        let ids = self.containers.get(container)?;
        ids.iter().filter_map(|id| self.endpoints.get(id)).find_map(|e| e.netns.clone())
    }

    fn network_name(&self, a: &Attachment) -> &str {
        self.networks.get(&a.network).map(|n| n.row.spec.name.as_str()).unwrap_or_default()
    }

    /// What we know. Pure.
    fn explain(&self, from: &Origin, to: &ContainerId, port: ContainerPort) -> Explanation {
        let there = self.attachments(to);
        if there.is_empty() {
            return Explanation::no("The destination is in no network, or does not run: nobody reaches it.");
        }
        let published: Vec<SocketAddr> =
            there.iter().flat_map(|a| &a.ports).filter(|p| p.container == port).map(|p| SocketAddr::new(p.ip, p.port)).collect();
        let mut answer = match from {
            Origin::Outside => self.outside_reaches(&there, port, &published),
            Origin::Host => self.host_reaches(&there, port),
            Origin::Container(from) if from == to => Explanation {
                reachable: true,
                at: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.port)),
                names: vec!["localhost".to_owned()],
                ..Explanation::no("Both are in the same network namespace: it is localhost.")
            },
            Origin::Container(from) => self.container_reaches(&self.attachments(from), &there, port, &published),
        };
        answer.published = published;
        answer
    }

    fn outside_reaches(&self, there: &[&Attachment], port: ContainerPort, published: &[SocketAddr]) -> Explanation {
        let wire =
            there.iter().find(|a| self.networks.get(&a.network).is_some_and(|n| n.child.as_ref().is_some_and(|c| !c.parent.is_empty())));
        if let Some(a) = wire {
            return Explanation {
                reachable: true,
                at: addresses(a).first().map(|ip| SocketAddr::new(*ip, port.port)),
                ..Explanation::no(format!(
                    "In the network {} it stands on the host's wire: it is reached there by its own address.",
                    self.network_name(a)
                ))
            };
        }
        match published.iter().find(|p| !p.ip().is_loopback()) {
            Some(at) => Explanation { reachable: true, at: Some(*at), ..Explanation::no(format!("Its port {port} is published at {at}.")) },
            None if !published.is_empty() => Explanation::no(format!("Its port {port} is published on localhost only.")),
            None => Explanation::no(format!("Its port {port} is not published, and containers' own addresses are closed to the outside.")),
        }
    }

    fn host_reaches(&self, there: &[&Attachment], port: ContainerPort) -> Explanation {
        let near = |a: &&&Attachment| self.networks.get(&a.network).is_some_and(|n| n.is_bridge() && !n.bridge.bare4);
        match there.iter().find(near) {
            Some(a) => Explanation {
                reachable: true,
                at: addresses(a).first().map(|ip| SocketAddr::new(*ip, port.port)),
                ..Explanation::no(format!("The host is the gateway of the network {}.", self.network_name(a)))
            },
            None => Explanation::no("The host has no address in its networks."),
        }
    }

    fn container_reaches(&self, here: &[&Attachment], there: &[&Attachment], port: ContainerPort, published: &[SocketAddr]) -> Explanation {
        if here.is_empty() {
            return Explanation::no("The origin is in no network, or does not run.");
        }
        let mut reasons = Vec::new();
        for a in here {
            let Some(b) = there.iter().find(|b| b.network == a.network) else { continue };
            let Some(net) = self.networks.get(&a.network) else { continue };
            let name = &net.row.spec.name;
            if net.is_bridge() && !net.bridge.icc {
                reasons.push(format!("Both are in the network {name}, which keeps its containers apart (enable_icc=false)."));
                continue;
            }
            reasons.push(format!("Both are in the network {name}."));
            if b.dns_names.is_empty() {
                reasons.push(format!("Names are not known in {name}, only addresses: a network of one's own has them."));
            }
            return Explanation {
                reachable: true,
                at: addresses(b).first().map(|ip| SocketAddr::new(*ip, port.port)),
                names: b.dns_names.clone(),
                reasons,
                published: Vec::new(),
                tried: None,
            };
        }
        if reasons.is_empty() {
            reasons.push("They have no network in common.".to_owned());
        }
        // The host's address, as this container would write it: what is published on all is at its gateway, too.
        let out = here.iter().find(|a| self.networks.get(&a.network).is_some_and(|n| n.is_bridge() && !n.is_closed()));
        let by_host = out.and_then(|a| {
            published.iter().find_map(|p| match p.ip() {
                ip if ip.is_loopback() => None,
                IpAddr::V4(ip) if ip.is_unspecified() => a.gateway4.map(|g| SocketAddr::new(g.into(), p.port())),
                IpAddr::V6(ip) if ip.is_unspecified() => a.gateway6.map(|g| SocketAddr::new(g.into(), p.port())),
                _ => Some(*p),
            })
        });
        match by_host {
            Some(at) => {
                reasons.push(format!("Port {port} is published: it is reached by the host's address, {at}."));
                Explanation { reachable: true, at: Some(at), names: Vec::new(), reasons, published: Vec::new(), tried: None }
            }
            None => {
                let why = match (out, published.is_empty()) {
                    (None, false) => "The port is published, but the origin has no way out: its networks are internal.",
                    (_, true) => "The port is not published either.",
                    (Some(_), false) => "The port is published, but not at an address that a container reaches.",
                };
                reasons.push(why.to_owned());
                // What should be silent is tried as well: the firewall must agree.
                let at = there.iter().find_map(|b| addresses(b).first().map(|ip| SocketAddr::new(*ip, port.port)));
                Explanation { reachable: false, at, names: Vec::new(), reasons, published: Vec::new(), tried: None }
            }
        }
    }
}
