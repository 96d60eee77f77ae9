//! What a setting's value has to be, so that jobs can run with it, and how lists are read.

use std::collections::BTreeMap;

use anyhow::Context as _;

/// With less than that, in MiB, a job's container does not get as far as its first step.
const LEAST_MEMORY_MIB: u64 = 32;
/// The agent's threads and a shell, with something to spare.
const LEAST_PIDS: u64 = 32;

pub(super) fn check_memory(name: &str, mib: Option<u64>) -> anyhow::Result<()> {
    let mib = mib.unwrap_or(LEAST_MEMORY_MIB);
    anyhow::ensure!(
        (LEAST_MEMORY_MIB..1 << 32).contains(&mib),
        "{name} is {mib}: no job would start; give {LEAST_MEMORY_MIB} or more (it counts MiB: 4096 are 4 GiB)"
    );
    Ok(())
}

pub(super) fn check_pids(name: &str, pids: u64) -> anyhow::Result<()> {
    anyhow::ensure!(pids >= LEAST_PIDS, "{name} is {pids}: no job would start; give {LEAST_PIDS} or more");
    Ok(())
}

/// A filter takes any word for a part of the program, which then logs everything, and all others nothing.
pub(super) fn check_log(filter: &str) -> anyhow::Result<()> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    for part in filter.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
        anyhow::ensure!(
            LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)),
            "log is `{filter}`, and `{level}` is no level: write error, warn, info or debug, or a filter such as info,longshore_executor=debug"
        );
    }
    Ok(())
}

/// The entries of `a, b`.
pub(super) fn list(given: &str) -> Vec<String> {
    given.split([',', ' ']).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

/// The machine's own labels and those of `a=b, c=d`.
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
