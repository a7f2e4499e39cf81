//! Drips: friends start, go through steps, wait for room and end, each step once, whatever happens meanwhile.

mod day;
mod deferral;
mod flagship;
mod model;
mod starts;

use haishin::clock::Clock as _;
use haishin::domain::drip::{Ending, Enrollment, Standing};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::id::FriendId;
use haishin::domain::time::{Instant, Span};
use haishin::protocol::Command;
use haishin::store::NewInbox;

use crate::support::world::{CHANNEL, Setup, World, slug, user};

/// No quiet hours, requests leave as soon as they can, and what would be sent twice is not held back as the same content.
const AT_ONCE: &str =
    "same_content = \"off\"\nquiet_hours = \"off\"\napi_base = \"http://127.0.0.1:1\"\nrate = \"off\"\n";

/// An instant as people write it.
fn at(text: &str) -> Instant {
    Instant::try_from(text.to_owned()).unwrap()
}

fn tag_added(tag: &str) -> Effect {
    Effect::TagAdded { tag: tag.parse().unwrap() }
}

fn tag_removed(tag: &str) -> Effect {
    Effect::TagRemoved { tag: tag.parse().unwrap() }
}

fn event(name: &str) -> Effect {
    Effect::Event { name: name.parse().unwrap(), event_id: None, properties: [].into() }
}

/// The messages of a step or campaign that says one text.
fn says(text: &str) -> String {
    format!("message = [{{ type = \"text\", text = \"{text}\" }}]")
}

/// The drips of a world.
impl World {
    /// One shop whose friends follow at `now`; nothing holds a send back but what the files say.
    async fn with_files(now: &str, settings: &str, files: &[(&str, &str)], friends: u32) -> Self {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Self::of(Setup {
            now,
            settings,
            campaigns: files.collect(),
            accounts: vec![("shop", friends)],
            database: crate::support::store::Database::Sqlite,
            seed: 0,
        })
        .await
    }

    /// What happens to friends at an instant, told now in one row of the inbox.
    async fn tell(&self, source: &str, when: Instant, said: &[(u32, Effect)]) {
        let intake = |(n, effect): &(u32, Effect)| Intake {
            friend: user(*n).into(),
            at: when,
            effect: effect.clone(),
            dedupe: None,
        };
        let intakes = said.iter().map(intake).collect();
        let (account, received_at) = (self.row(0).await, self.clock.now());
        let row = NewInbox { account, received_at, source: source.into(), intakes };
        self.test.store.append_inbox(vec![row]).await.unwrap();
    }

    /// The same of one friend, by a webhook and now; the clock stands until all of it has been dealt with.
    async fn hear(&self, n: u32, effect: Effect) {
        self.tell(NewInbox::WEBHOOK, self.clock.now(), &[(n, effect)]).await;
        self.settle().await;
    }

    /// Lets the engine do whatever there is to do while the clock stands: turns, until some that change nothing.
    async fn settle(&self) {
        const QUIET: u32 = 2;
        // A question that costs nothing: there is no such campaign.
        let campaign = slug("nothing-of-that-name");
        let question = || Command::CampaignNext { campaign: campaign.clone(), from: None, until: None };
        let store = &self.account(0).account.store;
        let mut quiet = 0;
        while quiet < QUIET {
            let before = store.writes();
            // Answered in the middle of a turn; what that one does afterwards is seen at the next.
            let answered = self.account(0).ask_once(question()).await;
            assert!(answered.is_some(), "the engine dropped a question");
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            quiet = if store.writes() == before { quiet + 1 } else { 0 };
        }
    }

    /// Goes to an instant and lets everything happen there. The engine takes a jump of over a minute for downtime that
    /// ends there, so that what is due at that very instant is not late.
    async fn go_to(&self, when: Instant) {
        self.clock.advance(when - self.clock.now());
        self.settle().await;
    }

    /// The same, as a daemon that never slept: it is awake shortly before.
    async fn live_to(&self, when: Instant) {
        const AWAKE: Span = Span::from_secs(40);
        if when - self.clock.now() > AWAKE {
            self.go_to(when - AWAKE).await;
        }
        self.go_to(when).await;
    }

    /// What a friend got, and when.
    fn texts(&self, n: u32) -> Vec<(Instant, String)> {
        let got = self.sandbox.received(CHANNEL, &user(n)).unwrap();
        let text = |messages: &str| {
            let messages: serde_json::Value = serde_json::from_str(messages).unwrap();
            messages[0]["text"].as_str().unwrap().to_owned()
        };
        got.iter().map(|got| (got.at, text(&got.messages))).collect()
    }

    /// The ways of a friend, from the first.
    async fn ways(&self, n: u32) -> Vec<Enrollment> {
        self.test.store.enrollments_of(self.row(0).await, FriendId(n)).await.unwrap()
    }

    /// How a friend's ways ended, those that are over.
    async fn endings(&self, n: u32) -> Vec<(String, Ending)> {
        let ended = |way: Enrollment| match way.standing {
            Standing::Ended { how, .. } => Some((way.drip.to_string(), how)),
            _ => None,
        };
        self.ways(n).await.into_iter().filter_map(ended).collect()
    }
}
