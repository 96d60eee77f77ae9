//! Cobertura's XML: classes with a file's name, and lines with hits.

use crate::{
    coverage::CoverageReader,
    limits, paths,
    xml::{Element, Item, Xml},
};

/// Reads a file. The error says where reading stopped.
pub(crate) fn read(text: &str, into: &mut CoverageReader) -> Result<(), String> {
    let mut xml = Xml::new(text);
    let mut depth = 0_usize;
    let mut sources = Sources::default();
    let mut in_source = false;
    // The file, and the depth of its class.
    let mut class: Option<(String, usize)> = None;
    while let Some(item) = xml.next()? {
        match item {
            Item::Open(element) => {
                if depth == 0 && element.name() != "coverage" {
                    return Err("it is not a report of coverage: neither Cobertura's XML nor lcov".to_owned());
                }
                depth += 1;
                match element.name() {
                    "source" => {
                        in_source = true;
                        sources.begin();
                    }
                    "class" => {
                        let name = element.attributes().find(|(key, _)| *key == "filename");
                        class = name.map(|(_, name)| (sources.path(&name), depth));
                    }
                    "line" => {
                        if let Some((path, _)) = &class {
                            read_line(path, &element, into);
                        }
                    }
                    _ => {}
                }
            }
            Item::Text(text) if in_source => sources.push(text.trim()),
            Item::Text(_) => {}
            Item::Close => {
                if std::mem::take(&mut in_source) {
                    sources.end();
                }
                if class.as_ref().is_some_and(|(_, of)| *of == depth) {
                    class = None;
                }
                depth -= 1;
            }
        }
    }
    Ok(())
}

/// The folder that files' names are relative to, if it is the same for all.
#[derive(Default)]
struct Sources {
    count: usize,
    /// The text of the source that is being read.
    text: String,
    /// Bytes of all sources.
    bytes: usize,
    /// The only source as a folder in the workspace. Made once: every class begins with it.
    below: String,
}

impl Sources {
    fn begin(&mut self) {
        self.count += 1;
        self.text.clear();
    }

    fn push(&mut self, text: &str) {
        let left = limits::SOURCE_BYTES.saturating_sub(self.bytes);
        let text = &text[..text.floor_char_boundary(left)];
        self.bytes += text.len();
        self.text.push_str(text);
    }

    fn end(&mut self) {
        self.below.clear();
        if self.count == 1 && !self.text.is_empty() {
            self.below = paths::relative(&format!("{}/", self.text.trim_end_matches('/')));
        }
    }

    fn path(&self, name: &str) -> String {
        // A source outside of the workspace says nothing about the name.
        if name.starts_with('/') || self.below.starts_with('/') {
            return paths::relative(name);
        }
        paths::relative(&format!("{}{name}", self.below))
    }
}

fn read_line(path: &str, element: &Element<'_>, into: &mut CoverageReader) {
    let (mut number, mut hits, mut conditions) = (None, 0_u64, None);
    for (key, value) in element.attributes() {
        match key {
            "number" => number = value.parse::<u32>().ok(),
            "hits" => hits = value.parse().unwrap_or(0),
            // `50% (1/2)`
            "condition-coverage" => {
                conditions = value.split_once('(').and_then(|(_, rest)| {
                    let (taken, all) = rest.trim_end_matches(')').split_once('/')?;
                    Some((taken.trim().parse::<u32>().ok()?, all.trim().parse::<u32>().ok()?))
                });
            }
            _ => {}
        }
    }
    let Some(number) = number else { return };
    into.line(path, number, hits > 0);
    if let Some((taken, all)) = conditions {
        into.branches(path, number, taken.min(limits::LINE_BRANCHES), all.min(limits::LINE_BRANCHES));
    }
}
