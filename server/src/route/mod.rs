//! The one table of routes. A route cannot be registered without a permission, and the gate in front of its handler judges
//! that permission before a byte of the body is read.
//!
//! Three faces share it: Docker's API at its bare paths (never by cookie), ours under `/api/v1`, the pages under `/ui`.

mod gate;
mod headers;
mod json;
mod panic;
mod spelling;

pub use json::{JSON_MAX, JsonBody, whole};
pub(crate) use spelling::TenantInPath;
pub use spelling::{ApiVersion, MAX_API_VERSION, MIN_API_VERSION};

use crate::App;
use crate::auth::accounts::Accounts;
use axum::Router;
use axum::extract::FromRef;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{Method, StatusCode};

/// What somebody needs to reach a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Nothing: `_ping`, the login page, static files. The handler may still see who asks (`MaybeWho`).
    Public,
    /// To be somebody, with a credential that may look at things.
    Read,
    /// To be somebody, with a credential that may change things.
    Write,
    /// To be an administrator, with a credential that may administer.
    Admin,
}

/// Which of the three surfaces a route belongs to: decides how one may sign in and how a refusal looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// Docker's API. Session cookies are never accepted here.
    Docker,
    /// Our JSON API.
    Api,
    /// HTML for people.
    Pages,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The method. A GET route also answers HEAD.
    pub method: Method,
    /// The path in axum's syntax: `/containers/{id}/json`.
    pub path: String,
    /// What one needs.
    pub permission: Permission,
    /// The surface.
    pub face: Face,
}

/// Routes being collected. `S` is what their handlers can reach: the whole server, but for the few that the command line
/// also uses while no server runs.
pub struct Routes<S = App> {
    face: Face,
    entries: Vec<(Route, MethodRouter<S>)>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Routes of Docker's API, written without `/v1.NN`.
    pub fn docker() -> Self {
        Self::of(Face::Docker)
    }

    /// Routes of our API; the paths begin with `/api/`.
    pub fn api() -> Self {
        Self::of(Face::Api)
    }

    /// Routes of pages; the paths begin with `/ui`, or are `/` itself.
    pub fn pages() -> Self {
        Self::of(Face::Pages)
    }

    fn of(face: Face) -> Self {
        Self { face, entries: Vec::new() }
    }

    /// A GET (and HEAD) route.
    pub fn get<H: Handler<T, S>, T: 'static>(self, path: &str, permission: Permission, handler: H) -> Self {
        self.add(Method::GET, MethodFilter::GET, path, permission, handler)
    }

    /// A HEAD route where HEAD differs from GET.
    pub fn head<H: Handler<T, S>, T: 'static>(self, path: &str, permission: Permission, handler: H) -> Self {
        self.add(Method::HEAD, MethodFilter::HEAD, path, permission, handler)
    }

    /// A POST route.
    pub fn post<H: Handler<T, S>, T: 'static>(self, path: &str, permission: Permission, handler: H) -> Self {
        self.add(Method::POST, MethodFilter::POST, path, permission, handler)
    }

    /// A PUT route.
    pub fn put<H: Handler<T, S>, T: 'static>(self, path: &str, permission: Permission, handler: H) -> Self {
        self.add(Method::PUT, MethodFilter::PUT, path, permission, handler)
    }

    /// A DELETE route.
    pub fn delete<H: Handler<T, S>, T: 'static>(self, path: &str, permission: Permission, handler: H) -> Self {
        self.add(Method::DELETE, MethodFilter::DELETE, path, permission, handler)
    }

    fn add<H: Handler<T, S>, T: 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &str,
        permission: Permission,
        handler: H,
    ) -> Self {
        let route = Route { method, path: path.to_owned(), permission, face: self.face };
        self.entries.push((route, on(filter, handler)));
        self
    }

    /// These and those.
    #[must_use]
    pub fn merge(mut self, other: Routes<S>) -> Self {
        self.entries.extend(other.entries);
        self
    }

    /// The table, for tests that walk it and for documentation.
    pub fn list(&self) -> Vec<Route> {
        self.entries.iter().map(|(route, _)| route.clone()).collect()
    }

    /// The router: each handler behind its gate, unknown paths and methods answered as Docker does, and paths respelled
    /// (`/v1.NN`, `/t/<tenant>`) before they are matched.
    pub fn into_router(self, app: S) -> Router
    where
        Accounts: FromRef<S>,
    {
        let mut router = Router::new();
        for (route, handler) in self.entries {
            let gate = gate::Gate { accounts: Accounts::from_ref(&app), permission: route.permission, face: route.face };
            let handler = handler.route_layer(axum::middleware::from_fn_with_state(gate, gate::gate));
            router = router.route(&route.path, handler);
        }
        let router = router.fallback(page_not_found).method_not_allowed_fallback(page_not_found).with_state(app);
        // Layers of a router run after matching, so the respelling stands in a router of its own around it.
        Router::new()
            .fallback_service(router)
            .layer(axum::middleware::from_fn(panic::contained))
            .layer(axum::middleware::from_fn(spelling::respell))
    }
}

/// Docker answers unknown paths and methods alike.
async fn page_not_found(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    message(StatusCode::NOT_FOUND, "page not found")
}

/// An error as Docker's clients and ours expect it: JSON with a line feed.
pub fn message(status: StatusCode, text: &str) -> Response {
    let body = format!("{}\n", serde_json::json!({ "message": text }));
    (status, [(http::header::CONTENT_TYPE, "application/json")], body).into_response()
}
