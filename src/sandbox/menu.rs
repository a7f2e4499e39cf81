//! Rich menus, as far as haishin uses them: linked to many friends at once, and unlinked.

use std::sync::Arc;

use serde::Deserialize;

use super::core::State;
use super::journal::{Line, Linked};
use super::ledger::Row;
use super::plan::{Problem, Say};
use crate::domain::drip::RichMenuId;
use crate::domain::id::UserId;
use crate::domain::outbox::Request;

/// A request that is valid in itself.
#[derive(Debug)]
pub(super) struct MenuChange {
    /// None unlinks.
    pub(super) menu: Option<Arc<str>>,
    pub(super) users: Vec<UserId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Link {
    rich_menu_id: String,
    user_ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Unlink {
    user_ids: Vec<String>,
}

impl MenuChange {
    /// Reads the body of a link.
    pub(super) fn link(body: &[u8]) -> Result<Self, Say> {
        let Link { rich_menu_id, user_ids } =
            serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
        let users = users(&user_ids)?;
        if RichMenuId::parse(&rich_menu_id).is_none() {
            return Err(Say::invalid_property("richMenuId"));
        }
        Ok(Self { menu: Some(rich_menu_id.into()), users })
    }

    /// Reads the body of an unlink.
    pub(super) fn unlink(body: &[u8]) -> Result<Self, Say> {
        let Unlink { user_ids } = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
        Ok(Self { menu: None, users: users(&user_ids)? })
    }
}

fn unreadable(error: &serde_json::Error) -> Say {
    let place = format!("(line: {}, column: {})", error.line(), error.column());
    Say::error(400, &format!("The request body could not be parsed as JSON {place}"))
}

fn users(texts: &[String]) -> Result<Vec<UserId>, Say> {
    if !(1..=Request::MENU_USERS).contains(&texts.len()) {
        let message = format!("Size must be between 1 and {}", Request::MENU_USERS);
        return Err(Say::problems(&[Problem { property: "userIds".into(), message }]));
    }
    let read = |(n, text): (usize, &String)| {
        UserId::parse(text).map_err(|_| Say::invalid_property(&format!("userIds[{n}]")))
    };
    texts.iter().enumerate().map(read).collect()
}

impl State {
    /// LINE does it within seconds of its answer; here it is done with it.
    pub(super) fn change_menu(&mut self, change: MenuChange, row: &mut Row) -> Result<Say, Say> {
        let place = row.channel.unwrap_or(u32::MAX) as usize;
        let channel = self.channels.get_mut(place).ok_or_else(Say::unauthorized)?;
        let to = channel.friends.following(&change.users);
        row.delivered = u32::try_from(to.len()).unwrap_or(u32::MAX);
        if self.remembers() {
            let channel = self.channels.get(place).ok_or_else(Say::unauthorized)?;
            let users = to.iter().filter_map(|friend| channel.friends.get(*friend));
            let line = Line::Linked(Linked {
                channel: channel.id.clone(),
                menu: change.menu.as_deref().map(str::to_owned),
                to: users.map(|friend| hex::encode(friend.user.0)).collect(),
            });
            self.write(&[line])?;
        }
        if let Some(channel) = self.channels.get_mut(place) {
            channel.friends.link(change.menu.as_ref(), &to);
        }
        Ok(Say::accepted())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ID: &str = "U0123456789abcdef0123456789abcdef";

    #[rstest]
    #[case("", "could not be parsed as JSON (line: 1, column: 0)")]
    #[case(r#"{"userIds":["ID"]}"#, "could not be parsed as JSON")]
    #[case(r#"{"richMenuId":"richmenu-1","userIds":["ID"],"x":1}"#, "could not be parsed as JSON")]
    #[case(r#"{"richMenuId":"","userIds":["ID"]}"#, "The property, richMenuId, in")]
    #[case(r#"{"richMenuId":"richmenu-1","userIds":[]}"#, "Size must be between 1 and 500")]
    #[case(r#"{"richMenuId":"richmenu-1","userIds":["ID","u1"]}"#, "The property, userIds[1], in")]
    fn a_refusal_names_the_place(#[case] body: &str, #[case] says: &str) {
        let say = MenuChange::link(body.replace("ID\"", &format!("{ID}\"")).as_bytes()).unwrap_err();
        assert_eq!(say.status, 400);
        let answer = String::from_utf8(say.body.to_vec()).unwrap();
        assert!(answer.contains(says), "{answer}");
    }

    #[test]
    fn five_hundred_friends_are_the_most() {
        let body = |n: usize| {
            let ids: Vec<String> = (0..n).map(|i| format!("\"U{i:032x}\"")).collect();
            format!(r#"{{"userIds":[{}]}}"#, ids.join(","))
        };
        assert_eq!(MenuChange::unlink(body(500).as_bytes()).unwrap().users.len(), 500);
        assert_eq!(MenuChange::unlink(body(501).as_bytes()).unwrap_err().status, 400);
    }
}
