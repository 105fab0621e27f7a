//! Images: references, registries, the content store, unpacked layers and archives, for many tenants on one host.
//!
//! [`Images`] is the handle. It is policy-free: callers were authorised before, and say for which tenant they ask. A blob
//! or layer is visible to a tenant if that tenant brought it (pulled with credentials, loaded, built), or if it came from
//! an anonymous pull, of which the host keeps one copy for all. Bytes from outside are parsed in a worker only, except for
//! JSON of limited size.

pub(crate) mod build;
mod config;
mod content;
mod create;
mod facade;
mod layer;
mod list;
mod load;
mod manifest;
mod pull;
mod push;
pub mod reference;
mod registry;
mod remove;
mod request;
mod save;
mod store;
#[cfg(test)]
mod tests;
mod transport;
mod view;

pub use config::{CachedStep, ConfigFile, Platform};
pub(crate) use facade::named;
pub use pull::Distribution;
pub use reference::Reference;
pub use request::{ImageFilter, PullRequest, RegistryAuth, Removal};
pub use store::{ImageUse, Images, ImagesConfig, LayerPath, NewImage, Usage};
pub use view::{History, Image, ImageConfig};
