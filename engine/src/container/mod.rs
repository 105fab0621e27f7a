//! Containers: what was asked (`spec`), what that means (`effective`), what is kept (`record`), and the functions people call,
//! one file a noun or verb. All lifecycle changes of one container are serialised by its own lock; reads take a snapshot.

mod adopt;
mod attach;
mod bind;
mod changes;
mod commit;
mod create;
mod device;
pub mod effective;
mod etc;
pub(crate) mod exec;
mod files;
mod health;
mod image_mount;
pub(crate) mod life;
mod list;
mod logs;
mod name;
mod networking;
mod oci;
mod plan;
pub(crate) mod record;
pub(crate) mod registry;
mod remove;
pub mod request;
pub(crate) mod root;
mod ship;
pub mod spec;
mod start;
pub(crate) mod step;
mod stop;
mod update;
mod usage;
pub mod view;
mod wait;
pub(crate) mod zygote;

pub(crate) use commit::apply_changes;
pub use effective::{EffectiveSpec, effective};
pub use files::CommitRequest;
pub use spec::{ContainerPort, ContainerSpec, EndpointSpec, Healthcheck, HostPort, Protocol, Resources, RestartPolicy};
pub(crate) use step::credentials;
pub use view::{Container, State};
