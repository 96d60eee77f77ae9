//! A job: one container on one workspace.

use std::rc::Rc;

use super::super::{
    code::Code,
    fields::Fields,
    findings::Findings,
    image as image_name, keys, limits,
    model::{Combination, Job},
    scalar::{boolean, check_name, duration, filled, items},
    source::Place,
    template::{Scope, Template},
    tree::{Entry, Kind, Node},
};
use super::{Defaults, env, env::Env, matrix, step, wanted};

/// What stands around a job. `None` where it is wrong itself.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) defaults: Option<&'a Defaults>,
    pub(super) pipeline_env: Option<&'a Env>,
}

/// A job that is sound in itself; its needs are judged with all others'.
pub(super) fn read(entry: &Entry, context: &Context<'_>, findings: &mut Findings<'_>) -> Option<Job> {
    let named = check_name(&entry.key, entry.key_place, "a job's name", findings);
    let fields = Fields::of(&entry.value, &keys::JOB, findings)?;

    let expanded = fields.entry("matrix").map(|entry| matrix::read(entry, findings));
    // With a broken matrix nobody knows what its values are: the rest is read as if it named whatever is asked for.
    let broken_matrix = matches!(expanded, Some(None));
    let expanded = expanded.flatten();
    let single = [Combination::default()];
    let matrix_keys: &[String] = expanded.as_ref().map_or(&[], |expanded| &expanded.keys);
    let combinations: &[Combination] = expanded.as_ref().map_or(&single, |expanded| &expanded.combinations);
    let scope = if broken_matrix { Scope::BrokenMatrix } else { Scope::Job { matrix: matrix_keys } };

    let image = match (fields.get("image"), context.defaults) {
        (Some(node), _) => image(node, scope, combinations, findings),
        (None, Some(Defaults { image: Some(image), .. })) => Some(image.clone()),
        (None, Some(_)) if fields.is_misnamed("image", &keys::JOB) || fields.entry("use").is_some() => None,
        (None, Some(_)) => {
            findings.error(
                Code::MissingImage,
                entry.key_place,
                format!("the job `{}` has no `image`", entry.key),
                "write `image: debian:12` at the job, or in `defaults` for all jobs".to_owned(),
            );
            None
        }
        (None, None) => None,
    };
    let needs_read = match fields.get("needs") {
        Some(node) => check_needs(node, findings),
        None => Some(Vec::new()),
    };
    let env = match fields.get("env") {
        Some(node) => env::read(node, scope, findings),
        None => Some(Env::default()),
    };
    let timeout = wanted(fields.get("timeout").map(|node| duration(node, "`timeout`", findings)));
    let checkout = match fields.get("checkout") {
        Some(node) => checkout(node, findings),
        None => Some(true),
    };
    let steps = steps(&fields, entry, scope, context, findings);

    if !named || broken_matrix {
        return None;
    }
    let (env, steps, defaults) = (env?, steps?, context.defaults?);
    let longest_value = combinations.iter().flat_map(|c| &c.values).map(|(_, value)| value.len()).max().unwrap_or(0);
    let size = env.size(longest_value)
        + context.pipeline_env.map_or(0, |env| env.size(0))
        + steps.iter().map(|step| step.size(longest_value)).sum::<usize>();
    if size > limits::JOB_BYTES {
        findings.error(
            Code::TooMuchText,
            entry.key_place,
            format!("the scripts and variables of this job have more than {} KiB", limits::JOB_BYTES / 1024),
            "put long scripts into files of the repository and run those".to_owned(),
        );
        return None;
    }
    Some(Job {
        name: entry.key.clone(),
        image: image?,
        needs: needs_read?,
        env: env.into_variables(),
        steps: steps.into_iter().map(|read| read.step).collect(),
        timeout_ms: timeout?.or(defaults.timeout_ms).unwrap_or(limits::DEFAULT_TIMEOUT_MS),
        checkout: checkout?,
        combinations: combinations.to_vec(),
    })
}

/// An image's name, which has to be one for every combination.
pub(super) fn image(
    node: &Node,
    scope: Scope<'_>,
    combinations: &[Combination],
    findings: &mut Findings<'_>,
) -> Option<Template> {
    if matches!(node.kind, Kind::Map(_)) {
        findings.error(
            Code::WrongType,
            node.place,
            "`image` is a text, and this is a mapping",
            "write only the name: `image: debian:12`".to_owned(),
        );
        return None;
    }
    let text = filled(node, "`image`", findings)?;
    let template = Template::read(text, node.place, scope, findings)?;
    let help = "write it like `debian:12` or `registry.example/team/tool:1`";
    if template.is_fixed() {
        if let Some(complaint) = image_name::complaint(text) {
            findings.error(Code::BadImage, node.place, complaint, help.to_owned());
            return None;
        }
        return Some(template);
    }
    for combination in combinations {
        let name = template.render(combination);
        if let Some(complaint) = image_name::complaint(&name) {
            let message =
                format!("for the combination{} the image would be `{name}`: {complaint}", combination.suffix());
            findings.error(Code::BadImage, node.place, message, help.to_owned());
            return None;
        }
    }
    Some(template)
}

/// The needs of a job as written, with their places; what is no name is left out.
pub(super) fn needs(job: &Node) -> Vec<(&str, Place)> {
    let Kind::Map(entries) = &job.kind else { return Vec::new() };
    entries.iter().find(|entry| entry.key == "needs").map_or_else(Vec::new, |entry| listed_needs(&entry.value))
}

fn listed_needs(node: &Rc<Node>) -> Vec<(&str, Place)> {
    items(node)
        .iter()
        .filter_map(|item| match &item.kind {
            Kind::Scalar(scalar) if !scalar.is_null() => Some((scalar.text.as_str(), item.place)),
            Kind::Scalar(_) | Kind::List(_) | Kind::Map(_) => None,
        })
        .collect()
}

fn check_needs(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Vec<String>> {
    let list = items(node);
    if list.len() > limits::JOBS {
        let message = format!("a job can need at most {} others", limits::JOBS);
        findings.error(Code::TooManyJobs, node.place, message, None);
        return None;
    }
    if matches!(node.kind, Kind::Map(_)) {
        findings.error(
            Code::WrongType,
            node.place,
            "`needs` is a list of jobs, and this is a mapping",
            "write `needs: [lint, build]`".to_owned(),
        );
        return None;
    }
    let mut sound = true;
    for item in list {
        sound &= filled(item, "an entry of `needs`", findings).is_some();
    }
    let mut names: Vec<String> = Vec::new();
    for (need, place) in listed_needs(node) {
        if names.iter().any(|name| name == need) {
            let message = format!("`{need}` is listed twice");
            findings.warning(Code::RepeatedNeed, place, message, "once is enough: take this one out".to_owned());
        } else {
            names.push(need.to_owned());
        }
    }
    sound.then_some(names)
}

fn checkout(node: &Node, findings: &mut Findings<'_>) -> Option<bool> {
    if matches!(node.kind, Kind::Map(_)) {
        findings.error(
            Code::NotSupportedYet,
            node.place,
            "options of `checkout` are not supported yet",
            "write `checkout: false` for an empty workspace, or leave `checkout` out".to_owned(),
        );
        return None;
    }
    boolean(node, "`checkout`", findings)
}

fn steps(
    fields: &Fields<'_>,
    job: &Entry,
    scope: Scope<'_>,
    context: &Context<'_>,
    findings: &mut Findings<'_>,
) -> Option<Vec<step::Read>> {
    let Some(entry) = fields.entry("steps") else {
        // A template's job has its steps there; that it is not supported yet has been said.
        if fields.entry("use").is_none() && !fields.is_misnamed("steps", &keys::JOB) {
            findings.error(
                Code::MissingKey,
                job.key_place,
                format!("the job `{}` has no `steps`", job.key),
                "write `steps: [{ run: make test }]`".to_owned(),
            );
        }
        return None;
    };
    let Kind::List(items) = &entry.value.kind else {
        findings.error(
            Code::WrongType,
            entry.value.place,
            format!("`steps` is a list, and this is {}", entry.value.describe()),
            "write each step on a line of its own: `- run: make test`".to_owned(),
        );
        return None;
    };
    if items.is_empty() {
        let message = format!("the job `{}` has no step", job.key);
        findings.error(Code::Empty, entry.value.place, message, "write at least one: `- run: make test`".to_owned());
        return None;
    }
    if items.len() > limits::STEPS {
        findings.error(
            Code::TooManySteps,
            entry.key_place,
            format!("{} steps, and a job has at most {}", items.len(), limits::STEPS),
            "let one script do the work of several steps".to_owned(),
        );
        return None;
    }
    let read: Vec<Option<step::Read>> =
        items.iter().map(|item| step::read(item, scope, context.defaults, findings)).collect();
    read.into_iter().collect()
}
