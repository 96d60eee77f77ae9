//! The rules for what people add to a server: how a thing may be called, and how many there may be. Whoever refuses
//! something by them says so in its own words.

use crate::access::Rights;

/// The longest name of a repository, in bytes.
pub const MAX_REPO_NAME_LEN: usize = 200;
/// The longest name of a connection, in bytes.
pub const MAX_CONNECTION_NAME_LEN: usize = 100;
/// The longest name of a notification, in bytes.
pub const MAX_NOTIFICATION_NAME_LEN: usize = 100;
/// The longest name of a token, in bytes.
pub const MAX_TOKEN_NAME_LEN: usize = 200;
/// The most repositories on a token's list: every list of builds asks for each of them.
pub const MAX_REPOS_OF_TOKEN: usize = 100;
/// The longest value of a secret, in bytes. Well below what the kernel accepts as one variable.
pub const MAX_SECRET_VALUE_LEN: usize = 48 << 10;

/// A value that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    RepoName(String),
    ConnectionName,
    NotificationName,
    TokenName,
    TokenWithoutScope,
    /// Its list of repositories is empty.
    TokenWithoutRepo,
    TokenWithTooManyRepos,
    EmptySecret,
    SecretTooLong,
    /// No variable can carry a NUL byte.
    SecretWithNul,
}

/// Things of which there may be only so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    Connections,
    /// Of a repository.
    Secrets,
    /// Of the server, and of each repository.
    Registries,
    /// Of the server, and of each repository.
    Notifications,
}

impl Limited {
    /// Returns the most that there may be.
    #[must_use]
    pub const fn most(self) -> i64 {
        match self {
            Self::Connections | Self::Registries => 100,
            Self::Secrets => 500,
            Self::Notifications => 50,
        }
    }
}

/// Checks a repository's name: parts of `A-Z a-z 0-9 . _ -` between slashes, none of which begins with a dot or a dash.
pub fn check_repo_name(name: &str) -> Result<(), Unfit> {
    let is_fine = name.len() <= MAX_REPO_NAME_LEN && name.split('/').all(is_plain);
    if is_fine { Ok(()) } else { Err(Unfit::RepoName(name.to_owned())) }
}

/// Checks a connection's name, which is one such part.
pub fn check_connection_name(name: &str) -> Result<(), Unfit> {
    let is_fine = name.len() <= MAX_CONNECTION_NAME_LEN && is_plain(name);
    if is_fine { Ok(()) } else { Err(Unfit::ConnectionName) }
}

fn is_plain(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with(['.', '-'])
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Checks a notification's name: one line.
pub fn check_notification_name(name: &str) -> Result<(), Unfit> {
    let is_fine = (1..=MAX_NOTIFICATION_NAME_LEN).contains(&name.len()) && !name.chars().any(char::is_control);
    if is_fine { Ok(()) } else { Err(Unfit::NotificationName) }
}

/// Checks the name and the rights of a token.
pub fn check_token(name: &str, rights: &Rights) -> Result<(), Unfit> {
    if !(1..=MAX_TOKEN_NAME_LEN).contains(&name.len()) {
        return Err(Unfit::TokenName);
    }
    if rights.scopes().is_empty() {
        return Err(Unfit::TokenWithoutScope);
    }
    match rights.repos() {
        Some([]) => Err(Unfit::TokenWithoutRepo),
        Some(repos) if repos.len() > MAX_REPOS_OF_TOKEN => Err(Unfit::TokenWithTooManyRepos),
        Some(_) | None => Ok(()),
    }
}

/// Checks a secret's value: one that a variable can carry, and that hides something.
pub fn check_secret_value(value: &str) -> Result<(), Unfit> {
    match value {
        "" => Err(Unfit::EmptySecret),
        value if value.len() > MAX_SECRET_VALUE_LEN => Err(Unfit::SecretTooLong),
        value if value.contains('\0') => Err(Unfit::SecretWithNul),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path_or_an_option() {
        for good in ["app", "owner/app", "a/b/c", "A.b_c-1", "x..y"] {
            assert!(check_repo_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(MAX_REPO_NAME_LEN + 1);
        for bad in
            ["", "/", "a/", "/a", "a//b", ".", "..", "../a", "a/../b", ".git", "-a", "a/-b", "a b", "a\n", "é", &long]
        {
            assert!(check_repo_name(bad).is_err(), "{bad}");
        }
    }
}
