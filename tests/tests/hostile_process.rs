//! A process that means harm, already running in a container: it traces what enters, exchanges what a start touches, calls the
//! kernel itself. And the same few lines of /proc/PID/status, read back in every place where a process of a container begins.

use e2e::image::Image;
use e2e::{Docker, Options, Server, host, http, until};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use tar::EntryType;

const BEN: u32 = 6;

fn house() -> (Server, Docker) {
    let server = Server::start_with(Options::default());
    server.add_user("ben", BEN);
    let ben = server.docker_as(BEN);
    server.load_busybox_for(&ben);
    (server, ben)
}

fn load(docker: &Docker, image: Image, name: &str) {
    docker.with_input(&["load", "-q"], &image.archive(&[name])).succeeded();
}

/// D3 (CVE-2016-9962, CVE-2015-1334): of a thousand processes that enter a container, none can be traced by its root before it is the
/// container's own program.
#[test]
fn sec_d03_nothing_that_enters_can_be_traced_before_its_exec() {
    let Some(image) = Image::busybox().probe() else { return e2e::skip("no compiler for static programs: nothing to trace with") };
    let server = Server::start_with(Options::default());
    let docker = server.docker();
    load(&docker, image, "probe:1");
    docker.text(&["run", "-d", "--name", "box", "--cap-add", "SYS_PTRACE", "probe:1", "sleep", "1000"]);
    let mut tracer = docker.start(&["exec", "box", "probe", "attach"]);
    let mut lines = BufReader::new(tracer.stdout.take().expect("its output")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    let seen = std::thread::spawn(move || {
        let mut seen = BTreeMap::new();
        for line in lines.map_while(Result::ok) {
            *seen.entry(line).or_insert(0) += 1;
        }
        seen
    });
    let mut connection = http::Connection::open(&server.socket()).expect("a connection");
    let mut last = String::new();
    for _ in 0..1000 {
        let made = connection.send("POST", "/containers/box/exec", Some(r#"{"Cmd":["usleep","2000"]}"#)).expect("an answer");
        assert_eq!(made.status, 201, "{}", made.text());
        last = made.json()["Id"].as_str().expect("an id").to_owned();
        let started = connection.send("POST", &format!("/exec/{last}/start"), Some(r#"{"Detach":true}"#)).expect("an answer");
        assert_eq!(started.status, 200, "{}", started.text());
    }
    until("the last one has ended", || {
        (server.request("GET", &format!("/exec/{last}/json"), None).json()["Running"] == false).then_some(())
    });
    docker.text(&["kill", "box"]);
    tracer.wait().expect("the client's end");
    let seen = seen.join().expect("what was traced");
    assert!(seen.get("attached /bin/busybox").is_some_and(|n| *n > 20), "the tracer hardly traced anything: {seen:?}");
    assert_eq!(seen.len(), 1, "something else than the container's own programs was traced: {seen:?}");
}

/// F9, F5, F7 (CVE-2022-0185, CVE-2022-0492, GHSA-g54h): the calls themselves, not the programs that make them.
#[test]
fn sec_f09_calls_that_reach_deep_into_the_kernel_are_refused() {
    let Some(image) = Image::busybox().probe() else { return e2e::skip("no compiler for static programs: nothing to call with") };
    let (_server, ben) = house();
    load(&ben, image, "probe:1");
    ben.text(&["run", "-d", "--name", "box", "probe:1", "sleep", "1000"]);
    for call in [
        &["run", "--rm", "probe:1", "probe", "calls"][..],
        &["exec", "box", "probe", "calls"],
        &["run", "--rm", "-u", "1000", "probe:1", "probe", "calls"],
    ] {
        let output = ben.text(call);
        let (open, shut): (Vec<&str>, Vec<&str>) = output.lines().partition(|line| line.ends_with(" open"));
        assert_eq!(open, ["getpid open"], "{call:?}");
        assert!(shut.len() > 35, "{output}");
        // Refused for who asks, not for how: EINVAL or EFAULT would mean that the kernel had already looked at the arguments.
        let odd: Vec<_> =
            shut.iter().filter(|line| !line.ends_with(" EPERM") && !line.ends_with(" ENOSYS") && !line.ends_with(" EACCES")).collect();
        assert!(odd.is_empty(), "{call:?}: {odd:?}");
    }
}

/// F7 (GHSA-g54h): nodes of the host's devices that an image brings along open nothing.
#[test]
fn sec_f07_an_images_device_nodes_open_nothing() {
    let (_server, ben) = house();
    use std::os::unix::fs::MetadataExt;
    let disk = std::fs::metadata("/").expect("the root").dev();
    let (major, minor) = (rustix::fs::major(disk), rustix::fs::minor(disk));
    let nodes = [
        ("disk", EntryType::Block, major, minor),
        ("sda", EntryType::Block, 8, 0),
        ("mem", EntryType::Char, 1, 1),
        ("port", EntryType::Char, 1, 4),
        ("kmsg", EntryType::Char, 1, 11),
        ("fuse", EntryType::Char, 10, 229),
        ("tun", EntryType::Char, 10, 200),
        ("kvm", EntryType::Char, 10, 232),
        ("loop-control", EntryType::Char, 10, 237),
    ];
    for (name, kind, major, minor) in nodes {
        let archive = Image::busybox().device(name, kind, major, minor).archive(&["nodes:1"]);
        let loaded = ben.with_input(&["load", "-q"], &archive);
        if loaded.code != 0 {
            continue;
        }
        let look = format!("test -e /{name} && {{ head -c 1 /{name} || : > /{name}; }} 2>/dev/null && echo opened; true");
        assert_eq!(ben.text(&["run", "--rm", "nodes:1", "sh", "-c", &look]), "", "{name} {major}:{minor}");
        assert_eq!(ben.text(&["run", "--rm", "-u", "1000", "nodes:1", "sh", "-c", &look]), "", "{name} {major}:{minor}");
    }
}

/// F1, F2, F3 (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881): a volume on /dev whose nodes another container exchanges during every
/// start: masks hide what they hide, protected files stay protected, and a terminal is a terminal.
#[test]
fn sec_f01_f02_f03_masks_and_terminals_hold_while_dev_is_exchanged() {
    let (server, ben) = house();
    let folder = server.folder().join("hosts-own");
    std::fs::create_dir(&folder).expect("a folder of the host's");
    std::fs::write(folder.join("file"), "only the host's").expect("its file");
    let swap = format!(
        "cd /v; while :; do for t in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/keys /proc/1/root{0}/file ../..{0}/file /dev/tty; do \
         for n in null console ptmx pts pts/0 tty full shm mqueue; do rm -rf $n; ln -s $t $n; done; rm -rf null console pts; mkdir -p pts console; \
         echo hole > null; done; done 2>/dev/null",
        folder.display()
    );
    ben.text(&["run", "-d", "--name", "race", "-v", "devs:/v", "busybox", "sh", "-c", &swap]);
    let look = "head -c 100 /proc/keys /proc/timer_list /proc/interrupts 2>/tmp/err | grep -v '^==>' | grep -v '^$' && echo unmasked; \
        (: >> /proc/sysrq-trigger) 2>/tmp/err && echo sysrq; (: >> /proc/sys/kernel/core_pattern) 2>/tmp/err && echo core; \
        grep -q \"only the host\" /dev/null /dev/console /dev/pts/0 /dev/tty 2>/tmp/err && echo leaked; \
        [ \"$(stat -f -c %T /proc)\" = proc ] || echo no proc; \
        grep -E ' /(proc|sys)/[^ ]* ' /proc/self/mountinfo | grep -v ' - \\(proc\\|sysfs\\|tmpfs\\|devtmpfs\\|cgroup2\\?\\|mqueue\\) '; echo end";
    let mut began = 0;
    for n in 0..24 {
        let kind: &[&str] = if n % 2 == 0 { &["-t"] } else { &[] };
        let sysctl = ["--sysctl", "net.ipv4.ip_unprivileged_port_start=7", "--oom-score-adj", "7"];
        let output =
            ben.run(&[&["run", "--rm", "--network", "none"], kind, &sysctl, &["-v", "devs:/dev", "busybox", "sh", "-c", look]].concat());
        if output.code == 0 {
            began += 1;
            assert_eq!(output.text(), "end", "start {n}: {}", output.stderr);
        }
    }
    assert!(began > 4, "hardly any container began: {began}");
    assert_eq!(std::fs::read_to_string(folder.join("file")).expect("the host's file"), "only the host's");
    let core = std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("the host's core_pattern");
    assert!(!core.contains("hole") && !core.starts_with('7'), "{core}");
}

/// What the kernel says of a process: the lines that decide.
fn decisive(status: &str) -> BTreeMap<String, String> {
    let wanted = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Groups"];
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(name, _)| wanted.contains(name)).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// E1, E6 (CVE-2022-24769, CVE-2022-29162, CVE-2025-65105): nothing is inheritable, and what was asked for was applied, in a
/// container's first process, an exec, a health check, a step of a build, and again after a restart.
#[test]
fn sec_e01_e06_what_was_asked_for_is_what_the_kernel_has_wherever_a_process_begins() {
    let (server, ben) = house();
    let read = "grep . /proc/self/status";
    let health = ["--health-cmd", "cat /proc/self/status > /health.new; mv /health.new /health", "--health-interval", "1s"];
    ben.text(&[&["run", "-d", "--name", "box"], &health[..], &["busybox", "sh", "-c", &format!("{read} > /first; sleep 1000")]].concat());
    ben.text(
        &[
            &["run", "-d", "--name", "narrow", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
            &health[..],
            &["busybox", "sh", "-c", &format!("{read} > /first; sleep 1000")],
        ]
        .concat(),
    );
    let docker_default = 0xa804_25fb_u64;
    let check = |place: &str, status: &str, caps: u64, no_new: &str| {
        let said = decisive(status);
        assert_eq!(said.len(), 8, "{place}: {status}");
        let mask = |name: &str| u64::from_str_radix(&said[name], 16).expect("hex");
        assert_eq!((mask("CapInh"), mask("CapAmb")), (0, 0), "{place}: {said:?}");
        assert_eq!((mask("CapBnd"), mask("CapPrm"), mask("CapEff")), (caps, caps, caps), "{place}");
        assert_eq!((said["Seccomp"].as_str(), said["NoNewPrivs"].as_str()), ("2", no_new), "{place}");
        assert_eq!(said["Groups"], "0", "{place}");
    };
    // As Docker does, root's supplementary groups are those of the image's group file: none but its own here.
    for round in ["at first", "after a restart"] {
        for (name, caps, no_new) in [("box", docker_default, "0"), ("narrow", 0, "1")] {
            let first = until("its first process has said it", || {
                Some(ben.run(&["exec", name, "cat", "/first"])).filter(|o| o.code == 0 && !o.stdout.is_empty())
            });
            check(&format!("{name}'s first process {round}"), &first.stdout, caps, no_new);
            check(&format!("an exec in {name} {round}"), &ben.text(&["exec", name, "sh", "-c", read]), caps, no_new);
            let health = until("a health check ran", || Some(ben.run(&["exec", name, "cat", "/health"])).filter(|o| o.code == 0));
            check(&format!("{name}'s health check {round}"), &health.stdout, caps, no_new);
        }
        if round == "at first" {
            ben.text(&["exec", "box", "rm", "-f", "/first", "/health"]);
            ben.text(&["exec", "narrow", "rm", "-f", "/first", "/health"]);
            ben.text(&["restart", "-t", "0", "box", "narrow"]);
        }
    }
    // A user who is not root holds none, and an exec may not ask for more than the container has.
    let user = ben.text(&["exec", "-u", "1000", "box", "sh", "-c", read]);
    let said = decisive(&user);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&said[set], 16), Ok(0), "{set} of a user's exec");
    }
    let built = ben.with_input(
        &["build", "-q", "-t", "built:1", "-"],
        format!("FROM busybox\nRUN {read} > /step\nUSER 1000\nRUN {read} > /tmp/step\n").as_bytes(),
    );
    built.succeeded();
    check("a step of a build", &ben.text(&["run", "--rm", "built:1", "cat", "/step"]), docker_default, "0");
    let said = decisive(&ben.text(&["run", "--rm", "built:1", "cat", "/tmp/step"]));
    assert_eq!((u64::from_str_radix(&said["CapEff"], 16), u64::from_str_radix(&said["CapInh"], 16)), (Ok(0), Ok(0)), "a user's step");
    // From outside, too: nobody inside can have forged what the host reads.
    let seen = host::read(ben.pid("narrow"), "status");
    assert_eq!((decisive(&seen)["Seccomp"].as_str(), decisive(&seen)["NoNewPrivs"].as_str()), ("2", "1"));
    drop(server);
}

/// E2 (CVE-2022-36109, CVE-2022-2990, CVE-2023-25173): the groups are exactly those of user, image and request, also in an exec; a
/// file that shuts one group out stays shut to it.
#[test]
fn sec_e02_groups_are_exactly_the_expected_ones() {
    let (_server, ben) = house();
    let group = "root:x:0:\nweb:x:2000:\nlogs:x:3000:web,root\nkept-out:x:4000:web\n";
    let image = Image::busybox().file("etc/group", group.as_bytes(), 0o644);
    load(&ben, image, "groups:1");
    let sorted = |text: &str| {
        let mut all: Vec<u32> = text.split_whitespace().map(|n| n.parse().expect("a group")).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let kernels = "grep ^Groups: /proc/self/status | cut -f2; id -g";
    for (user, more, wanted) in [
        (None, &[][..], &[0, 3000][..]),
        (Some("web"), &[], &[2000, 3000, 4000]),
        (Some("1000"), &[], &[2000, 3000, 4000]),
        (Some("1000:7"), &[], &[7]),
        (Some("web:web"), &["--group-add", "77"], &[77, 2000]),
        (Some("55:66"), &["--group-add", "77", "--group-add", "logs"], &[66, 77, 3000]),
        (Some("4321"), &[], &[0]),
    ] {
        let user: Vec<&str> = user.into_iter().flat_map(|user| ["-u", user]).collect();
        let run = ben.text(&[&["run", "--rm"], &user[..], more, &["groups:1", "sh", "-c", kernels]].concat());
        assert_eq!(sorted(&run), wanted, "run {user:?} {more:?}");
        if more.is_empty() {
            ben.run(&["rm", "-f", "box"]);
            ben.text(&["run", "-d", "--name", "box", "groups:1", "sleep", "1000"]);
            let exec = ben.text(&[&["exec"], &user[..], &["box", "sh", "-c", kernels]].concat());
            assert_eq!(sorted(&exec), wanted, "exec {user:?}");
        }
    }
    // A file that everybody but one group may read.
    ben.text(&["exec", "box", "sh", "-c", "echo secret > /shut; chown 0:4000 /shut; chmod 604 /shut"]);
    assert_ne!(ben.run(&["exec", "-u", "web", "box", "cat", "/shut"]).code, 0, "the group's entry was lost in an exec");
    assert_eq!(ben.text(&["exec", "-u", "1000:7", "box", "cat", "/shut"]), "secret");
}
