//! Parameters, rounds, tables.

use std::time::{Duration, Instant};

use haishin::text::Table;
use rustix::time::{ClockId, clock_gettime};

/// A parameter from the environment, or its default.
pub fn param(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, not `{text}`")),
        Err(_) => default,
    }
}

/// What one piece of work took: on the wall, and of this process's cores.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    pub wall: Duration,
    pub cpu: Duration,
}

/// Does the work and says what it took.
#[expect(clippy::disallowed_methods, reason = "a bench reads the machine's clock")]
pub fn took<T>(work: impl FnOnce() -> T) -> (T, Took) {
    let (began, cpu) = (Instant::now(), process_cpu());
    let done = work();
    (done, Took { wall: began.elapsed(), cpu: process_cpu() - cpu })
}

/// What this process has used of all cores so far.
pub fn process_cpu() -> Duration {
    let at = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or(0))
}

/// Every round of one contender. On a machine with other work to do the wall clock tells of that work too, and the
/// processor's time does not: what only computes is compared by `cpu`, what waits for others by `median`; `fastest`
/// is what the wall clock says when others leave the machine alone.
#[derive(Debug, Default)]
pub struct Rounds(pub Vec<Took>);

impl Rounds {
    pub fn fastest(&self) -> Duration {
        self.0.iter().map(|took| took.wall).min().expect("a round")
    }

    pub fn median(&self) -> Duration {
        median(self.0.iter().map(|took| took.wall).collect())
    }

    pub fn cpu(&self) -> Duration {
        median(self.0.iter().map(|took| took.cpu).collect())
    }
}

pub fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

/// Lets each contender have its turn in each round, so that what loads the machine meanwhile loads all of them. A turn
/// is two runs, of which the second counts: it finds in the processor's caches what its own first run left there, not
/// what the other contender did.
pub fn rounds<const N: usize>(count: usize, contenders: [&mut dyn FnMut(); N]) -> [Rounds; N] {
    let mut all = [(); N].map(|()| Rounds::default());
    let mut contenders = contenders;
    for _ in 0..count {
        for (contender, rounds) in contenders.iter_mut().zip(&mut all) {
            contender();
            rounds.0.push(took(&mut **contender).1);
        }
    }
    all
}

pub fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1_000.0;
    if ms < 10.0 { format!("{ms:.3}") } else { format!("{ms:.1}") }
}

/// How many times as long as `fast` the `slow` one takes.
pub fn ratio(slow: Duration, fast: Duration) -> f64 {
    slow.as_secs_f64() / fast.as_secs_f64()
}

/// Prints a heading and a table.
pub fn print(heading: &str, columns: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new(columns);
    rows.into_iter().for_each(|row| table.row(row));
    println!("\n{heading}\n{}", table.render());
}
