//! What a job is registered with, and what its worker reports.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::options::WebhookOptions;
use super::rejection::Invalid;
use super::status::Status;
use super::webhook::Webhook;

/// How many requests a job has, and how many of them ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
pub struct RequestCounts {
    /// All of them.
    pub total: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended badly.
    pub failed: u64,
}

/// One of a job's errors, in OpenAI's form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
pub struct JobError {
    /// A code that programs know.
    pub code: Option<String>,
    /// The line of the input file.
    pub line: Option<i64>,
    /// What was wrong.
    pub message: Option<String>,
    /// The field that was wrong.
    pub param: Option<String>,
}

/// How long a job's output is kept, in OpenAI's form: stored and shown, not acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
pub struct ExpiresAfter {
    /// What the time counts from, `created_at`.
    pub anchor: String,
    /// Seconds.
    pub seconds: i64,
}

/// What a job is registered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The file that the job works on.
    pub input_file_id: Option<String>,
    /// What the job's requests are for, `/v1/chat/completions`.
    pub endpoint: String,
    /// How long the job may take: a number and `s`, `m`, `h` or `d`.
    pub completion_window: String,
    /// The client's own pairs.
    pub metadata: BTreeMap<String, String>,
    /// Stored and shown.
    pub output_expires_after: Option<ExpiresAfter>,
    /// -1, 0 or 1: stored and shown.
    pub priority: i8,
    /// How many requests the job has, where that is known.
    pub total: u64,
    /// Who is told.
    pub webhook: Option<Webhook>,
    /// What else the webhook is configured with. It has an event of its own, and no place in the bytes of a registration.
    #[serde(skip)]
    pub options: WebhookOptions,
    /// What is reported in the same write: a job may be registered when it is under way or done.
    pub report: Report,
}

impl Default for JobSpec {
    fn default() -> Self {
        Self {
            input_file_id: None,
            endpoint: "/v1/chat/completions".into(),
            completion_window: "24h".into(),
            metadata: BTreeMap::new(),
            output_expires_after: None,
            priority: 0,
            total: 0,
            webhook: None,
            options: WebhookOptions::default(),
            report: Report::default(),
        }
    }
}

/// The longest text that a field holds, in characters.
const TEXT_CHARS: usize = 512;

impl JobSpec {
    /// Checks every field.
    ///
    /// # Errors
    /// Names the first field that is out of its bounds.
    pub fn check(&self, allow_http: bool) -> Result<(), Invalid> {
        check_text("input_file_id", self.input_file_id.as_deref())?;
        check_text("endpoint", Some(&self.endpoint))?;
        self.window()?;
        if !(-1..=1).contains(&self.priority) {
            return Err(Invalid::new("priority", "invalid_priority", "priority is -1, 0 or 1"));
        }
        if let Some(after) = &self.output_expires_after {
            check_text("output_expires_after", Some(&after.anchor))?;
        }
        self.check_metadata()?;
        self.report.check()?;
        match &self.webhook {
            Some(webhook) => webhook.check(allow_http)?,
            None if self.options.is_empty() => {}
            None => return Err(Invalid::new("webhook.url", "missing_field", "webhook.url is required")),
        }
        self.options.check()
    }

    fn check_metadata(&self) -> Result<(), Invalid> {
        let wrong = |message: &str| Err(Invalid::new("metadata", "invalid_metadata", message));
        if self.metadata.len() > 16 {
            return wrong("metadata has at most 16 pairs");
        }
        for (key, value) in &self.metadata {
            if key.chars().count() > 64 || value.chars().count() > TEXT_CHARS {
                return wrong("a metadata key has at most 64 characters, a value at most 512");
            }
        }
        Ok(())
    }

    /// The completion window as a time.
    ///
    /// # Errors
    /// When it is not a positive number and `s`, `m`, `h` or `d`, or longer than ten years.
    pub fn window(&self) -> Result<Duration, Invalid> {
        let invalid = || {
            let message = "completion_window is a number and 's', 'm', 'h' or 'd', such as 24h, and at most 3650d";
            Invalid::new("completion_window", "invalid_completion_window", message)
        };
        let unit = self.completion_window.chars().last().ok_or_else(invalid)?;
        let seconds_per_unit = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            _ => return Err(invalid()),
        };
        let digits = &self.completion_window[..self.completion_window.len() - 1];
        if digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let seconds = digits.parse::<u64>().map_err(|_| invalid())? * seconds_per_unit;
        if (1..=3650 * 86400).contains(&seconds) { Ok(Duration::from_secs(seconds)) } else { Err(invalid()) }
    }
}

/// A specification with its options: the form of it in rows.
pub(super) mod whole {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{JobSpec, WebhookOptions};

    pub fn serialize<S: Serializer>(spec: &JobSpec, to: S) -> Result<S::Ok, S::Error> {
        (spec, &spec.options).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<JobSpec, D::Error> {
        let (spec, options) = <(JobSpec, WebhookOptions)>::deserialize(from)?;
        Ok(JobSpec { options, ..spec })
    }
}

fn check_text(param: &'static str, text: Option<&str>) -> Result<(), Invalid> {
    match text {
        Some(text) if text.chars().count() > TEXT_CHARS => {
            Err(Invalid::new(param, "too_long", format!("{param} has at most {TEXT_CHARS} characters")))
        }
        Some("") => Err(Invalid::new(param, "empty", format!("{param} must not be empty; leave it out instead"))),
        _ => Ok(()),
    }
}

/// What a worker reports. What is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Where the job stands now.
    pub status: Option<Status>,
    /// How many requests it has.
    pub total: Option<u64>,
    /// How many ended well.
    pub completed: Option<u64>,
    /// How many ended badly.
    pub failed: Option<u64>,
    /// The file with the results.
    pub output_file_id: Option<String>,
    /// The file with the errors.
    pub error_file_id: Option<String>,
    /// What went wrong with the job as a whole.
    pub errors: Option<Vec<JobError>>,
}

/// The most that a job's errors take, in bytes: an event and a row have to fit in 64 KiB with everything else in them.
const ERRORS_BYTES: usize = 4 * 1024;

impl Report {
    /// A report of a status alone.
    #[must_use]
    pub fn of(status: Status) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks every field.
    ///
    /// # Errors
    /// Names the first field that is out of its bounds.
    pub fn check(&self) -> Result<(), Invalid> {
        check_text("output_file_id", self.output_file_id.as_deref())?;
        check_text("error_file_id", self.error_file_id.as_deref())?;
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let size = |error: &JobError| 16 + text(&error.code) + text(&error.message) + text(&error.param);
        if self.errors.iter().flatten().map(size).sum::<usize>() > ERRORS_BYTES {
            let message = "errors take more than 4 KiB; put the rest into the file that error_file_id names";
            return Err(Invalid::new("errors", "too_long", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read() {
        let window = |text: &str| JobSpec { completion_window: text.into(), ..JobSpec::default() }.window();
        assert_eq!(window("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(window("30m"), Ok(Duration::from_mins(30)));
        assert_eq!(window("7d"), Ok(Duration::from_hours(7 * 24)));
        for bad in ["", "h", "0h", "-1h", "1w", "24", "1.5h", "9999999999s", "3651d", "+1h", "1ü"] {
            assert!(window(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn metadata_is_bounded() {
        let with = |pairs: usize, key: usize, value: usize| {
            let metadata = (0..pairs).map(|i| (format!("{i:0key$}"), "ß".repeat(value))).collect();
            JobSpec { metadata, ..JobSpec::default() }.check(false).is_ok()
        };
        assert!(with(16, 64, 512));
        assert!(!with(17, 64, 512) && !with(1, 65, 1) && !with(1, 1, 513));
    }
}
