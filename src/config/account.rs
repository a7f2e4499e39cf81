//! Accounts: one LINE Official Account each, with its credentials' places, its rate, its policy and its plan.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use toml::de::DeValue;

use super::layers::Layers;
use super::policy::{policy, retention};
use super::problem::{Expected, Noun, Problem};
use super::relay::{Relay, relay};
use super::secret::SecretSource;
use super::tree::{Item, Table};
use crate::domain::id::AccountSlug;
use crate::domain::policy::{Policy, Retention};
use crate::domain::time::Tz;

/// One LINE Official Account (a Messaging API channel).
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// The name in `[accounts.SLUG]`.
    pub slug: AccountSlug,
    /// What people call it.
    pub title: String,
    /// LINE's id of the channel, digits: part of every retry key.
    pub channel_id: String,
    /// Where its secrets are kept.
    pub credentials: Credentials,
    /// Where its webhooks are handed on to, if anywhere.
    pub relay: Option<Relay>,
    /// Where the API is, without a slash at the end: https, or plain http on this machine.
    pub api_base: String,
    /// Multicast requests a second.
    pub rate: Rate,
    /// What applies to its sends.
    pub policy: Policy,
    /// What its messages cost.
    pub plan: Plan,
    /// How long what is past is kept.
    pub retention: Retention,
}

impl Account {
    /// Whether its API is on this machine: the sandbox.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.api_base)
    }
}

/// Where an account's secrets are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The channel secret, which tokens are issued with and webhooks are signed with.
    pub channel_secret: SecretSource,
    /// Secrets that webhooks may be signed with, too, while the channel's is being changed.
    pub former_secrets: Vec<SecretSource>,
    /// A token of one's own; without one, stateless tokens are issued with the secret.
    pub access_token: Option<SecretSource>,
}

impl Credentials {
    /// The secrets webhooks may be signed with, that of the channel first.
    pub fn webhook_secrets(&self) -> impl Iterator<Item = &SecretSource> {
        std::iter::once(&self.channel_secret).chain(&self.former_secrets)
    }
}

/// How many multicast requests a second an account may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// At most so many.
    PerSecond(u32),
    /// As fast as it goes; loopback only.
    Off,
}

impl Rate {
    /// Requests a second, or none.
    pub fn per_second(self) -> Option<u32> {
        match self {
            Rate::PerSecond(rate) => Some(rate),
            Rate::Off => None,
        }
    }
}

/// LINE's prices for one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The name in `[plans.NAME]`.
    pub name: String,
    /// Yen a month.
    pub monthly_fee_yen: u64,
    /// Messages a month within the fee.
    pub free_messages: u64,
    /// What further messages cost, in tiers from the first further message on; empty where none can be bought.
    pub additional: Vec<Tier>,
}

impl Plan {
    /// What `more` messages cost beyond the fee in a month in which `used` were sent, in yen rounded up; `None` when
    /// the plan sells no so many.
    pub fn additional_yen(&self, used: u64, more: u64) -> Option<u64> {
        let further = |messages: u64| self.milliyen_of(messages.saturating_sub(self.free_messages));
        let (before, after) = (further(used)?, further(used.saturating_add(more))?);
        Some(after.saturating_sub(before).div_ceil(1_000))
    }

    /// The price of the first so many further messages, in thousandths of a yen.
    fn milliyen_of(&self, further: u64) -> Option<u64> {
        let (mut sold, mut price) = (0_u64, 0_u64);
        for tier in &self.additional {
            let upto = tier.up_to.unwrap_or(u64::MAX).min(further);
            price = price.saturating_add(upto.saturating_sub(sold).saturating_mul(tier.milliyen));
            sold = sold.max(upto);
        }
        (sold == further).then_some(price)
    }
}

/// A price that holds up to a number of further messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// The last further message at this price; `None` is all the rest.
    pub up_to: Option<u64>,
    /// The price of one message in thousandths of a yen.
    pub milliyen: u64,
}

/// All accounts of `haishin.toml`. `shared` is the file itself over the shipped one.
pub(super) fn accounts(top: &Table<'_>, shared: &Layers<'_>) -> Option<BTreeMap<AccountSlug, Account>> {
    // Also where no account would ask for them: their problems and keys must be known.
    let _ = settings(shared);
    let Some(table) = top.get("accounts").and_then(|item| item.table("accounts")) else {
        top.report(Problem::NoAccount);
        return None;
    };
    let entries = table.entries();
    if entries.is_empty() {
        table.report(Problem::NoAccount);
        return None;
    }
    let mut found = Some(BTreeMap::new());
    let mut channels: BTreeMap<String, &str> = BTreeMap::new();
    for (name, at, item) in entries {
        let Ok(slug) = AccountSlug::parse(name) else {
            item.file.report(at, Problem::BadSlug { slug: name.to_owned() });
            found = None;
            continue;
        };
        let account = item.table("accounts.*").and_then(|own| account(slug, Rc::new(own), shared));
        if let Some(account) = &account
            && let Some(other) = channels.insert(account.channel_id.clone(), name)
        {
            item.file.report(at, Problem::TwoAccountsOneChannel { other: other.to_owned() });
        }
        match (account, &mut found) {
            (Some(account), Some(found)) => {
                found.insert(account.slug.clone(), account);
            }
            _ => found = None,
        }
    }
    found
}

/// What an account may set for itself and else shares.
struct Settings {
    api_base: String,
    rate: Rate,
    policy: Policy,
    plan: Plan,
    retention: Retention,
}

fn settings(layers: &Layers<'_>) -> Option<Settings> {
    let zone: Option<Tz> = layers.need("zone").and_then(|item| item.zone());
    let api_base = layers.need("api_base").and_then(|item| api_base(&item));
    let rate = layers.need("rate").and_then(|item| rate(&item, api_base.as_deref()));
    let plan = plan(layers);
    let retention = retention(layers);
    // Other problems of the policy show even where the zone is unknown.
    let policy = policy(layers, zone.unwrap_or(Tz::UTC));
    zone?;
    Some(Settings { api_base: api_base?, rate: rate?, policy: policy?, plan: plan?, retention: retention? })
}

fn account(slug: AccountSlug, own: Rc<Table<'_>>, shared: &Layers<'_>) -> Option<Account> {
    let title = own.get("title").map_or(Some(slug.as_str()), |item| item.text()).map(str::to_owned);
    let channel_id = own.need("channel_id").and_then(|item| channel_id(&item));
    let channel_secret = own.need("channel_secret").and_then(|_| SecretSource::parse(&own, "channel_secret"));
    let former_secrets = match own.get("former_secrets") {
        Some(item) => item.list().and_then(|items| {
            items.iter().map(|item| SecretSource::parse_item(item, "former_secrets")).collect()
        }),
        None => Some(Vec::new()),
    };
    let relay = relay(&own);
    let access_token = match own.get("access_token") {
        Some(_) => SecretSource::parse(&own, "access_token").map(Some),
        None => Some(None),
    };
    let settings = settings(&shared.under(Rc::clone(&own)));
    own.finish();
    let settings = settings?;
    Some(Account {
        slug,
        title: title?,
        channel_id: channel_id?,
        credentials: Credentials {
            channel_secret: channel_secret?,
            former_secrets: former_secrets?,
            access_token: access_token?,
        },
        relay: relay?,
        api_base: settings.api_base,
        rate: settings.rate,
        policy: settings.policy,
        plan: settings.plan,
        retention: settings.retention,
    })
}

fn channel_id(item: &Item<'_>) -> Option<String> {
    if let DeValue::Integer(_) = item.value {
        return Some(item.whole(0, i64::MAX)?.to_string());
    }
    item.parse(Expected::ChannelId, |text| {
        let fits = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| text.to_owned())
    })
}

fn rate(item: &Item<'_>, api_base: Option<&str>) -> Option<Rate> {
    match item.value {
        DeValue::Integer(_) => Some(Rate::PerSecond(item.whole_u32(1, 2_000)?)),
        _ if item.is_off() => match api_base.is_none_or(is_loopback) {
            true => Some(Rate::Off),
            false => {
                item.report(Problem::RateOff);
                None
            }
        },
        DeValue::String(text) => item.bad(Expected::Rate, text),
        _ => item.wrong_type(Expected::Rate),
    }
}

fn api_base(item: &Item<'_>) -> Option<String> {
    let base = item.parse(Expected::BaseUrl, |text| {
        let base = text.trim_end_matches('/');
        let rest = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        (!rest.is_empty() && rest.chars().all(plain)).then(|| base.to_owned())
    })?;
    if base.starts_with("http://") && !is_loopback(&base) {
        item.report(Problem::PlainHttp);
        return None;
    }
    Some(base)
}

/// Whether a URL's host is this machine: an address of the loopback network, or `localhost`. The URL names no user.
pub(super) fn is_loopback(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or("");
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn plan(layers: &Layers<'_>) -> Option<Plan> {
    let plans = layers.table("plans", "plans");
    let mut read = BTreeMap::new();
    for (name, ..) in plans.names() {
        read.insert(name, one_plan(&plans.named(name, "plans.*"), name));
    }
    let item = layers.need("plan")?;
    let name = item.text()?;
    match read.remove(name) {
        Some(plan) => plan,
        None => item.unknown(Noun::Plan, name, read.keys().copied()),
    }
}

fn one_plan(own: &Layers<'_>, name: &str) -> Option<Plan> {
    let yen = own.need("monthly_fee_yen").and_then(|item| item.whole(0, i64::MAX));
    let free = own.need("free_messages").and_then(|item| item.whole(0, i64::MAX));
    let additional = match own.get("additional") {
        Some(item) => tiers(&item),
        None => Some(Vec::new()),
    };
    own.finish();
    Some(Plan {
        name: name.to_owned(),
        monthly_fee_yen: yen?.unsigned_abs(),
        free_messages: free?.unsigned_abs(),
        additional: additional?,
    })
}

fn tiers(item: &Item<'_>) -> Option<Vec<Tier>> {
    let tiers: Vec<Option<Tier>> = item.list()?.iter().map(tier).collect();
    tiers.into_iter().collect()
}

fn tier(item: &Item<'_>) -> Option<Tier> {
    let table = item.table("plans.*.additional")?;
    let up_to = match table.get("up_to") {
        Some(item) => item.whole(1, i64::MAX).map(Some),
        None => Some(None),
    };
    let price = table.need("yen").and_then(|item| milliyen(&item));
    table.finish();
    Some(Tier { up_to: up_to?.map(i64::unsigned_abs), milliyen: price? })
}

/// Yen with up to three decimals, exactly.
fn milliyen(item: &Item<'_>) -> Option<u64> {
    let digits = match item.value {
        DeValue::Integer(digits) => digits.to_string(),
        DeValue::Float(digits) => digits.as_str().to_owned(),
        _ => return item.wrong_type(Expected::Number),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((&digits, ""));
    let exact = (decimals.len() <= 3).then(|| format!("{whole}{decimals:0<3}"));
    exact.and_then(|text| text.parse().ok()).or_else(|| item.bad(Expected::Number, &digits))
}

#[cfg(test)]
mod tests {
    use super::{Plan, Tier, is_loopback};

    fn plan(free_messages: u64, tiers: &[(Option<u64>, u64)]) -> Plan {
        let additional = tiers.iter().map(|(up_to, milliyen)| Tier { up_to: *up_to, milliyen: *milliyen });
        Plan { name: "p".into(), monthly_fee_yen: 0, free_messages, additional: additional.collect() }
    }

    #[test]
    fn further_messages_cost_what_their_tiers_say() {
        let standard = plan(30_000, &[(Some(50_000), 3_000), (Some(150_000), 2_800), (None, 2_500)]);
        assert_eq!(standard.additional_yen(0, 30_000), Some(0));
        assert_eq!(standard.additional_yen(29_999, 2), Some(3));
        assert_eq!(standard.additional_yen(0, 80_001), Some(150_003), "2.8 yen, rounded up");
        assert_eq!(standard.additional_yen(80_000, 100_001), Some(280_003), "across two tiers");
        assert_eq!(plan(5_000, &[]).additional_yen(4_000, 1_000), Some(0));
        assert_eq!(plan(5_000, &[]).additional_yen(4_000, 1_001), None, "none can be bought");
    }

    #[test]
    fn loopback_is_this_machine_only() {
        for base in [
            "http://127.0.0.1:8471",
            "http://localhost:1",
            "http://[::1]:8471",
            "https://127.9.9.9",
            "http://127.0.0.1/a?b=http://x",
        ] {
            assert!(is_loopback(base), "{base}");
        }
        for base in [
            "http://10.0.0.1",
            "https://api.line.me",
            "http://127.0.0.1.evil.example/127.0.0.1",
            "http://[::2]",
        ] {
            assert!(!is_loopback(base), "{base}");
        }
    }
}
