//! Engine objects in words: states, ages, ports, sizes. What several pages say alike is said here.

use engine::container::view::PublishedPort;
use engine::container::{Container, Protocol, State};
use jiff::Timestamp;
use std::net::IpAddr;
use web::format;
use web::view::container::{ContainerHead, ContainerRow, PortLink};
use web::view::page::Column;
use web::view::piece::segment;
use web::view::{Badge, When};

/// A moment in the past: `3 h ago`.
pub fn ago(time: Timestamp) -> When {
    When { exact: exact(time), text: format::ago(seconds_since(time)) }
}

/// A moment in the past, if there was one.
pub fn ago_or(time: Option<Timestamp>, never: &str) -> When {
    time.map_or_else(|| When { exact: String::new(), text: never.to_owned() }, ago)
}

/// A moment to come: `in 30 days`; a past one `ended`.
pub fn until(time: Timestamp) -> When {
    let left = -seconds_since(time);
    let text = if left <= 0 { "ended".to_owned() } else { format!("in {}", format::span(left)) };
    When { exact: exact(time), text }
}

/// RFC 3339 to the second.
fn exact(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whole seconds since a moment.
pub fn seconds_since(time: Timestamp) -> i64 {
    Timestamp::now().duration_since(time).as_secs()
}

/// `Up 3 h`, `Exited 2 min ago`, `Never started`.
pub fn status(container: &Container) -> When {
    let up =
        |word: &str, since: Timestamp| When { exact: exact(since), text: format!("{word} {}", format::span(seconds_since(since).max(1))) };
    match &container.state {
        State::Running(r) => up("Up", r.started),
        State::Paused(r) => up("Paused, up", r.started),
        State::Exited(f) | State::Dead(f) => {
            When { exact: exact(f.finished), text: format!("Exited {}", format::ago(seconds_since(f.finished))) }
        }
        State::Restarting(f) => {
            When { exact: exact(f.finished), text: format!("Exited {}, restarting", format::ago(seconds_since(f.finished))) }
        }
        State::Created => When { exact: String::new(), text: "Never started".into() },
        State::Removing => When { exact: String::new(), text: "Being removed".into() },
    }
}

/// The badge of its state and health.
pub fn badge(container: &Container) -> Badge {
    let (code, oom) = match &container.state {
        State::Exited(f) | State::Dead(f) | State::Restarting(f) => (f.code, f.oom_killed),
        _ => (0, false),
    };
    Badge::container(container.state.word(), code, oom, container.health.as_ref().map_or("", |h| h.status.as_str()))
}

/// Published ports as links: v4 and v6 of the same port are one.
pub fn ports(published: &[PublishedPort], host: &str) -> Vec<PortLink> {
    let mut links: Vec<PortLink> = Vec::new();
    for port in published {
        let any = port.ip.is_unspecified();
        let protocol = match port.container.protocol {
            Protocol::Tcp => String::new(),
            other => format!("/{other}"),
        };
        let left = match port.ip {
            _ if any => port.port.to_string(),
            IpAddr::V4(ip) => format!("{ip}:{}", port.port),
            IpAddr::V6(ip) => format!("[{ip}]:{}", port.port),
        };
        let text = format!("{left} → {}{protocol}", port.container.port);
        let target = match port.ip {
            // Published everywhere: it is where this page is.
            _ if any => host.to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let scheme = if matches!(port.container.port, 443 | 8443) { "https" } else { "http" };
        let href = if port.container.protocol == Protocol::Tcp && !target.is_empty() {
            format!("{scheme}://{target}:{}", port.port)
        } else {
            String::new()
        };
        if !links.iter().any(|l| l.text == text) {
            links.push(PortLink { href, text });
        }
    }
    links
}

/// The host a browser asked for, without its port; empty if it is none we would put into a link.
pub fn host(text: &str) -> String {
    let name = match text.rfind(':') {
        Some(at) if !text[at..].contains(']') => &text[..at],
        _ => text,
    };
    let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'));
    if fits { name.to_owned() } else { String::new() }
}

/// A row of the list.
pub fn row(container: &Container, base: &str, host: &str) -> ContainerRow {
    ContainerRow {
        id: container.id.short().to_owned(),
        href: href(base, container),
        name: container.name.clone(),
        badge: badge(container),
        image: container.spec.image.clone(),
        image_href: format!("{base}/images/{}", container.image_id.hex()),
        ports: ports(&container.ports, host),
        status: status(container),
        created: ago(container.created),
        up: container.state.is_up(),
        paused: matches!(container.state, State::Paused(_)),
    }
}

/// Where its page is.
pub fn href(base: &str, container: &Container) -> String {
    format!("{base}/containers/{}", segment(&container.name))
}

/// The head over its pages.
pub fn head(container: &Container, base: &str, tab: &'static str) -> ContainerHead {
    ContainerHead {
        href: href(base, container),
        name: container.name.clone(),
        id: container.id.short().to_owned(),
        badge: badge(container),
        image: container.spec.image.clone(),
        status: status(container).text,
        tab,
        up: container.state.is_up(),
        paused: matches!(container.state, State::Paused(_)),
    }
}

/// Heads of columns that sort by `?sort=name` or `?sort=-name`; `keep` are the other parameters.
pub fn columns(names: &[(&'static str, &'static str)], sort: &str, keep: &str) -> Vec<Column> {
    let (chosen, down) = sort.strip_prefix('-').map_or((sort, false), |s| (s, true));
    let column = |&(key, text): &(&'static str, &'static str)| {
        let on = chosen == key;
        Column {
            href: format!("?sort={}{key}{keep}", if on && !down { "-" } else { "" }),
            text,
            sort: match (on, down) {
                (false, _) => "none",
                (true, false) => "ascending",
                (true, true) => "descending",
            },
        }
    };
    names.iter().map(column).collect()
}

/// `a=1&b=2` with a leading `&`, of the parameters that are not empty.
pub fn keep(pairs: &[(&str, &str)]) -> String {
    pairs.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| format!("&{n}={}", segment(v))).collect()
}

/// Whether an environment variable's name says that its value is a secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let ends = ["KEY", "PASS", "PW", "PWD", "AUTH", "DSN", "SALT"];
    let holds = [
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "SECRET",
        "TOKEN",
        "CREDENTIAL",
        "PRIVATE",
        "APIKEY",
        "API_KEY",
        "ACCESS_KEY",
        "DATABASE_URL",
        "CONNECTION_STRING",
    ];
    name.split('_').any(|part| ends.contains(&part)) && name != "PWD" || holds.iter().any(|h| name.contains(h))
}

/// argv as one could type it.
pub fn command(argv: &[String]) -> String {
    let plain = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b));
    argv.iter().map(|w| if plain(w) { w.clone() } else { format!("'{}'", w.replace('\'', "'\\''")) }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_port_is_one_link_whatever_the_families() {
        let port = |ip: &str, port, inside: &str| PublishedPort { container: inside.parse().unwrap(), ip: ip.parse().unwrap(), port };
        let links = ports(
            &[
                port("0.0.0.0", 8080, "80/tcp"),
                port("::", 8080, "80/tcp"),
                port("127.0.0.1", 5432, "5432/tcp"),
                port("0.0.0.0", 53, "53/udp"),
            ],
            "box",
        );
        let seen: Vec<_> = links.iter().map(|l| (l.href.as_str(), l.text.as_str())).collect();
        assert_eq!(seen, [("http://box:8080", "8080 → 80"), ("http://127.0.0.1:5432", "127.0.0.1:5432 → 5432"), ("", "53 → 53/udp")]);
    }

    #[test]
    fn only_a_plain_host_gets_into_links() {
        assert_eq!(host("box.example:8443"), "box.example");
        assert_eq!(host("[::1]:8443"), "[::1]");
        assert_eq!(host("[::1]"), "[::1]");
        assert_eq!(host("evil\"><script>"), "");
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in ["POSTGRES_PASSWORD", "aws_secret_access_key", "API_KEY", "GITHUB_TOKEN", "DB_PASS", "DATABASE_URL", "SESSION_KEY"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["PATH", "PWD", "KEYBOARD", "MONKEY_MODE", "COMPASS", "NODE_ENV", "HOME"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn sorting_turns_round() {
        let heads = columns(&[("name", "Name"), ("age", "Age")], "name", "&q=x");
        assert_eq!((heads[0].href.as_str(), heads[0].sort), ("?sort=-name&q=x", "ascending"));
        assert_eq!((heads[1].href.as_str(), heads[1].sort), ("?sort=age&q=x", "none"));
        assert_eq!(keep(&[("a", ""), ("b", "x y")]), "&b=x%20y");
    }
}
