//! What is asked of one container's interface in one network: driver options of the endpoint, link-local addresses. Pure.

use crate::container::spec::EndpointSpec;
use crate::{Error, Result};
use std::net::IpAddr;

/// Driver options of an endpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A name for the interface in the container.
    pub ifname: Option<String>,
    /// Path below /proc/sys/net, with `IFNAME` where the interface's name will be, and value.
    pub sysctls: Vec<(String, String)>,
}

const PREFIX: &str = "com.docker.network.endpoint.";

/// [`read`] for the sake of its errors, before a container is made.
pub fn check(spec: &EndpointSpec) -> Result<()> {
    read(spec).map(drop)
}

/// Reads and checks them. People's own words are kept and shown; what Docker gives a meaning is not ignored.
///
/// # Errors
/// `Invalid` for what cannot be, `Unsupported` for what is not built.
pub fn read(spec: &EndpointSpec) -> Result<Options> {
    let mut options = Options::default();
    for (key, value) in spec.driver_opts.iter().filter(|(key, _)| key.starts_with("com.docker.network.")) {
        match key.strip_prefix(PREFIX) {
            Some("sysctls") => {
                for one in value.split(',').map(str::trim).filter(|s| !s.is_empty()) {
                    options.sysctls.push(sysctl(one)?);
                }
            }
            Some("ifname") => {
                let ok = (1..=15).contains(&value.len())
                    && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
                    && !matches!(value.as_str(), "." | ".." | "lo" | "all" | "default");
                if !ok {
                    return Err(Error::invalid(format!("invalid interface name {value:?}")));
                }
                options.ifname = Some(value.clone());
            }
            _ => return Err(Error::unsupported(&format!("endpoint option {key}={value}"))),
        }
    }
    for ip in &spec.link_local {
        let ok = match ip {
            // Clouds answer with credentials at some of these; nobody plays cloud.
            IpAddr::V4(a) => a.is_link_local() && !matches!(a.octets()[2..], [0 | 255, _] | [169, 254] | [170, 2 | 23]),
            IpAddr::V6(a) => a.is_unicast_link_local(),
        };
        if !ok {
            return Err(Error::invalid(format!("invalid link-local IP address: {ip}")));
        }
    }
    Ok(options)
}

/// `net.ipv4.conf.IFNAME.log_martians=1`: a setting of this one interface, and of no other.
fn sysctl(text: &str) -> Result<(String, String)> {
    let invalid = || Error::invalid(format!("invalid endpoint sysctl {text:?}: expected net.FAMILY.KIND.IFNAME.NAME=VALUE"));
    let (key, value) = text.split_once('=').ok_or_else(invalid)?;
    let parts: Vec<&str> = key.split('.').collect();
    let ["net", family @ ("ipv4" | "ipv6" | "mpls"), kind @ ("conf" | "neigh"), "IFNAME", name] = parts[..] else {
        return Err(invalid());
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err(invalid());
    }
    // Which routers to believe, and whose routes to be, is the network's to decide (CVE-2020-13401).
    if matches!(name, "accept_ra" | "autoconf") && value.trim() != "0" {
        return Err(Error::invalid(format!("the endpoint sysctl {key} can only be 0: no router configures a container's interface")));
    }
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'.' | b'-' | b':')) {
        return Err(invalid());
    }
    Ok((format!("{family}/{kind}/IFNAME/{name}"), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> EndpointSpec {
        EndpointSpec { driver_opts: [(key.to_owned(), value.to_owned())].into(), ..Default::default() }
    }

    #[test]
    fn settings_are_of_this_interface_only() {
        let read = |value: &str| read(&with("com.docker.network.endpoint.sysctls", value));
        let two = read("net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.neigh.IFNAME.mcast_solicit=4").unwrap();
        assert_eq!(two.sysctls[0], ("ipv4/conf/IFNAME/log_martians".to_owned(), "1".to_owned()));
        assert_eq!(two.sysctls[1].0, "ipv6/neigh/IFNAME/mcast_solicit");
        for bad in [
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.all.forwarding=1",
            "net.ipv4.conf.eth1.forwarding=1",
            "net.ipv4.conf.IFNAME.../../kernel/x=1",
            "kernel.msgmax=1",
            "net.ipv4.conf.IFNAME.forwarding",
            "net.ipv6.conf.IFNAME.accept_ra=2",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_link_local_addresses() {
        assert_eq!(read(&with("com.docker.network.endpoint.ifname", "wan0")).unwrap().ifname.as_deref(), Some("wan0"));
        for bad in ["lo", "", "a/b", "..", "sixteen-letters-x"] {
            assert!(read(&with("com.docker.network.endpoint.ifname", bad)).is_err(), "{bad}");
        }
        assert!(read(&with("com.docker.network.x", "1")).is_err() && read(&with("mine", "1")).is_ok());
        for (ip, ok) in [("169.254.7.8", true), ("169.254.169.254", false), ("10.0.0.1", false), ("fe80::7", true), ("fd00::1", false)] {
            let spec = EndpointSpec { link_local: vec![ip.parse().unwrap()], ..Default::default() };
            assert_eq!(read(&spec).is_ok(), ok, "{ip}");
        }
    }
}
