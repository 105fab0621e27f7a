//! What clients say of `syslog`, `journald`, `gelf` and `fluentd`, with Docker's texts for what is wrong.

use super::{Address, Compression, Protocol, Shipping, SyslogFormat, journald};
use crate::container::effective::text::parse_bool;
use crate::log::SHARED;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

type Options = BTreeMap<String, String>;

/// The options that say how the copy we keep is kept, with our names for them.
pub(crate) const CACHE: [(&str, &str); 3] =
    [("cache-max-size", "max-size"), ("cache-max-file", "max-file"), ("cache-compress", "compress")];

/// What a driver of ours is asked to do. `None`: it is no driver that sends.
///
/// # Errors
/// `Invalid` with Docker's text; `Unsupported` for TLS.
pub(crate) fn parse(driver: &str, options: &Options) -> Result<Option<Shipping>> {
    let get = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    let (own, protocol, to): (&[&str], _, _) = match driver {
        "syslog" => {
            if options.keys().any(|key| key.starts_with("syslog-tls-")) || get("syslog-address").starts_with("tcp+tls:") {
                return Err(Error::unsupported("syslog over TLS"));
            }
            let protocol = Protocol::Syslog { facility: facility(get("syslog-facility"))?, format: format(get("syslog-format"))? };
            let to = match get("syslog-address") {
                "" => Address::Unix("/dev/log".into()),
                text => address(text, "udp", 514, "syslog-address")?,
            };
            (&["syslog-address", "syslog-facility", "syslog-format"], protocol, to)
        }
        "journald" => (&[], Protocol::Journald, Address::UnixDatagram(journald::SOCKET.into())),
        "gelf" => {
            let to = match get("gelf-address") {
                "" => return Err(Error::invalid("gelf: gelf-address is required")),
                text => address(text, "udp", 12201, "gelf-address")?,
            };
            let tcp = matches!(to, Address::Tcp { .. });
            if !tcp && !matches!(to, Address::Udp { .. }) {
                return Err(Error::invalid("gelf: endpoint needs to be TCP or UDP"));
            }
            let wrong = |kind: &str, keys: [&str; 2]| match keys.into_iter().find(|key| options.contains_key(*key)) {
                Some(_) => Err(Error::invalid(format!("{kind} options are only supported on {}", if tcp { "UDP" } else { "TCP" }))),
                None => Ok(()),
            };
            if tcp {
                wrong("compression", ["gelf-compression-type", "gelf-compression-level"])?;
            } else {
                wrong("reconnect", ["gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"])?;
            }
            // We try for ever, with pauses of our own: numbers are checked and no more.
            for key in ["gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"] {
                number::<u32>(options, key)?;
            }
            let protocol = Protocol::Gelf { compression: compression(options)? };
            let own =
                &["gelf-address", "gelf-compression-type", "gelf-compression-level", "gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"];
            (own, protocol, to)
        }
        "fluentd" => {
            let flag = |key: &str| match get(key) {
                "" => Ok(false),
                text => parse_bool(text).ok_or_else(|| Error::invalid(format!("invalid value for {key}: {text:?}"))),
            };
            let protocol =
                Protocol::Fluentd { sub_second: flag("fluentd-sub-second-precision")?, acknowledged: flag("fluentd-request-ack")? };
            let to = match get("fluentd-address") {
                "" => Address::Tcp { host: "127.0.0.1".into(), port: 24224 },
                text => address(text, "tcp", 24224, "fluentd-address")?,
            };
            if matches!(to, Address::Udp { .. } | Address::UnixDatagram(_)) {
                return Err(Error::invalid(format!("unsupported fluentd-address: {to}")));
            }
            flag("fluentd-async")?;
            // Our buffer is the file, and we try for ever with pauses of our own: these are checked and no more.
            number::<u32>(options, "fluentd-max-retries")?;
            if let Some(size) = options.get("fluentd-buffer-limit") {
                crate::container::effective::text::parse_size(size)?;
            }
            for key in ["fluentd-retry-wait", "fluentd-async-reconnect-interval", "fluentd-write-timeout", "fluentd-read-timeout"] {
                if let Some(text) = options.get(key) {
                    duration(text).ok_or_else(|| Error::invalid(format!("invalid value for {key}: {text:?}")))?;
                }
            }
            let own = &[
                "fluentd-address",
                "fluentd-async",
                "fluentd-sub-second-precision",
                "fluentd-request-ack",
                "fluentd-max-retries",
                "fluentd-buffer-limit",
                "fluentd-retry-wait",
                "fluentd-async-reconnect-interval",
                "fluentd-write-timeout",
                "fluentd-read-timeout",
            ];
            (own, protocol, to)
        }
        _ => return Ok(None),
    };
    let known = |key: &str| {
        own.contains(&key)
            || SHARED.contains(&key)
            || matches!(key, "mode" | "max-buffer-size" | "cache-disabled")
            || CACHE.iter().any(|(name, _)| *name == key)
    };
    if let Some(key) = options.keys().find(|key| !known(key)) {
        return Err(Error::invalid(format!("unknown log opt '{key}' for {driver} log driver")));
    }
    let lazy = parse_bool(get("fluentd-async")).unwrap_or(false);
    Ok(Some(Shipping { protocol, to, lazy, tag: get("tag").to_owned() }))
}

/// A destination by itself, as a grant names it.
///
/// # Errors
/// `Invalid` for what is none.
pub(crate) fn destination(text: &str) -> Result<Address> {
    match text {
        "journald" => Ok(Address::UnixDatagram(journald::SOCKET.into())),
        text => address(text, "", 0, "log-to"),
    }
}

/// `scheme://host[:port]`, `scheme:///path`, or (as fluentd has it) `host[:port]`. A scheme or port of nothing must be given.
fn address(text: &str, scheme: &str, port: u16, key: &str) -> Result<Address> {
    let invalid = |why: &str| Error::invalid(format!("{key} should be in form proto://address, got {text:?}{why}"));
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid(": no blanks are allowed"));
    }
    let (scheme, rest) = text.split_once("://").unwrap_or((scheme, text));
    if matches!(scheme, "unix" | "unixgram") {
        let path = crate::container::effective::text::clean_path(rest).ok_or_else(|| invalid(": a socket has an absolute path"))?;
        return Ok(if scheme == "unix" { Address::Unix(PathBuf::from(path)) } else { Address::UnixDatagram(PathBuf::from(path)) });
    }
    let (host, given) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or_else(|| invalid(""))?;
            (host, after.strip_prefix(':').or_else(|| after.is_empty().then_some("")).ok_or_else(|| invalid(""))?)
        }
        None => rest.split_once(':').unwrap_or((rest, "")),
    };
    let named = !host.is_empty() && host.len() <= 253 && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if !named && host.parse::<std::net::Ipv6Addr>().is_err() {
        return Err(invalid(""));
    }
    let port = match given {
        "" if port != 0 => port,
        given => given.parse().ok().filter(|p| *p != 0).ok_or_else(|| invalid(": no port"))?,
    };
    let host = host.to_owned();
    match scheme {
        "udp" => Ok(Address::Udp { host, port }),
        "tcp" => Ok(Address::Tcp { host, port }),
        other => Err(invalid(&format!(": unsupported scheme {other:?}"))),
    }
}

fn facility(text: &str) -> Result<u8> {
    const NAMES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "", "", "local0",
        "local1", "local2", "local3", "local4", "local5", "local6", "local7",
    ];
    if text.is_empty() {
        return Ok(3);
    }
    let found = match text.parse() {
        Ok(number) => Some(number),
        Err(_) => NAMES.iter().position(|name| *name == text).and_then(|n| u8::try_from(n).ok()),
    };
    found.filter(|n| *n < 24).ok_or_else(|| Error::invalid("invalid syslog facility"))
}

fn format(text: &str) -> Result<SyslogFormat> {
    match text {
        "" => Ok(SyslogFormat::Local),
        "rfc3164" => Ok(SyslogFormat::Rfc3164),
        "rfc5424" => Ok(SyslogFormat::Rfc5424),
        "rfc5424micro" => Ok(SyslogFormat::Rfc5424Micro),
        _ => Err(Error::invalid("Invalid syslog format")),
    }
}

fn compression(options: &Options) -> Result<Compression> {
    let level = match number::<i32>(options, "gelf-compression-level")? {
        // flate's word for "as usual"; Docker's own default is the fastest.
        Some(-1) => 6,
        Some(level) => {
            u32::try_from(level).ok().filter(|l| *l <= 9).ok_or_else(|| Error::invalid("gelf: invalid value for gelf-compression-level"))?
        }
        None => 1,
    };
    match options.get("gelf-compression-type").map(String::as_str) {
        None | Some("gzip") => Ok(Compression::Gzip(level)),
        Some("zlib") => Ok(Compression::Zlib(level)),
        Some("none") => Ok(Compression::None),
        Some(other) => Err(Error::invalid(format!("gelf: invalid compression type {other:?}"))),
    }
}

fn number<T: std::str::FromStr>(options: &Options, key: &str) -> Result<Option<T>> {
    let Some(text) = options.get(key) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Error::invalid(format!("invalid value for {key}: {text:?}")))
}

/// Go's durations as far as they are used here: `500ms`, `1s`, `1m30s`, `2h`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[end..];
        total = total.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(driver: &str, pairs: &[(&str, &str)]) -> Result<Shipping> {
        parse(driver, &pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()).map(Option::unwrap)
    }

    #[test]
    fn addresses() {
        let to = |driver: &str, key: &str, text: &str| ask(driver, &[(key, text)]).map(|s| s.to.to_string());
        for (driver, key, text, is) in [
            ("syslog", "syslog-address", "udp://10.0.0.1", "udp://10.0.0.1:514"),
            ("syslog", "syslog-address", "tcp://logs.example.org:6514", "tcp://logs.example.org:6514"),
            ("syslog", "syslog-address", "unix:///run/x/../log", "unix:///run/log"),
            ("syslog", "syslog-address", "unixgram:///dev/log", "unixgram:///dev/log"),
            ("gelf", "gelf-address", "udp://[2001:db8::1]", "udp://[2001:db8::1]:12201"),
            ("fluentd", "fluentd-address", "fluent:24225", "tcp://fluent:24225"),
            ("fluentd", "fluentd-address", "10.0.0.9", "tcp://10.0.0.9:24224"),
        ] {
            assert_eq!(to(driver, key, text).unwrap(), is);
            assert_eq!(destination(is).unwrap().to_string(), is, "a grant says the same");
        }
        assert_eq!(ask("syslog", &[]).unwrap().to, Address::Unix("/dev/log".into()));
        assert_eq!(ask("fluentd", &[]).unwrap().to.to_string(), "tcp://127.0.0.1:24224");
        for (driver, key, text) in [
            ("syslog", "syslog-address", "http://x"),
            ("syslog", "syslog-address", "unix://relative"),
            ("syslog", "syslog-address", "udp://a b"),
            ("gelf", "gelf-address", "unix:///x"),
            ("gelf", "gelf-address", "udp://h:99999"),
            ("fluentd", "fluentd-address", "udp://h"),
            ("fluentd", "fluentd-address", "h:0"),
            ("fluentd", "fluentd-address", "[::1"),
        ] {
            assert_eq!(to(driver, key, text).unwrap_err().kind(), crate::Kind::Invalid, "{text}");
        }
    }

    #[test]
    fn options() {
        let syslog = ask("syslog", &[("syslog-facility", "local3"), ("syslog-format", "rfc5424micro"), ("tag", "x")]).unwrap();
        assert_eq!(syslog.protocol, Protocol::Syslog { facility: 19, format: SyslogFormat::Rfc5424Micro });
        assert_eq!(syslog.tag, "x");
        let gelf = ask("gelf", &[("gelf-address", "udp://h"), ("gelf-compression-type", "zlib"), ("gelf-compression-level", "9")]).unwrap();
        assert_eq!(gelf.protocol, Protocol::Gelf { compression: Compression::Zlib(9) });
        let fluentd = ask(
            "fluentd",
            &[
                ("fluentd-async", "true"),
                ("fluentd-request-ack", "1"),
                ("fluentd-retry-wait", "1m30s"),
                ("mode", "non-blocking"),
                ("cache-disabled", "true"),
            ],
        )
        .unwrap();
        assert!(fluentd.lazy);
        assert_eq!(fluentd.protocol, Protocol::Fluentd { sub_second: false, acknowledged: true });
        for (driver, pairs, error) in [
            ("syslog", &[("syslog-facility", "nosuch")][..], "invalid syslog facility"),
            ("syslog", &[("syslog-facility", "24")], "invalid syslog facility"),
            ("syslog", &[("syslog-format", "x")], "Invalid syslog format"),
            ("syslog", &[("foo", "x")], "unknown log opt 'foo' for syslog log driver"),
            ("journald", &[("syslog-format", "rfc5424")], "unknown log opt 'syslog-format' for journald log driver"),
            ("gelf", &[], "gelf: gelf-address is required"),
            ("gelf", &[("gelf-address", "tcp://h"), ("gelf-compression-type", "gzip")], "compression options are only supported on UDP"),
            ("fluentd", &[("fluentd-retry-wait", "soon")], r#"invalid value for fluentd-retry-wait: "soon""#),
        ] {
            assert_eq!(ask(driver, pairs).unwrap_err().to_string(), error);
        }
        assert_eq!(ask("syslog", &[("syslog-address", "tcp+tls://h:6514")]).unwrap_err().kind(), crate::Kind::Unsupported);
        assert!(parse("awslogs", &Options::new()).unwrap().is_none());
    }
}
