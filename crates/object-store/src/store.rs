use std::{fmt, fs::File, sync::Arc, time::Duration};

use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, header},
    tls::TlsConfig,
};
use url::Url;

use crate::{NotUsable, ObjectError, Settings};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a store may say nothing.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// How long the signature of an address counts. A request has to begin within it.
pub(crate) const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);
/// How often a short request is made in all, and the pause before the next.
pub(crate) const TRIES: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(300);
/// The longest error that is read.
pub(crate) const MAX_ERROR: u64 = 64 << 10;
/// The longest file that is put at once, and the length of the parts of longer ones. A file may have 10,000 of them.
const PART_BYTES: u64 = 512 << 20;
/// The longest part that is read at once.
pub(crate) const MAX_PART: u64 = 16 << 20;

/// A bucket of an object store. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct ObjectStore {
    inner: Arc<Inner>,
    part_bytes: u64,
}

struct Inner {
    http: Agent,
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    /// Where it is, for people.
    shown: String,
}

impl fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectStore").field(&self.inner.shown).finish()
    }
}

impl ObjectStore {
    /// Returns the bucket that the settings name. Makes no request.
    ///
    /// # Errors
    /// The settings name none.
    pub fn new(settings: &Settings, tls: TlsConfig) -> Result<Self, NotUsable> {
        let unusable = |what: &str| NotUsable(what.to_owned());
        let endpoint: Url =
            settings.endpoint.parse().map_err(|error| NotUsable(format!("the endpoint is not an address: {error}")))?;
        if settings.bucket.is_empty() {
            return Err(unusable("the bucket has no name"));
        }
        if settings.access_key.is_empty() || settings.secret_key.is_empty() {
            return Err(unusable("the access key or the secret key is missing"));
        }
        let prefix = settings.prefix.trim_matches('/').to_owned();
        if prefix.split('/').any(|part| part == "." || part == "..") || prefix.contains("//") {
            return Err(unusable("the prefix has a part that is empty, `.` or `..`"));
        }
        let style = if settings.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let bucket = Bucket::new(endpoint, style, settings.bucket.clone(), settings.region.clone())
            .map_err(|error| NotUsable(format!("the endpoint and the bucket make no address: {error}")))?;
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(MAX_SILENCE))
            .timeout_per_read(Some(MAX_SILENCE))
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .build();
        let shown = format!("{}{prefix}", bucket.base_url());
        let credentials = Credentials::new(settings.access_key.clone(), settings.secret_key.clone());
        let inner = Arc::new(Inner { http: config.into(), bucket, credentials, prefix, shown });
        Ok(Self { inner, part_bytes: PART_BYTES })
    }

    /// Puts files that are longer than this in parts of this length. Stores take no part below 5 MiB but the last.
    #[must_use]
    pub fn with_parts_of(self, bytes: u64) -> Self {
        Self { part_bytes: bytes, ..self }
    }

    /// Returns whether a file of that many bytes is uploaded in parts.
    #[must_use]
    pub const fn takes_in_parts(&self, bytes: u64) -> bool {
        bytes > self.part_bytes
    }

    pub(crate) const fn part_bytes(&self) -> u64 {
        self.part_bytes
    }

    pub(crate) fn http(&self) -> &Agent {
        &self.inner.http
    }

    pub(crate) fn bucket(&self) -> &Bucket {
        &self.inner.bucket
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.inner.credentials
    }

    /// Returns where it is, for people.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.inner.shown
    }

    /// Puts a whole file under a key, over an older one. Tried once: the caller has the file, and tries again.
    ///
    /// # Errors
    /// The object may be missing or incomplete afterwards.
    pub fn put_file(&self, key: &str, file: &File) -> Result<(), ObjectError> {
        let bytes = file.metadata().map_err(|error| ObjectError::Local(error.to_string()))?.len();
        let sent =
            self.inner.http.put(self.put_address(key)).header(header::CONTENT_TYPE, "application/zstd").send(file);
        self.succeeded(key, sent)?;
        self.has_bytes(key, bytes)
    }

    /// Checks that an object exists with its full length: the caller removes the file next.
    pub(crate) fn has_bytes(&self, key: &str, bytes: u64) -> Result<(), ObjectError> {
        match self.size(key)? {
            Some(there) if there == bytes => Ok(()),
            there => Err(self.refused(format!("{bytes} bytes were sent to it, and it has {}", there.unwrap_or(0)))),
        }
    }

    /// Puts a few bytes under a key.
    ///
    /// # Errors
    /// As of [`put_file`](Self::put_file).
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        let sent = self.try_often(|| self.inner.http.put(self.put_address(key)).send(bytes));
        self.succeeded(key, sent).map(drop)
    }

    /// Returns the length of an object; `None` if there is none.
    ///
    /// # Errors
    /// The store does not say.
    pub fn size(&self, key: &str) -> Result<Option<u64>, ObjectError> {
        let full = self.full(key);
        let address = self.inner.bucket.head_object(Some(&self.inner.credentials), &full).sign(SIGNED_FOR);
        let answer = self.try_often(|| self.inner.http.head(address.as_str()).call());
        match self.succeeded(key, answer) {
            Ok(answer) => {
                match answer.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok())
                {
                    Some(length) => Ok(Some(length)),
                    None => Err(self.refused("it does not say how long an object is".to_owned())),
                }
            }
            Err(ObjectError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a part of an object: `bytes` bytes from an offset on, at most [`MAX_PART`]. Returns the part, and how long
    /// the object is.
    pub(crate) fn read(&self, key: &str, from: u64, bytes: u64) -> Result<(Vec<u8>, u64), ObjectError> {
        let full = self.full(key);
        let address = self.inner.bucket.get_object(Some(&self.inner.credentials), &full).sign(SIGNED_FOR);
        // Not `bytes=-N`, the last N bytes: some stores return the first ones for it.
        let range = format!("bytes={from}-{}", from + bytes.max(1) - 1);
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = self.try_often(|| self.inner.http.get(address.as_str()).header(header::RANGE, &range).call());
            let mut answer = self.succeeded(key, answer)?;
            let place = answer.headers().get(header::CONTENT_RANGE).and_then(|range| place_of(range.to_str().ok()?));
            let body = answer.body_mut().with_config().limit(MAX_PART + 1).read_to_vec();
            let body = match body {
                Ok(body) => body,
                Err(_) if tries < TRIES => continue,
                Err(error) => return Err(self.away(error.to_string())),
            };
            let read = body.len() as u64;
            return match (answer.status(), place) {
                (StatusCode::PARTIAL_CONTENT, Some((begins, total)))
                    if begins == from && read == bytes.min(total.saturating_sub(from)) =>
                {
                    Ok((body, total))
                }
                // The whole of a short one.
                (StatusCode::OK, None) if from == 0 && read <= bytes => Ok((body, read)),
                _ => Err(self.refused("it does not answer with the part that was asked for".to_owned())),
            };
        }
    }

    /// Removes an object. A missing object is no error.
    ///
    /// # Errors
    /// It may be there still.
    pub fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let full = self.full(key);
        let address = self.inner.bucket.delete_object(Some(&self.inner.credentials), &full).sign(SIGNED_FOR);
        let answer = self.try_often(|| self.inner.http.delete(address.as_str()).call());
        match self.succeeded(key, answer) {
            Ok(_) | Err(ObjectError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes, reads and removes an object, as artifacts are.
    ///
    /// # Errors
    /// The store cannot be used.
    pub fn check(&self) -> Result<(), ObjectError> {
        let key = format!("check-{:016x}", rand::random::<u64>());
        let text = b"longshore tries whether it can use this bucket";
        self.put(&key, text)?;
        let (read, total) = self.read(&key, 10, 5)?;
        if read != text[10..15] || total != text.len() as u64 {
            return Err(self.refused("what is read is not what was written".to_owned()));
        }
        self.delete(&key)?;
        match self.size(&key)? {
            None => Ok(()),
            Some(_) => Err(self.refused("what was removed is there still".to_owned())),
        }
    }

    pub(crate) fn full(&self, key: &str) -> String {
        if self.inner.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.inner.prefix) }
    }

    fn put_address(&self, key: &str) -> String {
        let full = self.full(key);
        self.inner.bucket.put_object(Some(&self.inner.credentials), &full).sign(SIGNED_FOR).into()
    }

    /// Makes a request again, a few times, while the store is busy or has a fault.
    fn try_often(
        &self,
        request: impl Fn() -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, ureq::Error> {
        let mut n = 0;
        loop {
            n += 1;
            let answer = request();
            let is_transient_fault = match &answer {
                Ok(answer) => is_transient(answer.status()),
                Err(_) => true,
            };
            if !is_transient_fault || n == TRIES {
                return answer;
            }
            std::thread::sleep(RETRY_PAUSE * n);
        }
    }

    pub(crate) fn succeeded(
        &self,
        key: &str,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, ObjectError> {
        // An address has a signature in it, and no error of the client has the address.
        let mut answer = answer.map_err(|error| self.away(error.to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.body_mut().with_config().limit(MAX_ERROR).read_to_string().unwrap_or_default();
        let (code, message) = (element(&text, "Code"), element(&text, "Message"));
        if status == StatusCode::NOT_FOUND && matches!(code, None | Some("NoSuchKey" | "NoSuchUpload")) {
            return Err(ObjectError::Missing { store: self.inner.shown.clone(), key: key.to_owned() });
        }
        let words: Vec<&str> = [code, message].into_iter().flatten().collect();
        let why = format!("HTTP {} {}", status.as_u16(), words.join(": ")).trim_end().to_owned();
        Err(if is_transient(status) { self.away(why) } else { self.refused(why) })
    }

    pub(crate) fn away(&self, why: String) -> ObjectError {
        ObjectError::Away { store: self.inner.shown.clone(), why }
    }

    pub(crate) fn refused(&self, why: String) -> ObjectError {
        ObjectError::Refused { store: self.inner.shown.clone(), why }
    }
}

fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT
}

/// Returns where a part begins, and how long the whole is: `bytes 5-9/20`.
fn place_of(range: &str) -> Option<(u64, u64)> {
    let (part, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((part.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

/// Returns the text of an element of an error, for people.
pub(crate) fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    const MAX_CHARS: usize = 300;
    let found = whole_element(text, name)?;
    Some(found.char_indices().nth(MAX_CHARS).map_or(found, |(end, _)| &found[..end]))
}

/// Returns the text of an element of an answer.
pub(crate) fn whole_element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let from = text.find(&format!("<{name}>"))? + name.len() + 2;
    Some(&text[from..from + text[from..].find('<')?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            endpoint: "https://s3.example.org".to_owned(),
            bucket: "ci".to_owned(),
            prefix: "/a/b/".to_owned(),
            region: "eu-west-1".to_owned(),
            access_key: "key".to_owned(),
            secret_key: "secret".to_owned(),
            path_style: true,
        }
    }

    #[test]
    fn an_address_has_bucket_and_prefix_where_they_belong_and_no_error_shows_a_secret() {
        let store = |change: fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            ObjectStore::new(&settings, TlsConfig::default())
        };
        let address = |store: &ObjectStore| store.put_address("k").split('?').next().unwrap().to_owned();
        let path = store(|_| {}).unwrap();
        assert_eq!(
            (address(&path).as_str(), path.place()),
            ("https://s3.example.org/ci/a/b/k", "https://s3.example.org/ci/a/b")
        );
        let host = store(|settings| settings.path_style = false).unwrap();
        assert_eq!(address(&host), "https://ci.s3.example.org/a/b/k");
        let bad: [fn(&mut Settings); 6] = [
            |settings| settings.prefix = "a/../b".to_owned(),
            |settings| settings.prefix = "a//b".to_owned(),
            |settings| settings.endpoint = "s3.example.org".to_owned(),
            |settings| settings.endpoint = "ftp://s3.example.org".to_owned(),
            |settings| settings.bucket = String::new(),
            |settings| settings.secret_key = String::new(),
        ];
        for change in bad {
            assert!(store(change).is_err());
        }
        assert!(!format!("{:?} {:?}", settings(), path).contains("secret"));
    }

    #[test]
    fn what_a_store_says_is_read_as_far_as_it_is_meant() {
        assert_eq!(place_of("bytes 5-9/20"), Some((5, 20)));
        assert_eq!(place_of("bytes */20"), None);
        let body = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        assert_eq!((element(body, "Code"), element(body, "Key")), (Some("AccessDenied"), None));
    }
}
