//! One row for each flag of `docker run` that has a row of its own nowhere else: the flag, the command, and what must come
//! back, read from inside the container or from inspect. Groups share a server, since the server is not what is tested.

use e2e::{Docker, Options, Server};

/// What a row looks at.
enum Look<'a> {
    /// The flags, a shell command inside, its output.
    Inside(&'a [&'a str], &'a str, &'a str),
    /// The flags, an inspect template, its text.
    Inspect(&'a [&'a str], &'a str, &'a str),
    /// The flags, and what the refusal must say.
    Refused(&'a [&'a str], &'a str),
}
use Look::{Inside, Inspect, Refused};

fn check(docker: &Docker, rows: &[Look<'_>]) {
    let mut wrong = Vec::new();
    for row in rows {
        let (flags, ask, expected, got) = match row {
            Inside(flags, command, expected) => {
                let all = [&["run", "--rm"], *flags, &["busybox", "sh", "-c", command]].concat();
                let output = docker.run(&all);
                (*flags, *command, *expected, format!("{}{}", output.stdout, output.stderr).trim().to_owned())
            }
            Inspect(flags, template, expected) => {
                let output = docker.run(&[&["create", "--name", "row"], *flags, &["busybox", "true"]].concat());
                let got = if output.code == 0 { docker.inspect("row", template) } else { output.stderr };
                docker.run(&["rm", "-f", "row"]);
                (*flags, *template, *expected, got.trim().to_owned())
            }
            Refused(flags, expected) => {
                let output = docker.run(&[&["run", "--rm"], *flags, &["busybox", "true"]].concat());
                let got = if output.code != 0 && output.stderr.contains(expected) { (*expected).to_owned() } else { output.stderr };
                (*flags, "(refused)", *expected, got)
            }
        };
        if got != expected {
            wrong.push(format!("{} · {ask}\n  expected {expected:?}\n  got      {got:?}", flags.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn process_and_host() {
    let server = Server::start_with(Options::default());
    check(
        &server.load_busybox(),
        &[
            Inside(&["-e", "A=b"], "echo $A", "b"),
            Inside(&["-w", "/x/y"], "pwd", "/x/y"),
            Inside(&["-u", "12:34"], "id -u; id -g", "12\n34"),
            Inside(&["-u", "1", "--group-add", "77"], "id -G", "0 77"),
            Inside(&["-h", "box", "--domainname", "example.org"], "hostname; cat /proc/sys/kernel/domainname", "box\nexample.org"),
            Inside(&["--init"], "cat /proc/1/comm | grep -c sh", "0"),
            Inside(&["--read-only"], "touch /x 2>/dev/null || echo no", "no"),
            Inside(&["--cap-drop", "ALL"], "grep CapEff /proc/self/status | cut -f2", "0000000000000000"),
            Inside(&["--cap-drop", "ALL", "--cap-add", "CHOWN"], "grep CapEff /proc/self/status | cut -f2", "0000000000000001"),
            Inside(&["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status | cut -f2", "1"),
            Inside(&["--oom-score-adj", "77"], "cat /proc/self/oom_score_adj", "77"),
            Inside(&["--ulimit", "nofile=11:22"], "ulimit -Sn; ulimit -Hn", "11\n22"),
            Inside(&["--sysctl", "net.ipv4.ip_unprivileged_port_start=77"], "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "77"),
            Inside(&["--add-host", "db:10.1.2.3"], "grep -c '10.1.2.3.*db' /etc/hosts", "1"),
            Inside(&["--network", "none"], "ls /sys/class/net", "lo"),
            Inside(
                &["--dns", "192.0.2.53", "--dns-search", "example.org"],
                "grep -c -e '192.0.2.53' -e 'search example.org' /etc/resolv.conf",
                "2",
            ),
            Inside(&["--shm-size", "8m"], "df -k /dev/shm | tail -1 | awk '{print $2}'", "8192"),
            Inspect(&["--label", "a=b", "-l", "c"], "{{json .Config.Labels}}", r#"{"a":"b","c":""}"#),
            Inspect(&["--stop-signal", "SIGUSR1", "--stop-timeout", "7"], "{{.Config.StopSignal}} {{.Config.StopTimeout}}", "SIGUSR1 7"),
            Inspect(
                &["--restart", "on-failure:3"],
                "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}",
                "on-failure 3",
            ),
            Inspect(&["--annotation", "a=b"], "{{json .HostConfig.Annotations}}", r#"{"a":"b"}"#),
            Inspect(&["--expose", "77"], "{{json .Config.ExposedPorts}}", r#"{"77/tcp":{}}"#),
            Inspect(&["--entrypoint", "/bin/x"], "{{json .Config.Entrypoint}}", r#"["/bin/x"]"#),
            Refused(&["--restart", "always"], "cannot specify both --restart and --rm"),
            Refused(&["--ulimit", "nofile=2:1"], "ulimit soft limit must be less than or equal to hard limit"),
            Refused(&["--pid", "container:nosuch"], "No such container: nosuch"),
        ],
    );
}

#[test]
fn mounts() {
    let server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    docker.text(&["run", "--name", "from", "-v", "kept:/kept", "busybox", "sh", "-c", "mkdir /kept/sub; echo hi > /kept/sub/f"]);
    check(
        &docker,
        &[
            Inside(&["-v", "kept:/v:ro"], "cat /v/sub/f; touch /v/x 2>/dev/null || echo no", "hi\nno"),
            Inside(&["--mount", "type=volume,src=kept,dst=/v,volume-subpath=sub"], "cat /v/f", "hi"),
            Inside(&["--volumes-from", "from:ro"], "cat /kept/sub/f; touch /kept/x 2>/dev/null || echo no", "hi\nno"),
            Inside(&["--volumes-from", "from:z"], "cat /kept/sub/f", "hi"),
            Inside(&["--tmpfs", "/t:size=1m,mode=700"], "df -k /t | tail -1 | awk '{print $2}'; stat -c %a /t", "1024\n700"),
            Inside(&["--mount", "type=tmpfs,dst=/t,tmpfs-size=1m"], "df -k /t | tail -1 | awk '{print $2}'", "1024"),
            Inside(
                &["--mount", "type=image,src=busybox,dst=/i"],
                "ls -d /i/bin/sh; touch /i/x 2>/dev/null || echo no; ls /proc/1/root/bin/sh",
                "/i/bin/sh\nno\n/proc/1/root/bin/sh",
            ),
            Inside(&["--mount", "type=image,src=busybox,dst=/i,image-subpath=bin"], "ls /i/sh", "/i/sh"),
            Refused(&["--mount", "type=image,src=nosuch,dst=/i"], "No such image"),
            Refused(&["--mount", "type=image,src=busybox,dst=/i,image-subpath=nosuch"], "nosuch"),
            Refused(&["--mount", "type=volume,src=kept,dst=/v,volume-subpath=../x"], "subpath"),
            Refused(&["--mount", "type=bind,src=/nosuch/x,dst=/v"], "bind source path does not exist"),
            Refused(&["-v", "aa:/v", "-v", "bb:/v"], "Duplicate mount point: /v"),
        ],
    );
    // An image is there as long as somebody mounts it.
    docker.text(&["tag", "busybox", "other"]);
    docker.text(&["create", "--name", "holder", "--mount", "type=image,src=other,dst=/i", "busybox", "true"]);
    let image = docker.text(&["image", "inspect", "--format", "{{.Id}}", "other"]);
    assert_ne!(docker.run(&["rmi", &image]).code, 0);
}

#[test]
fn logs() {
    let server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    let say = "echo one; sleep 0.2; echo two >&2; sleep 0.2; echo three";
    for driver in ["local", "json-file"] {
        docker.text(&["run", "--name", driver, "--log-driver", driver, "-l", "a=b", "--log-opt", "labels=a", "busybox", "sh", "-c", say]);
        assert_eq!(docker.run(&["logs", driver]).stdout, "one\nthree\n");
        assert_eq!(docker.run(&["logs", "--tail", "1", driver]).stdout, "three\n");
        assert_eq!(docker.run(&["logs", "--details", "--tail", "1", driver]).stdout, "a=b three\n");
    }
    let path = docker.inspect("json-file", "{{.LogPath}}");
    let file = std::fs::read_to_string(&path).expect("Docker's file");
    assert!(path.ends_with("-json.log") && file.contains(r#"{"log":"one\n","stream":"stdout","attrs":{"a":"b"},"time":""#), "{file}");
    check(
        &docker,
        &[
            Inspect(&["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=4m"], "{{.HostConfig.LogConfig.Type}}", "json-file"),
            Refused(&["--log-driver", "nosuch"], "no log driver named 'nosuch' is registered"),
            Refused(&["--log-driver", "syslog", "--log-opt", "syslog-address=tcp://127.0.0.1:1"], "failed to initialize logging driver"),
        ],
    );

    // Sent on, and here as well; also what is said at the very end of a container that goes at once.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("syslog-address=tcp://{}", listener.local_addr().expect("its address"));
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        for _ in 0..3 {
            let (mut peer, _) = listener.accept().expect("a sender");
            std::io::Read::read_to_string(&mut peer, &mut all).expect("lines");
            if all.contains("three") {
                break;
            }
        }
        all
    });
    let options = ["--log-driver", "syslog", "--log-opt", &address, "--log-opt", "syslog-format=rfc5424", "--log-opt", "tag={{.Name}}"];
    docker.text(&[&["run", "--rm", "--name", "sender"], &options[..], &["busybox", "sh", "-c", say]].concat());
    let all = reader.join().expect("the receiver");
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 3, "{all}");
    assert!(lines[0].starts_with("<30>1 ") && lines[0].contains(" sender ") && lines[0].ends_with(" - one"), "{all}");
    assert!(lines.iter().any(|l| l.starts_with("<27>1 ") && l.ends_with(" - two")), "{all}");
}

/// The server sends from the host's network: what an ordinary tenant may name as a destination is less than that reaches.
#[test]
fn sec_a_tenants_logs_do_not_reach_the_host() {
    let server = Server::start_with(Options::default());
    server.add_user("ann", 5);
    let ann = server.docker_as(5);
    server.load_busybox_for(&ann);
    for destination in ["tcp://127.0.0.1:1", "udp://localhost:514", "udp://169.254.169.254:80", "tcp://[::1]:22", "unix:///run/docker.sock"]
    {
        let option = format!("syslog-address={destination}");
        let output = ann.run(&["run", "--rm", "--log-driver", "syslog", "--log-opt", &option, "busybox", "true"]);
        assert!(output.code != 0 && output.stderr.contains("log-to="), "{destination}: {output:?}");
    }
    for driver in ["journald", "fluentd"] {
        let output = ann.run(&["run", "--rm", "--log-driver", driver, "busybox", "true"]);
        assert!(output.code != 0 && output.stderr.contains("log-to="), "{driver}: {output:?}");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("tcp://{}", listener.local_addr().expect("its address"));
    server.wharf(&["grant", "add", "--tenant", "ann", &format!("log-to={address}")]).succeeded();
    let option = format!("syslog-address={address}");
    ann.text(&["run", "-d", "--log-driver", "syslog", "--log-opt", &option, "busybox", "true"]);
}

#[test]
fn a_disk_quota_refuses_and_says_why() {
    let server = Server::start_with(Options::default());
    server.add_user("ann", 5);
    let ann = server.docker_as(5);
    server.load_busybox_for(&ann);
    ann.text(&["run", "--name", "big", "busybox", "sh", "-c", "head -c 3000000 /dev/zero > /x"]);
    server.wharf(&["tenant", "quota", "ann", "--disk", "1m"]).succeeded();
    for refused in [&["create", "busybox", "true"][..], &["volume", "create", "vv"]] {
        let output = ann.run(refused);
        assert!(output.code != 0 && output.stderr.contains("disk quota reached"), "{output:?}");
    }
    // What is there goes on, and can be removed.
    ann.text(&["start", "big"]);
    ann.text(&["rm", "-f", "big"]);
    server.wharf(&["tenant", "quota", "ann", "--disk", "1g"]).succeeded();
    ann.text(&["volume", "create", "vv"]);
    ann.text(&["run", "--rm", "-v", "vv:/v", "busybox", "sh", "-c", "head -c 1000000 /dev/zero > /v/x"]);
    let df = ann.text(&["system", "df", "-v", "--format", "{{range .Volumes}}{{.Name}} {{.Size}}{{end}}"]);
    assert_eq!(df, "vv 1MB");
}
