//! Reads typed values from rows. A value that does not parse means a damaged database and is an error, never a panic.

use std::{fmt::Display, str::FromStr};

use longshore_core::{Timestamp, docker::Docker};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{Invalid, StoreError};

/// Parses a text column as the type that it was written from (an id, a status, a word).
pub(crate) fn parsed<T>(row: &SqliteRow, column: &str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: Display,
{
    parse(column, row.try_get(column)?)
}

/// Like [`parsed`], for a column that may be NULL.
pub(crate) fn parsed_opt<T>(row: &SqliteRow, column: &str) -> Result<Option<T>, StoreError>
where
    T: FromStr,
    T::Err: Display,
{
    row.try_get::<Option<&str>, _>(column)?.map(|text| parse(column, text)).transpose()
}

fn parse<T>(column: &str, text: &str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| StoreError::Corrupt(format!("column `{column}`: {error}")))
}

pub(crate) fn time(row: &SqliteRow, column: &str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_millis(row.try_get(column)?))
}

pub(crate) fn time_opt(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_millis))
}

/// Reads a count or position, which SQLite stores signed.
pub(crate) fn unsigned<T: TryFrom<i64>>(row: &SqliteRow, column: &str) -> Result<T, StoreError> {
    let value: i64 = row.try_get(column)?;
    T::try_from(value).map_err(|_| StoreError::Corrupt(format!("column `{column}`: {value}")))
}

/// Converts the result of `count(*)` or `sum`.
pub(crate) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Reads the type of a plan's `docker`: `json_type(plan, '$.docker') AS docker`.
pub(crate) fn docker(row: &SqliteRow) -> Result<Docker, StoreError> {
    Ok(match row.try_get::<Option<&str>, _>("docker")? {
        Some("true") => Docker::Guarded,
        // Its only word is `raw`.
        Some("text") => Docker::Raw,
        Some(_) | None => Docker::None,
    })
}

pub(crate) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, StoreError> {
    serde_json::from_str(row.try_get(column)?)
        .map_err(|error| StoreError::Corrupt(format!("column `{column}`: {error}")))
}

/// Like [`json`], for a column that may be NULL.
pub(crate) fn json_opt<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>, StoreError> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(serde_json::from_str)
        .transpose()
        .map_err(|error| StoreError::Corrupt(format!("column `{column}`: {error}")))
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| Invalid::NotJson(error.to_string()).into())
}

/// Converts a number for a column. SQLite's integers are signed, and nothing we count comes near their limit.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
