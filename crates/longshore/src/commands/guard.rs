//! `longshore guard`: stands between a client and the engine's socket, until it is told to end.

use std::{io::Write as _, process::ExitCode, sync::Arc};

use longshore_guard::Policy;
use longshore_guard_transport::{Options, Proxy};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Ended;
use crate::args::Guard;

pub(crate) fn run(args: Guard) -> super::Result {
    let (text, origin) =
        args.policy.read().map_err(|error| Ended::new(1, format!("the policy cannot be read: {error}")))?;
    let policy =
        Policy::parse(&text).map_err(|error| Ended::new(1, format!("{origin} is no policy of a guard: {error}")))?;
    super::runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let options = Options { socket: args.socket, policy, state: args.state, audit: args.audit };
        let proxy = Proxy::connect(options).await.map_err(|error| Ended::new(1, error.to_string()))?;
        let listener =
            Proxy::listen(&args.listen, args.mode).await.map_err(|error| Ended::new(1, error.to_string()))?;
        // Whoever has started it waits for this.
        writeln!(std::io::stdout(), "listening on {}", args.listen.display())?;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(Arc::clone(&proxy).serve(listener, stop.clone()));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        serving.await?;
        if args.remove_on_exit {
            proxy.remove_all().await.map_err(|error| Ended::new(1, error.to_string()))?;
        }
        // Whoever finds it would wait for an answer.
        let _ = std::fs::remove_file(&args.listen);
        Ok(ExitCode::SUCCESS)
    })
}
