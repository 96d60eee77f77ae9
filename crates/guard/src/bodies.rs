//! The bodies of all requests but `POST /containers/create`: execs, networks, volumes and limits.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::container::Endpoint;
use crate::fields::Fields;
use crate::json;
use crate::names::is_clean_path;
use crate::out::Out;
use crate::refusal::{Judged, Rule, refuse};

/// `POST /containers/{id}/exec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExecCreate {
    attach: [bool; 3],
    tty: bool,
    detach_keys: String,
    env: Vec<String>,
    cmd: Vec<String>,
    user: String,
    working_dir: String,
    console: Option<(i64, i64)>,
}

impl ExecCreate {
    pub(crate) fn read(body: &[u8]) -> Judged<Self> {
        let mut fields = Fields::body(json::parse(body)?)?;
        let f = &mut fields;
        f.never("Privileged", Rule::Privileged)?;
        // Some clients send these. The path names the container, and the start of the exec says whether it is attached
        // to.
        for key in ["Container", "containerId", "Detach"] {
            f.dropped(key);
        }
        let exec = Self {
            attach: [f.flag("AttachStdin")?, f.flag("AttachStdout")?, f.flag("AttachStderr")?],
            tty: f.flag("Tty")?,
            detach_keys: keys(f.text("DetachKeys")?)?,
            env: f.texts("Env")?,
            cmd: f.command("Cmd")?.unwrap_or_default(),
            user: f.text("User")?,
            working_dir: f.text("WorkingDir")?,
            console: console(f)?,
        };
        fields.finish()?;
        if !exec.working_dir.is_empty() && !is_clean_path(&exec.working_dir) {
            return refuse!(Body, "WorkingDir is not a path within the container");
        }
        Ok(exec)
    }

    pub(crate) fn write(&self) -> Value {
        let mut out = Out::default();
        for (key, attached) in ["AttachStdin", "AttachStdout", "AttachStderr"].iter().zip(self.attach) {
            out.put(key, attached);
        }
        out.put("Tty", self.tty);
        out.put("Privileged", false);
        out.text("DetachKeys", &self.detach_keys);
        out.texts("Env", &self.env);
        out.put("Cmd", json!(self.cmd));
        out.text("User", &self.user);
        out.text("WorkingDir", &self.working_dir);
        if let Some((height, width)) = self.console {
            out.put("ConsoleSize", json!([height, width]));
        }
        out.value()
    }
}

fn console(fields: &mut Fields) -> Judged<Option<(i64, i64)>> {
    match fields.take("ConsoleSize") {
        Some(json::Json::List(size)) => match size.as_slice() {
            [json::Json::Int(height), json::Json::Int(width)]
                if (0..=9999).contains(height) && (0..=9999).contains(width) =>
            {
                Ok(Some((*height, *width)).filter(|size| *size != (0, 0)))
            }
            _ => refuse!(Body, "ConsoleSize is not a height and a width"),
        },
        Some(_) => refuse!(Body, "ConsoleSize is not a height and a width"),
        None => Ok(None),
    }
}

/// Checks the keys that detach from a container, such as `ctrl-p,ctrl-q`.
pub(crate) fn keys(text: String) -> Judged<String> {
    if text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text);
    }
    refuse!(Body, "the detach keys have to be written like ctrl-p,ctrl-q")
}

/// `POST /exec/{id}/start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExecStart {
    pub(crate) detach: bool,
    tty: bool,
    console: Option<(i64, i64)>,
}

impl ExecStart {
    pub(crate) fn read(body: &[u8]) -> Judged<Self> {
        let mut fields = Fields::body(json::parse(body)?)?;
        let start = Self { detach: fields.flag("Detach")?, tty: fields.flag("Tty")?, console: console(&mut fields)? };
        // dockerode sends the first two here, too; they were decided when the exec was created. The third is about
        // bollard's own memory.
        for key in ["stdin", "hijack", "OutputCapacity"] {
            fields.dropped(key);
        }
        fields.finish()?;
        Ok(start)
    }

    pub(crate) fn write(&self) -> Value {
        json!({ "Detach": self.detach, "Tty": self.tty })
    }
}

/// `POST /networks/create`: a bridge network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkCreate {
    pub(crate) name: String,
    pub(crate) internal: bool,
    pub(crate) ipv6: bool,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Only the server's network may choose any.
    pub(crate) subnets: Vec<String>,
}

impl NetworkCreate {
    pub(crate) fn read(body: &[u8]) -> Judged<Self> {
        let mut fields = Fields::body(json::parse(body)?)?;
        let f = &mut fields;
        match f.text("Driver")?.as_str() {
            "" | "bridge" | "default" => {}
            other => return refuse!(Network, "the network driver {other:?} is not allowed: bridge is"),
        }
        match f.text("Scope")?.as_str() {
            "" | "local" => {}
            _ => return refuse!(Network, "the scope of a network has to be local"),
        }
        f.dropped("CheckDuplicate");
        f.dropped("EnableIPv4");
        f.never("Ingress", Rule::Network)?;
        f.never("ConfigOnly", Rule::Network)?;
        f.never("ConfigFrom", Rule::Network)?;
        f.dropped("Attachable");
        let subnets = match f.object("IPAM")? {
            Some(mut ipam) => {
                match ipam.text("Driver")?.as_str() {
                    "" | "default" => {}
                    other => return refuse!(Network, "the IPAM driver {other:?} is not allowed"),
                }
                ipam.never("Options", Rule::Network)?;
                let configs = ipam.objects("Config")?;
                ipam.finish()?;
                let mut subnets = Vec::new();
                for mut config in configs {
                    subnets.extend(Some(config.text("Subnet")?).filter(|subnet| !subnet.is_empty()));
                    for key in ["IPRange", "Gateway", "AuxiliaryAddresses", "AuxAddress"] {
                        config.never(key, Rule::Network)?;
                    }
                    config.finish()?;
                }
                subnets
            }
            None => Vec::new(),
        };
        let network = Self {
            name: f.text("Name")?,
            internal: f.flag("Internal")?,
            // docker-java spells it in its own way.
            ipv6: f.flag("EnableIPv6")? | f.flag("enableIPv6")?,
            options: f.text_map("Options")?,
            labels: f.text_map("Labels")?,
            subnets,
        };
        fields.finish()?;
        for (option, value) in &network.options {
            let taken = match option.as_str() {
                "com.docker.network.bridge.enable_icc" | "com.docker.network.bridge.enable_ip_masquerade" => {
                    matches!(value.as_str(), "true" | "false")
                }
                "com.docker.network.driver.mtu" => value.parse::<u16>().is_ok_and(|mtu| (1280..=9000).contains(&mtu)),
                _ => false,
            };
            if !taken {
                return refuse!(Network, "the network option {option:?} is not allowed, or not with this value");
            }
        }
        Ok(network)
    }

    pub(crate) fn write(&self) -> Value {
        let mut out = Out::default();
        out.put("Name", self.name.as_str());
        out.put("Driver", "bridge");
        out.put("CheckDuplicate", true);
        out.flag("Internal", self.internal);
        out.flag("EnableIPv6", self.ipv6);
        out.text_map("Options", &self.options);
        out.text_map("Labels", &self.labels);
        if !self.subnets.is_empty() {
            let configs: Vec<_> = self.subnets.iter().map(|subnet| json!({ "Subnet": subnet })).collect();
            out.put("IPAM", json!({ "Config": configs }));
        }
        out.value()
    }
}

/// `POST /networks/{id}/connect` and `/disconnect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connect {
    pub(crate) container: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) force: bool,
}

impl Connect {
    pub(crate) fn read(body: &[u8]) -> Judged<Self> {
        let mut fields = Fields::body(json::parse(body)?)?;
        let endpoint = fields.object("EndpointConfig")?.map(Endpoint::read).transpose()?.unwrap_or_default();
        // docker-java writes it twice.
        let again = fields.object("containerConfig")?.map(Endpoint::read).transpose()?;
        if again.is_some_and(|again| again != endpoint) {
            return refuse!(Network, "containerConfig differs from EndpointConfig");
        }
        let connect = Self { container: fields.text("Container")?, endpoint, force: fields.flag("Force")? };
        fields.finish()?;
        Ok(connect)
    }
}

/// `POST /volumes/create`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeCreate {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) content: VolumeContent,
}

/// The content of a volume. Any other driver option could mount paths of the host, and cannot be represented here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VolumeContent {
    Plain,
    /// A folder with a quota, in bytes.
    Sized(String),
    /// An overlay. `upper` is the folder that takes what is written, and the work folder that the kernel needs.
    Overlay {
        lower: Vec<String>,
        upper: Option<(String, String)>,
    },
}

impl VolumeContent {
    fn read(mut options: BTreeMap<String, String>) -> Judged<Self> {
        let (size, kind) = (options.remove("size"), options.remove("type"));
        let (device, layers) = (options.remove("device"), options.remove("o"));
        let content = match (size, kind.as_deref(), device.as_deref(), layers) {
            (None, None, None, None) => Some(Self::Plain),
            (Some(size), None, None, None) if size.bytes().all(|b| b.is_ascii_digit()) => Some(Self::Sized(size)),
            (None, Some("overlay"), Some("overlay"), Some(layers)) => Self::overlay(&layers),
            _ => None,
        };
        match content.filter(|_| options.is_empty()) {
            Some(content) => Ok(content),
            None => refuse!(Volume, "a volume may not have these driver options: they can mount paths of the host"),
        }
    }

    /// Parses `lowerdir=A:B,upperdir=C,workdir=D`.
    fn overlay(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let lower: Vec<String> = parts.next()?.strip_prefix("lowerdir=")?.split(':').map(str::to_owned).collect();
        let upper = match (parts.next(), parts.next(), parts.next()) {
            (None, None, None) => None,
            (Some(upper), Some(work), None) => {
                Some((upper.strip_prefix("upperdir=")?.to_owned(), work.strip_prefix("workdir=")?.to_owned()))
            }
            _ => return None,
        };
        let content = Self::Overlay { lower, upper };
        let is_plain = |path: &&String| is_clean_path(path) && !path.contains([':', ',', '\\', '"']);
        content.layers().iter().all(is_plain).then_some(content)
    }

    /// Returns the folders of an overlay.
    pub(crate) fn layers(&self) -> Vec<&String> {
        match self {
            Self::Plain | Self::Sized(_) => Vec::new(),
            Self::Overlay { lower, upper } => {
                lower.iter().chain(upper.iter().flat_map(|(upper, work)| [upper, work])).collect()
            }
        }
    }

    fn write(&self) -> Value {
        match self {
            Self::Plain => json!({}),
            Self::Sized(size) => json!({ "size": size }),
            Self::Overlay { lower, upper } => {
                let upper = upper.as_ref().map(|(upper, work)| format!(",upperdir={upper},workdir={work}"));
                let options = format!("lowerdir={}{}", lower.join(":"), upper.unwrap_or_default());
                json!({ "type": "overlay", "device": "overlay", "o": options })
            }
        }
    }
}

impl VolumeCreate {
    pub(crate) fn read(body: &[u8]) -> Judged<Self> {
        let mut fields = Fields::body(json::parse(body)?)?;
        match fields.text("Driver")?.as_str() {
            "" | "local" => {}
            other => return refuse!(Volume, "the volume driver {other:?} is not allowed: local is"),
        }
        let content = VolumeContent::read(fields.text_map("DriverOpts")?)?;
        fields.never("ClusterVolumeSpec", Rule::Volume)?;
        let volume = Self { name: fields.text("Name")?, labels: fields.text_map("Labels")?, content };
        fields.finish()?;
        Ok(volume)
    }

    pub(crate) fn write(&self) -> Value {
        json!({ "Name": self.name, "Driver": "local", "DriverOpts": self.content.write(), "Labels": self.labels })
    }
}

/// `POST /containers/{id}/update`: limits, which the policy compares with those of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) memory: i64,
    pub(crate) memory_swap: i64,
    pub(crate) memory_reservation: i64,
    pub(crate) nano_cpus: i64,
    pub(crate) pids_limit: Option<i64>,
    pub(crate) restarts: Option<i64>,
}

impl Update {
    pub(crate) fn read(body: &[u8]) -> Judged<Self> {
        let mut fields = Fields::body(json::parse(body)?)?;
        let f = &mut fields;
        for key in [
            "CpuShares",
            "CgroupParent",
            "BlkioWeight",
            "BlkioWeightDevice",
            "BlkioDeviceReadBps",
            "BlkioDeviceWriteBps",
            "BlkioDeviceReadIOps",
            "BlkioDeviceWriteIOps",
            "CpuPeriod",
            "CpuQuota",
            "CpuRealtimePeriod",
            "CpuRealtimeRuntime",
            "CpusetCpus",
            "CpusetMems",
            "Devices",
            "DeviceCgroupRules",
            "DeviceRequests",
            "KernelMemory",
            "KernelMemoryTCP",
            "OomKillDisable",
            "Ulimits",
            "CpuCount",
            "CpuPercent",
            "IOMaximumIOps",
            "IOMaximumBandwidth",
            "Init",
        ] {
            f.never(key, Rule::Cgroup)?;
        }
        if f.optional_int("MemorySwappiness")?.is_some_and(|value| value != -1) {
            return refuse!(Cgroup, "MemorySwappiness may not be set here");
        }
        let has_policy = f.object("RestartPolicy")?;
        let restarts = match has_policy {
            Some(mut policy) => {
                let (name, count) = (policy.text("Name")?, policy.int("MaximumRetryCount")?);
                policy.finish()?;
                match name.as_str() {
                    "" => None,
                    "no" => Some(0),
                    "on-failure" if (1..=10).contains(&count) => Some(count),
                    "on-failure" | "always" | "unless-stopped" => Some(10),
                    other => return refuse!(Restart, "{other:?} is not a restart policy"),
                }
            }
            None => None,
        };
        let update = Self {
            memory: f.int("Memory")?,
            memory_swap: f.int("MemorySwap")?,
            memory_reservation: f.int("MemoryReservation")?,
            nano_cpus: f.int("NanoCpus")?,
            pids_limit: f.optional_int("PidsLimit")?.filter(|limit| *limit != 0),
            restarts,
        };
        fields.finish()?;
        Ok(update)
    }

    pub(crate) fn write(&self) -> Value {
        let mut out = Out::default();
        out.int("Memory", self.memory);
        out.int("MemorySwap", self.memory_swap);
        out.int("MemoryReservation", self.memory_reservation);
        out.int("NanoCpus", self.nano_cpus);
        if let Some(limit) = self.pids_limit {
            out.put("PidsLimit", limit);
        }
        match self.restarts {
            Some(0) => out.put("RestartPolicy", json!({ "Name": "no" })),
            Some(count) => out.put("RestartPolicy", json!({ "Name": "on-failure", "MaximumRetryCount": count })),
            None => {}
        }
        out.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_always_of_an_update_is_a_few_times() {
        let update = Update::read(br#"{"RestartPolicy":{"Name":"always","MaximumRetryCount":0}}"#).unwrap();
        assert_eq!(update.restarts, Some(10));
    }
}
