//! Parses the payloads of frames.

use bytes::Bytes;

use super::{FrameError, kind};
use crate::artifact::{AnnouncedFile, ArtifactWindow};
use crate::message::{ContainerFailure, ContainerRequest, FromAgent, JobEnd, JobSpec, StepResult, ToAgent};

/// Parses the payload of a whole, checked frame.
pub(crate) fn decode_to_agent(kind: u8, payload: &Bytes) -> Result<ToAgent, FrameError> {
    let mut fields = Fields { kind, rest: payload };
    Ok(match kind {
        kind::HELLO => ToAgent::Hello { version: fields.u32()?, last_seq: fields.u64()?, nonce: *fields.take::<16>()? },
        kind::PLAN => ToAgent::Plan(Box::new(fields.json::<JobSpec>()?)),
        kind::CHECKOUT => ToAgent::Checkout { offset: fields.u64()?, data: payload.slice_ref(fields.rest) },
        kind::CHECKOUT_END => ToAgent::CheckoutEnd { length: fields.u64()? },
        kind::ACK => ToAgent::Ack { seq: fields.u64()? },
        kind::CANCEL => ToAgent::Cancel,
        kind::CONTAINER_FAILED => ToAgent::ContainerFailed(fields.json::<ContainerFailure>()?),
        kind::TAKE_ARTIFACTS => {
            ToAgent::TakeArtifacts(ArtifactWindow { file: fields.u32()?, offset: fields.u64()?, limit: fields.u64()? })
        }
        kind::ARTIFACT_ROOM => ToAgent::ArtifactRoom { limit: fields.u64()? },
        kind::ARTIFACTS_STORED => ToAgent::ArtifactsStored,
        other => return Err(FrameError::Kind(other)),
    })
}

/// Parses the payload of a whole, checked frame.
pub(crate) fn decode_from_agent(kind: u8, payload: &Bytes) -> Result<FromAgent, FrameError> {
    let mut fields = Fields { kind, rest: payload };
    Ok(match kind {
        kind::READY => FromAgent::Ready {
            version: fields.u32()?,
            planned: fields.flag()?,
            checkout_received: fields.u64()?,
            // Agents of the first builds do not send this field.
            checkout_whole: !fields.rest.is_empty() && fields.flag()?,
        },
        kind::LOST => FromAgent::Lost,
        kind::STEP_STARTED => FromAgent::StepStarted { step: fields.u16()?, time_ms: fields.i64()? },
        kind::OUTPUT => {
            let (step, time_ms, stderr) = (fields.u16()?, fields.i64()?, fields.flag()?);
            FromAgent::Output { step, stderr, time_ms, data: payload.slice_ref(fields.rest) }
        }
        kind::STEP_FINISHED => FromAgent::StepFinished {
            step: fields.u16()?,
            time_ms: fields.i64()?,
            result: fields.json::<StepResult>()?,
        },
        kind::NOTE => FromAgent::Note {
            step: fields.u16()?,
            time_ms: fields.i64()?,
            text: std::str::from_utf8(fields.rest).map_err(|error| fields.error(error.to_string()))?.to_owned(),
        },
        kind::JOB_FINISHED => FromAgent::JobFinished { time_ms: fields.i64()?, end: fields.json::<JobEnd>()? },
        kind::RUN_CONTAINER => FromAgent::RunContainer {
            step: fields.u16()?,
            time_ms: fields.i64()?,
            container: fields.json::<ContainerRequest>()?,
        },
        kind::SERVICE_READY => FromAgent::ServiceReady {
            time_ms: fields.i64()?,
            step: if fields.rest.is_empty() { None } else { Some(fields.u16()?) },
        },
        kind::ARTIFACT_FILE => FromAgent::ArtifactFile(fields.json::<AnnouncedFile>()?),
        kind::ARTIFACT_DATA => FromAgent::ArtifactData(payload.clone()),
        kind::ARTIFACT_FILE_END => FromAgent::ArtifactFileEnd { whole: fields.flag()? },
        kind::ARTIFACTS_END => FromAgent::ArtifactsEnd { files: fields.u32()? },
        other => return Err(FrameError::Kind(other)),
    })
}

/// Cuts fields off the front of a payload. Ignores bytes after the known fields, because a later version may append
/// some.
struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn error(&self, reason: String) -> FrameError {
        FrameError::Payload { kind: self.kind, reason }
    }

    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], FrameError> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.error("too short".to_owned()))?;
        self.rest = rest;
        Ok(field)
    }

    fn u16(&mut self) -> Result<u16, FrameError> {
        self.take().map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        self.take().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        self.take().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn i64(&mut self) -> Result<i64, FrameError> {
        self.take().map(|bytes| i64::from_le_bytes(*bytes))
    }

    fn flag(&mut self) -> Result<bool, FrameError> {
        match self.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(self.error(format!("{other} is neither yes nor no"))),
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, FrameError> {
        serde_json::from_slice(self.rest).map_err(|error| self.error(error.to_string()))
    }
}
