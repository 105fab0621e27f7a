//! Answers in the forms Docker's handlers have.

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use engine::container::request::ArchiveStream;
use engine::progress::{Progress, ProgressStream};
use futures_util::{Stream, StreamExt};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use tokio_util::io::ReaderStream;

const JSON: (HeaderName, HeaderValue) = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));

/// Which Docker engine this one stands in for. Clients read it as a version, so ours follows as build metadata.
pub const SERVER_VERSION: &str = concat!("28.5.2+wharf.", env!("CARGO_PKG_VERSION"));

/// Puts the headers on an answer that every answer of Docker's API has.
pub fn stamp(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert("api-version", HeaderValue::from_static(API_VERSION));
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    headers.insert("ostype", HeaderValue::from_static("linux"));
    headers.insert(header::SERVER, HeaderValue::from_static(SERVER));
}

const API_VERSION: &str = "1.51";
const SERVER: &str = concat!("Docker/28.5.2+wharf.", env!("CARGO_PKG_VERSION"), " (linux)");

/// 200 with JSON and a line feed.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Response {
    with_status(StatusCode::OK, value)
}

/// 201 with JSON.
pub fn created<T: Serialize + ?Sized>(value: &T) -> Response {
    with_status(StatusCode::CREATED, value)
}

fn with_status<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            (status, [JSON], body).into_response()
        }
        Err(e) => crate::route::message(StatusCode::INTERNAL_SERVER_ERROR, &format!("writing the answer: {e}")),
    }
}

/// 204.
pub fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 304: it was so already.
pub fn unchanged() -> Response {
    StatusCode::NOT_MODIFIED.into_response()
}

/// 200 with JSON lines as they come; the headers go out at once.
pub fn json_stream<T: Into<Bytes> + 'static>(lines: impl Stream<Item = Result<T, Infallible>> + Send + 'static) -> Response {
    ([JSON], Body::from_stream(lines)).into_response()
}

/// 200 with a tar as it comes.
pub fn archive(stream: ArchiveStream, content_type: &'static str) -> Response {
    let body = Body::from_stream(ReaderStream::with_capacity(stream, 128 * 1024));
    ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], body).into_response()
}

/// An empty list as Go writes a nil slice.
pub fn list_or_null(list: &[String]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

/// 200 with progress lines. A failure that comes first is the answer's own, with its real status: nothing was sent yet.
pub async fn progress(mut stream: ProgressStream) -> super::error::Answer {
    match stream.next().await {
        Some(Progress::Failed(error)) => Err(error.into()),
        first => Ok(progress_from(futures_util::stream::iter(first).chain(stream))),
    }
}

/// 200 with progress lines, failures among them.
pub fn progress_from(stream: impl Stream<Item = Progress> + Send + 'static) -> Response {
    json_stream(stream.map(|fact| Ok(super::wire::progress::line(&super::wire::progress::progress(&fact)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_tells_the_version_that_routing_accepts() {
        assert_eq!(API_VERSION, crate::route::MAX_API_VERSION.to_string());
    }

    #[tokio::test]
    async fn a_failure_before_the_first_byte_is_a_status_and_later_a_line() {
        let failed = || Progress::Failed(engine::Error::no_such("image", "x"));
        let early: ProgressStream = Box::pin(futures_util::stream::iter([failed()]));
        assert_eq!(progress(early).await.unwrap_err().status(), 404);
        let late: ProgressStream = Box::pin(futures_util::stream::iter([Progress::status("a"), failed()]));
        let response = progress(late).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(body.matches("\r\n").count(), 2, "{body}");
        assert!(body.contains("\"error\":\"No such image: x\""), "{body}");
    }

    /// The CLI starts a container only after it has the headers of its `wait`, long before there is a body.
    #[tokio::test]
    async fn headers_of_a_stream_go_out_before_its_first_byte() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = || async { json_stream(futures_util::stream::pending::<Result<String, Infallible>>()) };
        let app = axum::Router::new().route("/wait", axum::routing::post(silent));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"POST /wait HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}
