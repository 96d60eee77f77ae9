//! The limits that all reports of one job share, whatever their formats.

use std::time::Duration;

use crate::limits;

/// Decides which files of one job are read.
#[derive(Debug, Default)]
pub struct Budget {
    /// Bytes of the files that are read.
    bytes: u64,
}

impl Budget {
    /// Charges a file's bytes to the budget, before it is opened. `elapsed` is the time since the first file.
    ///
    /// # Errors
    /// A sentence for people: why the file is not read.
    pub fn take(&mut self, bytes: u64, elapsed: Duration) -> Result<(), String> {
        if bytes > limits::FILE_BYTES as u64 {
            return Err(format!("it has {} MiB, and the limit is {} MiB", bytes >> 20, limits::FILE_BYTES >> 20));
        }
        let all = self.bytes.saturating_add(bytes);
        if all > limits::JOB_BYTES {
            let limit = limits::JOB_BYTES >> 20;
            return Err(format!("skipped: the job's reports exceed {limit} MiB together"));
        }
        if elapsed > limits::JOB_TIME {
            let limit = limits::JOB_TIME.as_secs();
            return Err(format!("skipped: reading the job's other reports took longer than {limit} s"));
        }
        self.bytes = all;
        Ok(())
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn files_are_read_while_there_are_bytes_and_time() {
        let mut budget = Budget::default();
        let file = limits::FILE_BYTES as u64;
        assert!(budget.take(file + 1, Duration::ZERO).is_err_and(|why| why.contains("limit is 64 MiB")));
        assert_eq!(budget.take(file, Duration::ZERO), Ok(()));
        assert!(budget.take(1, limits::JOB_TIME * 2).is_err_and(|why| why.contains("longer than 60 s")));
        assert_eq!(budget.take(file, limits::JOB_TIME), Ok(()));
        assert!(budget.take(1, Duration::ZERO).is_err_and(|why| why.contains("128 MiB together")));
    }
}
