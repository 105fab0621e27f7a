//! gRPC in both roles, on hyper's HTTP/2: messages with a five-byte header, a status in the trailers. Small enough to own, so
//! that one place bounds what a peer may send. Messages are never compressed: Go's clients do not unless asked to.

use axum::body::{Body, Bytes};
use axum::response::Response;
use bytes::{Buf, BufMut, BytesMut};
use engine::{Error, Kind};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, CONTROLS};
use prost::Message;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::marker::PhantomData;

/// Bytes of one message: what BuildKit's peers accept of each other.
pub const MESSAGE_MAX: usize = 16 << 20;
/// Bytes in flight of one stream, and of a connection: enough for a gigabit at 20 ms.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// gRPC's status codes that occur here (grpc/grpc, doc/statuscodes.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The caller gave up.
    Cancelled = 1,
    /// Everything else; what BuildKit uses for a build that failed.
    Unknown = 2,
    /// The request is wrong.
    InvalidArgument = 3,
    /// No such thing.
    NotFound = 5,
    /// Not allowed.
    PermissionDenied = 7,
    /// A bound was met.
    ResourceExhausted = 8,
    /// In another state than it must be.
    FailedPrecondition = 9,
    /// No such method, or one not built.
    Unimplemented = 12,
    /// Our fault.
    Internal = 13,
    /// Try later.
    Unavailable = 14,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// gRPC's number: a peer may use ones that we do not.
    pub code: i32,
    /// For people.
    pub message: String,
    /// An encoded `google.rpc.Status`, where there is more to say.
    pub details: Option<Bytes>,
}

impl Status {
    /// A status.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: code as i32, message: message.into(), details: None }
    }

    /// A method that is not there.
    pub fn unimplemented(method: &str) -> Self {
        Self::new(Code::Unimplemented, format!("{method} is not supported yet"))
    }

    /// Whether it is this one.
    pub fn is(&self, code: Code) -> bool {
        self.code == code as i32
    }

    /// The status of an error of the engine.
    pub fn of(error: &Error) -> Self {
        let code = match error.kind() {
            Kind::Invalid | Kind::Conflict => Code::Unknown,
            Kind::NotFound => Code::NotFound,
            Kind::Forbidden => Code::PermissionDenied,
            Kind::Unsupported => Code::Unimplemented,
            Kind::Exhausted => Code::ResourceExhausted,
            Kind::Unavailable => Code::Unavailable,
            Kind::Internal => Code::Internal,
        };
        if error.kind() == Kind::Internal {
            tracing::error!(?error, "a BuildKit call failed");
        }
        Self::new(code, error.to_string())
    }

    /// As an error of the engine: what a peer said while the engine asked it for something.
    pub fn into_error(self, what: &str) -> Error {
        Error::invalid(format!("{what}: {}", self.message))
    }

    fn trailers(&self) -> HeaderMap {
        use base64::Engine as _;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(self.code));
        if let Ok(text) = HeaderValue::from_str(&percent(&self.message)) {
            trailers.insert("grpc-message", text);
        }
        let encoded = self.details.as_ref().map(|d| base64::engine::general_purpose::STANDARD_NO_PAD.encode(d));
        if let Some(value) = encoded.and_then(|d| HeaderValue::from_str(&d).ok()) {
            trailers.insert("grpc-status-details-bin", value);
        }
        trailers
    }

    /// What headers or trailers say; `None`: it went well.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let code = headers.get("grpc-status")?.to_str().ok()?.parse::<i32>().unwrap_or(Code::Unknown as i32);
        if code == 0 {
            return None;
        }
        let message = headers.get("grpc-message").map(|m| unpercent(m.as_bytes())).unwrap_or_default();
        Some(Self { code, message, details: None })
    }
}

/// What a header of gRPC cannot have as it is (gRPC over HTTP/2, "Percent-Encoded"). Bytes beyond ASCII are never left.
const UNSAFE: &AsciiSet = &CONTROLS.add(b'%');

fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, UNSAFE).to_string()
}

fn unpercent(text: &[u8]) -> String {
    percent_encoding::percent_decode(text).decode_utf8_lossy().into_owned()
}

/// A message with its header.
pub fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(5 + length);
    buffer.put_u8(0);
    // What we send is far below 4 GiB.
    buffer.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Encoding into a buffer that grows cannot fail.
    let _ = message.encode(&mut buffer);
    buffer.freeze()
}

/// Messages as they come in.
pub struct Incoming<M> {
    source: Source,
    buffer: BytesMut,
    ended: bool,
    most: usize,
    messages: PhantomData<fn() -> M>,
}

/// Where messages come from.
enum Source {
    /// An answer that has not begun: a peer may wait for questions first.
    Later(BoxFuture<'static, Result<Body, Status>>),
    Body(Body),
}

impl<M: Message + Default> Incoming<M> {
    /// The messages of a body.
    pub fn new(body: Body) -> Self {
        Self::from(Source::Body(body))
    }

    fn from(source: Source) -> Self {
        Self { source, buffer: BytesMut::new(), ended: false, most: MESSAGE_MAX, messages: PhantomData }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// The peer's status, or that it sent nonsense or too much.
    pub async fn next(&mut self) -> Result<Option<M>, Status> {
        loop {
            if let Some(message) = self.take()? {
                return M::decode(message)
                    .map(Some)
                    .map_err(|e| Status::new(Code::InvalidArgument, format!("a message cannot be read: {e}")));
            }
            if self.ended {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(Status::new(Code::Cancelled, "a message broke off")),
                };
            }
            let body = match &mut self.source {
                Source::Body(body) => body,
                Source::Later(answer) => {
                    self.source = Source::Body(answer.as_mut().await?);
                    continue;
                }
            };
            match body.frame().await {
                None => self.ended = true,
                Some(Err(error)) => return Err(Status::new(Code::Cancelled, format!("the connection broke: {error}"))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => {
                        if let Some(status) = frame.trailers_ref().and_then(Status::read) {
                            return Err(status);
                        }
                    }
                },
            }
        }
    }

    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(header) = self.buffer.get(..5) else { return Ok(None) };
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if header[0] != 0 {
            return Err(Status::new(Code::Unimplemented, "compressed messages are not supported"));
        }
        if length > self.most {
            return Err(Status::new(Code::ResourceExhausted, format!("a message of {length} bytes: at most {} are read", self.most)));
        }
        if self.buffer.len() < 5 + length {
            return Ok(None);
        }
        self.buffer.advance(5);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// The only message of a unary call.
    ///
    /// # Errors
    /// As `next`; also when there is none.
    pub async fn one(mut self) -> Result<M, Status> {
        self.next().await?.ok_or_else(|| Status::new(Code::InvalidArgument, "the call has no message"))
    }
}

/// The answer to a call: messages as they come, then how it went. Nothing is worked on once the caller has gone, for the work
/// is the body.
pub fn streaming<M: Message>(items: impl Stream<Item = Result<M, Status>> + Send + 'static) -> Response {
    let mut well = HeaderMap::new();
    well.insert("grpc-status", HeaderValue::from(0));
    let last = futures_util::stream::once(ready((Frame::trailers(well), true)));
    let frames = items
        .map(|item| match item {
            Ok(message) => (Frame::data(encode(&message)), false),
            Err(status) => (Frame::trailers(status.trailers()), true),
        })
        .chain(last)
        .scan(false, |over, (frame, last)| ready((!std::mem::replace(over, *over || last)).then_some(Ok::<_, Infallible>(frame))));
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The answer to a call with one message.
pub fn unary<M: Message>(work: impl Future<Output = Result<M, Status>> + Send + 'static) -> Response {
    streaming(futures_util::stream::once(work))
}

/// A peer that serves calls to us on a connection it opened.
#[derive(Clone)]
pub struct Peer {
    sender: SendRequest<Body>,
}

/// What a call says beside its messages.
pub type Metadata = Vec<(&'static str, String)>;

impl Peer {
    /// Speaks HTTP/2 as the client on this connection. The future ends with the connection; it must be polled.
    ///
    /// # Errors
    /// When the peer does not speak it.
    pub async fn open<I>(io: I) -> hyper::Result<(Self, impl Future<Output = hyper::Result<()>>)>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(io)
            .await?;
        Ok((Self { sender }, connection))
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// A call with messages both ways. The answer begins when the peer likes.
    ///
    /// # Errors
    /// Metadata that is no header's, or a connection that is gone.
    pub async fn duplex<Q: Message, A: Message + Default>(
        &self,
        method: &str,
        metadata: &Metadata,
        questions: impl Stream<Item = Q> + Send + 'static,
    ) -> Result<Incoming<A>, Status> {
        let frames = questions.map(|q| Ok::<_, Infallible>(Frame::data(encode(&q))));
        let mut request = Request::post(format!("http://localhost{method}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Body::new(StreamBody::new(frames)))
            .map_err(|e| Status::new(Code::Internal, e.to_string()))?;
        for (name, value) in metadata {
            let value = HeaderValue::from_str(value).map_err(|_| Status::new(Code::InvalidArgument, format!("{value:?} is no header")))?;
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
        let gone = |e: hyper::Error| Status::new(Code::Unavailable, format!("the client has gone: {e}"));
        let mut sender = self.sender.clone();
        sender.ready().await.map_err(gone)?;
        let answer = sender.send_request(request);
        let method = method.to_owned();
        let answer = async move {
            let response = answer.await.map_err(gone)?;
            if !response.status().is_success() {
                return Err(Status::new(Code::Unknown, format!("the client answered {method} with {}", response.status())));
            }
            match Status::read(response.headers()) {
                Some(status) => Err(status),
                None => Ok(Body::new(response.into_body())),
            }
        };
        Ok(Incoming::from(Source::Later(Box::pin(answer))))
    }

    /// A call with one message each way.
    ///
    /// # Errors
    /// The peer's status.
    pub async fn unary<Q: Message + 'static, A: Message + Default>(
        &self,
        method: &str,
        metadata: &Metadata,
        question: Q,
    ) -> Result<A, Status> {
        let answer = self.duplex::<Q, A>(method, metadata, futures_util::stream::once(ready(question))).await?;
        answer.one().await
    }
}

/// Serves HTTP/2 on a connection that was taken over.
pub async fn serve<I, F>(io: I, handler: impl Fn(Request<Body>) -> F + Send + Sync + Clone + 'static)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let answer = handler(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(100)
        .serve_connection(io, service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a BuildKit connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;

    fn message(data: &[u8]) -> BytesMessage {
        BytesMessage { data: data.to_vec() }
    }

    #[test]
    fn texts_survive_headers() {
        for text in ["plain", "100% of\nlines", "größe", "%41"] {
            assert_eq!(unpercent(percent(text).as_bytes()), text);
        }
        assert_eq!(unpercent(b"%zz%4"), "%zz%4");
    }

    #[tokio::test]
    async fn messages_in_any_pieces() {
        let whole = [encode(&message(b"one")), encode(&message(&[7; 3000]))].concat();
        for step in [1, 4, 4096] {
            let pieces: Vec<_> = whole.chunks(step).map(|c| Ok::<_, Infallible>(Bytes::copy_from_slice(c))).collect();
            let mut incoming = Incoming::<BytesMessage>::new(Body::from_stream(futures_util::stream::iter(pieces)));
            assert_eq!(incoming.next().await.unwrap().unwrap().data, b"one");
            assert_eq!(incoming.next().await.unwrap().unwrap().data, [7; 3000]);
            assert_eq!(incoming.next().await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn lies_about_length_are_refused() {
        let mut huge = vec![0u8];
        huge.extend_from_slice(&u32::MAX.to_be_bytes());
        for (bytes, code) in [
            (huge, Code::ResourceExhausted),
            (vec![1, 0, 0, 0, 0], Code::Unimplemented),
            (vec![0, 0, 0, 0, 9, 1], Code::Cancelled),
            (vec![0, 0, 0, 0, 1, 0xff], Code::InvalidArgument),
        ] {
            let status = Incoming::<BytesMessage>::new(Body::from(bytes.clone())).next().await.unwrap_err();
            assert!(status.is(code), "{bytes:?}: {status:?}");
        }
    }

    /// Both roles over one connection: an answer in pieces, a failure after messages, a method that is not there.
    #[tokio::test]
    async fn calls_go_both_ways() {
        let (ours, theirs) = tokio::io::duplex(4096);
        tokio::spawn(serve(hyper_util::rt::TokioIo::new(theirs), |request: Request<Body>| async move {
            match request.uri().path() {
                "/echo" => {
                    let incoming = Incoming::<BytesMessage>::new(request.into_body());
                    streaming(futures_util::stream::unfold(incoming, |mut incoming| async move {
                        let message = incoming.next().await.transpose()?;
                        Some((message, incoming))
                    }))
                }
                "/fail" => streaming(futures_util::stream::iter([Ok(message(b"1")), Err(Status::new(Code::Unknown, "it\nbroke"))])),
                other => unary::<BytesMessage>(ready(Err(Status::unimplemented(other)))),
            }
        }));
        let (peer, connection) = Peer::open(hyper_util::rt::TokioIo::new(ours)).await.unwrap();
        tokio::spawn(connection);
        let questions = futures_util::stream::iter((0..100u8).map(|n| message(&[n; 1000])));
        let mut answers: Incoming<BytesMessage> = peer.duplex("/echo", &vec![("dir-name", "x".to_owned())], questions).await.unwrap();
        let mut count = 0;
        while let Some(answer) = answers.next().await.unwrap() {
            assert_eq!(answer.data, [count; 1000]);
            count += 1;
        }
        assert_eq!(count, 100);
        let mut answers: Incoming<BytesMessage> =
            peer.duplex("/fail", &vec![], futures_util::stream::empty::<BytesMessage>()).await.unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap().data, b"1");
        assert_eq!(answers.next().await.unwrap_err(), Status::new(Code::Unknown, "it\nbroke"));
        let absent = peer.unary::<_, BytesMessage>("/absent", &vec![], message(b"")).await.unwrap_err();
        assert!(absent.is(Code::Unimplemented), "{absent:?}");
    }
}
