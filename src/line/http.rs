//! [`Api`] over HTTP/1.1 with keep-alive: each call one request, its answer bounded in time and size.

use std::net::IpAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};

use super::answer::{Answer, Attempt};
use super::api::{self, Api, BotInfo, CallError, Quota, Validation, rich_menu_body};
use super::token::{Credentials, Token, Tokens};
use crate::clock::Clock;
use crate::domain::drip::RichMenuId;
use crate::domain::id::UserId;
use crate::domain::key::RetryKey;
use crate::domain::time::Span;
use crate::lang::Lang;
use crate::text::Told;

const RETRY_KEY: HeaderName = HeaderName::from_static("x-line-retry-key");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// A request that may leave now may not much later: quiet hours, a deadline, the brake, the lease were asked before a
/// token was. One for which that took longer is asked about again.
const TOKEN_AT_MOST: Span = Span::from_secs(1);
/// What is read of an answer; LINE's are a few hundred bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// How to reach one channel.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// `https://…`, or plain `http://` to loopback.
    pub api_base: String,
    /// How the channel proves who it is.
    pub credentials: Credentials,
    /// After this a request has ended without an answer; 10 s in life.
    pub timeout: Duration,
}

impl HttpSettings {
    /// LINE's own host, or another base, with the request timeout of 10 s.
    pub fn new(api_base: impl Into<String>, credentials: Credentials) -> Self {
        Self { api_base: api_base.into(), credentials, timeout: Duration::from_secs(10) }
    }
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// `api_base` is no URL with a host.
    #[error("api_base `{0}` is not a URL; LINE's own is https://api.line.me")]
    ApiBase(String),
    /// Plain http would show the token to everybody between.
    #[error("api_base `{0}` is plain http to another machine; use https, or a loopback address")]
    PlainHttp(String),
    /// The TLS or HTTP library refused to start.
    #[error("failed to set up the HTTP client; is the package ca-certificates installed?")]
    Client(#[source] reqwest::Error),
    /// The configured token cannot be sent.
    #[error("the access token cannot be sent")]
    Token(#[source] CallError),
}

impl Told for BuildError {
    fn told(&self, lang: Lang) -> String {
        if lang == Lang::En {
            return self.to_string();
        }
        match self {
            Self::ApiBase(base) => {
                format!("api_base「{base}」は URL ではありません。LINE 本来のものは https://api.line.me です")
            }
            Self::PlainHttp(base) => format!(
                "api_base「{base}」は暗号化されない http で他のマシンを指しています。https にしてください"
            ),
            Self::Client(_) => "HTTP の準備ができません。ca-certificates はインストールされていますか".into(),
            Self::Token(_) => "アクセストークンが送れない形をしています".into(),
        }
    }
}

/// One channel over HTTP.
pub struct HttpApi {
    client: Client,
    clock: Arc<dyn Clock>,
    tokens: Tokens,
    multicast: Url,
    validate_multicast: Url,
    quota: Url,
    consumption: Url,
    link_menu: Url,
    unlink_menu: Url,
    info: Url,
}

impl HttpApi {
    /// A client of one channel. It connects only when asked something.
    pub fn new(settings: HttpSettings, clock: Arc<dyn Clock>) -> Result<Self, BuildError> {
        let base = parse_base(&settings.api_base)?;
        let client = client(host_is_loopback(&base), settings.timeout)?;
        let url = |path: &str| {
            let joined = format!("{}{path}", base.as_str().trim_end_matches('/'));
            Url::parse(&joined).map_err(|_| BuildError::ApiBase(settings.api_base.clone()))
        };
        let tokens = Tokens::new(
            settings.credentials.clone(),
            client.clone(),
            url("/oauth2/v3/token")?,
            clock.clone(),
        )
        .map_err(BuildError::Token)?;
        Ok(Self {
            clock,
            tokens,
            multicast: url("/v2/bot/message/multicast")?,
            validate_multicast: url("/v2/bot/message/validate/multicast")?,
            quota: url("/v2/bot/message/quota")?,
            consumption: url("/v2/bot/message/quota/consumption")?,
            link_menu: url("/v2/bot/richmenu/bulk/link")?,
            unlink_menu: url("/v2/bot/richmenu/bulk/unlink")?,
            info: url("/v2/bot/info")?,
            client,
        })
    }

    async fn get(&self, url: &Url) -> Result<Exchange, CallError> {
        self.ask(self.client.get(url.clone())).await
    }

    /// One request with the token of now. A question may simply be asked again when the token had expired.
    async fn ask(&self, request: RequestBuilder) -> Result<Exchange, CallError> {
        let again = request.try_clone();
        let (answer, stale) = self.ask_once(request).await?;
        match again.filter(|_| stale) {
            Some(request) => Ok(self.ask_once(request).await?.0),
            None => Ok(answer),
        }
    }

    async fn ask_once(&self, request: RequestBuilder) -> Result<(Exchange, bool), CallError> {
        let token = self.tokens.get().await?;
        let answer = exchange(request.header(reqwest::header::AUTHORIZATION, token.header())).await?;
        let stale = self.judge(&token, answer.status);
        Ok((answer, stale))
    }

    /// The token of now, for a multicast.
    async fn token(&self) -> Result<Arc<Token>, Answer> {
        self.tokens.get().await.map_err(|error| match error {
            CallError::Unauthorized => Answer::Unauthorized,
            _ => Answer::NeverSent,
        })
    }

    /// Learns from a status about the token it was asked with; true if the token had worked and no longer does.
    fn judge(&self, token: &Arc<Token>, status: u16) -> bool {
        if status == 401 {
            return self.tokens.refused(token);
        }
        token.prove();
        false
    }
}

#[async_trait]
impl Api for HttpApi {
    async fn prepare(&self) -> Result<(), Answer> {
        self.token().await.map(drop)
    }

    async fn multicast(&self, key: RetryKey, body: Bytes) -> Attempt {
        let begun = self.clock.boot().since_boot;
        let token = match self.token().await {
            Ok(token) => token,
            Err(answer) => return Attempt::unanswered(answer),
        };
        if self.clock.boot().since_boot.as_millis() - begun.as_millis() > TOKEN_AT_MOST.as_millis() {
            return Attempt::unanswered(Answer::NeverSent);
        }
        let request = self
            .client
            .post(self.multicast.clone())
            .header(reqwest::header::AUTHORIZATION, token.header())
            .header(CONTENT_TYPE, JSON)
            .header(RETRY_KEY, key.to_string())
            .body(body);
        match exchange(request).await {
            Ok(answer) => {
                let mut attempt = Attempt::read(answer.status, &answer.headers, &answer.body);
                if self.judge(&token, answer.status) {
                    attempt.answer = Answer::StaleToken;
                }
                attempt
            }
            Err(lost) => Attempt::unanswered(lost.into()),
        }
    }

    async fn validate_multicast(&self, messages: &str) -> Result<Validation, CallError> {
        let body = format!("{{\"messages\":{messages}}}");
        let request = self.client.post(self.validate_multicast.clone()).header(CONTENT_TYPE, JSON).body(body);
        let answer = self.ask(request).await?;
        Validation::read(answer.status, &answer.body)
    }

    async fn quota(&self) -> Result<Quota, CallError> {
        let answer = self.get(&self.quota).await?;
        Quota::read(answer.status, &answer.body)
    }

    async fn consumption(&self) -> Result<u64, CallError> {
        let answer = self.get(&self.consumption).await?;
        api::read_consumption(answer.status, &answer.body)
    }

    async fn link_rich_menu(&self, menu: Option<&RichMenuId>, users: &[UserId]) -> Result<(), CallError> {
        let url = if menu.is_some() { &self.link_menu } else { &self.unlink_menu };
        let request =
            self.client.post(url.clone()).header(CONTENT_TYPE, JSON).body(rich_menu_body(menu, users));
        let answer = self.ask(request).await?;
        match answer.status {
            200..=299 => Ok(()),
            status => Err(CallError::of_status(status, &answer.body)),
        }
    }

    async fn bot_info(&self) -> Result<BotInfo, CallError> {
        let answer = self.get(&self.info).await?;
        BotInfo::read(answer.status, &answer.body)
    }
}

/// An answer as it came, its body cut at [`MAX_ANSWER`].
pub(crate) struct Exchange {
    pub(crate) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The request may have arrived.
    Timeout,
    /// The request may have arrived.
    Connection,
    /// Surely not: there was no connection to write to.
    NeverSent,
}

/// One request, one answer. Once a status came it is the answer, even if the body then fails to follow.
pub(crate) async fn exchange(request: RequestBuilder) -> Result<Exchange, Lost> {
    let mut response = request.send().await.map_err(|error| {
        if error.is_connect() || error.is_builder() {
            Lost::NeverSent
        } else if error.is_timeout() {
            Lost::Timeout
        } else {
            Lost::Connection
        }
    })?;
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_ANSWER - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() == MAX_ANSWER {
            break;
        }
    }
    Ok(Exchange { status: response.status().as_u16(), headers: std::mem::take(response.headers_mut()), body })
}

impl From<Lost> for Answer {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Timeout => Self::Timeout,
            Lost::Connection => Self::ConnectionLost,
            Lost::NeverSent => Self::NeverSent,
        }
    }
}

impl From<Lost> for CallError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Timeout => Self::Timeout,
            Lost::Connection => Self::ConnectionLost,
            Lost::NeverSent => Self::Unreachable,
        }
    }
}

/// Whether a base URL leads to this very machine: only there may it be plain http, a set clock, a rate of `off`.
pub fn is_loopback(api_base: &str) -> bool {
    Url::parse(api_base).is_ok_and(|url| host_is_loopback(&url))
}

pub(super) fn host_is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn parse_base(text: &str) -> Result<Url, BuildError> {
    let base = Url::parse(text).map_err(|_| BuildError::ApiBase(text.to_owned()))?;
    let plain = base.query().is_none() && base.fragment().is_none() && base.username().is_empty();
    match base.scheme() {
        _ if !plain || base.password().is_some() => Err(BuildError::ApiBase(text.to_owned())),
        "https" => Ok(base),
        "http" if host_is_loopback(&base) => Ok(base),
        "http" => Err(BuildError::PlainHttp(text.to_owned())),
        _ => Err(BuildError::ApiBase(text.to_owned())),
    }
}

/// A client of this machine, or of the world outside.
pub(crate) fn client(here: bool, timeout: Duration) -> Result<Client, BuildError> {
    static PROVIDER: Once = Once::new();
    // Fails only if somebody installed one before, which then serves as well.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let mut builder = Client::builder()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .timeout(timeout)
        // Shorter than the whole: a connection not made in time is then known as never used.
        .connect_timeout(timeout / 2)
        .tcp_nodelay(true)
        .user_agent(concat!("haishin/", env!("CARGO_PKG_VERSION")));
    if here {
        // A proxy of the environment is for the world outside; the sandbox is not there. Nor does it need roots.
        builder = builder.no_proxy();
    }
    builder.build().map_err(BuildError::Client)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that takes the connection and says nothing, for as long as a client waits that nobody told how long.
    #[tokio::test(start_paused = true)]
    async fn a_request_ends_after_ten_seconds() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", silent.local_addr().unwrap());
        let credentials = Credentials::AccessToken("long-lived".into());
        let clock = Arc::new(crate::clock::ManualClock::new(crate::domain::time::Instant::from_millis(0)));
        let line = HttpApi::new(HttpSettings::new(base, credentials), clock).unwrap();
        let began = tokio::time::Instant::now();
        assert!(line.quota().await.is_err());
        let seconds = began.elapsed().as_secs();
        assert!((10..=11).contains(&seconds), "{seconds} s");
    }

    #[test]
    fn plain_http_goes_to_loopback_only() {
        for good in ["https://api.line.me", "http://127.0.0.1:8471", "http://localhost:1/", "http://[::1]:1"]
        {
            assert!(parse_base(good).is_ok(), "{good}");
        }
        for plain in ["http://api.line.me", "http://10.0.0.1", "http://127.0.0.1.example"] {
            assert!(matches!(parse_base(plain), Err(BuildError::PlainHttp(_))), "{plain}");
        }
        for bad in
            ["", "api.line.me", "ftp://127.0.0.1", "https://a:b@api.line.me", "https://api.line.me/?x=1"]
        {
            assert!(matches!(parse_base(bad), Err(BuildError::ApiBase(_))), "{bad}");
        }
        assert!(is_loopback("http://[::1]:9") && !is_loopback("https://api.line.me"));
    }
}
