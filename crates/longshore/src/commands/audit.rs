//! `longshore audit verify`: whether an audit log is as it was written.

use std::{io::Write as _, process::ExitCode};

use longshore_guard::audit;

use super::Ended;
use crate::args::Audit;

pub(crate) fn run(args: Audit) -> super::Result {
    let Audit::Verify { file } = args;
    let log = std::fs::read_to_string(&file)
        .map_err(|error| Ended::new(2, format!("{} cannot be read: {error}", file.display())))?;
    let chain = audit::verify(&log).map_err(|broken| Ended::new(1, format!("{}: {broken}", file.display())))?;
    writeln!(std::io::stdout(), "ok: {} entries; hash of the last entry: {}", chain.number, chain.hash)?;
    Ok(ExitCode::SUCCESS)
}
