//! Friends who are erased while occurrences are on their way (protocol §7).

use crate::domain::effect::{Effect, Entry};

use super::Engine;
use super::dispatch::Heard;

impl Engine {
    /// Erased friends leave every batch that was surely never tried; to be committed with the entries that erase them.
    /// Whom a batch in doubt holds is remembered by user id until it has ended: it goes out again as it was, or not at
    /// all.
    pub(super) fn cut_out(&mut self, entries: &[Entry]) -> Heard {
        let (clock, mut cut) = (self.deps.clock.read(), Heard::default());
        for entry in entries.iter().filter(|entry| entry.effect == Effect::Erased) {
            let (index, leaving) = (&self.state.index, &self.state.leaving);
            let user_of = |friend| leaving.user(index, friend);
            let (user, mut is_held) = (user_of(entry.friend), false);
            for run in self.state.runs.values_mut() {
                cut.add(run.erase(entry.friend, &clock, &user_of));
                is_held |= run.holds(entry.friend);
            }
            if let Some(user) = user.filter(|_| is_held) {
                self.state.leaving.0.insert(entry.friend, user);
            }
        }
        cut
    }

    /// Forgets the user ids of erased friends whom no batch holds any more.
    pub(super) fn forget_who_left(&mut self) {
        let runs = &self.state.runs;
        self.state.leaving.0.retain(|friend, _| runs.values().any(|run| run.holds(*friend)));
    }
}
