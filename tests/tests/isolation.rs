//! What a container may be and see, read back from the kernel and compared with what policy says.

use e2e::{Server, host, until};

const ANN: u32 = 5;
const BEN: u32 = 6;
/// Docker's fourteen default capabilities as a mask (capabilities(7)).
const DEFAULT_CAPS: u64 = 0x0000_0000_a804_25fb;

fn sleeping(server: &Server, uid: u32, name: &str) -> i32 {
    let docker = server.docker_as(uid);
    docker.text(&["run", "-d", "--name", name, "busybox", "sleep", "1000"]);
    docker.pid(name)
}

fn two_people() -> Server {
    let server = Server::start_with(e2e::Options::default());
    for (name, uid) in [("ann", ANN), ("ben", BEN)] {
        server.add_user(name, uid);
        server.load_busybox_for(&server.docker_as(uid));
    }
    server
}

#[test]
fn root_inside_is_nobody_outside() {
    let server = two_people();
    let (ann, ben) = (sleeping(&server, ANN, "one"), sleeping(&server, BEN, "one"));
    let docker = server.docker_as(ANN);
    assert!(docker.text(&["exec", "one", "id"]).starts_with("uid=0(root) gid=0(root)"));
    let mut first = Vec::new();
    for pid in [ann, ben] {
        let maps = host::read(pid, "uid_map");
        let fields: Vec<u64> = maps.split_whitespace().map(|n| n.parse().expect("a number in uid_map")).collect();
        assert_eq!((fields.len(), fields[0], fields[2]), (3, 0, 65_536), "one map of a tenant's block: {maps:?}");
        assert!(fields[1] >= 1_879_048_192, "outside the pool: {maps:?}");
        assert_eq!(host::read(pid, "gid_map").split_whitespace().nth(1), maps.split_whitespace().nth(1));
        let uids = host::status(pid)["Uid"].clone();
        assert!(uids.split_whitespace().all(|uid| uid == fields[1].to_string()), "uids on the host: {uids}");
        first.push(fields[1]);
    }
    assert!(first[0].abs_diff(first[1]) >= 65_536, "two tenants share ids: {first:?}");
}

#[test]
fn capabilities_seccomp_and_groups_are_dockers() {
    let server = two_people();
    let status = host::status(sleeping(&server, ANN, "one"));
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(u64::from_str_radix(&status[set], 16), Ok(DEFAULT_CAPS), "{set}");
    }
    // CVE-2022-24769: inheritable capabilities of the shim leaked into containers.
    assert_eq!(u64::from_str_radix(&status["CapInh"], 16), Ok(0), "CapInh");
    assert_eq!(u64::from_str_radix(&status["CapAmb"], 16), Ok(0), "CapAmb");
    assert_eq!(status["Seccomp"], "2");
    // CVE-2022-36109: groups of the parent kept.
    let base: u64 = status["Uid"].split_whitespace().next().and_then(|u| u.parse().ok()).expect("a uid");
    assert!(
        status["Groups"].split_whitespace().all(|g| g.parse::<u64>().is_ok_and(|g| (base..base + 65_536).contains(&g))),
        "{:?}",
        status["Groups"]
    );
    let docker = server.docker_as(ANN);
    docker.text(&[
        "run",
        "-d",
        "--name",
        "bare",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "-u",
        "1000",
        "busybox",
        "sleep",
        "1000",
    ]);
    let bare = host::status(docker.pid("bare"));
    assert_eq!(u64::from_str_radix(&bare["CapBnd"], 16), Ok(0));
    assert_eq!(u64::from_str_radix(&bare["CapEff"], 16), Ok(0));
    assert_eq!(bare["NoNewPrivs"], "1");
}

/// CVE-2024-21626: a descriptor of the host's left open in the container.
#[test]
fn no_descriptor_of_the_host_is_left_open() {
    let server = two_people();
    let pid = sleeping(&server, ANN, "one");
    for target in host::descriptors(pid) {
        assert!(target.starts_with("pipe:") || target == "/dev/null" || target.starts_with("socket:"), "open in the container: {target}");
    }
    assert_eq!(host::descriptors(pid).len(), 3, "{:?}", host::descriptors(pid));
    let inside = server.docker_as(ANN).text(&["exec", "one", "sh", "-c", "ls -1 /proc/self/fd | wc -l"]);
    assert_eq!(inside, "4", "stdin, stdout, stderr and the folder that ls reads");
}

#[test]
fn masked_paths_are_empty_and_system_paths_read_only() {
    let server = two_people();
    sleeping(&server, ANN, "one");
    let docker = server.docker_as(ANN);
    for file in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"] {
        let read = docker.run(&["exec", "one", "sh", "-c", &format!("test ! -e {file} || test -z \"$(head -c 1 {file} 2>/dev/null)\"")]);
        assert_eq!(read.code, 0, "{file} shows something");
    }
    for folder in ["/proc/acpi", "/proc/scsi", "/sys/firmware"] {
        let listed = docker.run(&["exec", "one", "sh", "-c", &format!("test ! -e {folder} || test -z \"$(ls -A {folder} 2>/dev/null)\"")]);
        assert_eq!(listed.code, 0, "{folder} shows something");
    }
    for file in ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/kernel/mm/transparent_hugepage/enabled"] {
        let write = docker.run(&["exec", "one", "sh", "-c", &format!("! (echo x > {file}) 2>/dev/null")]);
        assert_eq!(write.code, 0, "{file} can be written");
    }
}

#[test]
fn a_container_from_the_pool_is_as_a_cold_one() {
    // Everything that is prepared ahead: namespaces, maps, mounts with their flags, devices, interfaces, limits, privileges.
    let look = "grep -v '^Pid\\|ctxt\\|^Vm\\|^Rss\\|^PPid\\|^SigQ\\|^voluntary\\|^Cpus\\|^Mems' /proc/self/status; \
        awk '{print $1, $3}' /proc/self/uid_map /proc/self/gid_map; cat /proc/self/cgroup /proc/self/limits /proc/self/attr/current; \
        cut -d' ' -f4- /proc/self/mountinfo | sed 's/[^ ]*dir=[^ ]*//g; s/[0-9]*:[0-9]* //; s/wharf[^ ]*//g; s/,[a-z0-9]*=[^ ]*//g' | sort; \
        ls -la /dev | cut -c1-10,40-; find /sys/fs/cgroup -maxdepth 1; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; \
        ip -o link | sed 's/@.*//'; ip route | sed 's/[0-9.]*//g'; cat /proc/sys/kernel/hostname | wc -c; ls /proc/acpi /sys/firmware";
    let seen = |zygotes: &str| {
        let environment = vec![("WHARF_ZYGOTES".to_owned(), zygotes.to_owned())];
        let server = Server::start_with(e2e::Options { environment, ..e2e::Options::default() });
        let docker = server.load_busybox();
        docker.text(&["run", "--rm", "busybox", "true"]);
        if zygotes != "0" {
            let groups = format!("wharf-{}/1/z", server.tag().expect("a tag"));
            let waiting = || host::processes_in(&groups).iter().any(|pid| host::read(*pid, "uid_map").contains("65536")).then_some(());
            until("a zygote stands ready", waiting);
        }
        docker.text(&["run", "--name", "one", "--hostname", "one", "busybox", "sh", "-c", look])
    };
    let (cold, pooled) = (seen("0"), seen("2"));
    assert!(cold.contains("Seccomp:\t2") && cold.contains("65536"), "it shows what it should: {cold}");
    assert_eq!(cold, pooled);
}

#[test]
fn a_container_sees_only_its_own_cgroup_and_processes() {
    let server = two_people();
    let pid = sleeping(&server, ANN, "one");
    let id = server.docker_as(ANN).inspect("one", "{{.Id}}");
    let groups = host::cgroups(pid);
    for controller in ["memory", "pids", "cpu"] {
        let path = groups.get(controller).or_else(|| groups.get("")).expect("a cgroup");
        assert!(path.contains(&id), "{controller}: {path} is not the container's");
    }
    let seen = server.docker_as(ANN).text(&["exec", "one", "cat", "/proc/self/cgroup"]);
    assert!(!seen.contains(&id) && !seen.contains("wharf"), "the host's paths are seen inside: {seen}");
    let processes = server.docker_as(ANN).text(&["exec", "one", "sh", "-c", "ls /proc | grep -c '^[0-9]'"]);
    assert!(processes.parse::<u32>().is_ok_and(|n| n <= 4), "{processes} processes are seen inside");
}

#[test]
fn files_made_as_root_belong_to_the_tenant_or_the_person() {
    let server = two_people();
    let docker = server.docker_as(ANN);
    let pid = sleeping(&server, ANN, "one");
    docker.text(&["exec", "one", "touch", "/made"]);
    let base: u32 = host::status(pid)["Uid"].split_whitespace().next().and_then(|u| u.parse().ok()).expect("a uid");
    let made = std::fs::metadata(format!("/proc/{pid}/root/made")).expect("the file, seen from the host");
    use std::os::unix::fs::MetadataExt;
    assert_eq!((made.uid(), made.gid()), (base, base));
    assert_ne!(made.uid(), 0, "host root owns what a container's root made");
}

#[test]
fn what_needs_a_grant_is_refused_without_one() {
    let server = two_people();
    let docker = server.docker_as(ANN);
    let secret = server.folder().join("secret");
    std::fs::write(&secret, "host").expect("a file of the host's");
    let bind = format!("{}:/b", secret.display());
    let cases: &[&[&str]] = &[
        &["--privileged"],
        &["--cap-add", "SYS_ADMIN"],
        &["--cap-add", "ALL"],
        &["--network", "host"],
        &["--pid", "host"],
        &["--ipc", "host"],
        &["--uts", "host"],
        &["--userns", "host"],
        &["--device", "/dev/kmsg"],
        &["--device", "/dev/vda"],
        &["-v", "/:/host"],
        &["-v", "/etc:/b"],
        &["-v", "/home/../etc:/b"],
        &["-v", "//etc/./shadow:/b"],
        &["-v", "/proc/1/root:/b"],
        &["-v", &bind],
        &["-v", "/run:/b"],
        &["--mount", "type=bind,src=/etc,dst=/b"],
        &["--security-opt", "seccomp=unconfined"],
        &["--security-opt", "systempaths=unconfined"],
        &["-p", "80:80"],
        &["--device-cgroup-rule", "a *:* rwm"],
    ];
    for case in cases {
        let mut call = vec!["run", "--rm"];
        call.extend_from_slice(case);
        call.extend(["busybox", "true"]);
        let refused = docker.run(&call);
        // The CLI makes 126 of whatever says "permission denied".
        assert!([125, 126].contains(&refused.code), "{case:?} was not refused: {refused:?}");
        assert!(refused.stderr.contains("Error response from daemon"), "{case:?} came as far as a start: {refused:?}");
        assert_eq!(docker.text(&["ps", "-aq"]), "", "{case:?} left a container behind");
    }
    server.wharf(&["grant", "add", "--tenant", "ann", "cap=SYS_TIME"]).succeeded();
    docker.run(&["run", "--rm", "--cap-add", "SYS_TIME", "busybox", "true"]).succeeded();
    docker.run(&["run", "--rm", "--cap-add", "SYS_ADMIN", "busybox", "true"]).exited(126);
    server.wharf(&["audit", "verify"]).succeeded();
}

/// Kernel interfaces that default containers must not reach: CVE-2022-0185, CVE-2022-0492, CVE-2026-31431 and their kin.
#[test]
fn doors_to_the_kernel_are_shut() {
    let server = two_people();
    sleeping(&server, ANN, "one");
    let docker = server.docker_as(ANN);
    for (what, call) in [
        ("a user namespace", "unshare -U true"),
        ("a mount namespace", "unshare -m true"),
        ("mounting", "mount -t tmpfs none /tmp"),
        ("mounting cgroups", "mkdir -p /tmp/cg && mount -t cgroup -o memory none /tmp/cg"),
        ("a device node", "mknod /tmp/sda b 8 0 && head -c 1 /tmp/sda"),
        ("kmsg", "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg"),
        ("the kernel log", "dmesg | grep ."),
        ("the clock", "date -s 2001-01-01 >/dev/null; date | grep 2001"),
        ("the host's name", "hostname other"),
        ("reboot", "reboot -f"),
    ] {
        let tried = docker.run(&["exec", "one", "sh", "-c", call]);
        assert_ne!(tried.code, 0, "{what} is open: {tried:?}");
    }
    assert_eq!(docker.inspect("one", "{{.State.Running}}"), "true");
}

/// The OCI specification that is printed for a container says what the kernel says of it.
#[test]
fn the_oci_specification_is_what_the_kernel_has() {
    let server = two_people();
    let docker = server.docker_as(ANN);
    docker.text(&[
        "run",
        "-d",
        "--name",
        "one",
        "-u",
        "7:8",
        "--cap-drop",
        "CHOWN",
        "-m",
        "64m",
        "--pids-limit",
        "50",
        "--read-only",
        "--tmpfs",
        "/scratch:size=1m",
        "-w",
        "/tmp",
        "-e",
        "A=b",
        "--ulimit",
        "nofile=100:200",
        "busybox",
        "sleep",
        "1000",
    ]);
    let pid = docker.pid("one");
    let ask = |user: &str| {
        let token = server.token(user);
        let path = "/api/v1/containers/one/oci-spec";
        e2e::http::Request { method: "GET", path, token: Some(&token), body: None }.send(&server.socket())
    };
    let answer = ask("ann");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let spec = answer.json();
    let status = host::status(pid);
    let map: Vec<u64> = host::read(pid, "uid_map").split_whitespace().map(|n| n.parse().expect("a number")).collect();
    let mapping = &spec["linux"]["uidMappings"][0];
    assert_eq!(
        (mapping["containerID"].as_u64(), mapping["hostID"].as_u64(), mapping["size"].as_u64()),
        (Some(map[0]), Some(map[1]), Some(map[2]))
    );
    assert_eq!(spec["process"]["user"]["uid"], 7);
    assert_eq!(status["Uid"].split_whitespace().next(), Some((map[1] + 7).to_string().as_str()));
    let bounding = spec["process"]["capabilities"]["bounding"].as_array().expect("capabilities");
    assert_eq!(bounding.len() as u32, u64::from_str_radix(&status["CapBnd"], 16).expect("hex").count_ones());
    assert_eq!(spec["process"]["args"], serde_json::json!(["sleep", "1000"]));
    assert_eq!(spec["process"]["cwd"], "/tmp");
    assert!(spec["process"]["env"].as_array().is_some_and(|env| env.iter().any(|e| e == "A=b")));
    assert_eq!(spec["root"]["readonly"], true);
    assert_eq!(spec["linux"]["resources"]["memory"]["limit"], 64 << 20);
    assert_eq!(spec["linux"]["resources"]["pids"]["limit"], 50);
    let mounted = host::read(pid, "mounts");
    for mount in spec["mounts"].as_array().expect("mounts") {
        let target = mount["destination"].as_str().expect("a path");
        assert!(mounted.lines().any(|l| l.split(' ').nth(1) == Some(target)), "{target} is not mounted:\n{mounted}");
    }
    let cgroup = spec["linux"]["cgroupsPath"].as_str().expect("a cgroup");
    assert!(host::read(pid, "cgroup").lines().any(|l| l.ends_with(cgroup)), "{cgroup}");
    assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(ask("ben").status, 404);
}
