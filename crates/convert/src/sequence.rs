//! The steps of a pipeline of Woodpecker or Drone in a row: their order, the image that most of them have, and the
//! stand-ins for those that were lost.

use longshore_pipeline::tree::Node;

use super::{
    draft::{Map, Note},
    foreign::text,
};

/// A step before the job's image is chosen.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) image: Option<String>,
    pub(super) after: Vec<String>,
    pub(super) body: Map,
    pub(super) runs: bool,
    /// A step that makes values for it.
    pub(super) before: Option<Map>,
    /// The stand-in after it, if it never runs and others come after it.
    pub(super) behind: Option<Map>,
}

/// A step that could not be carried over.
pub(super) struct LostStep {
    pub(super) name: String,
    pub(super) after: Vec<String>,
    pub(super) note: Note,
    /// The stand-in for it if others come after it.
    pub(super) stand_in: Option<Map>,
}

/// Words in the names and images of steps that notify somebody or store something: the steps after them work without
/// them.
const NOT_DEPENDED_ON: &[&str] = &[
    "slack",
    "discord",
    "telegram",
    "matrix",
    "webhook",
    "notif",
    "email",
    "mattermost",
    "gotify",
    "cache",
    "codecov",
    "coverage",
    "report",
    "comment",
];

/// Whether nothing that comes after a step depends on it. `name` is its key, where it stands in a mapping.
pub(super) fn is_independent(name: Option<&str>, node: &Node) -> bool {
    let text_of =
        |key: &str| super::entry(node, key).and_then(|entry| text(&entry.value)).unwrap_or_default().to_lowercase();
    let names = [name.unwrap_or_default().to_lowercase(), text_of("name"), text_of("image")];
    text_of("failure") == "ignore" || NOT_DEPENDED_ON.iter().any(|word| names.iter().any(|name| name.contains(word)))
}

/// Chooses the image of the job: the one that most scripts run in, the first one if several do, or else the first image
/// of all.
pub(super) fn choose_image(parts: &[Result<Step, LostStep>]) -> Option<String> {
    let steps = || parts.iter().filter_map(|part| part.as_ref().ok());
    let count = |image: &String| steps().filter(|step| step.runs && step.image.as_ref() == Some(image)).count();
    let scripts: Vec<&String> = steps().filter(|step| step.runs).filter_map(|step| step.image.as_ref()).collect();
    let most = scripts.iter().map(|image| count(image)).max();
    let chosen = scripts.into_iter().find(|image| Some(count(image)) == most);
    chosen.or_else(|| steps().find_map(|step| step.image.as_ref())).cloned()
}

/// Sorts the steps so that each comes after those that it depends on. Keeps the written order if that is impossible.
pub(super) fn order(parts: &[Result<Step, LostStep>]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..parts.len()).collect();
    let mut ordered = Vec::new();
    let name = |at: usize| match &parts[at] {
        Ok(step) => step.name.as_str(),
        Err(lost) => lost.name.as_str(),
    };
    while !left.is_empty() {
        let free = left.iter().position(|at| {
            let after = match &parts[*at] {
                Ok(step) => &step.after,
                Err(lost) => &lost.after,
            };
            after.iter().all(|before| left.iter().all(|other| other == at || name(*other) != before.as_str()))
        });
        ordered.push(left.remove(free.unwrap_or(0)));
    }
    ordered
}
