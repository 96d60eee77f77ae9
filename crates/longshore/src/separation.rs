//! Finds out whether the server and its guard can be two users, of which only the guard's may open the engine's
//! socket, and gives the data folder to the server's user. Called by `serve` at its start, as root in a container.
//!
//! A message for the operator says what is missing. The server then runs with the socket itself, without a guard.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown, lchown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use longshore_guard::own_container;
use rustix::thread::{CapabilitySet, capabilities};

use crate::{config::Config, guard_files};

/// The user of the guard. Nobody is called so, and nothing is his but the guard's socket.
const GUARD_UID: u32 = 8081;
/// The user of the server, as the image's passwd file has it.
const SERVER: &str = "longshore";
/// The folder of the guard's socket, and where it is if the container's file system is read-only.
const SOCKET_FOLDERS: [&str; 2] = ["/run/longshore", "/tmp/longshore-guard"];

/// Whom a process runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) id: u32,
    pub(crate) group: u32,
}

impl User {
    /// Makes a program run as this user, in its group and in no other.
    pub(crate) fn run_as(self, command: &mut Command) -> &mut Command {
        command.uid(self.id).gid(self.group)
    }

    /// Checks whether this user may do something with a path: `longshore may WHAT PATH`.
    fn may(self, what: &str, path: &Path) -> io::Result<bool> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("may").arg(what).arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(self.run_as(&mut command).status()?.success())
    }
}

/// Two users, and where they meet.
#[derive(Debug)]
pub(crate) struct Separation {
    pub(crate) server: User,
    pub(crate) guard: User,
    /// The folder of the guard's socket.
    pub(crate) folder: PathBuf,
    /// Whether the guard has a folder for its log.
    pub(crate) has_log: bool,
}

/// Returns whether this process is in a container.
pub(crate) fn in_container() -> bool {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    own_container(&mountinfo).is_some() || Path::new("/.dockerenv").exists()
}

/// Separates server and guard.
///
/// # Errors
/// The missing condition, in words.
pub(crate) fn separate(config: &Config, socket: &Path, files: &[PathBuf]) -> Result<Separation, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("it was not started as root, so the server cannot have less rights than its guard".to_owned());
    }
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::KILL;
    if !capabilities(None).is_ok_and(|sets| sets.permitted.contains(needed)) {
        return Err("the capabilities SETUID, SETGID and KILL are needed".to_owned());
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let server = user_of(&passwd, SERVER).ok_or(format!("there is no user `{SERVER}` here"))?;
    let guard = guard_of(socket, server)?;
    if !files_of_root(Path::new("/root/.ssh")).is_empty() {
        return Err(format!(
            "the server's ssh files are in /root/.ssh: mount them at {}/.ssh, for the user {}",
            home_of(&passwd, SERVER),
            server.id
        ));
    }
    let port = config.listen.rsplit(':').next().and_then(|port| port.parse::<u32>().ok()).unwrap_or(0);
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if port < first.trim().parse().unwrap_or(1024) {
        return Err(format!("only root may listen on port {port} here"));
    }
    take_over(&config.data, server)?;
    if !server.may("write", &config.data).map_err(|error| error.to_string())? {
        return Err(format!(
            "the user {0} may not write to {1}: give it that folder with `chown -R {0} {1}`",
            server.id,
            config.data.display()
        ));
    }
    for file in files {
        if !server.may("read", file).map_err(|error| error.to_string())? {
            return Err(format!("the user {} may not read {}", server.id, file.display()));
        }
    }
    let has_log = match log_folder(guard, server) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!("the guard keeps no audit log: there is no folder for {}: {error}", guard_files::AUDIT_LOG);
            false
        }
    };
    Ok(Separation { server, guard, folder: folder(guard, server)?, has_log })
}

/// Returns the user that may open the engine's socket, where the server's may not.
fn guard_of(socket: &Path, server: User) -> Result<User, String> {
    let there = fs::metadata(socket).map_err(|error| format!("{}: {error}", socket.display()))?;
    if !there.file_type().is_socket() {
        return Err(format!("{} is not a socket", socket.display()));
    }
    let tried = |error: io::Error| {
        format!("cannot switch to another user ({error}): the capabilities SETUID and SETGID are needed")
    };
    if server.may("connect", socket).map_err(tried)? {
        return Err(format!("every user of this container may open {}", socket.display()));
    }
    // Its group's, or else its owner's, without root's rights.
    for id in [GUARD_UID, there.uid()] {
        let user = User { id, group: there.gid() };
        if user.may("connect", socket).map_err(tried)? {
            return Ok(user);
        }
    }
    Err(format!("neither the group nor the owner of {} may open it", socket.display()))
}

fn fields<'a>(passwd: &'a str, name: &str) -> Option<Vec<&'a str>> {
    passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name && fields.len() > 5)
}

fn user_of(passwd: &str, name: &str) -> Option<User> {
    let fields = fields(passwd, name)?;
    Some(User {
        id: fields[2].parse().ok().filter(|id| *id != 0)?,
        group: fields[3].parse().ok().filter(|id| *id != 0)?,
    })
}

fn home_of<'a>(passwd: &'a str, name: &str) -> &'a str {
    fields(passwd, name).map_or(crate::DEFAULT_DATA, |fields| fields[5])
}

fn files_of_root(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Makes the folder of the guard's socket: the guard makes it there, and only the server's group gets to it.
fn folder(guard: User, server: User) -> Result<PathBuf, String> {
    let make = |folder: &Path| -> io::Result<()> {
        match fs::create_dir(folder) {
            // The image's, or of an earlier start of this container: root's, or a guard's.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let there = fs::symlink_metadata(folder)?;
                if !there.is_dir() || ![0, GUARD_UID, guard.id].contains(&there.uid()) {
                    return Err(error);
                }
            }
            made => made?,
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o750))?;
        chown(folder, Some(guard.id), Some(server.group))
    };
    let mut reason = String::new();
    for folder in SOCKET_FOLDERS.map(PathBuf::from) {
        match make(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) => reason = format!("there is no folder for the guard's socket: {}: {error}", folder.display()),
        }
    }
    Err(reason)
}

/// Makes the folder of the guard's log: the guard writes there, and the server's group reads.
fn log_folder(guard: User, server: User) -> io::Result<()> {
    const MODE: u32 = 0o2750;
    let file = Path::new(guard_files::AUDIT_LOG);
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder)?;
    let there = fs::symlink_metadata(folder)?;
    if !there.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if (there.uid(), there.gid(), there.mode() & 0o7777) != (guard.id, server.group, MODE) {
        fs::set_permissions(folder, fs::Permissions::from_mode(MODE))?;
        chown(folder, Some(guard.id), Some(server.group))?;
        // A change of the owner may have taken it away.
        fs::set_permissions(folder, fs::Permissions::from_mode(MODE)).or_else(|error| {
            match fs::symlink_metadata(folder)?.mode() & 0o7777 == MODE {
                true => Ok(()),
                false => Err(error),
            }
        })?;
    }
    Ok(())
}

/// Gives the server what root has in the data folder: a server of an earlier version ran as root. Others' files, and
/// what is mounted in it, stay as they are.
fn take_over(data: &Path, server: User) -> Result<(), String> {
    let failed = |error: io::Error| format!("the data folder {} cannot be the server's: {error}", data.display());
    fs::create_dir_all(data).map_err(failed)?;
    let is_roots = |path: &Path| fs::symlink_metadata(path).is_ok_and(|there| there.uid() == 0);
    let mounted = mount_points(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    let direct = files_of_root(data);
    if !is_roots(data) && !direct.iter().any(|path| is_roots(path) && !mounted.contains(path)) {
        return Ok(());
    }
    let mut taken = 0_u64;
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in files_of_root(&folder) {
            if mounted.contains(&path) {
                continue;
            }
            // A path that cannot be read, such as one that is too long, was made by the server: no reason to be without
            // a guard.
            let Ok(there) = fs::symlink_metadata(&path) else { continue };
            if there.is_dir() {
                folders.push(path.clone());
            }
            if there.uid() == 0 && folder != *data {
                lchown(&path, Some(server.id), Some(server.group)).map_err(failed)?;
                taken += 1;
            }
        }
    }
    // Last, for by these the next start sees that this one was cut short.
    for path in direct.iter().filter(|path| is_roots(path) && !mounted.contains(*path)) {
        lchown(path, Some(server.id), Some(server.group)).map_err(failed)?;
        taken += 1;
    }
    if is_roots(data) {
        lchown(data, Some(server.id), Some(server.group)).map_err(failed)?;
    }
    tracing::info!(data = %data.display(), files = taken, user = server.id, "the data folder was root's and is the server's now");
    Ok(())
}

fn mount_points(mountinfo: &str) -> BTreeSet<PathBuf> {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

/// Runs `longshore may WHAT PATH`: returns whether this process may.
pub(crate) fn may(what: &str, path: &Path) -> bool {
    match what {
        // A socket that nobody listens on is one that may be opened.
        "connect" => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        },
        "read" => fs::File::open(path).is_ok(),
        "write" => rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok(),
        _ => {
            let _ = writeln!(io::stderr(), "connect, read or write");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_user_is_never_root() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nlongshore:x:8080:8080::/var/lib/longshore:/usr/sbin/nologin\n";
        assert_eq!(user_of(passwd, SERVER), Some(User { id: 8080, group: 8080 }));
        assert_eq!(home_of(passwd, SERVER), "/var/lib/longshore");
        assert_eq!(user_of(passwd, "root"), None);
        assert_eq!(user_of("longshore:x:0:0::/:/bin/sh", SERVER), None);
        assert_eq!(user_of("longshore", SERVER), None);
    }

    #[test]
    fn what_is_mounted_in_the_data_folder_is_known() {
        let mounts = "36 35 8:1 / /data rw - ext4 x rw\n37 36 8:1 /keys /data/.ssh ro - ext4 x ro\n";
        assert!(mount_points(mounts).contains(Path::new("/data/.ssh")));
    }
}
