//! JSON bodies of our API: bounded, strict, and refused with a sentence instead of a parser's dump. A missing Content-Type is
//! no reason to refuse.

use crate::auth::Refusal;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Larger bodies get 413.
pub const JSON_MAX: usize = 4 * 1024 * 1024;

/// What a client has for a body that is at most [`JSON_MAX`]: one that sends slower holds a connection and memory for nothing.
const JSON_TIME: Duration = Duration::from_secs(60);

/// The whole of a body that is no stream.
///
/// # Errors
/// 413 when it is larger than [`JSON_MAX`] or says that it will be, 408 when it takes too long, 400 when it ends early.
pub async fn whole(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    whole_within(headers, body, JSON_TIME).await
}

async fn whole_within(headers: &HeaderMap, body: Body, time: Duration) -> Result<Bytes, Refusal> {
    let refused = |status, message: String| Refusal { status, message };
    let too_large = || refused(StatusCode::PAYLOAD_TOO_LARGE, "the request body is larger than 4 MiB".to_owned());
    let said = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|length| length > JSON_MAX as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(time, Limited::new(body, JSON_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(e)) => Err(refused(StatusCode::BAD_REQUEST, format!("the request body ended early: {e}"))),
        Err(_) => Err(refused(StatusCode::REQUEST_TIMEOUT, format!("the request body did not come within {} seconds", time.as_secs()))),
    }
}

/// A JSON body. Types should deny unknown fields: a misspelt wish is not a wish to ignore.
pub struct JsonBody<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let refused = |status, message: String| Refusal { status, message };
        let (parts, body) = request.into_parts();
        let bytes = whole(&parts.headers, body).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(JsonBody).map_err(|e| refused(StatusCode::BAD_REQUEST, format!("invalid JSON: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saying(length: &'static str) -> HeaderMap {
        [(header::CONTENT_LENGTH, http::HeaderValue::from_static(length))].into_iter().collect()
    }

    /// R26: slow bodies, and those that announce more than anybody wants.
    #[tokio::test]
    async fn sec_r26_a_body_is_neither_endless_nor_for_ever() {
        let ask = async |length, body| whole(&saying(length), body).await.map_err(|refusal| refusal.status.as_u16());
        let never = || Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
        assert_eq!(ask("2", Body::from("{}")).await.as_deref(), Ok(&b"{}"[..]));
        assert_eq!(ask("4194305", never()).await, Err(413), "said so: not a byte is waited for");
        assert_eq!(ask("1000000000000", never()).await, Err(413));
        assert_eq!(ask("", Body::from(vec![b' '; JSON_MAX + 1])).await, Err(413), "did not say");
        let slow = whole_within(&saying("10"), never(), Duration::ZERO).await;
        assert_eq!(slow.unwrap_err().status.as_u16(), 408);
        let cut = futures_util::stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("gone"))]);
        assert_eq!(ask("10", Body::from_stream(cut)).await, Err(400));
    }
}
