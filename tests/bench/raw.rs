//! Uses the engine by hand, to measure a job without Longshore: plain HTTP on the socket, one connection for each call.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
};

use serde_json::{Value, json};

fn socket() -> String {
    crate::support::engine::docker_host().trim_start_matches("unix://").to_owned()
}

/// Sends a request and reads the head of the answer. Returns the connection, to read the rest.
fn call(method: &str, path: &str, body: Option<&Value>, upgrade: bool) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(socket()).expect("the engine listens");
    let body = body.map(Value::to_string).unwrap_or_default();
    let connection = if upgrade { "Upgrade\r\nUpgrade: tcp" } else { "close" };
    let length = body.len();
    write!(
        stream,
        "{method} /v1.41{path} HTTP/1.1\r\nHost: docker\r\nConnection: {connection}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("written");
    let mut reader = BufReader::new(stream);
    let mut status = String::new();
    reader.read_line(&mut status).expect("a status line");
    let code: u16 = status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    assert!(code < 400, "{method} {path}: {status}");
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).expect("a header");
    }
    reader
}

fn read_all(mut reader: BufReader<UnixStream>) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("a body");
    text
}

/// Creates a container that runs `command`. Returns its id.
pub fn create(image: &str, command: &[&str], network: &str, log_driver: &str) -> String {
    let body = json!({
        "Image": image, "Cmd": command,
        "HostConfig": { "NetworkMode": network, "LogConfig": { "Type": log_driver } },
    });
    let answer = read_all(call("POST", "/containers/create", Some(&body), false));
    let begin = answer.find("\"Id\":\"").expect("an id") + 6;
    answer[begin..begin + 64].to_owned()
}

/// Attaches to a container's output.
pub fn attach(id: &str) -> BufReader<UnixStream> {
    call("POST", &format!("/containers/{id}/attach?stream=1&stdout=1&stderr=1"), None, true)
}

pub fn start(id: &str) {
    read_all(call("POST", &format!("/containers/{id}/start"), None, false));
}

pub fn wait(id: &str) {
    read_all(call("POST", &format!("/containers/{id}/wait"), None, false));
}

pub fn remove(id: &str) {
    read_all(call("DELETE", &format!("/containers/{id}?force=1&v=1"), None, false));
}

/// Reads `docker logs -f` to its end. Returns the number of payload bytes.
pub fn follow_logs(id: &str) -> u64 {
    let mut stream = call("GET", &format!("/containers/{id}/logs?follow=1&stdout=1&stderr=1"), None, false);
    let (mut all, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        let count = stream.read(&mut buffer).expect("the log");
        if count == 0 {
            return all;
        }
        all += count as u64;
    }
}
