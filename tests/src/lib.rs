//! What the end-to-end tests and the benchmark stand on: a server of one's own, the real docker CLI, raw HTTP over its
//! socket, a terminal, images made on the spot and a registry to pull them from. Nothing here knows the engine: everything is
//! done and seen from outside, so the same tests run against a real dockerd with `WHARF_E2E_DOCKER_HOST`.
//!
//! Functions here panic with the whole story when something is not as it must be: they are called by tests.

pub mod browser;
pub mod cli;
pub mod host;
pub mod http;
pub mod image;

pub mod peer;
pub mod registry;
pub mod saved;
pub mod server;
pub mod terminal;

pub use cli::{Docker, Output};
pub use server::{Options, Server};

use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine before we say that it will not come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `seen` gives something. Conditions, not times: a test that passes is as fast as the machine.
///
/// # Panics
/// When it does not come within [`PATIENCE`].
pub fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = seen() {
            return value;
        }
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The next second, for `docker events --until`: the client's own "now" is cut to whole seconds and would leave out what has
/// just happened.
pub fn soon() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time after 1970");
    (now.as_secs() + 1).to_string()
}

/// Says loudly that a test could not be made here, and why. Tests return after it.
pub fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// A program's path, if it is installed.
pub fn program(name: &str) -> Option<std::path::PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .chain(["/usr/sbin", "/sbin"].map(std::path::PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
