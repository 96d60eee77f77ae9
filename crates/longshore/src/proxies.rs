//! The proxies that jobs are given: those of this process's environment, and for `longshore run` those of the Docker
//! client's settings.
//!
//! Some programs read the variables in lower case and some in upper case, so jobs get both.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use longshore_executor::{PROXY_VARIABLES, other_case};

/// The variable that names what is reached without a proxy.
const NO_PROXY: &str = "no_proxy";
/// The names by which a job reaches itself.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Returns the proxies of this process's environment, and warnings. A proxy at this machine's own loopback address is
/// left out, since there a job would reach only itself.
pub(crate) fn of_environment() -> (BTreeMap<String, String>, Vec<String>) {
    read(|name| std::env::var(name).ok())
}

fn read(variable: impl Fn(&str) -> Option<String>) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut found, mut warnings) = (BTreeMap::new(), Vec::new());
    for lower in PROXY_VARIABLES {
        for name in [lower.to_owned(), lower.to_uppercase()] {
            let Some(value) = variable(&name).filter(|value| !value.is_empty()) else { continue };
            if lower != NO_PROXY && is_loopback(&value) {
                warnings.push(format!(
                    "jobs do not get {name}: its address is this machine's own, where a job reaches only itself; let the \
                     proxy listen at an address that containers reach, and give them that with LONGSHORE_JOB_ENV (or \
                     `longshore run --env`)"
                ));
            } else {
                found.insert(name, value);
            }
        }
    }
    (in_both_cases(found), warnings)
}

/// The part of the Docker client's settings that is about proxies.
#[derive(serde::Deserialize)]
struct DockerClient {
    /// By the engine's address; `default` for all others.
    #[serde(default)]
    proxies: BTreeMap<String, DockerProxies>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerProxies {
    http_proxy: Option<String>,
    https_proxy: Option<String>,
    ftp_proxy: Option<String>,
    all_proxy: Option<String>,
    no_proxy: Option<String>,
}

/// Returns the proxies that the Docker client would give the containers of this engine. There are none without its
/// settings.
pub(crate) fn of_docker_client(docker_host: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
    folder.map_or_else(|| Ok(BTreeMap::new()), |folder| in_file(&folder.join("config.json"), docker_host))
}

fn in_file(path: &Path, docker_host: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        read => read.with_context(|| format!("{} cannot be read", path.display()))?,
    };
    let mut client: DockerClient = serde_json::from_slice(&text)
        .with_context(|| format!("{} does not hold settings of the Docker client", path.display()))?;
    let proxies = client.proxies.remove(docker_host).or_else(|| client.proxies.remove("default")).unwrap_or_default();
    let DockerProxies { http_proxy, https_proxy, ftp_proxy, all_proxy, no_proxy } = proxies;
    let named = PROXY_VARIABLES.into_iter().zip([http_proxy, https_proxy, ftp_proxy, all_proxy, no_proxy]);
    let given = named.filter_map(|(name, value)| Some((name.to_owned(), value.filter(|value| !value.is_empty())?)));
    Ok(in_both_cases(given.collect()))
}

/// Gives each proxy variable that is set in one case only the same value in the other case.
pub(crate) fn in_both_cases(mut variables: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let given: Vec<(String, String)> =
        variables.iter().filter_map(|(name, value)| Some((other_case(name)?, value.clone()))).collect();
    for (name, value) in given {
        variables.entry(name).or_insert(value);
    }
    variables
}

/// Names the job itself and its services in `NO_PROXY`, if there is a proxy.
pub(crate) fn leave_out_the_job<'a>(
    variables: &mut BTreeMap<String, String>,
    services: impl Iterator<Item = &'a str> + Clone,
) {
    if addresses(variables).all(str::is_empty) {
        return;
    }
    for name in [NO_PROXY.to_owned(), NO_PROXY.to_uppercase()] {
        let given = variables.entry(name).or_default();
        let mut hosts: Vec<&str> = given.split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
        // It means all.
        if hosts.contains(&"*") {
            continue;
        }
        for host in LOCAL_NAMES.into_iter().chain(services.clone()) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        *given = hosts.join(",");
    }
}

/// Returns what logs must not show of these variables: the passwords of proxies, alone and with their users, as
/// programs print them and as they send them.
pub(crate) fn masks(variables: &BTreeMap<String, String>) -> Vec<String> {
    let mut all: Vec<String> = addresses(variables).flat_map(passwords).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Returns the values of the variables that name proxies.
fn addresses(variables: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let is_address =
        |name: &str| PROXY_VARIABLES.iter().any(|proxy| *proxy != NO_PROXY && proxy.eq_ignore_ascii_case(name));
    variables.iter().filter(move |(name, _)| is_address(name)).map(|(_, value)| value.as_str())
}

fn passwords(address: &str) -> Vec<String> {
    let Some((user, password)) = user_info(address).and_then(|info| info.split_once(':')) else { return Vec::new() };
    if password.is_empty() {
        return Vec::new();
    }
    let (user_as_sent, password_as_sent) = (percent_decoded(user), percent_decoded(password));
    vec![
        format!("{user}:{password}"),
        format!("{user_as_sent}:{password_as_sent}"),
        password.to_owned(),
        password_as_sent,
    ]
}

fn without_scheme(address: &str) -> &str {
    address.split_once("://").map_or(address, |(_, rest)| rest)
}

/// Returns the part before the host: user and password.
fn user_info(address: &str) -> Option<&str> {
    Some(without_scheme(address).rsplit_once('@')?.0)
}

/// Returns where the proxies among these variables listen, of those that are given by address and port.
pub(crate) fn listening_at<'a>(variables: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<SocketAddr> {
    let is_proxy = |name: &str| name != NO_PROXY && PROXY_VARIABLES.contains(&name);
    let proxies = variables.into_iter().filter(|(name, _)| is_proxy(&name.to_lowercase()));
    let addresses: BTreeSet<SocketAddr> = proxies.filter_map(|(_, value)| authority(value).parse().ok()).collect();
    addresses.into_iter().collect()
}

fn is_loopback(address: &str) -> bool {
    let authority = authority(address);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns host and port of an address, without scheme, user and path.
fn authority(address: &str) -> &str {
    let rest = without_scheme(address);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

fn percent_decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn environment(entries: &[(&str, &str)]) -> (BTreeMap<String, String>, Vec<String>) {
        let entries = map(entries);
        read(|name| entries.get(name).cloned())
    }

    #[test]
    fn a_proxy_is_handed_on_in_both_cases_and_one_at_the_servers_own_loopback_address_with_a_warning_is_not() {
        let (found, warnings) =
            environment(&[("HTTPS_PROXY", "http://p:3128"), ("no_proxy", ".corp"), ("HTTP_PROXY", "")]);
        let expected = [
            ("HTTPS_PROXY", "http://p:3128"),
            ("https_proxy", "http://p:3128"),
            ("NO_PROXY", ".corp"),
            ("no_proxy", ".corp"),
        ];
        assert_eq!((found, warnings), (map(&expected), Vec::new()));
        let (found, _) = environment(&[("HTTP_PROXY", "http://a"), ("http_proxy", "http://b")]);
        assert_eq!(found, map(&[("HTTP_PROXY", "http://a"), ("http_proxy", "http://b")]));
        for own in ["http://127.0.0.1:3128", "localhost:3128", "http://u:p@[::1]:3128/", "socks5h://127.1.2.3"] {
            let (found, warnings) = environment(&[("ALL_PROXY", own)]);
            assert!(found.is_empty() && warnings[0].contains("ALL_PROXY") && !warnings[0].contains(own), "{own}");
        }
    }

    #[test]
    fn the_addresses_of_proxies_are_known_where_they_are_given_as_numbers() {
        let variables = map(&[
            ("HTTP_PROXY", "http://u:p@172.17.0.1:3128/"),
            ("https_proxy", "172.17.0.1:3128"),
            ("ALL_PROXY", "http://[fd00::1]:8080"),
            ("FTP_PROXY", "http://proxy.example:3128"),
            ("NO_PROXY", "10.0.0.1:80"),
            ("SITE", "10.0.0.2:80"),
        ]);
        let expected = ["172.17.0.1:3128", "[fd00::1]:8080"].map(|address| address.parse().unwrap());
        assert_eq!(listening_at(&variables), expected);
    }

    #[test]
    fn the_docker_clients_proxies_are_those_of_the_engines_address_or_else_the_default_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert_eq!(in_file(&path, "unix:///a").unwrap(), BTreeMap::new());
        let text = r#"{"auths": {}, "proxies": {
            "default": {"httpProxy": "http://d", "noProxy": "x"},
            "unix:///a": {"httpsProxy": "http://a", "allProxy": "", "ftpProxy": "http://f"}
        }}"#;
        std::fs::write(&path, text).unwrap();
        let default = [("HTTP_PROXY", "http://d"), ("http_proxy", "http://d"), ("NO_PROXY", "x"), ("no_proxy", "x")];
        assert_eq!(in_file(&path, "unix:///b").unwrap(), map(&default));
        let own = [
            ("HTTPS_PROXY", "http://a"),
            ("https_proxy", "http://a"),
            ("FTP_PROXY", "http://f"),
            ("ftp_proxy", "http://f"),
        ];
        assert_eq!(in_file(&path, "unix:///a").unwrap(), map(&own));
        std::fs::write(&path, "{").unwrap();
        assert!(in_file(&path, "unix:///a").unwrap_err().to_string().contains("config.json"));
    }

    #[test]
    fn a_job_reaches_itself_and_its_services_without_the_proxy() {
        let names = ["db", "web"];
        let mut variables = map(&[("http_proxy", "http://p"), ("no_proxy", " .corp , 127.0.0.1")]);
        leave_out_the_job(&mut variables, names.into_iter());
        assert_eq!(variables["no_proxy"], ".corp,127.0.0.1,localhost,::1,db,web");
        assert_eq!(variables["NO_PROXY"], "localhost,127.0.0.1,::1,db,web");
        let mut all = map(&[("http_proxy", "http://p"), ("no_proxy", "*"), ("NO_PROXY", "*")]);
        leave_out_the_job(&mut all, names.into_iter());
        assert_eq!(all["no_proxy"], "*");
        let mut none = map(&[("http_proxy", ""), ("A", "b")]);
        leave_out_the_job(&mut none, names.into_iter());
        assert_eq!(none, map(&[("http_proxy", ""), ("A", "b")]));
    }

    #[test]
    fn the_password_of_a_proxy_is_masked_as_it_is_written_and_as_it_is_sent() {
        let variables = map(&[
            ("HTTP_PROXY", "http://robot:p%40ss/word@proxy:3128"),
            ("https_proxy", "user@proxy"),
            ("A", "x:y@z"),
        ]);
        assert_eq!(masks(&variables), ["p%40ss/word", "p@ss/word", "robot:p%40ss/word", "robot:p@ss/word"]);
        assert_eq!(percent_decoded("a%zz%4"), "a%zz%4");
    }
}
