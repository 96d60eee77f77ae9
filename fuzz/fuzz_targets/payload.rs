//! Parses arbitrary events and bodies of deliveries, and arbitrary clone addresses. Accepted values must keep the
//! promises of their types.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_forge::{CloneUrl, Forge, Hook, payload::parse_event};

fuzz_target!(|input: (u8, &str, &[u8])| {
    let (choice, event, body) = input;
    let forge = Forge::ALL[usize::from(choice) % Forge::ALL.len()];
    for event in [event, "push", "pull_request"] {
        match parse_event(forge, event, body) {
            Ok(Hook::Push(push)) => {
                assert!(push.git_ref.as_str().len() <= 1000 && !push.git_ref.as_str().contains(char::is_control));
                assert!(!push.after.is_zero());
                assert!(!push.sender.contains(char::is_control));
            }
            Ok(Hook::PullRequest(request)) => {
                assert!(request.target.branch().is_some() && request.source.branch().is_some());
                assert!(!request.title.contains(char::is_control) && !request.action.contains(char::is_control));
            }
            Ok(Hook::Deleted { git_ref }) => assert!(!git_ref.as_str().contains(char::is_control)),
            Ok(Hook::Ping | Hook::Ignored { .. }) | Err(_) => {}
        }
    }
    if let Ok(url) = event.parse::<CloneUrl>() {
        assert!(!url.address().starts_with('-') && !url.address().contains("::sh"));
    }
});
