//! `wharf doctor`: what the host offers and lacks, asked of the running server or found out here.

use super::DoctorArgs;
use crate::config::{Config, Place, ServeOptions};
use anyhow::Context;
use engine::Instance;
use engine::host::{Gap, Host};
use std::process::ExitCode;

/// Prints the report. Fails when the server could not work here.
pub(super) async fn run(place: &Place, args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(place, ServeOptions::default())?;
    let instance = Instance::open(&config.data_root, &config.run_dir)?;
    let host = Host::probe(&instance)?;
    if args.format.json {
        println!("{:#}", serde_json::to_value(&host).context("writing the report")?);
    } else {
        print!("{}", text(&host));
    }
    let fatal = host.gaps.iter().any(|g| g.fatal);
    Ok(if fatal { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(host: &Host) -> String {
    let mut out = format!("kernel {}\n", host.kernel);
    for Gap { what, consequence, remedy, fatal } in &host.gaps {
        let mark = if *fatal { "FATAL" } else { "lacks" };
        out.push_str(&format!("{mark}  {what}\n       {consequence}\n       {remedy}\n"));
    }
    if host.gaps.is_empty() {
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
