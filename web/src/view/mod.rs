//! View structs: one for each page, filled by the server's page handlers.

pub mod account;
pub mod admin;
pub mod container;
pub mod door;
pub mod home;
pub mod image;
pub mod log;
pub mod message;
pub mod network;
pub mod operation;
pub mod page;
pub mod piece;
pub mod search;
pub mod trash;
pub mod volume;

/// Why a page could not be made.
pub use askama::Error as RenderError;
pub use page::{Flash, Page, Person};
pub use piece::{Badge, Fact, Field, Meter, Tone, Value, When};
