//! Engine errors as Docker's status codes and `{"message": …}`.

use axum::response::{IntoResponse, Response};
use engine::{Error, Kind};
use http::StatusCode;

/// A handler's answer.
pub type Answer<T = Response> = Result<T, Failure>;

/// Why a handler has no answer.
#[derive(Debug)]
pub enum Failure {
    /// The engine's word, or the edge's in the engine's words.
    Engine(Error),
    /// HTTP's own reasons (413, 415, …).
    Http(StatusCode, String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Engine(error)
    }
}

impl Failure {
    /// The status.
    pub fn status(&self) -> StatusCode {
        match self {
            Failure::Engine(error) => status(error),
            Failure::Http(status, _) => *status,
        }
    }
}

/// Errors that dockerd forgot to give a status of their own, so that its clients and the recordings know them as 500.
const UNCLASSIFIED: [&str; 3] = ["invalid volume specification: ", " is not paused", " is not connected to network "];

/// The one place where an error's kind becomes a status.
pub fn status(error: &Error) -> StatusCode {
    let text = error.to_string();
    if error.kind() != Kind::Unsupported && UNCLASSIFIED.iter().any(|known| text.contains(known)) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    match error.kind() {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Kind::Exhausted => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        match self {
            Failure::Engine(error) => {
                if error.kind() == Kind::Internal {
                    tracing::error!(error = ?error, "a request failed");
                }
                crate::route::message(status, &error.to_string())
            }
            Failure::Http(_, text) => crate::route::message(status, &text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn errors_are_json_with_a_line_feed() {
        let response = Failure::from(Error::no_such("container", "web")).into_response();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        assert_eq!(body, "{\"message\":\"No such container: web\"}\n");
    }

    #[test]
    fn every_kind_has_dockers_status() {
        for (kind, status) in [
            (Kind::Invalid, 400),
            (Kind::Forbidden, 403),
            (Kind::NotFound, 404),
            (Kind::Conflict, 409),
            (Kind::Internal, 500),
            (Kind::Unsupported, 501),
            (Kind::Unavailable, 503),
            (Kind::Exhausted, 507),
        ] {
            assert_eq!(super::status(&Error::new(kind, "x")), status);
        }
        assert_eq!(super::status(&Error::conflict("Container abc is not paused")), 500);
        assert_eq!(super::status(&Error::invalid("invalid volume specification: 'x:rel': …")), 500);
    }
}
