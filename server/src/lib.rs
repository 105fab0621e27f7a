//! The server: everything between bytes from a client and one call into the engine.
//!
//! `listen` accepts connections and learns who is at the other end, `route` brings every request to exactly one handler
//! after its permission was judged, `auth` turns proofs into an `engine::Subject`, `docker`, `api` and `pages` are the three
//! faces. Nothing here touches namespaces, cgroups or mounts: that is the engine's.

pub mod api;
pub mod app;
pub mod auth;
pub mod ca;
pub mod cli;
pub mod config;
pub mod docker;
pub mod listen;
pub mod operations;
pub mod pages;
pub mod route;
pub mod store;
pub mod telemetry;
pub mod tls;

pub use app::App;
pub use auth::who::{MaybeWho, Who};
pub use route::{ApiVersion, Permission, Routes};
