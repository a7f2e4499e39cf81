//! What is so now, of one account or of the machine: told to the log when it begins and when it is over, to the metrics
//! all the time.

use std::sync::{Mutex, PoisonError};

use super::{Code, Concern, Scope, Severity};
use crate::domain::id::AccountSlug;
use crate::lang::Lang;
use crate::telemetry::metric;

/// The concerns of one account, or of the machine.
#[derive(Debug)]
pub struct Board {
    account: Option<AccountSlug>,
    now: Mutex<Vec<Concern>>,
}

impl Board {
    /// Nothing is so. Every code has its metric from here on: an alert sees the first event of all.
    pub fn new(account: Option<AccountSlug>) -> Self {
        let board = Self { account, now: Mutex::default() };
        board.codes().for_each(|code| board.gauge(code, false));
        board
    }

    /// What is so now.
    pub fn now(&self) -> Vec<Concern> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether one of these is so.
    pub fn has(&self, codes: &[Code]) -> bool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|one| codes.contains(&one.code))
    }

    /// This is so now, and nothing else.
    pub fn set(&self, concerns: Vec<Concern>) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let has = |list: &[Concern], code| list.iter().any(|one| one.code == code);
        for over in now.iter().filter(|one| !has(&concerns, one.code)) {
            self.gauge(over.code, false);
            self.tell_over(over.code);
        }
        for concern in concerns.iter().filter(|one| !has(&now, one.code)) {
            self.gauge(concern.code, true);
            self.tell(concern);
        }
        *now = concerns;
    }

    /// Of this code, this is so now; the others stay as they are.
    pub fn put(&self, code: Code, concern: Option<Concern>) {
        let mut concerns = self.now();
        concerns.retain(|one| one.code != code);
        concerns.extend(concern);
        self.set(concerns);
    }

    fn codes(&self) -> impl Iterator<Item = Code> {
        let scope = if self.account.is_some() { Scope::Account } else { Scope::Machine };
        Code::ALL.into_iter().filter(move |code| code.scope() == scope)
    }

    /// The machine's have no account; Prometheus takes an empty label for none.
    fn gauge(&self, code: Code, is_so: bool) {
        let account = self.account.as_ref().map_or_else(String::new, ToString::to_string);
        metrics::gauge!(metric::CONCERN, "account" => account, "code" => code.as_str())
            .set(f64::from(u8::from(is_so)));
    }

    fn tell(&self, concern: &Concern) {
        let account = self.account.as_ref().map(tracing::field::display);
        let (code, reason) = (concern.code.as_str(), concern.line(Lang::En));
        match concern.code.severity() {
            Severity::Act => tracing::warn!(account, concern = code, reason, "a person is needed"),
            Severity::Note => tracing::warn!(account, concern = code, reason, "to be known"),
        }
    }

    fn tell_over(&self, code: Code) {
        let account = self.account.as_ref().map(tracing::field::display);
        tracing::info!(account, concern = code.as_str(), "it is over");
    }
}
