//! One connection, whatever it came by: HTTP/1.1 or 2, upgrades kept, and an orderly end.

use super::framing::Framed;
use crate::auth::Peer;
use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// From the first byte expected to the end of the headers: a client that is slower holds a place for nothing. It also ends
/// idle connections, so local clients, who keep theirs, get longer.
pub(super) const HEADERS_REMOTE: Duration = Duration::from_secs(15);
/// The same on Unix sockets.
pub(super) const HEADERS_LOCAL: Duration = Duration::from_secs(120);
/// Streams one HTTP/2 connection may have open.
const H2_STREAMS: u32 = 250;
/// Bytes of headers; Docker's X-Registry-Config can be long.
const HEADER_BYTES: usize = 128 * 1024;

/// What all listeners share. Cheap to clone.
#[derive(Clone)]
pub struct Serving {
    /// Where requests go.
    pub router: Router,
    /// Fires when the server is to end.
    pub stop: CancellationToken,
    /// The connections, to wait for their end.
    pub connections: TaskTracker,
    /// How many there may be.
    pub bounds: super::bounds::Bounds,
}

impl Serving {
    /// What serves `router` until `stop`.
    pub fn new(router: Router, stop: CancellationToken) -> Self {
        Self { router, stop, connections: TaskTracker::new(), bounds: super::bounds::Bounds::default() }
    }

    /// Serves a connection to its end. Its errors are the client's (it went away, it sent nonsense), so they are for debugging.
    pub(super) async fn connection<I>(self, io: I, peer: Peer, headers: Duration)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Serving { router, stop, .. } = self;
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer.clone());
            router.clone().oneshot(request)
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(headers).max_buf_size(HEADER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(Framed::new(io)), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(e) = ended {
            tracing::debug!(error = %e, "a connection ended");
        }
    }
}
