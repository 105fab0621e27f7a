//! The built-in certificate authority: signs this server's certificate for the host's names and addresses, and client
//! certificates for people. Its key never leaves `<data root>/tls` (0700, key 0600).

use engine::{Digest, Doing, Error, Kind, Result};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{File, Permissions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The authority lives as long as a host does.
const CA_YEARS: i64 = 20;
/// Browsers refuse longer ones (397 days).
const SERVER_LIFETIME: SignedDuration = SignedDuration::from_hours(397 * 24);
/// The server's certificate is made anew at each start, and again when half of its life is over.
pub const SERVER_RENEW: SignedDuration = SignedDuration::from_hours(200 * 24);
/// Client certificates.
pub const CLIENT_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Clocks differ: what we sign is valid since a day ago.
const SKEW: SignedDuration = SignedDuration::from_hours(24);

/// The authority.
pub struct Ca {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate somebody gets, with its key: shown once, never stored.
pub struct Issued {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its key, PEM.
    pub key_pem: String,
    /// SHA-256 of the DER.
    pub fingerprint: Digest,
    /// When it ends.
    pub expires: Timestamp,
}

impl Ca {
    /// Opens the authority in `folder`, or makes it.
    ///
    /// # Errors
    /// When the folder cannot be written, or what lies there does not fit together.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self> {
        std::fs::create_dir_all(folder).doing(|| format!("making {}", folder.display()))?;
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).doing(|| format!("closing {} to others", folder.display()))?;
        let (key_path, cert_path) = (folder.join("ca.key"), folder.join("ca.pem"));
        let fresh = !key_path.exists();
        if fresh {
            let key = KeyPair::generate().map_err(|e| tls("making the authority's key", e))?;
            // The certificate first: a key without certificate would be taken for an authority.
            let certificate = ca_params(&key, now)?.self_signed(&key).map_err(|e| tls("signing the authority", e))?;
            write_new(&cert_path, certificate.pem().as_bytes(), 0o644)?;
            write_new(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
        }
        let read = |path: &Path| std::fs::read_to_string(path).doing(|| format!("reading {}", path.display()));
        let (key, pem) = (read(&key_path)?, read(&cert_path)?);
        let key = KeyPair::from_pem(&key).map_err(|e| tls("reading the authority's key", e))?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| tls("reading the authority's certificate", e))?;
        let issuer = Issuer::new(ca_params(&key, now)?, key);
        Ok(Self { certificate, pem, issuer })
    }

    /// The authority's certificate, for clients to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The same in DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of the certificate, as people compare it.
    pub fn fingerprint(&self) -> String {
        let hex = Digest::of(&self.certificate).hex().to_uppercase();
        hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair)).collect::<Vec<_>>().join(":")
    }

    /// A certificate for this server under these names and addresses.
    ///
    /// # Errors
    /// When a name is no DNS name.
    pub fn server(&self, names: &[String], now: Timestamp) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let mut params = CertificateParams::new(names.to_vec()).map_err(|e| tls("naming the server's certificate", e))?;
        let common = names.first().map_or("wharf", String::as_str);
        subject(&mut params, common, "Wharf server");
        life(&mut params, now, SERVER_LIFETIME)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(|e| tls("making the server's key", e))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|e| tls("signing the server's certificate", e))?;
        let key =
            PrivateKeyDer::try_from(key.serialize_der()).map_err(|e| Error::new(Kind::Internal, format!("the server's new key: {e}")))?;
        Ok((vec![certificate.der().clone(), self.certificate.clone()], key))
    }

    /// A client certificate. What it is worth stands in the table `certificates`, not in its text: the names are for people.
    ///
    /// # Errors
    /// When signing fails.
    pub fn client(&self, user: &str, tenant: &str, now: Timestamp) -> Result<Issued> {
        let mut params = CertificateParams::default();
        subject(&mut params, user, tenant);
        life(&mut params, now, CLIENT_LIFETIME)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(|e| tls("making a client's key", e))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|e| tls("signing a client's certificate", e))?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            fingerprint: Digest::of(certificate.der()),
            expires: now + CLIENT_LIFETIME,
        })
    }
}

/// The names and addresses this host answers to: its own name, localhost, and every address of its interfaces.
pub fn host_names(more: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(name) = nix::unistd::gethostname()
        && let Ok(name) = name.into_string()
    {
        names.push(name);
    }
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    // Without the list of interfaces the certificate still holds for the names above.
    for interface in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let Some(address) = interface.address else { continue };
        let ip: Option<IpAddr> = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => Some(v4.ip().into()),
            (_, Some(v6)) if !v6.ip().is_unicast_link_local() => Some(v6.ip().into()),
            _ => None,
        };
        names.extend(ip.map(|ip| ip.to_string()));
    }
    names.extend(more.iter().cloned());
    let mut seen = std::collections::HashSet::new();
    // What is no DNS name (an underscore in the host's name is legal there) must not keep the server from starting.
    names.retain(|n| seen.insert(n.clone()) && (n.parse::<IpAddr>().is_ok() || is_dns_name(n)));
    names
}

/// Letters, digits and dashes between dots; a star may stand for the first label (RFC 5280, RFC 6125).
fn is_dns_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.len() <= 253 && rest.split('.').all(label)
}

/// The authority's own parameters: the same each time but for the dates, which a signature does not copy.
fn ca_params(key: &KeyPair, now: Timestamp) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    // The key's fingerprint in the name: two authorities of two data roots do not look alike to a browser's store.
    let id = Digest::of(key.public_key_raw()).hex();
    subject(&mut params, &format!("Wharf authority {}", &id[..8]), "Wharf");
    life(&mut params, now, SignedDuration::from_hours(CA_YEARS * 365 * 24))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn subject(params: &mut CertificateParams, common: &str, organisation: &str) {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name.push(DnType::OrganizationName, organisation);
    params.distinguished_name = name;
}

/// Whole days: X.509 has seconds, rcgen's constructor that needs no further crate has days.
fn life(params: &mut CertificateParams, now: Timestamp, lifetime: SignedDuration) -> Result<()> {
    let day = |at: Timestamp| -> Result<_> {
        let date = at.to_zoned_datetime(TimeZone::UTC).date();
        let part = |n: i8| u8::try_from(n).doing(|| "reading the clock".to_owned());
        Ok(rcgen::date_time_ymd(i32::from(date.year()), part(date.month())?, part(date.day())?))
    };
    params.not_before = day(now - SKEW)?;
    params.not_after = day(now + lifetime + SKEW)?;
    Ok(())
}

/// Writes a whole new file or nothing: temporary name, fsync, rename.
fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let temporary = path.with_extension("new");
    let doing = || format!("writing {}", path.display());
    let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&temporary).doing(doing)?;
    file.write_all(content).doing(doing)?;
    file.sync_all().doing(doing)?;
    std::fs::rename(&temporary, path).doing(doing)
}

fn tls(doing: &str, e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal(format!("{doing}: {e}"), e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_stays_the_same_and_its_key_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tls");
        let first = Ca::open(&folder, Timestamp::now()).unwrap();
        let second = Ca::open(&folder, Timestamp::now() + SignedDuration::from_hours(48)).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert_eq!(std::fs::metadata(folder.join("ca.key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn host_names_are_names_a_certificate_can_hold() {
        let names = host_names(&["not a name".into(), "wharf.example".into()]);
        assert!(names.contains(&"127.0.0.1".into()) && names.contains(&"wharf.example".into()), "{names:?}");
        assert!(!names.contains(&"not a name".into()));
    }
}
