//! What runs: entry point and command, environment, working directory, resource limits, health probe.

use super::text::{clean_path, no_nul};
use super::{Defaults, HealthProbe, Process, user};
use crate::container::spec::{ContainerSpec, Healthcheck, Ulimit};
use crate::image::ImageConfig;
use crate::{Error, Result};
use std::time::Duration;

/// Docker's, for images that set none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Resource limits by name (getrlimit(2)).
const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// The process, with the image's part merged in.
pub(super) fn process(spec: &ContainerSpec, image: &ImageConfig, defaults: &Defaults, ids: user::Ids) -> Result<Process> {
    let argv = argv(spec, image)?;
    no_nul("command", &argv)?;
    let user = if spec.user.is_empty() { &image.user } else { &spec.user };
    user::check_user(user, ids)?;
    for group in &spec.host.group_add {
        user::check_user(group, ids)?;
    }
    let adj = spec.host.oom_score_adj;
    let oom_score_adj = i32::try_from(adj).ok().filter(|a| (-1000..=1000).contains(a));
    Ok(Process {
        argv,
        env: env(spec, image)?,
        working_dir: working_dir(spec, image)?,
        user: user.clone(),
        extra_groups: spec.host.group_add.clone(),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        stdin_once: spec.stdin_once,
        console_size: spec.host.console_size,
        init: spec.host.init.unwrap_or(defaults.init),
        rlimits: rlimits(&spec.host.resources.ulimits, &defaults.ulimits)?,
        oom_score_adj: oom_score_adj
            .ok_or_else(|| Error::invalid(format!("Invalid value {adj}, range for oom score adj is [-1000, 1000]")))?,
    })
}

/// The image's command counts only where the client gave neither entry point nor command; `[""]` and `[]` clear an entry point.
fn argv(spec: &ContainerSpec, image: &ImageConfig) -> Result<Vec<String>> {
    let none = Vec::new();
    let asked_entrypoint = spec.entrypoint.as_deref();
    let asked_cmd = spec.cmd.as_deref().unwrap_or_default();
    // `--entrypoint ""` comes as an empty one beside a command that is empty on purpose.
    let cleared = asked_entrypoint.is_some_and(|e| e == [""] || e.is_empty() && spec.cmd.as_ref().is_some_and(Vec::is_empty));
    let cmd = if !cleared && asked_entrypoint.is_none_or(<[String]>::is_empty) && asked_cmd.is_empty() {
        image.cmd.as_deref().unwrap_or_default()
    } else {
        asked_cmd
    };
    let entrypoint = match asked_entrypoint {
        Some(_) if cleared => &none,
        Some(entrypoint) => entrypoint,
        None => image.entrypoint.as_deref().unwrap_or_default(),
    };
    let argv: Vec<String> = entrypoint.iter().chain(cmd).cloned().collect();
    if argv.is_empty() { Err(Error::invalid("no command specified")) } else { Ok(argv) }
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

/// Docker's order: PATH, HOSTNAME, TERM; the client's; those of the image whose names the client did not use. A later value takes an earlier one's
/// place; a name without `=` takes it away.
fn env(spec: &ContainerSpec, image: &ImageConfig) -> Result<Vec<String>> {
    let mut env = vec![PATH.to_owned()];
    if !spec.hostname.is_empty() {
        env.push(format!("HOSTNAME={}", spec.hostname));
    }
    if spec.tty {
        env.push("TERM=xterm".to_owned());
    }
    let from_image = image.env.iter().filter(|e| !spec.env.iter().any(|c| name_of(c) == name_of(e)));
    for entry in spec.env.iter().chain(from_image) {
        let name = name_of(entry);
        if name.is_empty() {
            return Err(Error::invalid(format!("invalid environment variable: {entry}")));
        }
        let place = env.iter().position(|e| name_of(e) == name);
        match (place, entry.contains('=')) {
            (Some(i), true) => entry.clone_into(&mut env[i]),
            (Some(i), false) => drop(env.remove(i)),
            (None, true) => env.push(entry.clone()),
            (None, false) => {}
        }
    }
    no_nul("environment variable", &env)?;
    Ok(env)
}

fn working_dir(spec: &ContainerSpec, image: &ImageConfig) -> Result<String> {
    let text = if spec.working_dir.is_empty() { &image.working_dir } else { &spec.working_dir };
    if text.is_empty() {
        return Ok("/".to_owned());
    }
    clean_path(text).ok_or_else(|| Error::invalid(format!("the working directory '{text}' is invalid, it needs to be an absolute path")))
}

fn rlimits(asked: &[Ulimit], defaults: &[Ulimit]) -> Result<Vec<Ulimit>> {
    let mut limits = defaults.to_vec();
    for limit in asked {
        let Ulimit { name, soft, hard } = limit;
        if !ULIMITS.contains(&name.as_str()) {
            return Err(Error::invalid(format!("invalid ulimit type: {name}")));
        }
        if *soft < -1 || *hard < -1 {
            return Err(Error::invalid(format!("invalid ulimit {name}: -1 (unlimited) is the least")));
        }
        if *hard != -1 && (*soft == -1 || soft > hard) {
            return Err(Error::invalid(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")));
        }
        match limits.iter_mut().find(|l| l.name == *name) {
            Some(known) => known.clone_from(limit),
            None => limits.push(limit.clone()),
        }
    }
    Ok(limits)
}

/// The health check, the client's fields over the image's.
pub(super) fn health(spec: &ContainerSpec, image: &ImageConfig, warnings: &mut Vec<String>) -> Result<Option<HealthProbe>> {
    let shown = match (&spec.healthcheck, &image.healthcheck) {
        (None, None) => return Ok(None),
        (Some(check), None) | (None, Some(check)) => check.clone(),
        (Some(asked), Some(image)) => {
            let or = |a: Duration, b: Duration| if a.is_zero() { b } else { a };
            Healthcheck {
                test: if asked.test.is_empty() { image.test.clone() } else { asked.test.clone() },
                interval: or(asked.interval, image.interval),
                timeout: or(asked.timeout, image.timeout),
                start_period: or(asked.start_period, image.start_period),
                start_interval: or(asked.start_interval, image.start_interval),
                retries: if asked.retries == 0 { image.retries } else { asked.retries },
            }
        }
    };
    for (what, duration) in [
        ("Interval", shown.interval),
        ("Timeout", shown.timeout),
        ("StartPeriod", shown.start_period),
        ("StartInterval", shown.start_interval),
    ] {
        if !duration.is_zero() && duration < Duration::from_millis(1) {
            return Err(Error::invalid(format!("{what} in Healthcheck cannot be less than 1ms")));
        }
    }
    let argv: Vec<String> = match &shown.test[..] {
        [] => return Ok(None),
        [kind, ..] if kind == "NONE" => return Ok(None),
        [kind, argv @ ..] if kind == "CMD" && !argv.is_empty() => argv.to_vec(),
        [kind, command @ ..] if kind == "CMD-SHELL" && !command.is_empty() => {
            let default = ["/bin/sh".to_owned(), "-c".to_owned()];
            let shell = spec.shell.as_deref().or(image.shell.as_deref()).filter(|s| !s.is_empty()).unwrap_or(&default);
            shell.iter().cloned().chain([command.join(" ")]).collect()
        }
        [kind] if matches!(kind.as_str(), "CMD" | "CMD-SHELL") => {
            return Err(Error::invalid(format!("invalid health check test [{kind:?}]: expected a command after it")));
        }
        // dockerd takes these and tells its own log.
        other => {
            warnings.push(format!("The health check {other:?} is not run: expected NONE, CMD or CMD-SHELL with a command."));
            return Ok(None);
        }
    };
    no_nul("health check", &argv)?;
    let or = |d: Duration, default: u64| if d.is_zero() { Duration::from_secs(default) } else { d };
    Ok(Some(HealthProbe {
        argv,
        interval: or(shown.interval, 30),
        timeout: or(shown.timeout, 30),
        start_period: shown.start_period,
        start_interval: or(shown.start_interval, 5),
        retries: if shown.retries == 0 { 3 } else { shown.retries },
        shown,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn entry_point_and_command_as_docker_merges_them() {
        type Given<'a> = Option<&'a [&'a str]>;
        type Case<'a> = (Given<'a>, Given<'a>, Given<'a>, Given<'a>, Given<'a>);
        let cases: [Case; 10] = [
            (None, None, Some(&["/e"]), Some(&["c"]), Some(&["/e", "c"])),
            (None, Some(&["x"]), Some(&["/e"]), Some(&["c"]), Some(&["/e", "x"])),
            (Some(&["/f"]), None, Some(&["/e"]), Some(&["c"]), Some(&["/f"])),
            (Some(&["/f"]), Some(&["x"]), Some(&["/e"]), Some(&["c"]), Some(&["/f", "x"])),
            (Some(&[]), None, Some(&["/e"]), Some(&["c"]), Some(&["c"])),
            (Some(&[""]), None, Some(&["/e"]), Some(&["c"]), None),
            (Some(&[""]), Some(&["x"]), Some(&["/e"]), Some(&["c"]), Some(&["x"])),
            (None, Some(&[]), None, Some(&["c"]), Some(&["c"])),
            (None, None, None, None, None),
            (None, Some(&["x"]), None, None, Some(&["x"])),
        ];
        for (entrypoint, cmd, image_entrypoint, image_cmd, expected) in cases {
            let spec = ContainerSpec { entrypoint: entrypoint.map(list), cmd: cmd.map(list), ..ContainerSpec::default() };
            let image = ImageConfig { entrypoint: image_entrypoint.map(list), cmd: image_cmd.map(list), ..ImageConfig::default() };
            match (argv(&spec, &image), expected) {
                (Ok(argv), Some(expected)) => assert_eq!(argv, list(expected)),
                (Err(e), None) => assert_eq!(e.to_string(), "no command specified"),
                (got, expected) => panic!("{got:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn the_environment_in_dockers_order() {
        let spec = ContainerSpec {
            env: list(&["A=1", "PATH=/x", "GONE", "B=2\nC=3", "TERM"]),
            tty: true,
            hostname: "h".into(),
            ..ContainerSpec::default()
        };
        let image = ImageConfig { env: list(&["I=0", "A=0", "GONE=1", "PATH=/image"]), ..ImageConfig::default() };
        assert_eq!(env(&spec, &image).unwrap(), list(&["PATH=/x", "HOSTNAME=h", "A=1", "B=2\nC=3", "I=0"]));
        assert_eq!(env(&ContainerSpec::default(), &image).unwrap(), list(&["PATH=/image", "I=0", "A=0", "GONE=1"]));
        for bad in ["=x", "", "A=\0"] {
            let spec = ContainerSpec { env: list(&[bad]), ..ContainerSpec::default() };
            assert!(env(&spec, &ImageConfig::default()).unwrap_err().to_string().starts_with("invalid environment variable"), "{bad:?}");
        }
    }

    #[test]
    fn limits_take_the_defaults_place() {
        let limit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
        let defaults = [limit("nofile", 1024, 4096), limit("core", 0, -1)];
        assert_eq!(
            rlimits(&[limit("nofile", 10, 20), limit("nproc", 5, -1)], &defaults).unwrap(),
            [limit("nofile", 10, 20), limit("core", 0, -1), limit("nproc", 5, -1)]
        );
        for bad in [limit("nope", 1, 1), limit("nofile", 2, 1), limit("nofile", -1, 1), limit("nofile", -2, -2)] {
            assert!(rlimits(std::slice::from_ref(&bad), &defaults).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn health_checks_are_merged_by_field() {
        let image = ImageConfig {
            healthcheck: Some(Healthcheck { test: list(&["CMD-SHELL", "curl -f x || exit 1"]), retries: 7, ..Healthcheck::default() }),
            shell: Some(list(&["/bin/bash", "-ec"])),
            ..ImageConfig::default()
        };
        let asked = Healthcheck { interval: Duration::from_secs(1), ..Healthcheck::default() };
        let spec = ContainerSpec { healthcheck: Some(asked), ..ContainerSpec::default() };
        let mut warnings = Vec::new();
        let probe = health(&spec, &image, &mut warnings).unwrap().unwrap();
        assert_eq!(probe.argv, list(&["/bin/bash", "-ec", "curl -f x || exit 1"]));
        assert_eq!((probe.interval.as_secs(), probe.timeout.as_secs(), probe.start_interval.as_secs(), probe.retries), (1, 30, 5, 7));
        let none = ContainerSpec {
            healthcheck: Some(Healthcheck { test: list(&["NONE"]), ..Healthcheck::default() }),
            ..ContainerSpec::default()
        };
        assert_eq!(health(&none, &image, &mut warnings).unwrap(), None);
        for bad in [&["CMD"][..], &["CMD-SHELL"]] {
            let spec =
                ContainerSpec { healthcheck: Some(Healthcheck { test: list(bad), ..Healthcheck::default() }), ..ContainerSpec::default() };
            assert!(health(&spec, &ImageConfig::default(), &mut warnings).is_err());
        }
        let odd = ContainerSpec {
            healthcheck: Some(Healthcheck { test: list(&["true"]), ..Healthcheck::default() }),
            ..ContainerSpec::default()
        };
        assert!(warnings.is_empty() && health(&odd, &image, &mut warnings).unwrap().is_none() && warnings.len() == 1);
        let quick = Healthcheck { test: list(&["CMD", "x"]), timeout: Duration::from_micros(1), ..Healthcheck::default() };
        let spec = ContainerSpec { healthcheck: Some(quick), ..ContainerSpec::default() };
        assert_eq!(health(&spec, &image, &mut warnings).unwrap_err().to_string(), "Timeout in Healthcheck cannot be less than 1ms");
    }
}
