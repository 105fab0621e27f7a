//! How things are measured and shown: engines take turns, medians are compared, and the first column is the floor.

use std::time::Duration;

/// How far apart repetitions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// One after the other.
    Together,
    /// 100 ms apart: processors idle, caches cold.
    Apart,
}

impl Pace {
    fn word(self) -> &'static str {
        match self {
            Pace::Together => "together",
            Pace::Apart => "100 ms",
        }
    }
}

/// Runs the jobs in turn, this many rounds after two that do not count; each job's median in milliseconds.
pub fn alternate(rounds: usize, pace: Pace, jobs: &mut [Box<dyn FnMut() -> Duration + '_>]) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(rounds); jobs.len()];
    for round in 0..rounds + 2 {
        for (job, times) in jobs.iter_mut().zip(&mut times) {
            if pace == Pace::Apart {
                std::thread::sleep(Duration::from_millis(100));
            }
            let took = job().as_secs_f64() * 1000.0;
            if round >= 2 {
                times.push(took);
            }
        }
    }
    times.iter_mut().map(|times| median(times)).collect()
}

/// The median. Sorts what it is given.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A line of the table.
pub struct Row {
    name: String,
    pace: &'static str,
    floor: Option<f64>,
    wharf: f64,
    dockerd: Option<f64>,
    podman: Option<f64>,
    more_is_better: bool,
}

impl Row {
    /// Milliseconds: floor, Wharf, dockerd if there is one, podman if it was measured.
    pub fn times(name: &str, pace: Pace, medians: Vec<f64>, dockerd: bool) -> Self {
        let mut medians = medians.into_iter();
        let floor = medians.next();
        let wharf = medians.next().unwrap_or(f64::NAN);
        let dockerd = if dockerd { medians.next() } else { None };
        Self { name: format!("{name}, ms"), pace: pace.word(), floor, wharf, dockerd, podman: medians.next(), more_is_better: false }
    }

    /// Megabytes: Wharf, dockerd.
    pub fn memory(name: &str, values: &[f64]) -> Self {
        Self { more_is_better: false, ..Self::rates(name, values) }
    }

    /// So many a second: Wharf, dockerd.
    pub fn rates(name: &str, values: &[f64]) -> Self {
        let wharf = values.first().copied().unwrap_or(f64::NAN);
        Self { name: name.to_owned(), pace: "", floor: None, wharf, dockerd: values.get(1).copied(), podman: None, more_is_better: true }
    }

    /// Shows it.
    #[must_use]
    pub fn print(self) -> Self {
        let cell =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| if v < 100.0 { format!("{v:.2}") } else { format!("{v:.0}") });
        let ratio = self.dockerd.map(|dockerd| if self.more_is_better { self.wharf / dockerd } else { dockerd / self.wharf });
        let ratio = ratio.map_or_else(|| "-".to_owned(), |r| format!("{r:.1} x"));
        println!(
            "{:<34} {:>10} {:>12} {:>12} {:>12} {:>9} {:>9}",
            self.name,
            self.pace,
            cell(self.floor),
            cell(Some(self.wharf)),
            cell(self.dockerd),
            cell(self.podman),
            ratio
        );
        self
    }
}
