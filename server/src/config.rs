//! What can be configured: file, environment, flags, in that order of weakness.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything lasting lies.
    pub data_root: PathBuf,
    /// Sockets and shims' facts.
    pub run_dir: PathBuf,
    /// The main Unix socket.
    pub socket: PathBuf,
    /// HTTPS.
    pub listen: Vec<SocketAddr>,
}
