//! What must find nothing open: SECURITY.md class G by its numbers, where `tests` has not shown it already.

use super::testing::*;
use super::*;
use crate::{Kind, TenantId};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// moby #22054, #4737: a published port went past the host's own firewall. A drop of the administrator's is final here.
#[test]
fn sec_g1_the_hosts_firewall_has_the_last_word_on_published_ports() {
    on_host(|host| async move {
        let a = host.attach(1, "bridge", "a", |r| r.ports = ports(&[("", 8080, "80/tcp")])).await.unwrap();
        serve(&a.netns, "0.0.0.0:80", "a");
        assert!(ask(&host.outside, "192.0.2.2:8080").is_ok());
        run(
            "printf 'table inet admin {\n chain f {\n type filter hook forward priority -10;\n ip saddr 192.0.2.1 drop\n }\n }\n' | nft -f -",
        );
        // Our watcher looks at every foreign chain: it must not make way through this one.
        host.networks.reconcile().await.unwrap();
        assert!(silent(&host.outside, "192.0.2.2:8080"), "dropped by the administrator's rule");
    });
}

/// Our switching on of forwarding must not make a router of a host with two uplinks.
#[test]
fn sec_g2_the_host_does_not_route_between_its_uplinks() {
    on_host(|host| async move {
        // A second uplink, there before the server: so one is opened anew.
        host.networks.withdraw().await.unwrap();
        // Its watcher would see the next one's tables as somebody else's change of its own.
        drop(host.networks);
        run("sysctl -qw net.ipv4.ip_forward=0; ip link add eth1 type veth peer name up1");
        let second = netns();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&second);
        run(&format!(
            "ip link set up1 netns /proc/{}/fd/{fd}; ip addr add 198.51.100.2/24 dev eth1; ip link set eth1 up",
            std::process::id()
        ));
        inside(&second, || {
            run("ip addr add 198.51.100.1/24 dev up1; ip link set up1 up; ip link set lo up; ip route add default via 198.51.100.2")
        });
        inside(&host.outside, || run("ip route add 198.51.100.0/24 via 192.0.2.2"));
        serve(&host.outside, "192.0.2.1:80", "world");
        let networks = Networks::open(&host.instance, host.inventory.clone()).await.unwrap();
        assert!(silent(&second, "192.0.2.1:80"), "from one uplink to the other");
        // Across a restart of the server, too.
        drop(networks);
        let networks = Networks::open(&host.instance, host.inventory.clone()).await.unwrap();
        assert!(silent(&second, "192.0.2.1:80"));
        // A host that was a router stays one.
        networks.withdraw().await.unwrap();
        run("sysctl -qw net.ipv4.ip_forward=1");
        let _networks = Networks::open(&host.instance, host.inventory.clone()).await.unwrap();
        assert_eq!(ask(&second, "192.0.2.1:80").unwrap(), "world 198.51.100.1");
    });
}

/// CVE-2023-28840, -28841, -28842: an encrypted overlay that was none. There is no overlay here, encrypted or not.
#[test]
fn sec_g7_an_overlay_is_refused_and_not_made_in_the_clear() {
    on_host(|host| async move {
        let spec = NetworkSpec {
            name: "o".to_owned(),
            driver: "overlay".to_owned(),
            options: [("encrypted".to_owned(), String::new())].into(),
            ..Default::default()
        };
        assert_eq!(host.networks.create(TenantId(1), spec).await.unwrap_err().kind(), Kind::Unavailable);
    });
}

/// Which of these ports answer a connection from a namespace. Dropped ones are waited for together.
fn open_ports(netns: &OwnedFd, ip: std::net::IpAddr, range: std::ops::RangeInclusive<u16>) -> Vec<u16> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
    inside(netns, move || {
        let mut open = Vec::new();
        let all: Vec<u16> = range.collect();
        for some in all.chunks(500) {
            let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let mut tries: Vec<(u16, OwnedFd)> = Vec::new();
            for port in some {
                let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None).unwrap();
                match connect(&socket, &SocketAddr::new(ip, *port)) {
                    Ok(()) => open.push(*port),
                    Err(rustix::io::Errno::INPROGRESS) => tries.push((*port, socket)),
                    Err(_) => {}
                }
            }
            // What is open answers within a millisecond on one machine.
            let deadline = Instant::now() + Duration::from_millis(60);
            while !tries.is_empty() && Instant::now() < deadline {
                let mut fds: Vec<PollFd> = tries.iter().map(|(_, s)| PollFd::new(s, PollFlags::OUT)).collect();
                poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 })).unwrap();
                let ready: Vec<bool> = fds.iter().map(|f| !f.revents().is_empty()).collect();
                let mut ready = ready.into_iter();
                tries.retain(|(port, socket)| {
                    let done = ready.next().unwrap_or(false);
                    if done && sockopt::socket_error(socket).is_ok_and(|e| e.is_ok()) {
                        open.push(*port);
                    }
                    !done
                });
            }
        }
        open
    })
}

/// The sweep: from tenant 1's container, every port of a tenant 2's container and of every address that the host has.
#[test]
fn sec_g8_a_sweep_of_everything_finds_only_what_is_published() {
    on_host(|host| async move {
        let a = host.attach(1, "bridge", "a", |_| {}).await.unwrap();
        let b = host.attach(2, "bridge", "b", |r| r.ports = ports(&[("192.0.2.2", 8080, "80/tcp")])).await.unwrap();
        let neighbour = host.attach(1, "bridge", "neighbour", |_| {}).await.unwrap();
        for port in ["80", "5432", "65535"] {
            serve(&b.netns, &format!("0.0.0.0:{port}"), "b");
            serve(&neighbour.netns, &format!("0.0.0.0:{port}"), "n");
            serve(&here(), &format!("0.0.0.0:{port}"), "host");
        }
        assert_eq!(open_ports(&a.netns, neighbour.ip(), 1..=65535), [80, 5432, 65535], "the sweep finds what is open");
        assert!(open_ports(&a.netns, b.ip(), 1..=65535).is_empty(), "another tenant's container");
        let addresses = json("ip -j addr");
        let infos = addresses.as_array().unwrap().iter().flat_map(|l| l["addr_info"].as_array().unwrap().clone());
        let own: Vec<std::net::IpAddr> = infos.filter_map(|i| i["local"].as_str()?.parse().ok()).collect();
        for ip in own.into_iter().filter(|ip: &std::net::IpAddr| ip.is_ipv4() && !ip.is_loopback()) {
            let expected: &[u16] = if ip.to_string() == "192.0.2.2" { &[8080] } else { &[] };
            assert_eq!(open_ports(&a.netns, ip, 1..=65535), expected, "the host by {ip}");
        }
        // Metadata services: somebody answers at these addresses on the wire, and containers do not hear of it.
        inside(&host.outside, || {
            run("for a in 169.254.169.254 100.100.100.200 168.63.129.16 203.0.113.9; do ip addr add $a/32 dev lo; done");
        });
        for ip in ["169.254.169.254", "100.100.100.200", "168.63.129.16"] {
            run(&format!("ip route add {ip}/32 via 192.0.2.1"));
            serve(&host.outside, &format!("{ip}:80"), "credentials");
            assert!(ask(&here(), &format!("{ip}:80")).is_ok(), "the host itself may");
            assert!(silent(&a.netns, &format!("{ip}:80")), "metadata at {ip}");
        }
        serve(&host.outside, "203.0.113.9:80", "world");
        assert!(ask(&a.netns, "203.0.113.9:80").is_ok(), "the rest of the world is open");
    });
}

/// The same over IPv6, and below: no address of another tenant's is found on one's own wire, asked by ARP or by neighbour
/// discovery, and no host's service by a link-local one.
#[test]
fn sec_g8_a_sweep_over_ipv6_and_of_the_wire_finds_only_what_is_published() {
    on_host(|host| async move {
        for tenant in [1, 2] {
            let spec = NetworkSpec { name: "six".to_owned(), ipv6: Some(true), ..Default::default() };
            host.networks.create(TenantId(tenant), spec).await.unwrap();
        }
        let a = host.attach(1, "six", "a", |_| {}).await.unwrap();
        let b = host.attach(2, "six", "b", |r| r.ports = ports(&[("2001:db8::2", 8080, "80/tcp")])).await.unwrap();
        let neighbour = host.attach(1, "six", "neighbour", |_| {}).await.unwrap();
        let six = |guest: &Guest| std::net::IpAddr::from(guest.at.ipv6.unwrap().0);
        for port in ["80", "5432", "65535"] {
            for netns in [&b.netns, &neighbour.netns, &here()] {
                serve(netns, &format!("[::]:{port}"), "anybody");
            }
        }
        // The neighbour is found before the first ports are asked, which are waited for only shortly.
        ask(&a.netns, &SocketAddr::new(six(&neighbour), 80).to_string()).unwrap();
        assert_eq!(open_ports(&a.netns, six(&neighbour), 1..=65535), [80, 5432, 65535], "the sweep finds what is open");
        assert!(open_ports(&a.netns, six(&b), 1..=65535).is_empty(), "another tenant's container");
        let addresses = json("ip -6 -j addr");
        let infos = addresses.as_array().unwrap().iter().flat_map(|l| l["addr_info"].as_array().unwrap().clone());
        let own: Vec<std::net::IpAddr> =
            infos.filter(|i| i["scope"] == "global").filter_map(|i| i["local"].as_str()?.parse().ok()).collect();
        assert!(own.len() >= 3, "the uplink and two gateways: {own:?}");
        for ip in own {
            let expected: &[u16] = if ip.to_string() == "2001:db8::2" { &[8080] } else { &[] };
            assert_eq!(open_ports(&a.netns, ip, 1..=65535), expected, "the host by {ip}");
        }
        // What is said to be on one's own wire is asked for there.
        for (family, ip) in [("-4", b.ip()), ("-6", six(&b))] {
            inside(&a.netns, move || run(&format!("ip {family} route add {ip} dev eth0")));
            assert!(silent(&a.netns, &SocketAddr::new(ip, 80).to_string()));
            let found = inside(&a.netns, move || run(&format!("ip {family} neigh show {ip}")));
            assert!(!found.contains("lladdr"), "somebody answered for {ip}: {found}");
        }
        let link_locals = json("ip -6 -j addr show scope link");
        let infos = link_locals.as_array().unwrap().iter().flat_map(|l| l["addr_info"].as_array().unwrap().clone());
        for ip in infos.filter_map(|i| Some(i["local"].as_str()?.to_owned())) {
            let answered = inside(&a.netns, move || {
                let index = json("ip -j link show dev eth0")[0]["ifindex"].as_u64().unwrap();
                let at = std::net::SocketAddrV6::new(ip.parse().unwrap(), 80, 0, u32::try_from(index).unwrap());
                std::net::TcpStream::connect_timeout(&at.into(), Duration::from_millis(200)).is_ok()
            });
            assert!(!answered, "the host by a link-local address");
        }
    });
}

/// CVE-2021-20199: a proxy made remote peers look like 127.0.0.1, which programs trust.
#[test]
fn sec_g10_a_remote_peer_never_looks_local() {
    on_host(|host| async move {
        let a = host.attach(1, "bridge", "a", |r| r.ports = ports(&[("", 8080, "80/tcp")])).await.unwrap();
        let b = host.attach(1, "bridge", "b", |_| {}).await.unwrap();
        serve(&a.netns, "0.0.0.0:80", "a");
        for from in [&host.outside, &b.netns, &a.netns, &here()] {
            let answer = ask(from, "192.0.2.2:8080").unwrap();
            let peer: std::net::IpAddr = answer.strip_prefix("a ").unwrap().parse().unwrap();
            assert!(!peer.is_loopback(), "{peer}");
        }
        assert_eq!(ask(&host.outside, "192.0.2.2:8080").unwrap(), "a 192.0.2.1", "who comes from outside is seen as who it is");
    });
}
