//! A container's mounts, in the API's two forms: `Binds` and `Mounts`.

use std::collections::BTreeMap;

use crate::fields::Fields;
use crate::json::Json;
use crate::names::{is_clean_path, normal_path};
use crate::refusal::{Judged, Rule, refuse};

/// The source of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A path, as the client sees it.
    Path(String),
    /// A named volume, and a folder in it.
    Volume { name: String, subpath: String },
    /// The guard's own socket, by its path on the host. Only the policy sets it.
    Socket(String),
    /// A folder of the engine with all volumes, or with what it keeps of all containers, by its path on the host. Only a
    /// job's guard has these.
    OfEngine(String),
    /// A new anonymous volume.
    Anonymous,
    /// Memory.
    Tmpfs { size: i64, mode: i64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) source: Source,
    pub(crate) target: String,
    pub(crate) read_only: bool,
    pub(crate) no_copy: bool,
    /// Labels of the volume, if the mount creates one.
    pub(crate) labels: BTreeMap<String, String>,
    /// The size in bytes of the volume, if the mount creates one on storage with quotas. Only the server sets it.
    pub(crate) volume_size: Option<String>,
}

/// Parses `source:target[:options]`.
pub(crate) fn bind(text: &str) -> Judged<Mount> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return refuse!(Mount, "HostConfig.Binds has an entry that is not source:target[:options]"),
    };
    let (mut read_only, mut no_copy) = (false, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // Both are ignored: consistency means nothing on Linux, and the shared SELinux label (`z`) gives access to
            // no other file.
            "rw" | "z" | "consistent" | "cached" | "delegated" => {}
            "nocopy" => no_copy = true,
            other => {
                return refuse!(Mount, "the option {other:?} of a bind mount is not allowed: ro, rw, z and nocopy are");
            }
        }
    }
    let source = match source {
        "" => Source::Anonymous,
        path if path.starts_with('/') => Source::Path(path_of_host(path)?),
        name => Source::Volume { name: name.to_owned(), subpath: String::new() },
    };
    Ok(Mount { source, target: target_of(target)?, read_only, no_copy, labels: BTreeMap::new(), volume_size: None })
}

/// Reads an entry of `Mounts`.
pub(crate) fn mount(mut fields: Fields) -> Judged<Mount> {
    let kind = fields.text("Type")?;
    let name = fields.text("Source")?;
    let target = target_of(&fields.text("Target")?)?;
    let read_only = fields.flag("ReadOnly")?;
    fields.dropped("Consistency");
    fields.never("ImageOptions", Rule::Mount)?;
    fields.never("ClusterOptions", Rule::Mount)?;
    let mut mount = Mount {
        source: Source::Anonymous,
        target,
        read_only,
        no_copy: false,
        labels: BTreeMap::new(),
        volume_size: None,
    };
    let mut subpath = String::new();
    match (fields.object("VolumeOptions")?, kind.as_str()) {
        (Some(mut options), "volume") => {
            mount.no_copy = options.flag("NoCopy")?;
            mount.labels = options.text_map("Labels")?;
            subpath = options.text("Subpath")?;
            mount.volume_size = driver_config(&mut options)?;
            options.finish()?;
        }
        (Some(options), _) => options.all_zero(Rule::Mount)?,
        (None, _) => {}
    }
    match (fields.object("BindOptions")?, kind.as_str()) {
        (Some(mut options), "bind") => {
            // The engine's default. Any other lets a container change what is mounted on the host.
            match options.text("Propagation")?.as_str() {
                "" | "rprivate" | "private" => {}
                other => {
                    return refuse!(Mount, "the mount propagation {other:?} is not allowed: rprivate and private are");
                }
            }
            options.dropped("CreateMountpoint");
            // A volume has no mounts in it, and the guard's own mount is written as it has to be.
            options.dropped("NonRecursive");
            options.never("ReadOnlyNonRecursive", Rule::Mount)?;
            options.never("ReadOnlyForceRecursive", Rule::Mount)?;
            options.finish()?;
        }
        (Some(options), _) => options.all_zero(Rule::Mount)?,
        (None, _) => {}
    }
    let (mut size, mut mode) = (0, 0);
    match (fields.object("TmpfsOptions")?, kind.as_str()) {
        (Some(mut options), "tmpfs") => {
            size = options.int("SizeBytes")?;
            mode = options.int("Mode")?;
            options.never("Options", Rule::Mount)?;
            options.finish()?;
        }
        (Some(options), _) => options.all_zero(Rule::Mount)?,
        (None, _) => {}
    }
    fields.finish()?;
    mount.source = match (kind.as_str(), name.as_str()) {
        ("bind", path) if path.starts_with('/') => Source::Path(path_of_host(path)?),
        ("bind", _) => return refuse!(HostPath, "a bind mount needs an absolute path as its source"),
        ("volume", "") => Source::Anonymous,
        ("volume", name) => Source::Volume { name: name.to_owned(), subpath: clean_subpath(&subpath)? },
        ("tmpfs", "") => Source::Tmpfs { size, mode },
        ("tmpfs", _) => return refuse!(Mount, "a tmpfs mount has no source"),
        (other, _) => {
            return refuse!(Mount, "mounts of the type {other:?} are not allowed: bind, volume and tmpfs are");
        }
    };
    Ok(mount)
}

/// Reads the options of a volume driver. All but the size are refused: they can mount any path of the host as a volume.
fn driver_config(options: &mut Fields) -> Judged<Option<String>> {
    let Some(mut config) = options.object("DriverConfig")? else { return Ok(None) };
    let driver = config.text("Name")?;
    if !matches!(driver.as_str(), "" | "local") {
        return refuse!(Volume, "the volume driver {driver:?} is not allowed: local is");
    }
    let mut given = config.text_map("Options")?;
    config.finish()?;
    let size = given.remove("size");
    match given.keys().next() {
        Some(option) => {
            refuse!(Volume, "the option {option:?} of a volume driver is not allowed: it can mount paths of the host")
        }
        None => Ok(size),
    }
}

fn target_of(target: &str) -> Judged<String> {
    const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];
    if !is_clean_path(target) {
        return refuse!(Mount, "{target:?} is not an absolute path within the container");
    }
    let target = normal_path(target);
    let within = |dir: &&str| target == **dir || target.starts_with(&format!("{dir}/"));
    // Mounts below /dev are common (/dev/shm); /dev itself holds the devices.
    match KERNEL.iter().find(|dir| within(dir) && (**dir != "/dev" || target == "/dev")) {
        Some(dir) => refuse!(Mount, "nothing may be mounted over {dir}"),
        None if target == "/" => refuse!(Mount, "nothing may be mounted over the root"),
        None => Ok(target),
    }
}

fn path_of_host(path: &str) -> Judged<String> {
    if is_clean_path(path) {
        return Ok(normal_path(path));
    }
    refuse!(HostPath, "the path {path:?} contains `.` or `..`: write the path without them")
}

fn clean_subpath(subpath: &str) -> Judged<String> {
    if subpath.is_empty() || (is_clean_path(&format!("/{subpath}")) && !subpath.starts_with('/')) {
        return Ok(normal_path(subpath).split_off(1));
    }
    refuse!(Volume, "the folder {subpath:?} of a volume leads out of it")
}

/// Reads the options of a tmpfs. None that is allowed makes device files or setuid programs work.
pub(crate) fn tmpfs_options(path: &str, options: &str) -> Judged<String> {
    let mut kept = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            None if matches!(option, "rw" | "ro" | "exec" | "noexec" | "nosuid" | "nodev") => kept.push(option),
            Some(("size", size)) if size.bytes().all(|b| b.is_ascii_digit() || b"kmgKMG".contains(&b)) => {
                kept.push(option)
            }
            Some(("mode" | "uid" | "gid", number)) if number.bytes().all(|b| b.is_ascii_digit()) => kept.push(option),
            _ => return refuse!(Mount, "the option {option:?} of the tmpfs at {path} is not allowed"),
        }
    }
    kept.extend(["nosuid", "nodev"].iter().filter(|option| !options.split(',').any(|given| given == **option)));
    Ok(kept.join(","))
}

/// Reads `Tmpfs`, a map from paths to their options.
pub(crate) fn tmpfs(fields: &mut Fields) -> Judged<BTreeMap<String, String>> {
    fields
        .map("Tmpfs")?
        .into_iter()
        .map(|(path, options)| match options {
            Json::Text(options) => Ok((target_of(&path)?, tmpfs_options(&path, &options)?)),
            Json::Null => Ok((target_of(&path)?, tmpfs_options(&path, "")?)),
            other => refuse!(Body, "HostConfig.Tmpfs.{path} is {}, not a string", other.kind()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_is_a_path_or_a_volume_and_nothing_between() {
        for text in
            ["/a/../b:/c", "/a:/c:rshared", "/a:/c:Z", "a:c", "a:/c:ro:x", "a:/", "a:/proc/x", "a:/dev", "a:/c/.."]
        {
            assert!(bind(text).is_err(), "{text}");
        }
        let read = bind("/w//src/:/c/:ro").unwrap();
        assert_eq!((read.source, read.target.as_str(), read.read_only), (Source::Path("/w/src".into()), "/c", true));
        assert_eq!(bind("/c").unwrap().source, Source::Anonymous);
        assert!(matches!(bind("data:/dev/shm").unwrap().source, Source::Volume { .. }));
        assert_eq!(tmpfs_options("/t", "size=64m,exec").unwrap(), "size=64m,exec,nosuid,nodev");
        for options in ["suid", "dev", "mpol=x", "size=1,nr_inodes=1", "size=50%"] {
            assert!(tmpfs_options("/t", options).is_err(), "{options}");
        }
    }
}
