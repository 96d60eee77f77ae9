//! Converts values of Woodpecker's and Drone's containers: variables, secrets, and the settings of plugins.

use std::collections::BTreeSet;

use longshore_pipeline::{
    source::Place,
    tree::{Entry, Kind, Node},
};

use super::{
    condition::quote,
    containers::Containers,
    draft::{Item, Map, Note, Part, Value},
    foreign::{self, FORM, Section, entries, items, text, text_or_empty},
    shell,
    variables::{self, written},
};

/// The names of a file's secrets: those of the source, and ours. Names that are the same here are told apart by a
/// number.
#[derive(Debug, Default)]
pub(super) struct SecretNames {
    /// Names that can stay as they are.
    kept: BTreeSet<String>,
    given: Vec<(String, String)>,
}

impl SecretNames {
    /// Collects the names that stay as they are from a whole file.
    pub(super) fn collect(&mut self, node: &Node) {
        let keep = |names: &mut BTreeSet<String>, name: Option<&str>| {
            names.extend(name.filter(|name| foreign::variable(name).as_deref() == Some(*name)).map(str::to_owned));
        };
        match &node.kind {
            Kind::Scalar(_) => {}
            Kind::List(items) => items.iter().for_each(|item| self.collect(item)),
            Kind::Map(entries) => {
                for entry in entries {
                    match entry.key.as_str() {
                        "from_secret" | "$secret" | "source" => keep(&mut self.kept, text(&entry.value)),
                        "secrets" => items(&entry.value).iter().for_each(|item| keep(&mut self.kept, text(item))),
                        _ => {}
                    }
                    self.collect(&entry.value);
                }
            }
        }
    }

    /// Returns our name of a secret; `None` if no name can be made of it.
    fn name(&mut self, theirs: &str) -> Option<String> {
        if let Some((_, ours)) = self.given.iter().find(|(known, _)| known == theirs) {
            return Some(ours.clone());
        }
        let base = foreign::variable(theirs)?;
        let free = |name: &String, names: &Self| {
            !names.given.iter().any(|(_, ours)| ours == name) && !names.kept.contains(name)
        };
        let ours = if base == theirs || free(&base, self) {
            base
        } else {
            (2..).map(|n| format!("{base}_{n}")).find(|name| free(name, self))?
        };
        self.given.push((theirs.to_owned(), ours.clone()));
        Some(ours)
    }
}

impl Containers<'_> {
    /// Converts `environment`, and `secrets` of older files. Returns the lines of script that set what only a shell can
    /// make, or a note in the mapping if there is no script.
    pub(super) fn environment(&mut self, section: &Section<'_>, body: &mut Map, has_script: bool) -> Vec<String> {
        let lines = self.lines;
        let mut env = Map::default();
        let mut line = None;
        let mut made = Vec::new();
        if let Some(entry) = section.take("environment") {
            line = Some(lines.line_of_key(entry));
            for (name, value, at) in pairs(&entry.value) {
                let Some(variable) = foreign::variable(&name).filter(|variable| *variable == name) else {
                    env.note(Note::new(lines.line_of(at), name, "no shell can use a variable of this name"));
                    continue;
                };
                let filled = match value {
                    Pair::Text(text) => match self.fill(&text) {
                        Err(_) if has_script && self.is_shell_text(&text) => {
                            made.push(format!("export {variable}=\"{text}\""));
                            continue;
                        }
                        filled => filled,
                    },
                    Pair::Secret(secret) => match self.secret(&secret) {
                        Some(value) => Ok(value),
                        None => Err(secret),
                    },
                    Pair::Other => Err(FORM.to_owned()),
                };
                match filled {
                    Ok(value) => env.set(variable, Value::Text(value), lines.line_of(at)),
                    Err(unknown) if unknown == FORM => env.note(Note::new(lines.line_of(at), name, FORM)),
                    Err(unknown) => env.note(Note::new(
                        lines.line_of(at),
                        name,
                        format!("{unknown} is not set here: write the value, or `secrets` at the job"),
                    )),
                }
            }
        }
        if let Some(entry) = section.take("secrets") {
            line = line.or(Some(lines.line_of_key(entry)));
            for item in items(&entry.value) {
                let inner = Section::read(item);
                let value =
                    |key: &str| inner.as_ref().and_then(|inner| inner.take(key)).and_then(|entry| text(&entry.value));
                let (source, target) = (value("source").or_else(|| text(item)), value("target"));
                let Some((source, value)) = source.and_then(|source| Some((source, self.secret(source)?))) else {
                    env.note(Note::new(lines.line_of(item.place), "secrets", FORM));
                    continue;
                };
                match foreign::variable(&target.unwrap_or(source).to_uppercase()) {
                    Some(variable) => env.set(variable, Value::Text(value), lines.line_of(item.place)),
                    None => env.note(Note::new(
                        lines.line_of(item.place),
                        source,
                        "no shell can use a variable of this name",
                    )),
                }
            }
        }
        self.lost |= has_note(&env);
        body.set_filled("env", env, line);
        made
    }

    /// Whether a text within double quotes is the same for a shell, once it has expanded the variables in it.
    fn is_shell_text(&self, text: &str) -> bool {
        let known = |name: &str, operation: &str| {
            let known = self.expression_of(name).is_some() && (operation.is_empty() || shell::is_posix(operation));
            known.then(String::new)
        };
        !text.contains("$$")
            && shell::fill(text, true, &known).is_ok_and(|rest| !rest.contains(['"', '\\', '`', '$', '\n']))
    }

    /// Returns the value that refers to a secret, and lets the job name the secret.
    pub(super) fn secret(&mut self, name: &str) -> Option<String> {
        self.secret_name(name).map(|name| format!("${{{{ secrets.{name} }}}}"))
    }

    fn secret_name(&mut self, theirs: &str) -> Option<String> {
        let ours = self.secret_names.name(theirs)?;
        if self.secrets.insert(ours.clone()) && ours != theirs {
            self.remarks.push(format!("the secret `{theirs}` is called `{ours}` here"));
        }
        Some(ours)
    }

    /// Converts the settings of a plugin. A setting that is lost becomes a note.
    pub(super) fn settings(&mut self, entries: &[&Entry]) -> Map {
        let lines = self.lines;
        let mut with = Map::default();
        for entry in entries {
            match &entry.value.kind {
                Kind::List(items) if items.iter().all(|item| text(item).is_some() || from_secret(item).is_some()) => {
                    let mut kept = Vec::new();
                    for item in items {
                        match self.setting(item) {
                            Ok(value) => kept.push(Item::Value(Value::Text(value))),
                            Err(why) => kept.push(Item::Note(Note::new(
                                lines.line_of(item.place),
                                text(item).unwrap_or(&entry.key),
                                why,
                            ))),
                        }
                    }
                    with.set_filled(&entry.key, Value::List(kept), lines.line_of_key(entry));
                }
                Kind::List(_) | Kind::Map(_) if from_secret(&entry.value).is_none() => {
                    match self.nested(&entry.value) {
                        Ok(value) => with.set(entry.key.clone(), value, lines.line_of_key(entry)),
                        Err(why) => with.note(lines.note(entry, why)),
                    }
                }
                Kind::Scalar(_) | Kind::List(_) | Kind::Map(_) => match self.setting(&entry.value) {
                    Ok(value) => with.set(entry.key.clone(), Value::Text(value), lines.line_of_key(entry)),
                    Err(why) => with.note(lines.note(entry, why)),
                },
            }
        }
        self.lost |= has_note(&with);
        with
    }

    /// Converts a single setting: a secret, or a text with variables.
    fn setting(&mut self, node: &Node) -> Result<String, String> {
        if let Some(secret) = from_secret(node) {
            return self.secret(secret).ok_or_else(|| FORM.to_owned());
        }
        let written = text_or_empty(node).ok_or_else(|| FORM.to_owned())?;
        match self.fill(written) {
            Err(_) if self.is_shell_text(written) => Ok(self.made_by_shell(written)),
            filled => filled.map_err(|unknown| format!("{unknown} is not known here: write the value")),
        }
    }

    /// Lets the step before the plugin make a text that no expression can: `${CI_COMMIT_TAG##v}`. Returns the
    /// expression for its result.
    fn made_by_shell(&mut self, written: &str) -> String {
        for name in shell::names(written) {
            self.want(&name);
        }
        let known = self.made.iter().position(|other| other == written);
        let at = known.unwrap_or_else(|| {
            self.made.push(written.to_owned());
            self.made.len() - 1
        });
        format!("${{{{ steps.values-{}.outputs.value{} }}}}", self.made_steps + 1, at + 1)
    }

    /// The step that makes what [`Self::made_by_shell`] has promised, for the step that is being converted.
    pub(super) fn step_before(&mut self) -> Option<Map> {
        let made = std::mem::take(&mut self.made);
        if made.is_empty() {
            return None;
        }
        self.made_steps += 1;
        let mut step = Map::default();
        step.remark("makes what no expression can make, for the step after it");
        step.set("id", Value::Text(format!("values-{}", self.made_steps)), None);
        let script = made
            .iter()
            .enumerate()
            .map(|(at, text)| format!("echo \"value{}={text}\" >> \"$LONGSHORE_OUTPUT\"", at + 1));
        step.set("run", Value::Script(script.collect::<Vec<_>>().join("\n")), None);
        Some(step)
    }

    /// Converts a nested setting, which becomes JSON: a mapping, or one text if an expression is in it.
    fn nested(&mut self, node: &Node) -> Result<Value, String> {
        let mut expressions = false;
        let json = self.json(node, &mut expressions)?;
        if expressions {
            return Ok(Value::Text(json));
        }
        fn plain(node: &Node) -> Value {
            match &node.kind {
                Kind::Scalar(scalar) if scalar.is_null() => Value::plain("null"),
                Kind::Scalar(scalar) if is_bare(node) => Value::plain(&scalar.text),
                Kind::Scalar(scalar) => Value::text(scalar.text.as_str()),
                Kind::List(items) => Value::List(items.iter().map(|item| Item::Value(plain(item))).collect()),
                Kind::Map(entries) => {
                    let mut map = Map::default();
                    for entry in entries {
                        map.set(entry.key.clone(), plain(&entry.value), None);
                    }
                    Value::Map(map)
                }
            }
        }
        Ok(plain(node))
    }

    /// Writes a nested setting as JSON with expressions.
    fn json(&mut self, node: &Node, expressions: &mut bool) -> Result<String, String> {
        if let Some(secret) = from_secret(node) {
            *expressions = true;
            let name = self.secret_name(secret).ok_or_else(|| FORM.to_owned())?;
            return Ok(format!("${{{{ to-json(secrets.{name}) }}}}"));
        }
        let text = |text: &str| serde_json::Value::from(text).to_string();
        Ok(match &node.kind {
            Kind::Scalar(scalar) if scalar.is_null() => "null".to_owned(),
            Kind::Scalar(scalar) if is_bare(node) => scalar.text.clone(),
            Kind::Scalar(scalar) if scalar.text.contains("${") => {
                *expressions = true;
                let mut values = Vec::new();
                let mut pattern = String::new();
                let mut rest = scalar.text.as_str();
                while let Some(at) = rest.find("${") {
                    pattern.push_str(&rest[..at].replace('{', "{{").replace('}', "}}"));
                    let unknown = || format!("{} is not known here: write the value", &rest[at..]);
                    let (name, operation, behind) = shell::braced(&rest[at + 2..]).ok_or_else(unknown)?;
                    let expression = self.replaced(name, operation).ok_or_else(unknown)?;
                    pattern.push_str(&format!("{{{}}}", values.len()));
                    values.push(expression);
                    rest = behind;
                }
                pattern.push_str(&rest.replace('{', "{{").replace('}', "}}"));
                format!("${{{{ to-json(format({}, {})) }}}}", quote(&pattern), values.join(", "))
            }
            Kind::Scalar(scalar) => text(&scalar.text),
            Kind::List(items) => {
                let items: Vec<String> =
                    items.iter().map(|item| self.json(item, expressions)).collect::<Result<_, _>>()?;
                format!("[{}]", items.join(","))
            }
            Kind::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|entry| Ok(format!("{}:{}", text(&entry.key), self.json(&entry.value, expressions)?)))
                    .collect::<Result<_, String>>()?;
                format!("{{{}}}", entries.join(","))
            }
        })
    }

    /// The expression for a variable that the source's system knows, the matrix's included.
    pub(super) fn expression_of(&self, name: &str) -> Option<String> {
        if self.axes.iter().any(|axis| axis == name) {
            return Some(format!("matrix.{name}"));
        }
        variables::expression(self.language, name).map(str::to_owned)
    }

    /// The expression for `${NAME##v}`: its name and its operation, as far as an expression can say it.
    pub(super) fn replaced(&self, name: &str, operation: &str) -> Option<String> {
        let expression = self.expression_of(name)?;
        if operation.is_empty() {
            return Some(expression);
        }
        if expression == "event.sha" && shell::first_characters(operation) == Some(8) {
            return Some("event.sha-short".to_owned());
        }
        let default = [":-", "-", ":=", "="].iter().find_map(|sign| operation.strip_prefix(sign));
        let default = default.filter(|default| !default.contains(['$', '{', '"', '\'']))?;
        let wrapped = if expression.contains("||") { format!("({expression})") } else { expression };
        Some(format!("{wrapped} || {}", quote(default)))
    }

    /// Fills in the variables that the source's system replaces in the file itself.
    pub(super) fn fill(&self, text: &str) -> Result<String, String> {
        let value = |name: &str, operation: &str| self.replaced(name, operation).map(|expression| written(&expression));
        if text.contains('$') { shell::fill(text, false, &value) } else { Ok(text.to_owned()) }
    }
}

/// Whether something of a mapping or of a list in it was left out.
fn has_note(map: &Map) -> bool {
    let within = |value: &Value| match value {
        Value::List(items) => items.iter().any(|item| matches!(item, Item::Note(_))),
        Value::Map(_) | Value::Text(_) | Value::Plain(_) | Value::Script(_) => false,
    };
    map.parts.iter().any(|part| match part {
        Part::Note(_) => true,
        Part::Entry(entry) => within(&entry.value),
        Part::Remark(_) => false,
    })
}

/// Whether JSON writes a value without quotes.
fn is_bare(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar(scalar) => {
            scalar.boolean().is_some()
                || (scalar.plain && scalar.text.parse::<i64>().is_ok_and(|n| n.to_string() == scalar.text))
        }
        Kind::List(_) | Kind::Map(_) => false,
    }
}

/// A variable's value as written.
enum Pair {
    Text(String),
    Secret(String),
    Other,
}

/// Reads variables from a mapping, or from a list of `NAME=value`.
fn pairs(node: &Node) -> Vec<(String, Pair, Place)> {
    match &node.kind {
        Kind::Map(entries) => entries
            .iter()
            .map(|entry| {
                let value = match (text_or_empty(&entry.value), from_secret(&entry.value)) {
                    (Some(text), _) => Pair::Text(text.to_owned()),
                    (None, Some(secret)) => Pair::Secret(secret.to_owned()),
                    (None, None) => Pair::Other,
                };
                (entry.key.clone(), value, entry.key_place)
            })
            .collect(),
        Kind::List(items) => items
            .iter()
            .map(|item| {
                let written = text(item).unwrap_or_default();
                match written.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Pair::Text(value.to_owned()), item.place),
                    None => (written.to_owned(), Pair::Other, item.place),
                }
            })
            .collect(),
        Kind::Scalar(_) => Vec::new(),
    }
}

fn from_secret(node: &Node) -> Option<&str> {
    match entries(node)? {
        [entry] if matches!(entry.key.as_str(), "from_secret" | "$secret") => text(&entry.value),
        _ => None,
    }
}
