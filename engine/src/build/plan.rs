//! Which stages are needed, and in which order: those that the target is built on, copies from or mounts, and no others.

use super::client::NamedContext;
use super::dockerfile::{Dockerfile, Instruction, Located};
use crate::image::Reference;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Named contexts by name: they come before stages and images of that name.
pub(super) type Contexts = BTreeMap<String, NamedContext>;

/// What is below a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image.
    Image(String),
    /// A folder, by the name of its context.
    Folder(String),
}

/// The stages to build.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// Indices in the file, in order; the target is the last.
    pub order: Vec<usize>,
    /// What is below each stage of the file.
    pub bases: Vec<Base>,
}

/// Where a `--from` leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    /// A stage.
    Stage(usize),
    /// An image.
    Image(String),
    /// A folder, by the name of its context.
    Folder(String),
}

/// What a name stands for among the named contexts: by itself, or as the image reference it is.
pub(super) fn named<'a>(contexts: &'a Contexts, name: &str) -> Option<(&'a str, &'a NamedContext)> {
    let whole = |name: &str| name.parse::<Reference>().map(|r| r.or_latest().canonical()).ok();
    let lower = name.to_ascii_lowercase();
    let found = contexts.iter().find(|(key, _)| key.to_ascii_lowercase() == lower);
    let found = found.or_else(|| {
        let wanted = whole(name)?;
        contexts.iter().find(|(key, _)| whole(key).as_ref() == Some(&wanted))
    });
    found.map(|(key, context)| (key.as_str(), context))
}

/// What `--from` of an instruction in stage `here` means.
///
/// # Errors
/// `Invalid` when it is the stage itself or one that comes later.
pub(super) fn from(file: &Dockerfile, here: usize, text: &str, contexts: &Contexts) -> Result<From> {
    match named(contexts, text) {
        Some((_, NamedContext::Image(image))) => return Ok(From::Image(image.clone())),
        Some((name, NamedContext::Folder(_) | NamedContext::Remote(_))) => return Ok(From::Folder(name.to_owned())),
        None => {}
    }
    let lower = text.to_ascii_lowercase();
    let by_name = file.stages.iter().position(|s| s.name.as_ref() == Some(&lower));
    let stage = match (by_name, text.parse::<usize>()) {
        (Some(stage), _) => stage,
        (None, Ok(stage)) if stage < file.stages.len() => stage,
        (None, Ok(_)) => return Err(Error::invalid(format!("invalid from flag value {text}: no such build stage"))),
        (None, Err(_)) => return Ok(From::Image(text.to_owned())),
    };
    // A name that a later stage has is an image's until then.
    if stage >= here {
        return match text.parse::<usize>() {
            Ok(_) => Err(Error::invalid(format!("invalid from flag value {text}: refers to current build stage"))),
            Err(_) if stage == here => Err(Error::invalid(format!("circular dependency: stage {text} copies from itself"))),
            Err(_) => Ok(From::Image(text.to_owned())),
        };
    }
    Ok(From::Stage(stage))
}

/// Every `--from` of an instruction.
pub(super) fn froms(instruction: &Instruction) -> Vec<String> {
    match instruction {
        Instruction::Transfer(t) => t.from.iter().cloned().collect(),
        Instruction::Run(run) => run.mounts.iter().filter_map(|m| super::mounts::from_of(m)).collect(),
        Instruction::Onbuild(_) => Vec::new(),
        _ => Vec::new(),
    }
}

/// Makes the plan. `names`: what each FROM says, variables expanded.
///
/// # Errors
/// `Invalid` for an unknown target or a stage that needs a later one.
pub(super) fn plan(file: &Dockerfile, names: &[String], target: &str, contexts: &Contexts) -> Result<Plan> {
    let bases: Vec<Base> = names
        .iter()
        .enumerate()
        .map(|(here, name)| {
            let lower = name.to_ascii_lowercase();
            match named(contexts, name) {
                Some((_, NamedContext::Image(image))) => return Base::Image(image.clone()),
                Some((name, NamedContext::Folder(_) | NamedContext::Remote(_))) => return Base::Folder(name.to_owned()),
                None => {}
            }
            if lower == "scratch" {
                return Base::Scratch;
            }
            match file.stages[..here].iter().rposition(|s| s.name.as_ref() == Some(&lower)) {
                Some(stage) => Base::Stage(stage),
                None => Base::Image(name.clone()),
            }
        })
        .collect();
    let last = if target.is_empty() {
        file.stages.len() - 1
    } else {
        let lower = target.to_ascii_lowercase();
        let named = file.stages.iter().position(|s| s.name.as_ref() == Some(&lower));
        named
            .or_else(|| target.parse().ok().filter(|n| *n < file.stages.len()))
            .ok_or_else(|| Error::invalid(format!("failed to reach build target {target} in Dockerfile")))?
    };
    let mut needed = vec![false; file.stages.len()];
    let mut open = vec![last];
    while let Some(here) = open.pop() {
        if std::mem::replace(&mut needed[here], true) {
            continue;
        }
        if let Base::Stage(stage) = bases[here] {
            open.push(stage);
        }
        for Located { instruction, .. } in &file.stages[here].instructions {
            for text in froms(instruction) {
                if let From::Stage(stage) = from(file, here, &text, contexts)? {
                    open.push(stage);
                }
            }
        }
    }
    let order = (0..=last).filter(|i| needed[*i]).collect();
    Ok(Plan { order, bases })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str, target: &str) -> Result<Vec<usize>> {
        let file = Dockerfile::parse(text.as_bytes()).unwrap();
        let names: Vec<String> = file.stages.iter().map(|s| s.from.clone()).collect();
        plan(&file, &names, target, &Contexts::new()).map(|p| p.order)
    }

    const FILE: &str = "FROM a AS base\nFROM base AS build\nRUN x\nFROM b AS unused\nFROM scratch AS docs\nCOPY --from=1 /x /\nFROM base\nCOPY --from=build /o /o\nCOPY --from=nginx /n /n\nRUN --mount=type=bind,from=docs,target=/d y";

    #[test]
    fn only_what_is_needed() {
        assert_eq!(planned(FILE, "").unwrap(), [0, 1, 3, 4]);
        assert_eq!(planned(FILE, "build").unwrap(), [0, 1]);
        assert_eq!(planned(FILE, "UNUSED").unwrap(), [2]);
        assert_eq!(planned(FILE, "3").unwrap(), [0, 1, 3]);
        assert!(planned(FILE, "nope").unwrap_err().to_string().contains("failed to reach build target nope"));
    }

    #[test]
    fn named_contexts_come_first() {
        let file = Dockerfile::parse(b"FROM alpine AS a\nFROM other\nCOPY --from=a /x /\nCOPY --from=docs /y /").unwrap();
        let names: Vec<String> = file.stages.iter().map(|s| s.from.clone()).collect();
        let contexts = Contexts::from([
            ("docker.io/library/other:latest".to_owned(), NamedContext::Image("mine:1".to_owned())),
            ("A".to_owned(), NamedContext::Image("stand-in".to_owned())),
            ("docs".to_owned(), NamedContext::Folder("docs".to_owned())),
        ]);
        let plan = plan(&file, &names, "", &contexts).unwrap();
        // The stage is not built where something else has its name.
        assert_eq!((plan.order, &plan.bases[1]), (vec![1], &Base::Image("mine:1".to_owned())));
        assert_eq!(from(&file, 1, "docs", &contexts).unwrap(), From::Folder("docs".to_owned()));
    }

    #[test]
    fn stages_that_do_not_come_earlier() {
        for (text, part) in [
            ("FROM a AS x\nCOPY --from=x /a /b", "copies from itself"),
            ("FROM a\nCOPY --from=0 /a /b", "refers to current build stage"),
            ("FROM a\nCOPY --from=7 /a /b", "no such build stage"),
        ] {
            let error = planned(text, "").unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        // A later stage's name is an image's name before it.
        assert_eq!(planned("FROM a\nCOPY --from=late /a /b\nFROM b AS late", "0").unwrap(), [0]);
        // FROM means the nearest stage above.
        assert_eq!(planned("FROM x AS x\nFROM x", "").unwrap(), [0, 1]);
    }
}
