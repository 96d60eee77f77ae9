//! Reads `services`: containers beside the job's.

use longshore_core::plan::{Probe, Ready, Resources, ServicePlan};

use super::super::{
    code::Code,
    fields::{Fields, named_entries},
    findings::Findings,
    keys,
    scalar::{check_name, duration, filled},
    scope::{Names, Position},
    tree::{Entry, Kind, Node},
};
use super::{env, image, settings, step::texts};

/// Limit for the services of one job.
const MAX_SERVICES: usize = 20;
/// Default time for a service to become ready.
const READY_MS: u64 = 60 * 1000;

pub(super) fn read_all(node: &Node, names: &Names, findings: &mut Findings<'_>) -> Option<Vec<ServicePlan>> {
    let entries = named_entries(node, "`services`", "postgres: { image: postgres:17 }", findings)?;
    if let Some(beyond) = entries.get(MAX_SERVICES) {
        let message = format!("{} services, more than the limit of {MAX_SERVICES} in a job", entries.len());
        findings.error(Code::BadSize, beyond.key_place, message, None);
        return None;
    }
    let read: Vec<Option<ServicePlan>> = entries.iter().map(|entry| read_service(entry, names, findings)).collect();
    read.into_iter().collect()
}

fn read_service(entry: &Entry, names: &Names, findings: &mut Findings<'_>) -> Option<ServicePlan> {
    let named = check_name(&entry.key, entry.key_place, "a service's name", findings) && host(entry, findings);
    let name = entry.key.clone();
    if let Kind::Scalar(scalar) = &entry.value.kind
        && !scalar.is_null()
    {
        // The short form: `redis: redis:8`.
        let image = image::read(&entry.value, Position::JobImage, names, &[], findings)?;
        return named.then(|| ServicePlan {
            name,
            image,
            pull: None,
            env: env::Env::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            ready: None,
            user: None,
            resources: Resources::default(),
        });
    }
    let fields = Fields::read(&entry.value, &keys::SERVICE, findings)?;
    let image = match fields.get("image") {
        Some(node) => image::read(node, Position::JobImage, names, &[], findings),
        None => {
            if !fields.is_misnamed("image", &keys::SERVICE) {
                let message = format!("the service `{name}` has no `image`");
                findings.error(Code::MissingImage, entry.key_place, message, "write `image: postgres:17`".to_owned());
            }
            None
        }
    };
    let pull = fields.read_optional("pull", |node| settings::pull(node, findings));
    let env = match fields.get("env") {
        Some(node) => env::read(node, Position::JobEnv, names, findings),
        None => Some(env::Env::new()),
    };
    let entrypoint = texts(fields.get("entrypoint"), "`entrypoint`", Position::JobArgument, names, findings);
    let command = texts(fields.get("command"), "`command`", Position::JobArgument, names, findings);
    let ready = fields.read_optional("ready", |node| ready(node, findings));
    let user = fields.read_optional("user", |node| user(node, findings));
    let resources = match fields.get("resources") {
        Some(node) => settings::resources(node, findings),
        None => Some(Resources::default()),
    };
    let service = ServicePlan {
        name,
        image: image?,
        pull: pull?,
        env: env?,
        entrypoint: entrypoint?,
        command: command?,
        ready: ready?,
        user: user?,
        resources: resources?,
    };
    named.then_some(service)
}

fn user(node: &Node, findings: &mut Findings<'_>) -> Option<String> {
    let text = filled(node, "`user`", findings)?;
    if text.contains("${{") || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let help = "write `user: postgres` or `user: '1000:1000'`".to_owned();
        findings.error(Code::BadName, node.place, "`user` must be a user name or number", help);
        return None;
    }
    Some(text.to_owned())
}

fn host(entry: &Entry, findings: &mut Findings<'_>) -> bool {
    let fits = !entry.key.chars().any(|c| c.is_ascii_uppercase() || c == '_') && entry.key != "localhost";
    if !fits {
        let help = format!("write `{}`", entry.key.to_lowercase().replace('_', "-"));
        findings.error(
            Code::BadName,
            entry.key_place,
            "a service name is a host name: use lower-case letters, digits and `-`",
            help,
        );
    }
    fits
}

fn ready(node: &Node, findings: &mut Findings<'_>) -> Option<Ready> {
    const HELP: &str = "write `ready: { exec: pg_isready }`, `{ tcp: 5432 }` or `{ http: ':8080/healthz' }`";
    let fields = Fields::read(node, &keys::READY, findings)?;
    let timeout = fields.read_optional("timeout", |node| duration(node, "`timeout`", findings));
    let asked: Vec<&Entry> = ["exec", "tcp", "http"].iter().filter_map(|key| fields.entry(key)).collect();
    let [entry] = asked.as_slice() else {
        match asked.get(1) {
            Some(second) => {
                findings.error(Code::NotTogether, second.key_place, "`ready` takes exactly one check", HELP.to_owned())
            }
            None => findings.error(Code::MissingKey, node.place, "`ready` has no check", HELP.to_owned()),
        }
        return None;
    };
    let text = filled(&entry.value, &format!("`{}`", entry.key), findings)?;
    let probe = match entry.key.as_str() {
        "tcp" => match text.parse::<u16>() {
            Ok(port) if port > 0 => Probe::Tcp(port),
            _ => {
                findings.error(Code::BadSize, entry.value.place, "`tcp` must be a port", HELP.to_owned());
                return None;
            }
        },
        "http" => {
            let port = text.strip_prefix(':').map(|rest| rest.split('/').next().unwrap_or(""));
            if !port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
                || text.contains(char::is_whitespace)
            {
                findings.error(Code::BadPath, entry.value.place, "`http` must be a port and a path", HELP.to_owned());
                return None;
            }
            Probe::Http(text.to_owned())
        }
        _ => Probe::Exec(text.to_owned()),
    };
    Some(Ready { probe, timeout_ms: timeout?.unwrap_or(READY_MS) })
}
