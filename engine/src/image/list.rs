//! Lists and their filters.

use super::store::{Images, Known, find, image_view};
use crate::image::{Image, ImageFilter};
use crate::{Error, Result, TenantId};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Filters of a list or prune, parsed.
#[derive(Default)]
pub(super) struct Filters {
    /// Only nameless ones, or only named ones.
    pub dangling: Option<bool>,
    labels: Vec<(String, Option<String>)>,
    not_labels: Vec<(String, Option<String>)>,
    references: Vec<String>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Images {
    /// The tenant's images, newest first.
    ///
    /// # Errors
    /// `Invalid` for a filter that Docker does not know, `NotFound` if `before` or `since` name no image.
    pub async fn list(&self, tenant: TenantId, filter: &ImageFilter) -> Result<Vec<Image>> {
        let images = self.inner.images(tenant).await?;
        let filters = Filters::parse(&images, &filter.filters, &["before", "dangling", "label", "label!", "reference", "since", "until"])?;
        let is_parent = |known: &Known| images.iter().any(|i| i.row.parent == Some(known.row.id) && !i.row.hidden);
        let mut shown = Vec::new();
        for known in images.iter().filter(|i| !i.row.hidden) {
            let nameless = known.row.names.is_empty() && known.row.digests.is_empty();
            // Steps on the way to another image are shown only with `all`.
            if nameless && !filter.all && is_parent(known) {
                continue;
            }
            if !filters.take(known) {
                continue;
            }
            let mut image = image_view(known);
            if !filters.references.is_empty() {
                image.tags.retain(|t| filters.names(t));
                image.digests.retain(|d| filters.names(d));
                if image.tags.is_empty() && image.digests.is_empty() {
                    continue;
                }
            }
            shown.push(image);
        }
        shown.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(shown)
    }
}

impl Filters {
    /// Parses, with those of `known` keys that this operation has.
    pub fn parse(images: &[Known], filters: &BTreeMap<String, Vec<String>>, known: &[&str]) -> Result<Self> {
        let mut out = Self::default();
        for (key, values) in filters {
            if !known.contains(&key.as_str()) {
                return Err(Error::invalid(format!("invalid filter '{key}'")));
            }
            let created = |name: &String| Ok::<_, Error>(find(images, name)?.0.file.created.unwrap_or(Timestamp::UNIX_EPOCH));
            for value in values {
                match key.as_str() {
                    "dangling" => out.dangling = Some(boolean(key, value)?),
                    "label" => out.labels.push(label(value)),
                    "label!" => out.not_labels.push(label(value)),
                    "reference" => {
                        pattern(value)?;
                        out.references.push(value.clone());
                    }
                    "before" => out.before = Some(created(value)?),
                    "since" => out.since = Some(created(value)?),
                    _ => out.until = Some(until(value, Timestamp::now())?),
                }
            }
        }
        Ok(out)
    }

    /// Whether an image passes, names aside.
    pub fn take(&self, known: &Known) -> bool {
        let labels = &known.file.config.labels;
        let has = |(key, value): &(String, Option<String>)| labels.get(key).is_some_and(|v| value.as_ref().is_none_or(|w| w == v));
        let created = known.file.created.unwrap_or(Timestamp::UNIX_EPOCH);
        self.dangling.is_none_or(|d| d == known.row.names.is_empty())
            && self.labels.iter().all(has)
            && !self.not_labels.iter().any(has)
            && self.before.is_none_or(|t| created < t)
            && self.since.is_none_or(|t| created > t)
            && self.until.is_none_or(|t| created < t)
    }

    /// Whether a familiar name passes: the pattern is of the whole name, or of it without tag.
    fn names(&self, name: &str) -> bool {
        let bare = name.split('@').next().unwrap_or(name);
        let bare = match bare.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => bare,
        };
        self.references.iter().filter_map(|r| pattern(r).ok()).any(|p| p.is_match(name) || p.is_match(bare))
    }
}

/// Go's path.Match: `*` stays within a component.
fn pattern(text: &str) -> Result<globset::GlobMatcher> {
    let glob = globset::GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
    Ok(glob.map_err(|e| Error::invalid(format!("invalid filter 'reference={text}': {e}")).because(e))?.compile_matcher())
}

fn boolean(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err(Error::invalid(format!("invalid filter '{key}=[{value}]'"))),
    }
}

fn label(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// A time, or how long before `now`: RFC 3339, a date, seconds since the epoch, or Go's `1h30m`.
pub(super) fn until(text: &str, now: Timestamp) -> Result<Timestamp> {
    let bad = || Error::invalid(format!("invalid filter 'until={text}': expected a time or a duration such as 24h"));
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(date) = text.parse::<jiff::civil::DateTime>().or_else(|_| text.parse::<jiff::civil::Date>().map(Into::into)) {
        return jiff::tz::TimeZone::UTC.to_timestamp(date).map_err(|e| bad().because(e));
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Timestamp::from_millisecond((seconds * 1000.0) as i64).map_err(|e| bad().because(e));
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|at| *at > 0).ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return Err(bad()),
            };
        rest = &rest[unit..];
    }
    if text.is_empty() {
        return Err(bad());
    }
    now.checked_sub(jiff::SignedDuration::try_from_secs_f64(seconds).map_err(|e| bad().because(e))?).map_err(|e| bad().because(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_takes_times_and_durations() {
        let now: Timestamp = "2024-01-10T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("24h", "2024-01-09T00:00:00Z"),
            ("1h30m", "2024-01-09T22:30:00Z"),
            ("2024-01-01", "2024-01-01T00:00:00Z"),
            ("2024-01-01T10:00:00", "2024-01-01T10:00:00Z"),
            ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z"),
            ("1704067200", "2024-01-01T00:00:00Z"),
        ] {
            assert_eq!(until(text, now).unwrap().to_string(), expected, "{text}");
        }
        for bad in ["", "x", "1d", "h", "5 m"] {
            assert!(until(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn reference_patterns_are_gos() {
        let f = |p: &str, name: &str| Filters { references: vec![p.into()], ..Default::default() }.names(name);
        assert!(f("alp*:late*", "alpine:latest") && f("alpine", "alpine:latest") && f("*", "alpine:3"));
        assert!(f("localhost:5000/*", "localhost:5000/x:1") && f("*/*", "user/x:1"));
        assert!(!f("*", "user/x:1") && !f("nosuch*", "alpine:latest") && !f("alpine:3", "alpine:latest"));
    }
}
