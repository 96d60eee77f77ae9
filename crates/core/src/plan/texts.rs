//! The texts of a plan: visits those that are filled in later, those that a program gets to see, and the images.

use super::{JobPlan, StepPlan};
use crate::{
    expression::{Expression, Refers},
    template::Template,
};

impl StepPlan {
    /// Changes every text of the step, until `change` fails.
    pub fn change<E>(&mut self, change: &mut dyn FnMut(&mut Template) -> Result<(), E>) -> Result<(), E> {
        let texts = self
            .run
            .iter_mut()
            .chain(self.env.values_mut())
            .chain(&mut self.working_directory)
            .chain(&mut self.image)
            .chain(self.with.values_mut())
            .chain(&mut self.entrypoint)
            .chain(&mut self.command);
        for text in texts {
            change(text)?;
        }
        Ok(())
    }

    /// The texts that become a program's, its arguments, its place or its image.
    pub fn scripts_mut(&mut self) -> impl Iterator<Item = &mut Template> {
        self.run
            .iter_mut()
            .chain(&mut self.working_directory)
            .chain(&mut self.image)
            .chain(&mut self.entrypoint)
            .chain(&mut self.command)
    }

    /// What its texts and its condition ask for.
    pub fn refers(&self) -> impl Iterator<Item = Refers> {
        self.run
            .iter()
            .chain(self.env.values())
            .chain(&self.working_directory)
            .chain(&self.image)
            .chain(self.with.values())
            .chain(&self.entrypoint)
            .chain(&self.command)
            .map(Template::refers)
            .chain(self.condition.iter().map(Expression::refers))
    }

    /// The script as it is known so far, for people; empty for a plugin.
    #[must_use]
    pub fn shown_script(&self) -> String {
        self.run.as_ref().map(Template::shown).unwrap_or_default()
    }
}

impl JobPlan {
    /// Changes every text of the job and of its steps, until `change` fails.
    pub fn change<E>(&mut self, change: &mut dyn FnMut(&mut Template) -> Result<(), E>) -> Result<(), E> {
        self.change_own(change)?;
        for text in self.outputs.values_mut() {
            change(text)?;
        }
        for step in &mut self.steps {
            step.change(change)?;
        }
        Ok(())
    }

    /// The first place that would become script, or an image's name, of text that the pipeline's author did not write, and what would
    /// be put there. Nothing in a plan whose file was judged by this version; one of an earlier version may have such places.
    #[must_use]
    pub fn foreign_in_scripts(&self) -> Option<(&'static str, String)> {
        fn of<'t>(
            place: &'static str,
            texts: impl IntoIterator<Item = &'t Template>,
        ) -> Option<(&'static str, String)> {
            texts.into_iter().find_map(|text| Some((place, text.foreign()?)))
        }
        let of_services = || self.services.iter();
        let of_steps = || self.steps.iter();
        of("image", self.images())
            .or_else(|| of("entrypoint", of_services().flat_map(|service| &service.entrypoint)))
            .or_else(|| of("command", of_services().flat_map(|service| &service.command)))
            .or_else(|| of("run", of_steps().filter_map(|step| step.run.as_ref())))
            .or_else(|| of("working-directory", of_steps().filter_map(|step| step.working_directory.as_ref())))
            .or_else(|| of("entrypoint", of_steps().flat_map(|step| &step.entrypoint)))
            .or_else(|| of("command", of_steps().flat_map(|step| &step.command)))
    }

    /// The names of all images: the job's, its services', its steps'.
    pub fn images(&self) -> impl Iterator<Item = &Template> {
        [&self.image]
            .into_iter()
            .chain(self.services.iter().map(|service| &service.image))
            .chain(self.steps.iter().filter_map(|step| step.image.as_ref()))
    }

    /// Changes the texts that the job itself needs: neither its steps' nor its outputs, which are filled in by the agent.
    pub fn change_own<E>(&mut self, change: &mut dyn FnMut(&mut Template) -> Result<(), E>) -> Result<(), E> {
        change(&mut self.image)?;
        for text in self.env.values_mut() {
            change(text)?;
        }
        for service in &mut self.services {
            change(&mut service.image)?;
            let texts = service.env.values_mut().chain(&mut service.entrypoint).chain(&mut service.command);
            for text in texts {
                change(text)?;
            }
        }
        for cache in &mut self.cache {
            for text in cache.paths.iter_mut().chain([&mut cache.key]).chain(&mut cache.fallback) {
                change(text)?;
            }
        }
        for artifact in &mut self.artifacts {
            for text in artifact.paths.iter_mut().chain([&mut artifact.name]) {
                change(text)?;
            }
        }
        for text in &mut self.reports.junit {
            change(text)?;
        }
        Ok(())
    }
}
