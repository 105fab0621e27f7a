//! Files that builds fetch from the web: `ADD https://…`, and a context that is a URL. The server fetches them, and it stands where
//! tenants do not: beside this host's own services, its cloud's metadata and everybody's containers. So for a tenant only addresses
//! of the public internet are asked, checked after the name was resolved and again for each redirect; the administrator's own
//! tenant, who can reach all of it anyhow, is not held back. What comes is written to a file and never looked at here.

use super::builds::make_folder;
use super::tell::{Teller, cancelled};
use crate::engine::Engine;
use crate::grant::Grants;
use crate::network::Reach;
use crate::{Doing, Error, Kind, Result, Subject};
use futures_util::StreamExt;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use sha2::Digest as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;

/// To open a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// A server that says nothing for so long has hung.
const SILENCE: Duration = Duration::from_secs(30);
/// Redirects that are followed; browsers follow 20, honest downloads need two or three.
const REDIRECTS: usize = 10;
/// Bytes of one file. Whoever needs more sends it with the context.
const SIZE_MAX: u64 = 8 * 1024 * 1024 * 1024;

/// A file that was fetched.
pub(super) struct Fetched {
    /// Its name in the folder: the last part of the URL's path.
    pub name: String,
    /// SHA-256 of its content.
    pub digest: crate::Digest,
}

/// Whether a word of an ADD is an `http(s)` URL, and not a git repository's.
pub(super) fn is_web(source: &str) -> bool {
    let lower = source.to_ascii_lowercase();
    let path = lower.split(['?', '#']).next().unwrap_or_default();
    (lower.starts_with("http://") || lower.starts_with("https://")) && !path.ends_with(".git")
}

/// Whether an address is one of the public internet, where asking gives a tenant nothing that it has not anyway. This host's own
/// addresses, its cloud's and other tenants' may be public ones too, and are not asked either.
fn is_public(address: IpAddr, reach: &Reach) -> bool {
    let address = end_of(address);
    reach.inside(address).is_none()
        && match address {
            IpAddr::V4(a) => {
                let [first, second, third, _] = a.octets();
                !(a.is_private()
                    || a.is_documentation()
                    || first >= 240
                    // Carriers' own (RFC 6598), protocol assignments (RFC 6890), benchmarks (RFC 2544).
                    || (first == 100 && (second & 0xc0) == 64)
                    || (first == 192 && second == 0 && third == 0)
                    || (first == 198 && (second & 0xfe) == 18))
            }
            IpAddr::V6(a) => {
                // Global unicast is 2000::/3; documentation and Teredo lie within.
                let s = a.segments();
                (s[0] & 0xe000) == 0x2000 && !(s[0] == 0x2001 && matches!(s[1], 0 | 0xdb8))
            }
        }
}

/// Where a packet ends: NAT64 and 6to4 addresses have an IPv4 one inside, as mapped ones do.
fn end_of(address: IpAddr) -> IpAddr {
    let IpAddr::V6(a) = address.to_canonical() else { return address.to_canonical() };
    match a.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, _, _, _, _, _] => {
            Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)).into()
        }
        _ => address,
    }
}

/// A host that is not asked.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not an address of the public internet: the server fetches nothing from inside for a tenant", self.0)
    }
}

impl std::error::Error for Refused {}

/// Names to addresses, of which those inside are left out.
struct PublicOnly(Arc<Reach>);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let all: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> = all.iter().copied().filter(|a| is_public(a.ip(), &reach)).collect();
            if public.is_empty() && !all.is_empty() {
                return Err(Refused(host).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// An address that is written in a URL is not resolved, so it is judged here.
fn judge(url: &Url, reach: &Reach) -> Result<(), Refused> {
    let host = url.host_str().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) if !is_public(address, reach) => Err(Refused(host.to_owned())),
        _ => Ok(()),
    }
}

/// `within`: what it may not lead to; `None`: it may lead anywhere.
fn client(within: Option<Arc<Reach>>) -> Result<reqwest::Client> {
    // Ours or the server's, whoever is first: both are ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirected = within.clone();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("wharf/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .redirect(reqwest::redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTS {
                return attempt.error("too many redirects");
            }
            match redirected.as_deref().map_or(Ok(()), |reach| judge(attempt.url(), reach)) {
                Err(why) => attempt.error(why),
                Ok(()) => attempt.follow(),
            }
        }));
    if let Some(reach) = within {
        // A proxy would resolve the name itself, and stands inside.
        builder = builder.no_proxy().dns_resolver(PublicOnly(reach));
    }
    builder.build().doing(|| "preparing a download".to_owned())
}

impl Engine {
    /// Fetches a URL into a new folder of the tenant's. As with Docker, the file is readable by its owner alone, and is as old as
    /// the server says, else as old as the epoch: the same bytes make the same layer.
    ///
    /// # Errors
    /// `Invalid` for what is no URL, `Forbidden` for an address that is not public, `Unavailable` when it cannot be had.
    pub(super) async fn fetch(&self, who: &Subject, text: &str, folder: &Path, tell: &Teller) -> Result<Fetched> {
        let base = self.block(who.tenant)?.base;
        let url = Url::parse(text).map_err(|e| Error::invalid(format!("invalid URL {text}: {e}")))?;
        let within = match self.tenants().standing(who)?.grants {
            Grants::All => None,
            _ => Some(Arc::new(self.networks_handle().reach(who.tenant))),
        };
        if let Some(reach) = &within {
            judge(&url, reach).map_err(|why| Error::forbidden(why.to_string()))?;
        }
        make_folder(folder, base, 0o755)?;
        let name = file_name(&url);
        let path = folder.join(&name);
        let digest = tokio::select! {
            done = download(client(within)?, url, &path) => done?,
            () = tell.cancel.cancelled() => return Err(cancelled()),
        };
        let doing = || format!("writing {}", path.display());
        chown(&path, Some(base), Some(base)).doing(doing)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).doing(doing)?;
        Ok(Fetched { name, digest })
    }
}

/// The last part of the URL's path; `download` where there is none.
fn file_name(url: &Url) -> String {
    let last = url.path_segments().and_then(|mut s| s.next_back()).unwrap_or_default();
    // `a%20b` is `a b`; what is no UTF-8 then is no name.
    match percent_encoding::percent_decode_str(last).decode_utf8() {
        Ok(name) if !matches!(&*name, "" | "." | "..") && !name.contains(['/', '\0']) && name.len() <= 255 => name.into_owned(),
        _ => "download".to_owned(),
    }
}

async fn download(client: reqwest::Client, url: Url, path: &Path) -> Result<crate::Digest> {
    let shown = url.to_string();
    let answer = client.get(url).send().await.map_err(|e| failed(&shown, e))?;
    if !answer.status().is_success() {
        return Err(Error::new(Kind::Unavailable, format!("failed to GET {shown} with status {}", answer.status())));
    }
    let too_large = || Error::invalid(format!("{shown} is larger than {SIZE_MAX} bytes"));
    if answer.content_length().is_some_and(|n| n > SIZE_MAX) {
        return Err(too_large());
    }
    let header = answer.headers().get("last-modified").and_then(|v| v.to_str().ok());
    let modified = header.and_then(|text| jiff::fmt::rfc2822::parse(text).ok()).and_then(|t| u64::try_from(t.timestamp().as_second()).ok());
    let doing = || format!("writing {}", path.display());
    let mut file = tokio::fs::File::create_new(path).await.doing(doing)?;
    let mut hash = sha2::Sha256::new();
    let mut size = 0u64;
    let mut body = answer.bytes_stream();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|e| failed(&shown, e))?;
        size += bytes.len() as u64;
        if size > SIZE_MAX {
            return Err(too_large());
        }
        hash.update(&bytes);
        file.write_all(&bytes).await.doing(doing)?;
    }
    file.flush().await.doing(doing)?;
    let file = file.into_std().await;
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(modified.unwrap_or(0))).doing(doing)?;
    format!("sha256:{}", hex::encode(hash.finalize())).parse()
}

/// A failed download in the words of its last cause; a refused address is the policy's.
fn failed(url: &str, e: reqwest::Error) -> Error {
    let last = crate::error::last_cause(&e);
    let kind = if last.is::<Refused>() { Kind::Forbidden } else { Kind::Unavailable };
    Error::new(kind, format!("Get \"{url}\": {last}")).because(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Reach {
        Reach::new(vec!["9.9.5.0/24".parse().unwrap()])
    }

    #[test]
    fn only_the_public_internet_is_public() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.30.0.5",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "ff02::1",
            // A cloud's host, and another tenant's network on a public subnet.
            "168.63.129.16",
            "64:ff9b::a83f:8110",
            "9.9.5.7",
        ] {
            assert!(!is_public(inside.parse().unwrap(), &here()), "{inside}");
        }
        for outside in ["1.1.1.1", "151.101.2.132", "2606:4700::1111", "64:ff9b::101:101", "192.0.66.2"] {
            assert!(is_public(outside.parse().unwrap(), &here()), "{outside}");
        }
    }

    #[test]
    fn addresses_in_urls_are_judged_however_they_are_written() {
        // The URL standard reads 2130706433 and 0x7f.1 as 127.0.0.1.
        for url in ["http://127.0.0.1/x", "http://2130706433/", "http://0x7f.1/", "http://[::1]:80/", "http://[::ffff:10.0.0.1]/"] {
            assert!(judge(&Url::parse(url).unwrap(), &here()).is_err(), "{url}");
        }
        assert!(judge(&Url::parse("https://example.org/a").unwrap(), &here()).is_ok());
    }

    #[test]
    fn names_are_the_last_part_of_the_path() {
        let name = |url: &str| file_name(&Url::parse(url).unwrap());
        assert_eq!(name("http://h/a/b.tar.gz?x=1"), "b.tar.gz");
        assert_eq!(name("http://h/a%20b"), "a b");
        for none in ["http://h/", "http://h", "http://h/a%2Fb", "http://h/%2e%2e"] {
            assert_eq!(name(none), "download", "{none}");
        }
        assert!(is_web("https://h/x.tar") && is_web("HTTP://h/x") && !is_web("https://h/x.git#main") && !is_web("git@h:x"));
    }
}
