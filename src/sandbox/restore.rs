//! The state file's lines, written and taken up again.

use chrono_tz::Tz;

use super::channel::FriendNo;
use super::core::State;
use super::journal::{Accepted, Line, Linked};
use super::ledger::{Delivery, Row, Sha};
use super::multicast::Multicast;
use super::plan::{RequestId, Say, parse_uuid, uuid_text};
use crate::domain::id::UserId;

impl State {
    /// Writes that a multicast was taken, before it is.
    pub(super) fn write_accepted(
        &mut self,
        multicast: &Multicast,
        to: &[FriendNo],
        skipped: u64,
        row: &Row,
        id: RequestId,
    ) -> Result<(), Say> {
        let Some(channel) = row.channel.and_then(|c| self.channels.get(c as usize)) else { return Ok(()) };
        if !self.remembers() {
            return Ok(());
        }
        let users = to.iter().filter_map(|friend| channel.friends.get(*friend));
        let accepted = Line::Accepted(Accepted {
            at: row.at,
            channel: channel.id.clone(),
            request: id.to_string(),
            key: row.key.as_ref().map(uuid_text),
            since: row.key.and_then(|key| self.ledger.key_since(&key)),
            content: hex::encode(multicast.content),
            silent: multicast.silent,
            unit: multicast.unit.as_deref().map(str::to_owned),
            skipped,
            to: users.map(|friend| hex::encode(friend.user.0)).collect(),
        });
        if self.ledger.find_content(&multicast.content).is_some() {
            return self.write(&[accepted]);
        }
        let sha = hex::encode(multicast.content);
        self.write(&[Line::Content { sha, json: multicast.messages.clone() }, accepted])
    }

    /// Takes up one line; the error says what is wrong with it.
    pub(super) fn restore(&mut self, line: Line, zone: Tz) -> Result<(), String> {
        match line {
            Line::Started { boot } => self.set_boot(boot),
            Line::Seen { key, body } => {
                let key = parse_uuid(&key).ok_or("`key` is no UUID")?;
                self.ledger.see(key, sha(&body)?);
            }
            Line::Content { sha: digest, json } => {
                self.ledger.content(sha(&digest)?, &json);
            }
            Line::Accepted(accepted) => self.restore_accepted(accepted, zone)?,
            Line::Linked(linked) => self.restore_linked(linked)?,
        }
        Ok(())
    }

    fn restore_linked(&mut self, linked: Linked) -> Result<(), String> {
        let place = self
            .channel(&linked.channel)
            .ok_or_else(|| format!("the sandbox has no channel `{}`", linked.channel))?;
        let channel = self.channels.get_mut(place as usize).ok_or("no channel")?;
        let users = users(&linked.to)?;
        let to: Vec<FriendNo> = users.into_iter().map(|user| channel.friends.remember(user)).collect();
        channel.friends.link(linked.menu.map(Into::into).as_ref(), &to);
        Ok(())
    }

    fn restore_accepted(&mut self, accepted: Accepted, zone: Tz) -> Result<(), String> {
        let place = self
            .channel(&accepted.channel)
            .ok_or_else(|| format!("the sandbox has no channel `{}`", accepted.channel))?;
        let content = self.ledger.find_content(&sha(&accepted.content)?).ok_or("`content` is not known")?;
        let channel = self.channels.get_mut(place as usize).ok_or("no channel")?;
        let users = users(&accepted.to)?;
        let to: Box<[FriendNo]> = users.into_iter().map(|user| channel.friends.remember(user)).collect();
        channel.month.count(to.len() as u64, accepted.at, zone);
        let key = accepted.key.map(|key| parse_uuid(&key).ok_or("`key` is no UUID")).transpose()?;
        if let (Some(key), Some(since)) = (key, accepted.since) {
            self.ledger.begin_key(key, since);
        }
        let delivery = Delivery {
            at: accepted.at,
            channel: place,
            content,
            silent: accepted.silent,
            unit: accepted.unit.map(Into::into),
            request: RequestId(parse_uuid(&accepted.request).ok_or("`request` is no UUID")?),
            to,
        };
        self.ledger.accept(key, delivery, accepted.skipped);
        Ok(())
    }
}

fn sha(text: &str) -> Result<Sha, String> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| format!("`{text}` is no SHA-256"))?;
    Ok(bytes)
}

fn users(text: &str) -> Result<Vec<UserId>, String> {
    let bytes = hex::decode(text).map_err(|_| "`to` is not hexadecimal".to_owned())?;
    let chunks = bytes.chunks_exact(16);
    if !chunks.remainder().is_empty() {
        return Err("`to` is cut".into());
    }
    Ok(chunks.filter_map(|chunk| chunk.try_into().ok()).map(UserId).collect())
}
