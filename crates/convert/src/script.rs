//! Translates scripts of Woodpecker and Drone, into which `${NAME}` is put before a shell sees them.

use super::{
    containers::Containers,
    draft::{Map, Note},
    quoting::Place,
    shell, variables,
};

/// Commands that run an argument as a program.
const READ_AGAIN: &[&str] = &["eval ", " -c ", " -lc ", " -ec ", "ssh "];

const UNKNOWN_BRACES: &str = "what stands in braces was replaced before a shell saw it, and by nothing if the server did \
                              not know it: here the shell expands it";

impl Containers<'_> {
    /// Translates a script. The source's system puts `${NAME}` in before a shell sees the script, so that quotes do not
    /// keep it from doing so: they are closed around the variable here.
    pub(super) fn script(&mut self, written: &str, body: &mut Map, line: u32) -> String {
        let mut out = String::with_capacity(written.len());
        let mut rest = written;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix('$') {
                out.push('$');
                rest = behind;
                continue;
            }
            let braced = rest.strip_prefix('{').and_then(shell::braced);
            let Some((name, operation, behind)) = braced else {
                out.push('$');
                continue;
            };
            let whole = format!("${{{name}{operation}}}");
            rest = behind;
            let Some(expression) = self.expression_of(name) else {
                if !shell::assigned(written).contains(name) {
                    body.note(Note::new(line, whole.as_str(), UNKNOWN_BRACES));
                }
                out.push_str(&whole);
                continue;
            };
            self.want(name);
            let expanded = match (shell::first_characters(operation), self.replaced(name, operation)) {
                (Some(_), Some(expression)) => written_closed(&expression),
                (Some(length), None) => Some(format!("$(printf %.{length}s \"${{{name}}}\")")),
                _ => None,
            };
            let expanded = expanded.unwrap_or_else(|| whole.clone());
            let of_line = out.rsplit('\n').next().unwrap_or(&out);
            let read_again = READ_AGAIN.iter().any(|words| of_line.contains(words));
            match Place::after(&out) {
                // The inner shell expands it, or another machine's, where it is not set.
                Some(Place::Single) if read_again => {
                    if of_line.contains("ssh ") {
                        body.note(Note::new(
                            line,
                            whole.as_str(),
                            "it is expanded on the other machine here: write it outside of the quotes",
                        ));
                    }
                    out.push_str(&whole);
                }
                Some(Place::Single) => out.push_str(&format!("'\"{expanded}\"'")),
                Some(Place::Bare | Place::Double | Place::Here) => out.push_str(&expanded),
                None => match written_closed(&expression).filter(|_| operation.is_empty()) {
                    Some(value) => out.push_str(&value),
                    None => {
                        body.note(Note::new(
                            line,
                            whole.as_str(),
                            "no shell expands it here, within such quotes: write it outside of them",
                        ));
                        out.push_str(&whole);
                    }
                },
            }
        }
        out.push_str(rest);
        out
    }
}

/// Writes an expression that may become a part of a script: what the file says, a number, or a commit's id.
fn written_closed(expression: &str) -> Option<String> {
    let closed = expression.starts_with("matrix.")
        || matches!(expression, "event.sha" | "event.sha-short" | "event.number" | "build.number" | "event.before")
        || (expression.starts_with('\'') && !expression.contains(' '));
    closed.then(|| variables::written(expression))
}
