//! Execs, in both directions.

use super::network::console_size;
use crate::docker::fields::Fields;
use engine::container::request::{ExecSpec, ExecView};
use engine::{Error, Result};
use serde_json::{Value, json};

/// Reads `POST /containers/{id}/exec`.
pub fn create(body: Value) -> Result<ExecSpec> {
    let mut f = Fields::of("", body)?;
    let spec = ExecSpec {
        argv: f.words_or_absent("Cmd")?.unwrap_or_default(),
        env: f.texts("Env")?,
        user: f.text("User")?,
        working_dir: f.text("WorkingDir")?,
        tty: f.flag("Tty")?,
        stdin: f.flag("AttachStdin")?,
        stdout: f.flag("AttachStdout")?,
        stderr: f.flag("AttachStderr")?,
        privileged: f.flag("Privileged")?,
        detach_keys: f.text_or_absent("DetachKeys")?.filter(|keys| !keys.is_empty()),
        console_size: console_size(&mut f)?,
    };
    // Old clients repeat here what they say at start.
    f.legacy(&["Detach", "Container"]);
    f.finish()?;
    if spec.argv.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    Ok(spec)
}

/// What `POST /exec/{id}/start` asks.
#[derive(Debug, Default, PartialEq)]
pub struct Start {
    /// Do not attach.
    pub detach: bool,
    /// The client takes the stream as a terminal's.
    pub tty: bool,
    /// Rows and columns.
    pub console_size: Option<(u16, u16)>,
}

/// Reads `POST /exec/{id}/start`.
pub fn start(body: Value) -> Result<Start> {
    let mut f = Fields::of("", body)?;
    let start = Start { detach: f.flag("Detach")?, tty: f.flag("Tty")?, console_size: console_size(&mut f)? };
    // docker-compose 1 sends the whole create request again, dockerode and bollard options of their own.
    f.legacy(&[
        "OutputCapacity",
        "hijack",
        "stdin",
        "AttachStdin",
        "AttachStdout",
        "AttachStderr",
        "Cmd",
        "Env",
        "User",
        "Privileged",
        "DetachKeys",
        "WorkingDir",
    ]);
    f.finish()?;
    Ok(start)
}

/// An exec as inspect shows it.
pub fn exec(view: &ExecView) -> Value {
    let spec = &view.spec;
    json!({
        "ID": view.id.as_str(),
        "Running": view.running,
        "ExitCode": view.exit_code,
        "ProcessConfig": {
            "tty": spec.tty,
            "entrypoint": spec.argv.first().map(String::as_str).unwrap_or_default(),
            "arguments": spec.argv.get(1..).unwrap_or_default(),
            "privileged": spec.privileged,
            "user": spec.user,
        },
        "OpenStdin": spec.stdin,
        "OpenStderr": spec.stderr,
        "OpenStdout": spec.stdout,
        "CanRemove": view.can_remove,
        "ContainerID": view.container.as_str(),
        "DetachKeys": spec.detach_keys.as_deref().unwrap_or_default(),
        "Pid": view.pid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn execs() {
        let spec = create(json!({
            "User": "", "Privileged": false, "Tty": true, "AttachStdin": true, "AttachStderr": true, "AttachStdout": true,
            "Detach": false, "DetachKeys": "", "Env": null, "WorkingDir": "", "Cmd": ["sh"], "ConsoleSize": [24, 80],
        }))
        .unwrap();
        assert_eq!((spec.console_size, spec.detach_keys), (Some((24, 80)), None));
        assert_eq!(create(json!({"Cmd": []})).unwrap_err().to_string(), "No exec command specified");
        assert!(create(json!({"Cmd": ["a"], "CapAdd": ["ALL"]})).is_err());
        assert_eq!(start(json!({"Detach": true, "ConsoleSize": null})).unwrap(), Start { detach: true, ..Start::default() });
        assert_eq!(start(Value::Null).unwrap(), Start::default());
    }
}
