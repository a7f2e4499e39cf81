//! What haishin asks of LINE, as a trait: over HTTP in life, in process in a simulation.

use async_trait::async_trait;
use bytes::Bytes;

use super::answer::{Answer, Attempt, Blame, ErrorText, clean};
use crate::domain::drip::RichMenuId;
use crate::domain::id::UserId;
use crate::domain::key::RetryKey;

/// One LINE channel as the sender sees it.
#[async_trait]
pub trait Api: Send + Sync + 'static {
    /// Gets ready whatever a request needs beside its bytes, such as a token, so that a multicast right after it leaves
    /// at once.
    ///
    /// # Errors
    /// What the multicast would have come to.
    async fn prepare(&self) -> Result<(), Answer> {
        Ok(())
    }
    /// Sends stored bytes under their own key, once. Whatever happens is an [`Attempt`].
    async fn multicast(&self, key: RetryKey, body: Bytes) -> Attempt;
    /// Asks whether a `messages` array (1–5 objects, as JSON) would be accepted; sends nothing.
    async fn validate_multicast(&self, messages: &str) -> Result<Validation, CallError>;
    /// What of a refused request is wrong, where LINE did not say: the messages, or one of those they were for.
    async fn blame(&self, messages: &str) -> Blame {
        match self.validate_multicast(messages).await {
            Ok(Validation::Valid) => Blame::SomeRecipient,
            Ok(Validation::Invalid { .. }) => Blame::Messages,
            Err(_) => Blame::Untold,
        }
    }
    /// The month's limit.
    async fn quota(&self) -> Result<Quota, CallError>;
    /// Messages used this month, by everybody who sends for the account; LINE calls it approximate.
    async fn consumption(&self) -> Result<u64, CallError>;
    /// Links a rich menu to these friends, at most 500, or unlinks the one each has. Done twice it is done once. LINE
    /// has it done within seconds of its answer.
    async fn link_rich_menu(&self, menu: Option<&RichMenuId>, users: &[UserId]) -> Result<(), CallError>;
    /// Whose channel this is.
    async fn bot_info(&self) -> Result<BotInfo, CallError>;
}

/// The body of the request that links a rich menu, or unlinks the one each has.
pub fn rich_menu_body(menu: Option<&RichMenuId>, users: &[UserId]) -> String {
    match menu {
        Some(menu) => serde_json::json!({ "richMenuId": menu, "userIds": users }).to_string(),
        None => serde_json::json!({ "userIds": users }).to_string(),
    }
}

/// The month's limit of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// No limit is set.
    Unlimited,
    /// Free messages plus the additional ones the account allows itself.
    Limited(u64),
}

/// What LINE thinks of message objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validation {
    /// They would be accepted.
    Valid,
    /// They would not.
    Invalid {
        /// LINE's text.
        message: String,
        /// (property, LINE's text) of each problem LINE names, at most 20.
        problems: Vec<(String, String)>,
    },
}

/// Whose channel it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BotInfo {
    /// The account's own user id: webhooks name it as their destination.
    pub user_id: String,
    /// `@…`.
    pub basic_id: String,
    /// The account's name as friends see it.
    pub display_name: String,
}

/// Why a question to LINE has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// 401, or the token endpoint refused the channel id and secret.
    #[error("LINE does not accept the channel's credentials; check channel id, secret and access token")]
    Unauthorized,
    /// 403.
    #[error("LINE does not allow this to the account or its plan")]
    Forbidden,
    /// 429.
    #[error("LINE asks to wait: too many requests")]
    RateLimited,
    /// Any other 4xx.
    #[error("LINE refused with status {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// LINE's text, cleaned and cut; may be empty.
        message: String,
    },
    /// 5xx, or a status LINE does not use.
    #[error("LINE answered with status {0}; this is usually over after a while")]
    Server(u16),
    /// The answer is not what LINE documents.
    #[error("LINE's answer cannot be read: {0}")]
    Malformed(String),
    /// No answer in time.
    #[error("LINE did not answer in time")]
    Timeout,
    /// The connection ended before an answer.
    #[error("the connection to LINE ended before an answer")]
    ConnectionLost,
    /// No connection was made.
    #[error("LINE cannot be reached; check the network and the account's api_base")]
    Unreachable,
}

impl Quota {
    /// What the answer to the question for the month's limit means.
    ///
    /// # Errors
    /// LINE refused, failed or said something else.
    pub fn read(status: u16, body: &[u8]) -> Result<Self, CallError> {
        #[derive(serde::Deserialize)]
        struct Answered {
            r#type: String,
            value: Option<u64>,
        }
        let answered: Answered = read(status, body, "quota")?;
        match (answered.r#type.as_str(), answered.value) {
            ("none", _) => Ok(Self::Unlimited),
            (_, Some(value)) => Ok(Self::Limited(value)),
            (other, None) => {
                let said = format!("a quota of type `{other}` without a value");
                Err(CallError::Malformed(clean(&said)))
            }
        }
    }
}

/// What the answer to the question for the month's use means.
///
/// # Errors
/// LINE refused, failed or said something else.
pub fn read_consumption(status: u16, body: &[u8]) -> Result<u64, CallError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answered {
        total_usage: u64,
    }
    read(status, body, "consumption").map(|Answered { total_usage }| total_usage)
}

impl BotInfo {
    /// What the answer to the question whose channel it is means.
    ///
    /// # Errors
    /// LINE refused, failed or said something else.
    pub fn read(status: u16, body: &[u8]) -> Result<Self, CallError> {
        read(status, body, "info")
    }
}

fn read<T: serde::de::DeserializeOwned>(status: u16, body: &[u8], what: &str) -> Result<T, CallError> {
    match status {
        200 => {
            // The error may repeat a text of the answer, however long that is.
            let malformed = |error| CallError::Malformed(clean(&format!("{what}: {error}")));
            serde_json::from_slice(body).map_err(malformed)
        }
        status => Err(CallError::of_status(status, body)),
    }
}

impl Validation {
    /// What the answer of the validation endpoint means.
    ///
    /// # Errors
    /// LINE refused the question or failed: nothing is known of the messages.
    pub fn read(status: u16, body: &[u8]) -> Result<Self, CallError> {
        match status {
            200 => Ok(Self::Valid),
            400 => {
                let ErrorText { message, details } = ErrorText::read(body);
                Ok(Self::Invalid { message, problems: details })
            }
            status => Err(CallError::of_status(status, body)),
        }
    }
}

impl CallError {
    /// What a status other than success means for a question.
    pub(crate) fn of_status(status: u16, body: &[u8]) -> Self {
        match status {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            429 => Self::RateLimited,
            400..=499 => Self::Refused { status, message: ErrorText::read(body).message },
            _ => Self::Server(status),
        }
    }
}
