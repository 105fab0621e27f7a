//! Images.

mod request;
mod view;

pub use request::{ImageFilter, PullRequest, RegistryAuth, Removal};
pub use view::{History, Image, ImageConfig};
