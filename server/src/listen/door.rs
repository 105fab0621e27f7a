//! HTTPS as the configuration wants it, but on loopback only until an administrator exists: whoever is first to find an open
//! port must not become the administrator.

use super::connection::Serving;
use super::https::Https;
use crate::auth::accounts::Accounts;
use engine::Result;
use rustls::ServerConfig;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Binds one address and serves it. Returns where it listens now.
///
/// # Errors
/// When the address cannot be bound.
pub async fn open(wanted: SocketAddr, tls: Arc<ServerConfig>, accounts: Accounts, serving: Serving) -> Result<SocketAddr> {
    let connections = serving.connections.clone();
    if wanted.ip().is_loopback() || accounts.is_set_up() {
        let https = Https::bind(wanted, tls).await?;
        let address = https.address()?;
        let until = serving.stop.clone();
        connections.spawn(https.serve(serving, until));
        return Ok(address);
    }
    let loopback = match wanted.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let first = Https::bind(SocketAddr::new(loopback, wanted.port()), tls.clone()).await?;
    let address = first.address()?;
    connections.spawn(async move {
        let until = serving.stop.child_token();
        let mut changes = accounts.changes();
        let listening = tokio::spawn(first.serve(serving.clone(), until.clone()));
        while !accounts.is_set_up() {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = serving.stop.cancelled() => return,
            }
        }
        // Set-up's own answer goes out on its connection, which lives on.
        until.cancel();
        let _ = listening.await;
        let wanted = SocketAddr::new(wanted.ip(), address.port());
        loop {
            match Https::bind(wanted, tls.clone()).await {
                Ok(https) => {
                    tracing::info!(address = %wanted, "an administrator exists: HTTPS is open as configured");
                    let until = serving.stop.clone();
                    return https.serve(serving, until).await;
                }
                Err(e) => tracing::error!(error = ?e, "HTTPS could not be opened as configured; trying again in 10 s"),
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(10)) => {}
                () = serving.stop.cancelled() => return,
            }
        }
    });
    Ok(address)
}
