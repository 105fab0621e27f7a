//! `wharf serve`: from arguments to a running server, and to its orderly end.

use crate::api::admin::reachable;
use crate::app::{self, App};
use crate::auth::accounts::Accounts;
use crate::ca::{self, Ca};
use crate::config::{Config, Place, ServeOptions};
use crate::listen::unix::{Socket, Speaks};
use crate::listen::{Serving, door, tenants};
use crate::telemetry;
use crate::tls::{self, Identity, Source};
use anyhow::{Context, bail};
use axum::Router;
use axum::extract::Request;
use engine::runtime::Spawner;
use engine::{Engine, EngineConfig};
use jiff::Timestamp;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long running requests may take to end when the server is told to. Followers of logs and shells are cut then; the
/// containers go on.
const DRAIN: Duration = Duration::from_secs(8);
/// How often last uses are written and ended sessions forgotten.
const SETTLE: Duration = Duration::from_secs(60);

/// Runs the server until a signal ends it.
pub(super) fn run(place: &Place, options: ServeOptions) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "failpoints")]
    engine::arm_failpoints();
    let config = Config::load(place, options)?;
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "`wharf serve` needs root: it makes namespaces, mounts and cgroups for all users. Run it with sudo, or as a systemd unit (`wharf doctor --unit`)"
        );
    }
    // What we make is ours alone unless said otherwise.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    // Before any thread: the spawner forks.
    let spawner = Spawner::start().context("starting the spawner")?;
    telemetry::start(&config.log)?;
    // One provider for everything in this process, the registry client included.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let done = runtime.block_on(serve(config, spawner));
    // What is to last was written by `serve`; blocking work still under way (a password being hashed) is not waited for.
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

async fn serve(config: Config, spawner: Spawner) -> anyhow::Result<()> {
    let engine = Engine::open(
        EngineConfig {
            data_root: config.data_root.clone(),
            run_dir: config.run_dir.clone(),
            insecure_registries: config.insecure_registries.clone(),
            registry_mirrors: config.registry_mirrors.clone(),
            token_hosts: config.token_hosts.clone(),
            trash: config.trash,
            uid_pool: config.pool(),
            zygotes: config.zygotes,
            kept_logs: config.kept_logs(),
            address_pools: config.address_pools.clone(),
        },
        spawner,
    )
    .await?;
    // To reach the sockets in it; what else lies there is closed by its own mode.
    std::fs::set_permissions(&config.run_dir, Permissions::from_mode(0o711)).context("opening the run dir's sockets to users")?;

    let now = Timestamp::now();
    let ca = Ca::open(&engine.instance().data_root().join("tls"), now)?;
    let source = match &config.tls_files {
        Some((certificate, key)) => Source::Files { certificate: certificate.clone(), key: key.clone() },
        None => Source::OwnCa(ca::host_names(&config.tls_names)),
    };
    let identity = Identity::load(&ca, &source, now)?;
    let tls = tls::server_config(&ca, identity.clone())?;
    let ca_fingerprint = ca.fingerprint();
    let accounts = app::accounts(&engine, &config).await?;

    // Ports are bound before the application exists, for it needs to know them: requests wait until it does.
    let ready: Arc<OnceLock<Router>> = Arc::default();
    let serving = Serving::new(until_ready(ready.clone()), CancellationToken::new());
    let mut addresses = Vec::new();
    for wanted in &config.listen {
        addresses.push(
            door::open(*wanted, tls.clone(), accounts.clone(), serving.clone())
                .await
                .with_context(|| format!("HTTPS on {wanted}: choose another address with --listen, or none with `--listen none`"))?,
        );
    }
    let socket = Socket::bind(&config.socket)?;
    let app = App::new(engine.clone(), accounts.clone(), ca, config.clone(), addresses.first().copied())?;
    let ca = app.desk.ca.clone();
    let router = app::routes().into_router(app).layer(axum::middleware::from_fn(telemetry::access));
    // Nobody else sets it.
    let _ = ready.set(router);
    tenants::keep(&config.run_dir, accounts.clone(), serving.clone()).await?;
    serving.connections.spawn(socket.serve(Speaks::ForAccount, serving.clone(), serving.stop.clone()));
    announce(&config, &addresses, &accounts, &ca_fingerprint)?;
    notify("READY=1");

    until_told(&accounts, || identity.reload(&ca, &source, Timestamp::now())).await?;

    notify("STOPPING=1");
    serving.stop.cancel();
    serving.connections.close();
    if tokio::time::timeout(DRAIN, serving.connections.wait()).await.is_err() {
        tracing::info!(connections = serving.connections.len(), "some connections did not end in time and are cut");
    }
    if let Err(e) = accounts.settle(Timestamp::now()).await {
        tracing::error!(error = ?e, "writing the last uses of credentials failed");
    }
    engine.close().await;
    Ok(())
}

/// Requests of the moment between bind and readiness.
fn until_ready(ready: Arc<OnceLock<Router>>) -> Router {
    Router::new().fallback(move |request: Request| {
        let router = ready.get().cloned();
        async move {
            match router {
                Some(router) => {
                    let Ok(response) = router.oneshot(request).await;
                    response
                }
                None => crate::route::message(http::StatusCode::SERVICE_UNAVAILABLE, "the server is starting: try again in a moment"),
            }
        }
    })
}

/// Says where we are, and how to begin.
fn announce(config: &Config, addresses: &[std::net::SocketAddr], accounts: &Accounts, ca_fingerprint: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Wharf {} is ready on unix://{}", env!("CARGO_PKG_VERSION"), config.socket.display())?;
    for address in addresses {
        writeln!(out, "  https://{}/", reachable(*address))?;
    }
    if config.tls_files.is_none() && !addresses.is_empty() {
        writeln!(out, "  certificate authority, SHA-256: {ca_fingerprint}")?;
    }
    if let Some(token) = accounts.begin_setup(&config.data_root.join("setup-token"))? {
        writeln!(out, "There is no administrator yet. Make one on this machine, either in a browser (once):")?;
        for address in addresses {
            writeln!(out, "  https://{address}/ui/setup?token={}", token.reveal())?;
        }
        writeln!(out, "or as root:\n  wharf user add --admin NAME")?;
    }
    out.flush()?;
    Ok(())
}

/// Until SIGTERM or SIGINT. SIGHUP, and half of the certificate's life, load the certificate anew.
async fn until_told(accounts: &Accounts, reload: impl Fn() -> engine::Result<()>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut settle = tokio::time::interval(SETTLE);
    settle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut loaded = Timestamp::now();
    loop {
        let renew = tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => true,
            _ = settle.tick() => {
                if let Err(e) = accounts.settle(Timestamp::now()).await {
                    tracing::error!(error = ?e, "writing the last uses of credentials failed; trying again");
                }
                Timestamp::now().duration_since(loaded) > ca::SERVER_RENEW
            }
        };
        if renew {
            match reload() {
                Ok(()) => tracing::info!("the TLS certificate was loaded anew"),
                Err(e) => tracing::error!(error = ?e, "the TLS certificate could not be loaded; the old one stays"),
            }
            loaded = Timestamp::now();
        }
    }
}

/// systemd's readiness protocol (sd_notify(3)), where it is spoken.
fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() else { return };
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    let sent = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => std::os::unix::net::SocketAddr::from_abstract_name(name).and_then(|a| socket.send_to_addr(state.as_bytes(), &a)),
        None => socket.send_to(state.as_bytes(), &path),
    };
    if let Err(e) = sent {
        tracing::warn!(error = %e, "systemd could not be told that we are ready");
    }
}
