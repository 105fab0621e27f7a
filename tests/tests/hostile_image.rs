//! An image is a stranger's: its links, its paths, its labels, its programs and its account files are data, whatever they look like.
//! The proof is a folder of the host's that nothing may read, write or lead to.

use e2e::http::{self, Until};
use e2e::image::Image;
use e2e::{Docker, Options, Output, Server, host};
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const BEN: u32 = 6;
const SECRET: &str = "only-root-of-the-host-reads-this";

struct House {
    server: Server,
    ben: Docker,
    folder: PathBuf,
    mounts: usize,
}

impl House {
    fn new() -> Self {
        let server = Server::start_with(Options::default());
        server.add_user("ben", BEN);
        let ben = server.docker_as(BEN);
        server.load_busybox_for(&ben);
        let folder = server.folder().join("hosts-own");
        std::fs::create_dir(&folder).expect("a folder of the host's");
        std::fs::write(folder.join("file"), SECRET).expect("its file");
        // Everybody may read it: what keeps a container out must be its root, not the file's mode.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).expect("opening the folder");
        let mounts = mounts(&server);
        Self { server, ben, folder, mounts }
    }

    fn load(&self, image: Image, name: &str) -> Output {
        self.ben.with_input(&["load", "-q"], &image.archive(&[name]))
    }

    /// Nothing came into the host's folder, nothing was mounted for good, and the output has nothing of it.
    fn untouched(&self, what: &str, output: &Output) {
        assert!(!output.stdout.contains(SECRET) && !output.stderr.contains(SECRET), "{what}: a file of the host's: {output:?}");
        let names: Vec<_> = std::fs::read_dir(&self.folder).expect("the host's folder").map(|e| e.expect("an entry").file_name()).collect();
        assert_eq!(names, ["file"], "{what}: something came into a folder of the host");
        assert_eq!(std::fs::read_to_string(self.folder.join("file")).expect("the host's file"), SECRET, "{what}");
        assert_eq!(mounts(&self.server), self.mounts, "{what}: mounts stayed on the host");
    }
}

fn mounts(server: &Server) -> usize {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("the host's mounts");
    mounts.lines().filter(|line| line.contains(&*server.folder().to_string_lossy())).count()
}

/// Without the entries that an image would have at these places, so that a link can stand there.
fn bare() -> Image {
    let program = e2e::program("busybox").expect("a static busybox (package busybox-static)");
    let binary = std::fs::read(program).expect("reading busybox");
    let mut image = Image::empty().folder("bin", 0o755).file("bin/busybox", &binary, 0o755).folder("tmp", 0o1777);
    for name in ["sh", "cat", "ls", "grep", "id", "pwd", "touch", "sleep", "stat", "true", "head", "mkdir", "readlink"] {
        image = image.link(&format!("bin/{name}"), "busybox");
    }
    image
}

/// C2, C6, C14 (CVE-2015-3627, CVE-2015-1335, CVE-2019-16884, CVE-2019-19921, CVE-2023-27561): links where a start mounts or writes.
/// It fails, or what is mounted lies in the container; never a file of the host's.
#[test]
fn sec_c02_c06_c14_links_where_a_start_mounts_lead_nowhere() {
    let house = House::new();
    let away = house.folder.display().to_string();
    let up = format!("{}{away}", "../".repeat(12));
    let mut began = 0;
    for place in ["proc", "sys", "dev", "etc", "run", "sys/fs/cgroup", "dev/shm", "dev/pts", "etc/hosts", "etc/hostname", "etc/resolv.conf"]
    {
        for target in ["/", away.as_str(), up.as_str(), "/fake", "/proc/1/root", "/proc/self/fd/5"] {
            // A link to itself; and every target once for the folders, two for what lies in them.
            if place.starts_with("proc") && target.starts_with("/proc") || place.contains('/') && target != away && target != up {
                continue;
            }
            let mut image = bare().folder("fake", 0o755).folder("fake/sys", 0o755).folder("fake/self", 0o755);
            if let Some((parent, _)) = place.rsplit_once('/') {
                for (at, _) in format!("{parent}/").match_indices('/') {
                    image = image.folder(&parent[..at], 0o755);
                }
            }
            house.load(image.link(place, target), "linked:1").succeeded();
            let look = "cat /etc/hosts /etc/resolv.conf /etc/hostname 2>/dev/null; grep -c . /proc/self/status; stat -f -c %T /proc; \
                cat /dev/null; touch /etc/planted /run/planted /dev/shm/planted /sys/planted 2>/dev/null; ls -a /etc /run 2>/dev/null; true";
            let run = [
                "run",
                "--rm",
                "--name",
                "box",
                "--sysctl",
                "net.ipv4.ip_unprivileged_port_start=7",
                "--hostname",
                "me",
                "linked:1",
                "sh",
                "-c",
                look,
            ];
            let output = house.ben.run(&run);
            house.untouched(&format!("/{place} -> {target}"), &output);
            if output.code == 0 {
                began += 1;
                assert!(output.stdout.lines().any(|line| line == "proc"), "/{place} -> {target}: /proc is none: {output:?}");
            } else {
                assert!(!output.stderr.contains("panic"), "{output:?}");
                house.ben.run(&["rm", "-f", "box"]);
            }
            // The same folders through a copy, which needs no process.
            if target != away && target != up {
                continue;
            }
            house.ben.text(&["create", "--name", "copied", "linked:1", "true"]);
            let copy = house.ben.run(&["cp", &format!("copied:/{place}/file"), "-"]);
            house.untouched(&format!("a copy from /{place} -> {target}"), &copy);
            house.ben.text(&["rm", "-f", "copied"]);
        }
    }
    assert!(began > 4, "hardly any began: {began}");
}

/// B3, C6 (CVE-2022-23648): volumes that an image declares at paths which lead elsewhere.
#[test]
fn sec_b03_c06_volumes_an_image_declares_stay_in_its_root() {
    let house = House::new();
    let away = house.folder.display().to_string();
    let up = "../".repeat(12);
    for path in [
        format!("/../..{away}"),
        format!("{up}{away}"),
        format!("/x/{up}{away}"),
        "/link".into(),
        "/link/deep".into(),
        "/proc".into(),
        "/proc/sys".into(),
        "/sys/fs/cgroup".into(),
        "/dev/../proc/sys".into(),
        "/".into(),
        "/etc/../..".into(),
        ".".into(),
    ] {
        let image = Image::busybox().link("link", &away).folder("x", 0o755).set("Volumes", json!({ path.as_str(): {} }));
        if house.load(image, "volume:1").code != 0 {
            continue;
        }
        let look = format!(
            "ls -a {away} / ; cat {away}/file /link/file; touch {away}/planted /link/planted; stat -f -c %T /proc; grep -c ' /proc/sys proc ro' /proc/mounts"
        );
        let output = house.ben.run(&["run", "--rm", "volume:1", "sh", "-c", &look]);
        house.untouched(&path, &output);
        if output.stdout.contains("proc") && !output.stdout.is_empty() && output.code != 125 {
            assert!(output.stdout.ends_with("proc\n1\n"), "{path}: {output:?}");
        }
        // What a volume starts with is copied out of the image: never out of the host.
        let output = house.ben.run(&["run", "--rm", "-v", "fresh:/link", "volume:1", "sh", "-c", "cat /link/* 2>/dev/null; true"]);
        house.untouched(&format!("{path}, a named volume over a link"), &output);
        house.ben.run(&["volume", "rm", "-f", "fresh"]);
    }
}

/// C8 (CVE-2024-45310): folders made for a mount while another container exchanges their parents: no empty folder appears outside.
#[test]
fn sec_c08_folders_for_mounts_are_made_in_the_container() {
    let house = House::new();
    let away = house.folder.display();
    let race = format!(
        "cd /v; while :; do rm -rf d; mkdir d; rm -rf d; ln -s {away} d; rm d; ln -s ../../../../../../../../../..{away} d; rm d; ln -s /proc/1/root{away} d; done 2>/dev/null"
    );
    house.ben.text(&["run", "-d", "--name", "race", "-v", "shared:/v", "busybox", "sh", "-c", &race]);
    let began = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (house, began) = (&house, &began);
            scope.spawn(move || {
                for n in 0..15 {
                    let deep = format!("other{thread}:/x/d/new{n}/deep/er");
                    let shm = format!("/x/d/tmp{n}/a/b");
                    let output = house.ben.run(&[
                        "run",
                        "--rm",
                        "--network",
                        "none",
                        "-v",
                        "shared:/x",
                        "-v",
                        &deep,
                        "--tmpfs",
                        &shm,
                        "busybox",
                        "true",
                    ]);
                    // 127 is the client's word for "no such file": the parent went away meanwhile.
                    assert!([0, 125, 126, 127].contains(&output.code), "{output:?}");
                    began.fetch_add(u32::from(output.code == 0), std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    house.ben.text(&["rm", "-f", "race"]);
    assert!(began.into_inner() > 0, "no container began at all");
    house.untouched("folders for mounts", &house.ben.run(&["ps", "-a"]));
}

/// C9 (CVE-2024-21626): a working folder that names a descriptor or leads through links: after the change of folder the process is
/// below its root, or was never started. In run, exec and build.
#[test]
fn sec_c09_a_working_folder_is_below_the_root() {
    let house = House::new();
    let up = "../".repeat(12);
    let mut image = Image::busybox()
        .folder("links", 0o755)
        .link("links/cwd", &format!("/proc/self/cwd/{up}"))
        .link("links/host", &house.folder.display().to_string());
    for n in 3..=20 {
        image = image.link(&format!("links/{n}"), &format!("/proc/self/fd/{n}"));
    }
    house.load(image, "wd:1").succeeded();
    house.ben.text(&["run", "-d", "--name", "box", "wd:1", "sleep", "1000"]);
    let hosts = format!("{}/file", house.folder.display());
    let look = format!(
        "for d in . .. ../.. ../../.. ../../../..; do cat $d{hosts} 2>/dev/null; done; readlink /proc/self/cwd; ls -d ../../../../../bin/busybox"
    );
    let folders: Vec<String> = (3..=20)
        .flat_map(|n| [format!("/proc/self/fd/{n}"), format!("/proc/self/fd/{n}/../.."), format!("/links/{n}"), format!("/proc/1/fd/{n}")])
        .chain([
            format!("/links/cwd{}", house.folder.display()),
            "/links/host".into(),
            "/proc/1/cwd".into(),
            "/proc/self/root/..".into(),
            format!("/{up}"),
        ])
        .collect();
    let mut began = 0;
    for (at, folder) in folders.iter().enumerate() {
        let mut calls = vec![vec!["exec", "-w", folder, "box"]];
        // A start is dearer than an exec: each kind of path once.
        if at % 9 == 0 || at >= 72 {
            calls.push(vec!["run", "--rm", "-w", folder, "wd:1"]);
        }
        for call in calls {
            let output = house.ben.run(&[&call[..], &["sh", "-c", &look]].concat());
            house.untouched(folder, &output);
            let below = output.code != 0 || output.stdout.lines().all(|line| !line.contains("(unreachable)"));
            assert!(below, "{call:?} stands outside of the root: {output:?}");
            began += usize::from(output.code == 0);
        }
    }
    assert!(began > 0, "no folder at all was entered");
    for folder in ["/proc/self/fd/7", "/proc/self/fd/8", "/links/9", "/links/host"] {
        let text = format!("FROM wd:1\nWORKDIR {folder}\nRUN {look}\nRUN touch planted\n");
        let output = house.ben.with_input(&["build", "--no-cache", "-"], text.as_bytes());
        house.untouched(&format!("build in {folder}"), &output);
        assert!(!output.stdout.contains("(unreachable)"), "{output:?}");
    }
}

/// B1 (CVE-2026-53488): labels are words about an image. Those with which an engine or its tools talk to themselves change nothing.
#[test]
fn sec_b01_labels_are_data() {
    let house = House::new();
    let touch = format!("touch {}/planted", house.folder.display());
    let mut labels = BTreeMap::new();
    for name in [
        "wharf.tenant",
        "wharf.owner",
        "wharf.privileged",
        "wharf.container",
        "io.wharf.privileged",
        "com.docker.compose.project",
        "com.docker.desktop.plugin",
        "com.docker.swarm.service.name",
        "com.docker.network.bridge.name",
        "com.docker.volume.anonymous",
        "containerd.io/restart.status",
        "containerd.io/restart.logpath",
        "containerd.io/gc.root",
        "io.containerd.image.managed",
        "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel",
        "io.podman.annotations.privileged",
        "org.systemd.property.ExecStartPre",
        "run.oci.hooks.stage",
        "org.opencontainers.image.stopSignal",
        "security.privileged",
        "raw.lxc",
        "io.buildah.version",
        "desktop.docker.io/binds/0/Source",
    ] {
        labels.insert(name, if name.contains("logpath") { format!("binary:///bin/sh?-c={touch}") } else { touch.clone() });
    }
    house.load(Image::busybox().set("Labels", json!(labels)), "labels:1").succeeded();
    let plain = house.ben.text(&[
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "grep '^Cap\\|^Secc' /proc/self/status; cut -d' ' -f2-3 /proc/mounts | sort",
    ]);
    let seen = house.ben.text(&[
        "run",
        "--rm",
        "labels:1",
        "sh",
        "-c",
        "grep '^Cap\\|^Secc' /proc/self/status; cut -d' ' -f2-3 /proc/mounts | sort",
    ]);
    assert_eq!(seen, plain);
    house.ben.text(&["run", "-d", "--name", "box", "labels:1", "sleep", "1000"]);
    let told: BTreeMap<String, String> = serde_json::from_str(&house.ben.inspect("box", "{{json .Config.Labels}}")).expect("labels");
    for (name, value) in &labels {
        assert_eq!(told.get(*name), Some(value), "{name} is told as it came");
    }
    house.ben.text(&["restart", "-t", "0", "box"]);
    let output = house.ben.run(&["rm", "-f", "box"]);
    house.untouched("labels", &output);
}

/// B4 (CVE-2026-23953): line ends, NULs and escapes in names, variables, labels and hosts are refused or kept as they are; no file
/// made of lines gets one more.
#[test]
fn sec_b04_line_ends_make_no_lines() {
    let house = House::new();
    let evil = "x\n6.6.6.6 evil\r\nnameserver 6.6.6.6\u{1b}[2J";
    let plain = json!({ "Image": "busybox", "Cmd": ["sleep", "1000"] });
    let with = |path: &[&str], value: serde_json::Value| {
        let mut body = plain.clone();
        let mut at = &mut body;
        for key in path {
            at = &mut at[*key];
        }
        *at = value;
        body.to_string()
    };
    let ask = |path: &str, body: &str| house.server.request_as(BEN, "POST", path, Some(body));
    let mut made = 0;
    for (what, body) in [
        ("hostname", with(&["Hostname"], json!(evil))),
        ("domain name", with(&["Domainname"], json!(evil))),
        ("variable", with(&["Env"], json!([format!("A={evil}"), format!("{evil}=b")]))),
        ("variable with NUL", with(&["Env"], json!(["A=b\u{0}HOME=/"]))),
        ("label", with(&["Labels"], json!({ evil: evil }))),
        ("user", with(&["User"], json!(format!("0\n{evil}")))),
        ("working folder", with(&["WorkingDir"], json!(format!("/tmp/{evil}")))),
        ("command", with(&["Cmd"], json!(["sh", "-c", "sleep 1000; :", evil]))),
        ("command with NUL", with(&["Cmd"], json!(["sleep", "1000\u{0}x"]))),
        ("host", with(&["HostConfig"], json!({ "ExtraHosts": [format!("a{evil}:1.2.3.4")] }))),
        ("host's address", with(&["HostConfig"], json!({ "ExtraHosts": [format!("a:1.2.3.4\n6.6.6.6 evil")] }))),
        ("name server", with(&["HostConfig"], json!({ "Dns": ["1.2.3.4\nnameserver 6.6.6.6"] }))),
        ("search", with(&["HostConfig"], json!({ "DnsSearch": ["a\nnameserver 6.6.6.6"] }))),
        ("option", with(&["HostConfig"], json!({ "DnsOptions": ["ndots:1\nnameserver 6.6.6.6"] }))),
        ("sysctl", with(&["HostConfig"], json!({ "Sysctls": { "net.ipv4.ip_unprivileged_port_start": "1\n2" } }))),
        ("log tag", with(&["HostConfig"], json!({ "LogConfig": { "Type": "json-file", "Config": { "tag": evil } } }))),
        ("alias", with(&["NetworkingConfig"], json!({ "EndpointsConfig": { "bridge": { "Aliases": [evil] } } }))),
    ] {
        let answer = ask("/containers/create", &body);
        if answer.status != 201 {
            assert_eq!(answer.status, 400, "{what}: {}", answer.text());
            continue;
        }
        let id = answer.json()["Id"].as_str().expect("an id").to_owned();
        let started = ask(&format!("/containers/{id}/start"), "");
        assert!(started.status == 204 || started.status == 400, "{what}: {} {}", started.status, started.text());
        if started.status == 204 {
            made += 1;
            let files = house.ben.text(&["exec", &id, "cat", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"]);
            assert!(!files.lines().any(|l| l.starts_with("6.6.6.6") || l.starts_with("nameserver 6.6.6.6")), "{what}: {files}");
            assert_eq!(house.ben.text(&["exec", &id, "id", "-u"]), "0");
        }
        house.ben.text(&["rm", "-f", &id]);
    }
    assert!(made >= 2, "variables and labels may hold what they like, but only {made} began");
    for (path, body) in [
        ("/containers/create?name=a%0Ab", plain.to_string()),
        ("/containers/create?name=a%00b", plain.to_string()),
        ("/containers/create?name=%1b%5b2J", plain.to_string()),
        ("/volumes/create", json!({ "Name": evil }).to_string()),
        ("/networks/create", json!({ "Name": "a\nb" }).to_string()),
    ] {
        let answer = ask(path, &body);
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text());
    }
    // Each event and each row of the audit is one, whatever it tells of.
    house.server.wharf(&["audit", "verify"]).succeeded();
    assert!(!house.server.log().lines().any(|line| line.starts_with("6.6.6.6") || line.contains('\u{1b}')), "the server's log got a line");
}

/// B7, B8, B9 (CVE-2026-41567, CVE-2019-14271, CVE-2022-1227): the programs and libraries in a container are never run or loaded for
/// the host: not to decompress, not to look up names, not to list processes.
#[test]
fn sec_b07_b08_b09_the_containers_programs_are_not_run_for_the_host() {
    let house = House::new();
    let trap = format!("#!/bin/sh\ntouch /marker {}/planted\necho trapped\n", house.folder.display());
    let mut image = Image::busybox().folder("lib", 0o755).folder("lib64", 0o755).folder("usr/sbin", 0o755);
    for name in [
        "xz",
        "unxz",
        "unpigz",
        "pigz",
        "gzip",
        "gunzip",
        "zstd",
        "unzstd",
        "bzip2",
        "bunzip2",
        "lz4",
        "tar",
        "ps",
        "nsenter",
        "docker-tar",
        "git",
        "modprobe",
    ] {
        for folder in ["usr/bin", "usr/local/bin", "usr/sbin"] {
            image = image.file(&format!("{folder}/{name}"), trap.as_bytes(), 0o755);
        }
    }
    for name in ["libnss_files.so.2", "libnss_dns.so.2", "libc.so.6", "ld-linux-x86-64.so.2"] {
        image = image.file(&format!("lib/{name}"), trap.as_bytes(), 0o755).file(&format!("lib64/{name}"), trap.as_bytes(), 0o755);
    }
    house.load(image, "trap:1").succeeded();
    house.ben.text(&["run", "-d", "--name", "box", "trap:1", "sleep", "1000"]);
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    archive.append_data(&mut header, "arrived", &b"good"[..]).expect("an archive");
    let plain = archive.into_inner().expect("an archive");
    let file = house.server.folder().join("plain.tar");
    std::fs::write(&file, &plain).expect("the archive");
    for packer in ["cat", "gzip", "xz", "zstd", "bzip2"] {
        if e2e::program(packer).is_none() {
            e2e::skip(&format!("no {packer} here"));
            continue;
        }
        let flag = if packer == "cat" { "-u" } else { "-c" };
        let packed = Output::of(std::process::Command::new(packer).arg(flag).arg(&file)).succeeded().bytes;
        let socket = house.server.socket();
        let answer = http::by_account(BEN, || {
            http::send(&socket, "PUT", "/containers/box/archive?path=/tmp", &[("Content-Type", "application/x-tar")], &packed, Until::End)
        });
        let answer = answer.expect("an answer");
        assert!(answer.status == 200 || answer.status == 400, "{packer}: {} {}", answer.status, answer.text());
        if answer.status == 200 {
            assert_eq!(house.ben.text(&["exec", "box", "cat", "/tmp/arrived"]), "good", "{packer}");
            house.ben.text(&["exec", "box", "rm", "/tmp/arrived"]);
        }
    }
    let top = house.ben.text(&["top", "box"]);
    assert!(top.contains("sleep") && !top.contains("trapped"), "{top}");
    for call in [
        &["top", "box", "-eo", "pid,user,args"][..],
        &["stats", "--no-stream", "box"],
        &["diff", "box"],
        &["cp", "box:/etc", "-"],
        &["export", "box"],
        &["logs", "box"],
        &["commit", "box", "kept:1"],
    ] {
        let output = house.ben.run(call);
        assert!(!output.stdout.starts_with("trapped"), "{call:?}");
    }
    let output = house
        .ben
        .with_input(&["build", "-q", "-"], b"FROM trap:1\nADD --chown=web:web Dockerfile /x\nCOPY --from=busybox /etc/passwd /y\n");
    assert_eq!(output.code, 0, "{output:?}");
    let marked = house.ben.run(&["exec", "box", "ls", "/marker"]);
    assert_ne!(marked.code, 0, "a program of the container's was run in it for the host");
    house.untouched("the container's programs", &marked);
}

/// B12 (CVE-2026-47262): account files of any size and shape cost the server nothing and end nothing.
#[test]
fn sec_b12_huge_and_odd_account_files() {
    let house = House::new();
    let before = house.server.resident();
    let long = format!("root:x:0:0:root:/root:/bin/sh\n{}", "filler:x:70000:70000::/:/bin/sh\n".repeat(1_500_000));
    let line = format!("root:x:0:{}\nweb:x:2000:\n", "web,".repeat(4_000_000));
    let odd =
        "root\n::::::\nweb:x\nweb:x:::::\n:x:0:0:::\n\n\u{0}\nweb:x:99999999999999999999:0::/:\nweb:x:-1:0::/:\nlast:x:7:8::/:/bin/sh";
    let folder = Image::busybox().folder("etc/passwd.d", 0o755).link("etc/passwd", "passwd.d");
    let mut answered = 0;
    for (what, image) in [
        ("a long passwd", Image::busybox().file("etc/passwd", long.as_bytes(), 0o644)),
        ("a long line in group", Image::busybox().file("etc/group", line.as_bytes(), 0o644)),
        ("odd lines", Image::busybox().file("etc/passwd", odd.as_bytes(), 0o644).file("etc/group", odd.as_bytes(), 0o644)),
        ("a folder", folder),
        ("a link to a device", Image::busybox().link("etc/passwd", "/dev/zero").link("etc/group", "/proc/kcore")),
    ] {
        house.load(image, "accounts:1").succeeded();
        for user in ["web", "last", "7", "nosuch", "0", ""] {
            let output =
                house.ben.run(&["run", "--rm", "--network", "none", "-u", user, "accounts:1", "grep", "^Uid", "/proc/self/status"]);
            if output.code == 0 {
                answered += 1;
                let uid = output.stdout.split_whitespace().nth(1).expect("a uid").to_owned();
                assert!(uid != "0" || ["0", ""].contains(&user), "{what}: {user:?} became root");
            } else {
                assert!([125, 126].contains(&output.code), "{what} {user:?}: {output:?}");
            }
        }
    }
    assert!(answered > 5, "hardly anybody was found: {answered}");
    assert_eq!(house.server.request("GET", "/_ping", None).status, 200);
    let grown = house.server.resident().saturating_sub(before);
    assert!(grown < 96 << 20, "the server grew by {} MiB", grown >> 20);
}

/// C12 (CVE-2025-58183): a file that says it is a terabyte of holes, in a layer and in a copy, takes neither memory nor disk.
#[test]
fn sec_c12_a_sparse_terabyte_takes_nothing() {
    let house = House::new();
    let before = house.server.resident();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_size(0);
    header.set_path("sparse").expect("a path");
    let gnu = header.as_gnu_mut().expect("a GNU header");
    gnu.realsize.copy_from_slice(b"20000000000\0");
    gnu.sparse[0].offset.copy_from_slice(b"20000000000\0");
    gnu.sparse[0].numbytes.copy_from_slice(b"00000000000\0");
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, std::io::empty()).expect("a sparse file");
    let archive = archive.into_inner().expect("an archive");
    house.ben.text(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let socket = house.server.socket();
    for (method, path) in [("PUT", "/containers/box/archive?path=/tmp"), ("POST", "/images/create?fromSrc=-&repo=sparse&tag=1")] {
        let answer =
            http::by_account(BEN, || http::send(&socket, method, path, &[("Content-Type", "application/x-tar")], &archive, Until::End));
        let answer = answer.expect("an answer");
        assert!((200..500).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
    }
    // Where it was taken it is holes, and what reads it is stopped by whoever reads, not by the server's memory.
    let size = Output::of(std::process::Command::new("du").args(["-sk"]).arg(house.server.folder().join("data"))).succeeded();
    let kilobytes: u64 = size.stdout.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a size");
    assert!(kilobytes < 200 << 10, "the data root holds {kilobytes} KiB");
    let grown = house.server.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "the server grew by {} MiB", grown >> 20);
    assert!(host::alive(house.ben.pid("box")));
}
