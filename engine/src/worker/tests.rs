//! Workers in real user namespaces, looked at from outside. They need root.

use super::*;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Far from the tenants' pool of a Wharf that may run on this host.
const BASE: u32 = 1_600_000_000;

struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut h = tar::Header::new_gnu();
        h.set_entry_type(kind);
        h.set_mode(mode);
        h.set_size(size);
        h.set_mtime(1_700_000_000);
        h
    }

    /// An entry under a name that the `tar` crate itself would refuse to write.
    fn raw(mut self, name: &str, mut h: tar::Header, data: &[u8]) -> Self {
        h.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        h.set_cksum();
        self.0.append(&h, data).unwrap();
        self
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        let h = Self::header(tar::EntryType::Regular, 0o644, data.len() as u64);
        self.raw(name, h, data)
    }

    fn owned(self, name: &str, uid: u32, mode: u32) -> Self {
        let mut h = Self::header(tar::EntryType::Regular, mode, 1);
        h.set_uid(uid.into());
        h.set_gid(uid.into());
        self.raw(name, h, b"x")
    }

    fn dir(self, name: &str, mode: u32) -> Self {
        self.raw(name, Self::header(tar::EntryType::Directory, mode, 0), b"")
    }

    fn link(self, kind: tar::EntryType, name: &str, target: &str) -> Self {
        let mut h = Self::header(kind, 0o777, 0);
        h.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.raw(name, h, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.link(tar::EntryType::Symlink, name, target)
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.link(tar::EntryType::Link, name, target)
    }

    fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(data).unwrap();
    e.finish().unwrap()
}

fn stream(data: Vec<u8>) -> ArchiveStream {
    Box::pin(std::io::Cursor::new(data))
}

/// A temporary folder that the namespace's root may search.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

async fn unpack_layer(data: Vec<u8>, limits: Limits) -> (tempfile::TempDir, Result<LayerReport>) {
    let dir = folder();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let writer = std::thread::spawn(move || {
        // A worker that gave up closes its end.
        let _ = std::fs::File::from(write).write_all(&data);
    });
    let report = Workers::new().layer(BASE, dir.path(), read, limits).await;
    writer.join().unwrap();
    (dir, report)
}

async fn layer(data: Vec<u8>) -> (tempfile::TempDir, LayerReport) {
    let (dir, report) = unpack_layer(data, Limits::default()).await;
    (dir, report.unwrap())
}

async fn refused(data: Vec<u8>) -> String {
    let (_dir, report) = unpack_layer(data, Limits::default()).await;
    report.unwrap_err().to_string()
}

#[tokio::test]
async fn a_layer_lands_with_the_images_own_ids_modes_and_times() {
    let tar = Tar::new()
        .dir("bin/", 0o755)
        .owned("bin/su", 33, 0o4755)
        .symlink("bin/sh", "su")
        .hard("bin/ash", "bin/su")
        .dir("tmp/", 0o1777)
        .done();
    for data in [tar.clone(), gzip(&tar), zstd::encode_all(&tar[..], 1).unwrap()] {
        let (dir, report) = layer(data).await;
        assert_eq!(report.diff_id, crate::Digest::of(&tar));
        assert_eq!((report.tar_size, report.size, report.entries), (tar.len() as u64, 1, 5));
        let su = std::fs::metadata(dir.path().join("bin/su")).unwrap();
        assert_eq!((su.uid(), su.gid(), su.mode() & 0o7777, su.nlink(), su.mtime()), (33, 33, 0o4755, 2, 1_700_000_000));
        assert_eq!(std::fs::metadata(dir.path().join("tmp")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(std::fs::metadata(dir.path().join("bin")).unwrap().mtime(), 1_700_000_000);
        assert_eq!(std::fs::read_link(dir.path().join("bin/sh")).unwrap(), Path::new("su"));
    }
}

#[tokio::test]
async fn whiteouts_become_overlays_own_marks() {
    let tar = Tar::new()
        .dir("a/", 0o755)
        .file("a/.wh.gone", b"")
        .file("a/.wh..wh..opq", b"")
        .file(".wh.again", b"")
        .dir("again/", 0o755)
        .dir("later/", 0o755)
        .file(".wh.later", b"")
        .file("kept", b"1")
        .file(".wh.kept", b"")
        .file(".wh..wh.plnk", b"")
        .done();
    let (dir, report) = layer(tar).await;
    assert_eq!(report.opaque, ["a", "again", "later"]);
    let gone = std::fs::symlink_metadata(dir.path().join("a/gone")).unwrap();
    assert_eq!((gone.mode() & libc::S_IFMT, gone.rdev()), (libc::S_IFCHR, 0));
    assert_eq!(std::fs::read(dir.path().join("kept")).unwrap(), b"1");
    for opaque in ["a", "again", "later"] {
        let mut value = [0u8; 2];
        assert_eq!(rustix::fs::getxattr(dir.path().join(opaque), OPAQUE, &mut value), Ok(1), "{opaque}");
    }
    assert!(!dir.path().join(".wh..wh.plnk").exists());
}

#[tokio::test]
async fn sec_c1_paths_that_leave_the_archive_are_refused() {
    for name in ["../x", "a/../../x", "./../x", "a/.."] {
        let e = refused(Tar::new().file(name, b"x").done()).await;
        assert!(e.contains("leads out"), "{name}: {e}");
    }
    // An absolute path is one inside the image.
    let (dir, _) = layer(Tar::new().file("/etc/x", b"1").done()).await;
    assert_eq!(std::fs::read(dir.path().join("etc/x")).unwrap(), b"1");
    let e = refused(Tar::new().hard("x", "../../etc/passwd").done()).await;
    assert!(e.contains("leads out"), "{e}");
}

#[tokio::test]
async fn sec_c4_links_in_the_way_are_replaced_or_stay_inside() {
    let outside = folder();
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "safe").unwrap();
    let (v, o) = (victim.to_str().unwrap(), outside.path().to_str().unwrap());
    // A file over a link to a file, a file through a link to a folder, a folder over a link.
    let tar =
        Tar::new().symlink("x", v).file("x", b"pwned").symlink("d", o).file("d/victim", b"pwned").symlink("e", o).dir("e/", 0o777).done();
    let (dir, _) = layer(tar).await;
    assert_eq!(std::fs::read(&victim).unwrap(), b"safe");
    assert_eq!(std::fs::metadata(outside.path()).unwrap().mode() & 0o777, 0o755);
    assert!(std::fs::symlink_metadata(dir.path().join("x")).unwrap().is_file());
    assert!(std::fs::symlink_metadata(dir.path().join("e")).unwrap().is_dir());
    // A hard link through a link does not reach the host's file.
    let e = refused(Tar::new().symlink("d", o).hard("h", "d/victim").done()).await;
    assert!(e.contains("does not have"), "{e}");
}

#[tokio::test]
async fn sec_r17_truncated_and_damaged_streams_are_refused() {
    let tar = Tar::new().file("a", &vec![7; 200_000]).done();
    let gz = gzip(&tar);
    let mut flipped = gz.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let zst = zstd::encode_all(&tar[..], 1).unwrap();
    for (what, data) in [
        ("half a gzip", gz[..gz.len() / 2].to_vec()),
        ("gzip without its checksum", gz[..gz.len() - 8].to_vec()),
        ("a flipped bit", flipped),
        ("half a zstd", zst[..zst.len() - 10].to_vec()),
        ("half a tar", tar[..100_000].to_vec()),
        ("random bytes", (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
    ] {
        let (_dir, report) = unpack_layer(data, Limits::default()).await;
        assert_eq!(report.unwrap_err().kind(), Kind::Invalid, "{what}");
    }
}

#[tokio::test]
async fn sec_i1_bombs_stop_at_the_limit() {
    let limits = Limits { bytes: 10 << 20, entries: 100, ratio: 500 };
    // Zeros that unpack to more than the limit.
    let mut h = Tar::header(tar::EntryType::Regular, 0o644, 1 << 30);
    h.as_old_mut().name[0] = b'z';
    h.set_cksum();
    let mut head = h.as_bytes().to_vec();
    head.resize(512 + (20 << 20), 0);
    let (_d, r) = unpack_layer(gzip(&head), limits).await;
    assert_eq!(r.unwrap_err().kind(), Kind::Exhausted);
    // A sparse file of a terabyte in a header of 512 bytes (CVE-2025-58183).
    let mut h = Tar::header(tar::EntryType::GNUSparse, 0o644, 0);
    h.as_old_mut().name[0] = b's';
    let gnu = h.as_gnu_mut().unwrap();
    gnu.realsize.copy_from_slice(b"20000000000\0");
    gnu.sparse[0].offset.copy_from_slice(b"20000000000\0");
    gnu.sparse[0].numbytes.copy_from_slice(b"00000000000\0");
    h.set_cksum();
    let (_d, r) = unpack_layer([h.as_bytes().as_slice(), &[0; 1024]].concat(), limits).await;
    assert!(matches!(r.as_ref().unwrap_err().kind(), Kind::Exhausted | Kind::Invalid), "{r:?}");
    // Too many entries.
    let many = (0..200).fold(Tar::new(), |t, i| t.file(&format!("f{i}"), b"")).done();
    let (_d, r) = unpack_layer(many, limits).await;
    assert_eq!(r.unwrap_err().kind(), Kind::Exhausted);
}

#[tokio::test]
async fn devices_and_ids_outside_the_block_do_not_get_in() {
    let mut h = Tar::header(tar::EntryType::Char, 0o666, 0);
    h.set_device_major(1).unwrap();
    h.set_device_minor(3).unwrap();
    let (dir, report) = layer(Tar::new().raw("null", h, b"").file("a", b"1").done()).await;
    assert_eq!(report.devices, 1);
    assert!(!dir.path().join("null").exists());
    let e = refused(Tar::new().owned("x", 100_000, 0o644).done()).await;
    assert!(e.contains("0 to 65535"), "{e}");
}

#[tokio::test]
async fn file_capabilities_survive_and_overlays_attributes_do_not() {
    let capability = [1u8, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut tar = Tar::new();
    tar.0
        .append_pax_extensions([
            ("SCHILY.xattr.security.capability", capability.as_slice()),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y".as_slice()),
            ("SCHILY.xattr.user.mine", b"1".as_slice()),
        ])
        .unwrap();
    let (dir, _) = layer(tar.file("ping", b"x").done()).await;
    let mut value = [0u8; 64];
    let n = rustix::fs::getxattr(dir.path().join("ping"), "security.capability", &mut value).unwrap();
    assert_eq!(&value[..n], capability, "stored as the image has it, in the form without a root id");
    assert_eq!(rustix::fs::getxattr(dir.path().join("ping"), "user.mine", &mut value), Ok(1));
    assert!(rustix::fs::getxattr(dir.path().join("ping"), "trusted.overlay.opaque", &mut value).is_err());
}

/// A tree as a container sees it: its files belong to the block.
fn rootfs() -> tempfile::TempDir {
    let dir = folder();
    std::fs::create_dir_all(dir.path().join("etc")).unwrap();
    std::fs::create_dir_all(dir.path().join("data/sub")).unwrap();
    std::fs::write(dir.path().join("etc/passwd"), "in the container").unwrap();
    std::fs::write(dir.path().join("data/a"), "A").unwrap();
    std::fs::write(dir.path().join("data/sub/b"), "B").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("data/link")).unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("conf")).unwrap();
    for p in ["", "etc", "etc/passwd", "data", "data/a", "data/sub", "data/sub/b"] {
        std::os::unix::fs::chown(dir.path().join(p), Some(BASE), Some(BASE)).unwrap();
    }
    dir
}

async fn packed(root: &Path, path: &str) -> Result<Vec<(String, String, u64)>> {
    let fd = std::fs::File::open(root).unwrap();
    let (_, mut out) = Workers::new().pack(BASE, fd.as_fd(), path, PackOptions::default()).await?;
    let mut bytes = Vec::new();
    out.read_to_end(&mut bytes).await.unwrap();
    let mut entries = Vec::new();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        if let Some(link) = entry.link_name().unwrap() {
            text = format!("-> {}", link.display());
        }
        entries.push((entry.path().unwrap().display().to_string(), text, entry.header().uid().unwrap()));
    }
    Ok(entries)
}

#[tokio::test]
async fn a_tree_packs_with_container_ids_and_its_links_stay_links() {
    let root = rootfs();
    let names = |e: &[(String, String, u64)]| e.iter().map(|e| e.0.clone()).collect::<Vec<_>>();
    let data = packed(root.path(), "/data").await.unwrap();
    assert_eq!(names(&data), ["data/", "data/a", "data/link", "data/sub/", "data/sub/b"]);
    assert_eq!(data[1], ("data/a".into(), "A".into(), 0));
    assert_eq!(data[2].1, "-> /etc/passwd");
    assert_eq!(packed(root.path(), "/data/a").await.unwrap(), [("a".into(), "A".into(), 0)]);
    assert_eq!(names(&packed(root.path(), "/data/sub/.").await.unwrap()), ["./", "./b"]);
    // Through a link that is absolute inside the container.
    assert_eq!(packed(root.path(), "/conf/passwd").await.unwrap()[0].1, "in the container");
    assert_eq!(packed(root.path(), "/../../../etc/passwd").await.unwrap()[0].1, "in the container");
    assert!(packed(root.path(), "/nothing").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn of_what_is_mounted_in_a_tree_an_export_has_the_places_only() {
    let root = rootfs();
    let sub = root.path().join("data/sub");
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    if let Err(error) = mount("tmpfs", &sub, "tmpfs", MountFlags::empty(), None) {
        println!("SKIPPED: mounting: {error}");
        return;
    }
    std::fs::write(sub.join("secret"), "of a volume").unwrap();
    let fd = std::fs::File::open(root.path()).unwrap();
    let names = async |one_mount| {
        let options = PackOptions { name: Some(String::new()), one_mount };
        let (_, mut out) = Workers::new().pack(BASE, fd.as_fd(), "/", options).await.unwrap();
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).await.unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect::<Vec<_>>()
    };
    let (alone, all) = (names(true).await, names(false).await);
    unmount(&sub, UnmountFlags::DETACH).unwrap();
    assert!(alone.iter().any(|n| n == "data/sub/") && alone.iter().any(|n| n == "data/a"), "{alone:?}");
    assert!(!alone.iter().any(|n| n.contains("secret")) && all.iter().any(|n| n == "data/sub/secret"), "{alone:?} {all:?}");
}

#[tokio::test]
async fn the_root_itself_packs_with_absolute_names_as_docker_cp_wants_them() {
    let root = rootfs();
    let long = format!("data/{}", "x".repeat(140));
    std::fs::write(root.path().join(&long), "L").unwrap();
    std::os::unix::fs::symlink("y".repeat(150), root.path().join("data/far")).unwrap();
    let all = packed(root.path(), "/").await.unwrap();
    let find = |name: &str| all.iter().find(|e| e.0 == name).map(|e| e.1.clone());
    assert_eq!(all[0].0, "/");
    assert_eq!(find("/data/a").as_deref(), Some("A"));
    assert_eq!(find(&format!("/{long}")).as_deref(), Some("L"));
    assert_eq!(find("/data/far"), Some(format!("-> {}", "y".repeat(150))));
    assert_eq!(find("/data/link").as_deref(), Some("-> /etc/passwd"));
    // What `docker cp c:/. -` asks for stays relative.
    let dot = packed(root.path(), "/.").await.unwrap();
    assert!(dot[0].0 == "./" && dot.iter().any(|e| e.0 == "./data/a"), "{dot:?}");
    let error = packed(root.path(), "/etc/passwd/").await.unwrap_err().to_string();
    assert!(error.ends_with("not a directory"), "{error}");
}

#[tokio::test]
async fn sec_c13_sockets_and_fifos_never_block_a_pack() {
    let root = rootfs();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("data/socket")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.path().join("data/fifo"), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    let names: Vec<_> = packed(root.path(), "/data").await.unwrap().into_iter().map(|e| e.0).collect();
    assert!(names.contains(&"data/fifo".to_owned()) && !names.contains(&"data/socket".to_owned()), "{names:?}");
}

#[tokio::test]
async fn an_archive_lands_in_a_tree_in_use_as_the_block() {
    let root = rootfs();
    let fd = std::fs::File::open(root.path()).unwrap();
    let workers = Workers::new();
    let tar = Tar::new().owned("new", 5, 0o600).file("a", b"changed").file(".wh.a", b"literal").done();
    workers.unpack(BASE, fd.as_fd(), "/data", UnpackOptions::default(), stream(gzip(&tar))).await.unwrap();
    assert_eq!(std::fs::metadata(root.path().join("data/new")).unwrap().uid(), BASE + 5);
    assert_eq!(std::fs::read(root.path().join("data/a")).unwrap(), b"changed");
    assert_eq!(std::fs::read(root.path().join("data/.wh.a")).unwrap(), b"literal");
    // Into the container's own /etc by an absolute link, never the host's.
    workers.unpack(BASE, fd.as_fd(), "/conf", UnpackOptions::default(), stream(Tar::new().file("w", b"1").done())).await.unwrap();
    assert!(root.path().join("etc/w").exists() && !Path::new("/etc/w").exists());
    // As `docker build -f -` sends it: neither padding nor end mark. A file cut short is still refused.
    let tar = Tar::new().file("first", b"1").file("last", b"whole").done();
    let end = tar.windows(5).position(|w| w == b"whole").unwrap() + 5;
    workers.unpack(BASE, fd.as_fd(), "/data", UnpackOptions::default(), stream(tar[..end].to_vec())).await.unwrap();
    assert_eq!(std::fs::read(root.path().join("data/last")).unwrap(), b"whole");
    let cut = workers.unpack(BASE, fd.as_fd(), "/data", UnpackOptions::default(), stream(tar[..end - 1].to_vec())).await;
    assert_eq!(cut.unwrap_err().kind(), Kind::Invalid);
    let owner = UnpackOptions { owner: Some((7, 8)), no_overwrite_dir_non_dir: true, most: None };
    workers.unpack(BASE, fd.as_fd(), "/data", owner.clone(), stream(Tar::new().file("o", b"1").done())).await.unwrap();
    assert_eq!(std::fs::metadata(root.path().join("data/o")).unwrap().gid(), BASE + 8);
    let e = workers.unpack(BASE, fd.as_fd(), "/data", owner, stream(Tar::new().file("sub", b"1").done())).await.unwrap_err();
    assert!(e.to_string().starts_with("cannot overwrite directory"), "{e}");
    let e = workers.unpack(BASE, fd.as_fd(), "/data/a", UnpackOptions::default(), stream(vec![])).await.unwrap_err();
    assert_eq!(e.to_string(), "extraction point is not a directory");
    assert!(workers.unpack(BASE, fd.as_fd(), "/none", UnpackOptions::default(), stream(vec![])).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn an_upper_folder_packs_as_a_layer_and_unpacks_to_the_same() {
    let tar = Tar::new().dir("a/", 0o755).file("a/.wh..wh..opq", b"").file("a/.wh.gone", b"").file("b", b"1").done();
    let (dir, _) = layer(tar).await;
    // An upper folder is owned by the block on disk; here the ids are the image's, so look through an idmapped mount.
    let workers = Workers::new();
    let namespace = workers.user_namespace(BASE).await.unwrap();
    let root = crate::sys::confine::idmapped(std::fs::File::open(dir.path()).unwrap().as_fd(), namespace.as_fd()).unwrap();
    let mut out = workers.pack_layer(BASE, root.as_fd()).await.unwrap();
    let mut bytes = Vec::new();
    out.read_to_end(&mut bytes).await.unwrap();
    let names: Vec<_> =
        tar::Archive::new(&bytes[..]).entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
    assert_eq!(names, ["a/", "a/.wh..wh..opq", "a/.wh.gone", "b"]);
    let (_again, report) = layer(bytes).await;
    assert_eq!(report.opaque, ["a"]);
}

#[tokio::test]
async fn a_worker_stands_in_the_block_with_few_capabilities_and_no_sockets() {
    let root = rootfs();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let workers = Workers::new();
    let before = children();
    let task = tokio::spawn({
        let (workers, dir) = (workers.clone(), root.path().to_owned());
        async move { workers.layer(BASE, &dir, read, Limits::default()).await }
    });
    // It waits for input; look at it from outside once it has its filter.
    let pid = loop {
        let new: Vec<_> = children().into_iter().filter(|p| !before.contains(p)).collect();
        if let Some(pid) = new.iter().find(|p| status(**p).contains("Seccomp:\t2")) {
            break *pid;
        }
        tokio::task::yield_now().await;
    };
    let status = status(pid);
    assert!(status.contains(&format!("Uid:\t{BASE}\t{BASE}\t{BASE}\t{BASE}")), "{status}");
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("CapEff:\t000000008800001b"), "{status}");
    let fds: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|f| std::fs::read_link(f.unwrap().path()).unwrap().display().to_string())
        .collect();
    assert!(fds.len() <= 5, "stdin, stdout, stderr, root, input: {fds:?}");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/root")).unwrap(), Path::new("/"), "a detached mount has no path on the host");
    drop(write);
    task.await.unwrap().unwrap();
}

fn children() -> Vec<u32> {
    let me = std::process::id();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| status(*pid).contains(&format!("PPid:\t{me}\n")))
        .collect()
}

fn status(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}
