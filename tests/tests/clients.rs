//! What people do with the docker CLI, as root and as another Unix account: the same as with dockerd, which these tests also
//! run against (`WHARF_E2E_DOCKER_HOST`).

use e2e::terminal::Terminal;
use e2e::{Docker, Server, until};
use std::io::{BufRead, BufReader, Read};

/// An account that every Debian has (games).
const ANN: u32 = 5;

/// A server, and the two who use it: root, and an ordinary account (a dockerd knows only root).
fn people() -> (Server, Vec<Docker>) {
    let server = Server::start();
    let mut people = vec![server.docker()];
    if server.is_wharf() {
        server.add_user("ann", ANN);
        people.push(server.docker_as(ANN));
    }
    for docker in &people {
        server.load_busybox_for(docker);
    }
    (server, people)
}

#[test]
fn exit_codes_are_dockers() {
    let (_server, people) = people();
    for docker in people {
        docker.run(&["run", "--rm", "busybox", "true"]).exited(0);
        docker.run(&["run", "--rm", "busybox", "false"]).exited(1);
        docker.run(&["run", "--rm", "busybox", "sh", "-c", "exit 42"]).exited(42);
        docker.run(&["run", "--rm", "--pull=never", "nosuchimage"]).exited(125);
        let denied = docker.run(&["run", "--rm", "busybox", "/etc/passwd"]).exited(126);
        assert!(denied.stderr.to_lowercase().contains("permission denied"), "{}", denied.stderr);
        let absent = docker.run(&["run", "--rm", "busybox", "nosuchprogram"]).exited(127);
        assert!(absent.stderr.to_lowercase().contains("not found"), "{}", absent.stderr);
        // Not the first process itself: the kernel keeps that one from its own namespace's signals.
        docker.run(&["run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).exited(137);
        assert_eq!(docker.text(&["ps", "-aq"]), "", "what had --rm is gone, also after a start that failed");
    }
}

#[test]
fn ten_megabytes_go_through_cat_unchanged() {
    let (_server, people) = people();
    let data: Vec<u8> = (0u32..10_000_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    for docker in people {
        let output = docker.with_input(&["run", "-i", "--rm", "busybox", "cat"], &data).succeeded();
        assert_eq!(output.bytes.len(), data.len());
        assert!(output.bytes == data, "the bytes came back in another order or with other values");
    }
}

#[test]
fn output_and_errors_stay_apart() {
    let (_server, people) = people();
    for docker in people {
        let output = docker.run(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; echo out2"]).succeeded();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\nout2\n", "err\n"));
    }
}

#[test]
fn a_terminal_behaves_like_one() {
    let (_server, people) = people();
    for docker in people {
        let mut terminal = Terminal::start(docker.command(&["run", "-it", "--rm", "busybox", "sh"]));
        terminal.expect("# ");
        terminal.type_keys("tty; echo mark-$((6*7))\n");
        let shown = terminal.expect("mark-42");
        assert!(shown.contains("/dev/pts/0") || shown.contains("/dev/console"), "{shown:?}");
        terminal.resize(132, 43);
        // The size travels through the API; the shell asks until it has arrived.
        terminal.type_keys("until stty size | grep -q '43 132'; do sleep 0.1; done; echo size-$((6*7))\n");
        terminal.expect("size-42");
        // Ctrl-C reaches the foreground job, not the client.
        terminal.expect("# ");
        terminal.type_keys("echo job-$((6*7)); sleep 1000\n");
        terminal.expect("job-42");
        terminal.type_keys("\x03");
        terminal.expect("# ");
        terminal.type_keys("exit 5\n");
        assert_eq!(terminal.wait(), 5);
    }
}

#[test]
fn detaching_leaves_the_container_running() {
    let (_server, people) = people();
    for docker in people {
        let mut terminal = Terminal::start(docker.command(&["run", "-it", "--name", "left", "busybox", "sh"]));
        terminal.expect("# ");
        terminal.type_keys("\x10\x11");
        assert_eq!(terminal.wait(), 0);
        assert_eq!(docker.inspect("left", "{{.State.Running}}"), "true");
        // The client changes the size once more than needed, so that the program within draws its prompt again.
        let mut back = Terminal::start(docker.command(&["attach", "left"]));
        back.expect("# ");
        back.type_keys("echo back-$((6*7))\n");
        back.expect("back-42");
        back.type_keys("exit 3\n");
        assert_eq!(back.wait(), 3);
    }
}

#[test]
fn exec_joins_a_running_container() {
    let (_server, people) = people();
    for docker in people {
        docker.text(&["run", "-d", "--name", "box", "-e", "GREETING=hello", "-w", "/tmp", "busybox", "sleep", "1000"]);
        assert_eq!(docker.text(&["exec", "box", "sh", "-c", "echo $GREETING; pwd; id -u"]), "hello\n/tmp\n0");
        assert_eq!(
            docker.text(&["exec", "-u", "web", "-w", "/home", "-e", "X=1", "box", "sh", "-c", "id -u; id -g; pwd; echo $X"]),
            "1000\n2000\n/home\n1"
        );
        docker.run(&["exec", "box", "sh", "-c", "exit 9"]).exited(9);
        docker.run(&["exec", "box", "nosuchprogram"]).exited(127);
        docker.run(&["exec", "box", "/etc/passwd"]).exited(126);
        let echoed = docker.with_input(&["exec", "-i", "box", "cat"], b"through exec").succeeded();
        assert_eq!(echoed.stdout, "through exec");
        docker.text(&["exec", "-d", "box", "touch", "/tmp/made"]);
        until("the detached exec has run", || (docker.run(&["exec", "box", "test", "-e", "/tmp/made"]).code == 0).then_some(()));
        let mut terminal = Terminal::start(docker.command(&["exec", "-it", "box", "sh"]));
        terminal.expect("# ");
        terminal.type_keys("exit 4\n");
        assert_eq!(terminal.wait(), 4);
        docker.text(&["rm", "-f", "box"]);
    }
}

#[test]
fn a_container_lives_and_ends_as_with_dockerd() {
    let (_server, people) = people();
    for docker in people {
        let id = docker.text(&[
            "run",
            "-d",
            "--name",
            "life",
            "busybox",
            "sh",
            "-c",
            "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done",
        ]);
        assert_eq!(id.len(), 64, "{id}");
        until("the trap is set", || docker.text(&["logs", "life"]).contains("up").then_some(()));
        assert_eq!(docker.text(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"]), format!("{id} life"));
        assert!(docker.text(&["top", "life"]).contains("sleep"), "top shows the process");
        docker.text(&["stop", "life"]);
        assert_eq!(docker.inspect("life", "{{.State.Status}} {{.State.ExitCode}}"), "exited 7");
        assert_eq!(docker.text(&["wait", "life"]), "7");
        docker.text(&["start", "life"]);
        assert_eq!(docker.inspect("life", "{{.State.Status}}"), "running");
        docker.text(&["kill", "life"]);
        assert_eq!(docker.text(&["wait", "life"]), "137");
        docker.text(&["rename", "life", "after"]);
        docker.text(&["restart", "-t", "0", "after"]);
        assert_eq!(docker.inspect("after", "{{.State.Running}}"), "true");
        let refused = docker.run(&["rm", "after"]).exited(1);
        assert!(refused.stderr.contains("container is running"), "{}", refused.stderr);
        docker.text(&["rm", "-f", "after"]);
        let gone = docker.run(&["inspect", "after"]).exited(1);
        assert!(gone.stderr.to_lowercase().contains("no such object"), "{}", gone.stderr);
    }
}

#[test]
fn logs_are_followed_to_the_end() {
    let (_server, people) = people();
    for docker in people {
        docker.text(&[
            "run",
            "-d",
            "-i",
            "--name",
            "talker",
            "busybox",
            "sh",
            "-c",
            "for n in 1 2 3; do echo line $n; done; read x; echo $x; echo last >&2",
        ]);
        let mut follower = docker.start(&["logs", "-f", "talker"]);
        let mut lines = BufReader::new(follower.stdout.take().expect("the follower's output")).lines();
        for n in 1..=3 {
            assert_eq!(lines.next().expect("a line").expect("text"), format!("line {n}"));
        }
        let fed = docker.with_input(&["attach", "talker"], b"typed\n").succeeded();
        assert!(fed.stdout.contains("typed"), "{fed:?}");
        assert_eq!(lines.next().expect("a line").expect("text"), "typed");
        assert!(lines.next().is_none(), "the follower ends with the container");
        let mut errors = String::new();
        follower.stderr.take().expect("its errors").read_to_string(&mut errors).expect("reading them");
        assert_eq!(errors, "last\n");
        assert_eq!(follower.wait().expect("the follower's end").code(), Some(0));
        let tail = docker.run(&["logs", "--tail", "1", "talker"]).succeeded();
        assert_eq!(
            (tail.stdout.as_str(), tail.stderr.as_str()),
            (
                "", "last
"
            )
        );
        let stamped = docker.run(&["logs", "-t", "--tail", "2", "talker"]).succeeded();
        assert!(stamped.stdout.starts_with("20") && stamped.stdout.contains("Z typed"), "{stamped:?}");
        docker.text(&["rm", "-f", "talker"]);
    }
}

#[test]
fn events_tell_a_containers_life() {
    let (_server, people) = people();
    for docker in people {
        docker.run(&["run", "--name", "told", "busybox", "sh", "-c", "exit 3"]).exited(3);
        docker.text(&["rm", "told"]);
        let events = docker.text(&[
            "events",
            "--since",
            "1h",
            "--until",
            &e2e::soon(),
            "--filter",
            "container=told",
            "--format",
            "{{.Action}} {{index .Actor.Attributes \"exitCode\"}}",
        ]);
        let actions: Vec<&str> = events.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
        for action in ["create", "start", "die", "destroy"] {
            assert!(actions.contains(&action), "no {action} in {actions:?}");
        }
        assert!(events.contains("die 3"), "{events}");
    }
}

#[test]
fn images_come_and_go() {
    let (server, people) = people();
    for docker in people {
        docker.text(&["tag", "busybox", "mine:1"]);
        assert!(docker.text(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).contains("mine:1"));
        let saved = server.folder().join("saved.tar");
        let bytes = docker.run(&["save", "mine:1"]).succeeded().bytes;
        std::fs::write(&saved, bytes).expect("keeping what was saved");
        docker.text(&["rmi", "mine:1"]);
        docker.run(&["image", "inspect", "mine:1"]).exited(1);
        assert!(docker.text(&["load", "-i", &saved.display().to_string()]).contains("mine:1"));
        docker.run(&["run", "--rm", "mine:1", "true"]).succeeded();
        assert!(docker.text(&["version", "--format", "{{.Server.APIVersion}}"]).starts_with("1."));
        assert_eq!(docker.text(&["info", "--format", "{{.OSType}}"]), "linux");
    }
}

#[test]
fn what_an_image_says_is_done() {
    let (_server, people) = people();
    let image = e2e::image::Image::busybox()
        .folder("home/web", 0o755)
        .set("User", "web".into())
        .set("WorkingDir", "/home/web".into())
        .set("Entrypoint", serde_json::json!(["sh", "-c", "echo $WHO; id -un; id -G; pwd; echo $0 $@"]))
        .set("Cmd", serde_json::json!(["one", "two"]))
        .set("Env", serde_json::json!(["PATH=/bin", "WHO=image"]))
        .set("Volumes", serde_json::json!({ "/kept": {} }))
        .archive(&["said:latest"]);
    for docker in people {
        docker.with_input(&["load", "-q"], &image).succeeded();
        assert_eq!(docker.text(&["run", "--rm", "said"]), "image\nweb\n2000 3000\n/home/web\none two");
        assert_eq!(docker.text(&["run", "--rm", "-e", "WHO=me", "-u", "0", "said", "three"]), "me\nroot\n0\n/home/web\nthree");
        docker.text(&["create", "--name", "kept", "said"]);
        assert_eq!(docker.inspect("kept", "{{(index .Mounts 0).Destination}} {{(index .Mounts 0).Type}}"), "/kept volume");
        docker.text(&["rm", "-v", "kept"]);
        assert_eq!(docker.text(&["volume", "ls", "-q"]), "", "rm -v takes the anonymous volume along");
    }
}

#[test]
fn images_are_pushed_and_pulled() {
    let Some(registry) = e2e::registry::Registry::start() else {
        return e2e::skip("docker-registry is not installed");
    };
    let (server, people) = people();
    if !server.is_wharf() {
        return e2e::skip("the dockerd may not speak http to our registry");
    }
    for (n, docker) in people.iter().enumerate() {
        let name = format!("{}/team/box:{n}", registry.address);
        docker.text(&["tag", "busybox", &name]);
        assert!(docker.text(&["push", &name]).contains("digest: sha256:"));
        docker.text(&["rmi", &name]);
        assert!(docker.text(&["pull", &name]).contains("Downloaded newer image"));
        assert!(docker.text(&["pull", &name]).contains("Image is up to date"));
        docker.run(&["run", "--rm", &name, "true"]).succeeded();
        let absent = docker.run(&["pull", &format!("{}/team/none:1", registry.address)]).exited(1);
        assert!(absent.stderr.contains("not found") || absent.stderr.contains("unknown"), "{}", absent.stderr);
    }
}

/// What moby's own integration tests found missing in ours.
#[test]
fn what_a_container_shares_and_where_copies_land() {
    let (_server, people) = people();
    for docker in people {
        // Without any network there is still oneself to talk to.
        docker.run(&["run", "--rm", "--network", "none", "busybox", "ping", "-c", "1", "127.0.0.1"]).succeeded();
        // POSIX shared memory is files in /dev/shm: sharing the one without the other shares nothing.
        docker.text(&["run", "-d", "--name", "donor", "--ipc", "shareable", "-v", "/vol", "busybox", "sleep", "1000"]);
        docker.run(&["exec", "donor", "sh", "-c", "echo mine >/dev/shm/note; echo kept >/vol/a.txt"]).succeeded();
        assert_eq!(docker.text(&["run", "--rm", "--ipc", "container:donor", "busybox", "cat", "/dev/shm/note"]).trim(), "mine");
        // The client must not take an absent container for an absent image, and pull.
        let absent = docker.run(&["run", "--rm", "--network", "container:nosuch", "busybox", "true"]).exited(125);
        assert!(absent.stderr.contains("nosuch") && !absent.stderr.contains("Unable to find image"), "{}", absent.stderr);
        // A restart right after a start: the last process's control group may still be there.
        for _ in 0..5 {
            docker.run(&["restart", "-t", "0", "donor"]).succeeded();
        }
        docker.run(&["stop", "-t", "0", "donor"]).succeeded();
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let into = |name: &str| dir.path().join(name).display().to_string();
        for (from, to, file) in [("/vol", "", "vol/a.txt"), ("/vol/.", "new", "new/a.txt"), ("/", "all", "all/etc/passwd")] {
            docker.run(&["cp", &format!("donor:{from}"), &into(to)]).succeeded();
            assert!(dir.path().join(file).exists(), "{from} as {to}: no {file}");
        }
        docker.run(&["rm", "-f", "donor"]).succeeded();
    }
}
