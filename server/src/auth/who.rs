//! The extractors by which a handler learns who asks. What they yield was put there by the gate, and nothing else can.

use super::Refusal;
use crate::route::message;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use engine::Subject;
use http::request::Parts;
use std::convert::Infallible;
use std::sync::Arc;

/// A subject whose proof was checked.
#[derive(Clone)]
pub struct Proven(Arc<Subject>);

impl Proven {
    /// The gate's, after judging.
    pub(crate) fn new(subject: Subject) -> Self {
        Self(Arc::new(subject))
    }
}

/// The session secret by which the request came, if it came by one; set by the gate after it was checked.
#[derive(Clone)]
pub(crate) struct SessionCookie(pub super::secret::Secret);

/// Who asks. In a handler: `Who(who): Who`, then `app.engine.start(&who, …)`.
#[derive(Clone)]
pub struct Who(pub Arc<Subject>);

/// Who asks, if anybody: for public routes.
#[derive(Clone)]
pub struct MaybeWho(pub Option<Arc<Subject>>);

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        match parts.extensions.get::<Proven>() {
            Some(proven) => Ok(Who(proven.0.clone())),
            // A handler that needs somebody on a public route: nobody came.
            None => Err(Refusal::nobody().into_response()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for MaybeWho {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(MaybeWho(parts.extensions.get::<Proven>().map(|p| p.0.clone())))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        message(self.status, &self.message)
    }
}
