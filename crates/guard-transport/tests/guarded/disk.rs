//! A job over its budget of the disk, whose containers the guard ends.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::{BUSYBOX, World, engine};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_a_copy_keeps_no_container_of_a_job_over_its_budget() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let disk = json!({ "folder": path, "containers": path, "volumes": [] });
    let world = World::having(false, &json!({ "budget": { "disk_bytes": 48 << 20 }, "disk": disk }), None).await;
    let write = |mib| format!("dd if=/dev/zero of=/large bs=1M count={mib} && sync && touch /done && sleep 600");
    let copied = world.ok(&["run", "-d", "--name", "copied", BUSYBOX, "sh", "-c", &write(16)]);
    world.ok(&["exec", "copied", "sh", "-c", "until [ -e /done ]; do sleep 0.1; done"]);
    let mut stalled = UnixStream::connect(world.socket()).unwrap();
    stalled.write_all(b"GET /containers/copied/archive?path=/large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut head = [0; 12];
    stalled.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let writes = world.ok(&["run", "-d", "--name", "writes", BUSYBOX, "sh", "-c", &write(96)]);
    let begun = Instant::now();
    // A list is what the engine gives without waiting for a container that is copied.
    let on = || {
        engine(&["ps", "-q", "--no-trunc"]).lines().filter(|id| [&copied, &writes].contains(&&(*id).to_owned())).count()
    };
    while on() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(300), "{} of the containers go on", on());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(stalled);
    world.end().await;
}
