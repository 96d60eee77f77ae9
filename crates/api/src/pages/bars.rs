//! A repository's last builds as a row of bars: the colour (and the dashes) are the status, the height is the duration.

use std::fmt::{self, Display, Formatter};

use askama::filters::Safe;
use longshore_core::{Status, Timestamp, outcome::human_duration};
use longshore_store::overview::Bar;

use super::show::word;

/// From one bar's left edge to the next.
const STEP: usize = 8;
const HEIGHT: u64 = 24;
const LEAST: u64 = 4;

pub(crate) struct Bars<'a>(&'a [Bar]);

/// Oldest first; there is room for twenty.
pub(crate) fn bars(bars: &[Bar]) -> Safe<Bars<'_>> {
    Safe(Bars(bars))
}

impl Display for Bars<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let now = Timestamp::now();
        // One that waits would grow above all others.
        let length = |bar: &Bar| match (bar.status, bar.started_at) {
            (Status::Blocked, _) | (_, None) => 0,
            (_, Some(from)) => bar.finished_at.unwrap_or(now).since(from),
        };
        let longest = self.0.iter().map(length).max().unwrap_or(0).max(1);
        write!(f, "<svg class=\"bars\" viewBox=\"0 0 160 {HEIGHT}\" role=\"group\" aria-label=\"Last builds\">")?;
        // The newest stands at the right.
        let empty = 20_usize.saturating_sub(self.0.len());
        for (place, bar) in self.0.iter().enumerate() {
            let ms = length(bar);
            let height = LEAST + (HEIGHT - LEAST) * ms / longest;
            let x = (empty + place) * STEP + STEP / 2;
            let Bar { seq, number, status, .. } = bar;
            write!(f, "<a href=\"/b/{seq}\" tabindex=\"-1\"><path class=\"{status}\" d=\"M{x} {HEIGHT}v-{height}\"/>")?;
            write!(f, "<title>#{number} {}", word(*status))?;
            if ms > 0 {
                write!(f, " {}", human_duration(ms))?;
            }
            f.write_str("</title></a>")?;
        }
        f.write_str("</svg>")
    }
}
