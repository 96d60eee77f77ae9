//! Durations: `90s`, `30m`, `1h30m`.

use super::limits;

/// Why a text is not a duration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadDuration {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// Parses a text such as `1h30m` into milliseconds.
pub(super) fn parse(text: &str) -> Result<u64, BadDuration> {
    let shown: String = text.chars().take(40).collect();
    let malformed = |help: Option<String>| BadDuration { message: format!("`{shown}` is not a duration"), help };
    let general = || Some("write hours, minutes and seconds as in `90s`, `30m` or `1h30m`".to_owned());
    if !text.is_empty() && text.len() < 10 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed(Some(format!("add a unit: `{text}m` for minutes or `{text}s` for seconds"))));
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let unit = match tail.bytes().next() {
            Some(b'h') => 3_600_000,
            Some(b'm') => 60_000,
            Some(b's') => 1000,
            _ => return Err(malformed(general())),
        };
        let Ok(number) = number.parse::<u64>() else { return Err(malformed(general())) };
        if unit >= last {
            return Err(malformed(Some("write each unit once, largest first: `1h30m`".to_owned())));
        }
        last = unit;
        total = total.saturating_add(number.saturating_mul(unit));
        rest = &tail[1..];
    }
    if text.is_empty() {
        return Err(malformed(general()));
    }
    if total == 0 {
        return Err(BadDuration {
            message: "a duration cannot be zero".to_owned(),
            help: Some("remove it to use the default".to_owned()),
        });
    }
    if total > limits::TIMEOUT_MS {
        return Err(BadDuration {
            message: format!("`{shown}` is more than 24 hours"),
            help: Some("write `24h` or less".to_owned()),
        });
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_minutes_and_seconds_add_up() {
        assert_eq!(parse("90s"), Ok(90_000));
        assert_eq!(parse("30m"), Ok(1_800_000));
        assert_eq!(parse("1h30m"), Ok(5_400_000));
        assert_eq!(parse("24h"), Ok(86_400_000));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in
            ["", "30", "m", "1d", "30 m", "1m1h", "1m1m", "-1m", "24h1s", "0s", "1.5h", "99999999999999999999h", "１m"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
