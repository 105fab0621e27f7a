//! Logging: tracing to standard error, filtered, as text for people and JSON where a program reads it. Requests are logged at
//! debug without query strings or headers, so that no secret can be in them.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use engine::{Error, Result};
use std::io::IsTerminal;
use std::time::Instant;
use tracing_subscriber::EnvFilter;

/// Starts logging.
///
/// # Errors
/// When the filter is not understood, or logging was started before.
pub fn start(filter: &str) -> Result<()> {
    // Every statement and frame is noise at our debug; who wants them names them.
    let filter = EnvFilter::try_new(format!("sqlx=warn,hyper=info,h2=info,rustls=info,{filter}"))
        .map_err(|e| Error::invalid(format!("the log filter {filter:?}: {e}")))?;
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
    started.map_err(|e| Error::invalid(format!("starting to log: {e}")))
}

/// The access log.
pub async fn access(request: Request, next: Next) -> Response {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return next.run(request).await;
    }
    let (method, path, start) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let response = next.run(request).await;
    let duration_ms = start.elapsed().as_secs_f64() * 1000.0;
    tracing::debug!(%method, path, status = response.status().as_u16(), duration_ms, "request");
    response
}
