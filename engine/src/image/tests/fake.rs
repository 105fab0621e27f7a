//! A registry on loopback that can misbehave.

use crate::Digest;
use crate::image::manifest::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What it holds and how it misbehaves.
#[derive(Default)]
pub struct State {
    /// `repo/tag` and `repo/sha256:…` → (media type, bytes).
    pub manifests: HashMap<String, (String, Vec<u8>)>,
    pub blobs: HashMap<String, Vec<u8>>,
    /// Closes the connection after so many bytes of a blob, this many times.
    pub cut: Option<(usize, usize)>,
    /// Answers so many blob requests with 503 first.
    pub busy: usize,
    pub ranges: bool,
    /// `user:password` in base64 that it wants.
    pub basic: Option<String>,
    /// Asks for a bearer token from this realm.
    pub realm: Option<String>,
    /// Request lines, with the Authorization header.
    pub log: Vec<(String, Option<String>)>,
}

pub struct Registry {
    pub address: String,
    pub state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State { ranges: true, ..State::default() }));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move {
                    // A client that goes away is no failure of the test.
                    let _ = serve(stream, state).await;
                });
            }
        });
        Self { address, state, task }
    }

    pub fn with(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    /// Puts an image of these packed layers there; returns its manifest's digest and its id.
    pub fn image(&self, name: &str, layers: &[(Vec<u8>, Digest)]) -> (Digest, Digest) {
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z", "config": {"Cmd": ["sh"], "Labels": {"a": "b"}},
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|l| l.1).collect::<Vec<_>>()},
            "history": layers.iter().map(|_| serde_json::json!({"created_by": "x"})).collect::<Vec<_>>(),
        })
        .to_string()
        .into_bytes();
        let id = Digest::of(&config);
        let layer =
            |data: &Vec<u8>| serde_json::json!({"mediaType": format!("{OCI_LAYER}+gzip"), "digest": Digest::of(data), "size": data.len()});
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": id, "size": config.len()},
            "layers": layers.iter().map(|l| layer(&l.0)).collect::<Vec<_>>(),
        })
        .to_string()
        .into_bytes();
        let digest = Digest::of(&manifest);
        self.with(|s| {
            s.blobs.insert(id.to_string(), config);
            for (data, _) in layers {
                s.blobs.insert(Digest::of(data).to_string(), data.clone());
            }
            s.manifests.insert(format!("{name}/{digest}"), (OCI_MANIFEST.to_owned(), manifest.clone()));
            s.manifests.insert(format!("{name}/latest"), (OCI_MANIFEST.to_owned(), manifest));
        });
        (digest, id)
    }

    /// Makes `name:tag` an index of manifests for platforms.
    pub fn index(&self, name: &str, tag: &str, entries: &[(Digest, &str, &str)]) -> Digest {
        let entries: Vec<_> = entries
            .iter()
            .map(|(d, arch, variant)| {
                serde_json::json!({"mediaType": OCI_MANIFEST, "digest": d, "size": 1, "platform": {"os": "linux", "architecture": arch, "variant": variant}})
            })
            .collect();
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string().into_bytes();
        let digest = Digest::of(&index);
        self.with(|s| {
            s.manifests.insert(format!("{name}/{tag}"), (OCI_INDEX.to_owned(), index.clone()));
            s.manifests.insert(format!("{name}/{digest}"), (OCI_INDEX.to_owned(), index));
        });
        digest
    }

    pub fn requests(&self, containing: &str) -> usize {
        self.state.lock().unwrap().log.iter().filter(|(line, _)| line.contains(containing)).count()
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            match header.trim_end().split_once(": ") {
                Some((k, v)) => headers.insert(k.to_ascii_lowercase(), v.to_owned()),
                None => break,
            };
        }
        if let Some(n) = headers.get("content-length").and_then(|n| n.parse::<usize>().ok()) {
            let mut body = vec![0; n];
            stream.read_exact(&mut body).await?;
        }
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let (head, body, most) = answer(&state, method, path, &headers, line.trim_end());
        stream.write_all(head.as_bytes()).await?;
        if method != "HEAD" {
            stream.write_all(&body[..most.min(body.len())]).await?;
        }
        stream.flush().await?;
        if most < body.len() {
            return Ok(());
        }
    }
}

/// Head, body, and how much of the body really goes out.
fn answer(state: &Mutex<State>, method: &str, path: &str, headers: &BTreeMap<String, String>, line: &str) -> (String, Vec<u8>, usize) {
    let mut s = state.lock().unwrap();
    let authorization = headers.get("authorization").cloned();
    s.log.push((format!("{method} {path} {}", if line.is_empty() { "?" } else { "" }), authorization.clone()));
    let simple = |status: &str, extra: &str, body: &str| {
        (format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{extra}\r\n", body.len()), body.as_bytes().to_vec(), usize::MAX)
    };
    if path.starts_with("/token") {
        return simple("200 OK", "content-type: application/json\r\n", r#"{"token":"t0k3n"}"#);
    }
    let denied = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    if let Some(basic) = &s.basic
        && authorization != Some(format!("Basic {basic}"))
    {
        return simple("401 Unauthorized", "www-authenticate: Basic realm=\"x\"\r\n", denied);
    }
    if let Some(realm) = &s.realm
        && authorization.as_deref() != Some("Bearer t0k3n")
    {
        return simple("401 Unauthorized", &format!("www-authenticate: Bearer realm=\"{realm}\",service=\"fake\"\r\n"), denied);
    }
    let missing = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
    if path == "/v2/" {
        return simple("200 OK", "", "{}");
    }
    let rest = path.trim_start_matches("/v2/");
    if let Some((name, reference)) = rest.split_once("/manifests/") {
        return match s.manifests.get(&format!("{name}/{reference}")) {
            Some((kind, bytes)) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", bytes.len());
                (head, bytes.clone(), usize::MAX)
            }
            None => simple("404 Not Found", "content-type: application/json\r\n", missing),
        };
    }
    if let Some((name, _)) = rest.split_once("/tags/list") {
        let prefix = format!("{name}/");
        let tags: Vec<_> = s.manifests.keys().filter_map(|k| k.strip_prefix(&prefix)).filter(|t| !t.starts_with("sha256:")).collect();
        return simple("200 OK", "", &serde_json::json!({"name": name, "tags": tags}).to_string());
    }
    let Some((_, digest)) = rest.split_once("/blobs/") else { return simple("404 Not Found", "", "") };
    if s.busy > 0 {
        s.busy -= 1;
        return simple("503 Service Unavailable", "retry-after: 0\r\n", "");
    }
    let Some(blob) = s.blobs.get(digest).cloned() else { return simple("404 Not Found", "", missing) };
    let start = headers.get("range").filter(|_| s.ranges).and_then(|r| r.strip_prefix("bytes=")?.split('-').next()?.parse::<usize>().ok());
    let body = blob[start.unwrap_or(0).min(blob.len())..].to_vec();
    let most = match &mut s.cut {
        Some((after, times)) if *times > 0 && body.len() > *after => {
            *times -= 1;
            *after
        }
        _ => usize::MAX,
    };
    let head = match start {
        Some(start) => format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{}/{}\r\ncontent-length: {}\r\n\r\n",
            blob.len() - 1,
            blob.len(),
            body.len()
        ),
        None => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()),
    };
    (head, body, most)
}
