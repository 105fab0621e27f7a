//! Pages of Wharf: templates, the view structs that fill them, and the static files.
//!
//! A view holds text that is ready to be shown; the templates only loop and choose. This crate knows neither the HTTP server
//! nor the engine: the server's page handlers turn engine objects into views and send what `render` gives. Everything that
//! comes from people or containers is escaped by the templates; the only ready-made HTML is what `ansi` and `json` make,
//! which escape first.

pub mod ansi;
pub mod assets;
pub mod format;
pub mod json;
pub mod view;

pub use askama::Template;
