//! Keys for ssh: makes them, asks hosts for theirs, and gives both to the ssh that git starts, without a file on any
//! disk.

use std::{
    io::{self, Write as _},
    os::fd::AsRawFd as _,
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use longshore_forge::{CloneUrl, SshLogin, lfs::SshAnswer};
use ring::{
    rand::{SecureRandom as _, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use tokio::{process::Command, time::timeout};

use super::{GitError, command::output_within};

const KIND: &str = "ssh-ed25519";
/// How long a host may take to show its keys.
const SCAN_LIMIT: Duration = Duration::from_secs(20);
/// The most bytes of a host's keys: it has a few, of less than a kilobyte each.
const MAX_HOST_KEYS: usize = 16 << 10;

/// How long a host may take to say where its LFS store is, and the longest answer.
const ASK_LIMIT: Duration = Duration::from_secs(60);
const MAX_LFS_ANSWER: usize = 64 << 10;
/// ssh for addresses without a key of their own.
pub(crate) const PLAIN: &str = "ssh -o BatchMode=yes -o ConnectTimeout=20";

/// A new key, in OpenSSH's formats.
#[derive(Clone)]
pub struct NewKey {
    /// `ssh-ed25519 AAAA... comment`
    pub public: String,
    pub private: String,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Makes an Ed25519 key. The comment says whose it is.
///
/// # Errors
/// If the system has no random bytes.
pub fn new_key(comment: &str) -> Result<NewKey, GitError> {
    let failed = |detail: String| GitError::Failed { operation: "making a key", detail };
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|error| failed(error.to_string()))?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|error| failed(error.to_string()))?;
    let public = pair.public_key().as_ref();
    let mut blob = Vec::new();
    push(&mut blob, KIND.as_bytes());
    push(&mut blob, public);
    // Two equal numbers tell whether a passphrase has opened it. This key has no passphrase.
    let mut secret = [0; 8].to_vec();
    push(&mut secret, KIND.as_bytes());
    push(&mut secret, public);
    push(&mut secret, &[seed.as_slice(), public].concat());
    push(&mut secret, comment.as_bytes());
    secret.extend((1..).take(secret.len().next_multiple_of(8) - secret.len()));
    let mut whole = b"openssh-key-v1\0".to_vec();
    for part in [b"none".as_slice(), b"none", b""] {
        push(&mut whole, part);
    }
    whole.extend(1_u32.to_be_bytes());
    push(&mut whole, &blob);
    push(&mut whole, &secret);
    let lines: Vec<String> = BASE64_STANDARD
        .encode(whole)
        .as_bytes()
        .chunks(70)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    Ok(NewKey {
        public: format!("{KIND} {} {comment}", BASE64_STANDARD.encode(blob)),
        private: format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
            lines.join("\n")
        ),
    })
}

/// Writes a string as ssh does: its length, and its bytes. All that is written here is short.
fn push(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    into.extend(bytes);
}

/// Asks the host of an ssh address for its keys. Returns them as lines of known_hosts.
///
/// # Errors
/// If it cannot be reached, or shows none.
pub async fn host_keys(url: &CloneUrl) -> Result<String, GitError> {
    let address = url.address();
    let unreachable =
        |detail: &str| GitError::Unreachable { address: address.to_owned(), detail: format!("ssh-keyscan: {detail}") };
    let (host, port) = match url.host().rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, port),
        Some(_) | None => (url.host(), "22"),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut scan = Command::new("ssh-keyscan");
    scan.args(["-T", "10", "-p", port, "--", host])
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let scanned =
        timeout(SCAN_LIMIT, output_within(&mut scan, MAX_HOST_KEYS)).await.map_err(|_| unreachable("no answer"))?;
    let (_, shown, _) = scanned.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => unreachable("it is not installed: install OpenSSH's client"),
        _ => unreachable(&error.to_string()),
    })?;
    let text = String::from_utf8_lossy(&shown);
    let is_key =
        |line: &&str| !line.starts_with('#') && line.split(' ').count() == 3 && !line.contains(char::is_control);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(is_key).collect();
    let keys: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    match keys.len() {
        _ if shown.len() > MAX_HOST_KEYS => Err(unreachable("the host shows too many keys")),
        0 => Err(unreachable("the host shows no key")),
        _ => Ok(keys),
    }
}

/// Asks the host of an ssh address for the address of the repository's LFS store, and for the credentials of that.
pub(crate) async fn ask_for_lfs(url: &CloneUrl) -> Result<SshAnswer, GitError> {
    let failed = |detail: String| GitError::Lfs { address: url.address().to_owned(), detail };
    let asked =
        longshore_forge::lfs::ssh_question(url).ok_or_else(|| failed("it is not an address of ssh".to_owned()))?;
    let files = url.ssh_login().map(SshFiles::new).transpose().map_err(GitError::io("giving ssh its key"))?;
    let ssh = files.as_ref().map_or_else(|| PLAIN.to_owned(), SshFiles::command);
    let port = asked.port.map(|port| ["-p".to_owned(), port]);
    let mut ask = Command::new("sh");
    ask.args(["-c", &format!("exec {ssh} \"$@\""), "sh"])
        .args(port.into_iter().flatten())
        .args(["--", &asked.login, &asked.command])
        .env_clear()
        .envs(["PATH", "SSH_AUTH_SOCK"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .envs([("HOME", "/nonexistent"), ("LC_ALL", "C"), ("SSH_ASKPASS", "false")])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let asked = timeout(ASK_LIMIT, output_within(&mut ask, MAX_LFS_ANSWER))
        .await
        .map_err(|_| failed("ssh does not answer".to_owned()))?;
    let (status, answer, complaint) = asked.map_err(GitError::io("talking with ssh"))?;
    drop(files);
    if answer.len() > MAX_LFS_ANSWER {
        return Err(failed("its ssh answers without end".to_owned()));
    }
    if status.success() {
        return SshAnswer::read(&answer).map_err(failed);
    }
    let complaint: Vec<String> =
        String::from_utf8_lossy(&complaint).lines().map(|line| line.trim().to_owned()).collect();
    let complaint = longshore_forge::lfs::message(&complaint.join("; "));
    // 255 is ssh's own; every other code is from the host's program.
    match status.code() {
        Some(255) => Err(GitError::from_remote(url, complaint)),
        _ => Err(failed(format!("its ssh does not know `git-lfs-authenticate` for this repository ({complaint})"))),
    }
}

/// Files on memory that one ssh reads its key and the pinned keys of its host from. They are there while this is.
#[derive(Debug)]
pub(crate) struct SshFiles {
    key: std::fs::File,
    known_hosts: std::fs::File,
}

impl SshFiles {
    pub(crate) fn new(login: &SshLogin) -> io::Result<Self> {
        Ok(Self { key: on_memory(login.private_key())?, known_hosts: on_memory(login.host_keys())? })
    }

    /// Returns git's `GIT_SSH_COMMAND`: no key but this one, no host but those that are pinned. ssh closes what it
    /// inherits, so it opens the files by way of this process.
    pub(crate) fn command(&self) -> String {
        let path = |file: &std::fs::File| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        format!(
            "ssh -o BatchMode=yes -o ConnectTimeout=20 -i {} -o IdentitiesOnly=yes -o IdentityAgent=none \
             -o UserKnownHostsFile={} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o UpdateHostKeys=no",
            path(&self.key),
            path(&self.known_hosts)
        )
    }
}

fn on_memory(text: &str) -> io::Result<std::fs::File> {
    let mut file = std::fs::File::from(memfd_create("longshore-ssh", MemfdFlags::CLOEXEC)?);
    // ssh takes no key that others could read.
    fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn openssh_reads_a_key_that_is_made_here_from_memory() {
        let key = new_key("longshore team/app").unwrap();
        assert!(!format!("{key:?}").contains("PRIVATE"));
        let files = SshFiles::new(&SshLogin::new(key.private, String::new())).unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), files.key.as_raw_fd());
        let shown = Command::new("ssh-keygen").args(["-y", "-f", &path]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), key.public, "{shown:?}");
    }
}
