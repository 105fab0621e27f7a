//! Networks in real namespaces, seen from outside by `ip`, `nft` and traffic.

use super::testing::*;
use super::*;
use crate::Kind;
use crate::TenantId;

fn spec(name: &str) -> NetworkSpec {
    NetworkSpec { name: name.to_owned(), ..Default::default() }
}

fn with_subnet(name: &str, subnet: &str) -> NetworkSpec {
    let ipam = vec![IpamPool { subnet: subnet.to_owned(), ..Default::default() }];
    NetworkSpec { ipam, ..spec(name) }
}

#[test]
fn a_container_on_the_default_bridge_reaches_neighbours_and_the_world() {
    on_host(|host| async move {
        let rules = run("nft -s list ruleset");
        host.networks.list(TenantId(1)).await.unwrap();
        let with_bridge = run("nft -s list ruleset");
        assert_ne!(rules, with_bridge);
        let a = host.attach(1, "bridge", "a", |_| {}).await.unwrap();
        let b = host.attach(1, "bridge", "b", |_| {}).await.unwrap();
        assert_ne!(a.ip(), b.ip());
        let seen = inside(&a.netns, || json("ip -j addr"));
        assert_eq!(seen[1]["ifname"], "eth0");
        assert_eq!(seen[1]["addr_info"][0]["local"], a.ip().to_string());
        assert_eq!(seen[1]["address"], a.at.mac_address);
        assert_eq!(seen[1]["addr_info"].as_array().unwrap().len(), 1, "IPv4 only: {seen}");
        let links = json("ip -j link");
        let veth = links.as_array().unwrap().iter().find(|l| l["ifname"] == a.at.host_ifname.as_str()).unwrap();
        assert!(veth["master"].as_str().unwrap().starts_with('w'));
        serve(&b.netns, "0.0.0.0:80", "b");
        assert_eq!(ask(&a.netns, &format!("{}:80", b.ip())).unwrap(), format!("b {}", a.ip()));
        serve(&host.outside, "192.0.2.1:80", "world");
        assert_eq!(ask(&a.netns, "192.0.2.1:80").unwrap(), "world 192.0.2.2", "masqueraded");
        assert_eq!(ask(&here(), &format!("{}:80", b.ip())).unwrap().split(' ').next(), Some("b"), "the host reaches containers");
        for guest in [&a, &b] {
            host.networks.detach(&guest.at.endpoint).await.unwrap();
            host.networks.detach(&guest.at.endpoint).await.unwrap();
        }
        assert_eq!(run("nft -s list ruleset"), with_bridge);
        assert!(!run("ip link").contains(&a.at.host_ifname));
        assert!(host.networks.attachments(&a.container).is_empty());
    });
}

#[test]
fn published_ports_are_reached_from_everywhere_and_given_back() {
    on_host(|host| async move {
        let a = host.attach(1, "bridge", "a", |r| r.ports = ports(&[("", 8080, "80/tcp"), ("192.0.2.2", 8081, "81/tcp")])).await.unwrap();
        let b = host.attach(1, "bridge", "b", |_| {}).await.unwrap();
        serve(&a.netns, "0.0.0.0:80", "a");
        serve(&a.netns, "0.0.0.0:81", "a81");
        let shown: Vec<String> = a.at.ports.iter().map(|p| format!("{}:{}->{}", p.ip, p.port, p.container)).collect();
        assert_eq!(shown, ["0.0.0.0:8080->80/tcp", ":::8080->80/tcp", "192.0.2.2:8081->81/tcp"]);
        let from_outside = ask(&host.outside, "192.0.2.2:8080").unwrap();
        assert_eq!(from_outside, "a 192.0.2.1", "the source address is kept");
        assert_eq!(ask(&host.outside, "192.0.2.2:8081").unwrap(), "a81 192.0.2.1");
        assert!(ask(&here(), "192.0.2.2:8080").unwrap().starts_with("a "), "from the host by its own address");
        assert!(ask(&b.netns, "192.0.2.2:8080").unwrap().starts_with("a "), "a neighbour by the host's address");
        assert!(ask(&a.netns, "192.0.2.2:8080").unwrap().starts_with("a "), "the container itself by the host's address");
        // Loopback is the shim's: its sockets listen already, and nothing else may.
        let listeners: Vec<String> = a.sockets.iter().map(|(l, _)| format!("{}>{}", l.listen, l.target)).collect();
        let target = a.ip();
        assert_eq!(listeners, [format!("127.0.0.1:8080>{target}:80"), format!("[::]:8080>{target}:80")]);
        assert!(std::net::TcpListener::bind("127.0.0.1:8080").is_err());

        let taken = host.attach(1, "bridge", "c", |r| r.ports = ports(&[("", 8080, "80/tcp")])).await.map(|_| ()).unwrap_err();
        assert!(taken.to_string().contains("driver failed programming external connectivity on endpoint c ("), "{taken}");
        assert!(taken.to_string().ends_with("Bind for 0.0.0.0:8080 failed: port is already allocated"), "{taken}");
        let _foreign = std::net::TcpListener::bind("192.0.2.2:9090").unwrap();
        let foreign = host.attach(1, "bridge", "c", |r| r.ports = ports(&[("", 9090, "80/tcp")])).await.map(|_| ()).unwrap_err();
        assert!(foreign.to_string().contains("failed to bind host port 0.0.0.0:9090:"), "{foreign}");
        assert!(foreign.to_string().ends_with("/tcp: address already in use"), "{foreign}");
        let absent = host.attach(1, "bridge", "c", |r| r.ports = ports(&[("192.0.2.77", 9091, "80/tcp")])).await.map(|_| ()).unwrap_err();
        assert!(absent.to_string().ends_with("cannot assign requested address"), "{absent}");
        assert_eq!(host.networks.ports(TenantId(1)).len(), 3, "nothing is left of those that failed");
        assert!(host.networks.ports(TenantId(2)).is_empty());

        let endpoint = a.at.endpoint.clone();
        drop(a.sockets);
        host.networks.detach(&endpoint).await.unwrap();
        let again = host.attach(2, "bridge", "d", |r| r.ports = ports(&[("", 8080, "80/tcp"), ("127.0.0.1", 0, "81/udp")])).await.unwrap();
        serve(&again.netns, "0.0.0.0:80", "d");
        assert_eq!(ask(&host.outside, "192.0.2.2:8080").unwrap(), "d 192.0.2.1");
        assert!(ask(&b.netns, "192.0.2.2:8080").unwrap().starts_with("d "), "another tenant, since it is published");
        let random = again.at.ports.iter().find(|p| p.ip.is_loopback()).unwrap();
        assert!(random.port >= 32768 && !run("nft list ruleset").contains(&format!("udp . {}", random.port)));
    });
}

/// A UDP server in a namespace that answers with who it is.
fn serve_udp(netns: &std::os::fd::OwnedFd, who: &'static str) {
    let server = inside(netns, || std::net::UdpSocket::bind("0.0.0.0:53").unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, from)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(who.as_bytes(), from);
        }
    });
}

#[test]
fn udp_is_published_to_whoever_has_the_port_now() {
    on_host(|host| async move {
        let client = inside(&host.outside, || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            socket.connect("192.0.2.2:5353").unwrap();
            socket
        });
        let hear = || {
            let mut buffer = [0; 16];
            // An earlier question may have got "port unreachable", which the socket tells first.
            for _ in 0..3 {
                if client.send(b"?").is_ok()
                    && let Ok(n) = client.recv(&mut buffer)
                {
                    return String::from_utf8_lossy(&buffer[..n]).into_owned();
                }
            }
            "nobody".to_owned()
        };
        // Nobody has it yet: the kernel notes a flow that ends at the host.
        client.send(b"?").unwrap();
        for who in ["first", "second"] {
            let guest = host.attach(1, "bridge", who, |r| r.ports = ports(&[("", 5353, "53/udp")])).await.unwrap();
            serve_udp(&guest.netns, who);
            assert_eq!(hear(), who);
            host.networks.detach(&guest.at.endpoint).await.unwrap();
        }
    });
}

#[test]
fn sec_g2_unpublished_ports_and_loopback_are_not_reached_from_the_wire() {
    on_host(|host| async move {
        let a = host.attach(1, "bridge", "a", |r| r.ports = ports(&[("127.0.0.1", 8080, "80/tcp")])).await.unwrap();
        serve(&a.netns, "0.0.0.0:80", "a");
        assert!(silent(&host.outside, &format!("{}:80", a.ip())), "by a route through us");
        assert!(silent(&host.outside, "192.0.2.2:8080"), "published on loopback only");
        assert!(silent(&host.outside, "172.17.0.1:80"));
        inside(&host.outside, || {
            run(
                "ip route add 127.9.0.0/16 via 192.0.2.2 dev up0 table main || true; sysctl -qw net.ipv4.conf.up0.route_localnet=1 net.ipv4.conf.all.route_localnet=1",
            )
        });
        inside(&host.outside, || run("ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via 192.0.2.2 dev up0"));
        assert!(silent(&host.outside, "127.0.0.1:8080"), "127/8 from the wire");
        assert_eq!(run("cat /proc/sys/net/ipv4/conf/all/route_localnet").trim(), "0");
    });
}

#[test]
fn sec_g8_tenants_reach_neither_each_other_nor_the_host_nor_metadata() {
    on_host(|host| async move {
        host.networks.create(TenantId(1), with_subnet("own", "10.1.0.0/24")).await.unwrap();
        host.networks.create(TenantId(2), with_subnet("own", "10.2.0.0/24")).await.unwrap();
        host.networks.create(TenantId(1), with_subnet("other", "10.3.0.0/24")).await.unwrap();
        let mut guests = Vec::new();
        for (tenant, network) in [(1, "bridge"), (1, "own"), (1, "other"), (2, "bridge"), (2, "own")] {
            let guest = host.attach(tenant, network, "x", |_| {}).await.unwrap();
            for port in ["80", "5432", "22"] {
                serve(&guest.netns, &format!("0.0.0.0:{port}"), "open");
            }
            guests.push(guest);
        }
        for port in ["22", "8443", "2375"] {
            serve(&here(), &format!("0.0.0.0:{port}"), "host");
        }
        run("ip addr add 169.254.169.254/32 dev eth0");
        serve(&here(), "169.254.169.254:80", "metadata");
        serve(&host.outside, "192.0.2.1:80", "world");
        let mut open = Vec::new();
        for (i, from) in guests.iter().enumerate() {
            assert!(ask(&from.netns, "192.0.2.1:80").is_ok(), "the world stays reachable");
            for (j, to) in guests.iter().enumerate().filter(|(j, _)| *j != i) {
                for port in ["80", "5432"] {
                    if !silent(&from.netns, &format!("{}:{port}", to.ip())) {
                        open.push(format!("{i} -> {j}:{port}"));
                    }
                }
                let gateway = to.at.gateway4.unwrap();
                if !silent(&from.netns, &format!("{gateway}:22")) {
                    open.push(format!("{i} -> gateway of {j}"));
                }
            }
            let own = from.at.gateway4.unwrap();
            for at in [format!("{own}:22"), "192.0.2.2:8443".to_owned(), "192.0.2.2:2375".to_owned(), "169.254.169.254:80".to_owned()] {
                if !silent(&from.netns, &at) {
                    open.push(format!("{i} -> {at}"));
                }
            }
        }
        assert!(open.is_empty(), "{open:?}");
        // And the same sweep finds what is open, so it can find something.
        let neighbour = host.attach(1, "own", "y", |_| {}).await.unwrap();
        assert!(ask(&neighbour.netns, &format!("{}:5432", guests[1].ip())).is_ok());
    });
}

#[test]
fn sec_g6_a_container_cannot_speak_as_another() {
    on_host(|host| async move {
        let a = host.attach(1, "bridge", "a", |_| {}).await.unwrap();
        let b = host.attach(1, "bridge", "b", |_| {}).await.unwrap();
        let c = host.attach(1, "bridge", "c", |_| {}).await.unwrap();
        serve(&b.netns, "0.0.0.0:80", "b");
        let at = format!("{}:80", b.ip());
        assert!(ask(&a.netns, &at).is_ok());
        // Another address on the same interface: neither its ARP nor its packets get through.
        let length = a.at.ipv4.unwrap().1;
        let (stolen, own) = (format!("{}/{length}", c.ip()), format!("{}/{length}", a.ip()));
        let back = (stolen.clone(), own.clone());
        inside(&a.netns, move || run(&format!("ip addr del {own} dev eth0 && ip addr add {stolen} dev eth0 && ip -4 addr show eth0")));
        assert!(silent(&a.netns, &at), "a stolen address");
        let (stolen, own) = back;
        inside(&a.netns, move || run(&format!("ip addr del {stolen} dev eth0 && ip addr add {own} dev eth0")));
        assert!(ask(&a.netns, &at).is_ok());
        let mac = c.at.mac_address.clone();
        inside(&a.netns, move || run(&format!("ip link set eth0 address {mac}")));
        assert!(silent(&a.netns, &at), "a stolen MAC address");
        let mac = a.at.mac_address.clone();
        inside(&a.netns, move || run(&format!("ip link set eth0 address {mac}")));
        assert!(ask(&a.netns, &at).is_ok());
        // Everything with a VLAN tag, and IPv6 in a network without it.
        inside(&a.netns, || run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0; ip addr add fd99::1/64 dev eth0 nodad"));
        inside(&b.netns, || run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0; ip addr add fd99::2/64 dev eth0 nodad"));
        serve(&b.netns, "[fd99::2]:81", "b");
        assert!(silent(&a.netns, "[fd99::2]:81"), "IPv6 in a network without it");
    });
}

#[test]
fn sec_g5_no_router_advertisement_configures_anything() {
    on_host(|host| async move {
        let six = NetworkSpec { ipv6: Some(true), ..spec("six") };
        host.networks.create(TenantId(1), six).await.unwrap();
        let four = host.attach(1, "bridge", "a", |_| {}).await.unwrap();
        let both = host.attach(1, "six", "b", |_| {}).await.unwrap();
        let read = |guest: &Guest, key: &'static str| {
            inside(&guest.netns, move || run(&format!("cat /proc/sys/net/ipv6/conf/eth0/{key}"))).trim().to_owned()
        };
        assert_eq!((read(&four, "disable_ipv6"), read(&four, "accept_ra")), ("1".to_owned(), "0".to_owned()));
        assert_eq!((read(&both, "disable_ipv6"), read(&both, "accept_ra")), ("0".to_owned(), "0".to_owned()));
        for link in json("ip -j link").as_array().unwrap().iter().filter(|l| l["ifname"].as_str().unwrap().starts_with('w')) {
            let name = link["ifname"].as_str().unwrap();
            if link["master"].is_null() {
                assert_eq!(run(&format!("cat /proc/sys/net/ipv6/conf/{name}/accept_ra")).trim(), "0");
            }
        }
    });
}

#[test]
fn ipv6_networks_work_like_ipv4_ones() {
    on_host(|host| async move {
        let six = NetworkSpec { ipv6: Some(true), ..spec("six") };
        host.networks.create(TenantId(1), six.clone()).await.unwrap();
        host.networks.create(TenantId(2), six).await.unwrap();
        let a = host.attach(1, "six", "a", |r| r.ports = ports(&[("", 8080, "80/tcp")])).await.unwrap();
        let b = host.attach(1, "six", "b", |_| {}).await.unwrap();
        let foreign = host.attach(2, "six", "c", |_| {}).await.unwrap();
        let ip = a.at.ipv6.unwrap().0;
        assert_eq!(ip.octets()[0], 0xfd);
        serve(&a.netns, "[::]:80", "a");
        assert_eq!(ask(&b.netns, &format!("[{ip}]:80")).unwrap(), format!("a {}", b.at.ipv6.unwrap().0));
        serve(&host.outside, "[2001:db8::1]:80", "world");
        assert_eq!(ask(&a.netns, "[2001:db8::1]:80").unwrap(), "world 2001:db8::2");
        assert_eq!(ask(&host.outside, "[2001:db8::2]:8080").unwrap(), "a 2001:db8::1");
        assert!(ask(&here(), "[2001:db8::2]:8080").unwrap().starts_with("a "));
        assert!(ask(&b.netns, "[2001:db8::2]:8080").unwrap().starts_with("a "), "hairpin");
        assert!(silent(&foreign.netns, &format!("[{ip}]:80")), "another tenant");
        assert!(silent(&host.outside, &format!("[{ip}]:80")), "from the wire");
        let listeners: Vec<String> = a.sockets.iter().map(|(l, _)| l.listen.to_string()).collect();
        assert_eq!(listeners, ["127.0.0.1:8080", "[::1]:8080"]);
    });
}

#[test]
fn sec_g3_what_others_destroy_is_made_again() {
    on_host(|host| async move {
        let a = host.attach(1, "bridge", "a", |r| r.ports = ports(&[("", 8080, "80/tcp")])).await.unwrap();
        let b = host.attach(2, "bridge", "b", |_| {}).await.unwrap();
        serve(&a.netns, "0.0.0.0:80", "a");
        let bridge = run(&format!("ip -o link show {} | sed 's/.*master \\([^ ]*\\).*/\\1/'", a.at.host_ifname)).trim().to_owned();
        let works = |what: &'static str| {
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(2);
            loop {
                match ask_for(&host.outside, "192.0.2.2:8080", std::time::Duration::from_millis(400)) {
                    Ok(text) => return assert_eq!(text, "a 192.0.2.1"),
                    Err(e) => assert!(std::time::Instant::now() < deadline, "{what}: {e}"),
                }
            }
        };
        works("at first");
        for (destroy, what) in [
            ("nft flush ruleset".to_owned(), "nft flush ruleset"),
            (format!("nft flush chain inet {} publish", host.instance.name()), "a flushed chain"),
            (format!("ip link del {bridge}"), "a deleted bridge"),
            (format!("ip link set {bridge} down"), "a bridge that was switched off"),
            (format!("ip link set {} nomaster", a.at.host_ifname), "a veth taken from its bridge"),
            (format!("ip link del {}", a.at.host_ifname), "a deleted veth"),
        ] {
            run(&destroy);
            works(what);
            assert!(silent(&b.netns, &format!("{}:80", a.ip())), "{what}: tenants are kept apart again");
        }
        run("printf 'table ip filter {\n chain FORWARD {\n type filter hook forward priority 0; policy drop;\n }\n }\n' | nft -f -");
        works("a firewall that drops what is forwarded");
    });
}

#[test]
fn sec_g9_one_of_many_gets_a_port() {
    on_host(|host| async move {
        host.networks.list(TenantId(1)).await.unwrap();
        let tries = (0..64).map(|_| host.attach(1, "bridge", "x", |r| r.ports = ports(&[("", 8080, "80/tcp")])));
        let outcomes = futures_util::future::join_all(tries).await;
        assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert!(error.to_string().ends_with("port is already allocated"), "{error}");
        }
    });
}

#[test]
fn names_and_texts_are_dockers() {
    on_host(|host| async move {
        let n = &host.networks;
        let (a, b) = (TenantId(1), TenantId(2));
        let (id, warning) = n.create(a, with_subnet("net", "10.9.0.0/24")).await.unwrap();
        assert_eq!(warning, "");
        assert_eq!(n.get(a, "net").await.unwrap().id, id);
        assert_eq!(n.get(a, id.short()).await.unwrap().id, id);
        assert_eq!(n.get(a, id.as_str()).await.unwrap().id, id);
        for name in ["net", id.short(), id.as_str()] {
            let foreign = n.get(b, name).await.unwrap_err();
            assert_eq!((foreign.kind(), foreign.to_string()), (Kind::NotFound, format!("network {name} not found")));
            assert!(n.remove(b, name).await.unwrap_err().is_not_found());
        }
        let again = n.create(a, spec("net")).await.unwrap_err();
        assert_eq!((again.kind(), again.to_string().as_str()), (Kind::Conflict, "network with name net already exists"));
        n.create(b, spec("net")).await.unwrap();
        let overlap = n.create(b, with_subnet("x", "10.9.0.0/16")).await.unwrap_err();
        assert_eq!(overlap.kind(), Kind::Forbidden);
        assert!(n.create(b, with_subnet("x", "192.0.2.0/25")).await.is_err(), "the host's own route");
        for name in ["bridge", "host", "none", "default"] {
            assert_eq!(n.create(a, spec(name)).await.unwrap_err().kind(), Kind::Forbidden, "{name}");
        }
        for name in ["", "a/b", " x", "x ", "ü"] {
            assert_eq!(n.create(a, spec(name)).await.unwrap_err().kind(), Kind::Invalid, "{name}");
        }
        let names: Vec<String> = n.list(a).await.unwrap().into_iter().map(|n| n.spec.name).collect();
        assert_eq!(names, ["bridge", "host", "none", "net"]);
        assert_eq!(n.remove(a, "bridge").await.unwrap_err().to_string(), "bridge is a pre-defined network and cannot be removed");

        let fixed = host.attach(1, "net", "x", |r| {
            r.endpoint.ipv4 = Some([10, 9, 0, 77].into());
            r.endpoint.mac_address = Some("02:00:00:00:00:77".to_owned());
        });
        let fixed = fixed.await.unwrap();
        assert_eq!((fixed.ip().to_string().as_str(), fixed.at.mac_address.as_str()), ("10.9.0.77", "02:00:00:00:00:77"));
        let taken = host.attach(1, "net", "y", |r| r.endpoint.ipv4 = Some([10, 9, 0, 77].into())).await.map(|_| ()).unwrap_err();
        assert_eq!((taken.kind(), taken.to_string().as_str()), (Kind::Forbidden, "Address already in use"));
        let elsewhere = host.attach(1, "net", "y", |r| r.endpoint.ipv4 = Some([10, 8, 0, 1].into())).await.map(|_| ()).unwrap_err();
        assert_eq!(elsewhere.kind(), Kind::Invalid);
        let default = host.attach(1, "bridge", "y", |r| r.endpoint.ipv4 = Some([172, 17, 0, 9].into())).await.map(|_| ()).unwrap_err();
        assert_eq!(default.to_string(), "user specified IP address is supported on user defined networks only");
        let view = n.get(a, "net").await.unwrap();
        assert_eq!(view.containers[&fixed.container].name, "x");
        let busy = n.remove(a, "net").await.unwrap_err();
        assert!(busy.kind() == Kind::Forbidden && busy.to_string().contains("network net has active endpoints"), "{busy}");
        n.detach_container(&fixed.container).await.unwrap();
        let bridge = format!("w{}b{}", host.instance.tag(), &id.as_str()[..8]);
        assert!(run("ip link").contains(&bridge));
        n.remove(a, "net").await.unwrap();
        // The bridge goes in the background, before any later job.
        n.reconcile().await.unwrap();
        assert!(!run("ip link").contains(&bridge) && !run("nft list ruleset").contains(&bridge));
        let stolen = NetworkSpec { options: [("com.docker.network.bridge.name".to_owned(), "eth0".to_owned())].into(), ..spec("steal") };
        assert_eq!(n.create(a, stolen).await.unwrap_err().kind(), Kind::Conflict);
        assert!(run("ip addr show eth0").contains("192.0.2.2"));
    });
}

#[test]
fn containers_stay_connected_while_the_server_restarts() {
    on_host(|host| async move {
        let a = host.attach(1, "bridge", "a", |r| r.ports = ports(&[("", 8080, "80/tcp")])).await.unwrap();
        let gone = host.attach(1, "bridge", "gone", |r| r.ports = ports(&[("", 9090, "80/tcp")])).await.unwrap();
        serve(&a.netns, "0.0.0.0:80", "a");
        let before = host.networks.get(TenantId(1), "bridge").await.unwrap();
        let rules = run("nft -s list ruleset");
        run("ip link add wwwww type bridge");
        // A server that ends leaves everything in the kernel.
        let (inventory, instance, outside) = (&host.inventory, &host.instance, &host.outside);
        drop(host.networks);
        let second = Networks::open(instance, inventory.clone()).await.unwrap();
        assert_eq!(run("nft -s list ruleset").lines().count(), rules.lines().count(), "all that was there is there from the first moment");
        assert_eq!(ask(outside, "192.0.2.2:8080").unwrap(), "a 192.0.2.1");
        let orphan = format!("w{}b00000000", instance.tag());
        run(&format!("ip link add {orphan} type bridge"));
        let alive = Alive {
            container: a.container.clone(),
            netns: a.netns.try_clone().unwrap(),
            resolver: ResolverSpec::default(),
            dns_sockets: Vec::new(),
        };
        second.adopt(vec![alive]).await.unwrap();
        assert_eq!(second.attachments(&a.container), std::slice::from_ref(&a.at));
        assert_eq!(second.get(TenantId(1), "bridge").await.unwrap().spec, before.spec);
        assert!(second.attachments(&gone.container).is_empty());
        let links = run("ip link");
        assert!(!links.contains(&gone.at.host_ifname) && !links.contains(&orphan) && links.contains("wwwww"), "{links}");
        assert!(!run("nft list ruleset").contains("9090"));
        assert_eq!(ask(outside, "192.0.2.2:8080").unwrap(), "a 192.0.2.1");
        assert!(second.reconcile().await.unwrap().iter().all(|r| r == "nft tables"));
        second.withdraw().await.unwrap();
        assert_eq!(run("nft list ruleset"), "");
    });
}

#[test]
fn a_prepared_veth_only_needs_its_ports() {
    on_host(|host| async move {
        let n = &host.networks;
        let pooled = netns();
        let prepared = n.prepare_netns(TenantId(1), pooled.try_clone().unwrap()).await.unwrap();
        let network = n.default_network(TenantId(1)).await.unwrap();
        assert!(network.containers.is_empty(), "it is nobody yet");
        let request = |name: &str, prepared| AttachRequest {
            container: crate::ContainerId::random(),
            name: name.to_owned(),
            hostname: String::new(),
            endpoint: Default::default(),
            extra_names: Vec::new(),
            ports: ports(&[("", 8080, "80/tcp")]),
            prepared,
        };
        let reserved = n.attach(TenantId(1), &network.id, request("a", Some(prepared.clone())), pooled.try_clone().unwrap()).await.unwrap();
        assert_eq!(reserved.attachment.ipv4, prepared.ipv4);
        serve(&pooled, "0.0.0.0:80", "a");
        assert_eq!(ask(&host.outside, "192.0.2.2:8080").unwrap(), "a 192.0.2.1");
        drop(reserved.sockets);
        n.detach(&reserved.attachment.endpoint).await.unwrap();
        // One that is not used, and one that does not fit.
        let unused = n.prepare_netns(TenantId(1), netns()).await.unwrap();
        n.discard(unused.clone()).await.unwrap();
        assert!(!run("ip link").contains(&unused.host_ifname));
        let (id, _) = n.create(TenantId(1), spec("net")).await.unwrap();
        let other = netns();
        let unfit = n.prepare_netns(TenantId(1), other.try_clone().unwrap()).await.unwrap();
        let reserved = n.attach(TenantId(1), &id, request("b", Some(unfit.clone())), other.try_clone().unwrap()).await.unwrap();
        assert_ne!(reserved.attachment.endpoint, unfit.endpoint);
        serve(&other, "0.0.0.0:80", "b");
        assert_eq!(ask(&host.outside, "192.0.2.2:8080").unwrap(), "b 192.0.2.1");
    });
}

#[test]
fn several_networks_give_one_default_route() {
    on_host(|host| async move {
        let n = &host.networks;
        for name in ["first", "second"] {
            n.create(TenantId(1), spec(name)).await.unwrap();
        }
        n.create(TenantId(1), NetworkSpec { internal: true, ..spec("closed") }).await.unwrap();
        let a = host.attach(1, "closed", "a", |_| {}).await.unwrap();
        let route = |netns: &std::os::fd::OwnedFd| inside(netns, || run("ip -o route show default")).trim().to_owned();
        assert_eq!(route(&a.netns), "", "an internal network has no way out");
        let join = async |network: &str, priority: i64| {
            let request = AttachRequest {
                container: a.container.clone(),
                name: "a".to_owned(),
                hostname: String::new(),
                endpoint: crate::container::EndpointSpec { gateway_priority: priority, ..Default::default() },
                extra_names: Vec::new(),
                ports: Default::default(),
                prepared: None,
            };
            let network = n.get(TenantId(1), network).await.unwrap().id;
            n.attach(TenantId(1), &network, request, a.netns.try_clone().unwrap()).await.unwrap().attachment
        };
        let second = join("second", 0).await;
        assert_eq!(second.ifname, "eth1");
        assert!(route(&a.netns).contains("dev eth1"));
        let first = join("first", 0).await;
        assert!(route(&a.netns).contains("dev eth2"), "the first by name: {}", route(&a.netns));
        n.detach(&first.endpoint).await.unwrap();
        assert!(route(&a.netns).contains("dev eth1"));
        let first = join("first", -1).await;
        assert!(route(&a.netns).contains("dev eth1"), "a lower priority takes nothing");
        n.detach(&second.endpoint).await.unwrap();
        assert!(route(&a.netns).contains(&first.ifname));
        n.detach(&first.endpoint).await.unwrap();
        assert_eq!(route(&a.netns), "");
        serve(&host.outside, "192.0.2.1:80", "world");
        let own = n.get(TenantId(1), "closed").await.unwrap().spec.ipam[0].gateway.clone();
        inside(&a.netns, move || run(&format!("ip route add default via {own}")));
        assert!(silent(&a.netns, "192.0.2.1:80"), "a route that the container adds changes nothing");
    });
}

#[test]
fn icc_off_keeps_neighbours_apart() {
    on_host(|host| async move {
        let apart =
            NetworkSpec { options: [("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())].into(), ..spec("apart") };
        host.networks.create(TenantId(1), apart).await.unwrap();
        let a = host.attach(1, "apart", "a", |r| r.ports = ports(&[("", 8080, "80/tcp")])).await.unwrap();
        let b = host.attach(1, "apart", "b", |_| {}).await.unwrap();
        serve(&a.netns, "0.0.0.0:80", "a");
        assert!(silent(&b.netns, &format!("{}:80", a.ip())));
        assert!(ask(&b.netns, "192.0.2.2:8080").is_ok(), "published stays published");
        assert!(ask(&host.outside, "192.0.2.2:8080").is_ok());
    });
}

/// Asks the embedded DNS in a namespace; the response code and the answers as text.
fn dns(netns: &std::os::fd::OwnedFd, name: &str, kind: hickory_proto::rr::RecordType, tcp: bool) -> (String, Vec<String>) {
    use hickory_proto::op::{Message, Query};
    use std::io::{Read, Write};
    let mut query = Message::query();
    query.metadata.id = 77;
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(hickory_proto::rr::Name::from_ascii(name).unwrap(), kind));
    let bytes = query.to_vec().unwrap();
    let reply = inside(netns, move || {
        let wait = Some(std::time::Duration::from_secs(20));
        if tcp {
            let mut stream = std::net::TcpStream::connect("127.0.0.11:53").unwrap();
            stream.set_read_timeout(wait).unwrap();
            stream.write_all(&[&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes.as_slice()].concat()).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut reply).unwrap();
            reply
        } else {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(wait).unwrap();
            socket.connect("127.0.0.11:53").unwrap();
            socket.send(&bytes).unwrap();
            let mut reply = vec![0; 65536];
            let length = socket.recv(&mut reply).unwrap();
            reply[..length].to_vec()
        }
    });
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.metadata.id, 77);
    let mut answers: Vec<String> = reply.answers.iter().map(|r| r.data.to_string()).collect();
    answers.sort();
    (reply.metadata.response_code.to_string(), answers)
}

/// A name server outside, at 192.0.2.1, that answers 198.51.100.7 to all and counts the questions.
fn outside_dns(host: &Host) -> std::sync::Arc<std::sync::atomic::AtomicUsize> {
    use hickory_proto::op::{Message, OpCode};
    use hickory_proto::rr::{RData, Record, rdata::A};
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    let socket = inside(&host.outside, || std::net::UdpSocket::bind("192.0.2.1:53").unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let mut reply = Message::response(query.metadata.id, OpCode::Query);
            reply.add_queries(query.queries.clone());
            reply.add_answer(Record::from_rdata(query.queries[0].name().clone(), 60, RData::A(A([198, 51, 100, 7].into()))));
            let _ = socket.send_to(&reply.to_vec().unwrap(), from);
        }
    });
    asked
}

#[test]
fn names_are_found_in_user_defined_networks() {
    use hickory_proto::rr::RecordType::{A, AAAA, PTR};
    on_host(|host| async move {
        let n = &host.networks;
        let asked = outside_dns(&host);
        let upstream = ResolverSpec { servers: vec!["192.0.2.1".parse().unwrap()], ..Default::default() };
        for (tenant, name) in [(1, "net"), (1, "other"), (2, "net")] {
            n.create(TenantId(tenant), spec(name)).await.unwrap();
        }
        let web = host.attach(1, "net", "web", |r| r.endpoint.aliases = vec!["www".to_owned()]).await.unwrap();
        let second = host.attach(1, "net", "web2", |r| r.endpoint.aliases = vec!["www".to_owned()]).await.unwrap();
        let other = host.attach(1, "other", "stranger", |_| {}).await.unwrap();
        let foreign = host.attach(2, "net", "foreign", |_| {}).await.unwrap();
        let client = host.attach(1, "net", "client", |r| r.endpoint.links = vec!["web:db".to_owned()]).await.unwrap();
        let held = n.serve_dns(&client.container, client.netns.try_clone().unwrap(), upstream.clone()).await.unwrap();
        let ok = |answers: &[String]| ("No Error".to_owned(), answers.to_vec());
        let ip = web.ip().to_string();
        for name in ["web.", "WEB.", "web.net.", "db.", &format!("{}.", web.container.short())] {
            for tcp in [false, true] {
                assert_eq!(dns(&client.netns, name, A, tcp), ok(std::slice::from_ref(&ip)), "{name}");
            }
        }
        let mut both = vec![ip.clone(), second.ip().to_string()];
        both.sort();
        assert_eq!(dns(&client.netns, "www.", A, false), ok(&both));
        assert_eq!(dns(&client.netns, "web.", AAAA, false), ok(&[]));
        let std::net::IpAddr::V4(v4) = web.ip() else { panic!() };
        let [a, b, c, d] = v4.octets();
        assert_eq!(dns(&client.netns, &format!("{d}.{c}.{b}.{a}.in-addr.arpa."), PTR, false), ok(&["web.net.".to_owned()]));
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 0, "nothing of this went upstream");
        // Others' names are not ours to know: they go the container's way out.
        for name in ["stranger.", "foreign.", "example.org."] {
            assert_eq!(dns(&client.netns, name, A, false), ok(&["198.51.100.7".to_owned()]), "{name}");
        }
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 3);
        n.rename(&web.container, "site").await.unwrap();
        assert_eq!(dns(&client.netns, "site.", A, false), ok(std::slice::from_ref(&ip)));
        assert_eq!(dns(&client.netns, "web.", A, false), ok(&["198.51.100.7".to_owned()]), "the old name is nobody's");
        n.detach(&second.at.endpoint).await.unwrap();
        assert_eq!(dns(&client.netns, "www.", A, false), ok(&[ip]), "gone with its container");
        let _ = (other, foreign, held);
    });
}

#[test]
fn a_question_asked_while_the_server_restarts_is_answered_by_the_next() {
    use hickory_proto::rr::RecordType::A;
    on_host(|host| async move {
        host.networks.create(TenantId(1), spec("net")).await.unwrap();
        let web = host.attach(1, "net", "web", |_| {}).await.unwrap();
        let client = host.attach(1, "net", "client", |_| {}).await.unwrap();
        let held = host.networks.serve_dns(&client.container, client.netns.try_clone().unwrap(), ResolverSpec::default()).await.unwrap();
        let (inventory, instance) = (&host.inventory, &host.instance);
        // Nobody reads from the sockets any more, and the shim's copies keep them open.
        host.networks.0.dns.stop(&client.container);
        drop(host.networks);
        let (netns, expected) = (client.netns.try_clone().unwrap(), web.ip().to_string());
        let waiting = std::thread::spawn(move || dns(&netns, "web.", A, false));
        let second = Networks::open(instance, inventory.clone()).await.unwrap();
        let alive = [(&web, Vec::new()), (&client, held)].into_iter().map(|(guest, dns_sockets)| Alive {
            container: guest.container.clone(),
            netns: guest.netns.try_clone().unwrap(),
            resolver: ResolverSpec::default(),
            dns_sockets,
        });
        second.adopt(alive.collect()).await.unwrap();
        assert_eq!(waiting.join().unwrap(), ("No Error".to_owned(), vec![expected]));
    });
}

#[test]
fn sec_g4_an_internal_network_asks_nobody_outside() {
    use hickory_proto::rr::RecordType::A;
    on_host(|host| async move {
        let asked = outside_dns(&host);
        host.networks.create(TenantId(1), NetworkSpec { internal: true, ..spec("closed") }).await.unwrap();
        let web = host.attach(1, "closed", "web", |_| {}).await.unwrap();
        let client = host.attach(1, "closed", "client", |_| {}).await.unwrap();
        let upstream = ResolverSpec { servers: vec!["192.0.2.1".parse().unwrap()], ..Default::default() };
        let _held = host.networks.serve_dns(&client.container, client.netns.try_clone().unwrap(), upstream).await.unwrap();
        assert_eq!(dns(&client.netns, "web.", A, false).1, [web.ip().to_string()]);
        for tcp in [false, true] {
            assert_eq!(dns(&client.netns, "secret.example.org.", A, tcp).0, "Server Failure");
        }
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 0);
    });
}

/// What was carried to and from the kernel: by route sockets, by nf_tables'.
async fn carried(n: &Networks) -> (usize, usize) {
    n.0.kernel.run(|k| Ok((k.routes.carried, k.firewall.carried()))).await.unwrap()
}

/// What `work` has carried.
async fn cost<T>(n: &Networks, work: impl Future<Output = T>) -> (T, (usize, usize)) {
    let before = carried(n).await;
    let made = work.await;
    let after = carried(n).await;
    (made, (after.0 - before.0, after.1 - before.1))
}

/// The last of many costs what the first does, in bytes to and from the kernel: nothing is listed, nothing rewritten.
/// Prints the times; run with `--nocapture`. Asserts nothing about time.
#[test]
fn many_containers_and_networks() {
    on_host(|host| async move {
        let n = &host.networks;
        let started = std::time::Instant::now();
        let mut costs = Vec::new();
        for i in 0..100 {
            costs.push(cost(n, n.create(TenantId(1), spec(&format!("n{i}")))).await.1);
        }
        let same = |first: (usize, usize), last: (usize, usize)| last.0 <= first.0 + 16 && last.1 <= first.1 + 16;
        // The very first reads the host's routes and makes the tenant's default networks.
        // The uplink goes some time after its other end has, which has the routes read once more: the least of ten.
        let least = |costs: &[(usize, usize)]| costs.iter().min().copied().unwrap_or_default();
        let (first, last) = (least(&costs[1..10]), least(&costs[90..]));
        assert!(same(first, last), "network create: {first:?}, then {last:?}");
        println!("network create: {:?} each", started.elapsed() / 100);
        let network = n.get(TenantId(1), "n0").await.unwrap().id;
        let mut guests = Vec::new();
        let (mut spent, mut last) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
        for i in 0..300u16 {
            let netns = netns();
            let request = AttachRequest {
                container: crate::ContainerId::random(),
                name: format!("c{i}"),
                hostname: String::new(),
                endpoint: Default::default(),
                extra_names: Vec::new(),
                ports: ports(&[("", 10_000 + i, "80/tcp")]),
                prepared: None,
            };
            let started = std::time::Instant::now();
            let joined = async {
                let reserved = n.reserve(TenantId(1), &network, request).await.unwrap();
                n.join(&reserved.attachment, netns.try_clone().unwrap()).await.unwrap();
                reserved
            };
            let (reserved, bytes) = cost(n, joined).await;
            costs.push(bytes);
            spent += started.elapsed();
            if i >= 250 {
                last += started.elapsed();
            }
            guests.push((reserved.attachment.container.clone(), reserved.attachment.endpoint.clone(), netns));
        }
        let joins = &costs[100..];
        assert!(same(joins[0], joins[299]), "join: {:?}, then {:?}", joins[0], joins[299]);
        println!("reserve + join with a port: {:?} each, {:?} for each of the last 50", spent / 300, last / 50);
        let addresses: std::collections::HashSet<_> =
            n.get(TenantId(1), "n0").await.unwrap().containers.into_values().map(|m| m.ipv4).collect();
        assert_eq!(addresses.len(), 300);
        let started = std::time::Instant::now();
        let mut costs = Vec::new();
        for (_, endpoint, _) in &guests[..30] {
            costs.push(cost(n, n.detach(endpoint)).await.1);
        }
        let (first, last) = (costs[..10].iter().min().copied().unwrap(), costs[20..].iter().min().copied().unwrap());
        assert!(same(first, last), "detach: {first:?}, then {last:?}");
        println!("detach of 30 running: {:?} each", started.elapsed() / 30);
        let started = std::time::Instant::now();
        for (container, _, _) in &guests {
            n.detach_container(container).await.unwrap();
        }
        println!("detach of 270 ended: {:?} each", started.elapsed() / 270);
        assert!(n.ports(TenantId(1)).is_empty());
        let started = std::time::Instant::now();
        let mut costs = Vec::new();
        for i in 0..100 {
            costs.push(cost(n, n.remove(TenantId(1), &format!("n{i}"))).await.1);
        }
        // The bridge goes behind our back, and what is left of ended containers with it: the least of ten.
        let (first, last) = (least(&costs[..10]), least(&costs[90..]));
        assert!(same(first, last), "network remove: {first:?}, then {last:?}");
        // Coming and going has nobody read the host's routes again; what others change does.
        // So much went on since the last that the kernel told of more than a socket holds: the first reads.
        n.create(TenantId(1), spec("first")).await.unwrap();
        let (_, again) = cost(n, n.create(TenantId(1), spec("again"))).await;
        run("ip link add name other type bridge; ip link set other up; ip route add 172.17.16.0/20 dev other");
        let (_, listed) = cost(n, n.create(TenantId(1), spec("listed"))).await;
        assert!(listed.0 > again.0 + 500, "{again:?}, {listed:?}");
        let subnets: Vec<String> = n.list(TenantId(1)).await.unwrap().into_iter().flat_map(|n| n.spec.ipam).map(|p| p.subnet).collect();
        assert!(!subnets.contains(&"172.17.16.0/20".to_owned()), "{subnets:?}");
        println!("network remove: {:?} each", started.elapsed() / 100);
    });
}
