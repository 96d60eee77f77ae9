//! Reads untrusted JSON, and keeps only what is wanted of it in memory.

use std::{collections::HashMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The first items of a list. The others are passed over.
pub(crate) struct FirstItems<T, const N: usize> {
    pub(crate) items: Vec<T>,
    pub(crate) left_out: bool,
}

impl<T, const N: usize> Default for FirstItems<T, N> {
    fn default() -> Self {
        Self { items: Vec::new(), left_out: false }
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for FirstItems<T, N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reading<T, const N: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Reading<T, N> {
            type Value = FirstItems<T, N>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FirstItems<T, N>, A::Error> {
                let mut few = FirstItems::default();
                while few.items.len() < N {
                    let Some(item) = list.next_element()? else { return Ok(few) };
                    few.items.push(item);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    few.left_out = true;
                }
                Ok(few)
            }
        }
        from.deserialize_seq(Reading(PhantomData))
    }
}

/// The first values of an object, by their names. The others are passed over.
pub(crate) struct FirstValues<T, const N: usize>(pub(crate) HashMap<String, T>);

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for FirstValues<T, N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reading<T, const N: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Reading<T, N> {
            type Value = FirstValues<T, N>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<FirstValues<T, N>, A::Error> {
                let mut few = HashMap::new();
                while few.len() < N {
                    let Some((name, value)) = object.next_entry()? else { return Ok(FirstValues(few)) };
                    few.insert(name, value);
                }
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(FirstValues(few))
            }
        }
        from.deserialize_map(Reading(PhantomData))
    }
}

/// Reads a list one item after the other, so that only one is in memory.
pub(crate) fn for_each<'a, T: Deserialize<'a>>(list: &'a RawValue, each: impl FnMut(T)) -> serde_json::Result<()> {
    struct Reading<T, F>(F, PhantomData<T>);
    impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Reading<T, F> {
        type Value = ();

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
            while let Some(item) = list.next_element()? {
                (self.0)(item);
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_str(list.get()).deserialize_seq(Reading(each, PhantomData))
}

/// Returns the error in a part of a file, with its line in the file.
pub(crate) fn problem(file: &str, part: &str, error: &serde_json::Error) -> String {
    let before = part.as_ptr().addr().saturating_sub(file.as_ptr().addr()).min(file.len());
    let line = file.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count() + error.line();
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    format!("{what} at line {line}")
}
