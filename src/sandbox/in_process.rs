//! [`Api`] straight into a sandbox, without a network: for simulations in virtual time.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;

use super::core::{LINK_MENU, Sandbox, UNLINK_MENU};
use super::plan::{Act, Body, Reply, Request};
use crate::clock::Clock;
use crate::domain::drip::RichMenuId;
use crate::domain::id::UserId;
use crate::domain::key::RetryKey;
use crate::domain::time::Span;
use crate::line::{Answer, Api, Attempt, BotInfo, CallError, Quota, Validation, rich_menu_body};

/// One channel of a sandbox in the same process.
pub struct InProcess {
    sandbox: Arc<Sandbox>,
    clock: Arc<dyn Clock>,
    headers: HeaderMap,
    timeout: Span,
}

impl InProcess {
    /// A connection with a configured access token; requests end without an answer after `timeout` of the clock.
    pub fn new(sandbox: Arc<Sandbox>, clock: Arc<dyn Clock>, access_token: &str, timeout: Span) -> Self {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&format!("Bearer {access_token}")) {
            headers.insert("authorization", value);
        }
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        Self { sandbox, clock, headers, timeout }
    }

    /// One request; the error says how the answer was lost.
    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Reply, Answer> {
        let request = Request { method, path, headers, body: Body::Whole(body) };
        let plan = self.sandbox.handle(&request, self.clock.now());
        let wait = Span::from_millis(i64::try_from(plan.wait_ms).unwrap_or(i64::MAX));
        match plan.act {
            _ if wait >= self.timeout => {
                self.clock.sleep(self.timeout).await;
                Err(Answer::Timeout)
            }
            Act::Hang => {
                self.clock.sleep(self.timeout).await;
                Err(Answer::Timeout)
            }
            Act::Close => Err(Answer::ConnectionLost),
            Act::Answer(reply) => {
                if wait > Span::ZERO {
                    self.clock.sleep(wait).await;
                }
                Ok(reply)
            }
        }
    }

    async fn reply(&self, method: &str, path: &str, body: &[u8]) -> Result<Reply, CallError> {
        self.exchange(method, path, &self.headers, body).await.map_err(|lost| match lost {
            Answer::Timeout => CallError::Timeout,
            _ => CallError::ConnectionLost,
        })
    }

    async fn get(&self, path: &str) -> Result<serde_json::Value, CallError> {
        let reply = self.reply("GET", path, b"").await?;
        match reply.status {
            200 => serde_json::from_slice(&reply.body).map_err(|e| CallError::Malformed(e.to_string())),
            status => Err(CallError::of_status(status, &reply.body)),
        }
    }
}

#[async_trait]
impl Api for InProcess {
    async fn multicast(&self, key: RetryKey, body: Bytes) -> Attempt {
        let mut headers = self.headers.clone();
        if let Ok(value) = HeaderValue::from_str(&key.to_string()) {
            headers.insert("x-line-retry-key", value);
        }
        match self.exchange("POST", "/v2/bot/message/multicast", &headers, &body).await {
            Ok(reply) => Attempt::read(reply.status, &reply.headers(), &reply.body),
            Err(lost) => Attempt::unanswered(lost),
        }
    }

    async fn validate_multicast(&self, messages: &str) -> Result<Validation, CallError> {
        let body = format!("{{\"messages\":{messages}}}");
        let reply = self.reply("POST", "/v2/bot/message/validate/multicast", body.as_bytes()).await?;
        Validation::read(reply.status, &reply.body)
    }

    async fn quota(&self) -> Result<Quota, CallError> {
        let answer = self.get("/v2/bot/message/quota").await?;
        Ok(answer["value"].as_u64().map_or(Quota::Unlimited, Quota::Limited))
    }

    async fn consumption(&self) -> Result<u64, CallError> {
        let answer = self.get("/v2/bot/message/quota/consumption").await?;
        answer["totalUsage"].as_u64().ok_or_else(|| CallError::Malformed("no totalUsage".into()))
    }

    async fn link_rich_menu(&self, menu: Option<&RichMenuId>, users: &[UserId]) -> Result<(), CallError> {
        let path = if menu.is_some() { LINK_MENU } else { UNLINK_MENU };
        let reply = self.reply("POST", path, rich_menu_body(menu, users).as_bytes()).await?;
        match reply.status {
            200..=299 => Ok(()),
            status => Err(CallError::of_status(status, &reply.body)),
        }
    }

    async fn bot_info(&self) -> Result<BotInfo, CallError> {
        let answer = self.get("/v2/bot/info").await?;
        serde_json::from_value(answer).map_err(|e| CallError::Malformed(e.to_string()))
    }
}
