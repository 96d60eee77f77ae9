//! Parses sizes, parts of a CPU, and long times: `4GiB`, `500m`, `30d`.

/// Parses a size such as `512MiB` into bytes. The error says what to write.
pub(super) fn bytes(text: &str) -> Result<u64, &'static str> {
    const HELP: &str = "write a number and a unit: `512MiB`, `4GiB`";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| HELP)?;
    let factor: u64 = match text[digits..].trim() {
        "KiB" | "Ki" => 1 << 10,
        "MiB" | "Mi" => 1 << 20,
        "GiB" | "Gi" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(HELP),
    };
    number.checked_mul(factor).filter(|bytes| *bytes > 0 && *bytes < 1 << 50).ok_or(HELP)
}

/// Parses `2`, `0.5` or `500m` into thousandths of a CPU.
pub(super) fn cpu_millis(text: &str) -> Result<u32, &'static str> {
    const HELP: &str = "write CPUs as `2`, `0.5` or `500m`";
    let millis = match text.strip_suffix('m') {
        Some(millis) => millis.parse::<u32>().map_err(|_| HELP)?,
        None => {
            let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
            if part.is_empty() || part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(HELP);
            }
            let whole: u32 = whole.parse().map_err(|_| HELP)?;
            let part: u32 = format!("{part:0<3}").parse().map_err(|_| HELP)?;
            whole.checked_mul(1000).and_then(|whole| whole.checked_add(part)).ok_or(HELP)?
        }
    };
    if (10..=1_000_000).contains(&millis) { Ok(millis) } else { Err(HELP) }
}

/// Parses `30d`, `2w` or `12h` into milliseconds.
pub(super) fn days(text: &str) -> Result<u64, &'static str> {
    const HELP: &str = "write days, weeks or hours: `30d`, `2w`, `12h`";
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| HELP)?;
    let unit = match &text[digits..] {
        "w" => 7 * DAY_MS,
        "d" => DAY_MS,
        "h" => DAY_MS / 24,
        _ => return Err(HELP),
    };
    number.checked_mul(unit).filter(|ms| *ms > 0 && *ms <= 3660 * DAY_MS).ok_or(HELP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(bytes("4GiB"), Ok(4 << 30));
        assert_eq!(bytes("256 MiB"), Ok(256 << 20));
        assert_eq!(bytes("1GB"), Ok(1_000_000_000));
        assert_eq!(cpu_millis("2"), Ok(2000));
        assert_eq!(cpu_millis("0.5"), Ok(500));
        assert_eq!(cpu_millis("1.25"), Ok(1250));
        assert_eq!(cpu_millis("500m"), Ok(500));
        assert_eq!(days("30d"), Ok(2_592_000_000));
        for wrong in ["", "4", "4G", "GiB", "-1MiB", "0MiB", "1.5GiB", "99999999999999999999GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0", "-1", "1.", "x", "1.2345", "5000000", "m"] {
            assert!(cpu_millis(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "30", "d", "0d", "1y", "9999999d"] {
            assert!(days(wrong).is_err(), "{wrong}");
        }
    }
}
