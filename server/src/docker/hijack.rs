//! Attached streams: the connection stops being HTTP and carries a process's input one way and its output the other.
//!
//! With `Upgrade: tcp` the answer is 101 and the connection is ours, with whatever the parser had read already. Without it
//! (old clients) the answer is 200 with output until the end, and the request's body is the input. The two directions end
//! on their own: a client that shuts its half down has ended the process's input, and output goes on.

use super::detach::Detach;
use super::error::Failure;
use crate::listen::Framed;
use crate::route::ApiVersion;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use bytes::{BufMut, BytesMut};
use engine::container::request::{Attached, Chunk, StreamKind};
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, StatusCode, Version, header};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

/// Bytes read from a client at once.
const READ: usize = 32 * 1024;

/// Raw bytes of one stream.
pub const RAW: &str = "application/vnd.docker.raw-stream";
/// Several streams with a header before each piece.
pub const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// The content type of a stream: before API 1.42 there was one name for both kinds.
pub fn content_type(tty: bool, version: ApiVersion) -> &'static str {
    if tty || !version.at_least(42) { RAW } else { MULTIPLEXED }
}

/// Whether the client asks for the connection itself.
pub fn wants_upgrade(request: &Request) -> bool {
    let upgrade = request.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok());
    // HTTP/2 has no upgrades: there both directions are the stream's bodies.
    request.version() <= Version::HTTP_11 && upgrade.is_some_and(|u| u.eq_ignore_ascii_case("tcp"))
}

/// A piece with its 8-byte header: stream, three zeroes, length.
pub fn frame(buffer: &mut BytesMut, stream: StreamKind, bytes: &[u8]) {
    let number = match stream {
        StreamKind::Stdout => 1,
        StreamKind::Stderr => 2,
    };
    buffer.reserve(8 + bytes.len());
    buffer.put_slice(&[number, 0, 0, 0]);
    // A chunk comes out of a pipe or a ring and is far below 4 GiB.
    buffer.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    buffer.put_slice(bytes);
}

fn encode(chunk: Chunk, tty: bool) -> Bytes {
    if tty {
        return chunk.bytes;
    }
    let mut buffer = BytesMut::new();
    frame(&mut buffer, chunk.stream, &chunk.bytes);
    buffer.freeze()
}

/// The 101.
fn switching(content_type: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    response
}

/// The 200 whose body goes on until the connection closes, neither chunked nor of known length.
///
/// Its content type is the old one always: clients that know the new one ask for an upgrade.
fn streaming(body: Body, client: Version) -> Response {
    let mut response = Response::new(body);
    if client <= Version::HTTP_11 {
        // hyper writes a body without chunks only for HTTP/1.0; every client takes that.
        *response.version_mut() = Version::HTTP_10;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(RAW));
    response
}

/// The client's side before it is known which way it comes.
pub struct Client {
    upgrade: Option<OnUpgrade>,
    body: Body,
    http: Version,
}

impl Client {
    /// The client of a request. Where it asks for the connection, its input begins behind the request, so a body (dockerode
    /// repeats the query there) is read to its end and dropped; elsewhere the body is its input.
    ///
    /// # Errors
    /// 413 for a body that is too long to be a repeated query.
    pub async fn of(mut request: Request) -> Result<Self, Failure> {
        let upgrade = wants_upgrade(&request).then(|| hyper::upgrade::on(&mut request));
        let http = request.version();
        let mut body = request.into_body();
        if upgrade.is_some() {
            const MOST: usize = 1 << 20;
            axum::body::to_bytes(body, MOST).await.map_err(|_| {
                Failure::Http(StatusCode::PAYLOAD_TOO_LARGE, "a stream's request has no body of more than 1 MiB".to_owned())
            })?;
            body = Body::empty();
        }
        Ok(Self { upgrade, body, http })
    }

    /// Joins the client with a process. `detach_keys` count on terminals only: elsewhere input is data.
    pub fn join(self, attached: Attached, detach: Option<Detach>, version: ApiVersion) -> Response {
        let Attached { input, output, tty } = attached;
        let detach = detach.filter(|_| tty);
        match self.upgrade {
            Some(upgrade) => {
                tokio::spawn(async move {
                    match upgrade.await {
                        Ok(io) => match downcast::<TokioIo<Framed<UnixStream>>>(io) {
                            Ok(parts) => {
                                let io = parts.io.into_inner();
                                let head = head_is_read(io.get_ref().as_fd().try_clone_to_owned().ok());
                                let (read, write) = tokio::io::split(io);
                                converse(parts.read_buf.chain(read), write, head, input, output, tty, detach).await;
                            }
                            // With TLS the head is a record of its own, and clients read record by record.
                            Err(io) => {
                                let (read, write) = tokio::io::split(TokioIo::new(io));
                                converse(read, write, std::future::ready(()), input, output, tty, detach).await;
                            }
                        },
                        Err(error) => tracing::debug!(%error, "a client went before its connection was handed over"),
                    }
                });
                switching(content_type(tty, version))
            }
            None => {
                let body = self.body.into_data_stream().map(|piece| piece.map_err(io::Error::other));
                let read = tokio_util::io::StreamReader::new(body);
                let (left, detached) = tokio::sync::oneshot::channel::<()>();
                tokio::spawn(async move {
                    match pump_in(Box::pin(read), input, detach).await {
                        End::Closed => {}
                        // The answer's body may be over by now, and nobody listens.
                        End::Detached => drop(left.send(())),
                    }
                });
                // Input that merely ended does not end the output.
                let gone = Box::pin(async {
                    if detached.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                });
                let output = output.map(move |chunk| chunk.map(|chunk| encode(chunk, tty)));
                streaming(Body::from_stream(output.take_until(gone)), self.http)
            }
        }
    }

    /// Tells the client a text in place of a process's output, then ends: how Docker reports an exec that could not start.
    pub fn tell(self, text: &str, tty: bool, version: ApiVersion) -> Response {
        let chunk = Chunk { stream: StreamKind::Stdout, bytes: Bytes::from(format!("{text}\r\n")) };
        let output = futures_util::stream::iter([Ok(chunk)]);
        self.join(Attached { input: None, output: Box::pin(output), tty }, None, version)
    }
}

/// Waits until the client has read the head, for as long as a client may be expected to take.
///
/// docker-py reads the head through a buffer, then the stream from the socket below it: what has come together with the head
/// stays in the buffer and is lost. dockerd needs so long to start a process that nobody noticed.
async fn head_is_read(socket: Option<OwnedFd>) {
    let Some(socket) = socket else { return };
    for _ in 0..2000 {
        match engine::sys::socket::unread(&socket) {
            Ok(0) | Err(_) => return,
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

type Input = Option<Pin<Box<dyn AsyncWrite + Send>>>;

/// How a client's input ended.
enum End {
    /// It shut its half down, or nobody reads the input any more.
    Closed,
    /// It typed the detach keys.
    Detached,
}

/// Runs both directions until the output has ended or the client has gone or detached. Output waits for `head`.
async fn converse(
    read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    head: impl Future<Output = ()>,
    input: Input,
    mut output: impl Stream<Item = io::Result<Chunk>> + Unpin,
    tty: bool,
    detach: Option<Detach>,
) {
    let inward = async {
        match pump_in(read, input, detach).await {
            End::Closed => std::future::pending::<()>().await,
            End::Detached => {}
        }
    };
    let outward = async {
        let mut head = Some(head);
        while let Some(chunk) = output.next().await {
            if let Some(head) = head.take() {
                head.await;
            }
            let bytes = match chunk {
                Ok(chunk) => encode(chunk, tty),
                Err(error) => {
                    tracing::debug!(%error, "an attached process's output broke off");
                    break;
                }
            };
            // The client went: that is its right, and the process's output is in its log.
            if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = inward => {}
        () = outward => {}
    }
    // Output is complete: with TLS this sends close_notify, without it the end of the stream.
    if let Err(error) = write.shutdown().await {
        tracing::trace!(%error, "a client went before its stream was closed");
    }
}

/// Carries a client's input to the process until one of them ends it.
async fn pump_in(mut read: impl AsyncRead + Unpin, mut input: Input, mut detach: Option<Detach>) -> End {
    let mut buffer = vec![0; READ];
    loop {
        let typed = match read.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => &buffer[..n],
        };
        let (bytes, left) = match &mut detach {
            None => (std::borrow::Cow::Borrowed(typed), false),
            Some(detach) => {
                let (bytes, left) = detach.feed(typed);
                (std::borrow::Cow::Owned(bytes), left)
            }
        };
        if let Some(pipe) = &mut input
            && (pipe.write_all(&bytes).await.is_err() || pipe.flush().await.is_err())
        {
            // The process closed its stdin. What the client still sends is read and dropped, as a shell would see EPIPE.
            input = None;
        }
        if left {
            return End::Detached;
        }
    }
    if let Some(mut pipe) = input {
        if let Some(detach) = &detach
            && let Err(error) = pipe.write_all(detach.held()).await
        {
            tracing::trace!(%error, "the process ended before its last input");
        }
        if let Err(error) = pipe.shutdown().await {
            tracing::trace!(%error, "the process ended before its input did");
        }
    }
    End::Closed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::wire::container::tests::V51;
    use tokio::sync::mpsc;

    /// A process that echoes its stdin when it has all of it: only half-close lets it speak.
    fn echo_at_end() -> (Input, Pin<Box<dyn Stream<Item = io::Result<Chunk>> + Send>>) {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (send, mut receive) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.unwrap();
            send.send(Ok(Chunk { stream: StreamKind::Stdout, bytes: all.into() })).await.unwrap();
            send.send(Ok(Chunk { stream: StreamKind::Stderr, bytes: Bytes::from_static(b"bye") })).await.unwrap();
        });
        (Some(Box::pin(ours)), Box::pin(futures_util::stream::poll_fn(move |cx| receive.poll_recv(cx))))
    }

    #[tokio::test]
    async fn input_ends_and_output_goes_on() {
        let (input, output) = echo_at_end();
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let (read, write) = tokio::io::split(server);
        let conversation = tokio::spawn(converse(read, write, std::future::ready(()), input, output, false, None));
        let data = vec![7u8; 100_000];
        client.write_all(&data).await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        conversation.await.unwrap();
        let mut expected = BytesMut::new();
        frame(&mut expected, StreamKind::Stdout, &data);
        frame(&mut expected, StreamKind::Stderr, b"bye");
        assert_eq!(got, expected);
        assert_eq!(expected[..8], [1, 0, 0, 0, 0, 1, 0x86, 0xa0]);
    }

    #[tokio::test]
    async fn detach_keys_end_the_conversation_on_a_terminal() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (mut client, server) = tokio::io::duplex(64);
        let (read, write) = tokio::io::split(server);
        let output = futures_util::stream::pending();
        let detach = Some(Detach::new("").unwrap());
        let conversation = tokio::spawn(converse(read, write, std::future::ready(()), Some(Box::pin(ours)), output, true, detach));
        client.write_all(b"ls\x10\x11").await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        conversation.await.unwrap();
        let mut typed = Vec::new();
        theirs.read_to_end(&mut typed).await.unwrap();
        assert_eq!(typed, b"ls");
    }

    #[tokio::test]
    async fn output_that_ends_ends_the_connection_though_input_is_open() {
        let (client, server) = tokio::io::duplex(64);
        let (read, write) = tokio::io::split(server);
        let output = futures_util::stream::iter([Ok(Chunk { stream: StreamKind::Stdout, bytes: Bytes::from_static(b"x") })]);
        tokio::spawn(converse(read, write, std::future::ready(()), None, output, true, None));
        let (mut read, _open) = tokio::io::split(client);
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"x");
    }

    #[tokio::test]
    async fn output_waits_until_the_head_was_read() {
        let (mut client, mut server) = UnixStream::pair().unwrap();
        server.write_all(b"head").await.unwrap();
        let mut waiting = Box::pin(head_is_read(Some(server.as_fd().try_clone_to_owned().unwrap())));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let mut head = [0; 4];
        client.read_exact(&mut head).await.unwrap();
        waiting.await;
        assert_eq!(engine::sys::socket::unread(&server).unwrap(), 0);
    }

    #[test]
    fn content_types_by_version() {
        let old = ApiVersion { major: 1, minor: 41 };
        assert_eq!(content_type(false, V51), MULTIPLEXED);
        assert_eq!(content_type(true, V51), RAW);
        assert_eq!(content_type(false, old), RAW);
    }

    /// A real server and real sockets: 101, bytes that came with the request, half-close.
    #[tokio::test]
    async fn upgraded_connections_carry_both_ways() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new().route(
            "/attach",
            axum::routing::post(|request: Request| async {
                let (input, output) = echo_at_end();
                Client::of(request).await.unwrap().join(Attached { input, output, tty: false }, None, V51)
            }),
        );
        tokio::spawn(async move { axum::serve(listener, app).await });
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"POST /attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 4\r\n\r\n{  }early")
            .await
            .unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        let end = got.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(got[..end].to_vec()).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101 upgraded\r\n"), "{head}");
        assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: tcp\r\n"), "{head}");
        let mut expected = BytesMut::new();
        frame(&mut expected, StreamKind::Stdout, b"early");
        frame(&mut expected, StreamKind::Stderr, b"bye");
        assert_eq!(got[end..], expected[..]);
    }

    /// The start of an exec carries JSON first; what follows it is the process's.
    #[tokio::test]
    async fn input_begins_behind_the_body() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new().route(
            "/start",
            axum::routing::post(|request: Request| async {
                let (parts, body) = request.into_parts();
                let json = crate::docker::ask::read_json(&parts.headers, body).await.unwrap();
                assert_eq!(json, serde_json::json!({"Tty": true}));
                let (input, output) = echo_at_end();
                let attached = Attached { input, output, tty: true };
                Client::of(Request::from_parts(parts, Body::empty())).await.unwrap().join(attached, None, V51)
            }),
        );
        tokio::spawn(async move { axum::serve(listener, app).await });
        let json = "Content-Type: application/json\r\n";
        let chunked = "Transfer-Encoding: chunked\r\n\r\nc\r\n{\"Tty\":true}\r\n0\r\n\r\n";
        for body in ["Content-Length: 12\r\n\r\n{\"Tty\":true}", chunked] {
            let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = format!("POST /start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n{json}{body}early");
            client.write_all(request.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            let mut got = String::new();
            client.read_to_string(&mut got).await.unwrap();
            assert!(got.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{got}");
            assert!(got.ends_with("\r\n\r\nearlybye"), "{got}");
        }
    }

    /// And without `Upgrade`: 200, no chunks, the body as input.
    #[tokio::test]
    async fn plain_requests_get_a_raw_body() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new().route(
            "/attach",
            axum::routing::post(|request: Request| async {
                let (input, output) = echo_at_end();
                Client::of(request).await.unwrap().join(Attached { input, output, tty: true }, None, V51)
            }),
        );
        tokio::spawn(async move { axum::serve(listener, app).await });
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"POST /attach HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 OK"), "{head}");
        assert!(!head.to_lowercase().contains("transfer-encoding") && !head.to_lowercase().contains("content-length"), "{head}");
        assert_eq!(body, "hibye");
    }

    /// The real CLI: `docker run -i --rm IMAGE` on a process that is `cat`, ten megabytes, CLI's order of requests
    /// (attach, wait, start), half-close, exit code.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_docker_cli_pipes_ten_megabytes_through() {
        if tokio::process::Command::new("docker").arg("--version").output().await.is_err() {
            eprintln!("SKIPPED: there is no docker CLI on this machine");
            return;
        }
        let (ended, end) = tokio::sync::watch::channel(false);
        let handler = move |request: Request| {
            let (ended, mut end) = (ended.clone(), end.clone());
            async move {
                let path = request.uri().path().to_owned();
                match path.rsplit('/').next().unwrap() {
                    "_ping" => {
                        let mut response = Response::new(Body::from("OK"));
                        crate::docker::stamp(&mut response);
                        response
                    }
                    "create" => {
                        // A body nobody reads makes the server close the connection under the client's writing.
                        axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
                        crate::docker::reply::created(&serde_json::json!({"Id": "abc", "Warnings": []}))
                    }
                    "attach" => {
                        let (ours, theirs) = tokio::io::duplex(8192);
                        let output = tokio_util::io::ReaderStream::new(theirs_to_cat(theirs, ended));
                        let output = output.map(|bytes| bytes.map(|bytes| Chunk { stream: StreamKind::Stdout, bytes }));
                        let attached = Attached { input: Some(Box::pin(ours)), output: Box::pin(output), tty: false };
                        Client::of(request).await.unwrap().join(attached, Some(Detach::new("").unwrap()), V51)
                    }
                    "wait" => crate::docker::reply::json_stream(futures_util::stream::once(async move {
                        end.wait_for(|ended| *ended).await.unwrap();
                        Ok("{\"StatusCode\":7}\n")
                    })),
                    "start" => crate::docker::reply::nothing(),
                    _ => crate::route::message(StatusCode::NOT_FOUND, "page not found"),
                }
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let app = axum::Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, app).await });
        let data: Vec<u8> = (0..10_000_000u32).map(|n| (n % 251) as u8).collect();
        let mut cli = tokio::process::Command::new("docker")
            .args(["-H", &format!("unix://{}", socket.display()), "run", "-i", "--rm", "image"])
            .env("DOCKER_CONFIG", folder.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = cli.stdin.take().unwrap();
        let sent = data.clone();
        let typing = tokio::spawn(async move {
            stdin.write_all(&sent).await.unwrap();
            stdin.shutdown().await.unwrap();
        });
        let output = cli.wait_with_output().await.unwrap();
        typing.await.unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert!(output.stdout == data, "{} bytes came back", output.stdout.len());
    }

    /// What a `cat` with this stdin writes; tells when it ended.
    fn theirs_to_cat(mut stdin: tokio::io::DuplexStream, ended: tokio::sync::watch::Sender<bool>) -> tokio::io::DuplexStream {
        let (mut stdout, ours) = tokio::io::duplex(8192);
        tokio::spawn(async move {
            tokio::io::copy(&mut stdin, &mut stdout).await.unwrap();
            drop(stdout);
            ended.send(true).unwrap();
        });
        ours
    }
}
