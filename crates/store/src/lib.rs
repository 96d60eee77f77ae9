//! SQLite and log files
