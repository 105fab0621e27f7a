//! Containers, images, networks and volumes of one Linux host, as a library.

pub mod audit;
mod blocking;
pub mod build;
pub mod caps;
pub mod cgroup;
pub mod container;
pub mod disk;
mod engine;
mod error;
pub mod event;
mod filter;
pub mod grant;
pub mod host;
mod id;
pub mod image;
pub mod inotify;
mod instance;
pub mod inventory;
mod janitor;
pub mod log;
pub mod network;
pub mod policy;
pub mod progress;
pub mod runtime;
pub mod seccomp;
pub mod size;
pub mod stats;
mod subject;
pub mod sys;
pub mod tenant;
pub mod volume;
pub mod worker;

pub use audit::{Audit, AuditId};
pub(crate) use blocking::blocking;
pub use engine::{Counts, Engine, EngineConfig, OwnEvents, Pruned};
pub use error::{Doing, Error, Kind, Result};
pub use filter::Filters;
pub use id::{ContainerId, Digest, EndpointId, ExecId, GrantId, NetworkId, OperationId, TenantId, UserId};
pub use instance::{DEFAULT_DATA_ROOT, Instance};
pub use subject::{Role, Scope, Subject, UnixAccount, Via};
pub use tenant::{Quota, Tenant, Tenants};

/// Sets the fault points that the environment's FAILPOINTS names, for the crash tests. They stay set until the process ends.
#[cfg(feature = "failpoints")]
pub fn arm_failpoints() {
    std::mem::forget(fail::FailScenario::setup());
}
