//! A stage as it stands after each instruction, and the instructions that only change what it says of itself.

use super::builds::key;
use super::dockerfile::{Command, Instruction, Located, words};
use super::scope::{Given, env_value, set_env};
use crate::image::build::BuiltLayer;
use crate::image::{CachedStep, History, ImageConfig, Platform};
use crate::{Digest, Result, container};
use std::collections::BTreeMap;

/// A stage so far.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub config: ImageConfig,
    pub layers: Vec<BuiltLayer>,
    pub history: Vec<History>,
    pub author: String,
    pub platform: Platform,
    /// The image below everything.
    pub image: Digest,
    /// ARGs that were declared, in order.
    pub args: Vec<(String, Option<String>)>,
    /// When the newest of its files were made; `None`: there are none.
    pub created: Option<jiff::Timestamp>,
    /// Its steps, as an image carries them for later builds.
    pub cache: Vec<CachedStep>,
    /// Whether this stage said CMD: an ENTRYPOINT then leaves it.
    pub cmd_set: bool,
}

impl State {
    /// Nothing at all.
    pub fn scratch(platform: Platform) -> Self {
        let config = ImageConfig {
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            working_dir: "/".to_owned(),
            ..ImageConfig::default()
        };
        Self {
            config,
            layers: Vec::new(),
            history: Vec::new(),
            author: String::new(),
            platform,
            image: Digest::of(b""),
            args: Vec::new(),
            created: None,
            cache: Vec::new(),
            cmd_set: false,
        }
    }

    /// What a later step's key says of the files so far.
    pub fn chain(&self) -> String {
        let platform = self.platform.to_string();
        let layers: Vec<String> = self.layers.iter().map(|l| l.diff_id.to_string()).collect();
        let parts: Vec<&[u8]> = std::iter::once(platform.as_bytes()).chain(layers.iter().map(String::as_bytes)).collect();
        key(&parts)
    }

    /// Stands for all so far, for people.
    pub fn id(&self) -> Digest {
        let config = serde_json::to_vec(&self.config).unwrap_or_default();
        Digest::of(format!("{}{}{}", String::from_utf8_lossy(&config), self.chain(), self.history.len()).as_bytes())
    }

    /// A variable's value: ENV, then ARG.
    pub fn variable(&self, name: &str) -> Option<String> {
        env_value(&self.config.env, name).or_else(|| self.args.iter().rev().find(|(n, _)| n == name).and_then(|(_, v)| v.clone()))
    }

    /// A word with its variables.
    pub fn expand(&self, word: &str, escape: char) -> Result<String, String> {
        words::expand(word, escape, &|name: &str| self.variable(name))
    }

    /// The shell of shell forms.
    pub fn shell(&self) -> Vec<String> {
        self.config.shell.clone().filter(|s| !s.is_empty()).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()])
    }

    /// A path, absolute.
    pub fn absolute(&self, path: &str) -> String {
        let joined =
            if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.config.working_dir.trim_end_matches('/')) };
        let mut parts: Vec<&str> = Vec::new();
        for part in joined.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        format!("/{}", parts.join("/"))
    }

    fn argv(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(list) => list.clone(),
            Command::Shell(text) => self.shell().into_iter().chain([text.clone()]).collect(),
        }
    }

    /// ARGs as a RUN has them in its environment.
    pub fn arg_env(&self) -> Vec<(String, String)> {
        let mut out: Vec<(String, String)> = Vec::new();
        for (name, value) in &self.args {
            if env_value(&self.config.env, name).is_some() {
                continue;
            }
            out.retain(|(n, _)| n != name);
            if let Some(value) = value {
                out.push((name.clone(), value.clone()));
            }
        }
        out
    }

    /// What the history says of an instruction that changes no file, as dockerd writes it: variables expanded, words in one
    /// form whichever way they were written.
    pub fn said(&self, located: &Located, escape: char) -> String {
        let word = |word: &String| self.expand(word, escape).unwrap_or_else(|_| word.clone());
        let pairs = |name: &str, pairs: &[(String, String)]| {
            pairs.iter().fold(name.to_owned(), |text, (key, value)| format!("{text} {}={}", word(key), word(value)))
        };
        let quoted = |name: &str, command: &Command| {
            let words: Vec<String> = self.argv(command).iter().map(|w| format!("{w:?}")).collect();
            format!("{name} [{}]", words.join(" "))
        };
        match &located.instruction {
            Instruction::Env(list) => pairs("ENV", list),
            Instruction::Label(list) => pairs("LABEL", list),
            Instruction::Cmd(command) => quoted("CMD", command),
            Instruction::Entrypoint(command) => quoted("ENTRYPOINT", command),
            Instruction::Expose(words) => {
                let mut ports: Vec<String> =
                    words.iter().map(word).flat_map(|w| w.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
                ports.sort();
                format!("EXPOSE {}", ports.join(" "))
            }
            Instruction::Volume(list) => format!("VOLUME [{}]", list.iter().map(word).collect::<Vec<_>>().join(" ")),
            Instruction::Shell(list) => format!("SHELL [{}]", list.join(" ")),
            Instruction::User(name) => format!("USER {}", word(name)),
            Instruction::Stopsignal(name) => format!("STOPSIGNAL {}", word(name)),
            Instruction::Maintainer(name) => format!("MAINTAINER {name}"),
            _ => located.text.clone(),
        }
    }

    /// Adds to the history, as made when the files were; `layer`: whether a layer goes with it.
    pub fn remember(&mut self, epoch: Option<jiff::Timestamp>, created_by: String, layer: bool) {
        self.history.push(History { created: epoch.or(self.created), created_by, empty_layer: !layer, ..History::default() });
    }

    /// Carries out an instruction that changes no file. `None`: it is none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn declare(
        &mut self,
        instruction: &Instruction,
        given: &Given,
        global: &BTreeMap<String, String>,
        warn: &mut Vec<String>,
    ) -> Option<Result<(), String>> {
        let outcome = (|| -> Result<bool, String> {
            let escape = given.escape;
            // All words of one instruction see what was there before it.
            let before = self.clone();
            let expand = |word: &str| before.expand(word, escape);
            match instruction {
                Instruction::Arg(args) => {
                    for (name, default) in args {
                        let default = default.as_ref().map(|d| self.expand(d, escape)).transpose()?;
                        let value = given.declare(global, name, default);
                        self.args.push((name.clone(), value));
                    }
                }
                Instruction::Env(pairs) => {
                    for (name, value) in pairs {
                        set_env(&mut self.config.env, &expand(name)?, &expand(value)?);
                    }
                }
                Instruction::Label(pairs) => {
                    for (name, value) in pairs {
                        self.config.labels.insert(expand(name)?, expand(value)?);
                    }
                }
                Instruction::Cmd(command) => {
                    self.config.cmd = Some(self.argv(command));
                    self.cmd_set = true;
                }
                Instruction::Entrypoint(command) => {
                    self.config.entrypoint = Some(self.argv(command));
                    if !self.cmd_set {
                        self.config.cmd = None;
                    }
                }
                Instruction::Expose(words) => {
                    for word in words {
                        for port in expand(word)?.split_whitespace() {
                            for port in ports(port)? {
                                if !self.config.exposed_ports.contains(&port) {
                                    self.config.exposed_ports.push(port);
                                }
                            }
                        }
                    }
                    // They are a set: the order they are said in makes no other image.
                    self.config.exposed_ports.sort();
                }
                Instruction::Healthcheck(check) => self.config.healthcheck = Some(check.clone()),
                Instruction::Maintainer(name) => {
                    // Not expanded: dockerd never did.
                    self.author.clone_from(name);
                    warn.push("MAINTAINER has been deprecated: use a LABEL".to_owned());
                }
                Instruction::Onbuild(text) => self.config.on_build.push(text.clone()),
                Instruction::Shell(list) => self.config.shell = Some(list.clone()),
                Instruction::Stopsignal(word) => {
                    let word = expand(word)?;
                    word.parse::<container::effective::signal::Signal>().map_err(|e| e.to_string())?;
                    self.config.stop_signal = Some(word);
                }
                Instruction::User(word) => self.config.user = expand(word)?,
                Instruction::Volume(list) => {
                    for path in list {
                        let path = expand(path)?;
                        if path.trim().is_empty() {
                            return Err("VOLUME specified can not be an empty string".to_owned());
                        }
                        if !self.config.volumes.contains(&path) {
                            self.config.volumes.push(path);
                        }
                    }
                }
                Instruction::Run(_) | Instruction::Transfer(_) | Instruction::Workdir(_) => return Ok(false),
            }
            Ok(true)
        })();
        match outcome {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(e) => Some(Err(e)),
        }
    }
}

/// `80`, `80/udp`, `8000-8010`.
fn ports(text: &str) -> Result<Vec<container::ContainerPort>, String> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |t: &str| t.parse::<u16>().map_err(|_| format!("invalid containerPort: {text}"));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("invalid containerPort: {text}"));
    }
    (first..=last).map(|port| format!("{port}/{protocol}").parse().map_err(|e: crate::Error| e.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::dockerfile::Dockerfile;
    use super::*;

    /// The last stage of a file of declarations.
    fn state(text: &str, args: &[(&str, &str)]) -> Result<State, String> {
        let file = Dockerfile::parse(text.as_bytes()).unwrap();
        let args = args.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect();
        let given = Given::new(&args, &Platform::host(), "", '\\');
        let global = given.global(&file).map_err(|e| e.to_string())?;
        let mut state = State::scratch(Platform::host());
        for located in &file.stages[file.stages.len() - 1].instructions {
            state.declare(&located.instruction, &given, &global, &mut Vec::new()).expect(&located.text)?;
        }
        Ok(state)
    }

    fn label(text: &str, args: &[(&str, &str)]) -> String {
        state(&format!("{text}\nLABEL l=$V"), args).unwrap().config.labels.remove("l").unwrap()
    }

    #[test]
    fn scopes_of_variables() {
        // A global ARG is not seen until declared again.
        assert_eq!(label("ARG V=1\nFROM scratch", &[]), "");
        assert_eq!(label("ARG V=1\nFROM scratch\nARG V", &[]), "1");
        assert_eq!(label("ARG V=1\nFROM scratch\nARG V=2", &[]), "2");
        assert_eq!(label("ARG V=1\nFROM scratch\nARG V=2", &[("V", "3")]), "3");
        assert_eq!(label("FROM scratch\nARG V", &[("V", "3")]), "3");
        assert_eq!(label("FROM scratch", &[("V", "3")]), "");
        // ENV wins, before and after.
        assert_eq!(label("FROM scratch\nENV V=e\nARG V=a", &[("V", "3")]), "e");
        assert_eq!(label("FROM scratch\nARG V=a\nENV V=e", &[("V", "3")]), "e");
        assert_eq!(label("FROM scratch\nARG V=a\nENV V=${V}-x", &[]), "a-x");
        // All of one ENV sees what was before it.
        assert_eq!(label("FROM scratch\nENV V=1\nENV V=2 W=$V\nENV V=$W", &[]), "1");
        assert_eq!(label("ARG A=1\nARG V=$A-2\nFROM scratch\nARG V", &[]), "1-2");
        assert_eq!(label("FROM scratch\nARG TARGETOS\nARG V=$TARGETOS", &[]), "linux");
        assert_eq!(label("FROM scratch\nARG TARGETSTAGE\nARG V=$TARGETSTAGE", &[]), "default");
    }

    #[test]
    fn declarations() {
        let s = state(
            "FROM scratch\nSHELL [\"/bin/bash\", \"-c\"]\nCMD a\nENTRYPOINT [\"e\"]\nEXPOSE 80 53/udp 8000-8002\nVOLUME /v\nUSER u\nSTOPSIGNAL SIGINT\nONBUILD RUN x\nHEALTHCHECK CMD y",
            &[],
        )
        .unwrap();
        assert_eq!(s.config.cmd.as_deref(), Some(["/bin/bash".to_owned(), "-c".into(), "a".into()].as_slice()));
        assert_eq!((s.config.exposed_ports.len(), s.config.on_build.len()), (5, 1));
        // An ENTRYPOINT drops a CMD that came from below.
        let mut below = State::scratch(Platform::host());
        below.config.cmd = Some(vec!["base".into()]);
        let given = Given::new(&BTreeMap::new(), &Platform::host(), "", '\\');
        let entrypoint = Instruction::Entrypoint(Command::Exec(vec!["e".into()]));
        below.declare(&entrypoint, &given, &BTreeMap::new(), &mut Vec::new()).unwrap().unwrap();
        assert_eq!(below.config.cmd, None);
        for bad in ["EXPOSE 99999", "EXPOSE 9-8", "STOPSIGNAL SIGNOPE", "ENV a=${b", "USER ${x:?gone}", "VOLUME $nothing"] {
            assert!(state(&format!("FROM scratch\n{bad}"), &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_history_says_the_same_of_the_same() {
        let said = |text: &str| {
            let file = Dockerfile::parse(format!("FROM scratch\n{text}").as_bytes()).unwrap();
            let mut state = State::scratch(Platform::host());
            state.args.push(("V".into(), Some("v".into())));
            state.said(&file.stages[0].instructions[0], '\\')
        };
        for (text, expected) in [
            ("LABEL Vendor Acme", "LABEL Vendor=Acme"),
            ("LABEL Vendor=Acme", "LABEL Vendor=Acme"),
            ("ENV a=$V b=2", "ENV a=v b=2"),
            ("EXPOSE 80 2375", "EXPOSE 2375 80"),
            ("CMD [\"sh\", \"-c\", \"x\"]", "CMD [\"sh\" \"-c\" \"x\"]"),
            ("CMD x", "CMD [\"/bin/sh\" \"-c\" \"x\"]"),
            ("SHELL [\"foo\", \"-bar\"]", "SHELL [foo -bar]"),
            ("VOLUME /a /b", "VOLUME [/a /b]"),
            ("MAINTAINER \"a $V\"", "MAINTAINER \"a $V\""),
        ] {
            assert_eq!(said(text), expected);
        }
    }

    #[test]
    fn build_args_that_nobody_declared() {
        let file = Dockerfile::parse(b"ARG A\nFROM scratch AS one\nARG B\nFROM scratch\nARG C").unwrap();
        let args = ["A", "B", "C", "D", "http_proxy"].map(|n| (n.to_owned(), None)).into();
        let given = Given::new(&args, &Platform::host(), "", '\\');
        assert_eq!(given.unused(&file, &[0, 1]), ["D"]);
        assert_eq!(given.unused(&file, &[1]), ["B", "D"]);
    }

    #[test]
    fn paths_are_absolute() {
        let mut s = State::scratch(Platform::host());
        assert_eq!((s.absolute("a/../b"), s.absolute("/x/"), s.absolute("../..")), ("/b".into(), "/x".into(), "/".into()));
        s.config.working_dir = "/app".into();
        assert_eq!((s.absolute("."), s.absolute("b")), ("/app".into(), "/app/b".into()));
    }

    /// CVE-2024-24557: what a base image says of itself must not make another image's step be taken for this one's.
    #[test]
    fn sec_h5_keys_cover_all_layers_and_platform() {
        let layer = |n: u8| BuiltLayer { row: 1, blob: Digest::of(&[n]), diff_id: Digest::of(&[n]), size: 0, path: "/x".into() };
        let mut a = State::scratch(Platform::host());
        a.layers = vec![layer(1), layer(2)];
        let mut b = a.clone();
        b.layers.swap(0, 1);
        let mut c = a.clone();
        c.platform.architecture = "other".into();
        let mut d = a.clone();
        d.layers.pop();
        let chains = std::collections::HashSet::from([a.chain(), b.chain(), c.chain(), d.chain()]);
        assert_eq!(chains.len(), 4);
    }
}
