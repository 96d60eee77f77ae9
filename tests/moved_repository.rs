//! A repository that its git host serves at another path now, and redirects to from the old one, as after a rename.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use support::{api::text, git_host::GitHost, server::Server, world::one_step};

/// Stands before a git host, and serves its repository as `/old.git` too; once that is `renamed`, it redirects instead.
fn renaming_host(git: &GitHost, leads_to: &str, renamed: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = git.url().strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let (leads_to, renamed) = (leads_to.to_owned(), Arc::clone(renamed));
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (behind, leads_to, renamed) = (behind.clone(), leads_to.clone(), renamed.load(Ordering::SeqCst));
            thread::spawn(move || serve(client, &behind, &leads_to, renamed));
        }
    });
    port
}

fn serve(mut client: TcpStream, behind: &str, leads_to: &str, renamed: bool) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    if renamed && let Some(rest) = path.strip_prefix("/old.git") {
        let answer = format!(
            "HTTP/1.1 301 Moved\r\nLocation: {leads_to}{rest}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        return client.write_all(answer.as_bytes());
    }
    let mut host = TcpStream::connect(behind)?;
    // One request a connection.
    let text = text.replacen(" /old.git", " /app.git", 1);
    host.write_all(format!("{}Connection: close\r\n\r\n", text.strip_suffix("\r\n").unwrap_or(&text)).as_bytes())?;
    let (mut from, mut to) = (client.try_clone()?, host.try_clone()?);
    let upwards = thread::spawn(move || io::copy(&mut from, &mut to));
    io::copy(&mut host, &mut client)?;
    client.shutdown(Shutdown::Both)?;
    let _ = upwards.join();
    Ok(())
}

#[test]
fn a_renamed_repository_is_followed_on_its_host_and_its_pushes_are_built() {
    let (server, git, renamed) = (Server::start(), GitHost::start(), Arc::default());
    git.push(&one_step("true"));
    let port = renaming_host(&git, "/app.git", &renamed);
    let api = server.api();
    let (repo, secret) = api.add_repo("team/app", &format!("http://127.0.0.1:{port}/old.git"));
    let address = || text(&api.get(&format!("/api/v1/repos/{repo}")), "clone_url");
    assert!(address().ends_with("/old.git"));

    renamed.store(true, Ordering::SeqCst);
    git.hook(&format!("{}/hooks/{repo}", server.url()), &secret);
    let commit = git.push(&one_step("echo works"));
    let build = support::until("the push's build", || {
        let builds = api.get(&format!("/api/v1/repos/{repo}/builds"));
        builds["items"].as_array()?.iter().find(|build| build["commit"] == commit.as_str()).cloned()
    });
    assert_eq!(api.wait_for_build(&text(&build, "id"))["status"], "success");
    assert_eq!(address(), format!("http://127.0.0.1:{port}/app.git"));

    let (registered, _) = api.add_repo("team/again", &format!("http://127.0.0.1:{port}/old.git"));
    let shown = api.get(&format!("/api/v1/repos/{registered}"));
    assert!(text(&shown, "clone_url").ends_with("/app.git") && shown["look_error"].is_null(), "{shown}");
}

#[test]
fn a_redirect_to_another_host_is_not_followed() {
    let (server, git, renamed) = (Server::start(), GitHost::start(), Arc::new(AtomicBool::new(true)));
    git.push(&one_step("true"));
    let port = renaming_host(&git, &git.url(), &renamed);
    let api = server.api();
    let (repo, _) = api.add_repo("team/app", &format!("http://127.0.0.1:{port}/old.git"));
    let shown = api.get(&format!("/api/v1/repos/{repo}"));
    assert!(text(&shown, "clone_url").ends_with("/old.git"), "{shown}");
    assert!(text(&shown, "look_error").contains("redirects to another address"), "{shown}");
}
