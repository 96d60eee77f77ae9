//! Writes the `HostConfig` that was judged. No code here can write a host namespace, or a path of the host other than
//! the guard's own socket.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{HostConfig, LogDriver, NetworkMode, Sharing};
use crate::builder;
use crate::mounts::{Mount, Source};
use crate::out::Out;
use crate::refusal::{Judged, refuse};

impl HostConfig {
    pub(crate) fn write(&self) -> Judged<Value> {
        let mut out = Out::default();
        self.write_volumes(&mut out)?;
        self.write_network(&mut out)?;
        self.write_rights(&mut out);
        self.write_limits(&mut out);
        if self.restarts > 0 {
            out.put("RestartPolicy", json!({ "Name": "on-failure", "MaximumRetryCount": self.restarts }));
        }
        out.flag("AutoRemove", self.auto_remove);
        if let Some(init) = self.init {
            out.put("Init", init);
        }
        out.put(
            "LogConfig",
            match self.log {
                LogDriver::File => json!({ "Type": "json-file", "Config": { "max-size": "10m", "max-file": "2" } }),
                LogDriver::None => json!({ "Type": "none" }),
            },
        );
        Ok(out.value())
    }

    fn write_volumes(&self, out: &mut Out) -> Judged<()> {
        let mounts = self.mounts.iter().map(write_mount).collect::<Judged<Vec<_>>>()?;
        if !mounts.is_empty() {
            out.put("Mounts", mounts);
        }
        out.text_map("Tmpfs", &self.tmpfs);
        out.texts("VolumesFrom", &self.volumes_from);
        out.flag("ReadonlyRootfs", self.read_only);
        Ok(())
    }

    fn write_network(&self, out: &mut Out) -> Judged<()> {
        out.put(
            "NetworkMode",
            match &self.network {
                NetworkMode::None => "none".to_owned(),
                NetworkMode::Container(id) => format!("container:{id}"),
                NetworkMode::Named(name) => name.clone(),
                NetworkMode::Default => return refuse!(Network, "the container has no network of its own"),
            },
        );
        if !self.published.is_empty() {
            let mut ports: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
            for published in &self.published {
                let address = published.address.map(|address| address.to_string()).unwrap_or_default();
                ports
                    .entry(&published.port)
                    .or_default()
                    .push(json!({ "HostIp": address, "HostPort": published.host_port }));
            }
            out.put("PortBindings", json!(ports));
        }
        out.texts("Dns", &self.dns);
        out.texts("DnsOptions", &self.dns_options);
        out.texts("DnsSearch", &self.dns_search);
        out.texts("ExtraHosts", &self.extra_hosts);
        Ok(())
    }

    /// Writes what separates the container from others and from the host.
    fn write_rights(&self, out: &mut Out) {
        match &self.ipc {
            // Written, because an engine may be configured with another default.
            Sharing::Own => out.put("IpcMode", "private"),
            Sharing::Shareable => out.put("IpcMode", "shareable"),
            Sharing::None => out.put("IpcMode", "none"),
            Sharing::Container(id) => out.put("IpcMode", format!("container:{id}")),
        }
        if let Sharing::Container(id) = &self.pid {
            out.put("PidMode", format!("container:{id}"));
        }
        out.put("Privileged", false);
        out.texts("CapAdd", &self.cap_add);
        out.texts("CapDrop", &self.cap_drop);
        if self.is_builder {
            out.put("SecurityOpt", json!(builder::security_options()));
        } else if self.no_new_privileges {
            out.put("SecurityOpt", json!(["no-new-privileges"]));
        }
        out.text_map("Sysctls", &self.sysctls);
    }

    fn write_limits(&self, out: &mut Out) {
        for (key, value) in [
            ("Memory", self.memory),
            ("MemorySwap", self.memory_swap),
            ("MemoryReservation", self.memory_reservation),
            ("NanoCpus", self.nano_cpus),
            ("CpuShares", self.cpu_shares),
            ("CpuPeriod", self.cpu_period),
            ("CpuQuota", self.cpu_quota),
            ("PidsLimit", self.pids_limit),
            ("ShmSize", self.shm_size),
            ("OomScoreAdj", self.oom_score),
        ] {
            out.int(key, value);
        }
        if !self.ulimits.is_empty() {
            let limits = self.ulimits.iter();
            out.put(
                "Ulimits",
                limits.map(|l| json!({ "Name": l.name, "Soft": l.soft, "Hard": l.hard })).collect::<Vec<_>>(),
            );
        }
        if let Some(size) = &self.disk {
            out.put("StorageOpt", json!({ "size": size }));
        }
        out.text("CgroupParent", &self.cgroup_parent);
    }
}

fn write_mount(mount: &Mount) -> Judged<Value> {
    let mut out = Out::default();
    out.put("Target", mount.target.as_str());
    out.flag("ReadOnly", mount.read_only);
    let mut options = Out::default();
    options.flag("NoCopy", mount.no_copy);
    options.text_map("Labels", &mount.labels);
    if let Some(size) = &mount.volume_size {
        options.put("DriverConfig", json!({ "Name": "local", "Options": { "size": size } }));
    }
    match &mount.source {
        Source::Path(path) => return refuse!(HostPath, "the path {path} of the host may not be mounted"),
        Source::Volume { name, subpath } => {
            out.put("Type", "volume");
            out.put("Source", name.as_str());
            options.text("Subpath", subpath);
            out.put("VolumeOptions", options.value());
        }
        Source::Socket(path) => {
            out.put("Type", "bind");
            out.put("Source", path.as_str());
        }
        Source::OfEngine(path) => {
            out.put("Type", "bind");
            out.put("Source", path.as_str());
            // Volumes that are mounts themselves would stay mounted for as long as the container runs.
            out.put("BindOptions", json!({ "NonRecursive": true }));
        }
        Source::Anonymous => {
            out.put("Type", "volume");
            out.put("VolumeOptions", options.value());
        }
        Source::Tmpfs { size, mode } => {
            out.put("Type", "tmpfs");
            let mut options = Out::default();
            options.int("SizeBytes", *size);
            options.int("Mode", *mode);
            out.put("TmpfsOptions", options.value());
        }
    }
    Ok(out.value())
}
