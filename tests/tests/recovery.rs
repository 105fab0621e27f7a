//! Faults that come from outside while containers run: killed servers and shims, a new program, a table of inodes that is full, a
//! database that is locked or damaged, a fork bomb, few descriptors, a clock that jumps. What was acknowledged is there, states are
//! true, and it goes on when the fault is over.

use e2e::http::{self, Until};
use e2e::image::Image;
use e2e::registry::Registry;
use e2e::{Docker, Options, Output, Server, host, until};
use nix::sys::signal::Signal;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BEN: u32 = 6;

fn sound(server: &Server) {
    server.wharf(&["audit", "verify"]).succeeded();
    until("nothing is left over", || (server.wharf(&["doctor", "--orphans"]).code == 0).then_some(()));
}

fn signal(pid: i32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("a signal");
}

fn shim_of(pid: i32) -> i32 {
    host::status(pid)["PPid"].parse().expect("the parent's pid")
}

fn state(docker: &Docker, name: &str) -> String {
    docker.inspect(name, "{{.State.Status}}")
}

/// R03: `kill -9` of the server while it stops, kills, restarts or removes: the container is in one state or the other, says so
/// truly, and the same request goes through afterwards.
#[test]
fn sec_r03_a_server_killed_while_it_ends_containers_converges() {
    let mut server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    for call in [&["stop", "-t", "1", "box"][..], &["kill", "box"], &["restart", "-t", "0", "box"], &["rm", "-f", "box"]] {
        for pause in [2, 20, 80] {
            docker.run(&["rm", "-f", "box"]);
            docker.text(&["run", "-d", "--name", "box", "-p", "80", "-v", "vol:/v", "busybox", "sleep", "1000"]);
            let mut client = docker.start(call);
            std::thread::sleep(Duration::from_millis(pause));
            server.kill();
            client.wait().expect("the client's end");
            server.start_again(Vec::new());
            let known = docker.run(&["inspect", "-f", "{{.State.Status}} {{.State.Pid}}", "box"]);
            if known.code == 0 {
                let pid: i32 = known.text().rsplit(' ').next().and_then(|pid| pid.parse().ok()).expect("a pid");
                let running = known.text().starts_with("running");
                assert_eq!(running, pid != 0 && host::alive(pid), "{call:?} after {pause} ms: {}", known.stdout);
                let again = docker.run(call);
                assert!(again.code == 0 || call[0] == "kill" && again.stderr.contains("is not running"), "{call:?}: {}", again.stderr);
            } else {
                assert_eq!(call[0], "rm", "{call:?}: {}", known.stderr);
            }
            sound(&server);
        }
    }
}

/// R04: `kill -9` of the server while it pulls: an image is listed when it is whole, and the next pull brings it.
#[test]
fn sec_r04_a_server_killed_while_it_pulls_lists_nothing_partial() {
    let Some(registry) = Registry::start() else { return e2e::skip("no docker-registry here: nothing to pull from") };
    let mut server = Server::start_with(Options::default());
    let docker = server.docker();
    let mut noise = vec![0_u8; 24 << 20];
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for chunk in noise.chunks_mut(8) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        chunk.copy_from_slice(&seed.to_le_bytes()[..chunk.len()]);
    }
    let name = format!("{}/big:1", registry.address);
    let image = Image::busybox().file("noise", &noise, 0o644);
    docker.with_input(&["load", "-q"], &image.archive(&[&name])).succeeded();
    docker.text(&["push", "-q", &name]);
    docker.text(&["rmi", &name]);
    for pause in [15, 60, 150, 300, 600] {
        let mut client = docker.start(&["pull", "-q", &name]);
        std::thread::sleep(Duration::from_millis(pause));
        server.kill();
        client.wait().expect("the client's end");
        server.start_again(Vec::new());
        if !docker.text(&["images", "-q"]).is_empty() {
            docker.text(&["run", "--rm", &name, "test", "-s", "/noise"]);
            docker.text(&["rmi", "-f", &name]);
        }
        sound(&server);
    }
    docker.text(&["pull", "-q", &name]);
    assert_eq!(docker.text(&["run", "--rm", &name, "sh", "-c", "wc -c < /noise"]), (24 << 20).to_string());
}

/// R07: ten containers end while no server runs: exit codes and times are those of the moment, the last line is in the log, and a
/// policy to start again counts once.
#[test]
fn sec_r07_what_ended_without_a_server_is_told_exactly() {
    let mut server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    let gate = server.folder().join("gate");
    std::fs::create_dir(&gate).expect("a folder to wait for");
    let bind = format!("{}:/gate:ro", gate.display());
    for n in 0..10 {
        let waiting = format!(
            "while [ ! -e /gate/go ]; do sleep 0.1; done; i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; exit {}",
            n + 20
        );
        let policy = if n < 5 { "no" } else { "on-failure:1" };
        docker.text(&["run", "-d", "-v", &bind, "--restart", policy, "--name", &format!("ends{n}"), "busybox", "sh", "-c", &waiting]);
    }
    let pids: Vec<i32> = (0..10).map(|n| docker.pid(&format!("ends{n}"))).collect();
    server.kill();
    std::fs::write(gate.join("go"), "").expect("letting them end");
    until("ten containers ended without a server", || pids.iter().all(|pid| !host::alive(*pid)).then_some(()));
    let ended = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time after 1970").as_secs();
    std::thread::sleep(Duration::from_secs(2));
    server.start_again(Vec::new());
    for n in 0..10 {
        let name = format!("ends{n}");
        let (times, count) = if n < 5 { (1, "0") } else { (2, "1") };
        until("it has ended for good", || {
            (docker.inspect(&name, "{{.State.Status}} {{.RestartCount}}") == format!("exited {count}")).then_some(())
        });
        assert_eq!(docker.inspect(&name, "{{.State.ExitCode}}"), (n + 20).to_string());
        until("its log has an end", || (docker.text(&["logs", &name]).lines().count() == 200 * times).then_some(()));
        let log = docker.text(&["logs", &name]);
        let wanted: Vec<String> = (0..200).map(|i| format!("line {i}")).collect();
        assert_eq!(log.lines().collect::<Vec<_>>(), vec![wanted; times].concat(), "{name}");
        if n < 5 {
            let finished = docker.inspect(&name, "{{.State.FinishedAt}}");
            let seconds = Output::of(Command::new("date").args(["-u", "+%s", "-d", &finished])).succeeded();
            let finished: u64 = seconds.text().parse().expect("seconds");
            assert!(finished <= ended, "{name} is said to have ended when the server came back");
        }
    }
    sound(&server);
}

/// R08, R09: `kill -9` of a shim, then of the server and every shim: what they held is over and gone, said to be so, and can be
/// started again; what they did not hold runs on.
#[test]
fn sec_r08_r09_killed_shims_take_their_containers_with_them_and_no_others() {
    let mut server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    for name in ["one", "two", "three"] {
        docker.text(&["run", "-d", "--name", name, "-p", "80", "busybox", "sh", "-c", "sleep 1000 & sleep 1000"]);
    }
    let pids: Vec<i32> = ["one", "two", "three"].map(|name| docker.pid(name)).to_vec();
    let id = docker.inspect("one", "{{.Id}}");
    signal(shim_of(pids[0]), Signal::SIGKILL);
    until("the container is over", || (state(&docker, "one") != "running").then_some(()));
    until("all its processes are gone", || host::processes_in(&id).is_empty().then_some(()));
    assert_eq!(docker.pid("two"), pids[1]);
    docker.text(&["start", "one"]);
    assert_eq!(docker.text(&["exec", "one", "echo", "again"]), "again");
    sound(&server);

    let shims: Vec<i32> = ["one", "two", "three"].map(|name| shim_of(docker.pid(name))).to_vec();
    let ids: Vec<String> = ["one", "two", "three"].map(|name| docker.inspect(name, "{{.Id}}")).to_vec();
    server.kill();
    for shim in shims {
        signal(shim, Signal::SIGKILL);
    }
    server.start_again(Vec::new());
    for (name, id) in ["one", "two", "three"].iter().zip(ids) {
        until("it is over", || (state(&docker, name) != "running").then_some(()));
        until("all its processes are gone", || host::processes_in(&id).is_empty().then_some(()));
        docker.text(&["start", name]);
        docker.text(&["rm", "-f", name]);
    }
    sound(&server);
}

/// R10: another program takes over with containers running and a client attached: no container notices, the client's stream ends, and
/// output that came in between is in the log.
#[test]
fn sec_r10_a_new_program_takes_over_what_runs() {
    let mut server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    for n in 0..8 {
        docker.text(&[
            "run",
            "-d",
            "--name",
            &format!("box{n}"),
            "busybox",
            "sh",
            "-c",
            "n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done",
        ]);
    }
    let pids: Vec<i32> = (0..8).map(|n| docker.pid(&format!("box{n}"))).collect();
    let mut attached = docker.start(&["attach", "--no-stdin", "--sig-proxy=false", "box0"]);
    let new = server.folder().join("wharf-new");
    std::fs::copy(e2e::server::binary(), &new).expect("a new program");
    assert_eq!(server.stop(), Some(0));
    until("the attached client's stream ended", || attached.try_wait().expect("asking after the client"));
    server.start_again_as(&new);
    let running = std::fs::read_link(format!("/proc/{}/exe", server.pid().expect("a server"))).expect("its program");
    assert_eq!(running, new);
    for (n, pid) in pids.iter().enumerate() {
        let name = format!("box{n}");
        assert_eq!(docker.inspect(&name, "{{.State.Status}} {{.State.Pid}} {{.RestartCount}}"), format!("running {pid} 0"));
        let log = docker.text(&["logs", &name]);
        let wanted: Vec<String> = (1..=log.lines().count()).map(|n| n.to_string()).collect();
        assert_eq!(log.lines().collect::<Vec<_>>(), wanted, "a hole in the log of {name}");
        assert_eq!(docker.text(&["exec", &name, "echo", "in"]), "in");
    }
    sound(&server);
}

/// R13: no inode is left: it is said, what makes room works, and afterwards everything does.
#[test]
fn sec_r13_a_file_system_without_inodes_is_said_and_heals() {
    if e2e::program("mkfs.ext4").is_none() || e2e::program("losetup").is_none() {
        return e2e::skip("no mkfs.ext4 or losetup here: no data root of its own size");
    }
    let server = Server::start_with(Options { data_megabytes: Some(96), data_inodes: Some(4096), ..Options::default() });
    let docker = server.load_busybox();
    docker.text(&["run", "-d", "--name", "runs", "busybox", "sleep", "1000"]);
    docker.text(&["create", "--name", "made", "busybox", "true"]);
    let filler = server.folder().join("data/filler");
    std::fs::create_dir(&filler).expect("a folder to fill");
    for n in 0.. {
        if std::fs::File::create(filler.join(n.to_string())).is_err() {
            break;
        }
    }
    let archive = Image::busybox().file("x", b"another", 0o644).archive(&["another:1"]);
    let loaded =
        http::send(&server.socket(), "POST", "/images/load?quiet=1", &[("Content-Type", "application/x-tar")], &archive, Until::End)
            .expect("an answer");
    let text = loaded.text().to_lowercase();
    assert!(text.contains("no space left") || text.contains("disk is full") || text.contains("inode"), "{} {text}", loaded.status);
    for call in [&["create", "busybox", "true"][..], &["volume", "create", "vol"], &["commit", "made", "kept:1"]] {
        let output = docker.run(call);
        let said = output.stderr.to_lowercase();
        assert!(output.code == 0 || said.contains("no space left") || said.contains("disk is full"), "{call:?}: {said}");
    }
    assert_eq!(state(&docker, "runs"), "running");
    docker.text(&["exec", "runs", "true"]);
    docker.text(&["rm", "-f", "made"]);
    docker.text(&["stop", "-t", "0", "runs"]);
    std::fs::remove_dir_all(&filler).expect("making room");
    docker.with_input(&["load", "-q"], &archive).succeeded();
    docker.text(&["run", "--rm", "another:1", "cat", "/x"]);
    docker.text(&["start", "runs"]);
    sound(&server);
}

/// R15: somebody else holds the database's lock: reading goes on, a change waits and is then refused as busy, and nothing of it is half
/// done. A damaged database is no reason to begin anew: the server says which file and refuses.
#[test]
fn sec_r15_a_locked_database_is_waited_for_and_a_damaged_one_refused() {
    if e2e::program("sqlite3").is_none() {
        return e2e::skip("no sqlite3 here: nobody to lock the database");
    }
    let mut server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    docker.text(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let database = server.folder().join("data/wharf.db");
    assert!(
        database.is_file(),
        "where is the database? {:?}",
        std::fs::read_dir(server.folder().join("data")).expect("the data root").flatten().map(|e| e.file_name()).collect::<Vec<_>>()
    );
    let lock = |seconds: u32| {
        let mut holder = Command::new("sqlite3")
            .arg(&database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("sqlite3");
        use std::io::{BufRead, BufReader, Write};
        let stdin = holder.stdin.as_mut().expect("its input");
        writeln!(stdin, ".timeout 5000\nBEGIN IMMEDIATE;\nSELECT 'held';\n.shell sleep {seconds}\nROLLBACK;\n.quit").expect("telling it");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), "held");
        holder
    };
    // Short: it is waited for.
    let mut holder = lock(2);
    assert_eq!(docker.text(&["ps", "-q"]).lines().count(), 1, "reading needs no lock");
    docker.text(&["volume", "create", "waited"]);
    holder.wait().expect("its end");
    // Long: it is refused, and what was not written did not happen.
    let mut holder = lock(14);
    let begin = Instant::now();
    let answer = server.request("POST", "/volumes/create", Some(r#"{"Name":"refused"}"#));
    assert!(answer.status == 503 || answer.status == 500, "{} {}", answer.status, answer.text());
    assert!(answer.text().to_lowercase().contains("database"), "{}", answer.text());
    assert!(begin.elapsed() < Duration::from_secs(40), "it waited {:?}", begin.elapsed());
    assert_eq!(docker.text(&["exec", "box", "echo", "well"]).as_str(), "well");
    holder.wait().expect("its end");
    assert!(!docker.text(&["volume", "ls", "-q"]).contains("refused"));
    docker.text(&["volume", "create", "refused"]);
    sound(&server);

    server.stop();
    let whole = std::fs::read(&database).expect("the database");
    for (what, damaged) in [
        ("overwritten", [&whole[..100], &vec![0xa5; whole.len() - 100]].concat()),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("no database", b"this was a database once".repeat(1000)),
    ] {
        for extra in ["wharf.db-wal", "wharf.db-shm"] {
            std::fs::remove_file(database.with_file_name(extra)).ok();
        }
        std::fs::write(&database, &damaged).expect("damaging it");
        let output = server.wharf(&["serve", "--listen", "none"]);
        assert_ne!(output.code, 0, "{what}: the server began on a damaged database");
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains("wharf.db"), "{what}: which file? {said}");
        assert!(!said.contains("panicked"), "{what}: {said}");
        assert_eq!(std::fs::read(&database).expect("it is still there").len(), damaged.len(), "{what}: the damaged file was changed");
    }
    std::fs::write(&database, &whole).expect("the copy");
    server.start_again(Vec::new());
    assert_eq!(state(&docker, "box"), "running");
    docker.text(&["exec", "box", "true"]);
    sound(&server);
}

/// R21: a fork bomb in one tenant's container: the server answers, the other tenant's containers go on, and it can be stopped.
#[test]
fn sec_r21_the_server_answers_beside_a_fork_bomb() {
    let server = Server::start_with(Options::default());
    server.add_user("ben", BEN);
    let (docker, ben) = (server.load_busybox(), server.docker_as(BEN));
    server.load_busybox_for(&ben);
    docker.text(&["run", "-d", "--name", "calm", "busybox", "sh", "-c", "n=0; while :; do n=$((n+1)); echo $n > /count; sleep 0.1; done"]);
    let count = || docker.run(&["exec", "calm", "cat", "/count"]).text().parse::<u32>().unwrap_or(0);
    ben.text(&[
        "run",
        "-d",
        "--name",
        "bomb",
        "--pids-limit",
        "200",
        "--cpus",
        "1",
        "busybox",
        "sh",
        "-c",
        "b() { b | b & b; }; while :; do b; sleep 0.01; done",
    ]);
    let before = count();
    let mut connection = http::Connection::open(&server.socket()).expect("a connection");
    let begin = Instant::now();
    let mut asked = 0;
    while begin.elapsed() < Duration::from_secs(6) {
        let answer = connection.send("GET", "/containers/json", None).expect("an answer");
        assert_eq!(answer.status, 200);
        asked += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(asked > 30, "only {asked} answers in six seconds");
    until("the other's container counts on", || (count() > before + 5).then_some(()));
    ben.text(&["stop", "-t", "1", "bomb"]);
    assert!(host::processes_in(&ben.inspect("bomb", "{{.Id}}")).is_empty());
    ben.text(&["rm", "bomb"]);
    sound(&server);
}

/// R27: with few descriptors and more connections than that: who holds one is answered, the others wait or are turned away, nothing is
/// half made, and when there is room again all is well.
#[test]
fn sec_r27_few_descriptors_are_survived() {
    let Some(prlimit) = e2e::program("prlimit") else { return e2e::skip("no prlimit here") };
    let server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    docker.text(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let own = i32::try_from(server.pid().expect("a server")).expect("a pid");
    let limit = host::descriptors(own).len() + 60;
    Output::of(Command::new(&prlimit).args(["--pid", &own.to_string(), &format!("--nofile={limit}:{limit}")])).succeeded();
    let mut first = http::Connection::open(&server.socket()).expect("a connection");
    assert_eq!(first.send("GET", "/_ping", None).expect("an answer").status, 200);
    let held: Vec<_> = (0..200).map_while(|_| std::os::unix::net::UnixStream::connect(server.socket()).ok()).collect();
    until("no descriptor is left", || (host::descriptors(own).len() + 2 >= limit).then_some(()));
    // The connection that was there is answered; what needs descriptors of its own fails in words.
    let answer = first.send("GET", "/containers/json", None).expect("an answer");
    assert_eq!(answer.status, 200);
    let made = first.send("POST", "/containers/create?name=half", Some(r#"{"Image":"busybox","Cmd":["true"]}"#)).expect("an answer");
    if made.status == 201 {
        let started = first.send("POST", "/containers/half/start", None).expect("an answer");
        assert!([204, 500, 503].contains(&started.status), "{} {}", started.status, started.text());
        assert!(started.status == 204 || started.text().to_lowercase().contains("too many open files"), "{}", started.text());
    } else {
        assert!(
            made.text().to_lowercase().contains("too many open files") || made.text().contains("database"),
            "{} {}",
            made.status,
            made.text()
        );
    }
    drop((held, first));
    until("the server answers again", || server_answers(&server).then_some(()));
    docker.run(&["rm", "-f", "half"]);
    docker.text(&["run", "--rm", "busybox", "true"]);
    docker.text(&["exec", "box", "true"]);
    sound(&server);
}

fn server_answers(server: &Server) -> bool {
    http::Request { method: "GET", path: "/_ping", token: None, body: None }
        .try_send(&server.socket())
        .is_ok_and(|answer| answer.status == 200)
}

/// R31: the wall clock jumps a year ahead, two back, then to and fro by seconds: nothing ends, nothing is signed out, health checks and
/// waiting go by the clock that only goes forward.
#[test]
fn sec_r31_a_clock_that_jumps_ends_nothing() {
    let Some(compiler) = e2e::program("cc") else { return e2e::skip("no compiler: no clock to turn") };
    let server_folder = tempfile::tempdir().expect("a folder for the clock");
    let (source, library, offset) =
        (server_folder.path().join("clock.c"), server_folder.path().join("clock.so"), server_folder.path().join("offset"));
    // Between the server and its C library: CLOCK_REALTIME plus the seconds in a file. What the kernel and the shims see stays true.
    let text = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <fcntl.h>
        #include <stdlib.h>
        #include <sys/mman.h>
        #include <sys/syscall.h>
        #include <time.h>
        #include <unistd.h>
        static volatile long *seconds;
        __attribute__((constructor)) static void begin(void) {
            int file = open(getenv("CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC);
            void *at = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
            if (at != MAP_FAILED) seconds = at;
            close(file);
        }
        int clock_gettime(clockid_t clock, struct timespec *now) {
            int got = (int)syscall(SYS_clock_gettime, clock, now);
            if (got == 0 && clock == CLOCK_REALTIME && seconds) now->tv_sec += *seconds;
            return got;
        }
    "#;
    std::fs::write(&source, text).expect("its source");
    Output::of(Command::new(compiler).args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source)).succeeded();
    let set = |seconds: i64| {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options().create(true).truncate(false).write(true).open(&offset).expect("the offset");
        file.write_all_at(&seconds.to_ne_bytes(), 0).expect("turning the clock");
    };
    set(0);
    let environment =
        [("LD_PRELOAD", &library), ("CLOCK_OFFSET", &offset)].map(|(name, path)| (name.to_owned(), path.display().to_string()));
    let server = Server::start_with(Options { environment: environment.to_vec(), ..Options::default() });
    server.add_user("ben", BEN);
    let docker = server.load_busybox();
    let token = server.token("ben");
    docker.text(&[
        "run",
        "-d",
        "--name",
        "box",
        "--health-cmd",
        "echo x >> /checks",
        "--health-interval",
        "1s",
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
        "while :; do echo line; sleep 0.2; done",
    ]);
    let pid = docker.pid("box");
    let checks = || docker.text(&["exec", "box", "sh", "-c", "wc -l < /checks 2>/dev/null || echo 0"]).parse::<u32>().unwrap_or(0);
    for (what, jumps) in [
        ("months ahead", vec![80 * 86_400]),
        ("a year back", vec![-366 * 86_400]),
        ("to and fro", (0..100).map(|n| if n % 2 == 0 { n } else { -n }).collect()),
        ("as it was", vec![0]),
    ] {
        for jump in jumps {
            set(jump);
            assert_eq!(server.request("GET", "/_ping", None).status, 200, "{what}");
        }
        assert_eq!(docker.inspect("box", "{{.State.Status}} {{.State.Pid}} {{.RestartCount}}"), format!("running {pid} 0"), "{what}");
        let signed = http::Request { method: "GET", path: "/containers/json", token: Some(&token), body: None }.send(&server.socket());
        assert_eq!(signed.status, 200, "a token without an end is good, {what}: {}", signed.text());
        let before = checks();
        until("health checks go on", || (checks() > before + 1).then_some(()));
        let lines = docker.text(&["logs", "box"]).lines().count();
        until("the log goes on", || (docker.text(&["logs", "box"]).lines().count() > lines).then_some(()));
        let name = format!("brief{}", what.len());
        docker.text(&["run", "-d", "--name", &name, "busybox", "sleep", "1000"]);
        let begin = Instant::now();
        docker.text(&["stop", "-t", "1", &name]);
        assert!(begin.elapsed() < Duration::from_secs(20), "stopping took {:?}, {what}", begin.elapsed());
        docker.text(&["rm", &name]);
        docker.text(&["run", "--rm", "busybox", "true"]);
    }
    sound(&server);
}

/// What dockerd answers with 500 too, and clients know it so.
fn dockerds_own(text: &str) -> bool {
    text.contains("is not paused") || text.contains("is not connected to network")
}

/// R35: thirty-two clients at one container with everything there is: each answer is one of those the request can have, never a 500,
/// and afterwards the container is in one state that is true.
#[test]
fn sec_r35_races_on_one_container_give_no_500() {
    let server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    let requests: [(&str, &str, Option<&str>); 16] = [
        (
            "POST",
            "/containers/create?name=box",
            Some(r#"{"Image":"busybox","Cmd":["sleep","1000"],"HostConfig":{"PortBindings":{"80/tcp":[{}]},"Binds":["vol:/v"]}}"#),
        ),
        ("POST", "/containers/box/start", None),
        ("POST", "/containers/box/stop?t=0", None),
        ("POST", "/containers/box/restart?t=0", None),
        ("POST", "/containers/box/kill", None),
        ("POST", "/containers/box/pause", None),
        ("POST", "/containers/box/unpause", None),
        ("DELETE", "/containers/box?force=1", None),
        ("POST", "/containers/box/rename?name=other", None),
        ("POST", "/containers/other/rename?name=box", None),
        ("POST", "/containers/box/update", Some(r#"{"Memory":67108864,"MemorySwap":134217728}"#)),
        ("POST", "/containers/box/exec", Some(r#"{"Cmd":["true"]}"#)),
        ("GET", "/containers/box/json", None),
        ("GET", "/containers/box/top", None),
        ("POST", "/networks/bridge/disconnect", Some(r#"{"Container":"box","Force":true}"#)),
        ("POST", "/networks/bridge/connect", Some(r#"{"Container":"box"}"#)),
    ];
    let wrong = std::sync::Mutex::new(Vec::new());
    let good = std::sync::atomic::AtomicUsize::new(0);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..32_usize {
            let (server, wrong, good) = (&server, &wrong, &good);
            scope.spawn(move || {
                let mut n = client;
                while begin.elapsed() < Duration::from_secs(15) {
                    n = n.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff;
                    let (method, path, body) = requests[(n >> 8) % requests.len()];
                    let request = http::Request { method, path, token: None, body };
                    match request.try_send(&server.socket()) {
                        Ok(answer) if answer.status >= 500 && !dockerds_own(&answer.text()) => {
                            wrong.lock().expect("the list").push(format!("{method} {path}: {} {}", answer.status, answer.text()))
                        }
                        Ok(answer) => drop((answer.status < 400).then(|| good.fetch_add(1, std::sync::atomic::Ordering::Relaxed))),
                        Err(e) => wrong.lock().expect("the list").push(format!("{method} {path}: {e}")),
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().expect("the list");
    let all = wrong.len();
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{all} answers that no request can have: {wrong:#?}");
    assert!(good.into_inner() > 100, "hardly anything succeeded");
    for id in docker.text(&["ps", "-aq"]).lines() {
        let pid = docker.pid(id);
        assert_eq!(docker.inspect(id, "{{.State.Running}}") == "true", pid != 0 && host::alive(pid));
        docker.text(&["rm", "-f", id]);
    }
    sound(&server);
}
