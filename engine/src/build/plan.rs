//! Which stages are needed, and in which order: those that the target is built on, copies from or mounts, and no others.

use super::dockerfile::{Dockerfile, Instruction, Located};
use crate::{Error, Result};

/// What is below a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image.
    Image(String),
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
}

/// What `--from` of an instruction in stage `here` means.
///
/// # Errors
/// `Invalid` when it is the stage itself or one that comes later.
pub(super) fn from(file: &Dockerfile, here: usize, text: &str) -> Result<From> {
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
            Ok(_) => Err(Error::invalid(format!("invalid from flag value {text}: it is not an earlier stage"))),
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
pub(super) fn plan(file: &Dockerfile, names: &[String], target: &str) -> Result<Plan> {
    let bases: Vec<Base> = names
        .iter()
        .enumerate()
        .map(|(here, name)| {
            let lower = name.to_ascii_lowercase();
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
                if let From::Stage(stage) = from(file, here, &text)? {
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
        plan(&file, &names, target).map(|p| p.order)
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
    fn stages_that_do_not_come_earlier() {
        for (text, part) in [
            ("FROM a AS x\nCOPY --from=x /a /b", "copies from itself"),
            ("FROM a\nCOPY --from=0 /a /b", "not an earlier stage"),
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
