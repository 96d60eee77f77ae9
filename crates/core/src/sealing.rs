//! Why something that the database keeps sealed cannot be used, in words for people: the server says so at its start,
//! the API in its answers, and a job or a message that needs it in its reason.

use std::path::PathBuf;

use crate::{RegistryHost, SecretName};

/// A text that is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the encryption key must be 64 hexadecimal digits (`openssl rand -hex 32`)")]
pub struct NotAKey;

/// What to do about a key that is lost.
const REMEDY: &str = "; if it is lost for good, remove all secrets (`longshore secret remove`), registries (`longshore registry remove`) and notifications (`longshore notification \
                      remove`), give the tokens of connections again (`longshore connection add`), make a new hook secret for every repository (and a new deploy key, where it has one) and give its clone address again where that has credentials, \
                      then set the secrets again";

/// What is wrong with the key that seals secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    #[error("{}: {NotAKey}", .0.display())]
    Malformed(PathBuf),
    /// It is neither given nor in its file.
    #[error("the key of the secrets is gone: put {} back, or give it as LONGSHORE_SECRET_KEY{REMEDY}", .0.display())]
    Gone(PathBuf),
    #[error(
        "the key given in the settings (secret_key, LONGSHORE_SECRET_KEY) is not the one that the secrets in this database were sealed with: give that one{REMEDY}"
    )]
    OtherGiven,
    #[error(
        "the key in {} is not the one that the secrets in this database were sealed with: give that one{REMEDY}",
        .0.display()
    )]
    OtherInFile(PathBuf),
    #[error(
        "the repository's hook secret cannot be decrypted with the current key: use the key that it was encrypted with, \
         or create a new hook secret"
    )]
    HookSecret,
    #[error(
        "the repository's deploy key cannot be decrypted with the current key: use the key that it was encrypted with, \
         or create a new deploy key"
    )]
    DeployKey,
}

/// A sealed value that the right key does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    #[error("the secret `{0}` cannot be decrypted")]
    Secret(SecretName),
    #[error("the token of the connection `{0}` does not open")]
    ConnectionToken(String),
    #[error("the address of the notification `{0}` does not open")]
    NotificationAddress(String),
    #[error("the password for the registry {0} cannot be decrypted")]
    RegistryPassword(RegistryHost),
    #[error("registries have passwords, but the database has no key")]
    NoKeyForRegistries,
}
