//! Whose network, which networks, which ports, and what the resolver files say.

use super::{ExtraHost, Network, NetworkMode, PortRequest};
use crate::container::HostPort;
use crate::container::spec::{ContainerSpec, EndpointSpec};
use crate::image::ImageConfig;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// The container's place in networks.
pub(super) fn network(spec: &ContainerSpec, image: &ImageConfig) -> Result<Network> {
    let host = &spec.host;
    let mode = mode(spec)?;
    let mut exposed: Vec<_> = image.exposed_ports.iter().chain(&spec.exposed_ports).chain(host.port_bindings.keys()).copied().collect();
    exposed.sort_unstable();
    exposed.dedup();
    conflicts(spec, &mode)?;

    let mut ports: Vec<PortRequest> = Vec::new();
    for (container, bindings) in &host.port_bindings {
        // Docker's client writes `[{}]`, older ones `[]`, for "some free port".
        let any = [HostPort { ip: None, ports: (0, 0) }];
        for host in if bindings.is_empty() { &any[..] } else { bindings } {
            let (first, last) = host.ports;
            if first > last || first == 0 && last != 0 {
                return Err(Error::invalid(format!("invalid port specification: {first}-{last}")));
            }
            let request = PortRequest { container: *container, host: host.clone() };
            if !ports.contains(&request) {
                ports.push(request);
            }
        }
    }
    if host.publish_all {
        let unbound = exposed.iter().filter(|p| !host.port_bindings.contains_key(p));
        ports.extend(unbound.map(|container| PortRequest { container: *container, host: HostPort { ip: None, ports: (0, 0) } }));
    }
    // With Docker a host-network container's bindings are dropped with a warning by the caller; without a network there is nothing to publish.
    if !matches!(mode, NetworkMode::Network(_)) {
        ports.clear();
    }
    Ok(Network {
        endpoints: endpoints(spec, &mode)?,
        mode,
        ports,
        exposed,
        dns: host
            .dns
            .iter()
            .map(|t| t.trim().parse().map_err(|_| Error::invalid(format!("{t} is not an ip address"))))
            .collect::<Result<_>>()?,
        dns_options: one_line("DNS option", &host.dns_options)?,
        dns_search: one_line("DNS search domain", &host.dns_search)?,
        extra_hosts: host.extra_hosts.iter().map(|t| extra_host(t)).collect::<Result<_>>()?,
    })
}

fn mode(spec: &ContainerSpec) -> Result<NetworkMode> {
    if spec.network_disabled {
        return Ok(NetworkMode::None);
    }
    Ok(match spec.host.network_mode.as_str() {
        "" | "default" | "bridge" => NetworkMode::Network("bridge".to_owned()),
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        "container" => return Err(Error::invalid("invalid container format container:<name|id>")),
        text => match text.strip_prefix("container:") {
            Some("") => return Err(Error::invalid("invalid container format container:<name|id>")),
            Some(name) => NetworkMode::Container(name.to_owned()),
            None if text.contains(['/', ':']) || text.chars().any(char::is_control) => {
                return Err(Error::new(crate::Kind::NotFound, format!("network {text} not found")));
            }
            None => NetworkMode::Network(text.to_owned()),
        },
    })
}

fn conflicts(spec: &ContainerSpec, mode: &NetworkMode) -> Result<()> {
    let host = &spec.host;
    let conflict = |text: &str| Err(Error::invalid(format!("conflicting options: {text}")));
    match mode {
        NetworkMode::Container(_) => {
            if !spec.hostname.is_empty() {
                return conflict("hostname and the network mode");
            }
            if !host.links.is_empty() {
                return conflict("container type network can't be used with links. This would result in undefined behavior");
            }
            if !host.dns.is_empty() {
                return conflict("dns and the network mode");
            }
            if !host.extra_hosts.is_empty() {
                return conflict("custom host-to-IP mapping and the network mode");
            }
            if spec.mac_address.as_deref().is_some_and(|m| !m.is_empty()) {
                return conflict("mac-address and the network mode");
            }
            if !host.port_bindings.is_empty() || host.publish_all {
                return conflict("port publishing and the container type network mode");
            }
            if !spec.exposed_ports.is_empty() {
                return conflict("port exposing and the container type network mode");
            }
        }
        NetworkMode::Host if !host.links.is_empty() => {
            return conflict("host type networking can't be used with links. This would result in undefined behavior");
        }
        NetworkMode::Host if spec.mac_address.as_deref().is_some_and(|m| !m.is_empty()) => {
            return conflict("mac-address and the network mode");
        }
        NetworkMode::Host | NetworkMode::None | NetworkMode::Network(_) => {}
    }
    Ok(())
}

fn endpoints(spec: &ContainerSpec, mode: &NetworkMode) -> Result<BTreeMap<String, EndpointSpec>> {
    let asked = &spec.networks;
    let text = spec.host.network_mode.as_str();
    let NetworkMode::Network(first) = mode else {
        // Clients repeat the mode as if it were a network.
        let own = |name: &String| name == text || spec.network_disabled;
        if let Some(name) = asked.keys().find(|n| !own(n)) {
            return Err(Error::invalid(format!(
                "container cannot be connected to network {name}: container sharing network namespace with another container or host cannot be connected to any other network"
            )));
        }
        return Ok(BTreeMap::new());
    };
    let mut endpoints = BTreeMap::new();
    for (name, endpoint) in asked {
        let name = if name == "default" || name.is_empty() { "bridge" } else { name };
        if matches!(name, "host" | "none") || name.starts_with("container:") {
            return Err(Error::invalid(format!("conflicting options: the network {name} and the network mode")));
        }
        crate::network::check_endpoint(endpoint)?;
        if name == "bridge" {
            if endpoint.ipv4.is_some() || endpoint.ipv6.is_some() {
                return Err(Error::invalid("user specified IP address is supported on user defined networks only"));
            }
            if !endpoint.aliases.is_empty() {
                return Err(Error::invalid("network-scoped alias is supported only for containers in user defined networks"));
            }
        }
        if let Some(mac) = endpoint.mac_address.as_deref().filter(|m| !m.is_empty()) {
            check_mac(mac)?;
        }
        endpoints.insert(name.to_owned(), endpoint.clone());
    }
    let endpoint: &mut EndpointSpec = endpoints.entry(first.clone()).or_default();
    endpoint.links.extend(spec.host.links.iter().cloned());
    if let Some(mac) = spec.mac_address.as_deref().filter(|m| !m.is_empty()) {
        check_mac(mac)?;
        match endpoint.mac_address.as_deref() {
            None | Some("") => endpoint.mac_address = Some(mac.to_owned()),
            Some(own) if own.eq_ignore_ascii_case(mac) => {}
            Some(_) => {
                return Err(Error::invalid(
                    "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
                ));
            }
        }
    }
    Ok(endpoints)
}

/// Six pairs of hex digits, not a group's address (the first byte is even).
fn check_mac(text: &str) -> Result<()> {
    let bytes: Option<Vec<u8>> = text.split([':', '-']).map(|p| if p.len() == 2 { u8::from_str_radix(p, 16).ok() } else { None }).collect();
    match bytes {
        Some(bytes) if bytes.len() == 6 && bytes[0] & 1 == 0 && !text.contains('+') => Ok(()),
        _ => Err(Error::invalid(format!("{text} is not a valid mac address"))),
    }
}

fn one_line(what: &str, texts: &[String]) -> Result<Vec<String>> {
    match texts.iter().find(|t| t.is_empty() || t.chars().any(|c| c.is_control() || c.is_whitespace())) {
        Some(bad) => Err(Error::invalid(format!("invalid {what} {bad:?}: it must be one word"))),
        None => Ok(texts.to_vec()),
    }
}

/// `name:address` or `name=address`; the address may be `host-gateway`, an IPv6 one may stand in brackets.
fn extra_host(text: &str) -> Result<ExtraHost> {
    let bad = || Error::invalid(format!("bad format for add-host: {text:?}"));
    let split = text.find(['=', ':']).ok_or_else(bad)?;
    let (name, address) = (&text[..split], &text[split + 1..]);
    let name_ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 253 || !name.chars().all(name_ok) {
        return Err(bad());
    }
    if address == "host-gateway" {
        return Ok(ExtraHost { name: name.to_owned(), address: None });
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let address = bare.parse().map_err(|_| Error::invalid(format!("invalid IP address in add-host: {address:?}")))?;
    Ok(ExtraHost { name: name.to_owned(), address: Some(address) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::spec::HostSpec;

    fn with(network_mode: &str, change: impl FnOnce(&mut ContainerSpec)) -> Result<Network> {
        let mut spec =
            ContainerSpec { host: HostSpec { network_mode: network_mode.into(), ..HostSpec::default() }, ..ContainerSpec::default() };
        change(&mut spec);
        network(&spec, &ImageConfig { exposed_ports: vec!["80/tcp".parse()?], ..ImageConfig::default() })
    }

    #[test]
    fn modes() {
        let mode = |m: &str| with(m, |_| ()).unwrap().mode;
        assert_eq!(mode(""), NetworkMode::Network("bridge".into()));
        assert_eq!(mode("default"), NetworkMode::Network("bridge".into()));
        assert_eq!(mode("host"), NetworkMode::Host);
        assert_eq!(mode("none"), NetworkMode::None);
        assert_eq!(mode("container:web"), NetworkMode::Container("web".into()));
        assert_eq!(mode("mine"), NetworkMode::Network("mine".into()));
        assert_eq!(with("", |s| s.network_disabled = true).unwrap().mode, NetworkMode::None);
        assert!(with("container:", |_| ()).is_err());
    }

    #[test]
    fn a_container_network_takes_nothing_of_its_own() {
        let mode = "container:web";
        let conflict = |change: fn(&mut ContainerSpec)| with(mode, change).unwrap_err().to_string();
        assert_eq!(conflict(|s| s.hostname = "x".into()), "conflicting options: hostname and the network mode");
        assert_eq!(conflict(|s| s.host.publish_all = true), "conflicting options: port publishing and the container type network mode");
        assert_eq!(conflict(|s| s.host.dns = vec!["1.1.1.1".into()]), "conflicting options: dns and the network mode");
        assert_eq!(
            conflict(|s| s.host.extra_hosts = vec!["a:1.1.1.1".into()]),
            "conflicting options: custom host-to-IP mapping and the network mode"
        );
        assert_eq!(
            conflict(|s| s.exposed_ports = vec!["1/tcp".parse().unwrap()]),
            "conflicting options: port exposing and the container type network mode"
        );
        assert!(with(mode, |s| s.networks = [("other".to_owned(), EndpointSpec::default())].into()).is_err());
        assert!(with(mode, |s| s.networks = [("container:web".to_owned(), EndpointSpec::default())].into()).is_ok());
    }

    #[test]
    fn ports() {
        let bound = |ports| HostPort { ip: None, ports };
        let n = with("", |s| {
            s.host.port_bindings = [("81/tcp".parse().unwrap(), vec![bound((8080, 8090))]), ("82/udp".parse().unwrap(), vec![])].into();
            s.host.publish_all = true;
        })
        .unwrap();
        let ports: Vec<(String, (u16, u16))> = n.ports.iter().map(|p| (p.container.to_string(), p.host.ports)).collect();
        assert_eq!(ports, [("81/tcp".into(), (8080, 8090)), ("82/udp".into(), (0, 0)), ("80/tcp".into(), (0, 0))]);
        assert_eq!(n.exposed.len(), 3);
        for bad in [(2, 1), (0, 5)] {
            assert!(with("", |s| s.host.port_bindings = [("81/tcp".parse().unwrap(), vec![bound(bad)])].into()).is_err());
        }
        assert!(with("host", |s| s.host.publish_all = true).unwrap().ports.is_empty());
    }

    #[test]
    fn addresses_and_names() {
        let ip = |name: &str| {
            let endpoint = EndpointSpec { ipv4: Some([10, 0, 0, 1].into()), ..EndpointSpec::default() };
            with("mine", |s| s.networks = [(name.to_owned(), endpoint)].into())
        };
        assert_eq!(ip("mine").unwrap().endpoints.len(), 1);
        assert_eq!(ip("default").unwrap_err().to_string(), "user specified IP address is supported on user defined networks only");
        for (text, ok) in [
            ("02:42:ac:11:00:02", true),
            ("01:42:ac:11:00:02", false),
            ("02:42:ac:11:00", false),
            ("+2:42:ac:11:00:02", false),
            ("x", false),
        ] {
            assert_eq!(check_mac(text).is_ok(), ok, "{text}");
        }
        assert_eq!(extra_host("a=[::1]").unwrap().address, Some("::1".parse().unwrap()));
        assert_eq!(extra_host("a:::1").unwrap().address, Some("::1".parse().unwrap()));
        assert_eq!(extra_host("a:host-gateway").unwrap().address, None);
        for bad in ["a", ":1.1.1.1", "a:x", "a\nb:1.1.1.1", "a:1.1.1.1\n"] {
            assert!(extra_host(bad).is_err(), "{bad:?}");
        }
        assert!(with("", |s| s.host.dns_search = vec!["a\nb".into()]).is_err());
        assert!(with("", |s| s.host.dns = vec!["x".into()]).is_err());
    }
}
