//! Git LFS as its specification has it: pointer files, the address of a repository's store, and the words of the batch
//! API.
//!
//! `longshore-git` finds pointers in a commit and asks for their objects with it. The store's answer is judged here: it
//! says where bytes are, and never what they are, because an object is known by its SHA-256.

use serde::Deserialize;
use serde_json::{Value, json};

use super::CloneUrl;

/// A blob of this size or more is not a pointer, whatever it contains.
pub const MAX_POINTER: u64 = 1024;
/// The most objects of one question. Stores take a hundred at least.
pub const MAX_BATCH: usize = 100;
/// The media type of questions and answers.
pub const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";

/// The first lines of every version of the format.
const VERSIONS: [&str; 3] = [
    "version https://git-lfs.github.com/spec/v1",
    "version https://hawser.github.com/spec/v1",
    "version http://git-media.io/v/2",
];
/// Headers of a download that the client sets by itself, or that would change what the answer is.
const OWN_HEADERS: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "range", "accept-encoding", "cookie"];
/// The most headers of one download, and the longest one.
const MAX_HEADERS: usize = 32;
const MAX_HEADER: usize = 8 << 10;
const MAX_HREF: usize = 16 << 10;
/// The most characters kept of what a store says about an object.
const MAX_MESSAGE: usize = 300;

/// The object that a file of the commit refers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pointer {
    oid: String,
    size: u64,
}

/// Why a file that claims to be a pointer is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPointer {
    #[error("it is written by an extension of Git LFS, and those are programs that are not run here")]
    Extension,
    #[error("after its version it needs exactly the lines `oid sha256:<64 hex digits>` and `size <bytes>`")]
    Malformed,
}

impl Pointer {
    /// Reads a file's content. `None` if it does not claim to be a pointer.
    ///
    /// # Errors
    /// If it claims to be a pointer and is invalid.
    pub fn read(content: &[u8]) -> Result<Option<Self>, InvalidPointer> {
        let Some(rest) = VERSIONS.iter().find_map(|version| content.strip_prefix(version.as_bytes())) else {
            return Ok(None);
        };
        let Some(rest) = rest.strip_prefix(b"\n") else {
            return if rest.starts_with(b"\r") { Err(InvalidPointer::Malformed) } else { Ok(None) };
        };
        let text = std::str::from_utf8(rest).map_err(|_| InvalidPointer::Malformed)?;
        if content.len() as u64 >= MAX_POINTER {
            return Err(InvalidPointer::Malformed);
        }
        if text.starts_with("ext-") {
            return Err(InvalidPointer::Extension);
        }
        let read = || {
            let (oid, rest) = text.strip_prefix("oid sha256:")?.split_once('\n')?;
            let size = rest.strip_prefix("size ")?.strip_suffix('\n')?;
            Self::new(oid, number(size)?)
        };
        read().map(Some).ok_or(InvalidPointer::Malformed)
    }

    /// Returns the pointer to an object. `None` if `oid` is not a valid object id.
    #[must_use]
    pub fn new(oid: &str, size: u64) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (oid.len() == 64 && oid.bytes().all(is_digit)).then(|| Self { oid: oid.to_owned(), size })
    }

    /// Returns the object's SHA-256, as 64 hexadecimal digits in lower case.
    #[must_use]
    pub fn oid(&self) -> &str {
        &self.oid
    }

    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

/// Reads a number as the format writes it, without a sign or zeros before it.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse::<i64>().ok().filter(|_| plain).and_then(|number| u64::try_from(number).ok())
}

/// Returns the address of a repository's store, for a clone address over HTTP. For an address over ssh, the host has to
/// be asked.
#[must_use]
pub fn address_of(url: &CloneUrl) -> Option<String> {
    if url.is_ssh() {
        return None;
    }
    let address = url.address().trim_end_matches('/');
    let end = if address.ends_with(".git") { "" } else { ".git" };
    Some(format!("{address}{end}/info/lfs"))
}

/// Returns the question for objects of a branch or tag.
#[must_use]
pub fn question(objects: &[Pointer], git_ref: Option<&str>) -> Value {
    let objects: Vec<Value> =
        objects.iter().map(|pointer| json!({ "oid": pointer.oid, "size": pointer.size })).collect();
    let mut question =
        json!({ "operation": "download", "transfers": ["basic"], "hash_algo": "sha256", "objects": objects });
    if let Some(name) = git_ref {
        question["ref"] = json!({ "name": name });
    }
    question
}

/// What a store says about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    Download {
        href: String,
        headers: Vec<(String, String)>,
    },
    /// In the store's words, which may be empty.
    Missing(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    transfer: Option<String>,
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Actions {
    #[serde(default)]
    download: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: Option<serde_json::Map<String, Value>>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
}

/// Reads the answer to [`question`]: one offer for each object, in the order of the question.
///
/// # Errors
/// A message for people if `answer` is not the answer of a Git LFS store.
pub fn read_answer(asked: &[Pointer], answer: &[u8]) -> Result<Vec<Offer>, String> {
    let mut answer: Answer = serde_json::from_slice(answer)
        .map_err(|error| format!("its answer is not a Git LFS batch response: {error}"))?;
    if let Some(other) = answer.transfer.filter(|transfer| transfer != "basic") {
        let other: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
        return Err(format!("it offers only transfers by `{other}`, and Longshore knows `basic`"));
    }
    asked
        .iter()
        .map(|pointer| match answer.objects.iter_mut().find(|object| object.oid == pointer.oid) {
            None => Ok(Offer::Missing(String::new())),
            Some(object) => offer(object),
        })
        .collect()
}

fn offer(object: &mut Object) -> Result<Offer, String> {
    if let Some(refusal) = &object.error {
        return Ok(Offer::Missing(message(&refusal.message)));
    }
    let Some(action) = object.actions.as_mut().and_then(|actions| actions.download.as_mut()) else {
        return Ok(Offer::Missing(String::new()));
    };
    if action.href.len() > MAX_HREF || !is_http(&action.href) {
        return Err(format!("it says that {} is at an address that is not one of http or https", object.oid));
    }
    let mut headers = Vec::new();
    for (name, value) in action.header.take().unwrap_or_default() {
        let Value::String(value) = value else { continue };
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            continue;
        }
        let is_header =
            http::HeaderName::from_bytes(name.as_bytes()).is_ok() && http::HeaderValue::from_str(&value).is_ok();
        if !is_header || value.len() > MAX_HEADER || headers.len() == MAX_HEADERS {
            return Err("it asks for headers that no request can have".to_owned());
        }
        headers.push((name, value));
    }
    Ok(Offer::Download { href: action.href.clone(), headers })
}

/// Returns what a store said, as one short line.
#[must_use]
pub fn message(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect()
}

/// Returns whether a text is an address of HTTP without a user or password in it.
#[must_use]
pub fn is_http(address: &str) -> bool {
    let Some((_, rest)) = address.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https")) else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    !host.is_empty() && !host.contains('@') && !address.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// Where ssh has to be asked for a store's address: what follows `git-lfs-authenticate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshQuestion {
    /// `user@host`
    pub login: String,
    pub port: Option<String>,
    pub command: String,
}

/// Returns how to ask the host of an ssh address for the address of the repository's store.
#[must_use]
pub fn ssh_question(url: &CloneUrl) -> Option<SshQuestion> {
    let address = url.is_ssh().then(|| url.address())?;
    let (login, port, path) = match address.strip_prefix("ssh://") {
        Some(rest) => {
            let (authority, path) = rest.split_once('/')?;
            let (user, host) = authority.split_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
            let (host, port) = match host.rsplit_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok() => (host, Some(port.to_owned())),
                Some(_) | None => (host, None),
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            (user.map_or_else(|| host.to_owned(), |user| format!("{user}@{host}")), port, format!("/{path}"))
        }
        None => {
            let (login, path) = address.split_once(':')?;
            (login.to_owned(), None, path.to_owned())
        }
    };
    let path = path.replace('\'', "'\\''");
    Some(SshQuestion { login, port, command: format!("git-lfs-authenticate '{path}' download") })
}

/// The answer to an [`SshQuestion`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SshAnswer {
    /// The store's address. Required here, although the protocol lets a host leave it out.
    #[serde(default)]
    pub href: String,
    #[serde(default)]
    pub header: std::collections::BTreeMap<String, String>,
}

impl SshAnswer {
    /// Reads what the host printed.
    ///
    /// # Errors
    /// A message for people if `printed` is not the answer of `git-lfs-authenticate`, or names no address.
    pub fn read(printed: &[u8]) -> Result<Self, String> {
        let answer: Self = serde_json::from_slice(printed)
            .map_err(|error| format!("the answer to `git-lfs-authenticate` is not what Git LFS expects: {error}"))?;
        let is_header = |(name, value): (&String, &String)| {
            http::HeaderName::from_bytes(name.as_bytes()).is_ok() && http::HeaderValue::from_str(value).is_ok()
        };
        let sound = is_http(&answer.href) && answer.href.len() <= MAX_HREF && answer.header.iter().all(is_header);
        sound.then_some(answer).ok_or_else(|| "the answer to `git-lfs-authenticate` names no address".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    fn pointer() -> Pointer {
        Pointer::new(OID, 12345).unwrap()
    }

    #[test]
    fn a_pointer_is_what_git_lfs_writes_and_nothing_else() {
        let written = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 12345\n");
        assert_eq!(Pointer::read(written.as_bytes()), Ok(Some(pointer())));
        for other in [
            "",
            "version 1\n",
            "a file",
            "version https://git-lfs.github.com/spec/v2\n",
            " version https://git-lfs.github.com/spec/v1\n",
        ] {
            assert_eq!(Pointer::read(other.as_bytes()), Ok(None), "{other:?}");
        }
        let broken = [
            written.replace("12345", "012345"),
            written.replace("12345", "-1"),
            written.replace("12345", "99999999999999999999"),
            written.replace("12345\n", "12345"),
            written.replace('\n', "\r\n"),
            written.replace(OID, &OID.to_uppercase()),
            written.replace(OID, &OID[1..]),
            written.replace("sha256", "sha1"),
            format!("{written}more\n"),
            format!("{written}<<<<<<< HEAD\n"),
            written.replace("\noid", "\n<<<<<<< HEAD\noid"),
            format!("{written}{}", "\n".repeat(1024)),
        ];
        for text in broken {
            assert_eq!(Pointer::read(text.as_bytes()), Err(InvalidPointer::Malformed), "{text:?}");
        }
        let extended = written.replace("oid", "ext-0-case sha256:00\noid");
        assert_eq!(Pointer::read(extended.as_bytes()), Err(InvalidPointer::Extension));
    }

    #[test]
    fn a_store_is_beside_its_repository() {
        for (url, store) in [
            ("https://me:word@h:1/team/app.git", Some("https://h:1/team/app.git/info/lfs")),
            ("https://h/team/app/", Some("https://h/team/app.git/info/lfs")),
            ("git@h:team/app.git", None),
        ] {
            assert_eq!(address_of(&url.parse().unwrap()).as_deref(), store);
        }
        for (url, login, port, command) in [
            ("git@h:team/app.git", "git@h", None, "git-lfs-authenticate 'team/app.git' download"),
            ("ssh://git@h:22/team/app.git", "git@h", Some("22"), "git-lfs-authenticate '/team/app.git' download"),
            ("ssh://git@[::1]:22/a'b", "git@::1", Some("22"), r"git-lfs-authenticate '/a'\''b' download"),
        ] {
            let asked = ssh_question(&url.parse().unwrap()).unwrap();
            assert_eq!((asked.login.as_str(), asked.port.as_deref(), asked.command.as_str()), (login, port, command));
        }
        assert_eq!(ssh_question(&"https://h/a".parse().unwrap()), None);
    }

    #[test]
    fn an_answer_gives_each_object_one_offer_and_no_say_over_the_request() {
        let other = Pointer::new(&"0".repeat(64), 1).unwrap();
        let asked = [other.clone(), pointer(), Pointer::new(&"1".repeat(64), 2).unwrap()];
        let answer = json!({ "objects": [
            { "oid": OID, "size": 7, "actions": { "download": { "href": "https://s/x", "header": { "Authorization": "Basic a", "Host": "evil", "range": "0-", "n": 3 } } } },
            { "oid": other.oid(), "error": { "code": 404, "message": "gone\nfor good" } },
        ] });
        let offers = read_answer(&asked, answer.to_string().as_bytes()).unwrap();
        let download =
            Offer::Download { href: "https://s/x".into(), headers: vec![("Authorization".into(), "Basic a".into())] };
        assert_eq!(offers, [Offer::Missing("gone for good".into()), download, Offer::Missing(String::new())]);
        for (href, header) in
            [("file:///etc/passwd", "a"), ("https://u:p@h/", "a"), ("https://h/ x", "a"), ("https://h/", "a\nb")]
        {
            let answer = json!({ "objects": [{ "oid": OID, "actions": { "download": { "href": href, "header": { header: "b\r\nc" } } } }] });
            assert!(read_answer(&[pointer()], answer.to_string().as_bytes()).is_err(), "{href}");
        }
        assert!(read_answer(&[pointer()], br#"{"transfer": "tus", "objects": []}"#).unwrap_err().contains("`tus`"));
        assert!(read_answer(&[pointer()], b"<html>").is_err());
    }
}
