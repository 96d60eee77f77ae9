//! Makes texts of others harmless: one line without control characters, and for each service without its markup,
//! links and mentions.

/// Returns a text as one line of at most `most` characters. Control characters, and those that reverse or hide text,
/// are replaced by spaces or removed.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    let mut line = String::new();
    for c in text.chars() {
        match c {
            c if is_invisible(c) => {}
            c if c.is_whitespace() || c.is_control() => {
                if !line.is_empty() && !line.ends_with(' ') {
                    line.push(' ');
                }
            }
            c => line.push(c),
        }
    }
    let line = line.trim();
    if line.chars().count() <= most {
        return line.to_owned();
    }
    let cut: String = line.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// Zero widths, directions of text, tags, and fillers that look like nothing.
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Puts an invisible character after every `@`, so that the text mentions nobody.
#[must_use]
pub fn without_mentions(text: &str) -> String {
    text.replace('@', "@\u{200b}").replace('＠', "＠\u{200b}")
}

/// Escapes a text for the Markdown of CommonMark and of chats: no character has a special meaning, addresses do not become
/// links, and nobody is mentioned.
#[must_use]
pub fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for c in without_mentions(text).chars() {
        if c.is_ascii_punctuation() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Returns a text as a code span of Markdown, in which nothing is markup, a link, a mention or a command.
#[must_use]
pub fn code(text: &str) -> String {
    let text = without_mentions(text).replace('`', "'");
    match text.trim().is_empty() {
        true => String::new(),
        false => format!("`{text}`"),
    }
}

/// Escapes a text for HTML.
#[must_use]
pub fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_others_is_one_line_without_hidden_or_turned_characters() {
        assert_eq!(one_line("  a\r\nSubject: x\u{202e}\u{200b}\tb\u{0}  ", 100), "a Subject: x b");
        assert_eq!(one_line("äöü äöü", 5), "äöü…");
        assert_eq!(one_line("\n\n", 5), "");
    }

    #[test]
    fn no_sign_of_markdown_keeps_its_meaning() {
        assert_eq!(
            markdown("**a** [x](https://e.example) <@1> `c`"),
            r"\*\*a\*\* \[x\]\(https\:\/\/e\.example\) \<@1\> \`c\`".replace('@', "\\@\u{200b}")
        );
        assert!(!markdown("@everyone @here").contains("@e"));
        assert_eq!(html("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
    }
}
