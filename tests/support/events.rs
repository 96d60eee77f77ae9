//! Parses server-sent events: blocks of lines, each ended by an empty line. The API's own tests use it too.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: String,
}

impl Event {
    /// Parses a block of lines.
    pub fn parse(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("event", value)) => value.clone_into(&mut event.name),
                Some(("id", value)) => value.clone_into(&mut event.id),
                Some(("data", value)) => event.data.push_str(value),
                Some(("retry", _)) => {}
                _ => assert!(line.is_empty() || line.starts_with(':'), "{line}"),
            }
        }
        event
    }

    /// Returns the data as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).expect("JSON")
    }
}

/// Returns the named events of a stream until its end. An incomplete event at the end is dropped.
pub fn read(stream: impl std::io::BufRead) -> impl Iterator<Item = Event> {
    let mut lines = stream.lines().map_while(Result::ok);
    std::iter::from_fn(move || {
        loop {
            let mut block = String::new();
            loop {
                let line = lines.next()?;
                if line.is_empty() {
                    break;
                }
                block.push_str(&line);
                block.push('\n');
            }
            let event = Event::parse(&block);
            if !event.name.is_empty() {
                return Some(event);
            }
        }
    })
}
