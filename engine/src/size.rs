//! Sizes as people read them: the one place that turns bytes into words.

/// Bytes with a decimal unit and three digits: `7.82 MB`, `123 MB`.
pub fn decimal(n: u64) -> String {
    scaled(n, 1000, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3, " ")
}

/// Bytes with a binary unit, for memory: `512 MiB`.
pub fn binary(n: u64) -> String {
    scaled(n, 1024, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 3, " ")
}

/// Bytes as Docker's progress lines have them: four digits, no blank: `3.411MB`.
pub fn docker(n: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    // Rounded, where ours is cut off: clients compare these texts with Docker's.
    let decimals = match value {
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    format!("{}{}", plain(&format!("{value:.decimals$}")), units[unit])
}

/// Never rounded up: what is shown as free or used is there.
fn scaled(n: u64, base: u64, units: &[&str], digits: u32, blank: &str) -> String {
    let mut unit = 0;
    let mut divisor = 1u64;
    while unit + 1 < units.len() && n / divisor >= base {
        divisor *= base;
        unit += 1;
    }
    let whole = n / divisor;
    let decimals = (digits - 1).saturating_sub(whole.checked_ilog10().unwrap_or(0));
    if unit == 0 || decimals == 0 {
        return format!("{whole}{blank}{}", units[unit]);
    }
    // By integers: u128, so that the largest u64 does not overflow.
    let power = 10u128.pow(decimals);
    let part = u128::from(n % divisor) * power / u128::from(divisor);
    let width = decimals as usize;
    format!("{}{blank}{}", plain(&format!("{whole}.{part:0width$}")), units[unit])
}

/// Without noughts at the end.
fn plain(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1 kB"),
            (1500, "1.5 kB"),
            (7_829_000, "7.82 MB"),
            (12_345_678, "12.3 MB"),
            (123_456_789, "123 MB"),
            (1_020_000_000, "1.02 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(decimal(n), text);
        }
        assert_eq!(binary(512 << 20), "512 MiB");
        assert_eq!(binary(1023 << 10), "1023 KiB");
        assert_eq!(binary(u64::MAX), "15.9 EiB");
        for (n, text) in [(0, "0B"), (999, "999B"), (1000, "1kB"), (1024, "1.024kB"), (3_411_225, "3.411MB"), (12_345_678, "12.35MB")] {
            assert_eq!(docker(n), text);
        }
    }
}
