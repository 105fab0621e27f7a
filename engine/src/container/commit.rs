//! What a commit keeps of a container's configuration, and the Dockerfile lines that may change it.

use super::record::Entry;
use super::spec::{ContainerPort, ContainerSpec, Healthcheck};
use crate::image::ImageConfig;
use crate::{Error, Result};
use std::time::Duration;

/// The image configuration of a container: what its image had, over it what the container was made with, and over both what
/// the request for the commit brings.
pub(super) fn config(entry: &Entry, asked: Option<&ContainerSpec>) -> ImageConfig {
    let mut config = ImageConfig::clone(&entry.fixed.image_config);
    for spec in [&*entry.fixed.spec].into_iter().chain(asked) {
        lay_over(&mut config, spec);
    }
    if config.cmd.is_none() && config.entrypoint.is_none() {
        config.cmd = Some(entry.fixed.effective.process.argv.clone());
    }
    config
}

fn lay_over(config: &mut ImageConfig, spec: &ContainerSpec) {
    config.env = merge_env(&config.env, &spec.env);
    if !spec.user.is_empty() {
        config.user = spec.user.clone();
    }
    if !spec.working_dir.is_empty() {
        config.working_dir = spec.working_dir.clone();
    }
    if spec.cmd.is_some() || spec.entrypoint.is_some() {
        config.cmd = spec.cmd.clone();
    }
    if let Some(entrypoint) = &spec.entrypoint {
        config.entrypoint = (!entrypoint.is_empty()).then(|| entrypoint.clone());
    }
    config.labels.extend(spec.labels.clone());
    for volume in &spec.volumes {
        if !config.volumes.contains(volume) {
            config.volumes.push(volume.clone());
        }
    }
    for port in &spec.exposed_ports {
        if !config.exposed_ports.contains(port) {
            config.exposed_ports.push(*port);
        }
    }
    if spec.stop_signal.is_some() {
        config.stop_signal = spec.stop_signal.clone();
    }
    if spec.healthcheck.is_some() {
        config.healthcheck = spec.healthcheck.clone();
    }
}

/// `NAME=value` over `NAME=value`; a bare `NAME` removes one.
fn merge_env(below: &[String], above: &[String]) -> Vec<String> {
    let mut env = below.to_vec();
    for entry in above {
        let name = entry.split('=').next().unwrap_or(entry);
        let place = env.iter().position(|e| e.split('=').next() == Some(name));
        match (entry.contains('='), place) {
            (true, Some(i)) => env[i] = entry.clone(),
            (true, None) => env.push(entry.clone()),
            (false, Some(i)) => drop(env.remove(i)),
            (false, None) => {}
        }
    }
    env
}

/// Applies `--change` lines: the Dockerfile instructions that only touch the configuration.
///
/// # Errors
/// `Invalid` naming the line.
pub(crate) fn apply_changes(config: &mut ImageConfig, changes: &[String]) -> Result<()> {
    for line in changes.iter().flat_map(|c| c.lines()).map(str::trim).filter(|l| !l.is_empty()) {
        let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let bad = |what: &str| Error::invalid(format!("invalid change {line:?}: {what}"));
        if rest.is_empty() {
            return Err(bad("it needs an argument"));
        }
        match instruction.to_ascii_uppercase().as_str() {
            "CMD" => config.cmd = Some(command(rest)),
            "ENTRYPOINT" => config.entrypoint = Some(command(rest)),
            "ENV" => {
                for (name, value) in pairs(rest).map_err(|w| bad(&w))? {
                    let before = config.env.clone();
                    let variable = |wanted: &str| {
                        before.iter().filter_map(|e| e.split_once('=')).find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
                    };
                    let value = crate::build::dockerfile::words::expand_document(&value, '\\', &variable).map_err(|w| bad(&w))?;
                    config.env = merge_env(&config.env, &[format!("{name}={value}")]);
                }
            }
            "LABEL" => config.labels.extend(pairs(rest).map_err(|w| bad(&w))?),
            "USER" => config.user = rest.to_owned(),
            "WORKDIR" => {
                config.working_dir =
                    if rest.starts_with('/') { rest.to_owned() } else { format!("{}/{rest}", config.working_dir.trim_end_matches('/')) }
            }
            "EXPOSE" => {
                for word in rest.split_whitespace() {
                    let port: ContainerPort = word.parse()?;
                    if !config.exposed_ports.contains(&port) {
                        config.exposed_ports.push(port);
                    }
                }
            }
            "VOLUME" => {
                let paths =
                    serde_json::from_str::<Vec<String>>(rest).unwrap_or_else(|_| rest.split_whitespace().map(str::to_owned).collect());
                for path in paths {
                    if !config.volumes.contains(&path) {
                        config.volumes.push(path);
                    }
                }
            }
            "STOPSIGNAL" => {
                rest.parse::<super::effective::signal::Signal>()?;
                config.stop_signal = Some(rest.to_owned());
            }
            "ONBUILD" => config.on_build.push(rest.to_owned()),
            "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest).map_err(|w| bad(&w))?),
            other => return Err(bad(&format!("{other} is not a valid change command"))),
        }
    }
    Ok(())
}

/// JSON form or shell form.
fn command(rest: &str) -> Vec<String> {
    match serde_json::from_str::<Vec<String>>(rest) {
        Ok(words) => words,
        Err(_) => vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()],
    }
}

/// `a=1 b="two words"`, or the old `name value`.
fn pairs(rest: &str) -> std::result::Result<Vec<(String, String)>, String> {
    let words = words(rest)?;
    if !words.first().is_some_and(|w| w.contains('=')) {
        let (name, value) = rest.split_once(char::is_whitespace).ok_or("expected name=value")?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words
        .into_iter()
        .map(|word| {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is not name=value"))?;
            if name.is_empty() { Err("a name is empty".to_owned()) } else { Ok((name.to_owned(), value.to_owned())) }
        })
        .collect()
}

fn words(text: &str) -> std::result::Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

fn healthcheck(rest: &str) -> std::result::Result<Healthcheck, String> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).ok_or("it ends after an option")?;
        let (name, value) = option.split_once('=').ok_or_else(|| format!("--{option} has no value"))?;
        let duration = || {
            value
                .parse::<jiff::SignedDuration>()
                .ok()
                .and_then(|d| Duration::try_from(d).ok())
                .ok_or_else(|| format!("invalid duration {value:?}"))
        };
        match name {
            "interval" => check.interval = duration()?,
            "timeout" => check.timeout = duration()?,
            "start-period" => check.start_period = duration()?,
            "start-interval" => check.start_interval = duration()?,
            "retries" => check.retries = value.parse().map_err(|_| format!("invalid retries {value:?}"))?,
            _ => return Err(format!("unknown option --{name}")),
        }
        rest = after.trim_start();
    }
    check.test = match rest.split_once(char::is_whitespace) {
        _ if rest.eq_ignore_ascii_case("NONE") => vec!["NONE".to_owned()],
        Some((cmd, test)) if cmd.eq_ignore_ascii_case("CMD") => match serde_json::from_str::<Vec<String>>(test.trim()) {
            Ok(argv) => std::iter::once("CMD".to_owned()).chain(argv).collect(),
            Err(_) => vec!["CMD-SHELL".to_owned(), test.trim().to_owned()],
        },
        _ => return Err("expected NONE or CMD and a command".to_owned()),
    };
    Ok(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(lines: &[&str]) -> Result<ImageConfig> {
        let mut config = ImageConfig { env: vec!["A=1".to_owned()], working_dir: "/w".to_owned(), ..ImageConfig::default() };
        let lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
        apply_changes(&mut config, &lines).map(|()| config)
    }

    #[test]
    fn changes_are_dockerfile_lines() {
        let config = changed(&[
            "ENV A=2 B=\"two words\"",
            "env C three",
            "CMD [\"a\", \"b\"]",
            "ENTRYPOINT run it",
            "LABEL x=1 'y z'=2",
            "WORKDIR sub",
            "EXPOSE 80 53/udp",
            "VOLUME [\"/data\"]",
            "USER 5:6",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN x",
            "HEALTHCHECK --interval=5s --retries=2 CMD test -f /x",
        ])
        .unwrap();
        assert_eq!(config.env, ["A=2", "B=two words", "C=three"]);
        assert_eq!(config.cmd.unwrap(), ["a", "b"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "run it"]);
        assert_eq!((config.labels["x"].as_str(), config.labels["y z"].as_str()), ("1", "2"));
        assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/w/sub", "5:6"));
        assert_eq!(config.exposed_ports.len(), 2);
        let check = config.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries, check.test[0].as_str()), (Duration::from_secs(5), 2, "CMD-SHELL"));
    }

    #[test]
    fn a_request_adds_to_the_container_and_does_not_replace_it() {
        let port = |p: &str| p.parse::<ContainerPort>().unwrap();
        let container = ContainerSpec {
            cmd: Some(vec!["sleep".into(), "1".into()]),
            exposed_ports: vec![port("80/tcp")],
            volumes: vec!["/anon".into()],
            stop_signal: Some("SIGTERM".into()),
            healthcheck: Some(Healthcheck { test: vec!["CMD-SHELL".into(), "true".into()], ..Healthcheck::default() }),
            ..ContainerSpec::default()
        };
        let asked = ContainerSpec { labels: [("a".to_owned(), "b".to_owned())].into(), user: "5".into(), ..ContainerSpec::default() };
        let mut config = ImageConfig { user: "1".into(), ..ImageConfig::default() };
        lay_over(&mut config, &container);
        lay_over(&mut config, &asked);
        assert_eq!((config.cmd, config.user.as_str()), (container.cmd, "5"));
        assert_eq!((config.exposed_ports, config.volumes), (container.exposed_ports, container.volumes));
        assert_eq!((config.stop_signal, config.healthcheck), (container.stop_signal, container.healthcheck));
        assert_eq!(config.labels["a"], "b");
    }

    #[test]
    fn bad_changes_are_named() {
        for bad in ["RUN x", "CMD", "ENV A", "EXPOSE x", "LABEL \"a", "HEALTHCHECK --interval CMD x", "STOPSIGNAL NOPE", "FOO bar"] {
            assert!(changed(&[bad]).is_err(), "{bad}");
        }
    }
}
