//! `wharf doctor`: what the host offers and lacks, asked of the running server or found out here.

use super::DoctorArgs;
use super::door::Door;
use crate::config::{Config, Place, ServeOptions};
use anyhow::Context;
use engine::Instance;
use engine::host::Host;
use http::Method;
use serde_json::Value;
use std::process::ExitCode;

/// Prints the report. Fails when the server could not work here.
pub(super) async fn run(place: &Place, args: DoctorArgs) -> anyhow::Result<ExitCode> {
    if args.orphans {
        return orphans(place, args.format.json).await;
    }
    let config = Config::load(place, ServeOptions::default())?;
    let report = if tokio::net::UnixStream::connect(&config.socket).await.is_ok() {
        Door::open(place).await?.ask(Method::GET, "/api/v1/doctor", None).await?
    } else {
        let instance = Instance::open(&config.data_root, &config.run_dir)?;
        serde_json::to_value(Host::probe(&instance)?).context("writing the report")?
    };
    if args.format.json {
        println!("{report:#}");
    } else {
        print!("{}", text(&report));
    }
    let fatal = gaps(&report).any(|g| g["fatal"] == true);
    Ok(if fatal { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints what nobody owns, and how much that is. Fails when there is any.
async fn orphans(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    let found = Door::open(place).await?.ask(Method::GET, "/api/v1/doctor/orphans", None).await?;
    let list = found.as_array().cloned().unwrap_or_default();
    if json {
        println!("{found:#}");
    } else {
        for orphan in &list {
            println!("{} {}", orphan["kind"].as_str().unwrap_or_default(), orphan["name"].as_str().unwrap_or_default());
        }
        println!("{}", list.len());
    }
    Ok(if list.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn gaps(report: &Value) -> impl Iterator<Item = &Value> {
    report["gaps"].as_array().into_iter().flatten()
}

fn text(report: &Value) -> String {
    let word = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let mut out = String::new();
    // Facts first, each on its line; what is nested is for --json.
    for (name, fact) in report.as_object().into_iter().flatten() {
        match fact {
            Value::String(text) => out.push_str(&format!("{}: {text}\n", name.replace('_', " "))),
            Value::Number(_) | Value::Bool(_) => out.push_str(&format!("{}: {fact}\n", name.replace('_', " "))),
            _ => {}
        }
    }
    for gap in gaps(report) {
        let mark = if gap["fatal"] == true { "FATAL" } else { "lacks" };
        out.push_str(&format!("{mark}  {}\n       {}\n       {}\n", word(&gap["what"]), word(&gap["consequence"]), word(&gap["remedy"])));
    }
    if gaps(report).next().is_none() {
        out.push_str("nothing is missing\n");
    }
    out
}

/// Prints a systemd unit that runs this program as it was found.
pub(super) fn unit(place: &Place) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("asking where this program lies")?;
    let mut command = format!("{} serve", program.display());
    for (flag, value) in
        [("--config", &place.config), ("--data-root", &place.data_root), ("--run-dir", &place.run_dir), ("--socket", &place.socket)]
    {
        if let Some(value) = value {
            command.push_str(&format!(" {flag} {}", value.display()));
        }
    }
    // KillMode=process: containers outlive the server. Delegate: their cgroups are ours to make.
    print!(
        "[Unit]\n\
         Description=Wharf container platform\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart={command}\n\
         ExecReload=/bin/kill -HUP $MAINPID\n\
         KillMode=process\n\
         Delegate=yes\n\
         Restart=always\n\
         RestartSec=2\n\
         OOMScoreAdjust=-500\n\
         LimitNOFILE=1048576\n\
         LimitNPROC=infinity\n\
         TasksMax=infinity\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    );
    Ok(ExitCode::SUCCESS)
}
