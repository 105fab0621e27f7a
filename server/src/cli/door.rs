//! The door to our API: the running server's socket, or, when no server runs, the same handlers here on the data root, under
//! its lock.

use crate::api::admin::{self, Desk};
use crate::auth::Peer;
use crate::auth::accounts::Accounts;
use crate::ca::Ca;
use crate::config::{Config, Place, ServeOptions};
use anyhow::{Context, bail};
use axum::body::Body;
use axum::extract::Request;
use engine::audit::Audit;
use engine::inventory::Inventory;
use engine::tenant::Tenants;
use engine::{Instance, Kind};
use http::{Method, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::Value;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::UnixStream;
use tower::ServiceExt;

/// An open door.
pub(super) struct Door {
    way: Way,
}

enum Way {
    Server(UnixStream),
    Here { router: axum::Router, audit: Audit, _instance: Instance },
}

/// An answer that says no: shown as it is.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refused {
    message: String,
}

impl Door {
    /// Opens it.
    pub async fn open(place: &Place) -> anyhow::Result<Self> {
        let config = Config::load(place, ServeOptions::default())?;
        let mut waited = 0;
        loop {
            match UnixStream::connect(&config.socket).await {
                Ok(stream) => return Ok(Self { way: Way::Server(stream) }),
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
                Err(e) => return Err(e).with_context(|| format!("connecting to {}", config.socket.display())),
            }
            if !nix::unistd::geteuid().is_root() {
                bail!("no server answers on {}, and only root may change things without one", config.socket.display());
            }
            match Self::here(&config).await {
                Ok(way) => return Ok(Self { way }),
                // The data root is locked, but its server does not answer yet, or is ending: either changes soon.
                Err(e) if e.kind() == Kind::Conflict && waited < 100 => {
                    waited += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    async fn here(config: &Config) -> engine::Result<Way> {
        let instance = Instance::open(&config.data_root, &config.run_dir)?;
        let inventory = Inventory::open(&instance.data_root().join("wharf.db")).await?;
        let tenants = Tenants::open(&instance, inventory.clone(), config.pool()).await?;
        let audit = Audit::open(inventory.clone());
        let accounts = Accounts::open(inventory, tenants, audit.clone(), false).await?;
        let ca = Ca::open(&instance.data_root().join("tls"), Timestamp::now())?;
        let desk = Desk::new(accounts, ca, config, None)?;
        Ok(Way::Here { router: admin::routes::<Desk>().into_router(desk), audit, _instance: instance })
    }

    /// Asks one thing and gives the answer's JSON; `Null` for an empty answer.
    pub async fn ask(self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let bytes = body.map_or_else(Vec::new, |b| b.to_string().into_bytes());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "wharf")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(bytes))?;
        let (status, bytes) = match self.way {
            Way::Server(stream) => {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
                // Its errors come back from the request as well.
                tokio::spawn(connection);
                let response = sender.send_request(request).await.context("asking the server")?;
                (response.status(), response.into_body().collect().await?.to_bytes())
            }
            Way::Here { router, audit, _instance } => {
                let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
                request.extensions_mut().insert(Peer::Unix { uid, gid });
                let Ok(response) = router.oneshot(request).await;
                let answer = (response.status(), response.into_body().collect().await?.to_bytes());
                audit.close().await;
                answer
            }
        };
        let value: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).context("reading the answer")? };
        if status.is_success() {
            return Ok(value);
        }
        let message = value["message"].as_str().map_or_else(|| format!("the server answered {status}"), str::to_owned);
        Err(Refused { message }.into())
    }
}
