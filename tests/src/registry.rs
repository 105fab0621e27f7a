//! Debian's docker-registry on a loopback port of its own, empty at first. Pushing into it is the server's to do.

use crate::until;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// A running registry; it ends with this value.
pub struct Registry {
    child: Child,
    _folder: tempfile::TempDir,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Registry {
    /// Starts one; `None` where the program is not installed.
    pub fn start() -> Option<Self> {
        let program = crate::program("docker-registry")?;
        let folder = tempfile::Builder::new().prefix("wharf-registry.").tempdir().expect("a folder for the registry");
        // The port is free now; whoever takes it in between makes the registry fail loudly.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  delete:\n    enabled: true\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            folder.path().join("data").display()
        );
        let path = folder.path().join("config.yml");
        std::fs::write(&path, config).expect("the registry's configuration");
        let mut child = Command::new(program)
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a registry");
        until("the registry listens", || {
            assert!(child.try_wait().expect("asking after the registry").is_none(), "the registry ended at once");
            TcpStream::connect(&address).ok()
        });
        Some(Self { child, _folder: folder, address })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
