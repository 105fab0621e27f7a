//! A handler that panics ends its own request and nothing else: one 500, one line in the log, and the connection goes on. Panics are
//! bugs; this keeps them from being everybody's. A stream that panics after its headers ends its own connection: there is no status left to give.

use super::message;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use http::StatusCode;
use std::panic::AssertUnwindSafe;

/// Answers 500 where what is inside panics. Locks that it held are taken over by the next (`PoisonError::into_inner`): each guards
/// a short section that leaves its data whole.
pub async fn contained(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(%method, path, panic = said, "a handler panicked: this is a bug of ours");
            // What the panic said may hold anything: it is the log's, not the client's.
            message(StatusCode::INTERNAL_SERVER_ERROR, "an internal error, which the server's log tells more of: please report it")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    /// R39: a handler that panics is one answer 500 without what it said, and the next request is served.
    #[tokio::test]
    async fn sec_r39_a_panic_is_one_500() {
        async fn broken() -> &'static str {
            panic!("a secret")
        }
        let routes = Router::new().route("/broken", get(broken)).route("/whole", get(|| async { "whole" }));
        let routes = routes.layer(axum::middleware::from_fn(contained));
        let ask = |path: &str| routes.clone().oneshot(http::Request::get(path).body(Body::empty()).unwrap());
        let answer = ask("/broken").await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
        assert_eq!(ask("/whole").await.unwrap().status(), StatusCode::OK);
    }
}
