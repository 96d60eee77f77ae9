//! Checks the values of settings, and parses lists.

use std::collections::{BTreeMap, btree_map::Entry};

use anyhow::Context as _;
use ipnet::IpNet;
use longshore_core::capability::GRANTABLE;
use longshore_executor::Ulimit;
use longshore_guard::JobSubnets;

/// The least memory of a job, in MiB. With less, its container does not reach the first step.
const MIN_MEMORY_MIB: u64 = 32;
/// The least number of processes of a job: the agent's threads and a shell, with some to spare.
const MIN_PIDS: u64 = 32;

pub(super) fn check_memory(name: &str, mib: Option<u64>) -> anyhow::Result<()> {
    let mib = mib.unwrap_or(MIN_MEMORY_MIB);
    anyhow::ensure!(
        (MIN_MEMORY_MIB..1 << 32).contains(&mib),
        "{name} is {mib}: no job would start; give {MIN_MEMORY_MIB} or more (it counts MiB: 4096 are 4 GiB)"
    );
    Ok(())
}

pub(super) fn check_pids(name: &str, pids: u64) -> anyhow::Result<()> {
    anyhow::ensure!(pids >= MIN_PIDS, "{name} is {pids}: no job would start; give {MIN_PIDS} or more");
    Ok(())
}

/// Checks the levels of a log filter. The filter itself would take a misspelled level for the name of a module, which
/// then logs everything while all others log nothing.
pub(super) fn check_log(filter: &str) -> anyhow::Result<()> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    for part in filter.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
        anyhow::ensure!(
            LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)),
            "log is `{filter}`, and `{level}` is not a level: write error, warn, info or debug, or a filter such as info,longshore_executor=debug"
        );
    }
    Ok(())
}

/// Splits `a, b` into its entries.
pub(super) fn list(given: &str) -> Vec<String> {
    given.split([',', ' ']).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

/// Parses the subnets of the jobs' network: at most one of each kind.
pub(crate) fn subnets(given: &str) -> anyhow::Result<Vec<IpNet>> {
    let subnets = list(given)
        .into_iter()
        .map(|entry| {
            entry.parse::<IpNet>().ok().filter(|subnet| subnet.trunc() == *subnet).with_context(|| {
                format!("network_subnet has `{entry}`: write a subnet by its first address, such as 10.88.0.0/20")
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let of_kind = |v6: bool| subnets.iter().filter(|subnet| subnet.addr().is_ipv6() == v6).count();
    anyhow::ensure!(
        of_kind(false) <= 1 && of_kind(true) <= 1,
        "network_subnet has several subnets of one kind: give one for IPv4, and optionally one for IPv6"
    );
    Ok(subnets)
}

/// Parses the range of the networks of jobs with Docker.
pub(crate) fn docker_subnet(given: &str) -> anyhow::Result<Option<JobSubnets>> {
    let range = Some(given.trim()).filter(|given| !given.is_empty()).map(str::parse).transpose();
    range.map_err(|why| anyhow::anyhow!("docker_subnet: {why}"))
}

/// Parses the limits of a job's processes. Two limits with one name are an error.
pub(super) fn ulimits(given: &str) -> anyhow::Result<Vec<Ulimit>> {
    let mut ulimits: Vec<Ulimit> = Vec::new();
    for entry in list(given) {
        let ulimit = Ulimit::parse(&entry).map_err(|why| anyhow::anyhow!("job_ulimits: {why}"))?;
        let name = &ulimit.name;
        anyhow::ensure!(ulimits.iter().all(|known| known.name != *name), "job_ulimits names `{name}` twice");
        ulimits.push(ulimit);
    }
    Ok(ulimits)
}

/// Parses the capabilities that jobs may ask for.
pub(crate) fn capabilities(given: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in list(given) {
        let name = entry.strip_prefix("CAP_").unwrap_or(&entry);
        anyhow::ensure!(
            GRANTABLE.contains(&name),
            "job_capabilities has `{entry}`: only {} can be allowed; a job that needs more of the host is one for `docker: raw`",
            GRANTABLE.join(", ")
        );
        found.push(name.to_owned());
    }
    Ok(found)
}

/// Returns the globs of `a/**, b/{c,d}`: a comma between braces is the glob's own.
pub(super) fn globs(given: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let parts = given.split(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (c == ',' || c.is_whitespace())
    });
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Returns the machine's own labels and those of `a=b, c=d`.
pub(super) fn labels(given: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut all =
        BTreeMap::from([("arch".to_owned(), arch.to_owned()), ("os".to_owned(), std::env::consts::OS.to_owned())]);
    for label in given.split([',', ' ']).filter(|label| !label.is_empty()) {
        let (name, value) = label
            .split_once('=')
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .with_context(|| format!("labels has `{label}`: write labels as `disk=ssd, zone=dmz`"))?;
        all.insert(name.to_owned(), value.to_owned());
    }
    Ok(all)
}

/// The most bytes of `job_env`.
const MAX_JOB_ENV: usize = 64 << 10;

/// Returns the variables of lines such as `A=b`. Skips empty lines and those that begin with `#`. An error quotes no
/// value.
pub(super) fn job_env(given: &str) -> anyhow::Result<BTreeMap<String, String>> {
    anyhow::ensure!(given.len() <= MAX_JOB_ENV, "job_env has more than {} KiB, which is the limit", MAX_JOB_ENV >> 10);
    let mut all = BTreeMap::new();
    for (number, line) in (1..).zip(given.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .with_context(|| format!("line {number} of job_env is not `NAME=value`: write one variable a line"))?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        anyhow::ensure!(
            is_name && !name.starts_with("LONGSHORE_"),
            "line {number} of job_env does not begin with the name of a variable: write letters, digits and `_`, and not `LONGSHORE_` in front"
        );
        anyhow::ensure!(!value.contains('\0'), "line {number} of job_env contains a NUL byte");
        match all.entry(name.to_owned()) {
            Entry::Vacant(free) => free.insert(value.to_owned()),
            Entry::Occupied(_) => anyhow::bail!("line {number} of job_env sets `{name}` a second time: write it once"),
        };
    }
    Ok(all)
}
