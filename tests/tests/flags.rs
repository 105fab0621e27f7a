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
            Inside(&["-u", "nobody"], "id -un", "nobody"),
            Inside(&["-t"], "tty", "/dev/pts/0"),
            Inside(&["--name", "named"], "hostname | wc -c", "13"),
            Inspect(&["--privileged"], "{{.HostConfig.Privileged}}", "true"),
            Inside(&["--cpuset-cpus", "0"], "grep Cpus_allowed_list /proc/self/status | cut -f2", "0"),
            Inside(&["--device", "/dev/null:/dev/other"], "stat -c '%t:%T' /dev/other", "1:3"),
            Inside(&["--platform", "linux/amd64", "--runtime", "runc", "--isolation", "default", "--pull", "never"], "echo ok", "ok"),
            Inside(&["--network", "none", "--mac-address", "02:42:ac:11:00:77"], "ls /sys/class/net", "lo"),
            Inside(&["--mac-address", "02:42:ac:11:00:77"], "cat /sys/class/net/eth0/address", "02:42:ac:11:00:77"),
            Inspect(&["-c", "512"], "{{.HostConfig.CpuShares}}", "512"),
            Inspect(
                &["--cpu-period", "50000", "--cpu-quota", "25000"],
                "{{.HostConfig.CpuPeriod}} {{.HostConfig.CpuQuota}}",
                "50000 25000",
            ),
            Inspect(&["--cpus", "0.5"], "{{.HostConfig.NanoCpus}}", "500000000"),
            Inspect(
                &["-m", "64m", "--memory-reservation", "32m"],
                "{{.HostConfig.Memory}} {{.HostConfig.MemoryReservation}}",
                "67108864 33554432",
            ),
            Inspect(&["--pids-limit", "33"], "{{.HostConfig.PidsLimit}}", "33"),
            Inspect(&["-P"], "{{.HostConfig.PublishAllPorts}}", "true"),
            Inspect(&["-it"], "{{.Config.Tty}} {{.Config.OpenStdin}} {{.Config.StdinOnce}}", "true true true"),
            Inspect(
                &["--ipc", "private", "--cgroupns", "private"],
                "{{.HostConfig.IpcMode}} {{.HostConfig.CgroupnsMode}}",
                "private private",
            ),
            Inspect(
                &["--health-cmd", "true", "--health-interval", "7s", "--health-retries", "2", "--health-start-period", "3s"],
                "{{json .Config.Healthcheck.Test}} {{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Retries}} {{.Config.Healthcheck.StartPeriod}}",
                r#"["CMD-SHELL","true"] 7s 2 3s"#,
            ),
            Inspect(&["--no-healthcheck"], "{{json .Config.Healthcheck.Test}}", r#"["NONE"]"#),
            Refused(&["-m", "1m"], "Minimum memory limit allowed is 6MB"),
            Refused(&["--cpus", "1000"], "range of CPUs is from 0.01 to"),
            Refused(&["--cpuset-cpus", "4000"], "Requested CPUs are not available"),
            Refused(&["-m", "64m", "--memory-swap", "32m"], "Minimum memoryswap limit should be larger than memory limit"),
            Refused(&["-u", "nosuch"], "unable to find user nosuch"),
            Refused(&["--cap-add", "NOSUCH"], "NOSUCH"),
            Refused(&["--device", "/dev/nosuch"], "/dev/nosuch"),
            Refused(&["--runtime", "nosuch"], "nosuch"),
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
            Inside(
                &[
                    "--mount",
                    "type=volume,src=mem,dst=/v,volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=1m",
                ],
                "df -k /v | tail -1 | awk '{print $2}'",
                "1024",
            ),
            Inside(&["-v", "/tmp:/v:ro"], "touch /v/x 2>/dev/null || echo no", "no"),
            Inside(&["-v", "/tmp:/v:ro,z"], "touch /v/x 2>/dev/null || echo no", "no"),
            Inside(
                &["--mount", "type=bind,src=/tmp,dst=/v,readonly,bind-recursive=readonly,bind-propagation=rprivate"],
                "touch /v/x 2>/dev/null || echo no",
                "no",
            ),
            Inside(
                &["--mount", "type=bind,src=/tmp,dst=/v,bind-propagation=rslave"],
                "grep ' /v ' /proc/self/mountinfo | grep -c -v shared:",
                "1",
            ),
            Inspect(&["-v", "/anonymous"], "{{len .Mounts}} {{(index .Mounts 0).Type}} {{(index .Mounts 0).RW}}", "1 volume true"),
            Inspect(
                &["--mount", "type=volume,src=kept,dst=/v,readonly"],
                "{{(index .Mounts 0).Name}} {{(index .Mounts 0).RW}}",
                "kept false",
            ),
            Inspect(&["--tmpfs", "/t:size=1m"], "{{json .HostConfig.Tmpfs}}", r#"{"/t":"size=1m"}"#),
            Refused(&["-v", "relative/path:/v"], "includes invalid characters for a local volume name"),
            Refused(&["-v", "kept:relative"], "mount path must be absolute"),
            Refused(&["--mount", "type=volume,src=nn,dst=/v,volume-opt=nosuch=1"], "invalid option: \"nosuch\""),
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

/// Docker's volume commands, their filters and refusals.
#[test]
fn volumes() {
    let server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    for (name, label) in [("one", "a=1"), ("two", "a=2"), ("twofold", "b=1")] {
        docker.text(&["volume", "create", "--label", label, name]);
    }
    let anonymous = docker.text(&["volume", "create"]);
    assert_eq!(anonymous.len(), 64, "{anonymous}");
    docker.text(&["create", "--name", "user", "-v", "one:/v", "busybox", "true"]);
    for (filter, names) in [
        ("label=a", "one two"),
        ("label=a=2", "two"),
        ("label!=a", "twofold"),
        ("name=two", "two twofold"),
        ("dangling=false", "one"),
        ("driver=local", "one two twofold"),
        ("driver=other", ""),
    ] {
        let list = docker.run(&["volume", "ls", "-q", "--filter", filter]);
        let mut got: Vec<&str> = list.stdout.lines().filter(|name| *name != anonymous).collect();
        got.sort_unstable();
        if filter == "label!=a" {
            // Docker's list does not know it, its prune does.
            assert!(list.code != 0 && list.stderr.contains("invalid filter"), "{list:?}");
            continue;
        }
        assert_eq!(got.join(" "), names, "{filter}: {list:?}");
    }
    assert_eq!(
        docker.text(&["volume", "inspect", "one", "--format", "{{.Driver}} {{.Scope}} {{json .Labels}}"]),
        r#"local local {"a":"1"}"#
    );
    for (command, text) in [
        (&["volume", "rm", "one"][..], "volume is in use"),
        (&["volume", "rm", "nosuch"], "no such volume"),
        (&["volume", "create", "x/y"], "includes invalid characters"),
        (&["volume", "create", "-d", "nosuch", "zz"], "nosuch"),
        (&["volume", "create", "-o", "nosuch=1", "zz"], "invalid option: \"nosuch\""),
        (&["volume", "create", "-o", "size=x", "zz"], "invalid size"),
        (&["volume", "create", "-o", "type=nosuchfs", "-o", "device=x", "zz"], "nosuchfs"),
        (&["volume", "update", "one", "--availability", "drain"], "cluster"),
        (&["volume", "prune", "-f", "--filter", "nosuch=1"], "invalid filter"),
    ] {
        let output = docker.run(command);
        assert!(output.code != 0 && output.stderr.contains(text), "{command:?}: {output:?}");
    }
    docker.text(&["volume", "rm", "-f", "nosuch"]);
    // Without `-a` only those that nobody named; by label only those that have it.
    assert!(docker.text(&["volume", "prune", "-f"]).contains(&anonymous));
    let pruned = docker.text(&["volume", "prune", "-af", "--filter", "label=a"]);
    assert!(pruned.contains("two") && !pruned.contains("twofold") && !pruned.contains("one"), "{pruned}");
    assert_eq!(docker.text(&["volume", "ls", "-q"]), "one\ntwofold");
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
