//! An XML file, element by element. No entity is expanded but XML's own five and characters' numbers, nothing is
//! fetched, and a document type is passed over.

use std::borrow::Cow;

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
};

use crate::limits;

/// The next event in a file.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Open(Element<'a>),
    /// The end of the element that was opened last.
    Close,
    Text(Cow<'a, str>),
}

/// An element's beginning.
#[derive(Debug)]
pub(crate) struct Element<'a>(BytesStart<'a>);

impl Element<'_> {
    /// Returns the name without a prefix.
    pub(crate) fn name(&self) -> &str {
        let name = self.0.name().into_inner();
        name.rsplit_once(':').map_or(name, |(_, local)| local)
    }

    /// Returns the attributes. Values that cannot be read stay as they are written.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let mut attributes = self.0.attributes();
        attributes.with_checks(false);
        attributes.filter_map(Result::ok).take(limits::ATTRIBUTES).map(|attribute| {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).unwrap_or_else(|_| attribute.value.clone());
            (attribute.key.into_inner(), value)
        })
    }
}

/// Reads a file.
pub(crate) struct Xml<'a> {
    reader: Reader<&'a [u8]>,
    text: &'a str,
    depth: usize,
    /// Whether the element that was opened last is an empty one.
    closes: bool,
    /// Whether there was any element.
    any: bool,
}

impl<'a> Xml<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        // Tools write `&` where they should not.
        reader.config_mut().allow_dangling_amp = true;
        Self { reader, text, depth: 0, closes: false, any: false }
    }

    /// Returns the next thing; `None` at the end. The error is a sentence for people; nothing can be read after it.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'a>>, String> {
        if self.closes {
            self.closes = false;
            self.depth -= 1;
            return Ok(Some(Item::Close));
        }
        loop {
            let event = self.reader.read_event().map_err(|error| {
                let line = self.line(self.reader.error_position());
                format!("it is not valid XML from line {line} on: {error}")
            })?;
            return Ok(Some(match event {
                Event::Start(start) => self.open(start)?,
                Event::Empty(start) => {
                    self.closes = true;
                    self.open(start)?
                }
                Event::End(_) => {
                    self.depth -= 1;
                    Item::Close
                }
                Event::Text(text) => Item::Text(text.xml10_content()),
                Event::CData(text) => Item::Text(text.xml10_content()),
                Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                    Ok(Some(char)) => Item::Text(Cow::Owned(char.to_string())),
                    Ok(None) | Err(_) => {
                        let name = reference.into_inner();
                        match resolve_predefined_entity(&name) {
                            Some(text) => Item::Text(Cow::Borrowed(text)),
                            None => Item::Text(Cow::Owned(format!("&{name};"))),
                        }
                    }
                },
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => continue,
                Event::Eof if !self.any => return Err("it holds no XML element".to_owned()),
                Event::Eof if self.depth > 0 => {
                    return Err(format!(
                        "it ends in the middle, at line {}: its writer was stopped",
                        self.line(self.text.len() as u64)
                    ));
                }
                Event::Eof => return Ok(None),
            }));
        }
    }

    fn open(&mut self, start: BytesStart<'a>) -> Result<Item<'a>, String> {
        self.any = true;
        self.depth += 1;
        if self.depth > limits::DEPTH {
            let line = self.line(self.reader.buffer_position());
            return Err(format!("its elements are nested deeper than {} at line {line}", limits::DEPTH));
        }
        Ok(Item::Open(Element(start)))
    }

    fn line(&self, position: u64) -> usize {
        let end = usize::try_from(position).unwrap_or(usize::MAX).min(self.text.len());
        1 + self.text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count()
    }
}
