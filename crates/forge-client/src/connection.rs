//! A connection: a forge's kind, its address and a token, and the client that uses them.

use std::fmt;

pub(crate) use longshore_core::percent::encode as percent_encoded;
use ring::hmac;
use url::Url;

use crate::{
    Account, CallError, ForgeApi, Http, Kind,
    bitbucket::Bitbucket,
    gitea::Gitea,
    github::Github,
    github_app::{App, GithubApp},
    gitlab::Gitlab,
    gogs::Gogs,
};

const MAX_ADDRESS: usize = 512;
const MAX_TOKEN: usize = 4096;

/// The address of a forge, and a token for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    kind: Kind,
    /// Without a slash at the end.
    address: String,
    token: String,
}

/// Why an address or a token cannot be used. The message contains neither of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAddress(pub(crate) &'static str);

impl Connection {
    /// # Errors
    /// If the address is invalid, or the token cannot be sent.
    pub fn new(kind: Kind, address: &str, token: &str) -> Result<Self, InvalidAddress> {
        let address = check_address(address)?;
        let token = token.trim();
        if token.is_empty() {
            return Err(InvalidAddress("the token is empty"));
        }
        if token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidAddress("the token is invalid: a token is one word of at most 4,096 characters"));
        }
        if kind == Kind::Github && App::is(token) && App::parse(token).is_none() {
            return Err(InvalidAddress("the private key of the GitHub App is damaged"));
        }
        Ok(Self { kind, address, token: token.to_owned() })
    }

    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the token. Only for the store, which seals it.
    #[must_use]
    pub fn expose_token(&self) -> &str {
        &self.token
    }

    /// Returns the client that calls the forge.
    #[must_use]
    pub fn api(&self, http: &Http) -> Box<dyn ForgeApi> {
        let (address, token) = (&self.address, &self.token);
        match self.kind {
            Kind::Github => match App::parse(token) {
                Some(app) => Box::new(GithubApp::new(http, address, app)),
                None => Box::new(Github::new(http, address, token)),
            },
            Kind::Gitea => Box::new(Gitea::new(http, address, token, "gitea")),
            Kind::Forgejo => Box::new(Gitea::new(http, address, token, "forgejo")),
            Kind::Gitlab => Box::new(Gitlab::new(http, address, token)),
            Kind::Bitbucket => Box::new(Bitbucket::new(http, address, token)),
            Kind::Gogs => Box::new(Gogs::new(http, address, token)),
        }
    }

    /// Returns the address that a repository is cloned from, without credentials. It is always below the connection's
    /// address, whatever address the forge reports, so that the token is sent nowhere else.
    #[must_use]
    pub fn clone_address(&self, repo: &str) -> String {
        format!("{}/{repo}.git", self.address)
    }

    /// Returns whether this is a GitHub App, whose login is created for each use.
    #[must_use]
    pub fn is_app(&self) -> bool {
        self.kind == Kind::Github && App::is(&self.token)
    }

    /// Returns the secret of a GitHub App's own webhook. It is derived from the App's key, so it need not be stored.
    /// `None` for other connections.
    #[must_use]
    pub fn app_hook_secret(&self) -> Option<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.token.as_bytes());
        self.is_app().then(|| hex::encode(hmac::sign(&key, b"longshore: the webhook of the App")))
    }

    /// Returns the login of a GitHub App for a repository, given by its full name; it is valid for some minutes at
    /// least. `None` for other connections, whose clone addresses contain the login.
    ///
    /// # Errors
    /// If GitHub does not give a token.
    pub fn login_now(&self, http: &Http, repo: &str) -> Result<Option<String>, CallError> {
        let Some(app) = App::parse(&self.token).filter(|_| self.is_app()) else { return Ok(None) };
        let token = GithubApp::new(http, &self.address, app).token_of(&format!("/repos/{repo}"))?;
        Ok(Some(format!("x-access-token:{}", percent_encoded(&token))))
    }

    /// Returns the user and the password for clone addresses, percent-encoded, as `user:password`. Empty for a GitHub
    /// App.
    #[must_use]
    pub fn clone_login(&self, account: &Account) -> String {
        let token = percent_encoded(&self.token);
        match self.kind {
            Kind::Github if self.is_app() => String::new(),
            Kind::Github => format!("x-access-token:{token}"),
            Kind::Gitea | Kind::Forgejo => format!("{}:{token}", percent_encoded(&account.login)),
            Kind::Gitlab => format!("oauth2:{token}"),
            Kind::Bitbucket => match self.token.split_once(':') {
                Some((_, token)) => format!("x-bitbucket-api-token-auth:{}", percent_encoded(token)),
                None => format!("x-token-auth:{token}"),
            },
            // Older versions look for the token in the name, newer ones in the password too.
            Kind::Gogs => format!("{token}:{token}"),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("kind", &self.kind).field("address", &self.address).finish_non_exhaustive()
    }
}

fn check_address(text: &str) -> Result<String, InvalidAddress> {
    const NONE: InvalidAddress =
        InvalidAddress("not the address of a forge: write it as in a browser, such as https://forge.example");
    let url = Url::parse(text.trim()).map_err(|_| NONE)?;
    if text.len() > MAX_ADDRESS || !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(NONE);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidAddress("the address contains a user or a password: pass only the token"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(NONE);
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_a_browser_shows_it_and_nothing_else_is() {
        for (given, kept) in [
            ("https://forge.example/", "https://forge.example"),
            ("http://forge.example:3000", "http://forge.example:3000"),
            (" https://Forge.example/git/ ", "https://forge.example/git"),
        ] {
            assert_eq!(Connection::new(Kind::Gitea, given, "token").unwrap().address(), kept);
        }
        for bad in [
            "",
            "forge.example",
            "ftp://forge.example",
            "https://a:b@forge.example",
            "https://forge.example/?x",
            "https://",
        ] {
            assert!(Connection::new(Kind::Gitea, bad, "token").is_err(), "{bad}");
        }
        for bad in ["", " ", "a b", "a\nb", "ä", &"x".repeat(MAX_TOKEN + 1)] {
            let error = Connection::new(Kind::Gitea, "https://forge.example", bad).unwrap_err().to_string();
            assert!(bad.trim().is_empty() || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn no_debug_output_has_the_token() {
        let connection = Connection::new(Kind::Github, "https://github.com", "s3cret-token").unwrap();
        assert!(!format!("{connection:?} {:?}", Http::default()).contains("s3cret"));
    }

    #[test]
    fn a_token_goes_to_the_connections_own_address_alone() {
        let connection = Connection::new(Kind::Gitea, "https://forge.example/git", "a/b").unwrap();
        assert_eq!(connection.clone_address("team/app"), "https://forge.example/git/team/app.git");
        assert_eq!(connection.clone_login(&Account { login: "a@b".to_owned() }), "a%40b:a%2Fb");
    }
}
