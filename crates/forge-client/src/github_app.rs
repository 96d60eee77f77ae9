//! GitHub Apps. An App has a key; with it, it makes tokens of its installations, which are good for an hour and are
//! used like any other token. The installation that a repository belongs to is looked up once.
//!
//! As the token of a connection an App is one word: `app-ID.KEY`, the key being its DER in Base64.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use longshore_core::Timestamp;
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Account, CallError, CheckRun, ForgeApi, Http, NewHook, NewStatus, RemoteRepo,
    connection::{InvalidAddress, percent_encoded},
    github::{Github, root_of},
    http::Endpoint,
    pages::{PER_PAGE, read_all},
};

/// The prefix of a token that is an App.
const PREFIX: &str = "app-";
/// How long a JWT is good; GitHub takes ten minutes at most, and clocks differ.
const JWT_AHEAD: u64 = 9 * 60;
const JWT_BEHIND: u64 = 60;
/// A token that is good for less is not used any more: what it is used for takes its time.
const MIN_REMAINING_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// The permissions that an App needs, by GitHub's words.
const NEEDED_PERMISSIONS: [(&str, &str, &[&str]); 3] = [
    ("contents", "contents: read", &["read", "write"]),
    ("statuses", "commit statuses: read and write", &["write"]),
    ("repository_hooks", "webhooks: read and write", &["write"]),
];

/// Makes the token of a connection from an App's id (or client id) and its private key as GitHub gives it, PEM.
///
/// # Errors
/// If the id or the key is invalid.
pub fn app_token(id: &str, pem: &str) -> Result<String, InvalidAddress> {
    let id = id.trim();
    if id.is_empty() || id.len() > 100 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(InvalidAddress("the App's id is a number, or its client ID"));
    }
    let body: String = pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let token = format!("{PREFIX}{id}.{body}");
    match App::parse(&token) {
        Some(_) => Ok(token),
        None => Err(InvalidAddress(
            "that is not a private key of a GitHub App: give the .pem file that GitHub made for it, as it is",
        )),
    }
}

/// An App with its key.
pub(crate) struct App {
    id: String,
    key: RsaKeyPair,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("id", &self.id).finish_non_exhaustive()
    }
}

impl App {
    /// Returns whether a token is an App.
    pub(crate) fn is(token: &str) -> bool {
        token.starts_with(PREFIX)
    }

    /// Reads an App from a connection's token.
    pub(crate) fn parse(token: &str) -> Option<Self> {
        let (id, key) = token.strip_prefix(PREFIX)?.split_once('.')?;
        let der = BASE64_STANDARD.decode(key).ok()?;
        // GitHub gives PKCS #1; who converted it has PKCS #8.
        let key = RsaKeyPair::from_der(&der).or_else(|_| RsaKeyPair::from_pkcs8(&der)).ok()?;
        Some(Self { id: id.to_owned(), key })
    }

    /// Returns a token by which the App itself is known, for some minutes.
    fn jwt(&self, now: SystemTime) -> Option<String> {
        let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let encoded = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({ "iat": now - JWT_BEHIND, "exp": now + JWT_AHEAD, "iss": self.id });
        let signed = format!("{}.{}", encoded(&json!({ "alg": "RS256", "typ": "JWT" })), encoded(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        Some(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Tokens and installations that are known, of all Apps. Part of [`Http`], which is one for all callers.
#[derive(Default)]
pub(crate) struct Installations {
    known: Mutex<HashMap<String, Known>>,
    /// One for each token, held while it is made, so that those who need it at the same moment share it.
    making: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

impl fmt::Debug for Installations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Installations(..)")
    }
}

#[derive(Clone)]
enum Known {
    /// The installation that a repository belongs to.
    Of(u64),
    Token(MadeToken),
}

/// A token of an installation.
#[derive(Clone)]
struct MadeToken {
    token: String,
    until: SystemTime,
    /// Whether it may make check runs.
    checks: bool,
}

impl Installations {
    fn get(&self, key: &str) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn set(&self, key: String, known: Known) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, known);
    }

    fn forget(&self, key: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// GitHub, reached as an App.
#[derive(Debug)]
pub(crate) struct GithubApp {
    http: Http,
    address: String,
    app: App,
}

#[derive(Deserialize)]
struct AppFacts {
    slug: String,
    #[serde(default)]
    permissions: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
}

/// An installation in the list of all.
#[derive(Deserialize)]
struct Listed {
    id: u64,
    suspended_at: Option<String>,
    account: Option<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    login: Option<String>,
    slug: Option<String>,
}

#[derive(Deserialize)]
struct MintedToken {
    token: String,
    expires_at: Timestamp,
    #[serde(default)]
    permissions: HashMap<String, String>,
}

#[derive(Deserialize)]
struct AppHook {
    url: Option<String>,
}

#[derive(Deserialize)]
struct Collaborator {
    permission: String,
}

#[derive(Deserialize)]
struct Reached {
    repositories: Vec<crate::github::Repo>,
}

impl GithubApp {
    pub(crate) fn new(http: &Http, address: &str, app: App) -> Self {
        Self { http: http.clone(), address: address.to_owned(), app }
    }

    /// Returns an endpoint at which the App itself is known.
    fn itself(&self) -> Result<Endpoint, CallError> {
        let jwt = self.app.jwt(SystemTime::now()).ok_or(CallError::NotSupported("the App's key cannot sign"))?;
        let endpoint = Endpoint::new(
            self.http.clone(),
            root_of(&self.address),
            "authorization",
            &format!("Bearer {jwt}"),
            &jwt,
            "GitHub",
        );
        Ok(endpoint.accepting("application/vnd.github+json"))
    }

    fn key(&self, what: &str) -> String {
        format!("{} {} {what}", self.address, self.app.id)
    }

    /// Returns the installation of a repository, whose path is `/repositories/{id}` or `/repos/{name}`.
    fn installation(&self, path: &str) -> Result<u64, CallError> {
        let key = self.key(path);
        if let Some(Known::Of(id)) = self.http.installations().get(&key) {
            return Ok(id);
        }
        let itself = self.itself()?;
        let answer = itself.get(&format!("{path}/installation")).map_err(|error| match error {
            CallError::NotFound { .. } => itself
                .missing_right("there is no such repository, or the App is not installed for it: install it there"),
            error => error,
        })?;
        let found: Installation = answer.read().ok_or_else(|| itself.not_understood())?;
        self.http.installations().set(key, Known::Of(found.id));
        Ok(found.id)
    }

    fn installations(&self) -> Result<Vec<Listed>, CallError> {
        read_all(&self.itself()?, "/app/installations", "per_page")
    }

    /// Returns a token of an installation that is good for a while.
    fn token(&self, installation: u64) -> Result<MadeToken, CallError> {
        let key = self.key(&format!("token {installation}"));
        let turn = {
            let mut turns = self.http.installations().making.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(key.clone()).or_default())
        };
        let _making = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Known::Token(made)) = self.http.installations().get(&key)
            && made.until > SystemTime::now() + MIN_REMAINING_LIFETIME
        {
            return Ok(made);
        }
        let itself = self.itself()?;
        let answer = itself.post(&format!("/app/installations/{installation}/access_tokens"), &json!({}))?;
        let minted: MintedToken = answer.read().ok_or_else(|| itself.not_understood())?;
        let until = UNIX_EPOCH + Duration::from_millis(u64::try_from(minted.expires_at.as_millis()).unwrap_or(0));
        let checks = minted.permissions.get("checks").is_some_and(|has| has == "write");
        let made = MadeToken { token: minted.token, until, checks };
        self.http.installations().set(key, Known::Token(made.clone()));
        Ok(made)
    }

    /// Returns the token for the repository with this path.
    pub(crate) fn token_of(&self, path: &str) -> Result<String, CallError> {
        self.made_for(path).map(|made| made.token)
    }

    fn made_for(&self, path: &str) -> Result<MadeToken, CallError> {
        match self.installation(path).and_then(|installation| self.token(installation)) {
            // The App was uninstalled and installed again: it is another installation.
            Err(CallError::NotFound { .. } | CallError::BadToken { .. }) => {
                self.http.installations().forget(&self.key(path));
                let installation = self.installation(path)?;
                self.http.installations().forget(&self.key(&format!("token {installation}")));
                self.token(installation)
            }
            result => result,
        }
    }

    /// Calls with the token of a repository, and with a new one if GitHub does not take that any more.
    fn of_repo<T>(&self, repo: &str, call: impl Fn(&Github) -> Result<T, CallError>) -> Result<T, CallError> {
        self.of_repo_as(repo, |github, _| call(github))
    }

    /// Makes the same call, for one that has to know whether the token may make check runs.
    fn of_repo_as<T>(&self, repo: &str, call: impl Fn(&Github, bool) -> Result<T, CallError>) -> Result<T, CallError> {
        let path = format!("/repositories/{repo}");
        let with = |made: MadeToken| call(&Github::new(&self.http, &self.address, &made.token), made.checks);
        match with(self.made_for(&path)?) {
            Err(CallError::BadToken { .. }) => {
                let installation = self.installation(&path)?;
                self.http.installations().forget(&self.key(&format!("token {installation}")));
                self.http.installations().forget(&self.key(&path));
                with(self.made_for(&path)?)
            }
            result => result,
        }
    }
}

impl ForgeApi for GithubApp {
    fn check(&self) -> Result<Account, CallError> {
        let itself = self.itself()?;
        let facts: AppFacts = itself.get("/app")?.read().ok_or_else(|| itself.not_understood())?;
        for (name, needs, fits) in NEEDED_PERMISSIONS {
            if !facts.permissions.get(name).is_some_and(|has| fits.contains(&has.as_str())) {
                return Err(itself.missing_right(format!("the App needs the repository permission {needs}")));
            }
        }
        Ok(Account { login: format!("{}[bot]", facts.slug) })
    }

    fn repos(&self) -> Result<Vec<RemoteRepo>, CallError> {
        let mut all = Vec::new();
        for installation in self.installations()?.iter().filter(|one| one.suspended_at.is_none()) {
            let github = Github::new(&self.http, &self.address, &self.token(installation.id)?.token);
            for page in 1_usize.. {
                let path = format!("/installation/repositories?per_page={PER_PAGE}&page={page}");
                let reached: Reached = github.0.get(&path)?.read().ok_or_else(|| github.0.not_understood())?;
                let is_last = reached.repositories.len() < PER_PAGE;
                // An App's permissions are the same for all its repositories.
                all.extend(reached.repositories.into_iter().map(|repo| RemoteRepo { admin: true, ..repo.into() }));
                if is_last || page >= crate::pages::MAX_PAGES {
                    break;
                }
            }
        }
        Ok(all)
    }

    fn suspended_by(&self) -> Result<Vec<String>, CallError> {
        let suspended = self.installations()?.into_iter().filter(|one| one.suspended_at.is_some());
        // An enterprise has a slug in place of a login.
        let name = |one: Listed| one.account.and_then(|account| account.login.or(account.slug)).unwrap_or_default();
        Ok(suspended.map(name).collect())
    }

    fn repo(&self, name: &str) -> Result<RemoteRepo, CallError> {
        let token = self.token_of(&format!("/repos/{name}"))?;
        let repo = Github::new(&self.http, &self.address, &token).repo(name)?;
        Ok(RemoteRepo { admin: true, ..repo })
    }

    fn set_hook(&self, repo: &str, hook: NewHook<'_>) -> Result<String, CallError> {
        self.of_repo(repo, |github| github.set_hook(repo, hook))
    }

    fn remove_hook(&self, repo: &str, hook: &str) -> Result<(), CallError> {
        match self.of_repo(repo, |github| github.remove_hook(repo, hook)) {
            Err(CallError::NotFound { .. }) => Ok(()),
            result => result,
        }
    }

    fn set_status(&self, repo: &str, status: &NewStatus) -> Result<(), CallError> {
        self.of_repo(repo, |github| github.set_status(repo, status))
    }

    fn show_check_run(&self, repo: &str, check: &CheckRun) -> Result<Option<String>, CallError> {
        self.of_repo_as(repo, |github, may| match may {
            true => github.show_check(repo, check).map(Some),
            false => Ok(None),
        })
    }

    fn set_app_hook(&self, hook: NewHook<'_>) -> Result<bool, CallError> {
        let itself = self.itself()?;
        let url = match itself.get("/app/hook/config") {
            Ok(answer) => answer.read::<AppHook>().ok_or_else(|| itself.not_understood())?.url,
            Err(CallError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        if url.is_some_and(|url| !url.is_empty() && url != hook.url) {
            return Ok(false);
        }
        let config = json!({ "url": hook.url, "content_type": "json", "secret": hook.secret, "insecure_ssl": "0" });
        itself.patch("/app/hook/config", &config).map(|_| true)
    }

    fn may_write(&self, repo: &str, login: &str) -> Result<bool, CallError> {
        let path = format!("/repositories/{repo}/collaborators/{}/permission", percent_encoded(login));
        let answer = self.of_repo(repo, |github| github.0.get(&path));
        let answer = match answer {
            Err(CallError::NotFound { .. }) => return Ok(false),
            answer => answer?,
        };
        // The least right of each role: GitHub reports `maintain` as `write` and `triage` as `read`.
        let found: Option<Collaborator> = answer.read();
        Ok(found.is_some_and(|found| matches!(found.permission.as_str(), "admin" | "write")))
    }

    fn comment(&self, repo: &str, number: u64, comment: Option<&str>, body: &str) -> Result<String, CallError> {
        self.of_repo(repo, |github| github.comment(repo, number, comment, body))
    }

    fn find_comment(&self, repo: &str, number: u64, account: &str, begin: &str) -> Result<Option<String>, CallError> {
        self.of_repo(repo, |github| github.find_comment(repo, number, account, begin))
    }
}
