//! How much of a list is shown.

use super::client::Left;

/// The flags of every command that lists.
#[derive(Debug, clap::Args)]
pub(super) struct Extent {
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// As many as there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Print each as the API's object, one a line
    #[arg(long)]
    pub(super) json: bool,
}

impl Extent {
    /// How many, at most.
    pub(super) const fn most(&self) -> usize {
        if self.all { usize::MAX } else { self.limit as usize }
    }

    /// Tells a person that there are more, or none.
    pub(super) fn tell(&self, left: &Left) {
        match (left.seen, left.has_more, left.total) {
            _ if self.json => {}
            (0, ..) => anstream::eprintln!("none"),
            (seen, true, Some(total)) => anstream::eprintln!("{seen} of {total}; --all shows the others, --limit more"),
            (_, true, None) => anstream::eprintln!("there are more; --all shows them, --limit more of them"),
            (_, false, _) => {}
        }
    }
}
