//! The gate before every handler: who asks, from where, may they. A handler that needs somebody takes `Who`, which only the
//! gate can put there.

use super::spelling::VersionInPath;
use super::{Face, Permission, message};
use crate::auth::accounts::Accounts;
use crate::auth::proof::{Authenticated, authenticate};
use crate::auth::who::{Proven, SessionCookie};
use crate::auth::{Peer, Refusal, cross_site};
use crate::store::scope_word;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use engine::{Role, Scope};
use http::StatusCode;
use http::request::Parts;

/// What a route's gate knows.
#[derive(Clone)]
pub(super) struct Gate {
    pub accounts: Accounts,
    pub permission: Permission,
    pub face: Face,
}

/// The middleware of one route.
pub(super) async fn gate(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    // `/v1.47/ui/…` is no page: only Docker's routes have versions.
    if gate.face != Face::Docker && parts.extensions.get::<VersionInPath>().is_some() {
        return message(StatusCode::NOT_FOUND, "page not found");
    }
    let mut response = match judge(&gate, &parts).await {
        Ok(who) => {
            if let Some(Authenticated { subject, session }) = who {
                parts.extensions.insert(Proven::new(subject));
                if let Some(session) = session {
                    parts.extensions.insert(SessionCookie(session));
                }
            }
            to_its_end(next, Request::from_parts(parts, body)).await
        }
        Err(refusal) => refused(gate.face, &refusal, &parts),
    };
    super::headers::add(gate.face, &mut response);
    if gate.face == Face::Docker {
        crate::docker::stamp(&mut response);
    }
    response
}

/// Runs the handler to its end even when the client has gone: hyper drops a request's future as soon as a browser moves on
/// (HTTP/2 RST_STREAM) or a connection breaks, and what a handler began must not stop between memory and database. What
/// streams is in the response's body, which still goes with the client.
async fn to_its_end(next: Next, request: Request) -> Response {
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a handler panicked");
            message(StatusCode::INTERNAL_SERVER_ERROR, "the server made a mistake in answering this; its log says more")
        }
    }
}

/// The subject, or why not. `None` only where the route is public.
async fn judge(gate: &Gate, request: &Parts) -> Result<Option<Authenticated>, Refusal> {
    // Go's WebSocket client sends an Origin with no page behind it, and over a Unix socket an empty Host. A browser that
    // reaches the socket through somebody's proxy has a Host and is judged.
    let local = matches!(request.extensions.get::<Peer>(), Some(Peer::Unix { .. } | Peer::Tenant { .. }));
    let hostless = request.headers.get(http::header::HOST).is_none_or(|host| host.is_empty());
    if !(local && hostless) {
        cross_site::refuse(&request.method, &request.uri, &request.headers)?;
    }
    let who = authenticate(&gate.accounts, gate.face, request).await;
    let needed = match gate.permission {
        // A stale cookie does not keep anybody from the login page.
        Permission::Public => return Ok(who.ok()),
        Permission::Read => Scope::Read,
        Permission::Write => Scope::Write,
        Permission::Admin => Scope::Admin,
    };
    let who = who?;
    let subject = &who.subject;
    let refusal = if subject.scope < needed {
        let word = scope_word(needed);
        Refusal::forbidden(format!("this credential lacks the scope {word}: use one made with --scope {word}"))
    } else if gate.permission == Permission::Admin && subject.role != Role::Admin {
        Refusal::forbidden("only an administrator may do this")
    } else {
        return Ok(Some(who));
    };
    let entry = engine::audit::Entry::of(subject, format!("{} {}", request.method, request.uri.path()), "").by("permission");
    gate.accounts.audit().denied(entry, &engine::Error::forbidden(refusal.message.clone())).await;
    Err(refusal)
}

fn refused(face: Face, refusal: &Refusal, request: &Parts) -> Response {
    let mut response = match face {
        Face::Docker | Face::Api => message(refusal.status, &refusal.message),
        Face::Pages => crate::pages::refused(refusal, &request.uri, &request.headers),
    };
    if refusal.status == StatusCode::UNAUTHORIZED && face != Face::Pages {
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer realm=\"wharf\""));
    }
    response
}
