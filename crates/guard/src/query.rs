//! The query of a request: the parameters that its route knows, and readers for their kinds of values.

use std::collections::BTreeMap;

use crate::bodies::keys;
use crate::call::{Attach, Build, Call, Logs, Size};
use crate::container::LONGEST_STOP;
use crate::filters::Filters;
use crate::image_ref::ImageRef;
use crate::json::{self, Json};
use crate::names::is_clean_path;
use crate::refusal::{Judged, NO_BUILDKIT, refuse};
use crate::registry_auth::RegistryAuth;
use crate::route::BodyKind;

/// The columns of a list of processes that a client may choose.
const PS_COLUMNS: [&str; 18] = [
    "pid", "ppid", "user", "uid", "pcpu", "pmem", "rss", "vsz", "stat", "start", "stime", "time", "etime", "tty",
    "nice", "comm", "args", "cmd",
];

/// Parses an image reference in two parts, as queries have it.
pub(crate) fn reference(name: &str, tag: &str) -> Judged<ImageRef> {
    match tag {
        "" => ImageRef::parse(name),
        digest if digest.starts_with("sha256:") => ImageRef::parse(&format!("{name}@{digest}")),
        tag => ImageRef::parse(&format!("{name}:{tag}")),
    }
}

/// The parameters of a query. The route knows all of them, and none is repeated unless it is a list.
#[derive(Debug)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    /// Names of further parameters, which the body has to have too.
    repeated: Vec<String>,
}

impl Query {
    /// Checks the parameters. `known` are those of the route, and `lists` those that may be repeated. Of a request with
    /// a JSON body, other parameters are ignored if they repeat its fields, as dockerode writes them.
    pub(crate) fn of(pairs: Vec<(String, String)>, known: &[&str], lists: &[&str], kind: BodyKind) -> Judged<Self> {
        let (pairs, others): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(key, _)| known.contains(&key.as_str()));
        if let Some((key, _)) = others.first().filter(|_| kind != BodyKind::Json) {
            return unknown(key);
        }
        for (at, (key, _)) in pairs.iter().enumerate() {
            if !lists.contains(&key.as_str()) && pairs[..at].iter().any(|(earlier, _)| earlier == key) {
                return refuse!(Syntax, "the query parameter {key:?} is repeated");
            }
        }
        Ok(Self { pairs, repeated: others.into_iter().map(|(key, _)| key).collect() })
    }

    /// Checks that the body has the fields that the query repeats.
    pub(crate) fn check_repeated(&self, body: &[u8]) -> Judged<()> {
        if self.repeated.is_empty() {
            return Ok(());
        }
        let fields = entries(body)?;
        match self.repeated.iter().find(|key| fields.iter().all(|(field, _)| field != *key)) {
            Some(key) => unknown(key),
            None => Ok(()),
        }
    }

    /// Checks that a body which the route does not have is the query once more, as dockerode sends it.
    pub(crate) fn check_no_more_in(&self, body: &[u8]) -> Judged<()> {
        match entries(body)?.iter().find(|(field, _)| self.get(field).is_none()) {
            Some((field, _)) => refuse!(Body, "this request may not have a body with {field:?}"),
            None => Ok(()),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self, key: &str) -> String {
        self.get(key).unwrap_or_default().to_owned()
    }

    /// Reads a boolean in the spellings that clients use. To the engine, any other text means true.
    pub(crate) fn flag(&self, key: &str) -> Judged<bool> {
        match self.get(key).unwrap_or_default() {
            "" | "0" | "false" | "False" | "no" | "none" => Ok(false),
            "1" | "true" | "True" => Ok(true),
            other => refuse!(Syntax, "{key}={other:?} is neither true nor false"),
        }
    }

    pub(crate) fn number(&self, key: &str) -> Judged<Option<u32>> {
        match self.get(key).unwrap_or_default() {
            "" | "-1" => Ok(None),
            text => match text.parse() {
                Ok(number) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(number)),
                _ => refuse!(Syntax, "{key}={text:?} is not a number"),
            },
        }
    }

    pub(crate) fn seconds(&self) -> Judged<Option<i64>> {
        Ok(self.number("t")?.map(|seconds| i64::from(seconds).min(LONGEST_STOP)))
    }

    pub(crate) fn size(&self) -> Judged<Size> {
        let side = |key| Ok(self.number(key)?.unwrap_or_default().min(9999));
        Ok(Size { height: side("h")?, width: side("w")? })
    }

    /// Reads a time or a number of lines: letters, digits and some punctuation.
    pub(crate) fn time(&self, key: &str) -> Judged<String> {
        let text = self.text(key);
        if text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-+".contains(&b)) {
            return Ok(text);
        }
        refuse!(Syntax, "{key} is not a time")
    }

    pub(crate) fn platform(&self) -> Judged<String> {
        let text = self.text("platform");
        if text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b)) {
            return Ok(text);
        }
        refuse!(Syntax, "{text:?} is not a platform")
    }

    /// Whether a parameter has no value, in the spellings that clients use.
    fn is_unset(&self, key: &str) -> bool {
        matches!(self.get(key).unwrap_or_default(), "" | "null" | "[]" | "{}" | "default")
    }

    /// Checks that a request about an image is about the one of the engine's platform: the guard knows no other.
    pub(crate) fn check_platform_unset(&self) -> Judged<()> {
        match ["platform", "platforms"].into_iter().find(|key| !self.is_unset(key)) {
            Some(key) => refuse!(Image, "{key} may not be set for an image that is on the engine"),
            None => Ok(()),
        }
    }

    /// Reads the arguments of `ps`, which runs on the host. They choose columns after the process's id, and nothing else:
    /// with an option that it cannot combine with the engine's own, `ps` lists all processes of the host, and the engine
    /// quotes the word where it expects an id.
    pub(crate) fn ps_args(&self) -> Judged<String> {
        let text = self.text("ps_args");
        let words: Vec<&str> = text.split_whitespace().collect();
        let columns = match words[..] {
            [] | ["aux" | "-ef"] => return Ok(words.concat()),
            ["-o" | "-eo", columns] => Some(columns),
            [option] => option.strip_prefix("-eo").or_else(|| option.strip_prefix("-o")),
            _ => None,
        };
        let columns: Vec<&str> = columns.unwrap_or_default().split(',').collect();
        if columns.len() <= PS_COLUMNS.len()
            && columns.first() == Some(&"pid")
            && columns.iter().all(|column| PS_COLUMNS.contains(column))
        {
            return Ok(format!("-o {}", columns.join(",")));
        }
        refuse!(
            Syntax,
            "ps_args may be aux, -ef, or -o with columns of which pid is the first ({})",
            PS_COLUMNS.join(", ")
        )
    }

    pub(crate) fn condition(&self) -> Judged<String> {
        match self.text("condition") {
            text if matches!(text.as_str(), "" | "not-running" | "next-exit" | "removed") => Ok(text),
            other => refuse!(Syntax, "{other:?} is not a condition that can be waited for"),
        }
    }

    /// Reads a path within a container. It may be relative, as the engine allows it, but contains no `..`.
    pub(crate) fn path(&self) -> Judged<String> {
        let text = self.text("path");
        let plain = (1..=4096).contains(&text.len()) && !text.contains(|c: char| c.is_control());
        if plain && text.split('/').all(|part| part != "..") {
            return Ok(text);
        }
        refuse!(Archive, "{text:?} is not a path that can be copied")
    }

    pub(crate) fn filters(&self, known: &[&str]) -> Judged<Filters> {
        Filters::read(self.get("filters").unwrap_or_default(), known)
    }

    pub(crate) fn events(&self) -> Judged<Call> {
        let known = ["type", "event", "label", "container", "network", "volume", "image", "daemon", "scope"];
        Ok(Call::Events { since: self.time("since")?, until: self.time("until")?, filters: self.filters(&known)? })
    }

    pub(crate) fn container_list(&self) -> Judged<Call> {
        let known = ["label", "status", "name", "id", "exited", "health", "ancestor", "network", "volume"];
        Ok(Call::ContainerList {
            all: self.flag("all")?,
            limit: self.number("limit")?.filter(|limit| *limit > 0),
            size: self.flag("size")?,
            filters: self.filters(&known)?,
        })
    }

    pub(crate) fn logs(&self) -> Judged<Logs> {
        Ok(Logs {
            follow: self.flag("follow")?,
            stdout: self.flag("stdout")?,
            stderr: self.flag("stderr")?,
            timestamps: self.flag("timestamps")?,
            details: self.flag("details")?,
            since: self.time("since")?,
            until: self.time("until")?,
            tail: self.time("tail")?,
        })
    }

    pub(crate) fn attach(&self) -> Judged<Attach> {
        Ok(Attach {
            detach_keys: keys(self.text("detachKeys"))?,
            logs: self.flag("logs")?,
            stream: self.flag("stream")?,
            stdin: self.flag("stdin")?,
            stdout: self.flag("stdout")?,
            stderr: self.flag("stderr")?,
        })
    }

    pub(crate) fn image_list(&self) -> Judged<Call> {
        let mut filters = self.filters(&["reference", "label", "dangling"])?;
        // An old form of the filter by name, which one client still sends.
        if let Some(reference) = self.get("filter").filter(|text| !text.is_empty()) {
            filters.0.entry("reference".to_owned()).or_default().push(reference.to_owned());
        }
        Ok(Call::ImageList { all: self.flag("all")?, digests: self.flag("digests")?, filters })
    }

    pub(crate) fn image_create(&self, auth: RegistryAuth) -> Judged<Call> {
        if let Some(source) = self.get("fromSrc").filter(|source| !source.is_empty()) {
            for key in ["fromImage", "tag", "repo", "platform", "message"] {
                if self.get(key).is_some_and(|value| !value.is_empty()) {
                    return refuse!(Image, "{key} may not be set for an import");
                }
            }
            if source != "-" {
                return refuse!(Registry, "importing an image from an address is not allowed");
            }
            // Some clients send each change as a parameter of its own, others all in one parameter, a change a line.
            let changes =
                self.pairs.iter().filter(|(key, _)| key == "changes").flat_map(|(_, value)| value.split('\n'));
            let changes = changes.map(str::to_owned).collect();
            return Ok(Call::ImageImport { changes });
        }
        // `authconfig` is dropped: the credentials are in their header as well.
        for key in ["repo", "message", "changes", "registry"] {
            if self.get(key).is_some_and(|value| !value.is_empty()) {
                return refuse!(Image, "{key} may not be set for a pull");
            }
        }
        Ok(Call::ImagePull {
            image: reference(&self.text("fromImage"), &self.text("tag"))?,
            platform: self.platform()?,
            auth,
        })
    }

    pub(crate) fn build(&self, registries: BTreeMap<String, RegistryAuth>) -> Judged<Build> {
        if !matches!(self.get("version").unwrap_or_default(), "" | "1") {
            return refuse!(Build, "{NO_BUILDKIT}");
        }
        for key in [
            "remote",
            "outputs",
            "session",
            "securityopt",
            "cgroupparent",
            "extrahosts",
            "cpusetcpus",
            "cpusetmems",
            "ulimits",
            "isolation",
        ] {
            if !self.is_unset(key) {
                return refuse!(Build, "{key} may not be set for a build");
            }
        }
        if self.flag("squash")? {
            return refuse!(Build, "squashing layers is not allowed");
        }
        let dockerfile = Some(self.text("dockerfile")).filter(|name| !name.is_empty());
        let dockerfile = dockerfile.unwrap_or_else(|| "Dockerfile".to_owned());
        let dockerfile = dockerfile.strip_prefix("./").unwrap_or(&dockerfile).to_owned();
        if dockerfile.len() > 255 || !is_clean_path(&format!("/{dockerfile}")) || dockerfile.starts_with('/') {
            return refuse!(Build, "the Dockerfile is not a path within the context");
        }
        let tags = self.pairs.iter().filter(|(key, value)| key == "t" && !value.is_empty());
        let target = self.text("target");
        if !target.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
            return refuse!(Build, "{target:?} is not the name of a build stage");
        }
        Ok(Build {
            dockerfile,
            tags: tags.map(|(_, value)| ImageRef::parse(value)).collect::<Judged<_>>()?,
            args: arguments(self.get("buildargs").unwrap_or_default())?,
            labels: labels(self.get("labels").unwrap_or_default())?,
            target,
            platform: self.platform()?,
            quiet: self.flag("q")?,
            network: self.text("networkmode"),
            registries,
        })
    }
}

fn unknown<T>(key: &str) -> Judged<T> {
    refuse!(Syntax, "the query parameter {key:?} is unknown here")
}

fn entries(text: &[u8]) -> Judged<Vec<(String, Json)>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    match json::parse(text)? {
        Json::Object(entries) => Ok(entries),
        Json::Null => Ok(Vec::new()),
        other => refuse!(Body, "there is {} where a JSON object has to be", other.kind()),
    }
}

fn arguments(text: &str) -> Judged<BTreeMap<String, Option<String>>> {
    entries(text.as_bytes())?
        .into_iter()
        .map(|(name, value)| match value {
            Json::Null => Ok((name, None)),
            Json::Text(text) => Ok((name, Some(text))),
            _ => refuse!(Body, "a build argument is not a string"),
        })
        .collect()
}

fn labels(text: &str) -> Judged<BTreeMap<String, String>> {
    entries(text.as_bytes())?
        .into_iter()
        .map(|(name, value)| match value {
            Json::Text(text) => Ok((name, text)),
            _ => refuse!(Body, "a build label is not a string"),
        })
        .collect()
}
