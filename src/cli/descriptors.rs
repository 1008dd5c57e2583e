//! File descriptors: how many there are, and who may have them.
//!
//! When they run out, whatever needs the next one fails, and that is not always what can best do without: a webhook's
//! attempt, or a file of the log. So the API's connections and the attempts in flight are bounded by what there is.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::transport::ureq::IDLE_CONNECTIONS;

/// For the log's files, the runtimes' own, standard streams, and whoever is at the door without a seat.
const OWN: usize = 64;

/// Raises the soft limit to the hard one, which is what it is there for. Gives the limit, if there is one.
pub(super) fn raise() -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of file descriptors could not be raised");
            current
        }
    };
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// How many connections and workers there may be under `limit`, of those that are wanted.
///
/// Attempts have what they need, and their idle connections too, before the API has; but half of all is the API's.
pub(super) fn share(limit: usize, connections: usize, workers: usize) -> (usize, usize) {
    let all = limit.saturating_sub(OWN);
    let outbound = workers.saturating_add(IDLE_CONNECTIONS);
    let connections = connections.min(all.saturating_sub(outbound).max(all / 2)).max(1);
    // An idle connection to a receiver goes when another needs its place, but not at once.
    let workers = workers.min(all.saturating_sub(connections) / 2).max(1);
    (connections, workers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_is_shared() {
        assert_eq!(share(1_048_576, 2048, 256), (2048, 256));
        assert_eq!(share(4416, 2048, 256), (2048, 256));
        assert_eq!(share(4096, 2048, 256), (2016, 256));
        assert_eq!(share(1024, 2048, 256), (480, 240));
        assert_eq!(share(256, 2048, 256), (96, 48));
        assert_eq!(share(1024, 100, 32), (100, 32));
        assert_eq!(share(0, 2048, 256), (1, 1));
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise(), hard.map(|hard| usize::try_from(hard).unwrap()));
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }
}
