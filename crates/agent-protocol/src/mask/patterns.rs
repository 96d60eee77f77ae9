//! The automaton that finds all forms of all secrets of a job.

use std::sync::Arc;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, BuildError};

use super::forms::{self, Forms, Where};

/// The patterns to search for.
#[derive(Debug)]
pub struct Patterns {
    automaton: NFA,
    pub(super) start: StateID,
    /// Where each pattern is masked, by pattern number.
    places: Vec<Where>,
    /// For each state number, how many of the last bytes may begin a longer match.
    depths: Vec<u32>,
}

impl Patterns {
    /// Builds the patterns for these values. Returns `None` if there is nothing to search for.
    /// `longshore_core::masking` decides which values are too short.
    pub fn new<S: AsRef<str>>(values: &[S]) -> Result<Option<Arc<Self>>, BuildError> {
        let mut forms = Forms::new();
        for value in values {
            forms::add(value.as_ref(), &mut forms);
        }
        if forms.is_empty() {
            return Ok(None);
        }
        let automaton = NFA::builder().prefilter(false).build(forms.keys())?;
        let start = automaton.start_state(Anchored::No).unwrap_or(StateID::ZERO);
        let run =
            |bytes: &[u8]| bytes.iter().fold(start, |state, byte| automaton.next_state(Anchored::No, state, *byte));
        // 0 marks the start, and states that no form has reached yet.
        let mut depths: Vec<u32> = Vec::new();
        let mut note = |state: StateID, depth: usize| {
            let place = state.as_usize();
            if depths.len() <= place {
                depths.resize(place + 1, 0);
            }
            depths[place] = u32::try_from(depth).unwrap_or(u32::MAX);
        };
        for form in forms.keys() {
            let mut state = start;
            for (place, byte) in form[..form.len() - 1].iter().enumerate() {
                state = automaton.next_state(Anchored::No, state, *byte);
                note(state, place + 1);
            }
        }
        // A complete pattern that is not a prefix of a longer one waits for nothing more: only its own tail may begin
        // another. Shorter patterns come first, because a tail may itself be a complete pattern.
        let mut whole: Vec<_> = forms.keys().collect();
        whole.sort_by_key(|form| form.len());
        let depth_of = |depths: &[u32], state: StateID| depths.get(state.as_usize()).copied().unwrap_or(0);
        for form in whole {
            let state = run(form);
            if depth_of(&depths, state) == 0 {
                let open = depth_of(&depths, run(&form[1..]));
                if depths.len() <= state.as_usize() {
                    depths.resize(state.as_usize() + 1, 0);
                }
                depths[state.as_usize()] = open;
            }
        }
        let places = forms.into_values().collect();
        Ok(Some(Arc::new(Self { automaton, start, places, depths })))
    }

    pub(super) fn next(&self, state: StateID, byte: u8) -> StateID {
        self.automaton.next_state(Anchored::No, state, byte)
    }

    pub(super) fn is_match(&self, state: StateID) -> bool {
        self.automaton.is_special(state) && self.automaton.is_match(state)
    }

    pub(super) fn depth(&self, state: StateID) -> usize {
        self.depths.get(state.as_usize()).map_or(0, |depth| *depth as usize)
    }

    /// Returns the forms that end in a state: where each is masked, and its length.
    pub(super) fn ending_in(&self, state: StateID) -> impl Iterator<Item = (Where, usize)> {
        (0..self.automaton.match_len(state)).map(move |index| {
            let pattern = self.automaton.match_pattern(state, index);
            (self.places[pattern.as_usize()], self.automaton.pattern_len(pattern))
        })
    }
}
