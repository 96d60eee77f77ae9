//! Sends a message to a place.

use longshore_core::Timestamp;
use serde_json::Value;
use ureq::tls::TlsConfig;
use url::Url;

use crate::{
    Kind, Mail, Message, SendError, Target,
    http::{Call, Http},
    shapes::{discord, matrix, mattermost, slack, teams, webhook},
    signature,
};

/// Parts of an address that are at least so long do not get into a message.
const SECRET_PART: usize = 8;

/// Sends messages. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender {
    http: Http,
    mail: Option<Mail>,
}

impl Default for Sender {
    fn default() -> Self {
        Self::new(TlsConfig::default(), None)
    }
}

impl Sender {
    /// `tls` is for webhooks. Without `mail`, no e-mail is sent.
    #[must_use]
    pub fn new(tls: TlsConfig, mail: Option<Mail>) -> Self {
        Self { http: Http::new(tls), mail }
    }

    /// Returns whether e-mail can be sent.
    #[must_use]
    pub const fn has_mail(&self) -> bool {
        self.mail.is_some()
    }

    /// Sends a message, whose id makes it the same one if it is sent again. `internal` says whether the place may be at
    /// an address of the server's own network.
    ///
    /// # Errors
    /// [`SendError::may_pass`] says whether another try may succeed.
    pub fn send(&self, target: &Target, internal: bool, id: &str, message: &Message) -> Result<(), SendError> {
        match target.kind() {
            Kind::Email => {
                let mail = self.mail.as_ref().ok_or(SendError::NoMailServer)?;
                let to: Vec<_> = target.mailboxes().into_iter().flatten().collect();
                mail.send(id, &to, message)
            }
            Kind::Slack => self.post(target, internal, &slack::body(message)),
            Kind::Discord => self.post(target, internal, &discord::body(message)),
            Kind::Mattermost => self.post(target, internal, &mattermost::body(message)),
            Kind::Teams => self.post(target, internal, &teams::body(message)),
            Kind::Matrix => self.put_into_room(target, internal, id, &matrix::body(message)),
            Kind::Webhook => self.post_signed(target, internal, id, message),
        }
    }

    fn post(&self, target: &Target, internal: bool, body: &Value) -> Result<(), SendError> {
        self.call(target, internal, "POST", None, Vec::new(), body.to_string())
    }

    fn post_signed(&self, target: &Target, internal: bool, id: &str, message: &Message) -> Result<(), SendError> {
        let now = Timestamp::now();
        let body = webhook::body(message, now).to_string();
        let key = target.secret().and_then(signature::key_bytes).unwrap_or_default();
        let (timestamp, signature) = signature::sign(&key, id, now, body.as_bytes());
        let headers =
            vec![("webhook-id", id.to_owned()), ("webhook-timestamp", timestamp), ("webhook-signature", signature)];
        self.call(target, internal, "POST", None, headers, body)
    }

    fn put_into_room(&self, target: &Target, internal: bool, id: &str, body: &Value) -> Result<(), SendError> {
        let (mut url, room) = target.url().zip(target.room()).ok_or_else(Self::damaged)?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop().extend(["_matrix", "client", "v3", "rooms", &room, "send", "m.room.message", id]);
        }
        let headers = vec![("authorization", format!("Bearer {}", target.secret().unwrap_or_default()))];
        self.call(target, internal, "PUT", Some(url), headers, body.to_string())
    }

    fn call(
        &self,
        target: &Target,
        internal: bool,
        method: &'static str,
        url: Option<Url>,
        headers: Vec<(&'static str, String)>,
        body: String,
    ) -> Result<(), SendError> {
        let written = target.url().ok_or_else(Self::damaged)?;
        // Any long part of a webhook's address may be what gives the right to write there.
        let path_and_query = &written[url::Position::BeforePath..url::Position::AfterQuery];
        let parts = path_and_query.split(['/', '?', '&', '=']).filter(|part| part.len() >= SECRET_PART);
        let secrets = [written.as_str(), path_and_query].into_iter().chain(target.secret()).chain(parts).collect();
        let call = Call { method, url: url.as_ref().unwrap_or(&written), headers, body, secrets };
        self.http.call(&call, internal)
    }

    fn damaged() -> SendError {
        SendError::Refused { host: String::new(), status: 0, message: "the address is damaged".to_owned() }
    }
}
