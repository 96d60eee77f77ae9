//! Converts `strategy` of a job of a workflow: its matrix.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    rc::Rc,
};

use longshore_pipeline::tree::{Entry, Kind, Node};

use super::{
    super::{
        draft::{Item, Map, Note, Part, Value},
        entry,
        foreign::{self, FORM, Lines, Section, boolean, entries, items, list, number, text, text_or_empty},
    },
    parts::is_other_system,
    setups::{self, Tool},
};

/// A converted matrix.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    /// Whether a part of it could not be carried over, so that the job would not be what it was.
    pub(super) lost: bool,
    /// Whether every combination ran on another system than Linux.
    pub(super) elsewhere: bool,
    /// The axis with the images of those values that need one of their own.
    pub(super) image: Option<&'static str>,
}

const LINUX: &str = "jobs run in containers on Linux";

const IMAGE: &str = "image";

/// The axes of which some value is a boolean.
pub(super) fn flags(strategy: &Entry) -> BTreeSet<String> {
    let Some(matrix) = entry(&strategy.value, "matrix") else { return BTreeSet::new() };
    let is_flag = |node: &Node| matches!(&node.kind, Kind::Scalar(scalar) if scalar.boolean().is_some());
    let mut found = BTreeSet::new();
    for axis in entries(&matrix.value).unwrap_or_default() {
        for item in items(&axis.value) {
            if is_flag(item) {
                found.insert(foreign::name(&axis.key));
            }
            let inner = entries(item).unwrap_or_default();
            let of_combination = matches!(axis.key.as_str(), "include" | "exclude");
            for value in inner.iter().filter(|value| is_flag(&value.value)) {
                found.insert(match of_combination {
                    true => foreign::name(&value.key),
                    false => format!("{}_{}", foreign::name(&axis.key), foreign::name(&value.key)),
                });
            }
        }
    }
    found
}

/// The rows of an axis, whose values may be mappings: each becomes keys and values.
type Rows = Vec<Vec<(String, String)>>;

fn rows(axis: &Entry) -> Option<Rows> {
    let name = foreign::name(&axis.key);
    let row = |item: &Rc<Node>| match entries(item) {
        Some(inner) => inner
            .iter()
            .map(|value| {
                Some((format!("{name}_{}", foreign::name(&value.key)), text_or_empty(&value.value)?.to_owned()))
            })
            .collect(),
        None => Some(vec![(name.clone(), text(item)?.to_owned())]),
    };
    list(&axis.value)?.iter().map(row).collect()
}

/// Converts `strategy`, the matrix. `machines` are the axes that name the machine, and `version` the one that names the
/// version of a tool.
pub(super) fn strategy(
    entry: &Entry,
    machines: &[String],
    version: Option<(&str, &Tool)>,
    lines: Lines<'_>,
    body: &mut Map,
) -> Matrix {
    let mut result = Matrix::default();
    let Some(section) = Section::read(&entry.value) else {
        body.note(lines.note(entry, FORM));
        return Matrix { lost: true, ..result };
    };
    let mut matrix = Map::default();
    if let Some(axes) = section.take("matrix") {
        match entries(&axes.value) {
            Some(found) => combinations(found, machines, version, lines, &mut matrix, &mut result),
            None => {
                matrix.note(
                    lines.note(axes, "a matrix is written out, and no expression makes one: nothing runs until it is"),
                );
                result.lost = true;
            }
        }
        if matrix.is_empty() && !result.lost {
            result.elsewhere = true;
        }
    }
    if let Some(flag) = section.take("fail-fast") {
        match boolean(&flag.value) {
            Some(value) => matrix.set("fail-fast", Value::plain(value), lines.line_of_key(flag)),
            None => matrix.note(lines.note(flag, "it is `true` or `false`")),
        }
    }
    if let Some(most) = section.take("max-parallel") {
        match number(&most.value) {
            Some(value) => matrix.set("max-parallel", Value::plain(value), lines.line_of_key(most)),
            None => matrix.note(lines.note(most, "it is a number")),
        }
    }
    section.note_rest(lines, &mut matrix, |_| None);
    if result.lost
        || ["fail-fast", "max-parallel"].iter().filter(|key| matrix.get(key).is_some()).count()
            == matrix.entries().count()
    {
        matrix.parts.retain(|part| !matches!(part, Part::Entry(_)));
    }
    body.set_filled("matrix", matrix, lines.line_of_key(entry));
    result
}

/// Converts the axes of a matrix, and what it includes and excludes.
fn combinations(
    found: &[Entry],
    machines: &[String],
    version: Option<(&str, &Tool)>,
    lines: Lines<'_>,
    matrix: &mut Map,
    result: &mut Matrix,
) {
    let axes = axes_on_linux(found, machines, lines, matrix, result);
    if result.lost || result.elsewhere {
        return;
    }
    let images = Images::choose(version, found, &axes);
    let mut listed = Listed {
        found,
        machines,
        axes: &axes,
        images: &images,
        lines,
        include: Vec::new(),
        exclude: Vec::new(),
        has_images: false,
    };
    let of_mappings =
        |(axis, rows): &(&Entry, Rows)| rows.iter().flatten().any(|(key, _)| *key != foreign::name(&axis.key));
    if !axes.iter().any(of_mappings) {
        set_axes(&mut listed, matrix, result);
    } else if found.iter().all(is_axis) {
        listed.include = products(&axes, lines);
    } else {
        for (axis, _) in &axes {
            let why = "its values are mappings, beside `include` or `exclude`: nothing runs until it is written out";
            matrix.note(lines.note(axis, why));
        }
        result.lost = true;
        return;
    }
    for part in found.iter().filter(|entry| !is_axis(entry)) {
        let kept: Vec<Item> = items(&part.value).iter().filter_map(|item| listed.read(part, item, result)).collect();
        match part.key.as_str() {
            "include" => listed.include.extend(kept),
            _ => listed.exclude.extend(kept),
        }
    }
    let line_of = |key: &str| found.iter().find(|entry| entry.key == key).map(|entry| lines.line_of_key(entry));
    matrix.set_filled("exclude", Value::List(listed.exclude), line_of("exclude"));
    matrix.set_filled("include", Value::List(listed.include), line_of("include"));
    if listed.has_images {
        result.image = Some(IMAGE);
    }
}

fn is_axis(entry: &Entry) -> bool {
    !matches!(entry.key.as_str(), "include" | "exclude")
}

/// Whether a combination runs on another system than Linux.
fn runs_elsewhere(row: &[(String, String)], machines: &[String]) -> bool {
    row.iter().any(|(key, value)| machines.contains(key) && is_other_system(value))
}

/// Returns the axes with those of their rows that run on Linux. `result` says if that is not all of the matrix, or
/// none.
fn axes_on_linux<'n>(
    found: &'n [Entry],
    machines: &[String],
    lines: Lines<'_>,
    matrix: &mut Map,
    result: &mut Matrix,
) -> Vec<(&'n Entry, Rows)> {
    let mut axes = Vec::new();
    for axis in found.iter().filter(|entry| is_axis(entry)) {
        let Some(rows) = rows(axis) else {
            matrix.note(lines.note(axis, "the values of a matrix are texts, written out: nothing runs until they are"));
            result.lost = true;
            continue;
        };
        let (gone, kept): (Rows, Rows) = rows.into_iter().partition(|row| runs_elsewhere(row, machines));
        if !gone.is_empty() {
            let machine = |row: &Vec<(String, String)>| {
                row.iter().find(|(key, _)| machines.contains(key)).map(|(_, value)| value.clone())
            };
            let gone: Vec<String> = gone.iter().filter_map(machine).collect();
            matrix.note(lines.note(axis, format!("{LINUX}: {} went", gone.join(", "))));
        }
        let all_gone = kept.is_empty() && !gone.is_empty();
        let mut seen = HashSet::new();
        let kept: Rows = kept.into_iter().filter(|row| seen.insert(row.clone())).collect();
        if !kept.is_empty() {
            axes.push((axis, kept));
        }
        if all_gone && found.iter().all(is_axis) {
            result.elsewhere = true;
            return axes;
        } else if all_gone {
            let why = "what is left of the matrix stands in `include`: nothing runs until it is written out";
            matrix.note(lines.note(axis, why));
            result.lost = true;
        }
    }
    axes
}

/// The images of the versions of a tool that a matrix names.
struct Images<'v> {
    /// The axis that names the version.
    axis: Option<&'v str>,
    /// Those of values that need an image of their own.
    own: BTreeMap<String, String>,
    /// Why other values have no image.
    none: BTreeMap<String, String>,
}

impl<'v> Images<'v> {
    fn choose(version: Option<(&'v str, &Tool)>, found: &[Entry], axes: &[(&Entry, Rows)]) -> Self {
        let Some((axis, tool)) = version else {
            return Self { axis: None, own: BTreeMap::new(), none: BTreeMap::new() };
        };
        let of_include = found.iter().filter(|entry| entry.key == "include").flat_map(|entry| items(&entry.value));
        let of_include = of_include.filter_map(|item| text(&entry(item, axis)?.value).map(str::to_owned));
        let of_axes = axes.iter().flat_map(|(_, rows)| rows.iter().flatten()).filter(|(key, _)| key == axis);
        let values: Vec<String> = of_axes.map(|(_, value)| value.clone()).chain(of_include).collect();
        let (own, none) = setups::images(tool, &values);
        Self { axis: Some(axis), own, none }
    }

    /// Returns the version of a combination.
    fn version<'r>(&self, row: &'r [(String, String)]) -> Option<&'r str> {
        let axis = self.axis?;
        row.iter().find(|(key, _)| key == axis).map(|(_, value)| value.as_str())
    }

    /// Returns why the version of a combination has no image, if so.
    fn missing(&self, row: &[(String, String)]) -> Option<String> {
        let version = self.version(row)?;
        Some(format!("{version}: {}", self.none.get(version)?))
    }
}

/// The entries of `include` and `exclude`.
struct Listed<'l> {
    found: &'l [Entry],
    machines: &'l [String],
    axes: &'l [(&'l Entry, Rows)],
    images: &'l Images<'l>,
    lines: Lines<'l>,
    include: Vec<Item>,
    exclude: Vec<Item>,
    /// Whether an entry of `include` names the image of its version.
    has_images: bool,
}

/// Returns every combination of axes whose values are mappings.
fn products(axes: &[(&Entry, Rows)], lines: Lines<'_>) -> Vec<Item> {
    let mut all: Rows = vec![Vec::new()];
    for (_, rows) in axes {
        all = all
            .iter()
            .flat_map(|so_far| rows.iter().map(|row| [so_far.clone(), row.clone()].concat()))
            .take(257)
            .collect();
    }
    let line = axes.first().map(|(axis, _)| lines.line_of_key(axis));
    all.iter().map(|row| Item::Value(combination_of(row, line).into())).collect()
}

fn combination_of(row: &[(String, String)], line: Option<u32>) -> Map {
    let mut combination = Map::default();
    row.iter().for_each(|(key, value)| combination.set(key.as_str(), Value::text(value.as_str()), line));
    combination
}

/// Sets the axes of a matrix. A version that needs an image of its own gets it in an entry of `include` that fits it.
fn set_axes(listed: &mut Listed<'_>, matrix: &mut Map, result: &mut Matrix) {
    let (lines, images) = (listed.lines, listed.images);
    for (axis, rows) in listed.axes {
        let name = foreign::name(&axis.key);
        for why in rows.iter().filter_map(|row| images.missing(row)) {
            matrix.note(lines.note(axis, why));
        }
        let usable = rows.iter().filter(|row| images.missing(row).is_none());
        let values: Vec<&str> = usable.flatten().map(|(_, value)| value.as_str()).collect();
        if values.is_empty() {
            // Without its axis, the job would run once more, with another version.
            result.lost = true;
            continue;
        }
        matrix.set(name.clone(), Value::texts(values.iter().copied()), lines.line_of_key(axis));
        if images.axis != Some(name.as_str()) {
            continue;
        }
        for (value, image) in values.into_iter().filter_map(|value| Some((value, images.own.get(value)?))) {
            let mut with_image = Map::default();
            with_image.set(name.clone(), Value::text(value), None);
            with_image.set(IMAGE, Value::text(image.as_str()), None);
            listed.include.push(Item::Value(with_image.into()));
            listed.has_images = true;
        }
    }
}

impl Listed<'_> {
    /// Reads an entry of `include` or `exclude`, the `part`. `None` if it says nothing about jobs on Linux.
    fn read(&mut self, part: &Entry, item: &Rc<Node>, result: &mut Matrix) -> Option<Item> {
        let line = self.lines.line_of(item.place);
        let is_include = part.key == "include";
        let note = |why: &str| Some(Item::Note(Note::new(line, part.key.as_str(), why)));
        let Some((mut combination, row)) = self.combination(item) else {
            // An entry of `exclude` without one of its values would exclude more, one of `include` would be another
            // job.
            return note("the values of a matrix are texts: this entry is left out");
        };
        if row.is_empty() {
            result.lost = true;
            return note(FORM);
        }
        if runs_elsewhere(&row, self.machines) {
            if !is_include {
                return None;
            }
            self.exclude_with(&row, line, result);
            return note(LINUX);
        }
        if is_include {
            if let Some(why) = self.images.missing(&row) {
                return note(&why);
            }
            if let Some(image) = self.images.version(&row).and_then(|version| self.images.own.get(version)) {
                combination.set(IMAGE, Value::text(image.as_str()), None);
                self.has_images = true;
            }
        }
        Some(Item::Value(combination.into()))
    }

    /// Returns the combination that an entry writes, and its keys and values. `None` if a value is not text.
    fn combination(&self, item: &Rc<Node>) -> Option<(Map, Vec<(String, String)>)> {
        let mut combination = Map::default();
        for value in entries(item).unwrap_or_default() {
            let text = text_or_empty(&value.value)?;
            combination.set(foreign::name(&value.key), Value::text(text), self.lines.line_of_key(value));
        }
        let row = combination
            .entries()
            .filter_map(|entry| match &entry.value {
                Value::Text(text) => Some((entry.key.clone(), text.clone())),
                _ => None,
            })
            .collect();
        Some((combination, row))
    }

    /// Excludes the combinations of the axes that an entry of `include` had run on another system.
    fn exclude_with(&mut self, row: &[(String, String)], line: u32, result: &mut Matrix) {
        let is_of_axes = |key: &str| self.axes.iter().any(|(axis, _)| foreign::name(&axis.key) == key);
        if self.machines.iter().any(|key| is_of_axes(key)) {
            return;
        }
        let of_axes: Vec<_> = row.iter().filter(|(key, _)| is_of_axes(key)).cloned().collect();
        result.lost |= of_axes.is_empty() && self.found.iter().any(is_axis);
        if !of_axes.is_empty() {
            self.exclude.push(Item::Value(combination_of(&of_axes, Some(line)).into()));
        }
    }
}
