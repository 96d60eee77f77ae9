//! What an agent left on its volume when its container ended: the spool, read out of the stopped container.

use std::io::{self, Read as _};
use std::time::Duration;

use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::TryStreamExt as _;
use longshore_agent_protocol::decode::Item;
use longshore_agent_protocol::spool::segment_first_seq;
use longshore_agent_protocol::{FrameError, FromAgent, SpoolReader};
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::container::SPOOL;
use crate::engine::Shared;
use crate::error::{EngineError, chain};
use crate::log_recorder::LogRecorder;

/// Why the leftovers are not all in the journal.
pub(crate) enum Unreadable {
    Journal(io::Error),
    /// There is none: no such folder, or no container any more.
    NoSpool(String),
    /// It is not to be trusted any further; what came before has been taken.
    Spool(String),
    /// The engine did not give all of it: it may, when it is asked again. What came before has been taken.
    Passing(EngineError),
}

/// What ended the reading of an archive.
enum Broken {
    /// The spool itself.
    Frame(FrameError),
    /// There is something else in its folder, or too much of it.
    Foreign(&'static str),
    /// The way from there to here.
    Archive(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Archive(error)
    }
}

/// Messages on their way from the archive's thread.
const AHEAD: usize = 64;
/// Bytes that are read of a spool. The agent holds steps up at 1 GiB; what is longer, a job has made.
const MAX_SPOOL: u64 = 2 << 30;
/// How long the engine may send nothing of it.
const SILENCE: Duration = Duration::from_secs(120);

/// Writes everything of the spool that the journal does not have, and everything else that waits in `recorder`. May be called
/// again: it goes on after what the journal has by then.
pub(crate) async fn read(shared: &Shared, container: &str, recorder: &mut LogRecorder) -> Result<(), Unreadable> {
    recorder.flush().await.map_err(Unreadable::Journal)?;
    let options = DownloadFromContainerOptionsBuilder::new().path(SPOOL).build();
    let archive = shared
        .docker
        .download_from_container(container, Some(options))
        .map_err(|error| io::Error::other(EngineError::from_api("read the spool", error)));
    let archive = SyncIoBridge::new(StreamReader::new(archive));
    let (messages, mut arrived) = mpsc::channel(AHEAD);
    let after = recorder.last_seq();
    let reading = tokio::task::spawn_blocking(move || unpack(archive, after, &messages));
    loop {
        tokio::select! {
            written = recorder.written(), if recorder.is_writing() => written.map_err(Unreadable::Journal)?,
            item = arrived.recv(), if !recorder.is_full() => {
                let Some(item) = item else { break };
                recorder.message(item.seq, item.message);
                recorder.start();
            }
            () = tokio::time::sleep(SILENCE), if !recorder.is_full() => {
                let error = EngineError::Gone("it stopped sending the job's spool".to_owned());
                return Err(Unreadable::Passing(error));
            }
        }
    }
    recorder.flush().await.map_err(Unreadable::Journal)?;
    match reading.await.map_err(io::Error::other).map_err(Broken::Archive).flatten() {
        Ok(()) => Ok(()),
        // The job's end was read before the fault.
        Err(_) if recorder.finished().is_some() => Ok(()),
        Err(Broken::Frame(error)) => Err(Unreadable::Spool(error.to_string())),
        Err(Broken::Foreign(what)) => Err(Unreadable::Spool(what.to_owned())),
        Err(Broken::Archive(error)) => Err(unreadable(&error)),
    }
}

/// What an archive that did not come whole means.
fn unreadable(error: &io::Error) -> Unreadable {
    let reason = chain(error);
    if ["Could not find the file", "No such container"].iter().any(|text| reason.contains(text)) {
        return Unreadable::NoSpool(reason);
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<EngineError>()) {
        Some(said) if said.is_passing() || said.is_waited_for() => Unreadable::Passing(said.clone()),
        Some(_) => Unreadable::Spool(reason),
        // Cut off in the middle, or with an error's text for an end.
        None => Unreadable::Passing(EngineError::Gone(reason)),
    }
}

/// The archive's segments in the order of their names, which is how the engine packs them; any other order shows as a gap.
fn unpack(archive: impl io::Read, after: u64, messages: &mpsc::Sender<Item<FromAgent>>) -> Result<(), Broken> {
    let mut spool = SpoolReader::new(after);
    let mut buffer = vec![0; 256 << 10];
    let mut archive = tar::Archive::new(archive);
    let mut left = MAX_SPOOL;
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let is_segment = entry.header().entry_type().is_file()
            && entry.path()?.file_name().and_then(|name| name.to_str()).and_then(segment_first_seq).is_some();
        // Only the agent writes there: a job that has got in must not make us read without end.
        if !is_segment {
            return Err(Broken::Foreign("there are files in it that are no part of it"));
        }
        left = left.checked_sub(entry.size()).ok_or(Broken::Foreign("it is longer than any agent makes it"))?;
        spool.begin_segment();
        loop {
            let count = entry.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            spool.push(&buffer[..count]);
            while let Some(item) = spool.next() {
                if messages.blocking_send(item.map_err(Broken::Frame)?).is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
