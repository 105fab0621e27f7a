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
    wharf: Option<f64>,
    dockerd: Option<f64>,
    podman: Option<f64>,
    more_is_better: bool,
    /// How many times better than dockerd it is to be.
    goal: Option<f64>,
}

/// The table's first line.
pub fn heading() {
    println!(
        "{:<34} {:>8} {:>8} {:>9} {:>9} {:>9} | {:>8} {:>8} {:>8} {:>6}",
        "", "pace", "floor", "wharf", "dockerd", "podman", "dockerd", "goal", "podman", "floor"
    );
}

impl Row {
    /// Milliseconds: floor, Wharf, dockerd if there is one, podman if it was measured.
    pub fn times(name: &str, pace: Pace, medians: Vec<f64>, dockerd: bool, goal: f64) -> Self {
        let mut medians = medians.into_iter();
        let (floor, wharf) = (medians.next(), medians.next());
        let dockerd = if dockerd { medians.next() } else { None };
        let podman = medians.next();
        Self { name: format!("{name}, ms"), pace: pace.word(), floor, wharf, dockerd, podman, more_is_better: false, goal: Some(goal) }
    }

    /// Milliseconds of the floor alone.
    pub fn floor(name: &str, pace: Pace, medians: Vec<f64>) -> Self {
        let nothing = Self::rates(&format!("{name}, ms"), &[], 0.0);
        Self { pace: pace.word(), floor: medians.first().copied(), goal: None, ..nothing }
    }

    /// Of what less is better: Wharf, dockerd.
    pub fn less(name: &str, values: &[f64], goal: f64) -> Self {
        Self { more_is_better: false, ..Self::rates(name, values, goal) }
    }

    /// So many a second: Wharf, dockerd.
    pub fn rates(name: &str, values: &[f64], goal: f64) -> Self {
        let (wharf, dockerd) = (values.first().copied(), values.get(1).copied());
        Self { name: name.to_owned(), pace: "", floor: None, wharf, dockerd, podman: None, more_is_better: true, goal: Some(goal) }
    }

    /// The same with the bare thing beside it.
    pub fn beside(self, floor: f64) -> Self {
        Self { floor: Some(floor), ..self }
    }

    /// Shows it.
    pub fn print(&self) {
        let cell =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| if v < 100.0 { format!("{v:.2}") } else { format!("{v:.0}") });
        let better = |than: Option<f64>| {
            let (wharf, than) = (self.wharf?, than?);
            Some(if self.more_is_better { wharf / than } else { than / wharf })
        };
        let times = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |r| format!("{r:.1} x"));
        let dockerd = better(self.dockerd);
        let missed = matches!((dockerd, self.goal), (Some(ratio), Some(goal)) if ratio < goal);
        println!(
            "{:<34} {:>8} {:>8} {:>9} {:>9} {:>9} | {:>8} {:>8} {:>8} {:>6}{}",
            self.name,
            self.pace,
            cell(self.floor),
            cell(self.wharf),
            cell(self.dockerd),
            cell(self.podman),
            times(dockerd),
            times(self.goal),
            times(better(self.podman)),
            times(better(self.floor).map(|r| 1.0 / r)),
            if missed { "  missed" } else { "" },
        );
    }
}
