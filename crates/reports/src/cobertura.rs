//! Cobertura's XML: classes with a file's name, and lines with hits.

use crate::{
    coverage::CoverageReader,
    paths,
    xml::{Element, Item, Xml},
};

/// Reads a file. The error says where it could not be read further.
pub(crate) fn read(text: &str, into: &mut CoverageReader) -> Result<(), String> {
    let mut xml = Xml::new(text);
    let mut depth = 0_usize;
    // Where files' names begin, if all begin at one place.
    let mut sources: Vec<String> = Vec::new();
    let mut in_source = false;
    // The file, and the depth of its class.
    let mut class: Option<(String, usize)> = None;
    while let Some(item) = xml.next()? {
        match item {
            Item::Open(element) => {
                if depth == 0 && element.name() != "coverage" {
                    return Err("it is no report of coverage: neither Cobertura's XML nor lcov".to_owned());
                }
                depth += 1;
                match element.name() {
                    "source" => {
                        in_source = true;
                        sources.push(String::new());
                    }
                    "class" => {
                        let name = element.attributes().find(|(key, _)| *key == "filename");
                        class = name.map(|(_, name)| (path(&sources, &name), depth));
                    }
                    "line" => {
                        if let Some((path, _)) = &class {
                            line(path, &element, into);
                        }
                    }
                    _ => {}
                }
            }
            Item::Text(text) if in_source => {
                if let Some(source) = sources.last_mut().filter(|source| source.len() < 4096) {
                    source.push_str(text.trim());
                }
            }
            Item::Text(_) => {}
            Item::Close => {
                in_source = false;
                if class.as_ref().is_some_and(|(_, of)| *of == depth) {
                    class = None;
                }
                depth -= 1;
            }
        }
    }
    Ok(())
}

fn path(sources: &[String], name: &str) -> String {
    let below = match sources {
        [source] if !name.starts_with('/') && !source.is_empty() => {
            paths::relative(&format!("{}/", source.trim_end_matches('/')))
        }
        _ => String::new(),
    };
    // A source outside of the workspace says nothing about the name.
    if below.starts_with('/') { paths::relative(name) } else { paths::relative(&format!("{below}{name}")) }
}

fn line(path: &str, element: &Element<'_>, into: &mut CoverageReader) {
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
        for branch in 0..all.min(64) {
            into.branch(path, number, &branch.to_string(), branch < taken);
        }
    }
}
