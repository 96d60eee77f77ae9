//! Draws a repository's last builds as a row of bars. Colour and dashes show the status, height shows the duration.

use std::fmt::{self, Display, Formatter};

use askama::filters::Safe;
use longshore_core::{Status, Timestamp, outcome::human_duration};
use longshore_store::overview::Bar;

use crate::public_url::BasePath;

/// The distance between the left edges of two bars.
const BAR_DISTANCE: usize = 8;
const MAX_HEIGHT: u64 = 24;
const MIN_HEIGHT: u64 = 4;

pub(crate) struct Bars<'a> {
    base: &'a BasePath,
    bars: &'a [Bar],
}

/// Takes the bars oldest first; there is room for twenty.
pub(crate) fn bars<'a>(base: &'a BasePath, bars: &'a [Bar]) -> Safe<Bars<'a>> {
    Safe(Bars { base, bars })
}

impl Display for Bars<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (now, base) = (Timestamp::now(), self.base);
        // A build that waits would grow above all others.
        let length = |bar: &Bar| match (bar.status, bar.started_at) {
            (Status::Blocked, _) | (_, None) => 0,
            (_, Some(from)) => bar.finished_at.unwrap_or(now).since(from),
        };
        let longest = self.bars.iter().map(length).max().unwrap_or(0).max(1);
        write!(f, "<svg class=\"bars\" viewBox=\"0 0 160 {MAX_HEIGHT}\" role=\"group\" aria-label=\"Last builds\">")?;
        // The newest bar is at the right end.
        let empty = 20_usize.saturating_sub(self.bars.len());
        for (place, bar) in self.bars.iter().enumerate() {
            let ms = length(bar);
            let height = MIN_HEIGHT + (MAX_HEIGHT - MIN_HEIGHT) * ms / longest;
            let x = (empty + place) * BAR_DISTANCE + BAR_DISTANCE / 2;
            let Bar { seq, number, status, .. } = bar;
            write!(
                f,
                "<a href=\"{base}/b/{seq}\" tabindex=\"-1\"><path class=\"{status}\" d=\"M{x} {MAX_HEIGHT}v-{height}\"/>"
            )?;
            write!(f, "<title>#{number} {}", status.word())?;
            if ms > 0 {
                write!(f, " {}", human_duration(ms))?;
            }
            f.write_str("</title></a>")?;
        }
        f.write_str("</svg>")
    }
}
