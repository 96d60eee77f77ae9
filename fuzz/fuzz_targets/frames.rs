//! Feeds arbitrary bytes, in arbitrary pieces, to every decoder of the agent's protocol.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_agent_protocol::{FromAgentDecoder, SpoolReader, ToAgentDecoder, encode_marker};

const NONCE: [u8; 16] = [7; 16];

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<u8>)| {
    let (before, after, lengths) = input;
    let mut bytes = before;
    encode_marker(NONCE, &mut bytes);
    bytes.extend_from_slice(&after);

    let mut to_agent = ToAgentDecoder::new(NONCE);
    let mut from_agent = FromAgentDecoder::new(u32::from(lengths.len() as u8), NONCE, 0);
    let mut spool = SpoolReader::new(0);
    for piece in pieces(&bytes, &lengths) {
        to_agent.push(piece);
        while to_agent.next().is_some() {}
        from_agent.push(piece);
        while from_agent.next().is_some() {}
    }
    for piece in pieces(&after, &lengths) {
        spool.push(piece);
        while let Some(Ok(_)) = spool.next() {}
    }
});

fn pieces<'a>(mut rest: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = lengths.next().map_or(rest.len(), |length| usize::from(*length)).clamp(1, rest.len());
        let (piece, after) = rest.split_at(length);
        rest = after;
        Some(piece)
    })
}
