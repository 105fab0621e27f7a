//! HTTPS on TCP.

use super::bounds::Source;
use super::connection::{HEADERS_REMOTE, Serving};
use crate::auth::Peer;
use engine::{Digest, Doing, Result};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A bound port.
pub struct Https {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Https {
    /// Binds.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub async fn bind(address: SocketAddr, config: Arc<ServerConfig>) -> Result<Self> {
        let listener = TcpListener::bind(address).await.doing(|| format!("listening on {address}"))?;
        Ok(Self { listener, acceptor: TlsAcceptor::from(config) })
    }

    /// Where it listens: the port that port 0 became.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().doing(|| "asking for the address we listen on".to_owned())
    }

    /// Accepts until then.
    pub async fn serve(self, serving: Serving, until: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = until.cancelled() => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    tracing::warn!(error = %e, "accepting an HTTPS connection failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(place) = serving.bounds.take(Source::Address(address.ip())) else {
                tracing::warn!(address = %address.ip(), "too many connections: one more was closed");
                continue;
            };
            // Small answers go out at once; nothing is gained by waiting for more on a keystroke's echo. Not worth failing for.
            let _ = stream.set_nodelay(true);
            let (acceptor, serving) = (self.acceptor.clone(), serving.clone());
            let connections = serving.connections.clone();
            connections.spawn(async move {
                let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(e)) => return tracing::debug!(address = %address, error = %e, "a TLS handshake failed"),
                    Err(_) => return tracing::debug!(address = %address, "a TLS handshake took too long"),
                };
                let certificate = stream.get_ref().1.peer_certificates().and_then(|c| c.first()).map(|c| Digest::of(c));
                serving.connection(stream, Peer::Tcp { address, certificate }, HEADERS_REMOTE).await;
                drop(place);
            });
        }
    }
}
