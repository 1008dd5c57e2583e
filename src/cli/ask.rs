//! Asking before what can't be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use super::Failed;

/// The flag of commands that ask.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Consent {
    /// Do it without asking; needed where there is no terminal to ask on
    #[arg(long, short)]
    pub(super) yes: bool,
}

impl Consent {
    /// Whether a question would be answered: to be found out before anything is prepared.
    pub(super) fn check(self, what: &str) -> Result<(), Failed> {
        if self.yes || io::stdin().is_terminal() && io::stderr().is_terminal() {
            return Ok(());
        }
        Err(Failed::Usage(format!(
            "{what} asks first, and there is no terminal to ask on: give --yes to do it unasked"
        )))
    }

    /// Asks; an error when the answer is not yes.
    pub(super) fn ask(self, question: &str) -> Result<(), Failed> {
        if self.yes {
            return Ok(());
        }
        let mut to = anstream::stderr().lock();
        write!(to, "{question} [y/N] ")?;
        to.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if matches!(&*answer.trim().to_lowercase(), "y" | "yes") {
            return Ok(());
        }
        Err(Failed::Run("nothing was done".into()))
    }
}
