//! JSON bodies of our API: bounded, strict, and refused with a sentence instead of a parser's dump. A missing Content-Type is
//! no reason to refuse.

use crate::auth::Refusal;
use axum::extract::{FromRequest, Request};
use http::StatusCode;
use serde::de::DeserializeOwned;

/// Larger bodies get 413.
pub const JSON_MAX: usize = 4 * 1024 * 1024;

/// A JSON body. Types should deny unknown fields: a misspelt wish is not a wish to ignore.
pub struct JsonBody<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let refused = |status, message: String| Refusal { status, message };
        let bytes = axum::body::to_bytes(request.into_body(), JSON_MAX + 1)
            .await
            .map_err(|_| refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 4 MiB, or ended early".to_owned()))?;
        if bytes.len() > JSON_MAX {
            return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 4 MiB".to_owned()));
        }
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(JsonBody).map_err(|e| refused(StatusCode::BAD_REQUEST, format!("invalid JSON: {e}")))
    }
}
