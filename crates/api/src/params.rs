//! Extracts ids and the query from an address, and refuses what it does not know.

use std::{fmt::Display, str::FromStr};

use axum::{
    extract::{FromRequestParts, Path as AxumPath, Query as AxumQuery},
    http::request::Parts,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::error::ApiError;

/// Items on a page if the query does not say.
const DEFAULT_LIMIT: u32 = 50;
/// Items on a page at most.
const MAX_LIMIT: u32 = 200;

/// The only parameter of a path. A value that does not parse answers 404.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: FromStr<Err: Display>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let AxumPath(text) = AxumPath::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::not_found_message(error.body_text()))?;
        text.parse().map(Self).map_err(|error: T::Err| ApiError::not_found_message(error.to_string()))
    }
}

/// Both parameters of a path. A value that does not parse answers 404.
#[derive(Debug)]
pub(crate) struct PathPair<A, B>(pub(crate) A, pub(crate) B);

impl<A, B, S> FromRequestParts<S> for PathPair<A, B>
where
    A: FromStr<Err: Display>,
    B: FromStr<Err: Display>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let AxumPath((first, second)) = AxumPath::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::not_found_message(error.body_text()))?;
        Ok(Self(
            first.parse().map_err(|error: A::Err| ApiError::not_found_message(error.to_string()))?,
            second.parse().map_err(|error: B::Err| ApiError::not_found_message(error.to_string()))?,
        ))
    }
}

/// All three parameters of a path. A value that does not parse answers 404.
#[derive(Debug)]
pub(crate) struct PathTriple<A, B, C>(pub(crate) A, pub(crate) B, pub(crate) C);

impl<A, B, C, S> FromRequestParts<S> for PathTriple<A, B, C>
where
    A: FromStr<Err: Display>,
    B: FromStr<Err: Display>,
    C: FromStr<Err: Display>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let AxumPath((first, second, third)) = AxumPath::<(String, String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::not_found_message(error.body_text()))?;
        Ok(Self(
            first.parse().map_err(|error: A::Err| ApiError::not_found_message(error.to_string()))?,
            second.parse().map_err(|error: B::Err| ApiError::not_found_message(error.to_string()))?,
            third.parse().map_err(|error: C::Err| ApiError::not_found_message(error.to_string()))?,
        ))
    }
}

/// The query. Unknown parameters are refused by name (every type says `deny_unknown_fields`).
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match AxumQuery::from_request_parts(parts, state).await {
            Ok(AxumQuery(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::bad_request(error.body_text())),
        }
    }
}

/// Parses `before` of a keyset page: the `next` of the page before it.
pub(crate) fn parse_before(text: Option<&str>) -> Result<Option<i64>, ApiError> {
    let parse = |text: &str| {
        let place: Option<i64> = text.parse().ok().filter(|place| *place >= 0);
        place.ok_or_else(|| ApiError::bad_request("`before` must be the `next` of the previous page"))
    };
    text.map(parse).transpose()
}

/// Returns how many items a page has: what the query asks for, at most [`MAX_LIMIT`].
pub(crate) fn page_limit(asked: Option<u32>) -> Result<u32, ApiError> {
    match asked {
        Some(0) => Err(ApiError::bad_request("`limit` must be at least 1")),
        Some(limit) => Ok(limit.min(MAX_LIMIT)),
        None => Ok(DEFAULT_LIMIT),
    }
}

/// Deserializes an optional field by parsing its text.
pub(crate) fn parse_word<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}
