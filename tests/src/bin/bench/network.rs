//! Networks: what a network costs to make, a container on it to start, its names to ask for, and what goes through its bridge
//! and its published ports. Traffic is made by threads of this program that enter the containers' network namespaces, so
//! that nothing depends on what an image holds. The bare line beside each is a bridge and a DNAT rule set up by hand, or a
//! UDP responder that only answers.

use super::Bench;
use super::engine::Engine;
use super::floor::Kind;
use super::measure::{Pace, Row, median};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

/// The network that containers of these measurements are on.
const NETWORK: &str = "bench-net";
/// Where the published container is found.
const PORT: u16 = 18_080;
/// Questions under way in a measurement of their rate.
const WINDOW: usize = 16;

/// Measures all that is asked for.
pub fn measure(bench: &Bench<'_>, wants: &dyn Fn(&str) -> bool, many: usize) {
    let [create, start, dns, traffic] = ["network-create", "network-start", "dns", "traffic"].map(wants);
    if !(create || start || dns || traffic) {
        return;
    }
    for engine in bench.engines {
        engine.make_network(NETWORK);
    }
    let mut there = 0;
    for count in [1, many] {
        for engine in bench.engines {
            for number in there..count {
                engine.keep_on(NETWORK, &format!("bench-member-{number}"), None);
            }
        }
        there = there.max(count);
        if create {
            changes(bench, count);
        }
        if start {
            starts(bench, count);
        }
        if dns {
            names(bench, count);
        }
        if traffic {
            streams(bench, count);
        }
    }
    for engine in bench.engines {
        for number in 0..there {
            engine.remove(&format!("bench-member-{number}"));
        }
        engine.remove_network(NETWORK);
    }
}

/// Making and removing a network.
fn changes(bench: &Bench<'_>, count: usize) {
    let mut made = vec![Vec::new(); bench.engines.len()];
    let mut removed = made.clone();
    for round in 0..bench.rounds + 2 {
        for (engine, (made, removed)) in bench.engines.iter().zip(made.iter_mut().zip(&mut removed)) {
            let begin = Instant::now();
            engine.make_network("bench-change");
            let middle = Instant::now();
            engine.remove_network("bench-change");
            if round >= 2 {
                made.push((middle - begin).as_secs_f64() * 1000.0);
                removed.push(middle.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }
    for (what, times) in [("create", &mut made), ("remove", &mut removed)] {
        let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
        Row::less(&format!("network {what}, {count} here, ms"), &medians, 30.0).print();
    }
}

/// Starting a container on it with one published port.
fn starts(bench: &Bench<'_>, count: usize) {
    let kind = Kind { network: true, pooled: false, to_the_end: false };
    let name = format!("start, port, {count} on the net");
    let nothing = |_: &[String]| Duration::ZERO;
    let alone = Bench { podman: None, ..*bench };
    alone.times(&name, Pace::Together, 40.0, &|| bench.floor.borrow_mut().time(kind), &|e| e.start_on(NETWORK, PORT), &nothing);
}

/// Questions for a neighbour's name: how many a second, and how long one takes.
fn names(bench: &Bench<'_>, count: usize) {
    let question = question("bench-member-0");
    let (mut rates, mut waits) = (vec![Vec::new(); bench.engines.len() + 1], vec![Vec::new(); bench.engines.len() + 1]);
    for engine in bench.engines {
        engine.keep_on(NETWORK, "bench-asking", None);
    }
    for _ in 0..5 {
        let netns = bench.engines[0].namespace("bench-asking");
        let bare = inside(&netns, || UdpSocket::bind("127.0.0.1:0").expect("a socket in the container's namespace"));
        let at = bare.local_addr().expect("its address");
        let responder = std::thread::spawn(move || respond(&bare));
        rates[0].push(rate(&netns, at, &question));
        waits[0].push(wait(&netns, at, &question));
        inside(&netns, || UdpSocket::bind("127.0.0.1:0").and_then(|s| s.send_to(&[], at)).expect("ending the responder"));
        responder.join().expect("the responder");
        for (place, engine) in bench.engines.iter().enumerate() {
            let netns = engine.namespace("bench-asking");
            let server = SocketAddr::from(([127, 0, 0, 11], 53));
            rates[place + 1].push(rate(&netns, server, &question));
            waits[place + 1].push(wait(&netns, server, &question));
        }
    }
    for engine in bench.engines {
        engine.remove("bench-asking");
    }
    let medians = |all: &mut Vec<Vec<f64>>| all.iter_mut().map(|v| median(v)).collect::<Vec<f64>>();
    let (rates, waits) = (medians(&mut rates), medians(&mut waits));
    Row::rates(&format!("DNS answers, {count} here, /s"), &rates[1..], 1.5).beside(rates[0]).print();
    Row::less(&format!("DNS, one question, {count} here, µs"), &waits[1..], 1.0).beside(waits[0]).print();
}

/// One TCP stream from container to container, and from another machine to a published port.
fn streams(bench: &Bench<'_>, count: usize) {
    let bare = BareHost::new();
    let mut homes = Vec::new();
    for (place, engine) in bench.engines.iter().enumerate() {
        engine.keep_on(NETWORK, "bench-from", None);
        engine.keep_on(NETWORK, "bench-to", Some(PORT));
        homes.push(Outside::beside(&engine.home(), u8::try_from(place + 1).unwrap_or(9)));
    }
    let (mut across, mut published) = (vec![Vec::new(); bench.engines.len() + 1], vec![Vec::new(); bench.engines.len() + 1]);
    for _ in 0..3 {
        across[0].push(stream(&bare.from, &bare.to, SocketAddr::new(bare.address, 80), 80));
        published[0].push(stream(&bare.outside.netns, &bare.to, SocketAddr::new(bare.outside.host, PORT), 80));
        for (place, engine) in bench.engines.iter().enumerate() {
            let (from, to) = (engine.namespace("bench-from"), engine.namespace("bench-to"));
            across[place + 1].push(stream(&from, &to, SocketAddr::new(engine.address("bench-to", NETWORK), 80), 80));
            published[place + 1].push(stream(&homes[place].netns, &to, SocketAddr::new(homes[place].host, PORT), 80));
        }
    }
    for engine in bench.engines {
        engine.remove("bench-from");
        engine.remove("bench-to");
    }
    for (what, values) in [("container to container", &mut across), ("through a published port", &mut published)] {
        let medians: Vec<f64> = values.iter_mut().map(|v| median(v)).collect();
        Row::rates(&format!("{what}, {count}, Gbit/s"), &medians[1..], 0.95).beside(medians[0]).print();
    }
}

/// Runs something in a network namespace, on a thread of its own.
fn inside<T: Send>(netns: &File, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(netns, CloneFlags::CLONE_NEWNET).expect("entering a network namespace");
            work()
        });
        thread.join().expect("what ran in a network namespace")
    })
}

/// A network namespace of our own.
fn namespace() -> File {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        File::open("/proc/thread-self/ns/net").expect("the network namespace")
    });
    thread.join().expect("a network namespace")
}

fn shell(netns: &File, commands: &str) {
    let output = inside(netns, || Command::new("sh").args(["-ec", commands]).output().expect("running a shell"));
    assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A veth pair between two namespaces.
fn cable(host: &File, name: &str, other: &File, peer: &str) {
    use std::os::fd::AsRawFd;
    let place = format!("/proc/{}/fd/{}", std::process::id(), other.as_raw_fd());
    shell(host, &format!("ip link add name {name} type veth peer name {peer} netns {place}; ip link set {name} up"));
    shell(other, &format!("ip link set lo up; ip link set {peer} up"));
}

/// Another machine on a host's wire.
struct Outside {
    netns: File,
    /// The host's address, from there.
    host: IpAddr,
}

impl Outside {
    fn beside(host: &File, number: u8) -> Self {
        let netns = namespace();
        cable(host, &format!("bench-up{number}"), &netns, "up");
        shell(host, &format!("ip addr add 198.18.{number}.1/24 dev bench-up{number}"));
        shell(&netns, &format!("ip addr add 198.18.{number}.2/24 dev up"));
        // The cable goes with the namespace, which goes with us.
        Self { netns, host: Ipv4Addr::new(198, 18, number, 1).into() }
    }
}

/// A bridge with two namespaces on it and a DNAT rule, and nothing else.
struct BareHost {
    _host: File,
    from: File,
    to: File,
    address: IpAddr,
    outside: Outside,
}

impl BareHost {
    fn new() -> Self {
        let (host, from, to) = (namespace(), namespace(), namespace());
        shell(
            &host,
            "ip link set lo up; sysctl -qw net.ipv4.ip_forward=1; ip link add br0 type bridge; ip link set br0 up; ip addr add 198.19.0.1/24 dev br0",
        );
        for (name, end, ip) in [("a", &from, 3), ("b", &to, 2)] {
            cable(&host, name, end, "eth0");
            shell(&host, &format!("ip link set {name} master br0"));
            shell(end, &format!("ip addr add 198.19.0.{ip}/24 dev eth0; ip route add default via 198.19.0.1"));
        }
        let rules = format!(
            "nft 'add table ip t; add chain ip t p {{ type nat hook prerouting priority -100; }}; add rule ip t p tcp dport {PORT} dnat to 198.19.0.2:80'"
        );
        shell(&host, &rules);
        let outside = Outside::beside(&host, 0);
        Self { _host: host, from, to, address: Ipv4Addr::new(198, 19, 0, 2).into(), outside }
    }
}

/// Gbit/s of one TCP stream during two seconds.
fn stream(from: &File, to: &File, connect: SocketAddr, listen: u16) -> f64 {
    let listener = inside(to, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, listen)).expect("listening in the container"));
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut buffer = vec![0u8; 256 * 1024];
        let (begin, mut bytes) = (Instant::now(), 0usize);
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            bytes += length;
        }
        bytes as f64 * 8.0 / 1e9 / begin.elapsed().as_secs_f64()
    });
    let mut stream = inside(from, || TcpStream::connect_timeout(&connect, Duration::from_secs(5)).expect("connecting to the container"));
    let (buffer, begin) = (vec![7u8; 256 * 1024], Instant::now());
    while begin.elapsed() < Duration::from_secs(2) {
        stream.write_all(&buffer).expect("writing to the container");
    }
    drop(stream);
    reader.join().expect("the reader")
}

/// A question for a name's IPv4 address.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, u8::try_from(name.len()).expect("a short name")];
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

/// Answers each question by the same with sixteen bytes more, which is how long an answer with one address is.
fn respond(socket: &UdpSocket) {
    let mut buffer = [0u8; 512];
    while let Ok((length @ 1.., from)) = socket.recv_from(&mut buffer) {
        socket.send_to(&buffer[..length + 16], from).expect("answering");
    }
}

fn asking(netns: &File, server: SocketAddr) -> UdpSocket {
    let socket = inside(netns, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket in the container's namespace"));
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    inside(netns, || socket.connect(server).expect("the server's address"));
    socket
}

/// Answers a second.
fn rate(netns: &File, server: SocketAddr, question: &[u8]) -> f64 {
    let socket = asking(netns, server);
    let (mut buffer, mut answers) = ([0u8; 512], 0u32);
    let begin = Instant::now();
    let mut under_way = 0;
    while begin.elapsed() < Duration::from_secs(1) {
        while under_way < WINDOW {
            socket.send(question).expect("asking");
            under_way += 1;
        }
        match socket.recv(&mut buffer) {
            Ok(_) => {
                answers += 1;
                under_way -= 1;
            }
            // Lost, as datagrams may be.
            Err(_) => under_way = 0,
        }
    }
    f64::from(answers) / begin.elapsed().as_secs_f64()
}

/// Microseconds from one question to its answer.
fn wait(netns: &File, server: SocketAddr, question: &[u8]) -> f64 {
    let socket = asking(netns, server);
    let mut buffer = [0u8; 512];
    let mut times: Vec<f64> = (0..1000)
        .filter_map(|_| {
            let begin = Instant::now();
            socket.send(question).expect("asking");
            socket.recv(&mut buffer).ok()?;
            Some(begin.elapsed().as_secs_f64() * 1e6)
        })
        .collect();
    median(&mut times)
}

impl Engine {
    fn make_network(&self, name: &str) {
        self.must(&mut self.connect(), "POST", "/networks/create", Some(&format!(r#"{{"Name":"{name}","Driver":"bridge"}}"#)));
    }

    fn remove_network(&self, name: &str) {
        self.must(&mut self.connect(), "DELETE", &format!("/networks/{name}"), None);
    }

    fn create_on(&self, network: &str, name: &str, port: Option<u16>, command: &[&str]) -> String {
        let bindings = match port {
            Some(port) => serde_json::json!({ "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": port.to_string() }] }),
            None => serde_json::json!({}),
        };
        let exposed = if port.is_some() { serde_json::json!({ "80/tcp": {} }) } else { serde_json::json!({}) };
        let body = serde_json::json!({
            "Image": "busybox:latest", "Cmd": command, "ExposedPorts": exposed,
            "HostConfig": { "NetworkMode": network, "PortBindings": bindings }
        });
        let made = self.must(&mut self.connect(), "POST", &format!("/containers/create?name={name}"), Some(&body.to_string()));
        let made: serde_json::Value = serde_json::from_slice(&made).expect("a container's id");
        made["Id"].as_str().expect("a container's id").to_owned()
    }

    fn keep_on(&self, network: &str, name: &str, port: Option<u16>) {
        let id = self.create_on(network, name, port, &["sleep", "100000"]);
        self.must(&mut self.connect(), "POST", &format!("/containers/{id}/start"), None);
    }

    fn start_on(&self, network: &str, port: u16) -> Duration {
        let mut api = self.connect();
        let id = self.create_on(network, "bench-start", Some(port), &["true"]);
        let begin = Instant::now();
        self.must(&mut api, "POST", &format!("/containers/{id}/start"), None);
        let took = begin.elapsed();
        self.must(&mut api, "POST", &format!("/containers/{id}/wait"), None);
        self.must(&mut api, "DELETE", &format!("/containers/{id}"), None);
        took
    }

    fn inspect(&self, name: &str) -> serde_json::Value {
        let answer = self.must(&mut self.connect(), "GET", &format!("/containers/{name}/json"), None);
        serde_json::from_slice(&answer).expect("an inspect's answer")
    }

    /// A container's network namespace.
    fn namespace(&self, name: &str) -> File {
        File::open(format!("/proc/{}/ns/net", self.inspect(name)["State"]["Pid"])).expect("the container's network namespace")
    }

    fn address(&self, name: &str, network: &str) -> IpAddr {
        let seen = self.inspect(name);
        let text = seen["NetworkSettings"]["Networks"][network]["IPAddress"].as_str().expect("an address").to_owned();
        text.parse().expect("an address")
    }

    /// The namespace that the engine itself lives in.
    fn home(&self) -> File {
        let first = self.pids().first().copied().expect("the engine's process");
        File::open(format!("/proc/{first}/ns/net")).expect("the engine's network namespace")
    }
}
