//! Files of containers: `docker cp` and `docker export`.

use super::ask::Args;
use super::error::Answer;
use super::reply;
use super::wire::time::rfc3339;
use crate::{App, Who};
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::Error;
use engine::container::request::{ArchiveStream, PathStat};
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::io::StreamReader;

/// A mode as Go's `os.FileMode` has it: the type in high bits of its own, not in `st_mode`'s.
fn go_mode(mode: u32) -> u32 {
    const DIR: u32 = 1 << 31;
    const SYMLINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;
    const NAMED_PIPE: u32 = 1 << 25;
    const SOCKET: u32 = 1 << 24;
    const SETUID: u32 = 1 << 23;
    const SETGID: u32 = 1 << 22;
    const CHAR_DEVICE: u32 = 1 << 21;
    const STICKY: u32 = 1 << 20;
    let kind = match mode & 0o170_000 {
        0o040_000 => DIR,
        0o120_000 => SYMLINK,
        0o060_000 => DEVICE,
        0o020_000 => DEVICE | CHAR_DEVICE,
        0o010_000 => NAMED_PIPE,
        0o140_000 => SOCKET,
        _ => 0,
    };
    let bit = |there: u32, go: u32| if mode & there != 0 { go } else { 0 };
    kind | bit(0o4000, SETUID) | bit(0o2000, SETGID) | bit(0o1000, STICKY) | (mode & 0o777)
}

fn path_stat(mut response: Response, stat: &PathStat) -> Answer {
    let value = json!({
        "name": stat.name,
        "size": stat.size,
        "mode": go_mode(stat.mode),
        "mtime": rfc3339(Some(stat.mtime)),
        "linkTarget": stat.link_target,
    });
    let header = HeaderValue::try_from(STANDARD.encode(value.to_string()));
    let header = header.map_err(|e| Error::internal("writing X-Docker-Container-Path-Stat", e))?;
    response.headers_mut().insert("x-docker-container-path-stat", header);
    Ok(response)
}

fn path(args: &Args) -> engine::Result<&str> {
    match args.text("path") {
        "" => Err(Error::invalid("bad parameter: 'path' cannot be empty")),
        path => Ok(path),
    }
}

/// `HEAD /containers/{id}/archive`
pub async fn stat(State(app): State<App>, Who(who): Who, Path(name): Path<String>, args: Args) -> Answer {
    let stat = app.engine.stat_path(&who, &name, path(&args)?).await?;
    path_stat(StatusCode::OK.into_response(), &stat)
}

/// `GET /containers/{id}/archive`
pub async fn get(State(app): State<App>, Who(who): Who, Path(name): Path<String>, args: Args) -> Answer {
    let (stat, archive) = app.engine.archive(&who, &name, path(&args)?).await?;
    path_stat(reply::archive(archive, "application/x-tar"), &stat)
}

/// `PUT /containers/{id}/archive`
pub async fn put(State(app): State<App>, Who(who): Who, Path(name): Path<String>, args: Args, body: Body) -> Answer {
    let (no_overwrite, copy_owner) = (args.flag("noOverwriteDirNonDir"), args.flag("copyUIDGID"));
    app.engine.unarchive(&who, &name, path(&args)?, no_overwrite, copy_owner, upload(body)).await?;
    Ok(StatusCode::OK.into_response())
}

/// `GET /containers/{id}/export`
pub async fn export(State(app): State<App>, Who(who): Who, Path(name): Path<String>) -> Answer {
    Ok(reply::archive(app.engine.export(&who, &name).await?, "application/octet-stream"))
}

/// A request's body as the engine reads archives. Its size is the engine's to judge, against the tenant's quota.
pub fn upload(body: Body) -> ArchiveStream {
    Box::pin(StreamReader::new(Upload { pieces: Some(body.into_data_stream()), runtime: tokio::runtime::Handle::current() }))
}

/// A body of which nobody may want the rest: a failed build, an archive that is none. A client that is still sending would
/// meet a closed connection ("broken pipe") instead of reading our answer, so the rest is read and dropped.
struct Upload {
    /// `None` when it has ended.
    pieces: Option<BodyDataStream>,
    runtime: tokio::runtime::Handle,
}

impl Stream for Upload {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(pieces) = &mut self.pieces else { return Poll::Ready(None) };
        let piece = std::task::ready!(pieces.poll_next_unpin(cx));
        if !matches!(piece, Some(Ok(_))) {
            self.pieces = None;
        }
        Poll::Ready(piece.map(|piece| piece.map_err(std::io::Error::other)))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(rest) = self.pieces.take() {
            // Ends by itself: with the body, the connection, or its bounds.
            self.runtime.spawn(drain(rest));
        }
    }
}

/// Reads a body's rest and drops it, as far as that is bounded, so that a client that is still sending hears the answer.
pub async fn drain(mut rest: BodyDataStream) {
    const MOST: usize = 1 << 30;
    const LONGEST: Duration = Duration::from_secs(30);
    let mut seen = 0;
    let reading = async {
        while let Some(Ok(piece)) = rest.next().await {
            seen += piece.len();
            if seen > MOST {
                break;
            }
        }
    };
    // In time or not: there is nothing more to do for it.
    let _ = tokio::time::timeout(LONGEST, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Before, a client that sent more than the socket's buffers hold saw a broken pipe.
    #[tokio::test]
    async fn an_answer_is_heard_by_who_is_still_sending() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let refuse = |body: Body| async {
            drop(upload(body));
            (StatusCode::NOT_FOUND, "no such thing")
        };
        let app = axum::Router::new().route("/", axum::routing::put(refuse));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let size = 64 << 20;
        client
            .write_all(format!("PUT / HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let piece = vec![0; 1 << 20];
        for _ in 0..size / piece.len() {
            client.write_all(&piece).await.unwrap();
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404") && answer.ends_with("no such thing"), "{answer}");
    }

    #[test]
    fn modes_are_gos() {
        for (unix, go) in [
            (0o100_644, 0o644),
            (0o040_755, 0x8000_0000 | 0o755),
            (0o120_777, 0x0800_0000 | 0o777),
            (0o104_755, 0x0080_0000 | 0o755),
            (0o041_777, 0x8000_0000 | 0x0010_0000 | 0o777),
            (0o020_666, 0x0400_0000 | 0x0020_0000 | 0o666),
            (0o010_600, 0x0200_0000 | 0o600),
        ] {
            assert_eq!(go_mode(unix), go, "{unix:o}");
        }
    }

    #[test]
    fn the_header_is_json_in_base64() {
        let stat = PathStat {
            name: "passwd".into(),
            size: 12,
            mode: 0o100_644,
            mtime: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
            link_target: String::new(),
        };
        let response = path_stat(StatusCode::OK.into_response(), &stat).unwrap();
        let json = STANDARD.decode(&response.headers()["x-docker-container-path-stat"]).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json, json!({"name": "passwd", "size": 12, "mode": 420, "mtime": "2023-11-14T22:13:20Z", "linkTarget": ""}));
    }
}
