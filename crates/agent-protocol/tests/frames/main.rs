//! Properties of the two decoders: any split, any cut, any bytes.

#![expect(clippy::unwrap_used, reason = "the builders below belong to the tests")]

mod messages;

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_agent_protocol::frame::{self, FrameError};
use longshore_agent_protocol::message::{JobEnd, JobResult, JobSpec};
use longshore_agent_protocol::spool::{segment_first_seq, segment_name};
use longshore_agent_protocol::{
    AnnouncedFile, FromAgent, FromAgentDecoder, Item, SpoolReader, ToAgent, ToAgentDecoder, VERSION, encode_from_agent,
    encode_marker, encode_to_agent,
};
use messages::{from_agent, to_agent};
use proptest::collection::vec;
use proptest::prelude::*;

const JOB: [u8; 16] = *b"the job's nonce.";
const HELLO: [u8; 16] = *b"the hello's one.";

fn hello(session: u32) -> ToAgent {
    ToAgent::Hello { version: VERSION, last_seq: u64::from(session) * 10, nonce: HELLO }
}

/// Returns a whole session as a client writes it, and what the agent must read.
fn session(number: u32, messages: &[ToAgent]) -> (Vec<u8>, Vec<(u32, ToAgent)>) {
    let mut bytes = Vec::new();
    encode_marker(JOB, &mut bytes);
    let mut read = Vec::new();
    for message in std::iter::once(&hello(number)).chain(messages) {
        encode_to_agent(number, message, &mut bytes).unwrap();
        read.push((number, message.clone()));
    }
    (bytes, read)
}

/// Cuts `bytes` into pieces of the given lengths, over and over.
fn pieces<'a>(bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = lengths.next().copied().unwrap_or(rest.len()).clamp(1, rest.len());
        let (piece, after) = rest.split_at(length);
        rest = after;
        Some(piece)
    })
}

fn read_to_agent(bytes: &[u8], lengths: &[usize]) -> (Vec<(u32, ToAgent)>, usize) {
    let mut decoder = ToAgentDecoder::new(JOB);
    let (mut read, mut errors) = (Vec::new(), 0);
    for piece in pieces(bytes, lengths) {
        decoder.push(piece);
        while let Some(item) = decoder.next() {
            match item {
                Ok(Item { session, message, .. }) => read.push((session, message)),
                Err(_) => errors += 1,
            }
        }
    }
    (read, errors)
}

fn read_from_agent(
    mut decoder: FromAgentDecoder,
    bytes: &[u8],
    lengths: &[usize],
) -> (Vec<FromAgent>, Option<FrameError>) {
    let mut read = Vec::new();
    for piece in pieces(bytes, lengths) {
        decoder.push(piece);
        while let Some(item) = decoder.next() {
            match item {
                Ok(item) => read.push(item.message),
                Err(error) => return (read, Some(error)),
            }
        }
    }
    (read, None)
}

fn answer(session: u32, first_seq: u64, messages: &[FromAgent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_marker(HELLO, &mut bytes);
    let ready = FromAgent::Ready { version: VERSION, planned: true, checkout_received: 7, checkout_whole: false };
    encode_from_agent(session, 0, &ready, &mut bytes).unwrap();
    for (seq, message) in (first_seq..).zip(messages) {
        encode_from_agent(session, seq, message, &mut bytes).unwrap();
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_the_bytes_reads_the_same(
        messages in vec(to_agent(), 0..8), noise in vec(any::<u8>(), 0..100), lengths in vec(1..200_usize, 1..20),
    ) {
        let (bytes, expected) = session(3, &messages);
        let (read, errors) = read_to_agent(&[noise, bytes].concat(), &lengths);
        prop_assert_eq!(read, expected);
        prop_assert_eq!(errors, 0);
    }

    #[test]
    fn what_a_dying_client_left_half_written_does_not_hurt_the_next_session(
        first in vec(to_agent(), 0..6), second in vec(to_agent(), 0..6), cut in any::<prop::sample::Index>(),
        lengths in vec(1..200_usize, 1..20),
    ) {
        let (bytes, whole) = session(1, &first);
        let cut = cut.index(bytes.len() + 1);
        let (next, expected) = session(2, &second);
        let (read, errors) = read_to_agent(&[&bytes[..cut], &next].concat(), &lengths);
        let split = read.len() - expected.len();
        prop_assert_eq!(&read[split..], &expected[..]);
        prop_assert_eq!(&read[..split], &whole[..split]);
        prop_assert!(errors <= 1);
    }

    #[test]
    fn frames_of_an_older_client_are_fenced_once_a_newer_session_is_open(
        first in vec(to_agent(), 1..6), second in vec(to_agent(), 1..6), order in vec(any::<bool>(), 12),
        lengths in vec(1..200_usize, 1..20),
    ) {
        let (mut bytes, mut expected) = session(1, &[]);
        let (opening, opened) = session(2, &[]);
        bytes.extend_from_slice(&opening);
        expected.extend(opened);
        // Whole frames of both clients, in any order.
        let (mut old, mut new) = (first.iter(), second.iter());
        for newer in order {
            let (number, message) = if newer { (2, new.next()) } else { (1, old.next()) };
            let Some(message) = message else { continue };
            encode_to_agent(number, message, &mut bytes).unwrap();
            if newer {
                expected.push((2, message.clone()));
            }
        }
        let (read, errors) = read_to_agent(&bytes, &lengths);
        prop_assert_eq!(read, expected);
        prop_assert_eq!(errors, 0);
    }

    #[test]
    fn two_clients_whose_bytes_mix_never_yield_what_neither_said_and_a_new_session_repairs_it(
        first in vec(to_agent(), 1..6), second in vec(to_agent(), 1..6), turns in vec(1..60_usize, 1..20),
        lengths in vec(1..200_usize, 1..20),
    ) {
        let (old, said_first) = session(1, &first);
        let (new, said_second) = session(2, &second);
        let (mut a, mut b, mut bytes) = (&old[..], &new[..], Vec::new());
        for (turn, length) in turns.iter().cycle().enumerate() {
            let source = if turn % 2 == 0 { &mut a } else { &mut b };
            let (piece, rest) = source.split_at(source.len().min(*length));
            bytes.extend_from_slice(piece);
            *source = rest;
            if a.is_empty() && b.is_empty() { break }
        }
        let (third, expected) = session(3, &second);
        bytes.extend_from_slice(&third);
        let (read, _) = read_to_agent(&bytes, &lengths);
        let split = read.len() - expected.len();
        prop_assert_eq!(&read[split..], &expected[..]);
        for said in &read[..split] {
            prop_assert!(said_first.contains(said) || said_second.contains(said));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in vec(any::<u8>(), 0..2000), opened in any::<bool>(), lengths in vec(1..200_usize, 1..20),
    ) {
        let mut all = Vec::new();
        if opened { encode_marker(JOB, &mut all) }
        all.extend_from_slice(&bytes);
        read_to_agent(&all, &lengths);
        all.clear();
        if opened { encode_marker(HELLO, &mut all) }
        all.extend_from_slice(&bytes);
        read_from_agent(FromAgentDecoder::new(1, HELLO, 0), &all, &lengths);
        let mut spool = SpoolReader::new(0);
        for piece in pieces(&bytes, &lengths) {
            spool.push(piece);
            while let Some(Ok(_)) = spool.next() {}
        }
    }

    #[test]
    fn the_runner_reads_a_session_from_its_marker_on(
        messages in vec(from_agent(), 0..8), before in vec(from_agent(), 0..4), cut in any::<prop::sample::Index>(),
        lengths in vec(1..200_usize, 1..20),
    ) {
        // An older session's frames. The last one is complete: the agent finishes what it began.
        let mut bytes = Vec::new();
        for (seq, message) in (1..).zip(&before) {
            encode_from_agent(1, seq, message, &mut bytes).unwrap();
        }
        let start = cut.index(bytes.len() + 1);
        bytes.drain(..start);
        bytes.extend_from_slice(&answer(2, 5, &messages));
        let (read, error) = read_from_agent(FromAgentDecoder::new(2, HELLO, 4), &bytes, &lengths);
        prop_assert_eq!(error, None);
        prop_assert_eq!(&read[1..], &messages[..]);
    }

    #[test]
    fn a_changed_byte_from_the_agent_is_an_error_and_nothing_after_it_is_believed(
        messages in vec(from_agent(), 1..6), at in any::<prop::sample::Index>(), flip in 1..=255_u8,
        lengths in vec(1..200_usize, 1..20),
    ) {
        let mut bytes = answer(1, 1, &messages);
        let at = frame::MARKER_LEN + at.index(bytes.len() - frame::MARKER_LEN);
        bytes[at] ^= flip;
        // Long enough that a wrong length cannot wait forever.
        bytes.resize(bytes.len() + 2 * frame::MAX_PAYLOAD_LEN, 0);
        let (read, error) = read_from_agent(FromAgentDecoder::new(1, HELLO, 0), &bytes, &[&lengths[..], &[1 << 20]].concat());
        prop_assert!(error.is_some());
        for (said, expected) in read.iter().skip(1).zip(&messages) {
            prop_assert_eq!(said, expected);
        }
    }

    #[test]
    fn a_spool_reads_back_after_any_number_and_any_cut_of_its_last_segment(
        messages in vec(from_agent(), 1..12), per_segment in 1..4_usize, after in 0..14_u64, cut in any::<prop::sample::Index>(),
    ) {
        let numbered: Vec<_> = (1_u64..).zip(&messages).collect();
        let mut segments = BTreeMap::new();
        for part in numbered.chunks(per_segment) {
            let mut bytes = Vec::new();
            for (seq, message) in part { encode_from_agent(9, *seq, message, &mut bytes).unwrap() }
            segments.insert(segment_name(part[0].0), bytes);
        }
        let mut last = segments.last_entry().unwrap();
        let cut = cut.index(last.get().len() + 1);
        last.get_mut().truncate(cut);
        let mut reader = SpoolReader::new(after);
        let mut read = Vec::new();
        for (name, bytes) in &segments {
            prop_assert!(segment_first_seq(name).is_some());
            reader.begin_segment();
            reader.push(bytes);
            while let Some(item) = reader.next() { read.push(item.unwrap()) }
        }
        let before_last = (numbered.len() - 1) / per_segment * per_segment;
        for item in &read {
            prop_assert!(item.seq > after);
            prop_assert_eq!(&item.message, &messages[item.seq as usize - 1]);
        }
        prop_assert!(read.len() as u64 >= (before_last as u64).saturating_sub(after));
    }
}

#[test]
fn the_longest_output_fits_and_one_byte_more_is_refused() {
    let output = |length| FromAgent::Output { step: 1, stderr: false, time_ms: 0, data: Bytes::from(vec![1; length]) };
    let mut bytes = answer(1, 1, &[output(frame::MAX_OUTPUT_LEN)]);
    let (read, error) = read_from_agent(FromAgentDecoder::new(1, HELLO, 0), &bytes, &[65_536]);
    assert_eq!((read.len(), error), (2, None));
    let length = bytes.len();
    let refused = encode_from_agent(1, 2, &output(frame::MAX_OUTPUT_LEN + 1), &mut bytes);
    assert!(matches!(refused, Err(FrameError::TooLong { .. })));
    assert_eq!(bytes.len(), length);
}

#[test]
fn a_missing_frame_and_another_clients_marker_are_told_apart_from_garbage() {
    let note = FromAgent::Note { step: 0, time_ms: 0, text: "x".to_owned() };
    let gap = read_from_agent(FromAgentDecoder::new(1, HELLO, 0), &answer(1, 2, std::slice::from_ref(&note)), &[7]);
    assert_eq!(gap.1, Some(FrameError::Sequence { expected: 1, found: 2 }));
    let mut bytes = answer(1, 1, &[note]);
    encode_marker(*b"another client's", &mut bytes);
    let superseded = read_from_agent(FromAgentDecoder::new(1, HELLO, 0), &bytes, &[1]);
    assert_eq!((superseded.0.len(), superseded.1), (2, Some(FrameError::Superseded)));
}

#[test]
fn a_replayed_frame_is_readdressed_to_its_new_session() {
    let mut bytes = Vec::new();
    encode_from_agent(1, 5, &FromAgent::StepStarted { step: 2, time_ms: 3 }, &mut bytes).unwrap();
    frame::readdress(&mut bytes, 8);
    let mut expected = Vec::new();
    encode_from_agent(8, 5, &FromAgent::StepStarted { step: 2, time_ms: 3 }, &mut expected).unwrap();
    assert_eq!(bytes, expected);
}

#[test]
fn a_long_plan_and_checkout_pass_at_a_bounded_buffer() {
    let mut spec = JobSpec {
        caches: Vec::new(),
        on_workspace: false,
        env: BTreeMap::new(),
        known: BTreeMap::new(),
        secret_files: BTreeMap::new(),
        outputs: BTreeMap::new(),
        masks: vec![],
        workspace: "/w".to_owned(),
        user: String::new(),
        timeout_ms: 1,
        grace_ms: 1,
        checkout: true,
        steps: vec![],
        services: vec![],
        path: vec![],
        authorities: String::new(),
        pod_secret: None,
        member: None,
        artifacts: Vec::new(),
        artifact_limits: None,
    };
    spec.env.insert("LONG".to_owned(), "x".repeat(3 << 20).into());
    let chunk = ToAgent::Checkout { offset: 0, data: Bytes::from(vec![7; frame::MAX_CHECKOUT_LEN]) };
    let (bytes, expected) = session(1, &[ToAgent::Plan(Box::new(spec)), chunk.clone(), chunk]);
    let (read, errors) = read_to_agent(&bytes, &[65_536]);
    assert!(read == expected);
    assert_eq!(errors, 0);
}

#[test]
fn the_end_that_an_agent_of_an_earlier_build_says_leaves_its_sandbox_in_doubt() {
    let end: JobEnd = serde_json::from_str(r#"{"result":{"result":"success"}}"#).unwrap();
    assert_eq!((end.result, end.sandbox.is_restored), (JobResult::Success, false));
    let of_a_later_one = r#"{"result":{"result":"success"},"sandbox":{"as_it_was":true,"checked":3},"more":1}"#;
    let end: JobEnd = serde_json::from_str(of_a_later_one).unwrap();
    assert!(end.sandbox.is_restored);
}

#[test]
fn messages_about_files_have_no_number_and_leave_no_gap_among_those_that_have() {
    let (name, path) = ("binaries".to_owned(), "out/a".to_owned());
    let files = [
        FromAgent::ArtifactFile(AnnouncedFile { artifact: 1, name, path, bytes: 3, executable: true }),
        FromAgent::ArtifactData(Bytes::from_static(b"abc")),
        FromAgent::ArtifactFileEnd { whole: false },
        FromAgent::ArtifactsEnd { files: 1 },
    ];
    let mut bytes = answer(4, 11, &[FromAgent::ServiceReady { time_ms: 1, step: None }]);
    for message in &files {
        encode_from_agent(4, 0, message, &mut bytes).unwrap();
    }
    encode_from_agent(4, 12, &FromAgent::ServiceReady { time_ms: 2, step: None }, &mut bytes).unwrap();
    let (read, error) = read_from_agent(FromAgentDecoder::new(4, HELLO, 10), &bytes, &[7]);
    assert_eq!(error, None);
    assert_eq!(read[2..6], files);
    assert_eq!(read.len(), 7);
    let mut numbered = answer(4, 11, &[]);
    encode_from_agent(4, 11, &files[1], &mut numbered).unwrap();
    let (_, error) = read_from_agent(FromAgentDecoder::new(4, HELLO, 10), &numbered, &[100]);
    assert_eq!(error, Some(FrameError::Sequence { expected: 0, found: 11 }));
}
