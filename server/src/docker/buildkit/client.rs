//! A session's client as the engine's builder knows one: folders, uploads, secrets, agents and credentials, asked for by gRPC.

use super::fsutil;
use super::grpc::{Code, Incoming, Metadata, Status};
use super::session::Session;
use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::filesync::v1::{CredentialsRequest, CredentialsResponse};
use bollard_buildkit_proto::moby::sshforward::v1::{BytesMessage as AgentBytes, CheckAgentRequest, CheckAgentResponse};
use bollard_buildkit_proto::moby::upload::v1::BytesMessage as UploadBytes;
use engine::build::{Agent, BuildClient, Wanted};
use engine::container::request::ArchiveStream;
use engine::image::RegistryAuth;
use engine::{Error, Result};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

const FOLDER: &str = "/moby.filesync.v1.FileSync/DiffCopy";
const UPLOAD: &str = "/moby.upload.v1.Upload/Pull";
const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const CHECK_AGENT: &str = "/moby.sshforward.v1.SSH/CheckAgent";
const FORWARD_AGENT: &str = "/moby.sshforward.v1.SSH/ForwardAgent";

/// Bytes between a client and what takes them.
const PIPE: usize = 256 * 1024;
/// Bytes of one message to an agent.
const AGENT_MESSAGE: usize = 32 * 1024;

/// The client of a session. A build may name several sessions; this is the one of its request.
pub struct SessionClient {
    /// The session.
    pub session: Arc<Session>,
}

/// Bytes that a task makes; it ends with them, and why it failed is their last item.
struct Made {
    read: DuplexStream,
    task: Option<AbortOnDropHandle<Result<(), Status>>>,
}

impl Made {
    /// `make` writes into its end.
    fn by<F>(make: impl FnOnce(DuplexStream) -> F) -> Self
    where
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let (write, read) = tokio::io::duplex(PIPE);
        Self { read, task: Some(AbortOnDropHandle::new(tokio::spawn(make(write)))) }
    }
}

impl AsyncRead for Made {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.read).poll_read(cx, buf))?;
        if buf.filled().len() > before || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // The end: was it whole?
        let Some(task) = &mut self.task else { return Poll::Ready(Ok(())) };
        let ended = std::task::ready!(task.poll_unpin(cx));
        self.task = None;
        Poll::Ready(match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => Err(io::Error::other(status.message)),
            Err(error) => Err(io::Error::other(error)),
        })
    }
}

impl SessionClient {
    fn needs(&self, method: &str, what: &str) -> Result<()> {
        match self.session.serves(method) {
            true => Ok(()),
            false => Err(Error::invalid(format!("the client of this build does not offer {what}"))),
        }
    }
}

/// Values as metadata may have them: ASCII, else URL-encoded with a mark (BuildKit, `session/filesync`).
fn listed(metadata: &mut Metadata, name: &'static str, mark: &'static str, values: &[String]) {
    let encode = values.iter().any(|v| !v.is_ascii() || v.contains(|c: char| c.is_control()));
    for value in values {
        metadata.push((name, if encode { escaped(value) } else { value.clone() }));
    }
    if encode {
        metadata.push((mark, "1".to_owned()));
    }
}

/// As Go's `url.QueryEscape`.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => (byte as char).to_string(),
            b' ' => "+".to_owned(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

impl BuildClient for SessionClient {
    fn folder<'a>(&'a self, name: &'a str, wanted: Wanted) -> BoxFuture<'a, Result<ArchiveStream>> {
        async move {
            self.needs(FOLDER, "its folders")?;
            let mut metadata: Metadata = Vec::new();
            listed(&mut metadata, "dir-name", "dir-name-encoded", &[name.to_owned()]);
            listed(&mut metadata, "followpaths", "followpaths-encoded", &wanted.follow);
            listed(&mut metadata, "exclude-patterns", "exclude-patterns-encoded", &wanted.exclude);
            let (requests, outgoing) = mpsc::channel(fsutil::REQUESTS);
            let calling = self.session.peer.duplex::<Packet, Packet>(FOLDER, &metadata, fsutil::outgoing(outgoing)).await;
            let packets = calling.map_err(|s| s.into_error(&format!("asking the client for the folder {name:?}")))?;
            let body: ArchiveStream = Box::pin(Made::by(|mut write| async move { fsutil::receive(packets, requests, &mut write).await }));
            Ok(body)
        }
        .boxed()
    }

    fn upload<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ArchiveStream>> {
        async move {
            self.needs(UPLOAD, "an upload")?;
            let metadata = vec![("urlpath", format!("/{}", id.trim_start_matches('/'))), ("urlhost", "buildkit-session".to_owned())];
            let (keep, outgoing) = mpsc::channel::<UploadBytes>(1);
            let questions = tokio_stream::wrappers::ReceiverStream::new(outgoing);
            let calling = self.session.peer.duplex::<UploadBytes, UploadBytes>(UPLOAD, &metadata, questions).await;
            let mut pieces = calling.map_err(|s| s.into_error("asking the client for its upload"))?;
            let body: ArchiveStream = Box::pin(Made::by(|mut write| async move {
                while let Some(piece) = pieces.next().await? {
                    let gone = |e: io::Error| Status::new(Code::Cancelled, e.to_string());
                    write.write_all(&piece.data).await.map_err(gone)?;
                }
                drop(keep);
                Ok(())
            }));
            Ok(body)
        }
        .boxed()
    }

    fn secret<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        async move {
            if !self.session.serves(SECRET) {
                return Ok(None);
            }
            let question = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
            match self.session.peer.unary::<_, GetSecretResponse>(SECRET, &Vec::new(), question).await {
                Ok(answer) => Ok(Some(answer.data)),
                Err(status) if status.is(Code::NotFound) || status.is(Code::Unimplemented) => Ok(None),
                Err(status) => Err(status.into_error(&format!("asking the client for the secret {id}"))),
            }
        }
        .boxed()
    }

    fn has_agent<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        async move {
            if !self.session.serves(CHECK_AGENT) {
                return Ok(false);
            }
            let question = CheckAgentRequest { id: id.to_owned() };
            let answer = self.session.peer.unary::<_, CheckAgentResponse>(CHECK_AGENT, &Vec::new(), question).await;
            match answer {
                Ok(_) => Ok(true),
                Err(status) if status.is(Code::Unavailable) => Err(status.into_error("asking the client for its SSH agent")),
                Err(_) => Ok(false),
            }
        }
        .boxed()
    }

    fn agent<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Agent>> {
        async move {
            let (ours, theirs) = tokio::io::duplex(PIPE);
            let (mut read, mut write) = tokio::io::split(theirs);
            let (sender, outgoing) = mpsc::channel::<AgentBytes>(8);
            let questions = tokio_stream::wrappers::ReceiverStream::new(outgoing);
            let metadata = vec![("buildkit.ssh.id", id.to_owned())];
            let calling = self.session.peer.duplex::<AgentBytes, AgentBytes>(FORWARD_AGENT, &metadata, questions).await;
            let mut answers: Incoming<AgentBytes> = calling.map_err(|s| s.into_error("forwarding the SSH agent"))?;
            tokio::spawn(async move {
                let mut buffer = vec![0; AGENT_MESSAGE];
                while let Ok(n @ 1..) = read.read(&mut buffer).await {
                    if sender.send(AgentBytes { data: buffer[..n].to_vec() }).await.is_err() {
                        break;
                    }
                }
            });
            tokio::spawn(async move {
                while let Ok(Some(answer)) = answers.next().await {
                    if write.write_all(&answer.data).await.is_err() {
                        break;
                    }
                }
                // The program in the build may have gone first.
                let _ = write.shutdown().await;
            });
            let agent: Agent = Box::pin(ours);
            Ok(agent)
        }
        .boxed()
    }

    fn credentials<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<RegistryAuth>>> {
        async move {
            if !self.session.serves(CREDENTIALS) {
                return Ok(None);
            }
            // What clients call the Hub in their configuration.
            let known = if host == "docker.io" { "registry-1.docker.io" } else { host };
            let question = CredentialsRequest { host: known.to_owned() };
            let answer = self.session.peer.unary::<_, CredentialsResponse>(CREDENTIALS, &Vec::new(), question).await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(status) if status.is(Code::NotFound) || status.is(Code::Unimplemented) => return Ok(None),
                Err(status) => return Err(status.into_error(&format!("asking the client for credentials for {host}"))),
            };
            if answer.secret.is_empty() {
                return Ok(None);
            }
            let mut auth = RegistryAuth { server_address: host.to_owned(), ..RegistryAuth::default() };
            // Without a user name the secret is a refresh token, as `docker login` keeps it.
            match answer.username.as_str() {
                "" | "<token>" => auth.identity_token = answer.secret,
                user => (auth.username, auth.password) = (user.to_owned(), answer.secret),
            }
            Ok(Some(auth))
        }
        .boxed()
    }
}

/// Messages of a call as a connection: `Control/Session` carries one in `BytesMessage`s.
pub fn tunnel(
    body: axum::body::Body,
) -> (DuplexStream, impl futures_util::Stream<Item = Result<bollard_buildkit_proto::moby::buildkit::v1::BytesMessage, Status>> + Send) {
    use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let (read, mut write) = tokio::io::split(theirs);
    let mut incoming = Incoming::<BytesMessage>::new(body);
    let inward = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok(Some(message)) = incoming.next().await {
            if write.write_all(&message.data).await.is_err() {
                return;
            }
        }
        // The other end may be gone already.
        let _ = write.shutdown().await;
    }));
    let outward = tokio_util::io::ReaderStream::with_capacity(read, AGENT_MESSAGE).map(move |piece| {
        let _ = &inward;
        piece.map(|data| BytesMessage { data: data.to_vec() }).map_err(|e| Status::new(Code::Cancelled, format!("the session broke: {e}")))
    });
    (ours, outward)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_ascii() {
        let mut metadata = Vec::new();
        listed(&mut metadata, "followpaths", "followpaths-encoded", &["a b".to_owned(), "ü/ +".to_owned()]);
        let expected = [("followpaths", "a+b"), ("followpaths", "%C3%BC%2F+%2B"), ("followpaths-encoded", "1")];
        assert_eq!(metadata, expected.map(|(k, v)| (k, v.to_owned())));
        metadata.clear();
        listed(&mut metadata, "dir-name", "dir-name-encoded", &["context".to_owned()]);
        assert_eq!(metadata, [("dir-name", "context".to_owned())]);
    }
}
