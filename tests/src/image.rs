//! Images made on the spot, as `docker save` would write them: the host's static busybox, a few folders, and whatever a test
//! wants to see unpacked. No network, no builder.

use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// An image with one layer, in the making.
pub struct Image {
    layer: Builder<Vec<u8>>,
    config: serde_json::Value,
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nweb:x:1000:2000:web:/home/web:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\nweb:x:2000:\nlogs:x:3000:web\n";

impl Image {
    /// An image with nothing in it.
    pub fn empty() -> Self {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self { layer: Builder::new(Vec::new()), config: json!({ "Env": [path], "Cmd": ["sh"], "WorkingDir": "/" }) }
    }

    /// The host's static busybox with all its names, and the accounts root, nobody and web (1000:2000, also in logs).
    ///
    /// # Panics
    /// When there is no static busybox on this host.
    pub fn busybox() -> Self {
        let program = crate::program("busybox").expect("a static busybox (package busybox-static)");
        let binary = std::fs::read(&program).expect("reading busybox");
        let names = std::process::Command::new(&program).arg("--list").output().expect("asking busybox for its names");
        let mut image = Self::empty();
        for folder in ["bin", "etc", "home", "proc", "root", "sys", "tmp", "usr", "usr/bin", "usr/local", "usr/local/bin", "var"] {
            image = image.folder(folder, if folder == "tmp" { 0o1777 } else { 0o755 });
        }
        image = image.file("bin/busybox", &binary, 0o755).file("etc/passwd", PASSWD.as_bytes(), 0o644).file(
            "etc/group",
            GROUP.as_bytes(),
            0o644,
        );
        for name in String::from_utf8_lossy(&names.stdout).lines().filter(|name| *name != "busybox" && !name.is_empty()) {
            image = image.link(&format!("bin/{name}"), "busybox");
        }
        image
    }

    /// [`Image::busybox`] with the host's node and npm and the account node (1000:1000), as Node's own images have it; `None`
    /// where they are not installed.
    ///
    /// # Panics
    /// When what is installed cannot be read.
    pub fn node() -> Option<Self> {
        let (node, npm) = (crate::program("node")?, std::path::Path::new("/usr/lib/node_modules/npm"));
        if !npm.join("bin/npm-cli.js").is_file() {
            return None;
        }
        let mut image = Self::busybox();
        let read = |path: &std::path::Path| std::fs::read(path).unwrap_or_else(|e| panic!("reading {}: {e}", path.display()));
        let libraries = std::process::Command::new("ldd").arg(&node).output().expect("ldd").stdout;
        let libraries = String::from_utf8_lossy(&libraries).into_owned();
        for word in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            image = image.file(word.trim_start_matches('/'), &read(std::path::Path::new(word)), 0o755);
        }
        image = image.file("usr/local/bin/node", &read(&node), 0o755);
        let mut open = vec![npm.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder of npm's").flatten() {
                let path = entry.path();
                match entry.file_type().expect("its kind") {
                    kind if kind.is_dir() => open.push(path),
                    kind if kind.is_file() => {
                        let inside = path.strip_prefix("/").expect("an absolute path").to_string_lossy().into_owned();
                        image = image.file(&inside, &read(&path), 0o755);
                    }
                    _ => {}
                }
            }
        }
        let npm = b"#!/bin/sh\nexec /usr/local/bin/node /usr/lib/node_modules/npm/bin/npm-cli.js \"$@\"\n";
        let accounts = PASSWD.replace("web:x:1000:2000:web:/home/web", "node:x:1000:1000::/home/node");
        image = image.file("usr/local/bin/npm", npm, 0o755).file("etc/passwd", accounts.as_bytes(), 0o644);
        Some(image.folder("home/node", 0o777))
    }

    /// With a folder.
    #[must_use]
    pub fn folder(mut self, path: &str, mode: u32) -> Self {
        let mut header = header(EntryType::Directory, mode, 0);
        self.layer.append_data(&mut header, format!("{path}/"), std::io::empty()).expect("a folder in the layer");
        self
    }

    /// With a file.
    #[must_use]
    pub fn file(mut self, path: &str, content: &[u8], mode: u32) -> Self {
        let mut header = header(EntryType::Regular, mode, content.len());
        self.layer.append_data(&mut header, path, content).expect("a file in the layer");
        self
    }

    /// With a symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        self.layer.append_link(&mut header, path, target).expect("a link in the layer");
        self
    }

    /// With a device node: `EntryType::Char` or `Block`.
    #[must_use]
    pub fn device(mut self, path: &str, kind: EntryType, major: u32, minor: u32) -> Self {
        let mut header = header(kind, 0o666, 0);
        header.set_device_major(major).expect("a device's number");
        header.set_device_minor(minor).expect("a device's number");
        self.layer.append_data(&mut header, path, std::io::empty()).expect("a node in the layer");
        self
    }

    /// With `/bin/probe`, the program of system calls in `probe.c`; `None` where there is no compiler for static programs.
    ///
    /// # Panics
    /// When it does not compile.
    pub fn probe(self) -> Option<Self> {
        let compiler = crate::program("cc")?;
        let folder = tempfile::tempdir().expect("a folder for the probe");
        let (source, program) = (folder.path().join("probe.c"), folder.path().join("probe"));
        std::fs::write(&source, include_str!("probe.c")).expect("its source");
        let output = crate::Output::of(std::process::Command::new(compiler).args(["-static", "-O1", "-o"]).arg(&program).arg(&source));
        if output.stderr.contains("cannot find -lc") {
            return None;
        }
        output.succeeded();
        Some(self.file("bin/probe", &std::fs::read(&program).expect("the probe"), 0o755))
    }

    /// With a value in its configuration: `User`, `Entrypoint`, `Volumes`, …
    #[must_use]
    pub fn set(mut self, key: &str, value: serde_json::Value) -> Self {
        self.config[key] = value;
        self
    }

    /// The archive for `docker load`.
    pub fn archive(self, names: &[&str]) -> Vec<u8> {
        let layer = self.layer.into_inner().expect("the layer's end");
        let diff = hex::encode(Sha256::digest(&layer));
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
            "created": "2026-01-01T00:00:00Z", "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff}")] },
            "history": [{ "created": "2026-01-01T00:00:00Z", "created_by": "e2e" }],
        })
        .to_string();
        let config_name = format!("{}.json", hex::encode(Sha256::digest(config.as_bytes())));
        let layer_name = format!("{diff}/layer.tar");
        let manifest = json!([{ "Config": config_name, "RepoTags": names, "Layers": [layer_name] }]).to_string();
        let mut archive = Builder::new(Vec::new());
        for (path, content) in [(config_name.as_str(), config.as_bytes()), (&layer_name, &layer), ("manifest.json", manifest.as_bytes())] {
            let mut header = header(EntryType::Regular, 0o644, content.len());
            archive.append_data(&mut header, path, content).expect("a part of the archive");
        }
        archive.into_inner().expect("the archive's end")
    }
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(1_767_225_600);
    header.set_uid(0);
    header.set_gid(0);
    header
}
