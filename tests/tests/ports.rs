//! Published ports: from localhost, from the host's addresses, from another machine, and while the server is down.

use e2e::host::Neighbour;
use e2e::{Options, Server, until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const ANSWERING: &str = "while :; do echo answer | nc -l -p 8080; done";

/// What a port says; nothing when nobody answers.
fn ask(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty())
}

#[test]
fn a_published_port_is_reached_from_everywhere_also_without_the_server() {
    let Some(neighbour) = Neighbour::new() else {
        return e2e::skip("`ip` (iproute2) is not installed");
    };
    let mut server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    docker.text(&["run", "-d", "--name", "web", "-p", "8080", "busybox", "sh", "-c", ANSWERING]);
    let port = docker.text(&["port", "web", "8080"]).lines().next().and_then(|l| l.rsplit(':').next().map(str::to_owned)).expect("a port");
    let everywhere = || {
        for address in [format!("127.0.0.1:{port}"), format!("{}:{port}", neighbour.ours)] {
            until(&format!("{address} answers"), || ask(&address).filter(|answer| answer == "answer"));
        }
        until("another machine gets an answer", || {
            let call = format!("echo | nc -w 2 {} {port}", neighbour.ours);
            let output = neighbour.command(&["busybox", "sh", "-c", &call]).output().expect("asking from the neighbour");
            String::from_utf8_lossy(&output.stdout).contains("answer").then_some(())
        });
    };
    everywhere();
    server.kill();
    everywhere();
    server.start_again(Vec::new());
    everywhere();
    docker.text(&["rm", "-f", "web"]);
    until("the port is closed again", || ask(&format!("127.0.0.1:{port}")).is_none().then_some(()));
}

#[test]
fn containers_find_each_other_by_name_and_not_other_tenants() {
    let server = Server::start_with(Options::default());
    for (name, uid) in [("ann", 5), ("ben", 6)] {
        server.add_user(name, uid);
        let docker = server.docker_as(uid);
        server.load_busybox_for(&docker);
        docker.text(&["network", "create", "net"]);
        docker.text(&["run", "-d", "--name", "web", "--network", "net", "busybox", "sh", "-c", ANSWERING]);
    }
    let (ann, ben) = (server.docker_as(5), server.docker_as(6));
    let answer = ann.text(&["run", "--rm", "--network", "net", "busybox", "sh", "-c", "until echo | nc -w 1 web 8080; do sleep 0.1; done"]);
    assert_eq!(answer, "answer");
    let bens = ben.inspect("web", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let across = ann.run(&["run", "--rm", "--network", "net", "busybox", "sh", "-c", &format!("echo | nc -w 2 {bens} 8080")]);
    assert_ne!(across.stdout.trim(), "answer", "one tenant's container reached another's");
    assert_eq!(ann.run(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", "ip -o link | grep -vc ' lo:'"]).text(), "0");
}

#[test]
fn ports_and_names_follow_a_running_container_into_its_networks() {
    let server = Server::start_with(Options::default());
    let docker = server.load_busybox();
    for net in [&["network", "create", "--internal", "closed"][..], &["network", "create", "app"], &["network", "create", "back"]] {
        docker.text(net);
    }
    docker.text(&["run", "-d", "--name", "web", "--network", "closed", "-p", "8080", "busybox", "sh", "-c", ANSWERING]);
    assert_eq!(docker.run(&["port", "web"]).stdout.trim(), "", "an internal network publishes nothing");
    let port = || docker.text(&["port", "web", "8080"]).lines().next().and_then(|l| l.rsplit(':').next().map(str::to_owned));
    let local = |port: &Option<String>| ask(&format!("127.0.0.1:{}", port.as_deref().unwrap_or("0")));
    docker.text(&["network", "connect", "back", "web"]);
    let first = port();
    until("a joined network publishes", || local(&first).filter(|answer| answer == "answer"));
    docker.text(&["network", "connect", "app", "web"]);
    assert_eq!(port(), first, "the host port is kept when the ports move");
    until("the network with the default route publishes", || local(&first).filter(|answer| answer == "answer"));
    docker.text(&["network", "disconnect", "app", "web"]);
    assert_eq!(port(), first);
    until("the next network takes over", || local(&first).filter(|answer| answer == "answer"));
    docker.text(&["network", "disconnect", "back", "web"]);
    assert_eq!(docker.run(&["port", "web"]).stdout.trim(), "");
    assert_eq!(local(&first), None);

    // From the default bridge, where nobody has names, into a network with names.
    docker.text(&["run", "-d", "--name", "client", "busybox", "sleep", "1000"]);
    let hosts = || docker.text(&["exec", "client", "cat", "/etc/hosts"]);
    let before = hosts();
    docker.text(&["network", "connect", "closed", "client"]);
    let said = docker.text(&["exec", "client", "sh", "-c", "until echo | nc -w 1 web 8080; do sleep 0.1; done"]);
    assert_eq!(said, "answer");
    let own = docker.inspect("client", "{{.NetworkSettings.Networks.closed.IPAddress}}");
    assert!(hosts().contains(&own));
    docker.text(&["network", "disconnect", "closed", "client"]);
    assert_eq!(hosts(), before);
}

#[test]
fn who_shares_a_network_has_capabilities_over_it() {
    let server = Server::start_with(Options::default());
    // An administrator's, for the capability needs a grant otherwise; their containers are in a user namespace all the same.
    let ann = server.load_busybox();
    server.add_user("ben", 6);
    let ben = server.docker_as(6);
    server.load_busybox_for(&ben);
    ann.text(&["run", "-d", "--name", "owner", "busybox", "sleep", "1000"]);
    let change = [
        "run",
        "--rm",
        "--network",
        "container:owner",
        "--cap-add",
        "NET_ADMIN",
        "busybox",
        "ip",
        "addr",
        "add",
        "10.9.9.9/32",
        "dev",
        "lo",
    ];
    ann.run(&change).succeeded();
    assert!(ann.text(&["exec", "owner", "ip", "-o", "addr"]).contains("10.9.9.9"));
    let without = ["run", "--rm", "--network", "container:owner", "busybox", "ip", "addr", "add", "10.9.9.8/32", "dev", "lo"];
    assert_ne!(ann.run(&without).code, 0, "only who asks for the capability has it");
    // Its own processes, files and host name; and exec finds its way in.
    ann.text(&["run", "-d", "--name", "joined", "--network", "container:owner", "busybox", "sleep", "1000"]);
    assert_eq!(ann.text(&["exec", "joined", "sh", "-c", "id -u; ps -o args | grep -c ^sleep"]), "0\n1");
    ann.text(&["exec", "joined", "sh", "-c", "echo mine > /tmp/x; chown 5:5 /tmp/x; mount | grep -q ' / '"]);
    ann.text(&["rm", "-f", "joined"]);
    let absent = ben.run(&["run", "--rm", "--network", "container:owner", "busybox", "true"]);
    assert!(absent.stderr.contains("No such container: owner"), "{}", absent.stderr);
}
