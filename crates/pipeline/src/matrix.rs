//! Expands the axes, `include` and `exclude` of a matrix into combinations, with the semantics of GitHub Actions.

use super::model::Combination;

/// A matrix as written; every value is a text.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    pub(super) axes: Vec<(String, Vec<String>)>,
    pub(super) include: Vec<Vec<(String, String)>>,
    pub(super) exclude: Vec<Vec<(String, String)>>,
}

impl Matrix {
    /// Returns the number of combinations of the axes; `usize::MAX`, which is more than any limit, if the number
    /// overflows.
    pub(super) fn product(&self) -> usize {
        if self.axes.is_empty() {
            return 0;
        }
        self.axes.iter().fold(1_usize, |product, (_, values)| product.saturating_mul(values.len()))
    }

    /// Returns the names of all values: first the axes, then the names that only `include` has.
    pub(super) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.axes.iter().map(|(name, _)| name.clone()).collect();
        for (name, _) in self.include.iter().flatten() {
            if !keys.contains(name) {
                keys.push(name.clone());
            }
        }
        keys
    }

    /// Returns all combinations; the last axis changes fastest. The caller keeps `product` within its limit.
    ///
    /// 1. Combine every value of every axis with every value of the others.
    /// 2. Remove the combinations that an entry of `exclude` describes.
    /// 3. Add each entry of `include` to all combinations whose axes it does not contradict; if there are none, it
    ///    becomes a combination of its own.
    pub(super) fn combinations(&self) -> Vec<Combination> {
        let mut all: Vec<Vec<(String, String)>> = if self.axes.is_empty() { Vec::new() } else { vec![Vec::new()] };
        for (name, values) in &self.axes {
            all = all
                .into_iter()
                .flat_map(|combination| {
                    values.iter().map(move |value| {
                        let mut longer = combination.clone();
                        longer.push((name.clone(), value.clone()));
                        longer
                    })
                })
                .collect();
        }
        all.retain(|combination| !self.exclude.iter().any(|entry| entry.iter().all(|pair| combination.contains(pair))));

        let is_axis = |key: &str| self.axes.iter().any(|(name, _)| name == key);
        let originals = all.len();
        for entry in &self.include {
            let mut added = false;
            for combination in all.iter_mut().take(originals) {
                if entry.iter().all(|pair| !is_axis(&pair.0) || combination.contains(pair)) {
                    for (key, value) in entry {
                        match combination.iter_mut().find(|(name, _)| name == key) {
                            Some(pair) => pair.1.clone_from(value),
                            None => combination.push((key.clone(), value.clone())),
                        }
                    }
                    added = true;
                }
            }
            if !added {
                all.push(entry.clone());
            }
        }

        let keys = self.keys();
        all.into_iter()
            .map(|mut values| {
                values.sort_by_key(|(name, _)| keys.iter().position(|key| key == name));
                Combination { values }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        text.split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn shown(matrix: &Matrix) -> Vec<String> {
        matrix
            .combinations()
            .iter()
            .map(|c| c.values.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn include_means_what_it_means_on_github() {
        // The example from GitHub's documentation.
        let matrix = Matrix {
            axes: vec![
                ("fruit".to_owned(), vec!["apple".to_owned(), "pear".to_owned()]),
                ("animal".to_owned(), vec!["cat".to_owned(), "dog".to_owned()]),
            ],
            include: [
                "color=green",
                "color=pink animal=cat",
                "fruit=apple shape=circle",
                "fruit=banana",
                "fruit=banana animal=cat",
            ]
            .map(pairs)
            .to_vec(),
            exclude: Vec::new(),
        };
        assert_eq!(
            shown(&matrix),
            [
                "fruit=apple animal=cat color=pink shape=circle",
                "fruit=apple animal=dog color=green shape=circle",
                "fruit=pear animal=cat color=pink",
                "fruit=pear animal=dog color=green",
                "fruit=banana",
                "fruit=banana animal=cat",
            ]
        );
    }

    #[test]
    fn exclude_takes_every_combination_that_it_describes() {
        let matrix = Matrix {
            axes: vec![
                ("a".to_owned(), vec!["1".to_owned(), "2".to_owned()]),
                ("b".to_owned(), vec!["x".to_owned(), "y".to_owned()]),
            ],
            include: Vec::new(),
            exclude: ["a=1 b=x", "b=y"].map(pairs).to_vec(),
        };
        assert_eq!(shown(&matrix), ["a=2 b=x"]);
    }
}
