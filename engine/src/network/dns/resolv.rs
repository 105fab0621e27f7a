//! resolv.conf (resolv.conf(5)): the host's read, a container's written.

use super::super::ResolverSpec;
use super::ADDRESS;
use std::fmt::Write;
use std::net::IpAddr;

/// A resolv.conf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// `nameserver` lines.
    pub servers: Vec<IpAddr>,
    /// The last `search` (or `domain`) line.
    pub search: Vec<String>,
    /// `options`.
    pub options: Vec<String>,
}

/// Reads one. What is no line of it is passed over, as resolvers do.
pub fn parse(text: &str) -> ResolvConf {
    let mut conf = ResolvConf::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            // A zone (`fe80::1%eth0`) means nothing in another namespace.
            Some("nameserver") => conf.servers.extend(words.next().and_then(|ip| ip.parse::<IpAddr>().ok())),
            Some("search" | "domain") => conf.search = words.map(str::to_owned).collect(),
            Some("options") => conf.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    conf
}

/// The host's, as it is now: a laptop changes networks.
pub fn host() -> ResolvConf {
    parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

/// The host's with servers that others than the host can reach: behind systemd-resolved's stub, the file in which it
/// keeps the real ones.
fn host_reachable() -> ResolvConf {
    let mut conf = host();
    if !conf.servers.is_empty() && conf.servers.iter().all(IpAddr::is_loopback) {
        let real = parse(&std::fs::read_to_string("/run/systemd/resolve/resolv.conf").unwrap_or_default());
        conf.servers.extend(real.servers);
    }
    conf.servers.retain(|ip| !ip.is_loopback());
    conf
}

/// A container's, from the host's and what was asked.
fn render(host: ResolvConf, embedded: bool, spec: &ResolverSpec) -> String {
    let servers = if embedded {
        vec![IpAddr::V4(ADDRESS)]
    } else if spec.servers.is_empty() {
        host.servers
    } else {
        spec.servers.clone()
    };
    let search = match spec.search.as_slice() {
        [] => host.search,
        [only] if only == "." => Vec::new(),
        asked => asked.to_vec(),
    };
    let mut options = if spec.options.is_empty() { host.options } else { spec.options.clone() };
    if embedded && !options.iter().any(|o| o.starts_with("ndots:")) {
        // Dotless names are asked as they are first: they are containers.
        options.push("ndots:0".to_owned());
    }
    let mut text = String::from("# Written by Wharf. Changes made here stay for the life of the container.\n");
    for server in servers {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// What a container's /etc/resolv.conf holds.
pub fn container(embedded: bool, spec: &ResolverSpec) -> String {
    let mut host = if embedded { host() } else { host_reachable() };
    if !embedded && host.servers.is_empty() {
        // As dockerd does on its default bridge, where no server of the host's can be reached from a container.
        host.servers = vec![[8, 8, 8, 8].into(), [8, 8, 4, 4].into()];
    }
    render(host, embedded, spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# a comment\nnameserver 192.0.2.53 ; the router\nnameserver fe80::1%eth0\nnameserver fd00::53\ndomain old\nsearch example.org corp.example.org\noptions edns0 trust-ad\noptions timeout:1\nsortlist x\n";

    #[test]
    fn the_hosts_is_read() {
        let conf = parse(HOST);
        assert_eq!(conf.servers, ["192.0.2.53".parse::<IpAddr>().unwrap(), "fd00::53".parse().unwrap()]);
        assert_eq!(conf.search, ["example.org", "corp.example.org"]);
        assert_eq!(conf.options, ["edns0", "trust-ad", "timeout:1"]);
        assert_eq!(parse("\u{0}\nnameserver\noptions\nsearch\n"), ResolvConf::default());
    }

    #[test]
    fn a_containers_is_written() {
        let lines = |text: String| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            lines(render(parse(HOST), true, &ResolverSpec::default())),
            ["nameserver 127.0.0.11", "search example.org corp.example.org", "options edns0 trust-ad timeout:1 ndots:0"]
        );
        let asked =
            ResolverSpec { servers: vec!["9.9.9.9".parse().unwrap()], search: vec![".".to_owned()], options: vec!["ndots:3".to_owned()] };
        assert_eq!(lines(render(parse(HOST), false, &asked)), ["nameserver 9.9.9.9", "options ndots:3"]);
        assert_eq!(lines(render(parse(HOST), true, &asked)), ["nameserver 127.0.0.11", "options ndots:3"]);
    }
}
