//! What a demonstration has to show, and whether it did.

use super::Stage;
use crate::cli::Failed;

/// Claims, each with whether it held.
#[derive(Debug, Default)]
pub(super) struct Checks(Vec<(&'static str, bool)>);

impl Checks {
    pub(super) fn that(&mut self, claim: &'static str, holds: bool) {
        self.0.push((claim, holds));
    }

    /// Prints every claim; an error when one did not hold.
    pub(super) fn conclude(self, stage: Stage) -> Result<(), Failed> {
        self.0.iter().try_for_each(|(claim, holds)| stage.check(claim, *holds))?;
        match self.0.iter().filter(|(_, holds)| !holds).count() {
            0 => Ok(()),
            failed => Err(Failed::Run(format!("{failed} of {} things did not happen as they should", self.0.len()))),
        }
    }
}
