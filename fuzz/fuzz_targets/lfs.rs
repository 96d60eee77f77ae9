//! Reads any bytes as a pointer of Git LFS, and as answers of its stores. What is accepted must keep the promises of its type.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_forge::lfs::{Offer, Pointer, SshAnswer, is_http, read_answer};

fuzz_target!(|bytes: &[u8]| {
    let known = Pointer::new(&"a".repeat(64), 1).into_iter();
    let read = Pointer::read(bytes).ok().flatten();
    if let Some(pointer) = &read {
        assert_eq!(pointer.oid().len(), 64);
        assert!(bytes.len() < 1024);
    }
    let asked: Vec<Pointer> = known.chain(read).collect();
    if let Ok(offers) = read_answer(&asked, bytes) {
        assert_eq!(offers.len(), asked.len());
        for offer in offers {
            match offer {
                Offer::Download { href, .. } => assert!(is_http(&href)),
                Offer::Missing(said) => assert!(!said.contains(char::is_control)),
            }
        }
    }
    if let Ok(answer) = SshAnswer::read(bytes) {
        assert!(is_http(&answer.href));
    }
});
