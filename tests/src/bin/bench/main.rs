//! The benchmark: Wharf beside its peers, in one run, as ratios. `cargo run --release -p e2e --bin bench [NAME…] [--rounds N] [--many N]`
//! as root. Every measurement alternates between the engines, so that what else the machine does falls on all of them; each is
//! made twice, close together and 100 ms apart, because an idle kernel is slower. `WHARF_BIN` names another server to measure.
//!
//! Nothing here is a test: no number makes it fail.

mod engine;
mod floor;
mod measure;
mod network;

use e2e::{Options, Server, peer};
use engine::Engine;
use floor::{Floor, Kind};
use measure::{Pace, Row, alternate, heading};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == floor::ARGUMENT) {
        return floor::serve(std::path::Path::new(&arguments[1]));
    }
    let rounds = arguments.iter().position(|a| a == "--rounds").and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(20);
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--") && a.parse::<usize>().is_err()).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));

    // The release build beside this program, unless told otherwise.
    let wharf = Server::start_with(Options { binary: Some(e2e::server::binary()), ..Options::default() });
    let pid = wharf.pid().map_or(0, |pid| i32::try_from(pid).unwrap_or(0));
    let mut engines = vec![Engine::api("wharf", wharf.socket(), move || vec![pid])];
    let dockerd = peer::Dockerd::start().map_err(|why| e2e::skip(&format!("no dockerd to compare with: {why}"))).ok().map(Arc::new);
    if let Some(dockerd) = &dockerd {
        let seen = dockerd.clone();
        engines.push(Engine::api("dockerd", dockerd.socket(), move || seen.processes()));
    }
    let archive = wharf.folder().join("bench.tar");
    std::fs::write(&archive, e2e::image::Image::busybox().archive(&["busybox:latest"])).expect("the image's archive");
    for engine in &engines {
        engine.load(&archive);
    }
    let podman = peer::podman(wharf.folder());
    if podman.is_none() {
        e2e::skip("podman and crun are not installed");
    }
    if let Some(podman) = &podman {
        engine::podman(podman, &["load", "-q", "-i", &archive.display().to_string()]);
    }
    let floor = RefCell::new(Floor::start(wharf.folder()));
    let bench = Bench { engines: &engines, podman: podman.as_deref(), floor: &floor, rounds };

    heading();
    if wants("idle") {
        let memory: Vec<f64> = engines.iter().map(|engine| engine.memory_mb()).collect();
        Row::less("memory of the idle server, MB", &memory, 2.0).print();
    }
    for pace in [Pace::Together, Pace::Apart] {
        if wants("floor") {
            bench.floors(pace);
        }
        for (name, network) in [("cycle without network", "none"), ("cycle with the bridge", "bridge")] {
            if wants("cycle") {
                let kind = Kind { network: network != "none", pooled: true, to_the_end: true };
                let mut call = peer::PODMAN_RUN.to_vec();
                call.extend(["--network", network, "busybox", "true"]);
                bench.times(name, pace, 25.0, &|| floor.borrow_mut().time(kind), &|e| e.cycle(network), &|p| engine::podman(p, &call));
            }
        }
        if wants("start") {
            let kind = Kind { network: false, pooled: true, to_the_end: false };
            let bare = || floor.borrow_mut().time(kind);
            bench.times("start of a created container", pace, 80.0, &bare, &Engine::start, &engine::podman_start);
        }
        if wants("run") {
            let kind = Kind { network: true, pooled: true, to_the_end: true };
            let mut call = peer::PODMAN_RUN.to_vec();
            call.extend(["--network", "bridge", "busybox", "true"]);
            let bare = || floor.borrow_mut().time(kind);
            bench.times("docker run --rm", pace, 5.0, &bare, &Engine::cli_run, &|p| engine::podman(p, &call));
        }
        if wants("exec") {
            bench.execs(pace);
        }
    }
    if wants("fifty") {
        bench.fifty();
    }
    if wants("ping") {
        let pings: Vec<f64> = engines.iter().map(|engine| engine.rate("/_ping", Duration::from_secs(2))).collect();
        Row::rates("_ping, /s", &pings, 1.0).print();
    }
    if wants("log") {
        let (written, read): (Vec<f64>, Vec<f64>) = engines.iter().map(|engine| engine.log(200)).unzip();
        Row::rates("log written, MB/s", &written, 8.0).print();
        Row::rates("log read by API, MB/s", &read, 10.0).print();
    }
    let many = arguments.iter().position(|a| a == "--many").and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(300);
    network::measure(&bench, &wants, many);
    println!(
        "\nmedians of {rounds} rounds. dockerd, podman: how many times better Wharf is; floor: how many times its bare system calls Wharf takes"
    );
}

/// What is measured with.
struct Bench<'a> {
    engines: &'a [Engine],
    podman: Option<&'a [String]>,
    floor: &'a RefCell<Floor>,
    rounds: usize,
}

impl Bench<'_> {
    /// One line of times: floor, engines, podman in turn.
    fn times(
        &self,
        name: &str,
        pace: Pace,
        goal: f64,
        floor: &dyn Fn() -> Duration,
        engine: &dyn Fn(&Engine) -> Duration,
        podman: &dyn Fn(&[String]) -> Duration,
    ) {
        let mut jobs: Vec<Box<dyn FnMut() -> Duration + '_>> = vec![Box::new(floor)];
        for one in self.engines {
            jobs.push(Box::new(move || engine(one)));
        }
        if let Some(call) = self.podman {
            jobs.push(Box::new(move || podman(call)));
        }
        Row::times(name, pace, alternate(self.rounds, pace, &mut jobs), self.engines.len() > 1, goal).print();
    }

    /// The bare system calls alone, of a start that finds nothing ready and of one that finds all.
    fn floors(&self, pace: Pace) {
        for (name, network, pooled) in [
            ("bare: cold, no network", false, false),
            ("bare: cold, with the bridge", true, false),
            ("bare: pooled, no network", false, true),
            ("bare: pooled, with the bridge", true, true),
        ] {
            let kind = Kind { network, pooled, to_the_end: true };
            let mut jobs: Vec<Box<dyn FnMut() -> Duration + '_>> = vec![Box::new(|| self.floor.borrow_mut().time(kind))];
            Row::floor(name, pace, alternate(self.rounds, pace, &mut jobs)).print();
        }
    }

    fn execs(&self, pace: Pace) {
        for engine in self.engines {
            engine.keep("bench-exec");
        }
        if let Some(podman) = self.podman {
            let mut call = peer::PODMAN_RUN.to_vec();
            call.extend(["-d", "--name", "bench-exec", "--network", "none", "busybox", "sleep", "100000"]);
            engine::podman(podman, &call);
        }
        let podman = |call: &[String]| engine::podman(call, &["exec", "bench-exec", "true"]);
        self.times("exec", pace, 8.0, &floor::spawn, &|engine| engine.exec("bench-exec"), &podman);
        for engine in self.engines {
            engine.remove("bench-exec");
        }
        if let Some(podman) = self.podman {
            engine::podman(podman, &["rm", "-f", "-t", "0", "bench-exec"]);
        }
    }

    /// Fifty containers: how fast they come, what each costs, how fast they are listed.
    fn fifty(&self) {
        let before: Vec<f64> = self.engines.iter().map(Engine::memory_mb).collect();
        let took: Vec<f64> = self.engines.iter().map(|engine| 50.0 / engine.fifty().as_secs_f64()).collect();
        Row::rates("50 containers, 8 at a time, /s", &took, 12.0).print();
        let after: Vec<f64> = self.engines.iter().map(Engine::memory_mb).collect();
        let each: Vec<f64> = before.iter().zip(&after).map(|(before, after)| (after - before) / 50.0).collect();
        Row::less("memory per container, MB", &each, 8.0).print();
        let list = "/containers/json?all=1";
        let listed: Vec<f64> = self.engines.iter().map(|engine| engine.rate(list, Duration::from_secs(2))).collect();
        Row::rates("list of 50, /s", &listed, 10.0).print();
        self.engines.iter().for_each(Engine::remove_fifty);
    }
}
