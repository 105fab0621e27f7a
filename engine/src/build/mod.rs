//! The builder: a Dockerfile and a context become an image.
//!
//! `context` brings the files here (`client`: from one that stays connected; `fetch`: from the web; `git`: from a repository), `dockerfile` reads the file, `plan` finds the
//! stages that are needed, `ignore` thins the context, `work` goes through the instructions, `run` and `transfer` carry out
//! those that touch files, `builds` remembers what came of them, `tell` says what happens. Untrusted bytes (the context,
//! layers, trees) are read by workers only; `RUN` is a container like any other, with the same judgement, limits and network.

mod agent;
mod builds;
mod client;
mod context;
pub mod dockerfile;
mod facade;
mod fetch;
mod files;
mod git;
pub mod ignore;
mod mounts;
mod plan;
mod request;
mod run;
mod scope;
mod stage;
mod tell;
#[cfg(test)]
mod tests;
mod transfer;
mod work;

pub(crate) use builds::Builds;
pub use builds::{BuildCacheEntry, PRUNE_FILTERS, PruneBuilds};
pub use client::{Agent, BuildClient, ContextFrom, Conversation, NamedContext, SECRET_MAX, Wanted};
pub use facade::Examined;
pub use files::ImageTree;
pub(crate) use git::program as git_program;
pub use request::{BuildEvent, BuildEvents, BuildRequest, End, StepFailed, Vertex, failure};
