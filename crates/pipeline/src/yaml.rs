//! Parses text into a tree from the YAML parser's events. Resolves anchors, aliases and merges, and enforces every
//! limit on the way.
//!
//! Every error here ends the reading of the file: after a broken line, the meaning of the rest is not known.

use std::{collections::HashMap, rc::Rc};

use serde_yaml::granit_parser::{Event, Options, Parser, ScalarStyle, Span as EventSpan, Tag};

use super::{
    code::Code,
    findings::Findings,
    limits,
    merge::{self, Keep, entries_of},
    source::Place,
    syntax,
    tree::{Entry, Kind, Node, Scalar, Weight},
};

/// Returns the one document of a file; `None` if it has none, or if it cannot be read, which is then among the
/// findings.
pub fn parse(file: u16, findings: &mut Findings<'_>) -> Option<Rc<Node>> {
    read(file, false, Keep::First, findings)?.pop()
}

/// Returns the documents of another system's file, for `convert`. There may be several, and tags are allowed: `!name
/// value` is read as the mapping `{ '!name': value }`.
pub fn documents(findings: &mut Findings<'_>) -> Option<Vec<Rc<Node>>> {
    read(0, true, Keep::First, findings)
}

/// Like [`documents`], for a system where the last of several entries with one key counts. Each other one is still an
/// error among the findings.
pub fn documents_with_last_keys(findings: &mut Findings<'_>) -> Option<Vec<Rc<Node>>> {
    read(0, true, Keep::Last, findings)
}

fn read(file: u16, foreign: bool, keep: Keep, findings: &mut Findings<'_>) -> Option<Vec<Rc<Node>>> {
    let text = findings.source(file).text;
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.emit_unresolved_aliases = true;
    // Our limit is reached first and has a better message; the parser's limit keeps its own memory small.
    options.flow_nesting_limit = limits::DEPTH * 2;
    options.block_nesting_limit = limits::DEPTH * 2;

    let mut builder = Builder {
        file,
        foreign,
        keep,
        nodes: 0,
        open: Vec::new(),
        anchors: HashMap::new(),
        roots: Vec::new(),
        borrowed: Weight::default(),
    };
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                syntax::report(&error, file, findings);
                return None;
            }
        };
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 && !foreign {
                findings.error(
                    Code::ManyDocuments,
                    place_of(&span).in_file(file),
                    "a second document begins here",
                    "a file holds one pipeline: put the second one into its own file in `.longshore/`".to_owned(),
                );
                return None;
            }
        }
        if let Err(refusal) = builder.take(event, &span, findings) {
            findings.error(refusal.code, refusal.place.in_file(file), refusal.message, refusal.help);
            return None;
        }
    }
    Some(builder.roots)
}

/// Why a file is not read any further.
#[derive(Debug)]
pub struct Refusal {
    pub code: Code,
    pub place: Place,
    pub message: String,
    pub help: Option<String>,
}

/// A mapping or list that has begun and not ended.
struct Open {
    start: Place,
    /// 0 if it has none.
    anchor: usize,
    tag: Option<String>,
    weight: Weight,
    inside: Inside,
}

enum Inside {
    List(Vec<Rc<Node>>),
    /// `key` waits for its value; the flag says that it is a merge, `<<`.
    Map {
        entries: Vec<Entry>,
        key: Option<(String, Place, bool)>,
    },
}

struct Builder {
    file: u16,
    /// Whether the file is another system's.
    foreign: bool,
    /// Which of two entries with the same key is kept.
    keep: Keep,
    /// The nodes that were written in the file so far.
    nodes: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    /// The documents that are complete.
    roots: Vec<Rc<Node>>,
    /// What aliases have added so far.
    borrowed: Weight,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &EventSpan, findings: &mut Findings<'_>) -> Result<(), Refusal> {
        let place = place_of(span).in_file(self.file);
        if matches!(event, Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..)) {
            self.nodes += 1;
            if self.nodes > limits::NODES {
                return Err(Refusal {
                    code: Code::TooManyValues,
                    place,
                    message: format!("the file has more than {} keys and values up to here", limits::NODES),
                    help: Some("split the pipeline into several files of `.longshore/`".to_owned()),
                });
            }
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let tag = self.tag(tag.as_deref(), span)?;
                let (text, place) = scalar_place(text.into_owned(), style, place, findings.source(self.file).text);
                let weight = Weight { nodes: 1, bytes: text.len() };
                self.close(Node { place, kind: Kind::Scalar(Scalar { text, plain }), weight }, anchor, tag)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let tag = self.tag(tag.as_deref(), span)?;
                self.begin(place, anchor, tag, Inside::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                let tag = self.tag(tag.as_deref(), span)?;
                self.begin(place, anchor, tag, Inside::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(place, findings),
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::UnresolvedAlias(name) => Err(Refusal {
                code: Code::UnknownAnchor,
                place,
                message: format!("no anchor `&{name}` before this line"),
                help: Some(format!("write `&{name}` before the value, further up")),
            }),
            // Positions of the document and metadata: no nodes.
            _ => Ok(()),
        }
    }

    /// Returns the tag of another system's file. A tag in a pipeline file is refused or has no effect.
    fn tag(&self, tag: Option<&Tag>, span: &EventSpan) -> Result<Option<String>, Refusal> {
        match tag {
            Some(tag) if self.foreign && !tag.is_yaml_core_schema_tag("str") => Ok(Some(tag.original())),
            tag => refuse_tag(tag, span).map(|()| None),
        }
    }

    fn begin(&mut self, start: Place, anchor: usize, tag: Option<String>, inside: Inside) -> Result<(), Refusal> {
        self.refuse_key_collection(start)?;
        if self.open.len() >= limits::DEPTH {
            return Err(Refusal {
                code: Code::TooDeep,
                place: start,
                message: format!("mappings and lists nested more than {} levels deep", limits::DEPTH),
                help: None,
            });
        }
        self.open.push(Open { start, anchor, tag, weight: Weight { nodes: 1, bytes: 0 }, inside });
        Ok(())
    }

    fn end(&mut self, end: Place, findings: &mut Findings<'_>) -> Result<(), Refusal> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        // A block collection ends where its last child does; the parser reports the start of the next thing as its end.
        let (kind, last) = match open.inside {
            Inside::List(items) => {
                let last = items.last().map(|node| node.place.end);
                (Kind::List(items), last)
            }
            Inside::Map { entries, .. } => {
                let last = entries.last().map(|entry| entry.value.place.end);
                let entries = match self.foreign && merge::is_list_merge(&entries) {
                    true => entries.into_iter().map(|entry| Entry { key: "<<".to_owned(), ..entry }).collect(),
                    false => entries_of(entries, self.keep, findings),
                };
                (Kind::Map(entries), last)
            }
        };
        let flow = end.end > end.start;
        let end = if flow { end.end } else { last.unwrap_or(open.start.end) };
        let place = open.start.at(open.start.start, end.max(open.start.end));
        self.close(Node { place, kind, weight: open.weight }, open.anchor, open.tag)
    }

    /// Completes a node: stores its anchor and adds it to the collection around it.
    fn close(&mut self, node: Node, anchor: usize, tag: Option<String>) -> Result<(), Refusal> {
        let mut node = Rc::new(node);
        if let Some(key) = tag {
            let (place, weight) = (node.place, node.weight.plus(Weight { nodes: 1, bytes: key.len() }));
            let entries = vec![Entry { key, key_place: place, value: node }];
            node = Rc::new(Node { place, kind: Kind::Map(entries), weight });
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let place = node.place;
        self.add_value(node, place)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Refusal> {
        let Some(node) = self.anchors.get(&anchor).map(Rc::clone) else {
            // Its anchor is at a collection that has not ended yet.
            return Err(Refusal {
                code: Code::UnknownAnchor,
                place,
                message: "this alias is inside the value that it refers to".to_owned(),
                help: Some("a value cannot contain itself: anchor something smaller".to_owned()),
            });
        };
        self.borrowed = self.borrowed.plus(node.weight);
        if self.borrowed.nodes > limits::ALIAS_NODES || self.borrowed.bytes > limits::ALIAS_BYTES {
            return Err(Refusal {
                code: Code::AliasBudget,
                place,
                message: format!(
                    "the aliases of this file add more than {} values or {} KiB of text up to here",
                    limits::ALIAS_NODES,
                    limits::ALIAS_BYTES / 1024
                ),
                help: Some("use fewer aliases of aliases".to_owned()),
            });
        }
        self.add_value(node, place)
    }

    fn add_value(&mut self, node: Rc<Node>, place: Place) -> Result<(), Refusal> {
        let Some(open) = self.open.last_mut() else {
            self.roots.push(node);
            return Ok(());
        };
        open.weight = open.weight.plus(node.weight);
        match &mut open.inside {
            Inside::List(items) => items.push(node),
            Inside::Map { entries, key } => match key.take() {
                None => {
                    let Kind::Scalar(scalar) = &node.kind else {
                        return Err(Refusal {
                            code: Code::YamlFeature,
                            place,
                            message: format!("{} cannot be a key", node.describe()),
                            help: Some("keys must be strings".to_owned()),
                        });
                    };
                    *key = Some((scalar.text.clone(), place, scalar.plain && scalar.text == "<<"));
                }
                Some((key, key_place, merge)) => {
                    // A merge is stored under a key that no file can contain until the mapping is complete.
                    let key = if merge { merge::KEY.to_owned() } else { key };
                    entries.push(Entry { key, key_place, value: node });
                }
            },
        }
        Ok(())
    }

    fn refuse_key_collection(&self, place: Place) -> Result<(), Refusal> {
        match self.open.last() {
            Some(Open { inside: Inside::Map { key: None, .. }, .. }) => Err(Refusal {
                code: Code::YamlFeature,
                place,
                message: "a list or a mapping cannot be a key".to_owned(),
                help: Some("keys must be strings; quote values that start with `{` or `[`".to_owned()),
            }),
            _ => Ok(()),
        }
    }
}

fn refuse_tag(tag: Option<&Tag>, span: &EventSpan) -> Result<(), Refusal> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.is_yaml_core_schema_tag("str") => Ok(()),
        Some(tag) => Err(Refusal {
            code: Code::YamlFeature,
            place: span.tag_span().as_ref().map_or_else(|| place_of(span), place_of),
            message: format!("unknown tag `{}`", tag.original()),
            help: Some("remove it; quote strings that start with `!`".to_owned()),
        }),
    }
}

/// Returns a scalar's text and place. The parser includes trailing blank lines in the end of a block scalar, and
/// reports absent values as `~`.
fn scalar_place(text: String, style: ScalarStyle, place: Place, source: &str) -> (String, Place) {
    let written = source.get(place.start..place.end).unwrap_or("");
    match style {
        ScalarStyle::Plain if written.is_empty() => (String::new(), place),
        ScalarStyle::Literal | ScalarStyle::Folded => {
            (text, place.at(place.start, place.start + written.trim_end().len()))
        }
        _ => (text, place),
    }
}

fn place_of(span: &EventSpan) -> Place {
    span.byte_range().map_or_else(Place::default, |range| Place::new(range.start, range.end.max(range.start)))
}
