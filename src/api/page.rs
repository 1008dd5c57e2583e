//! A page of a list, in OpenAI's form.

use schemars::JsonSchema;
use serde::Serialize;

/// A page of a list, newest first.
#[derive(Serialize, JsonSchema)]
pub(super) struct Page<T> {
    /// Always `list`.
    object: &'static str,
    data: Vec<T>,
    /// The id of the first entry.
    first_id: Option<String>,
    /// The id of the last entry: what `after` takes.
    last_id: Option<String>,
    /// Whether there are more after these.
    has_more: bool,
}

impl<T> Page<T> {
    /// The first `limit` of `data`, which has one more when there are more.
    pub(super) fn of(mut data: Vec<T>, limit: usize, id: impl Fn(&T) -> String) -> Self {
        let has_more = data.len() > limit;
        data.truncate(limit);
        Self { object: "list", first_id: data.first().map(&id), last_id: data.last().map(&id), data, has_more }
    }
}
