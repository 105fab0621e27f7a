//! What client libraries and Compose rely on, and other people's test suites found missing: docker-py, Compose 1.29 and 5,
//! dockerode. Each test runs against a dockerd as well (`WHARF_E2E_DOCKER_HOST`).

use e2e::{Docker, Server};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

fn server() -> (Server, Docker) {
    let server = Server::start();
    let docker = server.load_busybox();
    (server, docker)
}

/// docker-py makes an exec with a terminal and starts it without saying so: Docker frames the output by what the start says.
/// And it reads the head of the answer through a buffer that it then forgets, so nothing may come together with the head.
#[test]
fn an_execs_output_is_framed_as_its_start_says_and_comes_after_the_head() {
    let (server, docker) = server();
    docker.run(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).succeeded();
    for _ in 0..10 {
        let made = server.request("POST", "/containers/c1/exec", Some(r#"{"Cmd":["echo","hello"],"AttachStdout":true,"Tty":true}"#));
        let id = made.json()["Id"].as_str().expect("an exec's id").to_owned();
        let mut stream = UnixStream::connect(server.socket()).expect("a connection");
        stream.set_read_timeout(Some(e2e::PATIENCE)).expect("a time-out");
        let body = r#"{"Tty":false,"Detach":false}"#;
        let head = format!(
            "POST /exec/{id}/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("sending a request");
        let mut first = vec![0; 8192];
        let n = stream.read(&mut first).expect("an answer");
        assert!(first[..n].ends_with(b"\r\n\r\n"), "only the head: {:?}", String::from_utf8_lossy(&first[..n]));
        let mut output = Vec::new();
        stream.read_to_end(&mut output).expect("the output");
        assert_eq!(output, b"\x01\0\0\0\0\0\0\x07hello\r\n");
    }
}

#[test]
fn a_kill_is_over_when_it_is_answered_and_a_restart_remembers_the_end() {
    let (_server, docker) = server();
    docker.run(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).succeeded();
    assert_eq!(docker.inspect("c1", "{{.State.FinishedAt}}"), "0001-01-01T00:00:00Z");
    docker.run(&["kill", "c1"]).succeeded();
    assert_eq!(docker.inspect("c1", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    docker.run(&["start", "c1"]).succeeded();
    assert_ne!(docker.inspect("c1", "{{.State.FinishedAt}}"), "0001-01-01T00:00:00Z");
}

#[test]
fn what_a_start_makes_is_no_change_and_what_is_mounted_is_not_exported() {
    let (_server, docker) = server();
    docker
        .run(&["run", "-d", "--name", "c1", "-v", "data:/data", "busybox", "sh", "-c", "echo 1 >/data/kept; touch /test; sleep 1000"])
        .succeeded();
    e2e::until("the file is there", || docker.run(&["exec", "c1", "test", "-e", "/test"]).code.eq(&0).then_some(()));
    assert_eq!(docker.text(&["diff", "c1"]).lines().filter(|line| !line.ends_with(" /data")).collect::<Vec<_>>(), ["A /test"]);
    let tar = docker.run(&["export", "c1"]).succeeded().bytes;
    let names = String::from_utf8_lossy(&tar);
    assert!(names.contains("bin/busybox") && !names.contains("data/kept") && !names.contains("proc/1/"));
}

#[test]
fn a_commit_adds_to_what_the_container_was_made_with() {
    let (_server, docker) = server();
    docker
        .run(&["run", "--name", "c1", "--expose", "80", "--stop-signal", "SIGINT", "--health-cmd", "true", "busybox", "true"])
        .succeeded();
    docker.run(&["commit", "-c", "LABEL a=b", "c1", "made:1"]).succeeded();
    let config = "{{json .Config.ExposedPorts}} {{.Config.StopSignal}} {{json .Config.Healthcheck.Test}} {{json .Config.Labels}}";
    let told = docker.text(&["image", "inspect", "-f", config, "made:1"]);
    assert_eq!(told.trim(), r#"{"80/tcp":{}} SIGINT ["CMD-SHELL","true"] {"a":"b"}"#);
}

/// docker-py's `run` gives back the output of containers with this driver only, and Compose v1 recreates none without the other.
#[test]
fn old_libraries_find_what_they_look_for() {
    let (server, docker) = server();
    docker.run(&["create", "--name", "c1", "--ulimit", "nofile=100:200", "-e", "A=b", "-e", "NONE", "busybox"]).succeeded();
    assert_eq!(docker.inspect("c1", "{{.HostConfig.LogConfig.Type}}"), "json-file");
    assert_eq!(docker.inspect("c1", "{{range .HostConfig.Ulimits}}{{.Name}} {{.Soft}} {{.Hard}}{{end}}"), "nofile 100 200");
    assert!(!docker.inspect("c1", "{{json .Config.Env}}").contains("HOSTNAME"));
    let old = server.request("GET", "/v1.41/images/busybox/json", None);
    assert!(old.json()["ContainerConfig"].is_object(), "{}", old.text());
    docker.run(&["create", "--name", "h1", "--network", "host", "busybox"]).code.eq(&0).then(|| {
        assert_eq!(docker.inspect("h1", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}"), "host");
    });
}
