//! The body of `POST /containers/create`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::fields::Fields;
use crate::host_config::{HostConfig, port_of};
use crate::json::{self, Json};
use crate::mounts::{Mount, Source};
use crate::names::{is_clean_path, is_host_name, normal_path};
use crate::out::Out;
use crate::refusal::{Judged, Refusal, Rule, refuse};

/// The longest timeout of a stop, in seconds.
pub(crate) const LONGEST_STOP: i64 = 60;
/// The most anonymous volumes that a container may have.
const MOST_VOLUMES: usize = 16;

/// A container's endpoint on a network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Endpoint {
    pub(crate) aliases: Vec<String>,
    pub(crate) links: Vec<String>,
    pub(crate) address: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Healthcheck {
    test: Vec<String>,
    /// Interval, timeout, start period and start interval, in nanoseconds.
    times: [i64; 4],
    retries: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ContainerCreate {
    pub(crate) hostname: String,
    pub(crate) domain: String,
    pub(crate) user: String,
    /// Standard input, output, error.
    pub(crate) attach: [bool; 3],
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) exposed: BTreeSet<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cmd: Option<Vec<String>>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) healthcheck: Option<Healthcheck>,
    pub(crate) image: String,
    pub(crate) working_dir: String,
    pub(crate) network_disabled: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) stop_signal: String,
    pub(crate) stop_timeout: Option<i64>,
    pub(crate) host: HostConfig,
    pub(crate) networks: BTreeMap<String, Endpoint>,
}

impl Healthcheck {
    /// Whether nothing is run, not even what the image says.
    pub(crate) fn is_none(&self) -> bool {
        self.test == ["NONE"]
    }
}

impl ContainerCreate {
    pub(crate) fn read(body: &[u8]) -> Judged<Self> {
        let mut fields = Fields::body(json::parse(body)?)?;
        let f = &mut fields;
        let image = f.text("Image")?;
        let host = match f.object("HostConfig")? {
            Some(host) => HostConfig::read(host).map_err(|refusal| explained(refusal, &image))?,
            None => HostConfig::default(),
        };
        let networks = match f.object("NetworkingConfig")? {
            Some(mut networking) => {
                let networks = networking.map("EndpointsConfig")?;
                networking.finish()?;
                networks.into_iter().map(endpoint).collect::<Judged<_>>()?
            }
            None => BTreeMap::new(),
        };
        f.dropped("ArgsEscaped");
        // dockerode repeats the query in the body.
        f.dropped("name");
        f.dropped("platform");
        f.never("OnBuild", Rule::Build)?;
        f.never("MacAddress", Rule::Network)?;
        f.never("Runtime", Rule::Runtime)?;
        // Engines read these in HostConfig alone, for many years. Clients that still have them here leave them empty.
        f.never("VolumesFrom", Rule::Volume)?;
        f.never("PortSpecs", Rule::Publish)?;
        f.never("Shell", Rule::Body)?;
        let mut create = Self {
            hostname: f.text("Hostname")?,
            domain: f.text("Domainname")?,
            user: f.text("User")?,
            attach: [f.flag("AttachStdin")?, f.flag("AttachStdout")?, f.flag("AttachStderr")?],
            tty: f.flag("Tty")?,
            open_stdin: f.flag("OpenStdin")?,
            stdin_once: f.flag("StdinOnce")?,
            exposed: f.set("ExposedPorts")?.iter().map(|port| port_of(port)).collect::<Judged<_>>()?,
            env: f.texts("Env")?,
            cmd: f.command("Cmd")?,
            entrypoint: f.command("Entrypoint")?,
            healthcheck: f.object("Healthcheck")?.map(healthcheck).transpose()?,
            image,
            working_dir: f.text("WorkingDir")?,
            network_disabled: f.flag("NetworkDisabled")?,
            labels: f.text_map("Labels")?,
            stop_signal: signal(f.text("StopSignal")?)?,
            stop_timeout: f.optional_int("StopTimeout")?,
            host,
            networks,
        };
        let volumes = f.set("Volumes")?;
        fields.finish()?;
        create.anonymous_volumes(volumes)?;
        let anonymous = create.host.mounts.iter().filter(|mount| mount.source == Source::Anonymous).count();
        if anonymous > MOST_VOLUMES {
            return refuse!(Limit, "a container may have at most {MOST_VOLUMES} anonymous volumes");
        }
        create.check()?;
        Ok(create)
    }

    /// Adds a mount of an anonymous volume for each path in `Volumes`.
    fn anonymous_volumes(&mut self, paths: BTreeSet<String>) -> Judged<()> {
        for path in paths {
            let mount = crate::mounts::bind(&path)?;
            let taken = self.host.mounts.iter().any(|other| other.target == mount.target)
                || self.host.tmpfs.contains_key(&mount.target);
            if !taken {
                self.host.mounts.push(Mount { source: Source::Anonymous, ..mount });
            }
        }
        Ok(())
    }

    fn check(&self) -> Judged<()> {
        for name in [&self.hostname, &self.domain] {
            if !name.is_empty() && !is_host_name(name) {
                return refuse!(Body, "{name:?} is not a valid host name");
            }
        }
        if !self.working_dir.is_empty() && !is_clean_path(&normal_path(&self.working_dir)) {
            return refuse!(Body, "WorkingDir is not a path within the container");
        }
        if self.stop_timeout.is_some_and(|seconds| seconds < 0) {
            return refuse!(Limit, "StopTimeout must be between 0 and {LONGEST_STOP} seconds");
        }
        Ok(())
    }

    pub(crate) fn write(&self) -> Judged<Value> {
        let mut out = Out::default();
        out.text("Hostname", &self.hostname);
        out.text("Domainname", &self.domain);
        out.text("User", &self.user);
        for (key, attached) in ["AttachStdin", "AttachStdout", "AttachStderr"].iter().zip(self.attach) {
            out.put(key, attached);
        }
        out.flag("Tty", self.tty);
        out.flag("OpenStdin", self.open_stdin);
        out.flag("StdinOnce", self.stdin_once);
        out.set("ExposedPorts", &self.exposed);
        out.texts("Env", &self.env);
        // An empty command differs from none: it replaces the image's.
        if let Some(cmd) = &self.cmd {
            out.put("Cmd", json!(cmd));
        }
        if let Some(entrypoint) = &self.entrypoint {
            out.put("Entrypoint", json!(entrypoint));
        }
        if let Some(check) = &self.healthcheck {
            let mut health = Out::default();
            health.texts("Test", &check.test);
            for (key, time) in TIMES.iter().zip(check.times) {
                health.int(key, time);
            }
            health.int("Retries", check.retries);
            out.put("Healthcheck", health.value());
        }
        out.put("Image", self.image.as_str());
        out.text("WorkingDir", &self.working_dir);
        out.flag("NetworkDisabled", self.network_disabled);
        out.text_map("Labels", &self.labels);
        out.text("StopSignal", &self.stop_signal);
        if let Some(seconds) = self.stop_timeout {
            out.put("StopTimeout", seconds.min(LONGEST_STOP));
        }
        out.put("HostConfig", self.host.write()?);
        if !self.networks.is_empty() {
            let networks: BTreeMap<_, _> =
                self.networks.iter().map(|(name, endpoint)| (name, endpoint.write())).collect();
            out.put("NetworkingConfig", json!({ "EndpointsConfig": networks }));
        }
        Ok(out.value())
    }
}

const TIMES: [&str; 4] = ["Interval", "Timeout", "StartPeriod", "StartInterval"];

fn healthcheck(mut fields: Fields) -> Judged<Healthcheck> {
    let test = fields.command("Test")?.unwrap_or_default();
    let mut times = [0; 4];
    for (time, key) in times.iter_mut().zip(TIMES) {
        *time = fields.int(key)?;
    }
    let retries = fields.int("Retries")?;
    fields.finish()?;
    Ok(Healthcheck { test, times, retries })
}

fn endpoint((network, settings): (String, Json)) -> Judged<(String, Endpoint)> {
    let path = format!("NetworkingConfig.EndpointsConfig.{network}.");
    let endpoint = match settings {
        Json::Null => Endpoint::default(),
        settings => Endpoint::read(Fields::new(settings, path)?)?,
    };
    Ok((network, endpoint))
}

impl Endpoint {
    pub(crate) fn read(mut fields: Fields) -> Judged<Self> {
        fields.never("MacAddress", Rule::Network)?;
        fields.never("DriverOpts", Rule::Network)?;
        fields.dropped("GwPriority");
        // The engine reports these about an endpoint, and some clients send them back.
        for key in [
            "NetworkID",
            "EndpointID",
            "Gateway",
            "IPAddress",
            "IPPrefixLen",
            "IPv6Gateway",
            "GlobalIPv6Address",
            "GlobalIPv6PrefixLen",
            "DNSNames",
        ] {
            fields.dropped(key);
        }
        let address = match fields.object("IPAMConfig")? {
            Some(mut ipam) => {
                let address = ipam.text("IPv4Address")?;
                ipam.never("IPv6Address", Rule::Network)?;
                ipam.never("LinkLocalIPs", Rule::Network)?;
                ipam.finish()?;
                Some(address).filter(|address| !address.is_empty())
            }
            None => None,
        };
        if address.as_ref().is_some_and(|address| address.parse::<std::net::Ipv4Addr>().is_err()) {
            return refuse!(Network, "the address of an endpoint is not a valid IPv4 address");
        }
        let endpoint = Self { aliases: fields.texts("Aliases")?, links: fields.texts("Links")?, address };
        fields.finish()?;
        match endpoint.aliases.iter().find(|alias| !is_host_name(alias)) {
            Some(alias) => refuse!(Network, "{alias:?} is not a valid alias on a network"),
            None => Ok(endpoint),
        }
    }

    pub(crate) fn write(&self) -> Value {
        let mut out = Out::default();
        out.texts("Aliases", &self.aliases);
        out.texts("Links", &self.links);
        if let Some(address) = &self.address {
            out.put("IPAMConfig", json!({ "IPv4Address": address }));
        }
        out.value()
    }
}

/// Says what to do instead about testcontainers' reaper, which is privileged with some of its clients.
fn explained(refusal: Refusal, image: &str) -> Refusal {
    if !image.contains("testcontainers/ryuk") {
        return refusal;
    }
    let instead = "what this container would remove goes with the job: set TESTCONTAINERS_RYUK_DISABLED=true, as it is in jobs unless they change it";
    Refusal::new(refusal.rule, format!("{}; {instead}", refusal.reason))
}

/// Checks a signal, given as a name or a number.
pub(crate) fn signal(text: String) -> Judged<String> {
    if text.len() <= 16 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'-') {
        return Ok(text);
    }
    refuse!(Body, "{text:?} is not a signal")
}
