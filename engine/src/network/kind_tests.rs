//! Kinds of networks and of endpoints beyond the plain bridge, in real namespaces; and what a clean stop leaves.

use super::testing::*;
use super::*;
use crate::{Kind, TenantId};

fn spec(name: &str, driver: &str, subnet: &str, options: &[(&str, &str)]) -> NetworkSpec {
    let ipam = if subnet.is_empty() { vec![] } else { vec![IpamPool { subnet: subnet.to_owned(), ..Default::default() }] };
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    NetworkSpec { name: name.to_owned(), driver: driver.to_owned(), ipam, options, ..Default::default() }
}

#[test]
fn a_macvlan_container_is_on_the_hosts_wire() {
    on_host(|host| async move {
        let n = &host.networks;
        let one = TenantId(1);
        let wire = spec("wire", "macvlan", "192.0.2.0/24", &[("parent", "eth0")]);
        n.create(one, wire).await.unwrap();
        let a = host.attach(1, "wire", "a", |r| r.endpoint.ipv4 = Some([192, 0, 2, 40].into())).await.unwrap();
        let seen = inside(&a.netns, || json("ip -j -d link show eth0"));
        assert_eq!(seen[0]["linkinfo"]["info_kind"], "macvlan");
        assert_eq!(seen[0]["linkinfo"]["info_data"]["mode"], "bridge");
        assert_eq!(seen[0]["address"], a.at.mac_address);
        assert_eq!(inside(&a.netns, || json("ip -j route show default"))[0]["gateway"], "192.0.2.1");
        serve(&a.netns, "0.0.0.0:80", "a");
        serve(&host.outside, "192.0.2.1:80", "world");
        assert_eq!(ask(&host.outside, "192.0.2.40:80").unwrap(), "a 192.0.2.1");
        assert_eq!(ask(&a.netns, "192.0.2.1:80").unwrap(), "world 192.0.2.40", "its own address, untranslated");
        // Another joins and leaves while it runs; what it had goes from its namespace.
        let b = host.attach(1, "wire", "b", |_| {}).await.unwrap();
        serve(&b.netns, "0.0.0.0:80", "b");
        assert_eq!(ask(&a.netns, &format!("{}:80", b.ip())).unwrap(), "b 192.0.2.40");
        let busy = n.remove(one, "wire").await.unwrap_err();
        assert_eq!(busy.kind(), Kind::Forbidden);
        n.detach(&b.at.endpoint).await.unwrap();
        assert!(!inside(&b.netns, || run("ip link")).contains("eth0"));
        n.detach_container(&a.container).await.unwrap();
        assert!(!inside(&a.netns, || run("ip link")).contains("eth0"), "nobody keeps an address that others get");
        n.remove(one, "wire").await.unwrap();
        assert!(run("ip link").contains("eth0"), "the host's interface is not ours to remove");
    });
}

#[test]
fn macvlan_and_ipvlan_refuse_what_cannot_be() {
    on_host(|host| async move {
        let n = &host.networks;
        let one = TenantId(1);
        let bridge = n.list(one).await.unwrap();
        assert_eq!(bridge[0].spec.name, "bridge");
        let ours = json("ip -j link show type bridge")[0]["ifname"].as_str().unwrap().to_owned();
        let refused = async |s| n.create(one, s).await.unwrap_err();
        assert_eq!(refused(spec("m", "macvlan", "", &[("parent", &ours)])).await.kind(), Kind::Forbidden);
        let absent = refused(spec("m", "macvlan", "", &[("parent", "nosuch0")])).await;
        assert!(absent.kind() == Kind::Invalid && absent.to_string().contains("nosuch0"), "{absent}");
        assert_eq!(refused(spec("m", "macvlan", "", &[("macvlan_mode", "source")])).await.kind(), Kind::Invalid);
        n.create(one, spec("alone", "macvlan", "", &[("parent", "eth0"), ("macvlan_mode", "passthru")])).await.unwrap();
        let taken = refused(spec("m", "macvlan", "", &[("parent", "eth0")])).await;
        assert_eq!(taken.to_string(), "network alone is already using parent interface eth0");
        n.remove(one, "alone").await.unwrap();
        // Where the kernel has ipvlan it works; where not, it says so, and leaves nothing.
        n.create(one, spec("i", "ipvlan", "192.0.2.0/24", &[("parent", "eth0"), ("ipvlan_mode", "l3")])).await.unwrap();
        match host.attach(1, "i", "a", |r| r.endpoint.ipv4 = Some([192, 0, 2, 50].into())).await {
            Ok(a) => {
                let route = inside(&a.netns, || json("ip -j route show default"));
                assert_eq!((route[0]["dev"].as_str(), &route[0]["gateway"]), (Some("eth0"), &serde_json::Value::Null));
            }
            Err(e) => {
                println!("SKIPPED: the traffic of ipvlan: {e}");
                assert_eq!(e.kind(), Kind::Unsupported);
                assert!(n.get(one, "i").await.unwrap().containers.is_empty());
            }
        }
    });
}

#[test]
fn an_endpoint_has_its_own_settings_addresses_and_name() {
    on_host(|host| async move {
        host.networks.create(TenantId(1), spec("n", "", "10.7.0.0/24", &[])).await.unwrap();
        let wish = |r: &mut AttachRequest| {
            r.endpoint.link_local = vec!["169.254.7.8".parse().unwrap()];
            let options = [
                ("com.docker.network.endpoint.sysctls", "net.ipv4.conf.IFNAME.log_martians=1"),
                ("com.docker.network.endpoint.ifname", "wan0"),
            ];
            r.endpoint.driver_opts = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        };
        let a = host.attach(1, "n", "a", wish).await.unwrap();
        let b = host.attach(1, "n", "b", |r| r.endpoint.link_local = vec!["169.254.7.9".parse().unwrap()]).await.unwrap();
        assert_eq!(inside(&a.netns, || run("cat /proc/sys/net/ipv4/conf/wan0/log_martians")).trim(), "1");
        serve(&a.netns, "169.254.7.8:80", "a");
        assert_eq!(ask(&b.netns, "169.254.7.8:80").unwrap(), "a 169.254.7.9", "by link-local addresses, past the anti-spoof rules");
        let taken = host.attach(1, "n", "c", wish).await.map(|_| ()).unwrap_err();
        assert_eq!(taken.to_string(), "Address already in use: 169.254.7.8");
        let wrong = host
            .attach(1, "n", "d", |r| {
                let option = ("com.docker.network.endpoint.sysctls".to_owned(), "net.ipv4.conf.IFNAME.nosuch=1".to_owned());
                r.endpoint.driver_opts = [option].into();
            })
            .await
            .map(|_| ())
            .unwrap_err();
        assert!(format!("{wrong:?}").contains("nosuch"), "{wrong:?}");
        assert_eq!(host.networks.get(TenantId(1), "n").await.unwrap().containers.len(), 2, "nothing stays of those that failed");
    });
}

#[test]
fn a_bridge_can_be_without_the_host() {
    on_host(|host| async move {
        let isolated = [("com.docker.network.bridge.gateway_mode_ipv4", "isolated")];
        let open = host.networks.create(TenantId(1), spec("open", "", "10.8.0.0/24", &isolated)).await.unwrap_err();
        assert_eq!(open.kind(), Kind::Invalid, "only for internal ones");
        host.networks.create(TenantId(1), NetworkSpec { internal: true, ..spec("n", "", "10.8.0.0/24", &isolated) }).await.unwrap();
        let (a, b) = (host.attach(1, "n", "a", |_| {}).await.unwrap(), host.attach(1, "n", "b", |_| {}).await.unwrap());
        serve(&b.netns, "0.0.0.0:80", "b");
        assert!(ask(&a.netns, &format!("{}:80", b.ip())).is_ok());
        assert!(!run("ip addr").contains("10.8.0."), "the bridge has no address");
        let inhibit = [("com.docker.network.bridge.inhibit_ipv4", "true")];
        host.networks.create(TenantId(1), spec("m", "", "10.9.0.0/24", &inhibit)).await.unwrap();
        assert!(!run("ip addr").contains("10.9.0."));
    });
}

#[test]
fn a_clean_stop_leaves_only_what_runs() {
    on_host(|host| async move {
        let n = &host.networks;
        let (before, forwarding) = (run("ip -br link | cut -d' ' -f1"), || run("cat /proc/sys/net/ipv4/ip_forward").trim().to_owned());
        assert_eq!(forwarding(), "1");
        n.create(TenantId(1), spec("idle", "", "", &[])).await.unwrap();
        n.create(TenantId(1), spec("used", "", "", &[])).await.unwrap();
        let a = host.attach(1, "used", "a", |r| r.ports = ports(&[("", 8080, "80/tcp")])).await.unwrap();
        serve(&a.netns, "0.0.0.0:80", "a");
        n.close().await.unwrap();
        assert_eq!(json("ip -j link show type bridge").as_array().unwrap().len(), 1, "the one that is used");
        assert_eq!(ask(&host.outside, "192.0.2.2:8080").unwrap(), "a 192.0.2.1");
        assert!(n.reconcile().await.unwrap().iter().all(|r| r == "nft tables"), "what was removed on purpose is not repaired");
        n.detach_container(&a.container).await.unwrap();
        run(&format!("ip link del {}", a.at.host_ifname));
        n.close().await.unwrap();
        assert_eq!(run("nft list ruleset"), "");
        assert_eq!(run("ip -br link | cut -d' ' -f1"), before, "as it was");
        assert_eq!(forwarding(), "0", "and no router any more");
        // The next start has all of it again.
        drop(host.networks);
        let second = Networks::open(&host.instance, host.inventory.clone()).await.unwrap();
        assert_eq!(forwarding(), "1");
        assert_eq!(json("ip -j link show type bridge").as_array().unwrap().len(), 3);
        // Somebody else came to need forwarding: it stays, and so does the rule that keeps older interfaces apart.
        run("ip link add other0 type bridge");
        second.close().await.unwrap();
        assert_eq!(forwarding(), "1");
        let rules = run("nft list ruleset");
        assert!(rules.contains("uplinks4") && rules.contains("\"eth0"), "{rules}");
    });
}

#[test]
fn who_reaches_whom_is_known_and_tried() {
    on_host(|host| async move {
        let n = &host.networks;
        n.create(TenantId(1), spec("apart", "", "", &[("com.docker.network.bridge.enable_icc", "false")])).await.unwrap();
        n.create(TenantId(1), spec("own", "", "", &[])).await.unwrap();
        n.create(TenantId(1), NetworkSpec { internal: true, ..spec("closed", "", "", &[]) }).await.unwrap();
        let web = host.attach(1, "own", "web", |r| r.ports = ports(&[("", 8080, "80/tcp"), ("127.0.0.1", 8081, "81/tcp")])).await.unwrap();
        serve(&web.netns, "0.0.0.0:80", "web");
        let [db, other, shut, x, y] = [("own", "db"), ("bridge", "other"), ("closed", "shut"), ("apart", "x"), ("apart", "y")];
        let db = host.attach(1, db.0, db.1, |_| {}).await.unwrap();
        let other = host.attach(1, other.0, other.1, |_| {}).await.unwrap();
        let shut = host.attach(1, shut.0, shut.1, |_| {}).await.unwrap();
        let (x, y) = (host.attach(1, x.0, x.1, |_| {}).await.unwrap(), host.attach(1, y.0, y.1, |_| {}).await.unwrap());
        let of = |guest: &Guest| Origin::Container(guest.container.clone());
        let ask = async |from: Origin, to: &Guest, port: &str| {
            let e = n.explain(&from, &to.container, port.parse().unwrap()).await.unwrap();
            println!("{from:?} {port}: {e:?}");
            (e.reachable, e.tried, e.at.map(|at| at.port()))
        };
        assert_eq!(ask(of(&db), &web, "80/tcp").await, (true, Some(Tried::Open), Some(80)));
        assert_eq!(ask(of(&db), &web, "5432/tcp").await, (true, Some(Tried::Refused), Some(5432)));
        assert_eq!(ask(of(&db), &web, "53/udp").await, (true, Some(Tried::Refused), Some(53)));
        assert_eq!(ask(of(&web), &web, "80/tcp").await, (true, Some(Tried::Open), Some(80)));
        assert_eq!(ask(of(&other), &web, "80/tcp").await, (true, Some(Tried::Open), Some(8080)), "by the host's address");
        assert_eq!(ask(of(&other), &db, "80/tcp").await, (false, Some(Tried::Silent), Some(80)), "the firewall agrees");
        let (reachable, tried, _) = ask(of(&shut), &web, "80/tcp").await;
        assert!(!reachable && matches!(tried, Some(Tried::Silent | Tried::NoRoute)), "{tried:?}");
        assert_eq!(ask(of(&x), &y, "80/tcp").await, (false, Some(Tried::Silent), Some(80)), "icc is off");
        assert_eq!(ask(Origin::Host, &web, "80/tcp").await, (true, Some(Tried::Open), Some(80)));
        assert_eq!(ask(Origin::Outside, &web, "80/tcp").await, (true, None, Some(8080)));
        assert_eq!(ask(Origin::Outside, &web, "81/tcp").await, (false, None, None), "localhost only");
        assert_eq!(ask(Origin::Outside, &db, "80/tcp").await, (false, None, None));
    });
}

#[test]
fn containers_are_reached_by_their_own_addresses_where_that_was_chosen() {
    on_host(|host| async move {
        let n = &host.networks;
        let bridge = |key: &str, value: &str| (format!("com.docker.network.bridge.{key}"), value.to_owned());
        for (name, options) in [
            ("plain", vec![]),
            ("routed", vec![bridge("gateway_mode_ipv4", "routed"), bridge("gateway_mode_ipv6", "routed")]),
            ("open", vec![bridge("gateway_mode_ipv4", "nat-unprotected"), bridge("gateway_mode_ipv6", "nat-unprotected")]),
            ("trusting", vec![bridge("trusted_host_interfaces", "eth0:eth7")]),
            ("speaking", vec![("com.docker.network.host_ipv4".to_owned(), "192.0.2.77".to_owned())]),
        ] {
            let spec =
                NetworkSpec { name: name.to_owned(), ipv6: Some(true), options: options.into_iter().collect(), ..Default::default() };
            n.create(TenantId(1), spec).await.unwrap();
        }
        run("ip addr add 192.0.2.77/32 dev eth0");
        serve(&host.outside, "[::]:80", "world");
        let stranger = host.attach(2, "bridge", "stranger", |_| {}).await.unwrap();
        // Which of a container's ports answer outside, by its own addresses: the published 80, and 81.
        for (name, published, other) in [("plain", false, false), ("routed", true, false), ("open", true, true), ("trusting", true, true)] {
            let guest = host.attach(1, name, name, |r| r.ports = ports(&[("", 8080, "80/tcp")])).await.unwrap();
            let six = std::net::IpAddr::from(guest.at.ipv6.unwrap().0);
            for port in [80, 81] {
                serve(&guest.netns, &format!("[::]:{port}"), "guest");
            }
            for ip in [guest.ip(), six] {
                let at = |port: u16| std::net::SocketAddr::new(ip, port).to_string();
                let seen = |port: u16| !silent(&host.outside, &at(port));
                assert_eq!((seen(80), seen(81)), (published, other), "{name}, {ip}");
                assert!(silent(&stranger.netns, &at(80)) && silent(&stranger.netns, &at(81)), "{name}: another tenant's container, {ip}");
            }
            let by_host = ask(&host.outside, "192.0.2.2:8080");
            assert_eq!(by_host.is_ok(), name != "routed", "{name}: by the host's port");
            let said = ask(&guest.netns, "192.0.2.1:80").unwrap();
            let own = if name == "routed" { guest.ip().to_string() } else { "192.0.2.2".to_owned() };
            assert_eq!(said.trim_start_matches("world ").trim_start_matches("::ffff:"), own, "{name}: as whom it speaks");
            let endpoint = guest.at.endpoint.clone();
            drop(guest.sockets);
            n.detach(&endpoint).await.unwrap();
        }
        let speaking = host.attach(1, "speaking", "speaking", |_| {}).await.unwrap();
        assert!(ask(&speaking.netns, "192.0.2.1:80").unwrap().ends_with("192.0.2.77"));
    });
}
