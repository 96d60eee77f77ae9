//! The kinds of frames: one number for each message.

use crate::message::{FromAgent, ToAgent};

pub(crate) const HELLO: u8 = 1;
pub(crate) const PLAN: u8 = 2;
pub(crate) const CHECKOUT: u8 = 3;
pub(crate) const CHECKOUT_END: u8 = 4;
pub(crate) const ACK: u8 = 5;
pub(crate) const CANCEL: u8 = 6;
pub(crate) const CONTAINER_FAILED: u8 = 7;
pub(crate) const TAKE_ARTIFACTS: u8 = 8;
pub(crate) const ARTIFACT_ROOM: u8 = 9;
pub(crate) const ARTIFACTS_STORED: u8 = 10;

pub(crate) const READY: u8 = 65;
pub(crate) const LOST: u8 = 66;
pub(crate) const STEP_STARTED: u8 = 67;
pub(crate) const OUTPUT: u8 = 68;
pub(crate) const STEP_FINISHED: u8 = 69;
pub(crate) const NOTE: u8 = 70;
pub(crate) const JOB_FINISHED: u8 = 71;
pub(crate) const RUN_CONTAINER: u8 = 72;
pub(crate) const SERVICE_READY: u8 = 73;
pub(crate) const ARTIFACT_FILE: u8 = 74;
pub(crate) const ARTIFACT_DATA: u8 = 75;
pub(crate) const ARTIFACT_FILE_END: u8 = 76;
pub(crate) const ARTIFACTS_END: u8 = 77;

/// Returns whether a message of the agent has a number, and is spooled.
pub(crate) const fn is_numbered(kind: u8) -> bool {
    !matches!(kind, READY | LOST | ARTIFACT_FILE..=ARTIFACTS_END)
}

pub(super) const fn to_agent(message: &ToAgent) -> u8 {
    match message {
        ToAgent::Hello { .. } => HELLO,
        ToAgent::Plan(_) => PLAN,
        ToAgent::Checkout { .. } => CHECKOUT,
        ToAgent::CheckoutEnd { .. } => CHECKOUT_END,
        ToAgent::Ack { .. } => ACK,
        ToAgent::Cancel => CANCEL,
        ToAgent::ContainerFailed(_) => CONTAINER_FAILED,
        ToAgent::TakeArtifacts(_) => TAKE_ARTIFACTS,
        ToAgent::ArtifactRoom { .. } => ARTIFACT_ROOM,
        ToAgent::ArtifactsStored => ARTIFACTS_STORED,
    }
}

pub(super) const fn from_agent(message: &FromAgent) -> u8 {
    match message {
        FromAgent::Ready { .. } => READY,
        FromAgent::Lost => LOST,
        FromAgent::StepStarted { .. } => STEP_STARTED,
        FromAgent::Output { .. } => OUTPUT,
        FromAgent::StepFinished { .. } => STEP_FINISHED,
        FromAgent::Note { .. } => NOTE,
        FromAgent::JobFinished { .. } => JOB_FINISHED,
        FromAgent::RunContainer { .. } => RUN_CONTAINER,
        FromAgent::ServiceReady { .. } => SERVICE_READY,
        FromAgent::ArtifactFile(_) => ARTIFACT_FILE,
        FromAgent::ArtifactData(_) => ARTIFACT_DATA,
        FromAgent::ArtifactFileEnd { .. } => ARTIFACT_FILE_END,
        FromAgent::ArtifactsEnd { .. } => ARTIFACTS_END,
    }
}
