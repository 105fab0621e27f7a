//! What is asked of a build, and what it tells.

use crate::container::Resources;
use crate::container::request::StreamKind;
use crate::image::RegistryAuth;
use crate::progress::Progress;
use crate::{ContainerId, Digest, Error};
use bytes::Bytes;
use futures_util::Stream;
use std::collections::BTreeMap;
use std::pin::Pin;

/// A build as asked for.
#[derive(Clone, Default)]
pub struct BuildRequest {
    /// The Dockerfile's path in the context; empty: `Dockerfile`.
    pub dockerfile: String,
    /// The Dockerfile itself, when it does not come with the context.
    pub inline: Option<Vec<u8>>,
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
    /// A base image is being pulled.
    Pull(Progress),
    /// What it would do is remembered.
    Cached,
    /// A RUN's container was made.
    Running(ContainerId),
    /// A RUN said something.
    Output(StreamKind, Bytes),
    /// A RUN's container is gone again.
    Removed(ContainerId),
    /// Something the author should know.
    Warning(String),
    /// An instruction is done; the digest stands for all so far.
    Done(Digest),
    /// The image is there, with these names in familiar form.
    Built(Digest, Vec<String>),
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
}

impl std::fmt::Display for StepFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}", self.code)
    }
}

impl std::error::Error for StepFailed {}
