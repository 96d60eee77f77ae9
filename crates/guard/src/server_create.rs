//! Judges the containers that the server creates.

use std::collections::BTreeSet;

use crate::builder;
use crate::check::Check;
use crate::container::{ContainerCreate, Healthcheck};
use crate::filling::filled_by;
use crate::guard::Guard;
use crate::host_config::{LogDriver, NetworkMode, Sharing};
use crate::image_ref::ImageName;
use crate::job_guard::{self, PROGRAM};
use crate::mounts::{Mount, Source};
use crate::policy::ServerPolicy;
use crate::refusal::{Judged, refuse};
use crate::server_own::{
    AGENT, is_guards, is_made_in_job, is_mountable, is_ours, is_writable, own_labels, own_network, own_volume,
};

/// The capabilities that root may have in a job's container.
const CAPABILITIES: [&str; 9] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID"];
/// A further capability of a sandbox that denies its jobs some addresses.
const FENCING: &str = "NET_ADMIN";
const SYSCTL: &str = "net.ipv6.conf.lo.disable_ipv6";
/// The folder of secrets, where a tmpfs is mounted.
const SECRETS: &str = "/longshore/secrets";
/// The mount point of the agent's volume.
const AGENT_FOLDER: &str = "/.longshore";

/// A container as the engine will create it.
pub(crate) struct Created {
    pub(crate) body: ContainerCreate,
    pub(crate) volumes: Vec<String>,
    /// The volumes in which it may write.
    pub(crate) written: BTreeSet<String>,
    /// The volumes that the engine fills with files of the image.
    pub(crate) filled: BTreeSet<String>,
    pub(crate) checks: Vec<Check>,
}

/// Judges a container: a job's, a sandbox, a job's guard, or one that runs Longshore's own program once.
pub(crate) fn judge(guard: &Guard, policy: &ServerPolicy, name: &str, asked: &ContainerCreate) -> Judged<Created> {
    if !is_ours(name) || is_made_in_job(name) {
        return refuse!(Server, "{name:?} is not a name for a container of the server");
    }
    own_labels(policy, &asked.labels)?;
    let mut body = asked.clone();
    body.image = ImageName::parse(&asked.image)?.to_string();
    let host = &mut body.host;
    host.log = LogDriver::None;
    let mut checks = Vec::new();
    host.network = match &host.network {
        NetworkMode::None => NetworkMode::None,
        NetworkMode::Container(id) => NetworkMode::Container(guard.table.container(id)?.0.to_owned()),
        NetworkMode::Named(network) if is_ours(network) => {
            checks.push(own_network(policy, network));
            NetworkMode::Named(network.clone())
        }
        NetworkMode::Named(_) | NetworkMode::Default => {
            return refuse!(Server, "a container of the server joins the server's network, a sandbox's, or none");
        }
    };
    if body.image.starts_with(&format!("{AGENT}:")) && !runs_its_command_alone(asked) {
        return refuse!(Server, "our own program may have no health check, variables and arguments beside its command");
    }
    let runs_ours = body.image == guard.host.image();
    let command = body.entrypoint.iter().flatten().map(String::as_str).collect::<Vec<_>>();
    let is_sandbox = runs_ours && host.mounts.is_empty() && command.starts_with(&[PROGRAM, "sandbox"]);
    let is_guard = is_guards(name);
    let may_have = |name: &String| {
        CAPABILITIES.contains(&name.as_str())
            || (is_sandbox && name == FENCING)
            || (is_guard && job_guard::CAPABILITIES.contains(&name.as_str()))
            || policy.capabilities.contains(name)
    };
    let is_refused = !body.networks.is_empty()
        || !host.links.is_empty()
        || !host.volumes_from.is_empty()
        || !host.published.is_empty()
        || host.publish_all
        || !host.extra_hosts.is_empty()
        || host.ipc != Sharing::Own
        || host.pid != Sharing::Own
        || !host.cap_add.iter().all(may_have)
        || host.sysctls.iter().any(|(name, value)| name != SYSCTL || value != "0")
        || host.tmpfs.keys().any(|path| path != SECRETS)
        || (host.restarts > 0 && !is_guard);
    if is_refused {
        return refuse!(Server, "the server may not create a container with these settings");
    }
    if name.ends_with(builder::NAME) {
        let volume = builder::judge(policy, &body)?;
        checks.extend(own_volume(guard, policy, &volume));
        let written = BTreeSet::from([volume.clone()]);
        return Ok(Created { body, volumes: vec![volume], written, filled: BTreeSet::new(), checks });
    }
    if host.is_builder {
        return refuse!(Server, "only a builder has a builder's security options");
    }
    if !host.no_new_privileges || !host.cap_drop.iter().any(|name| name == "ALL") {
        return refuse!(Server, "a container of the server has to drop all capabilities and to set no-new-privileges");
    }
    if is_guard {
        checks.extend(job_guard::judge(guard, policy, &mut body)?);
        return Ok(Created { body, volumes: Vec::new(), written: BTreeSet::new(), filled: BTreeSet::new(), checks });
    }
    // The container that fills the agent's volume: the engine copies the program from the image that the guard has
    // imported.
    let fills =
        runs_ours && command == [PROGRAM, "--version"] && host.network == NetworkMode::None && host.mounts.len() == 1;
    let (mut volumes, mut written, mut filled) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for mount in &mut host.mounts {
        if let Some(name) = judge_mount(guard, policy, mount, fills)? {
            checks.extend(own_volume(guard, policy, &name));
            filled.extend(filled_by(mount).map(str::to_owned));
            written.extend((!mount.read_only).then(|| name.clone()));
            volumes.push(name);
        }
    }
    Ok(Created { body, volumes, written, filled, checks })
}

/// Whether a container runs nothing but its command. A health check could run a program from another volume, with the
/// rights of Longshore's own program and in the folders where that may write.
fn runs_its_command_alone(body: &ContainerCreate) -> bool {
    let has_no_probe = body.healthcheck.as_ref().is_none_or(Healthcheck::is_none);
    has_no_probe && body.env.is_empty() && body.cmd.as_ref().is_none_or(Vec::is_empty) && body.working_dir.is_empty()
}

/// Judges a mount, and returns the name of its volume.
fn judge_mount(guard: &Guard, policy: &ServerPolicy, mount: &mut Mount, fills: bool) -> Judged<Option<String>> {
    let name = match &mount.source {
        Source::Volume { name, subpath } if is_mountable(name) && subpath.is_empty() => name.clone(),
        Source::Path(_) if mount.target == job_guard::ENGINE_SOCKET => {
            if !policy.raw {
                return refuse!(
                    Server,
                    "`docker: raw` needs the engine's own socket, which this guard does not hand out: to allow it, start the guard with LONGSHORE_GUARD_RAW=true"
                );
            }
            mount.source = Source::Socket(guard.host.socket()?.to_owned());
            return Ok(None);
        }
        // A new volume that is removed with the container, as the engine creates for each volume of the image. The only
        // option that it may have is a limit.
        Source::Anonymous if mount.labels.is_empty() => return Ok(None),
        Source::Volume { .. }
        | Source::Anonymous
        | Source::Path(_)
        | Source::Socket(_)
        | Source::OfEngine(_)
        | Source::Tmpfs { .. } => {
            return refuse!(Server, "a container of the server may mount only the server's volumes");
        }
    };
    if !mount.labels.is_empty() {
        own_labels(policy, &mount.labels)?;
    }
    let fills = fills && mount.target == AGENT_FOLDER && name == format!("{AGENT}-{}", guard.host.program);
    if !(is_writable(&name) || fills || (mount.read_only && mount.no_copy)) {
        return refuse!(Server, "{name} has to be mounted read-only");
    }
    if !mount.no_copy && !fills && !guard.table.may_fill(&guard.policy, &name) {
        return refuse!(
            Server,
            "the volume {name} may not be filled from an image: this guard has not seen it made, or somebody has been in it"
        );
    }
    Ok(Some(name))
}
