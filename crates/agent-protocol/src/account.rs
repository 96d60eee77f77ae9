//! The accounts of an image, read from its passwd and group files: both sides have to agree on who a job's user is.

use std::path::PathBuf;

/// A user of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, including the first one.
    pub groups: Vec<u32>,
    pub home: PathBuf,
}

impl Account {
    /// Returns the account that an image's USER names: empty for root, `name` or `uid`, each with an optional `:group`
    /// or `:gid`.
    ///
    /// # Errors
    /// Names the missing user or group and the file.
    pub fn find(user: &str, passwd: &str, group: &str) -> Result<Self, String> {
        let (user, wanted_group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
        let user = if user.is_empty() { "0" } else { user };
        let number = user.parse::<u32>().ok();
        let entry = passwd.lines().filter_map(User::parse).find(|entry| match number {
            Some(uid) => entry.uid == uid,
            None => entry.name == user,
        });
        let mut account = match (entry, number) {
            (Some(entry), _) => Self {
                name: entry.name.to_owned(),
                uid: entry.uid,
                gid: entry.gid,
                groups: Vec::new(),
                home: PathBuf::from(if entry.home.is_empty() { "/" } else { entry.home }),
            },
            // Like the engine: a number needs no entry.
            (None, Some(0)) => Self { name: "root".into(), uid: 0, gid: 0, groups: Vec::new(), home: "/root".into() },
            (None, Some(uid)) => Self { name: uid.to_string(), uid, gid: 0, groups: Vec::new(), home: "/".into() },
            (None, None) => return Err(format!("the image's /etc/passwd has no user `{user}`")),
        };
        let groups = || group.lines().filter_map(Group::parse);
        match wanted_group.filter(|group| !group.is_empty()) {
            Some(wanted) => {
                account.gid = groups()
                    .find(|group| group.name == wanted)
                    .map(|group| group.gid)
                    .or_else(|| wanted.parse().ok())
                    .ok_or_else(|| format!("the image's /etc/group has no group `{wanted}`"))?;
                account.groups.push(account.gid);
            }
            None => {
                account.groups.push(account.gid);
                for group in groups().filter(|group| group.has(&account.name)) {
                    if !account.groups.contains(&group.gid) {
                        account.groups.push(group.gid);
                    }
                }
            }
        }
        Ok(account)
    }

    /// Returns the user's home. `set_by_image` is the image's `HOME`; root's home there means that the image sets none,
    /// since the engine sets that one by default.
    #[must_use]
    pub fn home_with(&self, set_by_image: Option<&str>) -> String {
        let set = set_by_image.filter(|home| !["/root", "/", ""].contains(home));
        set.map_or_else(|| self.home.to_string_lossy().into_owned(), str::to_owned)
    }
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> User<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        Some(Self { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, gid, members, ..] = fields[..] else { return None };
        Some(Self { name, gid: gid.parse().ok()?, members: members.trim_end() })
    }

    fn has(&self, user: &str) -> bool {
        self.members.split(',').any(|member| member == user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbuild:x:1000:1001:Build,,,:/home/build:/bin/bash\nbroken\n";
    const GROUP: &str = "root:x:0:\nbuild:x:1001:\ndocker:x:998:other,build\nvideo:x:44:build\n";

    fn find(user: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        Account::find(user, PASSWD, GROUP)
            .map(|account| (account.uid, account.gid, account.groups, account.home.display().to_string()))
    }

    #[test]
    fn every_form_of_user_that_an_image_may_name_is_found() {
        assert_eq!(find(""), Ok((0, 0, vec![0], "/root".into())));
        assert_eq!(find("build"), Ok((1000, 1001, vec![1001, 998, 44], "/home/build".into())));
        assert_eq!(find("1000"), Ok((1000, 1001, vec![1001, 998, 44], "/home/build".into())));
        assert_eq!(find("build:docker"), Ok((1000, 998, vec![998], "/home/build".into())));
        assert_eq!(find("1000:7"), Ok((1000, 7, vec![7], "/home/build".into())));
        assert_eq!(find("4242"), Ok((4242, 0, vec![0], "/".into())));
    }

    #[test]
    fn a_missing_name_is_said() {
        assert!(find("nobody-here").unwrap_err().contains("no user `nobody-here`"));
        assert!(find("build:none").unwrap_err().contains("no group `none`"));
        assert_eq!(Account::find("", "", "").map(|account| account.home), Ok("/root".into()));
    }

    #[test]
    fn a_home_that_the_image_sets_is_its_own_users() {
        let build = Account::find("build", PASSWD, GROUP).unwrap();
        assert_eq!(build.home_with(Some("/srv")), "/srv");
        for engines in [None, Some("/root"), Some("/"), Some("")] {
            assert_eq!(build.home_with(engines), "/home/build");
        }
    }
}
