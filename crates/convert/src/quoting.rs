//! Finds how a shell script quotes a position, so that a variable's value can be written there.

/// How a shell reads the position after a part of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Bare,
    Double,
    Single,
    /// In a here document, where quotes are ordinary characters.
    Here,
}

/// A quote or a substitution that is still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Double,
    Single,
    /// `$(`, or a group inside one.
    Command,
}

impl Place {
    /// The position after `before`; `None` if no variable is expanded there, or if that is not certain.
    pub(super) fn after(before: &str) -> Option<Self> {
        let mut open: Vec<Open> = Vec::new();
        let mut here: Vec<(String, bool)> = Vec::new();
        let mut rest = before;
        let mut word_begins = true;
        while let Some(c) = rest.chars().next() {
            let inside = open.last().copied();
            let mut taken = c.len_utf8();
            let begins = std::mem::replace(&mut word_begins, c.is_whitespace() || matches!(c, ';' | '(' | '&' | '|'));
            match (inside, c) {
                (Some(Open::Single), '\'') => {
                    open.pop();
                }
                (Some(Open::Single), _) => {}
                (_, '\\') => taken += rest[1..].chars().next().map_or(0, char::len_utf8),
                // The shell parses text between backquotes twice.
                (_, '`') => return None,
                (Some(Open::Double), '"') => {
                    open.pop();
                }
                (_, '$') if rest.starts_with("${{") => taken = rest.find("}}")? + 2,
                (_, '$') if rest.starts_with("$(") => {
                    open.push(Open::Command);
                    taken = 2;
                    word_begins = true;
                }
                (_, '$') if rest.starts_with("${") => {
                    let end = rest.find('}')?;
                    if rest[2..end].contains(['\'', '"', '\\', '$', '{']) {
                        return None;
                    }
                    taken = end + 1;
                }
                (Some(Open::Double), _) => {}
                (_, '$') if rest.starts_with("$'") => return None,
                (_, '\'') => open.push(Open::Single),
                (_, '"') => open.push(Open::Double),
                (_, '#') if begins => taken = rest.find('\n').unwrap_or(rest.len()),
                (Some(Open::Command), '(') => open.push(Open::Command),
                (Some(Open::Command), ')') => {
                    open.pop();
                }
                (_, '<') if rest.starts_with("<<<") => taken = 3,
                (_, '<') if rest.starts_with("<<") => {
                    let (delimiter, quoted, length) = delimiter(&rest[2..])?;
                    here.push((delimiter, quoted));
                    taken = 2 + length;
                }
                (_, '\n') if !here.is_empty() => {
                    let mut body = &rest[1..];
                    for (delimiter, quoted) in here.drain(..) {
                        match end_of(body, &delimiter) {
                            Some(end) => body = &body[end..],
                            None if quoted => return None,
                            None => return Some(Self::Here),
                        }
                    }
                    taken = rest.len() - body.len();
                    word_begins = true;
                }
                (None | Some(Open::Command), _) => {}
            }
            rest = &rest[taken..];
        }
        match open.last() {
            None | Some(Open::Command) => Some(Self::Bare),
            Some(Open::Double) => Some(Self::Double),
            Some(Open::Single) => Some(Self::Single),
        }
    }

    /// Returns what to write for the value of a variable.
    pub(super) fn variable(self, name: &str) -> String {
        match self {
            Self::Bare | Self::Double | Self::Here => format!("${{{name}}}"),
            // Closes the quotes around it.
            Self::Single => format!("'\"${{{name}}}\"'"),
        }
    }
}

/// Parses the word after `<<`: returns the word, whether it is quoted, and its length in bytes.
fn delimiter(rest: &str) -> Option<(String, bool, usize)> {
    let written = rest.strip_prefix('-').unwrap_or(rest);
    let word = written.trim_start_matches([' ', '\t']);
    let length =
        word.find(|c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | ')' | '<' | '>')).unwrap_or(word.len());
    let word = &word[..length];
    let bare: String = word.chars().filter(|c| !matches!(c, '\'' | '"' | '\\')).collect();
    let taken = rest.len() - written.len() + (written.len() - written.trim_start_matches([' ', '\t']).len()) + length;
    (!bare.is_empty()).then_some((bare.clone(), bare != word, taken))
}

/// Returns where the line after the here document begins that ends with `delimiter`.
fn end_of(body: &str, delimiter: &str) -> Option<usize> {
    let mut at = 0;
    for line in body.split_inclusive('\n') {
        at += line.len();
        if line.ends_with('\n') && line.trim_end_matches('\n').trim_start_matches('\t') == delimiter {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn quotes_substitutions_and_here_documents_are_told_apart() {
        for (before, place) in [
            ("echo ", Some(Place::Bare)),
            ("echo \"", Some(Place::Double)),
            ("echo '", Some(Place::Single)),
            ("echo \"it's ", Some(Place::Double)),
            ("echo it\\'s ", Some(Place::Bare)),
            ("echo 'a' \"b\" ", Some(Place::Bare)),
            ("echo 'a\nb ", Some(Place::Single)),
            ("# it's\necho ", Some(Place::Bare)),
            ("a#b 'c ", Some(Place::Single)),
            ("echo \"$(echo ", Some(Place::Bare)),
            ("echo \"$(echo '", Some(Place::Single)),
            ("echo \"$(echo x) ", Some(Place::Double)),
            ("echo \"${X:-a} ", Some(Place::Double)),
            ("echo \"${X:-'} ", None),
            ("echo ${X:-", None),
            ("echo $'a ", None),
            ("echo `a ", None),
            ("cat <<END\nit's ", Some(Place::Here)),
            ("cat <<-  END > x\n\tit's\n\tEND\necho ", Some(Place::Bare)),
            ("cat <<'END'\n", None),
            ("cat <<\"END\"\n", None),
            ("cat <<'END'\nit's\nEND\necho '", Some(Place::Single)),
            ("cat <<< it ", Some(Place::Bare)),
        ] {
            assert_eq!(Place::after(before), place, "{before:?}");
        }
    }
}
