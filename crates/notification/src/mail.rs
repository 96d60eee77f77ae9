//! E-mail: the operator's mail server, and messages as plain text.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lettre::{
    Address, SmtpTransport, Transport as _,
    address::Envelope,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
        extension::ClientId,
    },
};
use url::Url;

use crate::{Message, SendError, text::one_line};

/// How long the mail server may take for each answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Characters of what the mail server says that are kept.
const MAX_MESSAGE_CHARS: usize = 200;
/// Messages of which it is known who has them.
const MAX_REMEMBERED: usize = 1000;

/// Why the settings of mail cannot be used. Contains no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidMailSettings(String);

/// A mail server, and who writes.
#[derive(Clone)]
pub struct Mail {
    transport: SmtpTransport,
    host: String,
    from: Mailbox,
    /// For message ids.
    domain: String,
    /// Which mailboxes have a message that others of it do not have yet, by the message's id.
    arrived: Arc<Mutex<HashMap<String, Vec<Address>>>>,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("host", &self.host).field("from", &self.from).finish_non_exhaustive()
    }
}

impl Mail {
    /// Reads the address of a mail server: `smtps://user:password@host` (TLS from the start, port 465),
    /// `smtp+starttls://…` (587) or `smtp://host` (no TLS, and so no password; 25). `domain` is this server's host, and
    /// `authorities` are certificates as PEM that are trusted besides those that Mozilla trusts.
    ///
    /// # Errors
    /// If one of them is invalid; the error says what to write.
    pub fn new(url: &str, from: Option<&str>, domain: &str, authorities: &[u8]) -> Result<Self, InvalidMailSettings> {
        let invalid = |why: String| InvalidMailSettings(why);
        let form = "smtp_url is not the address of a mail server: write smtps://USER:PASSWORD@HOST, smtp+starttls://USER:PASSWORD@HOST or smtp://HOST";
        let url = Url::parse(url.trim()).map_err(|_| invalid(form.to_owned()))?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| invalid(form.to_owned()))?.to_owned();
        let tls = || -> Result<TlsParameters, InvalidMailSettings> {
            let mut builder = TlsParameters::builder(host.clone());
            if !authorities.is_empty() {
                let own = Certificate::from_pem(authorities)
                    .map_err(|error| invalid(format!("ca_file cannot be used for mail: {error}")))?;
                builder = builder.add_root_certificate(own);
            }
            builder.build().map_err(|error| invalid(format!("TLS to the mail server cannot be set up: {error}")))
        };
        let (tls, port) = match url.scheme() {
            "smtps" => (Tls::Wrapper(tls()?), 465),
            "smtp+starttls" => (Tls::Required(tls()?), 587),
            "smtp" => (Tls::None, 25),
            _ => return Err(invalid(form.to_owned())),
        };
        let mut builder = SmtpTransport::builder_dangerous(host.clone())
            .port(url.port().unwrap_or(port))
            .tls(tls)
            .timeout(Some(ANSWER_TIMEOUT))
            .hello_name(ClientId::Domain(domain.to_owned()));
        let decoded = |text: &str| {
            url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B").replace('&', "%26")).as_bytes())
                .next()
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        if let Some(password) = url.password() {
            if url.scheme() == "smtp" {
                return Err(invalid(
                    "smtp_url has a password, which smtp:// would send as it is: write smtps:// or smtp+starttls://"
                        .to_owned(),
                ));
            }
            builder = builder.credentials(Credentials::new(decoded(url.username()), decoded(password)));
        }
        let from = match from {
            Some(from) => from.parse().map_err(|_| {
                invalid("smtp_from is not a mailbox: write ci@example.org or `Longshore <ci@example.org>`".to_owned())
            })?,
            None => {
                let address = Address::new("longshore", domain).map_err(|_| {
                    invalid(format!("`longshore@{domain}` is not a mailbox to write from: set smtp_from to one"))
                })?;
                Mailbox::new(Some("Longshore".to_owned()), address)
            }
        };
        Ok(Self { transport: builder.build(), host, from, domain: domain.to_owned(), arrived: Arc::default() })
    }

    /// Sends a message to these mailboxes. Its id makes it the same message, however often it is sent. A mailbox that
    /// the server refuses keeps it from no other; those that have it do not get it again when it is sent to the rest.
    pub(crate) fn send(&self, id: &str, to: &[Address], message: &Message) -> Result<(), SendError> {
        let mail = self.compose(id, to, message)?;
        let has_it = self.arrived().get(id).cloned().unwrap_or_default();
        let missing: Vec<Address> = to.iter().filter(|address| !has_it.contains(address)).cloned().collect();
        match self.hand_over(&missing, &mail) {
            // With one mailbox the server refuses the whole.
            Err(SendError::Refused { .. } | SendError::Unavailable { .. }) if missing.len() > 1 => {}
            result => return result.inspect(|()| drop(self.arrived().remove(id))),
        }
        let mut failed: Option<SendError> = None;
        for address in &missing {
            match self.hand_over(std::slice::from_ref(address), &mail) {
                Ok(()) => self.note_arrival(id, address),
                // A temporary error counts before a permanent one: it is worth another try.
                Err(error) if failed.as_ref().is_none_or(|before| !before.may_pass()) => failed = Some(error),
                Err(_) => {}
            }
        }
        match failed {
            Some(error) => Err(error),
            None => {
                self.arrived().remove(id);
                Ok(())
            }
        }
    }

    fn compose(&self, id: &str, to: &[Address], message: &Message) -> Result<lettre::Message, SendError> {
        let mut mail = lettre::Message::builder()
            .from(self.from.clone())
            .subject(subject(message))
            .message_id(Some(format!("<{id}@{}>", self.domain)))
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN);
        for address in to {
            mail = mail.to(Mailbox::new(None, address.clone()));
        }
        mail.body(body(message)).map_err(|error| self.refused(error.to_string()))
    }

    /// Hands a mail over to the server for these mailboxes: for all of them, or none.
    fn hand_over(&self, to: &[Address], mail: &lettre::Message) -> Result<(), SendError> {
        let envelope = Envelope::new(Some(self.from.email.clone()), to.to_vec());
        let envelope = envelope.map_err(|error| self.refused(error.to_string()))?;
        let Err(error) = self.transport.send_raw(&envelope, &mail.formatted()) else { return Ok(()) };
        let mut reason = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            reason = format!("{reason}: {cause}");
        }
        if let [only] = to {
            reason = format!("{only}: {reason}");
        }
        let (host, message) = (self.host.clone(), one_line(&reason, MAX_MESSAGE_CHARS));
        let status = error.status().map(u16::from).unwrap_or_default();
        Err(match error {
            error if error.is_permanent() => SendError::Refused { host, status, message },
            error if error.is_transient() => SendError::Unavailable { host, status, message },
            _ => SendError::Unreachable { host, detail: message },
        })
    }

    fn refused(&self, message: String) -> SendError {
        SendError::Refused { host: self.host.clone(), status: 0, message }
    }

    fn arrived(&self) -> MutexGuard<'_, HashMap<String, Vec<Address>>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_arrival(&self, id: &str, address: &Address) {
        let mut arrived = self.arrived();
        if arrived.len() >= MAX_REMEMBERED && !arrived.contains_key(id) {
            // A message that is forgotten goes to all its addresses once more if it is tried again.
            arrived.clear();
        }
        arrived.entry(id.to_owned()).or_default().push(address.clone());
    }
}

fn subject(message: &Message) -> String {
    let branch = message.branch.as_deref().map(|branch| format!(" on {}", one_line(branch, 60))).unwrap_or_default();
    format!("{}{branch}", message.headline())
}

fn body(message: &Message) -> String {
    let mut text = format!("{}\n{}\n", message.headline(), message.url);
    for line in message.details() {
        text.push('\n');
        text.push_str(&line);
    }
    text.push('\n');
    text
}
