//! Ages, counts and shares as people read them. Sizes are the engine's to say.

/// A span of seconds in its largest unit: `just now`, `42 s`, `5 min`, `3 h`, `2 days`.
pub fn span(seconds: i64) -> String {
    let plural = |n: i64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    match seconds {
        ..=0 => "just now".into(),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        86_400..1_209_600 => plural(seconds / 86_400, "day", "days"),
        1_209_600..5_184_000 => format!("{} weeks", seconds / 604_800),
        5_184_000..63_072_000 => format!("{} months", seconds / 2_592_000),
        _ => format!("{} years", seconds / 31_536_000),
    }
}

/// How long ago: `3 h ago`.
pub fn ago(seconds: i64) -> String {
    if seconds <= 0 { "just now".into() } else { format!("{} ago", span(seconds)) }
}

/// A number of CPUs from billionths: `1.5`.
pub fn cpus(nano: i64) -> String {
    let text = format!("{:.2}", nano as f64 / 1e9);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `n` of a thing, in the plural where it is one: `1 container`, `2 containers`.
pub fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Bytes from what a person writes: `512m`, `1.5 GB`, `64 MiB`, `1024`. Units are powers of 1024, as in Docker's `--memory`.
pub fn parse_bytes(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let value = number * (1u64 << shift) as f64;
    (value.is_finite() && value >= 0.0 && value < i64::MAX as f64).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (s, text) in [
            (-5, "just now"),
            (1, "1 s"),
            (61, "1 min"),
            (7200, "2 h"),
            (86_400, "1 day"),
            (200_000, "2 days"),
            (2_000_000, "3 weeks"),
            (10_000_000, "3 months"),
            (70_000_000, "2 years"),
        ] {
            assert_eq!(span(s), text);
        }
        assert_eq!(ago(0), "just now");
        assert_eq!(ago(61), "1 min ago");
    }

    #[test]
    fn what_people_write() {
        for (text, n) in [
            ("1024", Some(1024)),
            ("512m", Some(512 << 20)),
            ("1.5 GB", Some(3 << 29)),
            ("64MiB", Some(64 << 20)),
            ("2G", Some(2 << 30)),
            ("", None),
            ("m", None),
            ("12 apples", None),
            ("-1", None),
            ("1e400", None),
        ] {
            assert_eq!(parse_bytes(text), n, "{text}");
        }
        assert_eq!(cpus(1_500_000_000), "1.5");
        assert_eq!(cpus(2_000_000_000), "2");
        assert_eq!(count(1, "container", "containers"), "1 container");
    }
}
