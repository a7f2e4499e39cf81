//! When: recurrences against a table of hard days and an oracle, and what becomes of missed instants.

mod cron_errors;
mod hard_days;
mod missed;
mod oracle;
mod quiet_hours;
mod zone_data;

use haishin::domain::schedule::{Cron, Pattern, Recurrence};
use haishin::domain::time::{Instant, Tz};

fn cron(text: &str, zone: &str) -> Recurrence {
    let pattern = Pattern::Cron(Cron::parse(text).unwrap());
    Recurrence { pattern, zone: self::zone(zone), from: None, until: None, except: Vec::new() }
}

fn zone(name: &str) -> Tz {
    name.parse().unwrap()
}

fn at(text: &str) -> Instant {
    Instant::try_from(text.to_owned()).unwrap()
}
