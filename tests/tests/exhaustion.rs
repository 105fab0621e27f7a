//! Who takes without end: output that nobody reads, connections that are dropped again and again, connections that say nothing, HTTP/2
//! that is only frames. The server's memory, descriptors and threads come back to where they were, and others are answered meanwhile.

use e2e::http::{self, Connection};
use e2e::{Options, Server, host, until};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const ANN: u32 = 5;
const BEN: u32 = 6;
const MIB: u64 = 1 << 20;

fn house() -> Server {
    let server = Server::start_with(Options::default());
    for (name, uid) in [("ann", ANN), ("ben", BEN)] {
        server.add_user(name, uid);
        server.load_busybox_for(&server.docker_as(uid));
    }
    server
}

/// A connection on which a request was sent; nothing of the answer is read yet.
fn sent(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(server.socket()).expect("a connection");
    stream.set_read_timeout(Some(e2e::PATIENCE)).expect("a time limit");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: wharf\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sending");
    stream
}

/// The status line and headers, a byte at a time so that nothing behind them is taken.
fn head(stream: &mut UnixStream) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("the answer's head") == 1 {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn exec(server: &Server, container: &str, body: &str) -> String {
    let made = server.request("POST", &format!("/containers/{container}/exec"), Some(body));
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["Id"].as_str().expect("an id").to_owned()
}

fn shim_of(pid: i32) -> i32 {
    host::status(pid)["PPid"].parse().expect("the parent's pid")
}

fn resident(pid: i32) -> u64 {
    host::status(pid)["VmRSS"].trim_end_matches(" kB").trim().parse::<u64>().expect("kilobytes") * 1024
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
const WEBSOCKET: &str =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// I2, R24, R25 (CVE-2022-31030, CVE-2022-1708): `yes` through exec, logs, attach and WebSockets, to clients that read and to many
/// that never do: neither the server nor the shim keeps it for them, and everybody else is answered.
#[test]
fn sec_i02_r25_endless_output_is_kept_for_nobody() {
    let server = house();
    let docker = server.load_busybox();
    docker.text(&["run", "-d", "--name", "loud", "busybox", "yes", "a line that is repeated without end"]);
    docker.text(&["run", "-d", "--name", "calm", "busybox", "sleep", "1000"]);
    let pid = docker.pid("loud");
    let shims = [shim_of(pid), shim_of(docker.pid("calm"))];
    let before = (server.resident(), shims.map(resident));
    let mut deaf = Vec::new();
    for n in 0..120 {
        deaf.push(match n % 4 {
            0 => sent(&server, "GET", "/containers/loud/attach/ws?stream=1&stdout=1", WEBSOCKET, ""),
            1 => sent(&server, "POST", "/containers/loud/attach?stream=1&stdout=1", UPGRADE, ""),
            2 => sent(&server, "GET", "/containers/loud/logs?follow=1&stdout=1", "", ""),
            _ => {
                let id = exec(&server, "calm", r#"{"Cmd":["yes"],"AttachStdout":true}"#);
                sent(&server, "POST", &format!("/exec/{id}/start"), UPGRADE, "{}")
            }
        });
    }
    let id = exec(&server, "calm", r#"{"Cmd":["yes"],"AttachStdout":true}"#);
    let mut reading = [
        sent(&server, "POST", &format!("/exec/{id}/start"), UPGRADE, "{}"),
        sent(&server, "POST", "/containers/loud/attach?stream=1&stdout=1", UPGRADE, ""),
        sent(&server, "GET", "/containers/loud/logs?follow=1&stdout=1", "", ""),
    ];
    let begin = Instant::now();
    let (mut most, mut most_shim, mut read) = (0, 0, [0_u64; 3]);
    let mut buffer = vec![0; 1 << 16];
    while begin.elapsed() < Duration::from_secs(12) {
        for (stream, all) in reading.iter_mut().zip(&mut read) {
            for _ in 0..8 {
                *all += stream.read(&mut buffer).expect("a stream that goes on") as u64;
            }
        }
        most = most.max(server.resident().saturating_sub(before.0));
        most_shim = most_shim.max(shims.iter().zip(before.1).map(|(pid, before)| resident(*pid).saturating_sub(before)).max().unwrap_or(0));
        assert_eq!(
            http::by_account(ANN, || http::Request { method: "GET", path: "/containers/json", token: None, body: None }
                .send(&server.socket()))
            .status,
            200
        );
    }
    assert!(read.iter().all(|all| *all > MIB / 8), "those who read got {read:?} bytes");
    assert!(most < 64 * MIB, "the server grew by {} MiB while {read:?} bytes were read", most / MIB);
    assert!(most_shim < 16 * MIB, "a shim grew by {} MiB", most_shim / MIB);
    drop((deaf, reading));
    docker.text(&["rm", "-f", "loud"]);
    docker.text(&["exec", "calm", "true"]);
}

/// I3 (CVE-2022-23471, CVE-2025-64329): what is attached, resized, followed and dropped a thousand times leaves neither a descriptor nor
/// a thread nor a process, in server, shim and container.
#[test]
fn sec_i03_dropped_streams_leave_nothing() {
    let server = house();
    let docker = server.load_busybox();
    docker.text(&["run", "-dit", "--name", "box", "busybox", "sh"]);
    let pid = docker.pid("box");
    let own = i32::try_from(server.pid().expect("a server")).expect("a pid");
    let shim = shim_of(pid);
    let now = || {
        let threads = |pid| host::status(pid)["Threads"].parse::<usize>().expect("a number");
        let inside = host::processes_in(&docker.inspect("box", "{{.Id}}")).len();
        [host::descriptors(own).len(), host::descriptors(shim).len(), threads(shim), inside]
    };
    let round = |times: usize| {
        for n in 0..times {
            for (method, path, headers) in [
                ("POST", "/containers/box/attach?stream=1&stdin=1&stdout=1&stderr=1", UPGRADE),
                ("GET", "/containers/box/attach/ws?stream=1&stdin=1&stdout=1", WEBSOCKET),
                ("GET", "/containers/box/logs?follow=1&stdout=1", ""),
                ("GET", "/events", ""),
                ("GET", "/containers/box/stats", ""),
                ("POST", "/containers/box/wait?condition=next-exit", ""),
            ] {
                let mut stream = sent(&server, method, path, headers, "");
                // Some go before they were answered.
                if n % 3 != 0 {
                    let head = head(&mut stream);
                    assert!(head.starts_with("HTTP/1.1 101") || head.starts_with("HTTP/1.1 200"), "{method} {path}: {head}");
                }
                if n % 2 == 0 {
                    stream.shutdown(Shutdown::Both).expect("dropping it");
                }
            }
            let resized = server.request("POST", &format!("/containers/box/resize?h={}&w=80", 20 + n % 30), None);
            assert_eq!(resized.status, 200, "{}", resized.text());
            if n % 4 == 0 {
                let id = exec(&server, "box", r#"{"Cmd":["cat"],"AttachStdin":true,"AttachStdout":true}"#);
                let mut stream = sent(&server, "POST", &format!("/exec/{id}/start"), UPGRADE, "{}");
                head(&mut stream);
            }
        }
    };
    // What is made once and kept: threads of the runtime, connections to the database.
    round(10);
    let settled = || {
        let mut last = now();
        until("the numbers stand still", || {
            std::thread::sleep(Duration::from_millis(500));
            let next = now();
            let same = next == last;
            last = next;
            same.then_some(next)
        })
    };
    let before = settled();
    round(150);
    until(&format!("server's and shim's descriptors, threads, processes are back at {before:?}"), || {
        let after = now();
        after.iter().zip(before).all(|(after, before)| *after <= before + 2).then_some(())
    });
    assert_eq!(docker.text(&["exec", "box", "echo", "well"]), "well");
}

/// R26: connections that say nothing, half a request, or a body drop by drop, all of one account on the Unix socket: others are
/// answered, the account's own limit names itself, and when they go everything is as before.
#[test]
fn sec_r26_silent_connections_of_one_account_keep_nobody_out() {
    let server = house();
    let own = i32::try_from(server.pid().expect("a server")).expect("a pid");
    let (before, memory) = (host::descriptors(own).len(), server.resident());
    let mut held = Vec::new();
    http::by_account(BEN, || {
        for n in 0..600 {
            let Ok(mut stream) = UnixStream::connect(server.socket()) else { break };
            let said: &[u8] = match n % 4 {
                0 => b"",
                1 => b"GET /containers/json HTTP/1.1\r\nHost: wharf\r\nX-A: ",
                2 => b"POST /containers/create HTTP/1.1\r\nHost: wharf\r\nContent-Length: 1000000\r\n\r\n{",
                _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            };
            // One that was turned away is closed.
            stream.write_all(said).ok();
            held.push(stream);
        }
        for _ in 0..20 {
            for stream in &mut held {
                stream.set_nonblocking(true).ok();
                stream.write_all(b"a").ok();
            }
        }
    });
    assert!(held.len() > 300, "only {} connections were taken", held.len());
    for uid in [0, ANN] {
        let answer = http::by_account(uid, || {
            http::Request { method: "GET", path: "/containers/json", token: None, body: None }.send(&server.socket())
        });
        assert_eq!(answer.status, 200, "account {uid}: {}", answer.text());
    }
    assert!(server.resident().saturating_sub(memory) < 64 * MIB, "the server grew");
    drop(held);
    until("their descriptors are free", || (host::descriptors(own).len() <= before + 4).then_some(()));
    assert_eq!(server.request_as(BEN, "GET", "/containers/json", None).status, 200);
}

/// An HTTP/2 frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Floods an HTTP/2 connection until it is closed or all is sent; how much was taken.
fn flood(mut stream: UnixStream, mut next: impl FnMut(u32) -> Vec<u8>) -> u32 {
    let mut back = stream.try_clone().expect("the other half");
    stream.set_write_timeout(Some(Duration::from_secs(5))).expect("a time limit");
    // What comes back is read, so that it is the server that has to say stop.
    let reader = std::thread::spawn(move || std::io::copy(&mut back, &mut std::io::sink()).ok());
    let mut taken = 0;
    if stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").and_then(|()| stream.write_all(&frame(4, 0, 0, &[]))).is_ok() {
        for n in 0..30_000 {
            if stream.write_all(&next(n)).is_err() {
                break;
            }
            taken = n + 1;
        }
    }
    stream.shutdown(Shutdown::Both).ok();
    reader.join().expect("the reader");
    taken
}

/// The next frames of a flood, by their number.
type Frames<'a> = &'a (dyn Fn(u32) -> Vec<u8> + Sync);

/// R26 with HTTP/2 (CVE-2023-44487, CVE-2024-27316, CVE-2019-9512, CVE-2019-9515): streams reset at once, headers without end, settings
/// and pings; on the socket itself, as prior knowledge, and on BuildKit's connection after `POST /grpc`.
#[test]
fn sec_r26_floods_of_http2_frames_cost_little() {
    let server = house();
    let get = [&[0x82, 0x86, 0x84, 0x41, 5][..], b"wharf"].concat();
    let kinds: [(&str, Frames<'_>); 5] = [
        ("rapid reset", &|n| [frame(1, 5, 2 * n + 1, &get), frame(3, 0, 2 * n + 1, &8_u32.to_be_bytes())].concat()),
        ("headers without end", &|n| {
            if n == 0 {
                frame(1, 0, 1, &get)
            } else {
                frame(9, 0, 1, &[&[0x40, 1, b'a' + (n % 26) as u8, 127, 100][..], &[b'x'; 227]].concat())
            }
        }),
        ("settings", &|_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("pings", &|n| frame(6, 0, 0, &u64::from(n).to_be_bytes())),
        ("empty data", &|n| if n == 0 { frame(1, 4, 1, &get) } else { frame(0, 0, 1, &[]) }),
    ];
    let door = |buildkit: bool| {
        if !buildkit {
            return UnixStream::connect(server.socket()).expect("a connection");
        }
        let mut stream = sent(&server, "POST", "/grpc", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "");
        let head = head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        stream
    };
    let memory = server.resident();
    for buildkit in [false, true] {
        for (what, next) in &kinds {
            let mut connection = Connection::open(&server.socket()).expect("a connection");
            std::thread::scope(|scope| {
                // Sockets are opened here, the flood is somebody else's.
                let streams = [door(buildkit), door(buildkit)];
                let floods: Vec<_> = streams.into_iter().map(|stream| scope.spawn(move || flood(stream, next))).collect();
                let mut asked = 0;
                while floods.iter().any(|flood| !flood.is_finished()) {
                    let answer = connection.send("GET", "/_ping", None).expect("an answer meanwhile");
                    assert_eq!(answer.status, 200);
                    asked += 1;
                }
                let taken: Vec<u32> = floods.into_iter().map(|flood| flood.join().expect("a flood")).collect();
                eprintln!("{what}, BuildKit's door {buildkit}: {taken:?} of 30000 frames taken, {asked} answers meanwhile");
                if *what == "headers without end" || *what == "rapid reset" {
                    assert!(taken.iter().all(|taken| *taken < 30_000), "{what}: nobody said stop");
                }
            });
            let grown = server.resident().saturating_sub(memory);
            assert!(grown < 48 * MIB, "{what}, BuildKit's door {buildkit}: the server grew by {} MiB", grown / MIB);
        }
    }
}
