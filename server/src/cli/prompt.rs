//! Passwords from standard input: a pipe's first line, or typed twice without echo.

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcsetattr};
use std::io::{Read, Write};

/// All of a pipe without its last line end.
pub(super) fn from_pipe() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text).context("reading the password from standard input")?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    if text.is_empty() {
        bail!("standard input held no password");
    }
    Ok(text.to_owned())
}

/// Asks twice at a terminal.
pub(super) fn twice(name: &str) -> anyhow::Result<String> {
    if !isatty(std::io::stdin()) {
        bail!("no password: use --password-stdin, or run this at a terminal");
    }
    let first = hidden(&format!("Password for {name}: "))?;
    if hidden("The same again: ")? != first {
        bail!("the two are not the same");
    }
    Ok(first)
}

fn hidden(question: &str) -> anyhow::Result<String> {
    eprint!("{question}");
    std::io::stderr().flush()?;
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    // First the terminal as it was, then whatever went wrong.
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    eprintln!();
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
