//! The calls to the engine for actions on a container.

use crate::bodies::Update;
use crate::call::ContainerAction;
use crate::decision::EngineCall;

/// Returns the call to the engine for an action on a container. The path has the full id, whatever the client wrote.
pub(crate) fn container_call(id: &str, action: &ContainerAction) -> EngineCall {
    let call = |method, verb: &str| EngineCall::new(method, format!("/containers/{id}{verb}"));
    match action {
        ContainerAction::Inspect { size } => call("GET", "/json").flag("size", *size),
        ContainerAction::Top { ps_args } => call("GET", "/top").query("ps_args", ps_args),
        ContainerAction::Logs(logs) => call("GET", "/logs")
            .flag("follow", logs.follow)
            .flag("stdout", logs.stdout)
            .flag("stderr", logs.stderr)
            .flag("timestamps", logs.timestamps)
            .flag("details", logs.details)
            .query("since", &logs.since)
            .query("until", &logs.until)
            .query("tail", &logs.tail),
        ContainerAction::Stats { stream, one_shot } => {
            call("GET", "/stats").query("stream", if *stream { "1" } else { "0" }).flag("one-shot", *one_shot)
        }
        ContainerAction::Changes => call("GET", "/changes"),
        ContainerAction::Export => call("GET", "/export"),
        ContainerAction::Resize(size) => {
            call("POST", "/resize").query("h", size.height.to_string()).query("w", size.width.to_string())
        }
        ContainerAction::Start { detach_keys } => call("POST", "/start").query("detachKeys", detach_keys),
        ContainerAction::Stop { seconds, signal } => stop(call("POST", "/stop"), *seconds, signal),
        ContainerAction::Restart { seconds, signal } => stop(call("POST", "/restart"), *seconds, signal),
        ContainerAction::Kill { signal } => call("POST", "/kill").query("signal", signal),
        ContainerAction::Pause => call("POST", "/pause"),
        ContainerAction::Unpause => call("POST", "/unpause"),
        ContainerAction::Rename { name } => call("POST", "/rename").query("name", name),
        ContainerAction::Update(update) => call("POST", "/update").json(Update::write(update)),
        ContainerAction::Wait { condition } => call("POST", "/wait").query("condition", condition),
        ContainerAction::Attach(attach) => call("POST", "/attach")
            .query("detachKeys", &attach.detach_keys)
            .flag("logs", attach.logs)
            .flag("stream", attach.stream)
            .flag("stdin", attach.stdin)
            .flag("stdout", attach.stdout)
            .flag("stderr", attach.stderr),
        ContainerAction::Remove { volumes, force } => call("DELETE", "").flag("v", *volumes).flag("force", *force),
        ContainerAction::ArchiveInfo { path } => call("HEAD", "/archive").query("path", path),
        ContainerAction::ArchiveGet { path } => call("GET", "/archive").query("path", path),
        ContainerAction::ArchivePut { path, no_overwrite, copy_owner } => call("PUT", "/archive")
            .query("path", path)
            .flag("noOverwriteDirNonDir", *no_overwrite)
            .flag("copyUIDGID", *copy_owner)
            .tar(),
        ContainerAction::Exec(exec) => call("POST", "/exec").json(exec.write()),
    }
}

fn stop(call: EngineCall, seconds: Option<i64>, signal: &str) -> EngineCall {
    let seconds = seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
    call.query("t", seconds).query("signal", signal)
}
