//! What is wrong with a request or one of its items: a stable word for programs, words for people.

use crate::domain::access::Scope;
use crate::domain::friend::Miss;
use crate::import::Reason;
use crate::lang::Lang;
use crate::protocol::Failure;
use crate::text::one_line;

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The request cannot be read: no JSON, a header that is none.
    Malformed,
    /// No token, or none that works.
    Unauthorized,
    /// The token may do other things.
    InsufficientScope(Scope),
    /// The token is for another account.
    Forbidden,
    /// There is no such address, account or friend.
    NotFound,
    /// The address knows other methods.
    MethodNotAllowed,
    /// It does not go with what is there: a customer id of several friends.
    Conflict,
    /// The running configuration declares no such attribute.
    UndeclaredAttribute,
    /// The running configuration declares another type.
    AttributeType,
    /// More than one request may say.
    TooLarge,
    /// The body is no JSON in UTF-8, or is compressed.
    UnsupportedMediaType,
    /// It can never be right, whatever is configured.
    Invalid,
    /// The key was used for something else.
    KeyReused,
    /// Too much is under way: try again.
    Busy,
    /// The database or the account's owner does not answer: try again.
    Unavailable,
}

impl Code {
    /// The word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unauthorized => "unauthorized",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::UndeclaredAttribute => "undeclared_attribute",
            Self::AttributeType => "attribute_type",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Invalid => "invalid",
            Self::KeyReused => "key_reused",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        }
    }

    /// The HTTP status. 400, 413, 415 and 422 can never be right; 404 and 409 may be once something else has changed.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthorized => 401,
            Self::InsufficientScope(_) | Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict | Self::UndeclaredAttribute | Self::AttributeType => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid | Self::KeyReused => 422,
            Self::Busy | Self::Unavailable => 503,
        }
    }

    /// The same for every problem of the kind.
    pub fn title(self, lang: Lang) -> &'static str {
        let (ja, en) = match self {
            Self::Malformed => ("リクエストを読めません", "the request cannot be read"),
            Self::Unauthorized => ("有効なトークンが必要です", "a valid token is needed"),
            Self::InsufficientScope(_) => ("このトークンには権限がありません", "the token lacks a scope"),
            Self::Forbidden => ("このトークンでは使えません", "the token is not for this"),
            Self::NotFound => ("見つかりません", "it is not there"),
            Self::MethodNotAllowed => ("このメソッドは使えません", "the method is not allowed"),
            Self::Conflict => ("いまの状態と合いません", "it does not go with what is there"),
            Self::UndeclaredAttribute => ("宣言されていない属性です", "the attribute is not declared"),
            Self::AttributeType => ("属性の型が違います", "the attribute has another type"),
            Self::TooLarge => ("大きすぎます", "it is too large"),
            Self::UnsupportedMediaType => ("JSON で送ってください", "send JSON"),
            Self::Invalid => ("内容に誤りがあります", "it is not valid"),
            Self::KeyReused => ("使用済みの Idempotency-Key です", "the idempotency key is used"),
            Self::Busy => ("混み合っています", "too much is under way"),
            Self::Unavailable => ("いまは処理できません", "it is not possible now"),
        };
        lang.pick(ja, en)
    }
}

/// Something wrong, in the language asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// What is wrong, and what to do.
    pub detail: String,
    /// Where in the body, as a JSON pointer.
    pub pointer: Option<String>,
}

impl Problem {
    /// A problem of the request as a whole.
    pub fn new(code: Code, detail: String) -> Self {
        Self { code, detail, pointer: None }
    }

    /// A problem at one place of the body.
    pub(super) fn at(pointer: &str, code: Code, detail: String) -> Self {
        Self { code, detail, pointer: Some(pointer.to_owned()) }
    }

    /// What a program reads, after RFC 9457.
    pub fn json(&self, lang: Lang) -> serde_json::Value {
        let mut json = serde_json::json!({
            "type": format!("urn:haishin:problem:{}", self.code.as_str()),
            "title": self.code.title(lang),
            "status": self.code.status(),
            "detail": self.detail,
            "code": self.code.as_str(),
        });
        if let (Some(pointer), Some(fields)) = (&self.pointer, json.as_object_mut()) {
            fields.insert("pointer".to_owned(), pointer.as_str().into());
        }
        json
    }

    /// A failed command's, by its word.
    pub(super) fn of(failure: Failure) -> Self {
        let code = match failure.code.as_str() {
            "not_found" => Code::NotFound,
            "conflict" => Code::Conflict,
            "invalid" => Code::Invalid,
            _ => Code::Unavailable,
        };
        Self::new(code, failure.message)
    }

    /// A customer id that is no one friend's.
    pub(super) fn nobody(pointer: &str, id: &str, miss: Miss, lang: Lang) -> Self {
        let id = one_line(id, 60);
        match miss {
            Miss::Unknown => {
                let detail = lang.pick(
                    format!(
                        "顧客ID「{id}」の友だちはいません。先に user と external_id を一緒に送ってください"
                    ),
                    format!("no friend has the external id `{id}`; first send one with user and external_id"),
                );
                Self::at(pointer, Code::NotFound, detail)
            }
            Miss::Shared { .. } => {
                Self::at(pointer, Code::Conflict, Reason::NoFriend { id, miss }.text(lang))
            }
        }
    }

    pub(super) fn unavailable(lang: Lang) -> Self {
        let detail = lang.pick(
            "データベースが応答しませんでした。受け付けたかどうかは不明です。同じリクエストをもう一度送ってください（Idempotency-Key か event_id があれば二重になりません）",
            "the database did not answer; whether this was taken is not known. Send the same again: with an Idempotency-Key or an event_id nothing is taken twice",
        );
        Self::new(Code::Unavailable, detail.to_owned())
    }

    pub(super) fn busy(lang: Lang) -> Self {
        let detail = lang.pick(
            "先に受け付けた変更を反映しているところです。少し待ってもう一度送ってください",
            "what was taken before is still being applied; send it again in a moment",
        );
        Self::new(Code::Busy, detail.to_owned())
    }
}
