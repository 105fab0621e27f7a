//! The benchmark: Wharf beside its peers, in one run, as ratios. `cargo run --release -p e2e --bin bench [NAME…] [--rounds N]`
//! as root. Every measurement alternates between the engines, so that what else the machine does falls on all of them; each is
//! made twice, close together and 100 ms apart, because an idle kernel is slower. `WHARF_BIN` names another server to measure.
//!
//! Nothing here is a test: no number makes it fail.

mod engine;
mod floor;
mod measure;

use e2e::{Options, Server, peer};
use engine::Engine;
use measure::{Pace, Row, alternate};
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.iter().position(|a| a == "--rounds").and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(20);
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--") && a.parse::<usize>().is_err()).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));

    // The release build beside this program, unless told otherwise.
    let wharf = Server::start_with(Options { binary: Some(e2e::server::binary()), ..Options::default() });
    let mut engines = vec![Engine::api("wharf", wharf.socket(), vec![wharf.pid().map_or(0, |pid| i32::try_from(pid).unwrap_or(0))])];
    let dockerd = peer::Dockerd::start().map_err(|why| e2e::skip(&format!("no dockerd to compare with: {why}"))).ok();
    if let Some(dockerd) = &dockerd {
        engines.push(Engine::api("dockerd", dockerd.socket(), dockerd.processes()));
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

    println!("{:<34} {:>10} {:>12} {:>12} {:>12} {:>9} {:>9}", "", "pace", "floor", "wharf", "dockerd", "podman", "ratio");
    let mut rows = Vec::new();
    if wants("idle") {
        let memory: Vec<f64> = engines.iter().map(|engine| engine.memory_mb()).collect();
        rows.push(Row::memory("memory of the idle server, MB", &memory).print());
    }
    for pace in [Pace::Together, Pace::Apart] {
        if wants("cycle") {
            for (name, network) in [("cycle without network", "none"), ("cycle with the bridge", "bridge")] {
                let mut jobs: Vec<Box<dyn FnMut() -> Duration + '_>> = vec![Box::new(move || floor::cycle(network != "none"))];
                for engine in &engines {
                    jobs.push(Box::new(move || engine.cycle(network)));
                }
                if let Some(podman) = &podman {
                    let mut call = peer::PODMAN_RUN.to_vec();
                    call.extend(["--network", network, "busybox", "true"]);
                    jobs.push(Box::new(move || engine::podman(podman, &call)));
                }
                rows.push(Row::times(name, pace, alternate(rounds, pace, &mut jobs), dockerd.is_some()).print());
            }
        }
        if wants("start") {
            let mut jobs: Vec<Box<dyn FnMut() -> Duration + '_>> = vec![Box::new(|| floor::cycle(false))];
            for engine in &engines {
                jobs.push(Box::new(move || engine.start()));
            }
            rows.push(Row::times("start of a created container", pace, alternate(rounds, pace, &mut jobs), dockerd.is_some()).print());
        }
        if wants("run") {
            let mut jobs: Vec<Box<dyn FnMut() -> Duration + '_>> = vec![Box::new(|| floor::cycle(true))];
            for engine in &engines {
                jobs.push(Box::new(move || engine.cli_run()));
            }
            rows.push(Row::times("docker run --rm", pace, alternate(rounds, pace, &mut jobs), dockerd.is_some()).print());
        }
        if wants("exec") {
            for engine in &engines {
                engine.keep("bench-exec");
            }
            let mut jobs: Vec<Box<dyn FnMut() -> Duration + '_>> = vec![Box::new(floor::spawn)];
            for engine in &engines {
                jobs.push(Box::new(move || engine.exec("bench-exec")));
            }
            rows.push(Row::times("exec of true", pace, alternate(rounds, pace, &mut jobs), dockerd.is_some()).print());
            for engine in &engines {
                engine.remove("bench-exec");
            }
        }
    }
    if wants("fifty") {
        let before: Vec<f64> = engines.iter().map(|engine| engine.memory_mb()).collect();
        let took: Vec<f64> = engines.iter().map(|engine| 50.0 / engine.fifty().as_secs_f64()).collect();
        rows.push(Row::rates("50 containers, 8 at a time, /s", &took).print());
        let after: Vec<f64> = engines.iter().map(|engine| engine.memory_mb()).collect();
        let each: Vec<f64> = before.iter().zip(&after).map(|(before, after)| (after - before) / 50.0).collect();
        rows.push(Row::memory("memory per container, MB", &each).print());
        let listed: Vec<f64> = engines.iter().map(|engine| engine.rate("/containers/json?all=1", Duration::from_secs(2))).collect();
        rows.push(Row::rates("list of 50, /s", &listed).print());
        for engine in &engines {
            engine.remove_fifty();
        }
    }
    if wants("ping") {
        let pings: Vec<f64> = engines.iter().map(|engine| engine.rate("/_ping", Duration::from_secs(2))).collect();
        rows.push(Row::rates("_ping, /s", &pings).print());
    }
    if wants("log") {
        let mut written = Vec::new();
        let mut read = Vec::new();
        for engine in &engines {
            let (write, reading) = engine.log(200);
            written.push(200.0 / write.as_secs_f64());
            read.push(200.0 / reading.as_secs_f64());
        }
        rows.push(Row::rates("log written, MB/s", &written).print());
        rows.push(Row::rates("log read by API, MB/s", &read).print());
    }
    println!("\n{} rows, medians of {rounds} rounds; ratio: dockerd to Wharf, or Wharf to dockerd for rates: more is better", rows.len());
}
