//! Read back by `nft`.

use super::*;
use crate::network::testing::{in_netns, json, run};

fn elements() -> Vec<Element> {
    let options = |list: &[(&str, &str)]| {
        let options = list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        crate::network::plan::bridge(&crate::network::NetworkSpec { options, ..Default::default() }).unwrap()
    };
    let mut elements =
        Element::bridge("wtestb1", &["172.17.0.0/20".parse().unwrap(), "fd00:1::/64".parse().unwrap()], false, &options(&[]));
    // Next to the first: the end of one interval is the beginning of the other.
    let apart = options(&[("com.docker.network.bridge.enable_icc", "false")]);
    elements.extend(Element::bridge("wtestb2", &["172.17.16.0/20".parse().unwrap()], true, &apart));
    let open = options(&[
        ("com.docker.network.bridge.gateway_mode_ipv4", "nat-unprotected"),
        ("com.docker.network.bridge.gateway_mode_ipv6", "routed"),
        ("com.docker.network.bridge.trusted_host_interfaces", "eth9"),
        ("com.docker.network.host_ipv4", "192.0.2.7"),
    ]);
    elements.extend(Element::bridge("wtestb3", &["172.17.32.0/20".parse().unwrap(), "fd00:3::/64".parse().unwrap()], false, &open));
    elements.push(Element::routed(Protocol::Tcp, "fd00:3::2".parse().unwrap(), 80));
    elements.extend(Element::veth(
        "wtestb1",
        "wtestv1",
        [2, 0x42, 1, 2, 3, 4],
        &[Ipv4Addr::new(172, 17, 0, 2)],
        &["fd00:1::2".parse().unwrap()],
        true,
    ));
    let c4 = IpAddr::from([172, 17, 0, 2]);
    elements.push(Element::port(Protocol::Tcp, "0.0.0.0".parse().unwrap(), 8080, c4, 80));
    elements.push(Element::port(Protocol::Udp, "192.0.2.1".parse().unwrap(), 53, c4, 5353));
    elements.push(Element::port(Protocol::Sctp, "::".parse().unwrap(), 9, "fd00:1::2".parse().unwrap(), 9));
    elements.push(Element::port(Protocol::Tcp, "fd00::9".parse().unwrap(), 8080, "fd00:1::2".parse().unwrap(), 80));
    elements
}

#[test]
fn nft_reads_the_tables_as_meant() {
    in_netns(|| {
        let mut firewall = Firewall::open("wharf-test".to_owned(), "wtestv".to_owned()).unwrap();
        firewall.rebuild(&elements()).unwrap();
        insta::assert_snapshot!(run("nft list ruleset"));
    });
}

#[test]
fn elements_come_and_go_and_a_missing_one_is_an_error() {
    in_netns(|| {
        let mut firewall = Firewall::open("wharf-test".to_owned(), "wtestv".to_owned()).unwrap();
        firewall.rebuild(&[]).unwrap();
        let empty = run("nft -s list ruleset");
        firewall.change(&[], &elements()).unwrap();
        assert_ne!(run("nft -s list ruleset"), empty);
        firewall.change(&elements(), &[]).unwrap();
        assert_eq!(run("nft -s list ruleset"), empty);
        let missing = firewall.change(&elements()[..1], &[]).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
        run("nft flush ruleset");
        assert_eq!(firewall.change(&[], &elements()).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        firewall.rebuild(&elements()).unwrap();
        firewall.remove().unwrap();
        assert_eq!(run("nft list ruleset"), "");
    });
}

#[test]
fn thousands_of_elements_are_one_batch() {
    in_netns(|| {
        let mut firewall = Firewall::open("wharf-test".to_owned(), "wtestv".to_owned()).unwrap();
        let many: Vec<Element> =
            (1..=5000u16).map(|p| Element::port(Protocol::Tcp, IpAddr::from([0, 0, 0, 0]), p, IpAddr::from([172, 17, 0, 2]), p)).collect();
        firewall.rebuild(&many).unwrap();
        let map = json("nft -j list map inet wharf-test ports4_any");
        assert_eq!(map["nftables"][1]["map"]["elem"].as_array().unwrap().len(), 5000);
    });
}

#[test]
fn a_foreign_chain_that_drops_lets_our_bridges_through() {
    in_netns(|| {
        run("printf 'table ip filter {\n chain FORWARD {\n type filter hook forward priority 0; policy drop;\n counter\n }\n }\n\
             table inet mine {\n chain f {\n type filter hook forward priority 0; policy accept;\n }\n }\n' | nft -f -");
        let mut firewall = Firewall::open("wharf-test".to_owned(), "wtestv".to_owned()).unwrap();
        firewall.rebuild(&[]).unwrap();
        assert_eq!(firewall.open_foreign_chains("wtestb").unwrap(), ["filter FORWARD"]);
        assert!(firewall.open_foreign_chains("wtestb").unwrap().is_empty(), "a second time adds nothing");
        let chain = run("nft list chain ip filter FORWARD");
        assert!(chain.contains("iifname \"wtestb*\" accept"), "{chain}");
        assert!(chain.contains("oifname \"wtestb*\" accept"), "{chain}");
        assert!(chain.find("wtestb").unwrap() < chain.find("counter").unwrap(), "ours come first: {chain}");
        assert!(!run("nft list table inet mine").contains("wtestb"));
        firewall.close_foreign_chains().unwrap();
        assert!(!run("nft list ruleset").contains("wtestb"));
        run("nft add chain ip filter DOCKER-USER");
        assert_eq!(firewall.open_foreign_chains("wtestb").unwrap(), ["filter DOCKER-USER"]);
    });
}
