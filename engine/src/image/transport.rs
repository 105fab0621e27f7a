//! How registries are reached: which may be asked over http, which redirects are followed, how long anything may take.

use crate::image::ImagesConfig;
use crate::{Doing, Error, Kind, Result};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// A registry that says nothing for so long has hung.
const SILENCE: Duration = Duration::from_secs(30);
/// To open a connection.
const CONNECT: Duration = Duration::from_secs(15);

/// Clients for registries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ImagesConfig,
    networks: Vec<(IpAddr, u8)>,
    strict: OnceLock<Client>,
    lax: OnceLock<Client>,
    /// Base URLs of insecure registries, found out once.
    schemes: Mutex<HashMap<String, String>>,
}

/// A registry's base URL and how to talk to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `https://host[:port]`, no slash at the end.
    pub base: String,
    /// The client.
    pub client: Client,
    /// Whether it is a mirror, which gets no credentials.
    pub mirror: bool,
}

impl Transport {
    /// Checks the options.
    ///
    /// # Errors
    /// `Invalid` for a network or mirror URL that is none.
    pub fn new(config: &ImagesConfig) -> Result<Self> {
        // Ours or the server's, whoever is first: both are ring.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut networks = Vec::new();
        for entry in &config.insecure_registries {
            if let Some((address, bits)) = entry.split_once('/') {
                let parsed = address.parse::<IpAddr>().ok().zip(bits.parse::<u8>().ok());
                let good = parsed.filter(|(a, b)| *b <= if a.is_ipv4() { 32 } else { 128 });
                networks.push(good.ok_or_else(|| Error::invalid(format!("insecure registry {entry:?} is no network")))?);
            } else if entry.contains("://") || entry.is_empty() {
                return Err(Error::invalid(format!("insecure registry {entry:?}: expected HOST[:PORT] or a network")));
            }
        }
        for mirror in &config.mirrors {
            let url = Url::parse(mirror).map_err(|e| Error::invalid(format!("registry mirror {mirror:?}: {e}")))?;
            if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || !matches!(url.path(), "" | "/") {
                return Err(Error::invalid(format!("registry mirror {mirror:?}: expected http(s)://HOST[:PORT]")));
            }
        }
        let inner = Inner { config: config.clone(), networks, strict: OnceLock::new(), lax: OnceLock::new(), schemes: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where to ask for images of `domain`, in this order.
    pub async fn endpoints(&self, domain: &str) -> Result<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        if domain == "docker.io" {
            for mirror in &self.inner.config.mirrors {
                endpoints.push(Endpoint { base: mirror.trim_end_matches('/').to_owned(), client: self.strict()?, mirror: true });
            }
            let base = "https://registry-1.docker.io".to_owned();
            endpoints.push(Endpoint { base, client: self.strict()?, mirror: false });
            return Ok(endpoints);
        }
        endpoints.push(self.endpoint(domain).await?);
        Ok(endpoints)
    }

    /// The registry itself.
    pub async fn endpoint(&self, domain: &str) -> Result<Endpoint> {
        if domain == "docker.io" {
            return Ok(Endpoint { base: "https://registry-1.docker.io".to_owned(), client: self.strict()?, mirror: false });
        }
        if !self.is_insecure(domain) {
            return Ok(Endpoint { base: format!("https://{domain}"), client: self.strict()?, mirror: false });
        }
        let client = self.lax()?;
        let known = self.schemes().get(domain).cloned();
        let base = match known {
            Some(base) => base,
            None => {
                // Which of the two it speaks, asked without credentials. Only here, where the administrator allowed http (or
                // the bytes never leave this host), may http follow https (CVE-2014-5277).
                let https = format!("https://{domain}");
                let answers = client.get(format!("{https}/v2/")).timeout(Duration::from_secs(5)).send().await.is_ok();
                if answers {
                    self.schemes().insert(domain.to_owned(), https.clone());
                    https
                } else {
                    // Not remembered unless it answers: it may only be starting.
                    let http = format!("http://{domain}");
                    if client.get(format!("{http}/v2/")).timeout(Duration::from_secs(5)).send().await.is_ok() {
                        self.schemes().insert(domain.to_owned(), http.clone());
                    }
                    http
                }
            }
        };
        Ok(Endpoint { base, client, mirror: false })
    }

    fn schemes(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.inner.schemes.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Hosts that may hand out tokens for registries of another domain.
    pub fn token_hosts(&self) -> &[String] {
        &self.inner.config.token_hosts
    }

    /// Whether http and unverified certificates are allowed: loopback, and what the administrator named.
    pub fn is_insecure(&self, domain: &str) -> bool {
        let host = host_of(domain);
        if host == "localhost" || host.ends_with(".localhost") {
            return true;
        }
        if self.inner.config.insecure_registries.iter().any(|r| r == domain || r == host) {
            return true;
        }
        let Ok(address) = host.parse::<IpAddr>() else { return false };
        address.is_loopback() || self.inner.networks.iter().any(|(network, bits)| contains(*network, *bits, address))
    }

    fn strict(&self) -> Result<Client> {
        cached(&self.inner.strict, false)
    }

    fn lax(&self) -> Result<Client> {
        cached(&self.inner.lax, true)
    }
}

fn cached(slot: &OnceLock<Client>, insecure: bool) -> Result<Client> {
    if let Some(client) = slot.get() {
        return Ok(client.clone());
    }
    let client = Client::builder()
        .user_agent(concat!("wharf/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .redirect(Policy::custom(|attempt| match may_follow(attempt.previous(), attempt.url()) {
            Ok(()) => attempt.follow(),
            Err(why) => attempt.error(why),
        }))
        .danger_accept_invalid_certs(insecure)
        .build()
        .doing(|| "preparing the registry client".to_owned())?;
    Ok(slot.get_or_init(|| client).clone())
}

/// Redirects lead to blob stores. They never lead from https to http, nor from elsewhere into this host or its metadata
/// service. (Credentials are dropped by the client when the host changes.)
fn may_follow(previous: &[Url], to: &Url) -> Result<(), String> {
    let Some(from) = previous.last() else { return Ok(()) };
    if previous.len() > 5 {
        return Err("too many redirects".to_owned());
    }
    if from.scheme() == "https" && to.scheme() != "https" {
        return Err(format!("the registry redirects from https to {}", to.scheme()));
    }
    let internal = |url: &Url| {
        let host = url.host_str().unwrap_or("").trim_matches(['[', ']']).to_owned();
        host == "localhost" || host.parse().is_ok_and(crate::network::reach::is_hosts)
    };
    if internal(to) && !internal(from) {
        return Err(format!("the registry redirects to {}", to.host_str().unwrap_or("")));
    }
    Ok(())
}

/// The host of `host[:port]` or `[v6][:port]`.
pub fn host_of(domain: &str) -> &str {
    match domain.strip_prefix('[') {
        Some(tail) => tail.split(']').next().unwrap_or(tail),
        None => domain.rsplit_once(':').map_or(domain, |(host, _)| host),
    }
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let shift = |width: u32| width - u32::from(bits);
    match (network, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) => (n.to_bits() ^ a.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0,
        (IpAddr::V6(n), IpAddr::V6(a)) => (n.to_bits() ^ a.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0,
        _ => false,
    }
}

/// A failed conversation as Docker would say it.
pub fn failed(url: &str, e: reqwest::Error) -> Error {
    Error::new(Kind::Unavailable, format!("Get \"{url}\": {}", crate::error::last_cause(&e))).because(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_named_registries_are_insecure() {
        let config = ImagesConfig { insecure_registries: vec!["reg.lan:5000".into(), "10.1.0.0/16".into()], ..Default::default() };
        let t = Transport::new(&config).unwrap();
        for yes in ["localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5000", "reg.lan:5000", "10.1.2.3:80"] {
            assert!(t.is_insecure(yes), "{yes}");
        }
        for no in ["docker.io", "reg.lan", "reg.lan:5001", "10.2.0.1", "localhost.evil.com", "127.0.0.1.evil.com"] {
            assert!(!t.is_insecure(no), "{no}");
        }
        for bad in ["10.0.0.0/33", "http://x", "x/y"] {
            assert!(Transport::new(&ImagesConfig { insecure_registries: vec![bad.into()], ..Default::default() }).is_err(), "{bad}");
        }
        assert!(Transport::new(&ImagesConfig { mirrors: vec!["localhost:5000".into()], ..Default::default() }).is_err());
    }

    #[test]
    fn sec_h2_h4_redirects_neither_leave_tls_nor_enter_the_host() {
        let u = |s: &str| Url::parse(s).unwrap();
        let r = |from: &str, to: &str| may_follow(&[u(from)], &u(to));
        assert!(r("https://a.com/", "https://cdn.b.com/").is_ok());
        assert!(r("https://a.com/", "http://a.com/").is_err());
        assert!(r("https://a.com/", "https://127.0.0.1/").is_err());
        assert!(r("http://10.0.0.1/", "http://169.254.169.254/").is_err());
        assert!(r("http://10.0.0.1/", "http://[::1]/").is_err());
        assert!(r("http://localhost:1/", "http://127.0.0.1:2/").is_ok());
    }
}
