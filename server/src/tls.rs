//! TLS: our certificate (the built-in CA's or the administrator's own), client certificates optional, ring as provider.

use crate::ca::Ca;
use engine::{Doing, Error, Kind, Result};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

/// Where our certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Our own CA, for these names.
    OwnCa(Vec<String>),
    /// The administrator's files, PEM.
    Files {
        /// The chain, ours first.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

/// The current certificate, exchangeable while connections come in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Identity(Arc<RwLock<Arc<CertifiedKey>>>);

impl Identity {
    /// Loads it.
    ///
    /// # Errors
    /// When files cannot be read or key and certificate do not fit.
    pub fn load(ca: &Ca, source: &Source, now: Timestamp) -> Result<Self> {
        Ok(Self(Arc::new(RwLock::new(certified(ca, source, now)?))))
    }

    /// Loads it anew: SIGHUP and renewal. On error the old one stays.
    ///
    /// # Errors
    /// As `load`.
    pub fn reload(&self, ca: &Ca, source: &Source, now: Timestamp) -> Result<()> {
        let new = certified(ca, source, now)?;
        *self.0.write().unwrap_or_else(|e| e.into_inner()) = new;
        Ok(())
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(|e| e.into_inner()).clone())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certified(ca: &Ca, source: &Source, now: Timestamp) -> Result<Arc<CertifiedKey>> {
    let (chain, key) = match source {
        Source::OwnCa(names) => ca.server(names, now)?,
        Source::Files { certificate, key } => (chain_of(certificate)?, key_of(key)?),
    };
    let key = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|e| Error::invalid(format!("the TLS certificate and key do not fit together: {e}")))?;
    Ok(Arc::new(key))
}

fn chain_of(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    let chain: Vec<_> = read.doing(|| format!("reading the certificate {}", path.display()))?;
    if chain.is_empty() { Err(Error::invalid(format!("{} holds no certificate", path.display()))) } else { Ok(chain) }
}

fn key_of(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).doing(|| format!("reading the key {}", path.display()))
}

/// The configuration of the listener. A client certificate is asked for and never required: one our CA did not sign ends the
/// handshake, none at all goes on to tokens and sessions.
///
/// # Errors
/// When the CA's own certificate is not usable.
pub fn server_config(ca: &Ca, identity: Identity) -> Result<Arc<ServerConfig>> {
    let fail = |what: &str, e: &dyn std::fmt::Display| Error::new(Kind::Internal, format!("{what}: {e}"));
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).map_err(|e| fail("the authority's certificate", &e))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| fail("checking client certificates", &e))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| fail("choosing TLS versions", &e))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(identity));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
