//! Load, save, import, commit, push; crafted archives; and the real docker-registry where it is installed.

use super::*;
use crate::Kind;
use tokio::io::AsyncReadExt;

/// A docker-archive of one image named `x:1`, its layers plain, in the old or the new way of naming files.
fn docker_archive(layers: &[Vec<u8>], edit: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|l| Digest::of(l)).collect();
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).to_string();
    let config_name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let names: Vec<_> = diff_ids.iter().map(|d| format!("{}/layer.tar", d.hex())).collect();
    let mut manifest = serde_json::json!([{"Config": config_name, "RepoTags": ["x:1"], "Layers": names}]);
    edit(&mut manifest);
    let manifest = manifest.to_string();
    let mut files: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(layers.iter().map(Vec::as_slice)).collect();
    files.push((&config_name, config.as_bytes()));
    files.push(("manifest.json", manifest.as_bytes()));
    tar(&files)
}

async fn load(s: &Store, archive: Vec<u8>) -> crate::Result<Vec<String>> {
    told(s.images.load(A, body(archive), true).await?).await
}

async fn save(s: &Store, names: &[&str]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut out = Vec::new();
    s.images.save(A, &names).await.unwrap().read_to_end(&mut out).await.unwrap();
    out
}

#[tokio::test]
async fn what_is_saved_loads_elsewhere_with_the_same_ids() {
    let s = store().await;
    let archive = docker_archive(&[tar(&[("a", b"1")]), tar(&[("b", b"2")])], |_| {});
    for packed in [archive.clone(), gzip(&archive), zstd::encode_all(&archive[..], 1).unwrap(), xz(&archive)] {
        assert_eq!(load(&s, packed).await.unwrap(), ["Loaded image: x:1\n"]);
    }
    let id = s.images.resolve(A, "x:1").await.unwrap().id;
    s.images.tag(A, "x:1", "host.example:5000/y", "2").await.unwrap();
    let saved = save(&s, &["x:1", "host.example:5000/y:2"]).await;
    let names: Vec<_> =
        tar::Archive::new(&saved[..]).entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
    for name in ["oci-layout", "index.json", "manifest.json", "repositories"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    let other = store().await;
    let mut lines = load(&other, saved.clone()).await.unwrap();
    lines.sort();
    assert_eq!(lines, ["Loaded image: host.example:5000/y:2\n", "Loaded image: x:1\n"]);
    let there = other.images.resolve(A, "x:1").await.unwrap();
    assert_eq!((there.id, there.size), (id, 2));
    assert_eq!(std::fs::read(other.images.layers(A, &id).await.unwrap()[1].path.join("b")).unwrap(), b"2");
    // As an OCI layout alone, too.
    let mut layout = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(&saved[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path.to_str() != Some("manifest.json") {
            let mut header = entry.header().clone();
            layout.append_data(&mut header, path, &mut entry).unwrap();
        }
    }
    let third = store().await;
    load(&third, layout.into_inner().unwrap()).await.unwrap();
    assert_eq!(third.images.resolve(A, "x:1").await.unwrap().id, id);
    assert_eq!(save(&other, &["x:1"]).await, save(&third, &["x:1"]).await);
}

fn xz(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    lzma_rs::xz_compress(&mut &data[..], &mut out).unwrap();
    out
}

#[tokio::test]
async fn sec_b2_c1_crafted_archives_list_nothing_and_leave_nothing() {
    let layer = tar(&[("a", b"1")]);
    let set = |key: &'static str, value: serde_json::Value| move |m: &mut serde_json::Value| m[0][key] = value.clone();
    let archives: Vec<(&str, Vec<u8>)> = vec![
        ("config elsewhere", docker_archive(std::slice::from_ref(&layer), set("Config", "../../../etc/passwd".into()))),
        ("absolute config", docker_archive(std::slice::from_ref(&layer), set("Config", "/etc/passwd".into()))),
        ("layer elsewhere", docker_archive(std::slice::from_ref(&layer), set("Layers", serde_json::json!(["../../etc/shadow"])))),
        ("layer is the manifest", docker_archive(std::slice::from_ref(&layer), set("Layers", serde_json::json!(["manifest.json"])))),
        ("no layers", docker_archive(std::slice::from_ref(&layer), set("Layers", serde_json::Value::Null))),
        ("no config", docker_archive(std::slice::from_ref(&layer), |m| drop(m[0].as_object_mut().unwrap().remove("Config")))),
        ("bad tag", docker_archive(std::slice::from_ref(&layer), set("RepoTags", serde_json::json!(["x:1", "UPPER:1"])))),
        (
            "digest as tag",
            docker_archive(std::slice::from_ref(&layer), set("RepoTags", serde_json::json!([format!("x@{}", Digest::of(b""))]))),
        ),
        ("object", docker_archive(std::slice::from_ref(&layer), |m| *m = serde_json::json!({}))),
        ("empty list", docker_archive(std::slice::from_ref(&layer), |m| *m = serde_json::json!([]))),
        ("not json", tar(&[("manifest.json", b"{")])),
        ("huge json", tar(&[("manifest.json", &vec![b'['; 5 << 20])])),
        ("deep json", tar(&[("manifest.json", &vec![b'['; 1 << 20])])),
        ("no image", tar(&[("hello", b"x")])),
        ("garbage", noise(4096)),
        ("nothing", vec![]),
        ("half", docker_archive(std::slice::from_ref(&layer), |_| {})[..1024].to_vec()),
        ("layer that is no tar", docker_archive(&[noise(1000)], |_| {})),
        ("layer with a way out", docker_archive(&[raw_tar("../x")], |_| {})),
        ("name with a way out", raw_tar("../manifest.json")),
        ("layout with a false blob", {
            let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"m","digest":"{}","size":1}}]}}"#, Digest::of(b"true"));
            tar(&[("index.json", index.as_bytes()), (&format!("blobs/sha256/{}", Digest::of(b"true").hex()), b"false")])
        }),
    ];
    let s = store().await;
    for (what, archive) in archives {
        let e = load(&s, archive).await.expect_err(what);
        assert_eq!(e.kind(), Kind::Invalid, "{what}: {e}");
        assert!(s.images.list(A, &ImageFilter::default()).await.unwrap().is_empty(), "{what}");
    }
    // Good layers of bad images may stay until the next collection; then nothing is left.
    s.images.collect(&[]).await.unwrap();
    s.settled(0).await;
}

fn raw_tar(name: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, &b""[..]).unwrap();
    tar.into_inner().unwrap()
}

#[tokio::test]
async fn links_in_an_archive_are_followed_inside_it_only() {
    let layer = tar(&[("a", b"1")]);
    let with_link = |target: &str| {
        let archive = docker_archive(std::slice::from_ref(&layer), |m| m[0]["Layers"] = serde_json::json!(["link/layer.tar"]));
        let mut out = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        out.append_link(&mut header, "link/layer.tar", target).unwrap();
        for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let (mut header, path) = (entry.header().clone(), entry.path().unwrap().into_owned());
            out.append_data(&mut header, path, &mut entry).unwrap();
        }
        out.into_inner().unwrap()
    };
    let s = store().await;
    for bad in ["/etc/passwd", "../../etc/passwd", "layer.tar", "../none"] {
        assert_eq!(load(&s, with_link(bad)).await.unwrap_err().kind(), Kind::Invalid, "{bad}");
    }
    load(&s, with_link(&format!("../{}/layer.tar", Digest::of(&layer).hex()))).await.unwrap();
}

#[tokio::test]
async fn import_and_commit_make_images() {
    let s = store().await;
    let config = ImageConfig { cmd: Some(vec!["cat".into()]), ..Default::default() };
    let lines = told(s.images.import(A, body(gzip(&tar(&[("a", b"1")]))), "imp", "1", "hi", config, None).await.unwrap()).await.unwrap();
    let base = s.images.resolve(A, "imp:1").await.unwrap();
    assert_eq!(lines, [base.id.to_string()]);
    assert_eq!((base.comment.as_str(), base.size, base.history.len()), ("hi", 1, 1));
    let new = NewImage { base: Some(base.id), layer: Some(body(tar(&[("b", b"22")]))), names: vec!["child".into()], ..Default::default() };
    let child = s.images.create_from(A, new).await.unwrap();
    let image = s.images.resolve(A, "child").await.unwrap();
    assert_eq!((image.id, image.size, image.parent, image.diff_ids.len()), (child, 3, Some(base.id), 2));
    let only_config = NewImage { base: Some(child), config: ImageConfig { user: "1".into(), ..Default::default() }, ..Default::default() };
    let third = s.images.create_from(A, only_config).await.unwrap();
    assert_eq!(s.images.layers(A, &third).await.unwrap(), s.images.layers(A, &child).await.unwrap());
    assert!(s.images.create_from(B, NewImage { base: Some(child), ..Default::default() }).await.unwrap_err().is_not_found());
    assert!(s.images.import(A, body(vec![]), "UPPER", "", "", ImageConfig::default(), None).await.is_err());
    // A stream that breaks off is no image.
    let broken = tokio_util::io::StreamReader::new(futures_util::stream::iter([
        Ok(bytes::Bytes::from(tar(&[("a", b"1")]))),
        Err(std::io::Error::other("gone")),
    ]));
    assert!(s.images.create_from(A, NewImage { layer: Some(Box::pin(broken)), ..Default::default() }).await.is_err());
    assert_eq!(s.images.list(A, &ImageFilter::default()).await.unwrap().len(), 3);
}

/// The real thing, if this machine has it.
struct DockerRegistry {
    process: std::process::Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn docker_registry() -> Option<DockerRegistry> {
    let program = ["/usr/bin/docker-registry", "/usr/local/bin/docker-registry"].into_iter().find(|p| std::path::Path::new(p).exists());
    let Some(program) = program else {
        println!("SKIPPED: docker-registry is not installed");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    // Free now; nobody else is told of it before the registry takes it.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = dir.path().join("config.yml");
    let text = format!("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n", dir.path().display());
    std::fs::write(&config, text).unwrap();
    let process = std::process::Command::new(program)
        .arg("serve")
        .arg(&config)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while tokio::net::TcpStream::connect(&address).await.is_err() {
        tokio::task::yield_now().await;
    }
    Some(DockerRegistry { process, address, _dir: dir })
}

#[tokio::test]
async fn what_is_pushed_to_a_real_registry_comes_back_with_the_same_digest() {
    let Some(r) = docker_registry().await else { return };
    let s = store().await;
    load(&s, docker_archive(&[tar(&[("a", &noise(300_000))]), tar(&[("b", b"2")])], |_| {})).await.unwrap();
    let id = s.images.resolve(A, "x:1").await.unwrap().id;
    let name = format!("{}/team/x", r.address);
    s.images.tag(A, "x:1", &name, "v1").await.unwrap();
    let lines = told(s.images.push(A, &name, "v1", None).await.unwrap()).await.unwrap();
    assert_eq!(lines[0], format!("The push refers to repository [{name}]"));
    assert!(lines.iter().any(|l| l.ends_with("Pushed")), "{lines:?}");
    let last = lines.iter().find(|l| l.starts_with("v1: digest: sha256:") && l.contains(" size: ")).unwrap();
    let digest = last.split(' ').nth(2).unwrap();
    assert!(s.images.resolve(A, "x:1").await.unwrap().digests.contains(&format!("{name}@{digest}")));
    // To another repository: mounted or there already, never sent again.
    let other = format!("{}/team/y", r.address);
    s.images.tag(A, "x:1", &other, "v1").await.unwrap();
    let lines = told(s.images.push(A, &other, "v1", None).await.unwrap()).await.unwrap();
    assert!(lines.iter().any(|l| l.ends_with("Mounted from team/x")), "{lines:?}");
    assert!(!lines.iter().any(|l| l.ends_with(": Pushed")), "{lines:?}");
    let fresh = store().await;
    let lines = fresh.pull(B, &format!("{name}:v1")).await.unwrap();
    assert!(lines.contains(&format!("Digest: {digest}")), "{lines:?}");
    assert_eq!(fresh.images.resolve(B, &format!("{name}:v1")).await.unwrap().id, id);
    let e = s.images.push(A, &format!("{}/none", r.address), "1", None).await.err().unwrap();
    assert!(e.to_string().contains("does not exist locally"), "{e}");
}
