//! What all our API's handlers share: errors in JSON, bodies read strictly, streams of JSON lines.

use crate::App;
use crate::route::message;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::Error;
use futures_util::{Stream, StreamExt};
use http::{StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An error as an answer: `{"message": …}`.
pub struct ApiError(pub Error);

/// What handlers return.
pub type Answer<T> = Result<T, ApiError>;

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = crate::docker::error::status(&self.0);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = ?self.0, "a request failed");
        }
        message(status, &self.0.to_string())
    }
}

/// Every error's body.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Message {
    /// What went wrong, with which name.
    pub message: String,
}

/// A JSON body, read strictly: unknown fields and wrong types are errors that name them.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Response;
    async fn from_request(request: Request, _: &App) -> Result<Self, Response> {
        // The browser's own forms cannot send this type, so a form of another site never gets here.
        let json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|t| t.to_str().ok())
            .is_some_and(|t| t.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json")));
        if !json {
            return Err(message(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json"));
        }
        let (parts, body) = request.into_parts();
        let bytes = crate::route::whole(&parts.headers, body).await.map_err(|refusal| message(refusal.status, &refusal.message))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|e| message(StatusCode::BAD_REQUEST, &e.to_string()))
    }
}

/// A stream of JSON values, one a line.
pub fn lines<T: Serialize>(stream: impl Stream<Item = std::io::Result<T>> + Send + 'static) -> Response {
    let bytes = stream.map(|item| {
        item.and_then(|value| {
            let mut line = serde_json::to_vec(&value)?;
            line.push(b'\n');
            Ok(Bytes::from(line))
        })
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(bytes)).into_response()
}
