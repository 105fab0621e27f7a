//! The builder: a Dockerfile and a context become an image.
//!
//! `dockerfile` reads the file, `plan` finds the stages that are needed, `ignore` thins the context, `work` goes through
//! the instructions, `run` and `transfer` carry out those that touch files, `builds` remembers what came of them. Untrusted
//! bytes (the context, layers, trees) are read by workers only; `RUN` is a container like any other, with the same
//! judgement, limits and network.

mod builds;
pub mod dockerfile;
mod facade;
pub mod ignore;
mod mounts;
mod plan;
mod request;
mod run;
mod scope;
mod stage;
#[cfg(test)]
mod tests;
mod transfer;
mod work;

pub(crate) use builds::Builds;
pub use builds::{BuildCacheEntry, PruneBuilds};
pub use request::{BuildEvent, BuildEvents, BuildRequest, StepFailed};
