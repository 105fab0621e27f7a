//! The gate before every handler: who asks, from where, may they. A handler that needs somebody takes `Who`, which only the
//! gate can put there.

use super::spelling::VersionInPath;
use super::{Face, Permission, message};
use crate::App;
use crate::auth::who::Proven;
use crate::auth::{Refusal, cross_site};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use engine::{Role, Scope, Subject};
use http::StatusCode;
use http::request::Parts;

/// What a route's gate knows.
#[derive(Clone)]
pub(super) struct Gate {
    pub app: App,
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
        Ok(subject) => {
            if let Some(subject) = subject {
                parts.extensions.insert(Proven::new(subject));
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => refused(gate.face, &refusal, &parts),
    };
    if gate.face == Face::Docker {
        crate::docker::stamp(&mut response);
    }
    response
}

/// The subject, or why not. `None` only where the route is public.
async fn judge(gate: &Gate, request: &Parts) -> Result<Option<Subject>, Refusal> {
    cross_site::refuse(&request.method, &request.headers)?;
    let subject = crate::auth::authenticate(&gate.app, gate.face, request).await;
    let needed = match gate.permission {
        // A stale cookie does not keep anybody from the login page.
        Permission::Public => return Ok(subject.ok()),
        Permission::Read => Scope::Read,
        Permission::Write => Scope::Write,
        Permission::Admin => Scope::Admin,
    };
    let subject = subject?;
    if subject.scope < needed {
        let word = match needed {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        };
        return Err(Refusal::forbidden(format!("this credential lacks the scope {word}: use one made with --scope {word}")));
    }
    if gate.permission == Permission::Admin && subject.role != Role::Admin {
        return Err(Refusal::forbidden("only an administrator may do this"));
    }
    Ok(Some(subject))
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
