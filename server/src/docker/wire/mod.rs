//! Docker's JSON, both ways: requests into the engine's words, the engine's views into Docker's words.
//!
//! Requests are read field by field ([`super::fields`]), so that nothing is dropped unseen. Responses are written key by
//! key: a forgotten key shows in the snapshot and against the recordings of dockerd (`api-shape`).

pub mod container;
pub mod create;
pub mod event;
pub mod exec;
pub mod host;
pub mod image;
pub mod mount;
pub mod network;
pub mod progress;
#[cfg(test)]
pub mod recordings;
pub mod stats;
pub mod status;
pub mod summary;
pub mod time;
pub mod volume;

/// Base64 in any of the alphabets and paddings that clients use.
pub fn base64_any(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let text = text.trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}
