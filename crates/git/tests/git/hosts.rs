//! Git hosts that refuse, redirect, break off or are down.

use std::{process::Stdio, time::Duration};

use longshore_git::{Git, GitError, Mirror};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::{
    mirror::{on, world, world_with},
    support::{GitHost, Options, base64, executable, tls::Tls},
};

#[tokio::test]
async fn a_host_that_breaks_off_again_and_again_costs_no_room() {
    let world = world_with(Options { cut_after: Some(100_000), ..Options::default() }, "").await;
    for n in 0..200_u32 {
        // Incompressible, and more objects than git receives one by one.
        let noise: String =
            (0..200_u32).map(|at| format!("{:x}", (n * 200 + at).wrapping_mul(2_654_435_761))).collect();
        world.repository.write(&format!("file-{n}"), &noise);
    }
    world.repository.commit("many");
    let halves = || {
        let packs = std::fs::read_dir(world.mirror.folder().join("objects/pack")).unwrap();
        packs.filter(|pack| pack.as_ref().unwrap().file_name().to_string_lossy().starts_with("tmp_")).count()
    };
    for _ in 0..3 {
        let error = world.fetch(&on("main")).await.unwrap_err();
        assert!(error.is_temporary(), "{error:?}");
        assert_eq!(halves(), 0, "after {error}");
    }
    // A killed git leaves them too.
    std::fs::write(world.mirror.folder().join("objects/pack/tmp_pack_killed"), "half").unwrap();
    Mirror::open_or_create(Git::default(), world.mirror.folder()).await.unwrap();
    assert_eq!(halves(), 0);
}

#[tokio::test]
async fn credentials_open_the_door_and_show_nowhere() {
    let secret = "s3cr3t-w0rd";
    let options = || Options {
        credentials: Some(format!("robot:{secret}")),
        secrets: vec![secret.to_owned(), base64(&format!("robot:{secret}"))],
        ..Options::default()
    };
    let world = world_with(options(), &format!("robot:{secret}@")).await;
    // Git's arguments as git itself sees them; the host inspects all processes while they wait for it.
    let log = world.folder.path().join("arguments");
    let wrapper = world.folder.path().join("git-wrapper");
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >> '{}'\nexec git \"$@\"\n", log.display());
    executable::write(&wrapper, script.as_bytes());
    let wrapped = Git::default().with_program(&wrapper);
    let mirror = Mirror::open_or_create(wrapped, &world.folder.path().join("other.git")).await.unwrap();
    assert_eq!(mirror.fetch(&world.url, &on("main")).await.unwrap(), world.head());
    let arguments = std::fs::read_to_string(&log).unwrap();
    assert!(arguments.contains("--end-of-options") && !arguments.contains(secret), "{arguments}");
    assert_eq!(*world.host.leaks.lock().unwrap(), Vec::<String>::new());
    let config = std::fs::read_to_string(mirror.folder().join("config")).unwrap();
    assert!(!config.contains(secret));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_error_says_to_register_where_it_leads() {
    let world = world().await;
    for status in [301, 302, 303, 307, 308] {
        let redirect = Some((status, format!("http://{}", world.host.address)));
        let host = GitHost::start(&world.host.root, Options { redirect, ..Options::default() });
        let url = format!("http://robot:s3cr3t-w0rd@{}/app/.git", host.address).parse().unwrap();
        let error = world.mirror.fetch(&url, &on("main")).await.unwrap_err();
        assert!(matches!(error, GitError::Redirect { .. }), "{status}: {error:?}");
        assert!(error.to_string().contains("register the address that it leads to"), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error:?}");
    }
    assert_eq!(*world.host.requests.lock().unwrap(), Vec::<String>::new(), "nobody came by a redirect");
}

#[tokio::test]
async fn wrong_and_missing_credentials_are_told_apart_from_a_missing_repository() {
    let options = || Options { credentials: Some("robot:right".to_owned()), ..Options::default() };
    for userinfo in ["", "robot:wr0ng-w0rd@"] {
        let world = world_with(options(), userinfo).await;
        let error = world.fetch(&on("main")).await.unwrap_err();
        assert!(matches!(error, GitError::Authentication { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("wr0ng"), "{error:?}");
        assert!(!error.is_temporary());
    }
    let world = world().await;
    let missing = world.host.url("missing").parse().unwrap();
    let error = world.mirror.fetch(&missing, &on("main")).await.unwrap_err();
    assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn a_host_that_is_not_there_and_one_that_never_answers_are_temporary() {
    let world = world().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("http://robot:s3cr3t-w0rd@127.0.0.1:{port}/app").parse().unwrap();
    let error = world.mirror.fetch(&nobody, &on("main")).await.unwrap_err();
    assert!(matches!(error, GitError::Unreachable { .. }) && error.is_temporary(), "{error:?}");
    assert!(!format!("{error:?}").contains("s3cr3t"));

    let silent = GitHost::start(&world.host.root, Options { silent: true, ..Options::default() });
    let hasty = Git::default().with_remote_timeout(Duration::from_millis(300));
    let mirror = Mirror::open_or_create(hasty, &world.folder.path().join("hasty.git")).await.unwrap();
    let error = mirror.fetch(&silent.url("app").parse().unwrap(), &on("main")).await.unwrap_err();
    assert!(matches!(error, GitError::Timeout { .. }) && error.is_temporary(), "{error:?}");
}

#[tokio::test]
async fn a_host_whose_certificate_is_not_trusted_is_asked_again_and_the_error_says_what_to_do() {
    let world = world().await;
    let openssl = || {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(world.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        openssl.kill_on_drop(true);
        openssl
    };
    let made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out certificate -days 1 -subj /CN=127.0.0.1";
    assert!(openssl().args(made.split(' ')).status().await.unwrap().success());
    let served = "s_server -accept 127.0.0.1:0 -key key -cert certificate";
    let mut server = openssl().args(served.split(' ')).spawn().unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    let port = loop {
        let line = said.next_line().await.unwrap().expect("the server says where it listens");
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            break address.rsplit(':').next().unwrap().to_owned();
        }
    };
    let url = format!("https://robot:s3cr3t-w0rd@127.0.0.1:{port}/app").parse().unwrap();
    let error = world.mirror.fetch(&url, &on("main")).await.unwrap_err();
    assert!(matches!(error, GitError::Certificate { .. }) && error.is_temporary(), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("LONGSHORE_CA_FILE") && !text.contains("s3cr3t"), "{text}");
}

#[tokio::test]
async fn a_host_whose_authority_is_named_is_fetched_from_over_https() {
    let world = world().await;
    let tls = Tls::before(world.host.address.port(), world.folder.path());
    let url = format!("https://127.0.0.1:{}/app/.git", tls.port).parse().unwrap();
    let error = world.mirror.fetch(&url, &on("main")).await.unwrap_err();
    assert!(matches!(error, GitError::Certificate { .. }), "{error:?}");
    let trusting = Git::default().with_ca_file(&tls.authority);
    let mirror = Mirror::open_or_create(trusting, &world.folder.path().join("trusting.git")).await.unwrap();
    assert_eq!(mirror.fetch(&url, &on("main")).await.unwrap(), world.head());
}
