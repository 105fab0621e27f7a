//! What a log says of its container beside the lines: the tag and the labels and variables that the options `tag`,
//! `labels`, `labels-regex`, `env` and `env-regex` choose, for `json-file`, `docker logs --details` and what is sent on.

use crate::{Error, Result};
use jiff::Timestamp;
use regex::Regex;
use std::collections::BTreeMap;

/// The options that all drivers share which say something of the container.
pub(crate) const SHARED: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];

/// Facts of a container that tags and messages are made of.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// All of its id.
    pub id: String,
    /// Without a slash.
    pub name: String,
    /// `sha256:…`.
    pub image_id: String,
    /// As it was asked for.
    pub image: String,
    /// The argv, with spaces between.
    pub command: String,
    pub created: Timestamp,
    /// What the options chose.
    pub extra: BTreeMap<String, String>,
}

/// The chosen labels and variables (`KEY=value`), by name; a variable wins over a label.
///
/// # Errors
/// `Invalid` for an expression that is none.
pub fn attributes<'a>(
    options: &BTreeMap<String, String>,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    env: &'a [String],
) -> Result<BTreeMap<String, String>> {
    let env = env.iter().filter_map(|pair| pair.split_once('='));
    let mut chosen = choose(options, "labels", labels)?;
    chosen.extend(choose(options, "env", env)?);
    Ok(chosen)
}

fn choose<'a>(
    options: &BTreeMap<String, String>,
    what: &str,
    all: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<BTreeMap<String, String>> {
    let given = |key: &str| options.get(key).map(String::as_str).filter(|text| !text.is_empty());
    let names: Vec<&str> = given(what).map(|list| list.split(',').map(str::trim).collect()).unwrap_or_default();
    let pattern = format!("{what}-regex");
    let pattern = match given(&pattern) {
        // No look-around, no back references: matching is linear, whatever a stranger writes here.
        Some(text) => Some(Regex::new(text).map_err(|e| Error::invalid(format!("invalid value for {pattern}: {e}")).because(e))?),
        None => None,
    };
    let chosen = |name: &str| names.contains(&name) || pattern.as_ref().is_some_and(|p| p.is_match(name));
    Ok(all.into_iter().filter(|(name, _)| chosen(name)).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// A tag: text with `{{.ID}}`, `{{.FullID}}`, `{{.Name}}`, `{{.FullName}}`, `{{.ImageID}}`, `{{.ImageFullID}}`, `{{.ImageName}}`,
/// `{{.Command}}`, `{{.Created}}` and `{{.DaemonName}}` in it. An empty one is the short id.
///
/// # Errors
/// `Invalid` for anything else between braces.
pub(crate) fn tag(template: &str, facts: &Facts) -> Result<String> {
    let mut out = String::new();
    let mut rest = if template.is_empty() { "{{.ID}}" } else { template };
    while let Some((before, inside)) = rest.split_once("{{") {
        out.push_str(before);
        let (field, after) = inside.split_once("}}").ok_or_else(|| Error::invalid(format!("invalid tag {template:?}: unclosed action")))?;
        let short = |id: &str| id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
        match field.trim().trim_matches('-').trim() {
            ".ID" => out.push_str(&short(&facts.id)),
            ".FullID" => out.push_str(&facts.id),
            ".Name" => out.push_str(&facts.name),
            ".FullName" => out.push_str(&format!("/{}", facts.name)),
            ".ImageID" => out.push_str(&short(&facts.image_id)),
            ".ImageFullID" => out.push_str(&facts.image_id),
            ".ImageName" => out.push_str(&facts.image),
            ".Command" => out.push_str(&facts.command),
            ".Created" => out.push_str(&facts.created.to_string()),
            ".DaemonName" => out.push_str("wharf"),
            other => return Err(Error::invalid(format!("invalid tag {template:?}: {{{{{other}}}}} is not known"))),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

impl Facts {
    /// Facts of nobody, to try a tag with.
    pub fn sample() -> Self {
        Self {
            id: "0".repeat(64),
            name: "name".into(),
            image_id: format!("sha256:{}", "1".repeat(64)),
            image: "image".into(),
            command: "command".into(),
            created: Timestamp::UNIX_EPOCH,
            extra: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn labels_and_variables_are_chosen_by_name_and_pattern() {
        let labels = [("app", "shop"), ("tier", "web"), ("app.kind", "x")];
        let env = ["PATH=/bin".to_owned(), "OS_NAME=linux".to_owned(), "app=env".to_owned(), "BARE".to_owned()];
        let ask = |pairs: &[(&str, &str)]| attributes(&options(pairs), labels, &env).unwrap();
        assert_eq!(ask(&[]), options(&[]));
        assert_eq!(ask(&[("labels", "app,nosuch")]), options(&[("app", "shop")]));
        assert_eq!(ask(&[("labels-regex", "^app"), ("env", "PATH")]), options(&[("PATH", "/bin"), ("app", "shop"), ("app.kind", "x")]));
        assert_eq!(ask(&[("labels", "app"), ("env-regex", "^(OS|app)")]), options(&[("OS_NAME", "linux"), ("app", "env")]));
        let error = attributes(&options(&[("env-regex", "(")]), [], &env).unwrap_err();
        assert!(error.to_string().starts_with("invalid value for env-regex"), "{error}");
    }

    #[test]
    fn tags() {
        let facts = Facts { id: "abcdef0123456789".repeat(4), name: "web".into(), ..Facts::sample() };
        assert_eq!(tag("", &facts).unwrap(), "abcdef012345");
        assert_eq!(tag("x/{{.Name}}/{{ .ImageName }}.{{.ImageID}}", &facts).unwrap(), "x/web/image.111111111111");
        assert_eq!(tag("plain", &facts).unwrap(), "plain");
        for bad in ["{{.Nosuch}}", "{{.ID", "{{printf 1}}"] {
            assert_eq!(tag(bad, &facts).unwrap_err().kind(), crate::Kind::Invalid, "{bad}");
        }
    }
}
