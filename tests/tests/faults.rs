//! The disk is full, the disk is read-only, the server is killed in the middle: what was acknowledged is there, nothing is half
//! made, and it goes on when the fault is over, without anybody's help.

use e2e::http::{self, Until};
use e2e::{Docker, Options, Server, host, until};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A data root of its own size on a loop device, and room used up in it.
fn small(megabytes: u64) -> Option<Server> {
    if e2e::program("mkfs.ext4").is_none() || e2e::program("losetup").is_none() {
        e2e::skip("no mkfs.ext4 or losetup here: no data root of its own size");
        return None;
    }
    Some(Server::start_with(Options { data_megabytes: Some(megabytes), ..Options::default() }))
}

fn data(server: &Server) -> PathBuf {
    server.folder().join("data")
}

/// Fills the file system to its last byte.
fn fill(server: &Server) {
    let mut file = std::fs::File::create(data(server).join("filler")).expect("a file to fill with");
    for size in [1 << 20, 4096, 512, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    // What ext4 has promised but not yet placed counts only now.
    file.sync_all().ok();
}

fn sound(server: &Server) {
    server.wharf(&["audit", "verify"]).succeeded();
    until("nothing is left over", || (server.wharf(&["doctor", "--orphans"]).code == 0).then_some(()));
}

fn counts(docker: &Docker) -> Vec<usize> {
    let lists = [&["ps", "-aq"][..], &["images", "-aq"], &["volume", "ls", "-q"], &["network", "ls", "-q"]];
    lists.iter().map(|list| docker.text(list).lines().count()).collect()
}

#[test]
fn a_full_disk_is_said_breaks_nothing_and_heals() {
    let Some(server) = small(96) else { return };
    let docker = server.load_busybox();
    docker.text(&["volume", "create", "before"]);
    docker.text(&["create", "--name", "made", "-v", "before:/v", "busybox", "sleep", "1000"]);
    docker.text(&[
        "run",
        "-d",
        "--name",
        "runs",
        "-v",
        "before:/v",
        "busybox",
        "sh",
        "-c",
        "while [ ! -e /tmp/flood ]; do sleep 0.1; done; head -c 5000000 /dev/urandom | base64; touch /done; sleep 1000",
    ]);
    std::fs::create_dir_all(server.folder().join("context")).expect("a context");
    std::fs::write(server.folder().join("context/Dockerfile"), "FROM busybox\nCOPY big /big\nRUN cat /big > /other\n")
        .expect("a Dockerfile");
    std::fs::write(server.folder().join("context/big"), vec![b'y'; 3 << 20]).expect("a large file");
    let context = server.folder().join("context").display().to_string();
    let archive = server.folder().join("big.tar");
    let big = e2e::image::Image::busybox().file("big", &vec![b'z'; 8 << 20], 0o644);
    std::fs::write(&archive, big.archive(&["big:1"])).expect("an image");
    let archive = archive.display().to_string();
    let before = counts(&docker);

    fill(&server);
    let no_space = |what: &str, output: &e2e::Output| {
        let text = format!("{}{}", output.stdout, output.stderr).to_lowercase();
        assert!(
            text.contains("no space left") || text.contains("disk is full") || text.contains("storage full")
                // The client was answered before it had sent its context, and says no more than that.
                || what == "build" && text.contains("broken pipe"),
            "{what}, exit {}: {text}",
            output.code
        );
    };
    for (what, call) in [
        ("create", &["create", "busybox", "true"][..]),
        ("build", &["build", "-q", "-t", "built", &context]),
        ("commit", &["commit", "made", "committed"]),
        ("volume", &["volume", "create", "another"]),
        ("network", &["network", "create", "another"]),
    ] {
        let output = docker.run(call);
        if output.code == 0 {
            // A few bytes may have found room in a page that was there: then it is whole.
            assert!(["volume", "network", "create", "commit"].contains(&what), "{what} needs megabytes and had none: {output:?}");
            continue;
        }
        no_space(what, &output);
    }
    // Asked without the client, which says no more than "broken pipe" when it is answered before it has sent all.
    let socket = server.socket();
    let bytes = std::fs::read(&archive).expect("the image");
    for (method, path) in [("POST", "/images/load?quiet=1"), ("PUT", "/containers/made/archive?path=/")] {
        let answer = http::send(&socket, method, path, &[("Content-Type", "application/x-tar")], &bytes, Until::End);
        let text = answer.expect("an answer").text().to_lowercase();
        // The kernel mounts an overlay read-only when there is no room for its work folder.
        let said = text.contains("no space left") || text.contains("disk is full") || text.contains("read-only");
        assert!(said, "{method} {path}: {text}");
    }
    // Looking works, and so does what runs.
    assert_eq!(server.request("GET", "/_ping", None).status, 200);
    assert_eq!(docker.inspect("runs", "{{.State.Running}}"), "true");
    let inside = docker.run(&["exec", "runs", "sh", "-c", "head -c 1000000 /dev/zero > /v/file"]);
    assert!(inside.code != 0 || inside.stderr.contains("No space"), "a volume's write: {inside:?}");
    // A log that has no room is no reason for a process to hang.
    docker.run(&["exec", "runs", "touch", "/tmp/flood"]);
    // What makes room works without room: stop and remove.
    docker.run(&["rm", "-f", "made"]).succeeded();
    docker.run(&["ps", "-a"]).succeeded();

    std::fs::remove_file(data(&server).join("filler")).expect("making room");
    docker.run(&["exec", "runs", "rm", "-f", "/v/file"]);
    docker.text(&["exec", "runs", "touch", "/tmp/flood"]);
    until("the process that wrote into the log went on", || (docker.run(&["exec", "runs", "test", "-e", "/done"]).code == 0).then_some(()));
    // Nothing half made: what is listed works, and the same names are free.
    for volume in docker.text(&["volume", "ls", "-q"]).lines() {
        docker.text(&["volume", "inspect", volume]);
    }
    let after = counts(&docker);
    assert!(after[0] <= before[0] + 1 && after[1] <= before[1] + 1, "half-made objects: {before:?} became {after:?}");
    docker.text(&["load", "-q", "-i", &archive]);
    docker.text(&["run", "--rm", "big:1", "test", "-s", "/big"]);
    docker.text(&["build", "-q", "-t", "built", &context]);
    docker.text(&["run", "--rm", "built", "test", "-s", "/other"]);
    docker.text(&["volume", "create", "another2"]);
    docker.text(&["run", "--rm", "-v", "another2:/v", "busybox", "touch", "/v/x"]);
    docker.text(&["rm", "-f", "runs"]);
    sound(&server);
}

#[test]
fn a_read_only_disk_is_said_and_containers_go_on() {
    let Some(server) = small(64) else { return };
    let docker = server.load_busybox();
    docker.text(&["run", "-d", "--name", "runs", "busybox", "sleep", "1000"]);
    let pid = docker.pid("runs");
    // What the kernel does to ext4 after an error (mount(8), errors=remount-ro); an administrator's remount is refused while files are
    // open for writing.
    let device = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    let device = device
        .lines()
        .find(|l| l.contains(&*data(&server).to_string_lossy()))
        .and_then(|l| l.split(' ').next())
        .expect("the loop device")
        .to_owned();
    let abort = Path::new("/sys/fs/ext4").join(device.trim_start_matches("/dev/")).join("trigger_fs_error");
    if std::fs::write(&abort, "a test").is_err() {
        return e2e::skip("this kernel has no trigger_fs_error: no read-only file system");
    }
    for call in
        [&["create", "busybox", "true"][..], &["volume", "create", "more"], &["network", "create", "more"], &["tag", "busybox", "other"]]
    {
        let output = docker.run(call);
        assert_ne!(output.code, 0, "{call:?} on a read-only disk");
        let text = output.stderr.to_lowercase();
        assert!(
            text.contains("read-only") || text.contains("readonly") || text.contains("i/o error") || text.contains("disk"),
            "{call:?}: {text}"
        );
    }
    assert!(host::alive(pid), "the container runs on");
    assert_eq!(server.request("GET", "/_ping", None).status, 200);
    assert_eq!(docker.inspect("runs", "{{.State.Running}}"), "true");
    // The server cannot remove it from a disk it cannot write to.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("ending the container");
    until("its process is gone", || (!host::alive(pid)).then_some(()));
}

/// `kill -9` of the server in the middle of what takes long. Where in the middle is the machine's choice: the pauses differ, nothing
/// depends on them.
#[test]
fn a_server_killed_in_the_middle_of_anything_comes_back_whole() {
    let mut server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    docker.text(&["create", "--name", "box", "busybox", "true"]);
    docker.text(&["run", "-d", "--name", "runs", "busybox", "sleep", "100000"]);
    let pid = docker.pid("runs");
    let folder = server.folder().join("context");
    std::fs::create_dir_all(&folder).expect("a context");
    std::fs::write(folder.join("Dockerfile"), "FROM busybox\nCOPY big /big\nRUN cat /big > /other\nRUN echo more > /more\n")
        .expect("a Dockerfile");
    std::fs::write(folder.join("big"), vec![b'y'; 16 << 20]).expect("a large file");
    let archive = server.folder().join("big.tar");
    let big = e2e::image::Image::busybox().file("big", &vec![b'z'; 16 << 20], 0o644);
    std::fs::write(&archive, big.archive(&["big:1"])).expect("an image");
    let (archive, context, large) = (archive.display().to_string(), folder.display().to_string(), folder.join("big").display().to_string());
    let calls: [(&str, Vec<&str>, Vec<&str>); 7] = [
        ("load", vec!["load", "-q", "-i", &archive], vec!["run", "--rm", "big:1", "test", "-s", "/big"]),
        ("build", vec!["build", "-q", "-t", "built", &context], vec!["run", "--rm", "built", "test", "-s", "/more"]),
        ("commit", vec!["commit", "box", "kept:1"], vec!["run", "--rm", "kept:1", "true"]),
        ("cp", vec!["cp", &large, "box:/big"], vec!["cp", "box:/big", "-"]),
        ("volume create", vec!["volume", "create", "vol"], vec!["run", "--rm", "-v", "vol:/v", "busybox", "touch", "/v/x"]),
        ("network create", vec!["network", "create", "net"], vec!["run", "--rm", "--network", "net", "busybox", "true"]),
        (
            "run",
            vec!["run", "-d", "--name", "half", "-p", "80", "-v", "vol:/v", "busybox", "sleep", "100000"],
            vec!["exec", "half", "true"],
        ),
    ];
    for (what, call, proof) in &calls {
        for pause in [5, 40, 150] {
            let mut client = docker.start(call);
            std::thread::sleep(std::time::Duration::from_millis(pause));
            server.kill();
            client.wait().expect("the client's end");
            server.start_again(Vec::new());
            assert_eq!(docker.inspect("runs", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"), "after {what}");
            for image in docker.text(&["images", "-q"]).lines() {
                docker.run(&["run", "--rm", "--network", "none", image, "true"]).succeeded();
            }
            sound(&server);
            // It can be done again, or was done.
            let again = docker.run(call);
            let taken = again.stderr.contains("already exists") || again.stderr.contains("already in use");
            assert!(again.code == 0 || taken, "{what} again: {}", again.stderr);
            if taken && *what == "run" {
                docker.run(&["start", "half"]).succeeded();
            }
            docker.run(proof).succeeded();
            for undo in
                [&["rm", "-f", "half"][..], &["rmi", "-f", "big:1", "built", "kept:1"], &["network", "rm", "net"], &["volume", "rm", "vol"]]
            {
                docker.run(undo);
            }
        }
    }
    sound(&server);
}
