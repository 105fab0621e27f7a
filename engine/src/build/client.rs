//! What a build can ask of the client that started it, where the client stays connected: folders of its disk, secrets, its
//! SSH agent, its registry credentials. The server's BuildKit door is one; the engine knows no wire here.

use crate::container::request::ArchiveStream;
use crate::image::RegistryAuth;
use crate::{Error, Result};
use futures_util::future::BoxFuture;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes of one secret: what BuildKit allows.
pub const SECRET_MAX: usize = 500 * 1024;

/// What of a folder is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// These paths only, and what links among them lead to; empty: everything.
    pub follow: Vec<String>,
    /// Patterns to leave out, in Docker's order and with its `!`.
    pub exclude: Vec<String>,
}

/// A conversation with an agent.
pub trait Conversation: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Conversation for T {}

/// A conversation, boxed.
pub type Agent = Pin<Box<dyn Conversation>>;

/// A client that is there while its build runs. Everything it gives is a stranger's bytes.
pub trait BuildClient: Send + Sync + 'static {
    /// A folder by the name it has with the client, as a tar that only a worker may read.
    ///
    /// # Errors
    /// What the client said, or that it has gone.
    fn folder<'a>(&'a self, name: &'a str, wanted: Wanted) -> BoxFuture<'a, Result<ArchiveStream>>;
    /// An archive that the client holds ready under an id (a context from its standard input).
    ///
    /// # Errors
    /// As `folder`.
    fn upload<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ArchiveStream>>;
    /// A secret; `None`: it has none of that id.
    ///
    /// # Errors
    /// As `folder`.
    fn secret<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>>;
    /// Whether it forwards an SSH agent by this id.
    ///
    /// # Errors
    /// As `folder`.
    fn has_agent<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>>;
    /// A new conversation with that agent.
    ///
    /// # Errors
    /// As `folder`.
    fn agent<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Agent>>;
    /// Credentials for a registry; `None`: anonymous.
    ///
    /// # Errors
    /// As `folder`.
    fn credentials<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<RegistryAuth>>>;
}

/// Where the context of a build comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ContextFrom {
    /// It is sent along with the request (or there is none).
    #[default]
    Request,
    /// A folder of the client's, by name.
    Folder(String),
    /// An archive the client holds ready, by id.
    Upload(String),
}

/// What a named context (`--build-context NAME=…`) is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// An image, by name or id.
    Image(String),
    /// A folder of the client's, by the name it has there.
    Folder(String),
    /// A git repository, or an archive on the web, by its URL.
    Remote(String),
}

/// No client: a build that needs one says so.
pub(super) fn nobody(what: &str) -> Error {
    Error::invalid(format!("{what} needs a client that stays connected, as docker build with buildx does"))
}
