//! Talks with an LFS store: asks where objects are, and takes them from there. Blocking.
//!
//! A store may keep its bytes elsewhere and say so, in its answer or by a redirect. No header follows to another host
//! than the one it was given for, and nothing that is offered over https is taken over http. The SHA-256 of the bytes
//! shows that they are the right ones.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use longshore_forge::{
    CloneUrl,
    lfs::{self, MAX_BATCH, MEDIA_TYPE, Offer, Pointer},
};
use ureq::{
    Body,
    http::{Request, Response, header},
};

use super::{
    client::{Client, LeadsHere},
    objects::{NotReceived, Objects},
};
use crate::GitError;

/// The longest answer to a question for a hundred objects.
const MAX_ANSWER: u64 = 4 << 20;
const MAX_REDIRECTS: u32 = 5;
/// How often each request is made in all, and the pause before the next try.
const MAX_TRIES: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Objects that are received at once.
const CONCURRENT_OBJECTS: usize = 4;

/// A repository's store.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) client: Client,
    pub(super) address: String,
    /// For questions at the address.
    pub(super) headers: Vec<(String, String)>,
    /// Its credentials go to its own host alone.
    pub(super) url: CloneUrl,
    pub(super) git_ref: Option<String>,
}

/// A file and the object that it refers to.
pub(super) type LfsFile = (String, Pointer);

impl Remote {
    /// Receives objects into `objects`, and returns those that the store does not have, each with what it says about
    /// that. `stop` is set once nobody waits for them any more.
    pub(super) fn fetch(
        &self,
        wanted: &[LfsFile],
        objects: &Objects,
        stop: &AtomicBool,
    ) -> Result<Vec<(LfsFile, String)>, GitError> {
        let mut lacked = Vec::new();
        for some in wanted.chunks(MAX_BATCH) {
            let pointers: Vec<Pointer> = some.iter().map(|(_, pointer)| pointer.clone()).collect();
            let offers = self.ask(&pointers, stop)?;
            let missing = some.iter().zip(&offers).filter_map(|(wanted, offer)| match offer {
                Offer::Missing(said) if said.is_empty() => Some((wanted.clone(), String::new())),
                Offer::Missing(said) => Some((wanted.clone(), format!(" ({})", self.url.redact(said)))),
                Offer::Download { .. } => None,
            });
            lacked.extend(missing);
            let queue: Mutex<VecDeque<(&LfsFile, Offer)>> = Mutex::new(some.iter().zip(offers).collect());
            let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let failed: Mutex<Option<GitError>> = Mutex::default();
            std::thread::scope(|scope| {
                for _ in 0..CONCURRENT_OBJECTS.min(some.len()) {
                    scope.spawn(|| {
                        while let Some(((path, pointer), offer)) = next() {
                            let Offer::Download { href, headers } = offer else { continue };
                            if let Err(error) = self.receive(path, pointer, (&href, &headers), objects, stop) {
                                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                                queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                            }
                        }
                    });
                }
            });
            if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
                return Err(error);
            }
        }
        Ok(lacked)
    }

    fn ask(&self, pointers: &[Pointer], stop: &AtomicBool) -> Result<Vec<Offer>, GitError> {
        let place = format!("{}/objects/batch", self.address.trim_end_matches('/'));
        let question = lfs::question(pointers, self.git_ref.as_deref()).to_string();
        let mut answer = self.try_often(stop, || {
            let mut request =
                Request::post(&place).header(header::ACCEPT, MEDIA_TYPE).header(header::CONTENT_TYPE, MEDIA_TYPE);
            for (name, value) in &self.headers {
                request = request.header(name, value);
            }
            request.body(question.as_str()).map_err(ureq::Error::from).and_then(|request| self.client.run(request))
        })?;
        let status = answer.status().as_u16();
        let read = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let body = read.map_err(|error| self.unreachable(&error))?;
        let message = || {
            let message = serde_json::from_slice::<serde_json::Value>(&body).ok();
            let message = message.and_then(|answer| answer["message"].as_str().map(lfs::message)).unwrap_or_default();
            self.url.redact(&format!("HTTP {status} {message}")).trim_end().to_owned()
        };
        let address = || self.address.clone();
        match status {
            200 => lfs::read_answer(pointers, &body).map_err(|detail| GitError::Lfs { address: address(), detail }),
            301..=308 => Err(GitError::Redirect { address: address(), detail: message() }),
            401 | 403 => Err(GitError::Authentication {
                address: address(),
                given: self.url.has_credentials(),
                detail: message(),
            }),
            404 => {
                let detail = format!("nothing answers there: switch Git LFS on for the repository ({})", message());
                Err(GitError::Lfs { address: address(), detail })
            }
            _ => Err(GitError::Lfs { address: address(), detail: message() }),
        }
    }

    fn receive(
        &self,
        path: &str,
        pointer: &Pointer,
        (href, headers): (&str, &[(String, String)]),
        objects: &Objects,
        stop: &AtomicBool,
    ) -> Result<(), GitError> {
        let failed = |detail: String| GitError::Lfs {
            address: self.address.clone(),
            detail: format!("could not download the object of `{path}`: {}", self.url.redact(&detail)),
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let mut response = self.get(href, headers, stop, &failed)?;
            let status = response.status().as_u16();
            if status != 200 {
                return Err(failed(format!("HTTP {status} from {}", host_of(href))));
            }
            let bytes = response.body_mut().as_reader();
            match objects.receive(pointer, bytes, || stop.load(Ordering::Relaxed)) {
                Ok(()) => return Ok(()),
                Err(NotReceived::Source(_)) if tries < MAX_TRIES => std::thread::sleep(RETRY_PAUSE * tries),
                Err(NotReceived::Source(error)) => return Err(failed(error.to_string())),
                Err(NotReceived::Other(why)) => return Err(failed(why)),
                Err(NotReceived::Disk(source)) => {
                    return Err(GitError::Io { what: "keeping an object of Git LFS", source });
                }
                Err(NotReceived::Stopped) => return Err(failed("nobody waits for it any more".to_owned())),
            }
        }
    }

    /// Follows redirects. The store's headers, and our credentials, stay with the host that they are for.
    fn get(
        &self,
        href: &str,
        headers: &[(String, String)],
        stop: &AtomicBool,
        failed: &impl Fn(String) -> GitError,
    ) -> Result<Response<Body>, GitError> {
        let mut place = href.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            if self.address.starts_with("https://") && !place.starts_with("https://") {
                return Err(failed(format!("it is offered over plain http, at {}", host_of(&place))));
            }
            let response = self.try_often(stop, || {
                let mut request = Request::get(&place);
                if host_of(&place) == host_of(href) {
                    for (name, value) in headers {
                        request = request.header(name, value);
                    }
                }
                let brings_its_own = request.headers_ref().is_some_and(|all| all.contains_key(header::AUTHORIZATION));
                if let (Some(own), false) = (self.url.authorization(&place), brings_its_own) {
                    request = request.header(header::AUTHORIZATION, own);
                }
                request.body(()).map_err(ureq::Error::from).and_then(|request| self.client.run(request))
            })?;
            if !matches!(response.status().as_u16(), 301..=303 | 307 | 308) {
                return Ok(response);
            }
            let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            let to = if to.starts_with('/') && !to.starts_with("//") {
                format!("{}{to}", host_of(&place))
            } else {
                to.to_owned()
            };
            if !lfs::is_http(&to) {
                return Err(failed(format!("{} redirects to no address", host_of(&place))));
            }
            place = to;
        }
        Err(failed(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Makes a request again, a few times, while the store cannot be reached, is busy or has a fault.
    fn try_often(
        &self,
        stop: &AtomicBool,
        request: impl Fn() -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, GitError> {
        let mut n = 0;
        loop {
            n += 1;
            let answer = request();
            let is_transient = match &answer {
                Ok(answer) => answer.status().as_u16() == 429 || answer.status().is_server_error(),
                Err(ureq::Error::Other(cause)) => !cause.is::<LeadsHere>(),
                Err(_) => true,
            };
            if !is_transient || n == MAX_TRIES || stop.load(Ordering::Relaxed) {
                return answer.map_err(|error| self.unreachable(&error));
            }
            std::thread::sleep(RETRY_PAUSE * n);
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> GitError {
        let (address, detail) = (self.address.clone(), self.url.redact(&error.to_string()));
        match detail.contains("certificate") || detail.contains("UnknownIssuer") {
            true => GitError::Certificate { address, detail },
            false => GitError::Unreachable { address, detail },
        }
    }
}

/// Returns `https://host:port` of an address.
fn host_of(address: &str) -> &str {
    let start = address.find("://").map_or(0, |at| at + 3);
    let end = address[start..].find(['/', '?', '#']).map_or(address.len(), |at| start + at);
    &address[..end]
}
