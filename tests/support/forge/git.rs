//! Clones and fetches, which go on to a git host.

use std::{
    io::{BufReader, Write as _},
    net::{Shutdown, TcpStream},
    sync::Mutex,
};

use super::{Request, State, TOKEN};

/// Forwards a clone or a fetch to the git host, if it brings the token.
pub(super) fn pass_to_git(
    request: &Request,
    mut reader: BufReader<TcpStream>,
    client: TcpStream,
    state: &Mutex<State>,
) -> Option<()> {
    let (port, down, known) = {
        let state = state.lock().ok()?;
        let name = request.path.trim_start_matches('/').split(".git").next()?.to_owned();
        let known = state.repos.iter().any(|repo| repo.name == name) || state.moved.iter().any(|(old, _)| *old == name);
        (state.git_port?, state.down, known)
    };
    let moved = {
        let state = state.lock().ok()?;
        let name = request.path.trim_start_matches('/').split(".git").next()?.to_owned();
        !state.repos.iter().any(|repo| repo.name == name) && known
    };
    let login = request.headers.get("authorization").and_then(|value| value.strip_prefix("Basic "));
    let has_token = login
        .is_some_and(|login| String::from_utf8_lossy(&decode_base64(login)).ends_with(&format!(":{TOKEN}")))
        || login.is_some_and(|login| {
            let login = String::from_utf8_lossy(&decode_base64(login)).into_owned();
            let state = state.lock().expect("no test panics with it");
            state.app.iter().flat_map(|app| &app.tokens).any(|token| login.ends_with(&format!(":{token}")))
        });
    if down || moved || !has_token || !known {
        let status = if down {
            "503 Down"
        } else if moved {
            "301 Moved\r\nLocation: /elsewhere"
        } else if known {
            "401 Who"
        } else {
            "404 None"
        };
        (&client)
            .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes())
            .ok()?;
        return None;
    }
    let upstream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let text = String::from_utf8_lossy(&request.head).into_owned();
    let (line, rest) = text.split_once("\r\n")?;
    let (before, after) = line.split_once(request.path.split(".git").next()?)?;
    let rest: String = rest
        .lines()
        .filter(|line| !line.is_empty())
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    (&upstream).write_all(format!("{before}/app{after}\r\n{rest}Connection: close\r\n\r\n").as_bytes()).ok()?;
    let mut back = upstream.try_clone().ok()?;
    let mut to_client = client.try_clone().ok()?;
    let answering = std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut reader, &mut &upstream);
    let _ = answering.join();
    None
}

pub(super) fn decode_base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text
        .bytes()
        .filter_map(|byte| alphabet.iter().position(|one| *one == byte))
        .map(|digit| u32::try_from(digit).expect("below 64"))
        .collect();
    let mut bytes = Vec::new();
    for four in digits.chunks(4) {
        let bits = four.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - four.len()));
        bytes.extend(bits.to_be_bytes().into_iter().skip(1).take(four.len() - 1));
    }
    bytes
}
