//! What `docker save` wrote, read back from outside: an image's configuration, and the tree that its layers come to, one line
//! for each file, so that two engines' images can be compared file by file.

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use tar::{Archive, EntryType};

/// An image as saved.
pub struct Saved {
    /// The configuration, whole.
    pub config: Value,
    /// By path: kind, mode, owner, content, link, attributes. Not times: no two builds have the same.
    pub tree: BTreeMap<String, String>,
}

impl Saved {
    /// Reads an archive with one image.
    ///
    /// # Panics
    /// When it is none.
    pub fn read(archive: &[u8]) -> Self {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut links: BTreeMap<String, String> = BTreeMap::new();
        for entry in Archive::new(archive).entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").to_string_lossy().into_owned();
            if let Some(target) = entry.link_name().expect("a link").filter(|_| !entry.header().entry_type().is_file()) {
                // Links are relative to where they stand.
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
                let target = target.to_string_lossy().into_owned();
                for part in target.split('/') {
                    match part {
                        ".." => parts.truncate(parts.len().saturating_sub(1)),
                        part => parts.push(part),
                    }
                }
                let target = parts.join("/");
                links.insert(path, target);
                continue;
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("a file's content");
            files.insert(path, content);
        }
        let file = |name: &str| {
            let name = links.get(name).map_or(name, String::as_str);
            files.get(name).unwrap_or_else(|| panic!("{name} is not in the archive"))
        };
        let manifest: Value = serde_json::from_slice(file("manifest.json")).expect("manifest.json");
        let image = &manifest[0];
        let config = serde_json::from_slice(file(image["Config"].as_str().expect("Config"))).expect("a configuration");
        let mut tree = BTreeMap::new();
        for layer in image["Layers"].as_array().expect("Layers") {
            add(&mut tree, file(layer.as_str().expect("a layer")));
        }
        Self { config, tree }
    }

    /// What a container would run with, and nothing of how it was made.
    pub fn runs_with(&self) -> Value {
        let mut config = self.config["config"].clone();
        if let Some(map) = config.as_object_mut() {
            // Absent, null, empty and false mean the same, and every version writes another of them.
            map.retain(|_, v| {
                !matches!(v, Value::Null | Value::Bool(false)) && v != "" && v != &serde_json::json!([]) && v != &serde_json::json!({})
            });
            // Of the container that the classic builder committed.
            for key in ["Hostname", "Image", "ArgsEscaped"] {
                map.remove(key);
            }
        }
        config
    }
}

/// Lays a layer over a tree.
fn add(tree: &mut BTreeMap<String, String>, layer: &[u8]) {
    let plain;
    let layer = if layer.starts_with(&[0x1f, 0x8b]) {
        let output = crate::Output::of(std::process::Command::new("gzip").arg("-dc").stdin(crate::saved::piped(layer)));
        plain = output.succeeded().bytes;
        &plain
    } else {
        layer
    };
    let mut added: BTreeMap<String, String> = BTreeMap::new();
    let remove = |tree: &mut BTreeMap<String, String>, path: &str, itself: bool| {
        let below = format!("{path}/");
        tree.retain(|name, _| !(name.starts_with(&below) || itself && name == path));
    };
    for entry in Archive::new(layer).entries().expect("a layer") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_string_lossy().trim_start_matches("./").trim_matches('/').to_owned();
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            remove(tree, folder, false);
            continue;
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            remove(tree, format!("{folder}/{hidden}").trim_matches('/'), true);
            continue;
        }
        let mut attributes = BTreeMap::new();
        for extension in entry.pax_extensions().expect("extensions").into_iter().flatten() {
            let extension = extension.expect("an extension");
            if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
                attributes.insert(name.to_owned(), hex::encode(extension.value_bytes()));
            }
        }
        let header = entry.header().clone();
        let (kind, what) = match header.entry_type() {
            EntryType::Directory => ("d", String::new()),
            EntryType::Symlink => ("l", entry.link_name().expect("a link").expect("its target").to_string_lossy().into_owned()),
            EntryType::Fifo => ("p", String::new()),
            EntryType::Link => {
                let target = entry
                    .link_name()
                    .expect("a link")
                    .expect("its target")
                    .to_string_lossy()
                    .trim_start_matches("./")
                    .trim_matches('/')
                    .to_owned();
                let same = added.get(&target).or_else(|| tree.get(&target)).cloned();
                added.insert(path, same.unwrap_or_else(|| panic!("a hard link to {target}, which is not there")));
                continue;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("a file's content");
                let shown = match std::str::from_utf8(&content) {
                    Ok(text) if text.len() <= 200 => format!("{text:?}"),
                    _ => hex::encode(Sha256::digest(&content)),
                };
                ("f", shown)
            }
            other => panic!("{path}: an entry of kind {other:?}"),
        };
        let mode = if kind == "l" { 0o777 } else { header.mode().expect("a mode") & 0o7777 };
        let (uid, gid) = (header.uid().expect("an owner"), header.gid().expect("a group"));
        if kind != "d" {
            remove(tree, &path, false);
        }
        if path.is_empty() {
            continue;
        }
        added.insert(path, format!("{kind} {mode:04o} {uid}:{gid} {what} {attributes:?}"));
    }
    tree.append(&mut added);
}

/// Bytes as a program's standard input.
fn piped(bytes: &[u8]) -> std::process::Stdio {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("writing it");
    file.rewind().expect("its beginning");
    file.into()
}
