//! Containers.

pub mod effective;
pub mod request;
pub mod spec;
pub mod view;

pub use effective::{EffectiveSpec, effective};
pub use spec::{ContainerPort, ContainerSpec, EndpointSpec, Healthcheck, HostPort, Protocol, Resources, RestartPolicy};
pub use view::{Container, State};

/// How to make an image of a container.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// Repository; empty: no name.
    pub repository: String,
    /// Tag; empty: latest.
    pub tag: String,
    /// Comment.
    pub comment: String,
    /// Author.
    pub author: String,
    /// Freeze it meanwhile.
    pub pause: bool,
    /// Dockerfile lines.
    pub changes: Vec<String>,
    /// Configuration instead of the container's.
    pub config: Option<ContainerSpec>,
}
