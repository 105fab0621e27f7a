//! What is asked of a build, and what it tells.

use super::client::{BuildClient, ContextFrom, NamedContext};
use super::dockerfile::lint::Finding;
use crate::container::Resources;
use crate::container::request::StreamKind;
use crate::image::RegistryAuth;
use crate::progress::Progress;
use crate::{ContainerId, Digest, Error};
use bytes::Bytes;
use futures_util::Stream;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

/// A build as asked for.
#[derive(Clone, Default)]
pub struct BuildRequest {
    /// The Dockerfile's path in the context; empty: `Dockerfile`.
    pub dockerfile: String,
    /// The Dockerfile itself, when it does not come with the context.
    pub inline: Option<Vec<u8>>,
    /// An `http(s)` URL of the context (a tar) or of the Dockerfile alone; empty: it comes with the request.
    pub remote: String,
    /// Names for the image.
    pub tags: Vec<String>,
    /// The stage to build, by name or number; empty: the last.
    pub target: String,
    /// Values for ARGs; `None`: unset.
    pub args: BTreeMap<String, Option<String>>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Use nothing that is remembered.
    pub no_cache: bool,
    /// Stages in which nothing remembered is used, by name.
    pub no_cache_stages: Vec<String>,
    /// Images whose inline cache may be used, best first.
    pub cache_from: Vec<String>,
    /// Put into the image what a later build needs to use it as a cache.
    pub inline_cache: bool,
    /// The host's name in RUNs; empty: the container's.
    pub hostname: String,
    /// Ask registries for newer base images.
    pub pull: bool,
    /// `os/arch[/variant]`; empty: this host's.
    pub platform: String,
    /// The network of RUNs; empty: the tenant's default one.
    pub network: String,
    /// `host:ip` lines for RUNs.
    pub extra_hosts: Vec<String>,
    /// Bytes of /dev/shm in RUNs; 0: the default.
    pub shm_size: i64,
    /// Limits of RUNs.
    pub resources: Resources,
    /// `--security-opt`s of RUNs.
    pub security_opt: Vec<String>,
    /// Credentials by registry host.
    pub auths: BTreeMap<String, RegistryAuth>,
    /// Secrets by id, for `RUN --mount=type=secret`.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// A name by which [`crate::Engine::cancel_build`] finds it; empty: none.
    pub id: String,
    /// Who is asked for folders, secrets, agents and credentials.
    pub client: Option<Arc<dyn BuildClient>>,
    /// Where the context is, when it does not come with the request.
    pub context: ContextFrom,
    /// The client's folder that has the Dockerfile, where the context is the client's; empty: the context itself.
    pub definition: String,
    /// Named contexts.
    pub contexts: BTreeMap<String, NamedContext>,
}

/// Something with a progress of its own: the context's way here, a base image, an instruction that changes files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// Among those of its build, from 1.
    pub id: u32,
    /// What people see: `[build 2/5] RUN make`.
    pub name: String,
    /// Its instruction's line in the Dockerfile; 0: it has none.
    pub line: usize,
    /// What it waited for.
    pub inputs: Vec<u32>,
}

/// How a vertex ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Carried out.
    Done,
    /// What it would do is remembered.
    Cached,
    /// The build ends with it.
    Failed(String),
}

/// What happens in a build.
#[derive(Debug)]
pub enum BuildEvent {
    /// An instruction begins.
    Step {
        /// From 1.
        number: usize,
        /// How many there are.
        total: usize,
        /// The instruction, as shown.
        text: String,
    },
    /// The Dockerfile was read: its name and text.
    Definition(String, Vec<u8>),
    /// A vertex begins.
    Begin(Vertex),
    /// Bytes on their way for a vertex: what they are, how many so far, whether that is all.
    Transfer {
        /// The vertex.
        vertex: u32,
        /// `transferring context`.
        what: &'static str,
        /// So far.
        bytes: u64,
        /// All are here.
        done: bool,
    },
    /// A vertex is over.
    End(u32, End),
    /// A base image is being pulled, for a vertex.
    Pull(u32, Progress),
    /// What it would do is remembered.
    Cached,
    /// A RUN's container was made.
    Running(ContainerId),
    /// A RUN said something, for a vertex.
    Output(u32, StreamKind, Bytes),
    /// A RUN's container is gone again.
    Removed(ContainerId),
    /// Something the author should know.
    Warning(String),
    /// One of Docker's build checks has something to say.
    Advice(Finding),
    /// An instruction is done; the digest stands for all so far.
    Done(Digest),
    /// The image is there, with these names in familiar form; whether it was not there before.
    Built(Digest, Vec<String>, bool),
    /// It failed; nothing follows.
    Failed(Error),
}

/// What happens, as it happens. Dropping it cancels the build.
pub type BuildEvents = Pin<Box<dyn Stream<Item = BuildEvent> + Send>>;

/// A RUN that ended with another code than 0; the `source()` of the error that ends such a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailed {
    /// Its exit code.
    pub code: i32,
    /// What ran.
    pub command: String,
}

impl std::fmt::Display for StepFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {:?} did not complete successfully: exit code: {}", self.command, self.code)
    }
}

impl std::error::Error for StepFailed {}

/// Why a build failed as one sentence, and the line of the Dockerfile that the error names: for those who show the file
/// around it themselves.
pub fn failure(error: &Error) -> (String, Option<usize>) {
    use std::error::Error as _;
    let text = match error.source().and_then(|s| s.downcast_ref::<StepFailed>()) {
        Some(step) => step.to_string(),
        None => error.to_string(),
    };
    let mut sentence = String::new();
    for line in text.lines() {
        // `12 | RUN make`: the place follows.
        if let Some((number, _)) = line.split_once(" | ")
            && let Ok(number) = number.trim().parse()
        {
            return (sentence, Some(number));
        }
        if !sentence.is_empty() {
            sentence.push('\n');
        }
        sentence.push_str(line);
    }
    (sentence, None)
}
