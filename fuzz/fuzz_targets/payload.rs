//! Parses arbitrary events and bodies of deliveries, and arbitrary clone addresses. Accepted values must keep the
//! promises of their types.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_forge::{CloneUrl, Forge, Hook, payload::parse_event};

fuzz_target!(|input: (u8, &str, &[u8])| {
    let (choice, event, body) = input;
    let forge = Forge::ALL[usize::from(choice) % Forge::ALL.len()];
    for event in [event, "push", "pull_request"] {
        let Ok(told) = parse_event(forge, event, body) else { continue };
        if let Some(repository) = &told.repository {
            let _ = repository.is_at(event);
        }
        for hook in told.hooks {
            check(hook);
        }
    }
    if let Ok(url) = event.parse::<CloneUrl>() {
        assert!(!url.address().starts_with('-') && !url.address().contains("::sh"));
    }
});

fn check(hook: Hook) {
    match hook {
        Hook::Push(push) => {
            assert!(push.git_ref.as_str().len() <= 1000 && !push.git_ref.as_str().contains(char::is_control));
            assert!(!push.after.is_zero());
            assert!(!push.sender.contains(char::is_control));
        }
        Hook::PullRequest(request) => {
            assert!(request.target.branch().is_some() && request.source.branch().is_some());
            assert!(!request.title.contains(char::is_control) && !request.action.contains(char::is_control));
        }
        Hook::Deleted { git_ref, from: _ } => assert!(!git_ref.as_str().contains(char::is_control)),
        Hook::Release(release) => assert!(!release.name.contains(char::is_control)),
        Hook::Ping | Hook::Ignored { .. } => {}
    }
}
