//! A forge on this machine, for tests: it keeps what it is told, and refuses what the real ones refuse.
//!
//! One server for each kind, on a port of its own, with tokens, repositories, webhooks and statuses of commits. It can
//! be down, and can limit requests. Requests that are no call of its API go to a git host, so that repositories can be
//! cloned.

#[path = "forge/answers.rs"]
mod answers;
#[path = "forge/bitbucket.rs"]
mod bitbucket;
#[path = "forge/check_runs.rs"]
mod check_runs;
#[path = "forge/comments.rs"]
mod comments;
#[path = "forge/git.rs"]
mod git;
#[path = "forge/gitea.rs"]
mod gitea;
#[path = "forge/github.rs"]
mod github;
#[path = "forge/gitlab.rs"]
mod gitlab;
#[path = "forge/gogs.rs"]
mod gogs;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};

use self::{
    answers::{Answer, add_hook, answer, by_id, by_name, decode, is_commit, no, of_hub, page, record, remove_hook},
    bitbucket::bitbucket,
    comments::{Place, comment, comments_on, hub_commented, of_hub_comment},
    git::{decode_base64, pass_to_git},
    gitea::gitea,
    github::github,
    gitlab::gitlab,
    gogs::gogs,
};

/// The token that it knows.
pub const TOKEN: &str = "forge-token-0123456789";
/// The owner of that token.
pub const ACCOUNT: &str = "robot";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Github,
    Gitea,
    Forgejo,
    Gitlab,
    Bitbucket,
    Gogs,
}

impl Kind {
    /// Those with statuses of commits, which know repositories by a number.
    pub const ALL: [Self; 5] = [Self::Github, Self::Gitea, Self::Forgejo, Self::Gitlab, Self::Bitbucket];

    pub fn word(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitea => "gitea",
            Self::Forgejo => "forgejo",
            Self::Gitlab => "gitlab",
            Self::Bitbucket => "bitbucket",
            Self::Gogs => "gogs",
        }
    }

    fn root(self) -> &'static str {
        match self {
            Self::Github => "/api/v3",
            Self::Gitea | Self::Forgejo | Self::Gogs => "/api/v1",
            Self::Gitlab => "/api/v4",
            Self::Bitbucket => "/2.0",
        }
    }
}

/// A call of the API and its answer. The path is below the API's root.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Value,
    pub status: u16,
    pub answer: Value,
}

/// A status as it arrived.
#[derive(Debug, Clone)]
pub struct Status {
    pub repo: u64,
    pub commit: String,
    pub context: String,
    /// The forge's own word.
    pub state: String,
    pub description: String,
    pub target_url: String,
    pub body: Value,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

/// A comment on a pull request.
#[derive(Debug, Clone)]
pub struct Comment {
    pub id: u64,
    pub repo: u64,
    pub number: u64,
    pub author: String,
    pub body: String,
    /// How often it was changed.
    pub edits: usize,
}

#[derive(Debug, Clone)]
pub struct Hook {
    pub id: u64,
    pub repo: u64,
    pub body: Value,
}

#[derive(Debug, Clone)]
pub struct Repo {
    pub id: u64,
    pub name: String,
    pub admin: bool,
}

/// The forge's content, and how it behaves.
#[derive(Debug)]
pub struct State {
    pub repos: Vec<Repo>,
    pub hooks: Vec<Hook>,
    pub statuses: Vec<Status>,
    pub comments: Vec<Comment>,
    pub check_runs: Vec<CheckRun>,
    /// The rights at the repositories; everybody may read.
    pub writers: Vec<&'static str>,
    /// The scopes of the token, in the forge's words.
    pub scopes: Vec<&'static str>,
    /// Answers 503 to everything.
    pub down: bool,
    /// Answers 503 after so many more calls.
    pub fails_after: Option<usize>,
    /// So many of the next calls are refused for their number.
    pub limited: u32,
    /// Requests and answers, if they are to be kept.
    pub exchanges: Option<Vec<Exchange>>,
    /// Calls that were refused: what, and why.
    pub refused: Vec<String>,
    /// Commits that it has; all, if none is listed.
    pub commits: Vec<String>,
    pub calls: usize,
    /// A GitHub App: its id, the file of its public key, and the tokens that were made for it.
    pub app: Option<App>,
    /// Names of before, with the repository that had them.
    moved: Vec<(String, u64)>,
    next: u64,
    git_port: Option<u16>,
}

/// A GitHub App that is installed for all repositories.
#[derive(Debug)]
pub struct App {
    pub public_key: PathBuf,
    /// Those that are good.
    pub tokens: Vec<String>,
    pub minted: usize,
    /// How long new ones are good, in seconds.
    pub seconds: i64,
    /// Whether it may make check runs.
    pub checks: bool,
    /// Where its webhook leads, and the secret of it.
    pub hook: Value,
}

/// A check run as it is shown.
#[derive(Debug, Clone)]
pub struct CheckRun {
    pub id: u64,
    pub repo: u64,
    /// The newest value of each field that GitHub got, without annotations.
    pub body: Value,
    pub annotations: Vec<Value>,
    /// The status or conclusion of each call.
    pub told: Vec<String>,
}

/// The id of the App.
pub const APP_ID: &str = "4711";

/// A running forge. Answers until the program ends.
pub struct Forge {
    pub kind: Kind,
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Forge {
    /// Starts a forge with the repositories `team/app` and `team/other`.
    pub fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let repo = |id, name: &str| Repo { id, name: name.to_owned(), admin: true };
        let scopes = match kind {
            Kind::Github => vec!["repo", "read:org"],
            Kind::Gitea | Kind::Forgejo => vec!["read:user", "write:repository", "write:issue"],
            Kind::Gitlab => vec!["api"],
            Kind::Bitbucket => vec!["repository:write", "webhook"],
            Kind::Gogs => Vec::new(),
        };
        let state = Arc::new(Mutex::new(State {
            repos: vec![repo(41, "team/app"), repo(42, "team/other")],
            hooks: Vec::new(),
            statuses: Vec::new(),
            comments: Vec::new(),
            check_runs: Vec::new(),
            writers: vec!["ada"],
            scopes,
            down: false,
            fails_after: None,
            limited: 0,
            exchanges: None,
            refused: Vec::new(),
            commits: Vec::new(),
            calls: 0,
            app: None,
            moved: Vec::new(),
            next: 100,
            git_port: None,
        }));
        let of_thread = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&of_thread);
                std::thread::spawn(move || serve(client, kind, &state));
            }
        });
        Self { kind, port, state }
    }

    /// Makes it known to a GitHub App alone, whose private key is made in that folder. Returns the key, PEM.
    pub fn with_app(&self, folder: &Path) -> String {
        let openssl = |args: &[&str]| {
            let made =
                std::process::Command::new("openssl").current_dir(folder).args(args).output().expect("openssl runs");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        openssl(&["genrsa", "-traditional", "-out", "app.pem", "2048"]);
        openssl(&["rsa", "-in", "app.pem", "-pubout", "-out", "app.pub"]);
        let public_key = folder.join("app.pub");
        self.state().app = Some(App {
            public_key,
            tokens: Vec::new(),
            minted: 0,
            seconds: 3600,
            checks: false,
            hook: json!({ "content_type": "form" }),
        });
        std::fs::read_to_string(folder.join("app.pem")).expect("a key")
    }

    /// Every repository of it is this one of a git host.
    pub fn with_git(self, url: &str) -> Self {
        let port = url.split(':').nth(2).and_then(|rest| rest.split('/').next()).and_then(|port| port.parse().ok());
        self.state().git_port = port;
        self
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    /// Gives a repository another name. The old one leads to the new one until somebody takes it.
    pub fn rename(&self, id: u64, name: &str) {
        let mut state = self.state();
        let repo = state.repos.iter_mut().find(|repo| repo.id == id).expect("such a repository");
        let old = std::mem::replace(&mut repo.name, name.to_owned());
        state.moved.push((old, id));
    }

    /// Returns the newest state and description of each context of a commit, as the forge shows it.
    pub fn shown(&self, commit: &str) -> BTreeMap<String, (String, String)> {
        let state = self.state();
        let of_commit = state.statuses.iter().filter(|status| status.commit == commit);
        of_commit.map(|one| (one.context.clone(), (one.state.clone(), one.description.clone()))).collect()
    }
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    head: Vec<u8>,
}

fn serve(client: TcpStream, kind: Kind, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    loop {
        let request = read_head(&mut reader)?;
        let length = request.headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        if !request.path.starts_with(kind.root()) {
            return pass_to_git(&request, reader, client, state);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let (status, more, answer) = {
            let mut state = state.lock().ok()?;
            state.calls += 1;
            let answer = judge(kind, &request, &body, &mut state);
            if let Some(exchanges) = &mut state.exchanges {
                exchanges.push(Exchange {
                    method: request.method.clone(),
                    path: request.path[kind.root().len()..].to_owned(),
                    query: request.query.clone(),
                    body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                    status: answer.0,
                    answer: answer.2.clone(),
                });
            }
            if answer.0 >= 400 {
                let said = format!(
                    "{} {} {}: {} {}",
                    request.method,
                    request.path,
                    String::from_utf8_lossy(&body),
                    answer.0,
                    answer.2
                );
                state.refused.push(said);
            }
            answer
        };
        let text = if answer.is_null() { String::new() } else { answer.to_string() };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{more}\r\n",
            text.len()
        );
        (&client).write_all(format!("{head}{text}").as_bytes()).ok()?;
    }
}

fn read_head(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head).ok()? == 0 {
            return None;
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let (path, query) = target.split_once('?').map_or((target.as_str(), ""), |(path, query)| (path, query));
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), headers, head })
}

fn judge(kind: Kind, request: &Request, body: &[u8], state: &mut State) -> Answer {
    if state.down {
        return no(503, "down for maintenance");
    }
    if let Some(left) = &mut state.fails_after {
        if *left == 0 {
            return no(503, "down");
        }
        *left -= 1;
    }
    if state.limited > 0 {
        state.limited -= 1;
        let header = match kind {
            Kind::Github => "Retry-After: 1\r\nX-RateLimit-Remaining: 0\r\n",
            _ => "Retry-After: 1\r\n",
        };
        return (if kind == Kind::Github { 403 } else { 429 }, header.to_owned(), json!({ "message": "too many" }));
    }
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    let authorized = match kind {
        Kind::Github if state.app.is_some() => github::is_app(header("authorization"), &request.path, state),
        Kind::Github | Kind::Bitbucket => header("authorization") == format!("Bearer {TOKEN}"),
        Kind::Gitea | Kind::Forgejo | Kind::Gogs => header("authorization") == format!("token {TOKEN}"),
        Kind::Gitlab => header("private-token") == TOKEN,
    };
    if !authorized {
        return no(401, "Bad credentials");
    }
    if header("user-agent").is_empty() {
        return no(403, "Request forbidden by administrative rules: no User-Agent");
    }
    let body: Value = if matches!(request.method.as_str(), "POST" | "PATCH" | "PUT") {
        if !header("content-type").starts_with("application/json") {
            return no(415, "Unsupported Media Type");
        }
        match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(_) => return no(400, "Problems parsing JSON"),
        }
    } else {
        Value::Null
    };
    let path: Vec<String> = request.path[kind.root().len()..].split('/').skip(1).map(decode).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match kind {
        Kind::Github => github(request, &path, &body, state),
        Kind::Gitea | Kind::Forgejo => gitea(kind, request, &path, &body, state),
        Kind::Gitlab => gitlab(request, &path, &body, state),
        Kind::Bitbucket => bitbucket(request, &path, &body, state),
        Kind::Gogs => gogs(request, &path, &body, state),
    }
}
