//! `schedule`: the times at which a pipeline starts by itself.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff_zones::tz::TimeZone;
use longshore_core::Timestamp;

/// One entry of `schedule`.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub(super) written: String,
    pub(super) cron: Cron,
    /// The zone's name; `UTC` if none was written.
    pub(super) zone: String,
    pub(super) timezone: TimeZone,
    /// The branch to build; `None` means the default branch.
    pub(super) branch: Option<String>,
}

impl Schedule {
    /// Creates a schedule from a `cron` and a zone's name that an earlier reading of a pipeline accepted. `None` if
    /// this version no longer does.
    #[must_use]
    pub fn of(cron: &str, timezone: &str) -> Option<Self> {
        Some(Self {
            written: cron.to_owned(),
            cron: parse_cron(cron).ok()?,
            zone: timezone.to_owned(),
            timezone: parse_timezone(timezone)?,
            branch: None,
        })
    }

    /// Returns the `cron` as written in the pipeline, which the event of its build names.
    #[must_use]
    pub fn cron(&self) -> &str {
        &self.written
    }

    /// Returns the name of its time zone.
    #[must_use]
    pub fn timezone(&self) -> &str {
        &self.zone
    }

    /// Returns the branch to build; `None` means the repository's default branch.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_deref()
    }

    /// Returns the first time after `after` at which it is due, by the clocks of its time zone; `None` if it is never
    /// due again.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&self.in_zone(after)?, false).ok()?;
        Some(Timestamp::from_millis(next.timestamp().as_millisecond()))
    }

    /// Returns the last time at or before `until` at which it was due.
    #[must_use]
    pub fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        let last = self.cron.find_previous_occurrence(&self.in_zone(until)?, true).ok()?;
        Some(Timestamp::from_millis(last.timestamp().as_millisecond()))
    }

    fn in_zone(&self, at: Timestamp) -> Option<jiff_zones::Zoned> {
        let at = jiff_zones::Timestamp::from_millisecond(at.as_millis()).ok()?;
        Some(jiff_zones::Zoned::new(at, self.timezone.clone()))
    }
}

/// Parses `0 3 * * *`: minute, hour, day of the month, month, day of the week.
///
/// # Errors
/// Says what is wrong.
pub(super) fn parse_cron(text: &str) -> Result<Cron, String> {
    let fields = text.split_whitespace().count();
    if !text.starts_with('@') && fields != 5 {
        return Err(format!("it has {fields} fields, but a schedule has 5: minute, hour, day, month, day of the week"));
    }
    if text.eq_ignore_ascii_case("@reboot") {
        return Err("a server has no boot to wait for".to_owned());
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| {
        // The library says `Component error: Number out of bounds.`
        let reason = error.to_string();
        reason.rsplit(": ").next().unwrap_or(&reason).trim_end_matches('.').to_lowercase()
    })
}

/// Finds a zone such as `Europe/Madrid` in the database that is built into the program.
pub(super) fn parse_timezone(name: &str) -> Option<TimeZone> {
    jiff_zones::tz::db().get(name).ok()
}

/// Returns the names of all zones.
pub(super) fn timezones() -> Vec<String> {
    jiff_zones::tz::db().available().map(|name| name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str, timezone: &str) -> Schedule {
        Schedule::of(cron, timezone).unwrap()
    }

    fn next(schedule: &Schedule, after: &str) -> Option<String> {
        let after: jiff_zones::Timestamp = after.parse().unwrap();
        schedule.next_after(Timestamp::from_millis(after.as_millisecond())).map(|at| at.to_string())
    }

    #[test]
    fn schedules_follow_the_clocks_of_their_zone() {
        let nightly = schedule("0 3 * * *", "Europe/Madrid");
        // Winter, summer, and the night in which 03:00 comes one hour earlier.
        assert_eq!(next(&nightly, "2026-01-10T12:00:00Z").unwrap(), "2026-01-11T02:00:00.000Z");
        assert_eq!(next(&nightly, "2026-07-10T12:00:00Z").unwrap(), "2026-07-11T01:00:00.000Z");
        assert_eq!(next(&nightly, "2026-03-28T12:00:00Z").unwrap(), "2026-03-29T01:00:00.000Z");
        let at_once = schedule("* * * * *", "UTC");
        assert_eq!(next(&at_once, "2026-01-10T12:00:00Z").unwrap(), "2026-01-10T12:01:00.000Z");
    }

    fn last(schedule: &Schedule, until: &str) -> String {
        let until: jiff_zones::Timestamp = until.parse().unwrap();
        schedule.last_until(Timestamp::from_millis(until.as_millisecond())).unwrap().to_string()
    }

    #[test]
    fn a_time_that_a_night_skips_comes_right_after_it_and_one_that_comes_twice_counts_once() {
        let madrid = schedule("30 2 * * *", "Europe/Madrid");
        // 02:00 becomes 03:00: there is no 02:30.
        assert_eq!(next(&madrid, "2026-03-28T12:00:00Z").unwrap(), "2026-03-29T01:00:00.000Z");
        assert_eq!(next(&madrid, "2026-03-29T01:00:00Z").unwrap(), "2026-03-30T00:30:00.000Z");
        // 03:00 becomes 02:00: 02:30 is 00:30 and 01:30 UTC.
        assert_eq!(next(&madrid, "2026-10-24T12:00:00Z").unwrap(), "2026-10-25T00:30:00.000Z");
        assert_eq!(next(&madrid, "2026-10-25T00:30:00Z").unwrap(), "2026-10-26T01:30:00.000Z");
    }

    #[test]
    fn the_last_time_is_found_from_behind_and_is_one_that_was_found_from_before() {
        let nightly = schedule("0 3 * * *", "Europe/Madrid");
        assert_eq!(last(&nightly, "2026-07-11T01:00:00Z"), "2026-07-11T01:00:00.000Z");
        assert_eq!(last(&nightly, "2026-07-11T00:59:59.999Z"), "2026-07-10T01:00:00.000Z");
        assert_eq!(last(&schedule("* * * * *", "UTC"), "2026-07-11T00:59:59.999Z"), "2026-07-11T00:59:00.000Z");
        assert_eq!(last(&schedule("0 0 1 1 *", "UTC"), "2026-07-11T00:59:59.999Z"), "2026-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for cron in ["", "* * * *", "0 0 3 * * *", "61 * * * *", "x * * * *", "@reboot"] {
            assert!(parse_cron(cron).is_err(), "{cron}");
        }
        assert!(parse_timezone("Europe/Nowhere").is_none());
    }
}
