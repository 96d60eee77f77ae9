//! Every kind of message to a receiver that keeps what it gets, and to a real mail server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../../tests/support/receiver.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "others use the rest")]
mod receiver;
#[path = "../../../tests/support/smtp.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "others use the rest")]
mod smtp;

use longshore_core::NotificationEvent;
use longshore_notification::{AnomalyLine, JobLine, Kind, Mail, Message, SendError, Sender, Subject, Target};
use receiver::Receiver;
use serde_json::{Value, json};
use smtp::{MailServer, Security};
use ureq::tls::TlsConfig;

const CHATS: [Kind; 5] = [Kind::Slack, Kind::Discord, Kind::Matrix, Kind::Mattermost, Kind::Teams];

fn message() -> Message {
    Message {
        subject: Subject::Event(NotificationEvent::Failure),
        repo: "team/app".to_owned(),
        repo_id: "r".to_owned(),
        build: "b".to_owned(),
        number: 12,
        url: "https://ci.example/builds/b".to_owned(),
        status: "failure".to_owned(),
        reason: "test: step `Unit tests` failed with exit code 101".to_owned(),
        event: "push".to_owned(),
        git_ref: "refs/heads/main".to_owned(),
        branch: Some("main".to_owned()),
        pull_request: None,
        commit: "1f0c2d3e4a5b6c7d8e9f00112233445566778899".to_owned(),
        title: "Fix the thing".to_owned(),
        author: "Ada".to_owned(),
        pipelines: Vec::new(),
        jobs: vec![JobLine {
            name: "test".to_owned(),
            pipeline: "ci".to_owned(),
            status: "failure".to_owned(),
            reason: "step `Unit tests` failed with exit code 101".to_owned(),
            url: "https://ci.example/jobs/j".to_owned(),
        }],
        anomaly: None,
    }
}

/// A message whose every text comes from somebody who means harm.
fn hostile() -> Message {
    let text = "x <!everyone> <@U1> <https://evil.example|click> @everyone @channel @room [a](https://evil.example) **b** \
                <script>alert(1)</script> `c`\r\nBcc: victim@example.org\n# big\u{202e}";
    let job = JobLine {
        name: text.to_owned(),
        pipeline: text.to_owned(),
        status: "failure".to_owned(),
        reason: text.to_owned(),
        url: "https://ci.example/jobs/j".to_owned(),
    };
    Message {
        title: text.to_owned(),
        author: text.to_owned(),
        branch: Some(text.to_owned()),
        reason: text.to_owned(),
        jobs: vec![job],
        ..message()
    }
}

fn target(kind: Kind, receiver: &Receiver) -> Target {
    let (path, secret) = match kind {
        Kind::Matrix => ("/!room:example.org", Some("matrix-token")),
        Kind::Email | Kind::Slack | Kind::Discord | Kind::Mattermost | Kind::Teams | Kind::Webhook => {
            ("/hooks/s3cret-path", None)
        }
    };
    Target::new(kind, &receiver.url(path), secret).unwrap()
}

/// Returns what a service gets.
fn sent(kind: Kind, message: &Message) -> (receiver::Received, Value) {
    let receiver = Receiver::start();
    Sender::default().send(&target(kind, &receiver), true, "id-1", message).unwrap();
    let [one] = receiver.taken().try_into().unwrap();
    assert_eq!(one.header("content-type"), "application/json");
    let body = one.body();
    (one, body)
}

#[test]
fn each_chat_gets_the_shape_that_it_takes() {
    let says = |text: &str| {
        for part in ["team/app", "12", "failed"] {
            assert!(text.contains(part), "{text}");
        }
    };
    let (_, slack) = sent(Kind::Slack, &message());
    says(slack["text"].as_str().unwrap());
    assert_eq!(slack["blocks"][0]["text"]["text"], "*<https://ci.example/builds/b|team/app #12>* failed");
    assert_eq!(
        slack["blocks"][1]["text"],
        json!({ "type": "plain_text", "emoji": false,
            "text": "main, commit 1f0c2d3e4a\nFix the thing (Ada)\ntest: step `Unit tests` failed with exit code 101" })
    );
    let (_, discord) = sent(Kind::Discord, &message());
    assert_eq!(discord["allowed_mentions"], json!({ "parse": [] }));
    assert_eq!(discord["embeds"][0]["url"], "https://ci.example/builds/b");
    assert!(discord["embeds"][0]["description"].as_str().unwrap().contains("exit code 101"));
    let (request, matrix) = sent(Kind::Matrix, &message());
    assert_eq!(request.method, "PUT");
    assert!(
        request.path.starts_with("/_matrix/client/v3/rooms/") && request.path.ends_with("/send/m.room.message/id-1"),
        "{}",
        request.path
    );
    assert!(
        request.path.contains("!room:example.org") || request.path.contains("%21room%3Aexample.org"),
        "{}",
        request.path
    );
    assert_eq!(request.header("authorization"), "Bearer matrix-token");
    assert_eq!((&matrix["msgtype"], &matrix["m.mentions"]), (&json!("m.text"), &json!({})));
    says(matrix["body"].as_str().unwrap());
    assert!(
        matrix["formatted_body"]
            .as_str()
            .unwrap()
            .starts_with("<a href=\"https://ci.example/builds/b\">team/app #12</a> failed")
    );
    let (_, mattermost) = sent(Kind::Mattermost, &message());
    assert!(
        mattermost["text"].as_str().unwrap().starts_with("**[team\\/app \\#12](https://ci.example/builds/b)** failed"),
        "{mattermost}"
    );
    let (_, teams) = sent(Kind::Teams, &message());
    let card = &teams["attachments"][0]["content"];
    assert_eq!((&card["type"], &card["version"]), (&json!("AdaptiveCard"), &json!("1.4")));
    assert_eq!(card["actions"][0]["url"], "https://ci.example/builds/b");
}

#[test]
fn no_text_of_others_is_markup_or_calls_anybody() {
    let (_, slack) = sent(Kind::Slack, &hostile());
    assert!(!slack["text"].as_str().unwrap().contains('<'), "{slack}");
    // Whatever is not a plain text is ours.
    for block in slack["blocks"].as_array().unwrap() {
        let is_plain = block["text"]["type"] == "plain_text";
        assert!(is_plain || block["text"]["text"] == "*<https://ci.example/builds/b|team/app #12>* failed", "{block}");
    }
    let (_, discord) = sent(Kind::Discord, &hostile());
    let description = discord["embeds"][0]["description"].as_str().unwrap();
    assert_eq!(discord["allowed_mentions"], json!({ "parse": [] }));
    for sign in ["[a](", "**b", "<@U1", "https://evil", "`c`"] {
        assert!(!description.contains(sign), "{sign}: {description}");
    }
    let (_, mattermost) = sent(Kind::Mattermost, &hostile());
    let text = mattermost["text"].as_str().unwrap();
    for sign in ["@everyone", "@channel", "[a](", "**b", "https://evil"] {
        assert!(!text.contains(sign), "{sign}: {text}");
    }
    let (_, matrix) = sent(Kind::Matrix, &hostile());
    let html = matrix["formatted_body"].as_str().unwrap();
    assert!(!html.contains("<script") && html.matches("<a ").count() == 1, "{html}");
    assert!(!matrix["body"].as_str().unwrap().contains("@room"), "{matrix}");
    let (_, teams) = sent(Kind::Teams, &hostile());
    for block in teams["attachments"][0]["content"]["body"].as_array().unwrap() {
        assert_eq!((&block["type"], &block["inlines"][0]["type"]), (&json!("RichTextBlock"), &json!("TextRun")));
    }
    for kind in CHATS {
        let (_, body) = sent(kind, &hostile());
        assert!(!body.to_string().contains('\u{202e}'), "{kind}");
    }
}

#[test]
fn a_webhook_is_signed_and_carries_the_build() {
    let receiver = Receiver::start();
    let target = target(Kind::Webhook, &receiver);
    assert!(target.signing_key().unwrap().starts_with("whsec_"));
    Sender::default().send(&target, true, "msg-1", &hostile()).unwrap();
    let [one] = receiver.taken().try_into().unwrap();
    assert_eq!(one.header("webhook-id"), "msg-1");
    // The signature as anybody computes it who has read the specification, by another program.
    let key = std::process::Command::new("openssl")
        .args(["base64", "-d", "-A"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write as _;
            child
                .stdin
                .take()
                .unwrap()
                .write_all(target.signing_key().unwrap().trim_start_matches("whsec_").as_bytes())?;
            child.wait_with_output()
        })
        .unwrap()
        .stdout;
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = tempfile::tempdir().unwrap();
    let signed = [b"msg-1.", one.header("webhook-timestamp").as_bytes(), b".", &one.raw].concat();
    std::fs::write(folder.path().join("signed"), signed).unwrap();
    let digest = std::process::Command::new("sh")
        .current_dir(folder.path())
        .args([
            "-c",
            &format!("openssl dgst -sha256 -mac HMAC -macopt hexkey:{hex} -binary signed | openssl base64 -A"),
        ])
        .output()
        .unwrap();
    assert_eq!(one.header("webhook-signature"), format!("v1,{}", String::from_utf8(digest.stdout).unwrap()));
    let body = one.body();
    assert_eq!((&body["type"], &body["data"]["build"]["number"]), (&json!("build.failure"), &json!(12)));
    assert_eq!(body["data"]["build"]["title"], hostile().title);
    assert_eq!(body["data"]["jobs"][0]["url"], "https://ci.example/jobs/j");
}

#[test]
fn what_a_receiver_answers_says_what_can_be_done() {
    let receiver = Receiver::start();
    let target = target(Kind::Slack, &receiver);
    let sender = Sender::default();
    let answered = |status: u16, more: &str, text: &str| {
        receiver.answer(status, more, text);
        sender.send(&target, true, "id", &message()).unwrap_err()
    };
    let limited = answered(429, "Retry-After: 7\r\n", "");
    assert_eq!(limited.wait().map(|wait| wait.as_secs()), Some(7));
    assert!(answered(503, "", "down").may_pass());
    let refused = answered(403, "", "invalid_token /hooks/s3cret-path\nmore, s3cret-path");
    assert!(
        !refused.may_pass() && !refused.to_string().contains("s3cret") && refused.to_string().contains("invalid_token"),
        "{refused}"
    );
    assert!(answered(410, "", "").is_final());
    // Nobody follows it: it could lead anywhere.
    let other = Receiver::start();
    let moved = answered(307, &format!("Location: {}\r\n", other.url("/")), "");
    assert!(matches!(moved, SendError::Refused { .. }) && other.taken().is_empty(), "{moved}");
    let nobody = Target::new(Kind::Slack, "http://127.0.0.1:1/hooks/s3cret-path", None).unwrap();
    let error = sender.send(&nobody, true, "id", &message()).unwrap_err();
    assert!(error.may_pass() && !error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn an_address_of_the_servers_own_network_is_not_reached_unless_an_administrator_set_it() {
    let receiver = Receiver::start();
    // Also a name that only leads there: this machine's own.
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let port = receiver.port;
    for host in
        ["127.0.0.1", "[::1]", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", name.trim()]
    {
        let target = Target::new(Kind::Webhook, &format!("http://{host}:{port}/"), None).unwrap();
        let error = Sender::default().send(&target, false, "id", &message()).unwrap_err();
        assert!(matches!(error, SendError::Internal { .. }), "{host}: {error}");
    }
    assert!(receiver.state().received.is_empty());
    Sender::default().send(&target(Kind::Webhook, &receiver), true, "id", &message()).unwrap();
    assert_eq!(receiver.taken().len(), 1);
}

fn mailing(server: &MailServer) -> Sender {
    let mail =
        Mail::new(&server.url(), Some("Longshore <ci@example.org>"), "ci.example", &server.certificate()).unwrap();
    Sender::new(TlsConfig::default(), Some(mail))
}

#[test]
fn mail_arrives_over_each_way_to_speak_to_a_mail_server() {
    let to = Target::new(Kind::Email, "a@example.org, b@example.org", None).unwrap();
    for security in [Security::Plain, Security::StartTls, Security::Tls] {
        let server = MailServer::start(security);
        mailing(&server).send(&to, false, "id-1", &message()).unwrap();
        let [mail] = server.wait_for(1).try_into().unwrap();
        let has = |part: &str| assert!(mail.contains(part), "{security:?}: {part} in {mail}");
        assert_eq!(mail.starts_with("X-Login: True"), security != Security::Plain, "{mail}");
        for part in [
            "X-To: a@example.org,b@example.org",
            "From: Longshore <ci@example.org>",
            "Subject: team/app #12 failed on main",
            "Message-ID: <id-1@ci.example>",
            "Auto-Submitted: auto-generated",
            "https://ci.example/builds/b",
            "test: step `Unit tests` failed with exit code 101",
        ] {
            has(part);
        }
    }
}

#[test]
fn no_text_of_others_gets_into_the_head_of_a_mail() {
    let server = MailServer::start(Security::Plain);
    let to = Target::new(Kind::Email, "a@example.org", None).unwrap();
    mailing(&server).send(&to, false, "id-1", &hostile()).unwrap();
    let [mail] = server.wait_for(1).try_into().unwrap();
    let (head, _) = mail.replace("\r\n", "\n").split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(!head.lines().any(|line| line.to_ascii_lowercase().starts_with("bcc")), "{head}");
    assert!(head.contains("X-To: a@example.org\n"), "{head}");
}

#[test]
fn a_mail_server_that_refuses_is_told_from_one_that_is_busy_or_away() {
    let server = MailServer::start(Security::Plain);
    let to = Target::new(Kind::Email, "a@example.org", None).unwrap();
    let sender = mailing(&server);
    server.answer(Some("451 try later"));
    let busy = sender.send(&to, false, "id", &message()).unwrap_err();
    assert!(
        matches!(&busy, SendError::Unavailable { status: 451, message, .. } if message.contains("try later")),
        "{busy:?}"
    );
    server.answer(Some("550 no such user"));
    let refused = sender.send(&to, false, "id", &message()).unwrap_err();
    assert!(matches!(&refused, SendError::Refused { status: 550, .. }), "{refused:?}");
    drop(server);
    let away = sender.send(&to, false, "id", &message()).unwrap_err();
    assert!(away.may_pass() && matches!(away, SendError::Unreachable { .. }), "{away:?}");
    assert_eq!(Sender::default().send(&to, false, "id", &message()), Err(SendError::NoMailServer));
    // A certificate of an unknown authority is refused.
    let server = MailServer::start(Security::Tls);
    let mail = Mail::new(&server.url(), None, "ci.example", &[]).unwrap();
    let error = Sender::new(TlsConfig::default(), Some(mail)).send(&to, false, "id", &message()).unwrap_err();
    assert!(error.to_string().to_lowercase().contains("certificate") && server.messages().is_empty(), "{error}");
}

#[test]
fn a_mailbox_that_is_refused_keeps_a_mail_from_no_other_and_nobody_gets_it_twice() {
    let server = MailServer::start(Security::Plain);
    let sender = mailing(&server);
    let to = |addresses: &str| Target::new(Kind::Email, addresses, None).unwrap();
    let some = to("a@example.org, nobody@example.org, later@example.org, b@example.org");
    let busy = sender.send(&some, false, "id-1", &message()).unwrap_err();
    assert!(busy.may_pass() && busy.to_string().contains("later@example.org: "), "{busy}");
    server.take_now();
    // Another `Sender` of the same mail server knows it too.
    let refused = sender.clone().send(&some, false, "id-1", &message()).unwrap_err();
    assert!(
        matches!(&refused, SendError::Refused { status: 550, message, .. } if message.contains("nobody@")),
        "{refused}"
    );
    assert_eq!(sender.send(&some, false, "id-1", &message()), Err(refused));
    sender.send(&to("a@example.org, b@example.org"), false, "id-2", &message()).unwrap();
    let told: Vec<String> = server.messages().iter().map(|mail| mail.lines().nth(1).unwrap().to_owned()).collect();
    assert_eq!(
        told,
        ["X-To: a@example.org", "X-To: b@example.org", "X-To: later@example.org", "X-To: a@example.org,b@example.org"]
    );
}

#[test]
fn a_password_goes_over_tls_alone_and_bad_settings_are_refused_without_quoting_it() {
    for (url, from, says) in [
        ("smtp://ci:s3cret@mail.example", None, "smtps://"),
        ("mail.example:25", None, "smtps://"),
        ("https://mail.example", None, "smtps://"),
        ("smtps://ci:s3cret@mail.example", Some("nobody"), "smtp_from"),
    ] {
        let error = Mail::new(url, from, "ci.example", &[]).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn an_anomaly_is_told_by_every_kind_and_its_text_is_text() {
    let text = "job x of team/app was denied docker.request: <!everyone> @everyone [a](https://evil.example) **b**\r\nBcc: victim@example.org";
    let anomaly = AnomalyLine {
        kind: "first-refusal".to_owned(),
        message: text.to_owned(),
        record: 7,
        job: Some("https://ci.example/jobs/j".to_owned()),
    };
    let message = Message {
        subject: Subject::Event(NotificationEvent::Anomaly),
        repo: "team/app".to_owned(),
        repo_id: "r".to_owned(),
        url: "https://ci.example/audit".to_owned(),
        anomaly: Some(anomaly),
        ..Message::default()
    };
    for kind in CHATS {
        let (_, body) = sent(kind, &message);
        let body = body.to_string();
        assert!(body.contains("Anomaly in team") && body.contains("refusal"), "{kind}: {body}");
        assert!(body.contains("https://ci.example/audit"), "{kind}: {body}");
        // Text runs of Teams know no mentions.
        assert!(kind == Kind::Teams || !body.contains(" @everyone"), "{kind}: {body}");
    }
    let (_, body) = sent(Kind::Webhook, &message);
    let wanted = json!({
        "repo": { "id": "r", "name": "team/app" },
        "anomaly": {
            "kind": "first-refusal", "message": text, "record": 7, "url": "https://ci.example/audit",
            "job": { "url": "https://ci.example/jobs/j" },
        },
    });
    assert_eq!((&body["type"], &body["data"]), (&json!("anomaly"), &wanted));
}
