//! Times as GitLab writes them.

/// Parses `1h 30m`, `3 hours 30 minutes`, `90 minutes` into seconds.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut number: Option<u64> = None;
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            number = Some(rest[..digits].parse().ok()?);
            rest = rest[digits..].trim_start();
        } else if first.is_ascii_alphabetic() {
            let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let unit = match &rest[..length].to_lowercase()[..] {
                "s" | "sec" | "secs" | "second" | "seconds" => 1,
                "m" | "min" | "mins" | "minute" | "minutes" => 60,
                "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
                "d" | "day" | "days" => 86_400,
                "w" | "week" | "weeks" => 7 * 86_400,
                "mo" | "mos" | "month" | "months" => 30 * 86_400,
                "y" | "yr" | "yrs" | "year" | "years" => 365 * 86_400,
                "and" => {
                    rest = rest[length..].trim_start();
                    continue;
                }
                _ => return None,
            };
            total = total.checked_add(number.take()?.checked_mul(unit)?)?;
            rest = rest[length..].trim_start();
        } else {
            return None;
        }
    }
    total.checked_add(number.unwrap_or(0)).filter(|total| *total > 0)
}

/// Formats seconds as a Longshore duration, at most a day.
pub(super) fn duration(seconds: u64) -> String {
    let seconds = seconds.min(86_400);
    let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect()
}
