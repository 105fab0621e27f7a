//! What was harmless when it was made and is to become harmful later: changed, renamed, connected, committed, saved and loaded
//! again, started after a grant ended, or hidden behind a body too large to be looked at. Each is judged as if it were new.

use e2e::http::{self, Until};
use e2e::image::Image;
use e2e::{Options, Server, host, until};
use serde_json::json;

const ANN: u32 = 5;
const BEN: u32 = 6;

fn house() -> Server {
    let server = Server::start_with(Options::default());
    for (name, uid) in [("ann", ANN), ("ben", BEN)] {
        server.add_user(name, uid);
        server.load_busybox_for(&server.docker_as(uid));
    }
    server
}

/// What a privilege would change of a process: capabilities, filter, namespaces, mounts.
fn standing(pid: i32) -> String {
    let status = host::status(pid);
    let spaces: Vec<_> = ["mnt", "net", "pid", "user", "ipc", "uts"]
        .map(|space| std::fs::read_link(format!("/proc/{pid}/ns/{space}")).expect("a namespace"))
        .into_iter()
        .collect();
    format!("{} {} {} {spaces:?} {}", status["CapBnd"], status["CapEff"], status["Seccomp"], host::read(pid, "mounts"))
}

/// A5 (CVE-2026-44849, portainer #1762): a plain container gets nothing later that it would not have got at first, by any request
/// that changes it.
#[test]
fn sec_a05_nothing_forbidden_comes_in_by_a_later_change() {
    let server = house();
    let ben = server.docker_as(BEN);
    ben.text(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    ben.text(&["create", "--name", "still", "busybox", "sleep", "1000"]);
    server.docker_as(ANN).text(&["network", "create", "hers"]);
    server.docker_as(ANN).text(&["run", "-d", "--name", "herbox", "busybox", "sleep", "1000"]);
    let before = standing(ben.pid("box"));
    let forbidden = [
        json!({"Privileged": true}),
        json!({"HostConfig": {"Privileged": true}}),
        json!({"CapAdd": ["SYS_ADMIN"]}),
        json!({"Binds": ["/etc:/x"]}),
        json!({"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/x"}]}),
        json!({"NetworkMode": "host"}),
        json!({"PidMode": "host"}),
        json!({"UsernsMode": "host"}),
        json!({"SecurityOpt": ["seccomp=unconfined"]}),
        json!({"Devices": [{"PathOnHost": "/dev/kmsg", "PathInContainer": "/dev/kmsg", "CgroupPermissions": "rwm"}]}),
        json!({"DeviceCgroupRules": ["a *:* rwm"]}),
        json!({"DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]}),
        json!({"CgroupParent": "/"}),
        json!({"OomScoreAdj": -1000}),
        json!({"Sysctls": {"kernel.core_pattern": "|/x"}}),
        json!({"PortBindings": {"80/tcp": [{"HostPort": "80"}]}}),
    ];
    for body in &forbidden {
        let body = body.to_string();
        for path in ["/containers/box/update", "/containers/still/update", "/containers/still/start", "/v1.23/containers/still/start"] {
            let answer = server.request_as(BEN, "POST", path, Some(&body));
            assert!((400..=501).contains(&answer.status) && answer.status != 500, "{path} {body}: {} {}", answer.status, answer.text());
        }
    }
    assert_eq!(ben.inspect("still", "{{.State.Status}}"), "created", "a body with wishes started it");
    let (hers, herbox) = ("hers", "herbox");
    for (method, path, body) in [
        // Networks: the host's, another tenant's, none that a second one may be added to; addresses that are not of the network.
        ("POST", "/networks/host/connect".to_owned(), r#"{"Container":"box"}"#.to_owned()),
        ("POST", format!("/networks/{hers}/connect"), r#"{"Container":"box"}"#.into()),
        ("POST", "/networks/bridge/connect".into(), format!(r#"{{"Container":"{herbox}"}}"#)),
        ("POST", "/networks/bridge/connect".into(), r#"{"Container":"still","EndpointConfig":{"IPAMConfig":{"IPv4Address":"8.8.8.8"}}}"#.into()),
        ("POST", "/networks/bridge/connect".into(), r#"{"Container":"still","EndpointConfig":{"DriverOpts":{"com.docker.network.endpoint.sysctls":"net.ipv4.conf.all.forwarding=1"}}}"#.into()),
        // Names that are paths.
        ("POST", "/containers/box/rename?name=..%2F..%2Fetc".into(), String::new()),
        ("POST", "/containers/box/rename?name=a%0Ab".into(), String::new()),
        ("POST", format!("/containers/{herbox}/rename?name=mine"), String::new()),
        // A process of its own with more than the container's.
        ("POST", "/containers/box/exec".into(), r#"{"Cmd":["id"],"Privileged":true}"#.into()),
        ("POST", "/containers/box/restart?signal=KILL;x".into(), String::new()),
        // A volume that is there gets no other place on the host.
        ("POST", "/volumes/create".into(), r#"{"Name":"vol","DriverOpts":{"type":"none","o":"bind","device":"/etc"}}"#.into()),
        ("PUT", "/volumes/vol?version=1".into(), r#"{"Spec":{}}"#.into()),
        ("POST", "/commit?container=herbox&repo=mine".into(), "{}".into()),
    ] {
        if method == "POST" && path == "/volumes/create" {
            ben.text(&["volume", "create", "vol"]);
        }
        let answer = server.request_as(BEN, method, &path, (!body.is_empty()).then_some(body.as_str()));
        let text = answer.text();
        if path == "/volumes/create" && answer.status == 201 {
            // As dockerd answers: the volume that was there, as it was.
            assert!(!text.contains("/etc"), "{text}");
            continue;
        }
        // An exec may be refused where it is made or where it is started.
        if path.ends_with("/exec") && answer.status == 201 {
            let id = answer.json()["Id"].as_str().expect("an id").to_owned();
            let started = server.request_as(BEN, "POST", &format!("/exec/{id}/start"), Some("{}"));
            assert_eq!(started.status, 403, "a privileged exec: {}", started.text());
            continue;
        }
        assert!((400..=501).contains(&answer.status) && answer.status != 500, "{method} {path} {body}: {} {text}", answer.status);
    }
    assert_eq!(ben.run(&["run", "--rm", "-v", "vol:/x", "busybox", "test", "-e", "/x/passwd"]).code, 1, "the volume became /etc");
    assert_eq!(standing(ben.pid("box")), before, "a refused change left something");
    // What a commit carries along is judged when it is run: a volume on /proc, a user that is none.
    for change in ["VOLUME /proc", "VOLUME /sys/fs", "USER 4294967296", "WORKDIR /proc/self/fd/7"] {
        let committed = ben.run(&["commit", "-c", change, "box", "changed:1"]);
        if committed.code != 0 {
            continue;
        }
        let output = ben.run(&[
            "run",
            "--rm",
            "changed:1",
            "sh",
            "-c",
            "cat /proc/1/environ >/dev/null; pwd; id -u; grep -c ' /proc proc ' /proc/mounts",
        ]);
        let harmless = output.code != 0 || output.stdout == "/\n0\n1\n";
        assert!(harmless, "{change}: {output:?}");
    }
    ben.text(&["start", "still"]);
    let plain = |text: &str| text.split(" [").next().expect("its head").to_owned();
    assert_eq!(plain(&standing(ben.pid("still"))), plain(&before));
}

/// A5, A9: what a grant allowed at the time is not started again when the grant has ended: not by start, restart, a restart policy
/// or a new server.
#[test]
fn sec_a05_a_grant_that_ended_starts_nothing_more() {
    let mut server = house();
    let ben = server.docker_as(BEN);
    let grant = server.wharf(&["grant", "add", "--tenant", "ben", "cap=SYS_TIME"]).succeeded();
    let id: String = grant.stdout.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    for name in ["created", "running"] {
        ben.text(&["create", "--name", name, "--cap-add", "SYS_TIME", "--restart", "always", "busybox", "sleep", "1000"]);
    }
    ben.text(&["start", "running"]);
    server.wharf(&["grant", "remove", &id]).succeeded();
    for call in [&["start", "created"][..], &["restart", "-t", "0", "created"], &["restart", "-t", "0", "running"]] {
        let output = ben.run(call);
        assert_ne!(output.code, 0, "{call:?} without the grant");
        assert!(output.stderr.to_lowercase().contains("cap=sys_time"), "{call:?} names what is missing: {}", output.stderr);
    }
    // Its process ends while nobody looks: the policy to start it again meets the same judge.
    if ben.inspect("running", "{{.State.Running}}") == "true" {
        let pid = ben.pid("running");
        server.kill();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("ending the container");
        until("its process is gone", || (!host::alive(pid)).then_some(()));
        server.start_again(Vec::new());
    }
    until("it has ended", || (ben.inspect("running", "{{.State.Running}}") == "false").then_some(()));
    server.restart();
    assert_eq!(ben.inspect("running", "{{.State.Running}}"), "false", "a new server started it");
    assert_eq!(ben.inspect("created", "{{.State.Running}}"), "false");
    // With the grant it goes on, so the judge was all that stopped it.
    server.wharf(&["grant", "add", "--tenant", "ben", "cap=SYS_TIME"]).succeeded();
    ben.text(&["start", "created"]);
}

/// A8 (CVE-2026-48751): an archive whose metadata was edited is judged as anything new is, whichever way it comes in.
#[test]
fn sec_a08_edited_archives_are_judged_anew() {
    let server = house();
    let ben = server.docker_as(BEN);
    let plain = ben.text(&["run", "--rm", "busybox", "grep", "^Cap\\|^Seccomp:\\|^NoNew", "/proc/self/status"]);
    // Everything a configuration never said, where a reader that trusts it might look.
    let wishes = json!({
        "Privileged": true, "CapAdd": ["ALL"], "Binds": ["/:/host"], "NetworkMode": "host", "PidMode": "host", "UsernsMode": "host",
        "Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}], "Devices": [{"PathOnHost": "/dev/kmsg"}],
        "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"], "Runtime": "/bin/sh", "Tenant": "ann", "Owner": 0,
    });
    let mut image = Image::busybox().set("HostConfig", wishes.clone());
    for (key, value) in wishes.as_object().expect("an object") {
        image = image.set(key, value.clone());
    }
    let archive = image.archive(&["edited:1"]);
    let loaded = ben.with_input(&["load", "-q"], &archive);
    if loaded.code == 0 {
        let seen = ben.text(&[
            "run",
            "--rm",
            "edited:1",
            "sh",
            "-c",
            "grep '^Cap\\|^Seccomp:\\|^NoNew' /proc/self/status; ls /host /dev/kmsg 2>/dev/null; true",
        ]);
        assert_eq!(seen, plain, "a loaded image's wishes were followed");
        ben.text(&["run", "-d", "--name", "loaded", "edited:1", "sleep", "1000"]);
        let config = ben.inspect("loaded", "{{json .HostConfig}}");
        assert!(!config.contains("unconfined") && !config.contains(r#""Privileged":true"#) && !config.contains("/host"), "{config}");
        assert_eq!(server.docker_as(ANN).run(&["image", "inspect", "edited:1"]).code, 1, "it came to another tenant");
    }
    // Exported and brought in again, with everything an import may change.
    ben.text(&["create", "--name", "box", "busybox", "sh"]);
    let exported = ben.run(&["export", "box"]).succeeded().bytes;
    for change in [
        "VOLUME /proc/sys",
        "VOLUME /proc",
        "USER 0x0",
        "USER 4294967296",
        "HEALTHCHECK --interval=1s CMD true",
        "LABEL wharf.privileged=true",
    ] {
        let output = ben.with_input(&["import", "-c", change, "-", "imported:1"], &exported);
        if output.code != 0 {
            continue;
        }
        let output = ben.run(&["run", "--rm", "imported:1", "sh", "-c", "grep '^Cap\\|^Seccomp:\\|^NoNew' /proc/self/status"]);
        assert!(output.code != 0 || output.text() == plain, "{change}: {output:?}");
        assert!(output.code == 0 || !change.starts_with("LABEL"), "{change}: {output:?}");
    }
    // A layer that is not what the configuration says it is.
    let mut archive = Image::busybox().file("x", b"right", 0o644).archive(&["swapped:1"]);
    let at = archive.windows(5).position(|w| w == b"right").expect("the file's content");
    archive[at..at + 5].copy_from_slice(b"wrong");
    let output = ben.with_input(&["load", "-q"], &archive);
    assert_ne!(output.code, 0, "a layer with another content was taken: {output:?}");
    assert_eq!(ben.run(&["image", "inspect", "swapped:1"]).code, 1);
}

/// A2 (CVE-2026-34040): a body too large for one who looks is no body for one who does. Padded inside, before and behind, with and
/// without a length; every answer is a refusal and nothing is made.
#[test]
fn sec_a02_padded_bodies_are_judged_or_refused_whole() {
    let server = house();
    let ben = server.docker_as(BEN);
    const MIB: usize = 1 << 20;
    let wish = r#""Image":"busybox","Cmd":["true"],"HostConfig":{"Privileged":true}"#;
    for size in [MIB - 100, MIB, MIB + 1, 2 * MIB, 4 * MIB - 4096, 4 * MIB, 4 * MIB + 1, 16 * MIB] {
        let pad = "x".repeat(size.saturating_sub(100));
        let blanks = " ".repeat(size.saturating_sub(100));
        for body in [
            format!(r#"{{"Labels":{{"a":"{pad}"}},{wish}}}"#),
            format!(r#"{{{wish},"Labels":{{"a":"{pad}"}}}}"#),
            format!("{blanks}{{{wish}}}"),
            format!("{{{wish}}}{blanks}"),
            format!("{{{wish}{blanks}}}"),
        ] {
            let json = ("Content-Type", "application/json");
            let chunked = [format!("{:x}\r\n", body.len()).as_bytes(), body.as_bytes(), b"\r\n0\r\n\r\n"].concat();
            for (headers, bytes) in [(&[json][..], body.as_bytes()), (&[json, ("Transfer-Encoding", "chunked")], chunked.as_slice())] {
                let answer =
                    http::by_account(BEN, || http::send(&server.socket(), "POST", "/containers/create", headers, bytes, Until::End));
                // One who sends on after the answer may see the connection end instead of it.
                let Ok(answer) = answer else {
                    assert!(body.len() > 4 * MIB, "no answer to {} bytes", body.len());
                    continue;
                };
                let wanted: &[u16] = if body.len() > 4 * MIB { &[413] } else { &[400, 403] };
                assert!(wanted.contains(&answer.status), "{} bytes: {} {}", body.len(), answer.status, answer.text());
            }
        }
    }
    assert_eq!(ben.text(&["ps", "-aq"]), "", "something was made");
    // The same without the wish: what fits is taken.
    let body = format!(r#"{{"Labels":{{"a":"{}"}},"Image":"busybox"}}"#, "x".repeat(32 << 10));
    assert_eq!(server.request_as(BEN, "POST", "/containers/create", Some(&body)).status, 201);
}
