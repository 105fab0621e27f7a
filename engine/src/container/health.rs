//! Health: a command run in the container from time to time. Authorised when the container was made; not judged per probe.

use super::record::Entry;
use super::request::{ExecSpec, StreamKind};
use super::start::Up;
use super::view::{Health, Probe};
use crate::engine::Engine;
use crate::runtime::Streams;
use crate::{Error, ExecId, Result};
use futures_util::StreamExt;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// What is kept of a probe's output.
const OUTPUT_KEPT: usize = 4096;
/// How many probes are kept.
const PROBES_KEPT: usize = 5;

impl Engine {
    /// Starts the probes of a container that has a health check; they end with its process.
    pub(super) fn probe_health(&self, entry: &Arc<Entry>, up: &Arc<Up>) {
        let Some(check) = entry.fixed.effective.health.clone() else { return };
        {
            // As with Docker, what the last run's probes said stays to be read.
            let mut record = entry.record();
            let log = record.life.health.take().map(|health| health.log).unwrap_or_default();
            record.life.health = Some(Health { status: "starting".to_owned(), failing_streak: 0, log });
        }
        let (engine, entry, up) = (self.clone(), entry.clone(), up.clone());
        self.spawn(async move {
            let begun = tokio::time::Instant::now();
            let mut starting = true;
            loop {
                let in_start_period = starting && begun.elapsed() < check.start_period;
                let pause = if in_start_period && !check.start_interval.is_zero() { check.start_interval } else { check.interval };
                tokio::select! {
                    () = up.probes.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                let probe = tokio::select! {
                    () = up.probes.cancelled() => return,
                    probe = engine.probe(&entry, &up, &check.argv, check.timeout) => probe,
                };
                let healthy = probe.exit_code == 0;
                let counts = healthy || !(starting && begun.elapsed() < check.start_period);
                starting &= !healthy;
                engine.note_probe(&entry, probe, counts, check.retries);
            }
        });
    }

    /// One probe.
    async fn probe(&self, entry: &Arc<Entry>, up: &Arc<Up>, argv: &[String], timeout: Duration) -> Probe {
        let start = Timestamp::now();
        let command = argv.join(" ");
        self.tell_container(entry, &format!("exec_create: {command}"), &[]);
        self.tell_container(entry, &format!("exec_start: {command}"), &[]);
        let (exit_code, output) = match tokio::time::timeout(timeout, self.run_probe(entry, up, argv)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => (-1, error.to_string()),
            Err(_) => (-1, format!("Health check exceeded timeout ({})", human(timeout))),
        };
        self.tell_container(entry, "exec_die", &[("exitCode", &exit_code.to_string())]);
        Probe { start, end: Timestamp::now(), exit_code, output }
    }

    async fn run_probe(&self, entry: &Arc<Entry>, up: &Arc<Up>, argv: &[String]) -> Result<(i32, String)> {
        let spec = ExecSpec { argv: argv.to_vec(), stdout: true, stderr: true, ..ExecSpec::default() };
        let plan = self.exec_plan(entry, up, &spec, None)?;
        let streams = Streams { stdin: false, stdout: true, stderr: true };
        let id = ExecId::random();
        let (session, attached) = up.shim.exec(&id, &plan, Some(streams)).await.map_err(|e| e.into_error())?;
        // Whoever gives up on this probe (a timeout, the container's end) must not leave its process behind.
        let pid = rustix::process::Pid::from_raw(session.pid).ok_or_else(|| Error::new(crate::Kind::Internal, "the probe has no pid"))?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
        let _guard = pidfd.ok().map(KillOnDrop);
        let mut attached = attached.ok_or_else(|| Error::new(crate::Kind::Internal, "the probe's output was not connected"))?;
        let mut output = Vec::new();
        while let Some(Ok(chunk)) = attached.output.next().await {
            debug_assert!(matches!(chunk.stream, StreamKind::Stdout | StreamKind::Stderr));
            let room = OUTPUT_KEPT.saturating_sub(output.len());
            output.extend_from_slice(&chunk.bytes[..chunk.bytes.len().min(room)]);
        }
        let exit = session.exited().await;
        Ok((exit.code, String::from_utf8_lossy(&output).into_owned()))
    }

    fn note_probe(&self, entry: &Arc<Entry>, probe: Probe, counts: bool, retries: u32) {
        let turned = {
            let mut record = entry.record();
            let health = record.life.health.get_or_insert_default();
            let before = health.status.clone();
            if probe.exit_code == 0 {
                health.failing_streak = 0;
                health.status = "healthy".to_owned();
            } else if counts {
                health.failing_streak += 1;
                if health.failing_streak >= retries {
                    health.status = "unhealthy".to_owned();
                }
            }
            health.log.push(probe);
            let surplus = health.log.len().saturating_sub(PROBES_KEPT);
            health.log.drain(..surplus);
            (before != health.status).then(|| health.status.clone())
        };
        if let Some(status) = turned {
            self.save_life_later(entry);
            self.tell_container(entry, &format!("health_status: {status}"), &[]);
        }
    }
}

/// Kills the process it holds when it is dropped before the end was seen.
struct KillOnDrop(std::os::fd::OwnedFd);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // A process that ended meanwhile is no error; a pidfd never means another one.
        let _ = crate::sys::fd::pidfd_signal(std::os::fd::AsFd::as_fd(&self.0), libc::SIGKILL);
    }
}

fn human(duration: Duration) -> String {
    if duration.subsec_millis() == 0 { format!("{}s", duration.as_secs()) } else { format!("{}ms", duration.as_millis()) }
}
