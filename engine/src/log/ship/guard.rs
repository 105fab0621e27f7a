//! Where a tenant's lines may be sent. The server connects, from the host's own network, where it reaches what a container
//! does not: services on the host's loopback, metadata services of clouds, other tenants' containers. Those need a grant
//! (`log-to=ADDRESS`). What a name stands for is judged at each connection, and the judged address is the one connected to.

use super::Address;
use crate::network::{Inside, Reach, reach};
use std::net::IpAddr;

/// What a tenant may reach.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    /// Whether a grant covers this destination.
    pub granted: bool,
    /// What is not the tenant's.
    pub reach: Reach,
}

impl Guard {
    /// Why this address may not be connected to; `None`: it may.
    pub fn refusal(&self, ip: IpAddr) -> Option<String> {
        if self.granted {
            return None;
        }
        let ip = ip.to_canonical();
        self.reach.inside(ip).map(|whose| match whose {
            Inside::Host => format!("{ip} is the host's own: sending logs there needs a grant (log-to=ADDRESS)"),
            // In the words of an address that nobody has: whose it is, is not told.
            Inside::Foreign => format!("no route to {ip}"),
        })
    }
}

/// Whether a destination needs a grant by what is written there. Names are judged when they are looked up.
pub(crate) fn is_local(to: &Address) -> bool {
    match to {
        Address::Unix(_) | Address::UnixDatagram(_) => true,
        Address::Udp { host, .. } | Address::Tcp { host, .. } => match host.parse::<IpAddr>() {
            Ok(ip) => reach::is_hosts(ip),
            Err(_) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                host == "localhost" || host.ends_with(".localhost")
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(ip: &str) -> bool {
        let foreign = vec!["172.30.5.0/24".parse().unwrap()];
        Guard { granted: false, reach: Reach::new(foreign) }.refusal(ip.parse().unwrap()).is_some()
    }

    #[test]
    fn sec_logs_do_not_reach_the_host_metadata_or_other_tenants() {
        for ip in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "172.30.5.9",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
        ] {
            assert!(refused(ip), "{ip}");
            assert_eq!(Guard { granted: true, reach: Reach::default() }.refusal(ip.parse().unwrap()), None, "{ip}");
        }
        for ip in ["192.0.2.7", "10.1.2.3", "172.30.6.9", "2001:db8::1"] {
            assert!(!refused(ip), "{ip}");
        }
    }

    #[test]
    fn what_needs_a_grant_by_its_words() {
        let tcp = |host: &str| Address::Tcp { host: host.into(), port: 1 };
        for host in ["localhost", "LOCALHOST.", "x.localhost", "127.1.1.1", "::1", "169.254.169.254", "::ffff:127.0.0.1"] {
            assert!(is_local(&tcp(host)), "{host}");
        }
        assert!(is_local(&Address::Unix("/dev/log".into())));
        assert!(!is_local(&tcp("logs.example.org")));
        assert!(!is_local(&tcp("10.0.0.1")));
    }
}
