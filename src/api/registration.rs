//! What a client says of a batch, read from JSON into the words of the domain.
//!
//! Here are types and names only; bounds are the domain's, which names the field as well. The bounds that stand here as
//! attributes are for the description: whatever is outside of them is refused. What a schema can't say (a sum of lengths,
//! a time of at most ten years) it leaves open, and the text beside it says. `tests/python/fuzz_api.py` holds the two
//! together.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::problem::Problem;
use super::schema;
use super::webhook::{NewSecret, NewWebhook, ReadWebhook};
use crate::domain::id::JobId;
use crate::domain::job::{ExpiresAfter, JobError, JobSpec, Report, Status};
use crate::domain::webhook::Webhook;
use crate::runtime::Confidential;
use crate::signature::Secret;

/// A job to be registered. What its worker reports may be given at once: a job that is done already is registered and
/// reported in one write.
#[derive(Deserialize, JsonSchema)]
pub(super) struct NewBatch {
    /// Its id; without one the server makes one. The same id with the same body again answers the same batch.
    #[serde(default)]
    #[schemars(schema_with = "id")]
    id: Option<String>,
    /// The file that it works on.
    #[schemars(length(min = 1, max = 512))]
    input_file_id: Option<String>,
    /// What its requests are for; `/v1/chat/completions` when left out.
    #[schemars(length(min = 1, max = 512))]
    endpoint: Option<String>,
    /// How long it may take, at most ten years: a number and `s`, `m`, `h` or `d`; `24h` when left out.
    #[serde(default)]
    #[schemars(schema_with = "window")]
    completion_window: Option<String>,
    /// The client's own pairs: at most 16, keys of 64, values of 512 characters.
    #[serde(default)]
    #[schemars(schema_with = "metadata")]
    metadata: Option<BTreeMap<String, String>>,
    /// Stored and shown.
    output_expires_after: Option<OutputExpiresAfter>,
    /// -1, 0 or 1: stored and shown.
    #[serde(default, deserialize_with = "schema::nearest")]
    #[schemars(with = "Option<i64>", range(min = -1, max = 1))]
    priority: Option<i64>,
    /// Who is told.
    webhook: Option<NewWebhook>,
    #[serde(flatten)]
    report: NewReport,
}

schema::body!(NewBatch);

/// What a job's worker reports. What is left out stays as it is.
#[derive(Default, Deserialize, JsonSchema)]
struct NewReport {
    /// Where the job stands now.
    #[serde(default)]
    #[schemars(schema_with = "status")]
    status: Option<String>,
    /// How many requests it has, and how many of them ended how.
    request_counts: Option<NewCounts>,
    /// The file with the results.
    #[schemars(length(min = 1, max = 512))]
    output_file_id: Option<String>,
    /// The file with the errors.
    #[schemars(length(min = 1, max = 512))]
    error_file_id: Option<String>,
    /// What went wrong with the job as a whole; at most 4 KiB.
    errors: Option<NewErrors>,
}

/// What is changed of a batch: what its worker reports, and its webhook's secret. What is left out stays as it is.
#[derive(Default, Deserialize, JsonSchema)]
pub(super) struct Change {
    /// Gives the webhook another secret.
    webhook: Option<NewSecret>,
    #[serde(flatten)]
    report: NewReport,
}

schema::body!(Change);

impl Change {
    /// The report, and the new secret with its overlap in seconds.
    pub(super) fn read(self) -> Result<(Report, Option<(Secret, u32)>), Problem> {
        Ok((self.report.try_into()?, self.webhook.map(NewSecret::read).transpose()?))
    }
}

/// How many requests a job has, and how many of them ended how.
#[derive(Deserialize, JsonSchema)]
struct NewCounts {
    /// All of them.
    #[schemars(range(max = u64::MAX))]
    total: Option<u64>,
    /// Ended well.
    #[schemars(range(max = u64::MAX))]
    completed: Option<u64>,
    /// Ended badly.
    #[schemars(range(max = u64::MAX))]
    failed: Option<u64>,
}

/// How long a job's output is kept.
#[derive(Deserialize, JsonSchema)]
struct OutputExpiresAfter {
    /// What the time counts from: `created_at`.
    #[schemars(schema_with = "anchor")]
    anchor: String,
    /// Seconds.
    #[serde(deserialize_with = "schema::nearest")]
    #[schemars(with = "i64", range(min = 1))]
    seconds: Option<i64>,
}

/// A list of errors, bare or in OpenAI's list object.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum NewErrors {
    Bare(#[schemars(length(max = 256))] Vec<NewError>),
    List(ErrorList),
}

/// OpenAI's list object.
#[derive(Deserialize, JsonSchema)]
struct ErrorList {
    /// `list`.
    #[serde(default)]
    #[schemars(schema_with = "list")]
    object: Option<String>,
    /// The errors.
    #[schemars(length(max = 256))]
    data: Vec<NewError>,
}

/// One of a job's errors. All of them together take at most 4 KiB, with 16 bytes for each.
#[derive(Deserialize, JsonSchema)]
struct NewError {
    /// A code that programs know.
    #[schemars(length(max = 4080))]
    code: Option<String>,
    /// The line of the input file.
    #[serde(default, deserialize_with = "schema::nearest")]
    #[schemars(with = "Option<i64>")]
    line: Option<i64>,
    /// What was wrong.
    #[schemars(length(max = 4080))]
    message: Option<String>,
    /// The field that was wrong.
    #[schemars(length(max = 4080))]
    param: Option<String>,
}

fn id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "null"], "pattern": "^[A-Za-z0-9_-]{1,64}$"})
}

fn window(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "null"], "pattern": "^[0-9]{1,9}[smhd]$"})
}

fn metadata(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "null"], "maxProperties": 16, "propertyNames": {"maxLength": 64},
        "additionalProperties": {"type": "string", "maxLength": 512},
    })
}

fn status(_: &mut SchemaGenerator) -> Schema {
    let names = Status::ALL.map(Status::as_str).map(Some).into_iter().chain([None]).collect::<Vec<_>>();
    json_schema!({"type": ["string", "null"], "enum": names})
}

fn anchor(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["created_at"]})
}

fn list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "null"], "enum": ["list", null]})
}

/// A registration in the words of the domain.
pub(super) struct Registration {
    /// The client's own, or a new one.
    pub(super) id: JobId,
    pub(super) spec: JobSpec,
    /// The webhook's, which the specification does not hold.
    pub(super) confidential: Confidential,
    /// Where the client gave the webhook's URL: in `metadata.webhook_url`, if it is one of the seed's.
    pub(super) url_param: &'static str,
}

impl TryFrom<NewBatch> for Registration {
    type Error = Problem;

    fn try_from(new: NewBatch) -> Result<Self, Problem> {
        let id = match new.id {
            Some(id) => JobId::new(&id).map_err(|error| Problem::invalid("id", "invalid_id", error.to_string()))?,
            None => new_id()?,
        };
        let defaults = JobSpec::default();
        let (webhook, options, confidential) = match new.webhook.map(NewWebhook::read).transpose()? {
            Some(ReadWebhook { webhook, options, confidential }) => (Some(webhook), options, confidential),
            None => (None, defaults.options, Confidential::none()),
        };
        let mut spec = JobSpec {
            input_file_id: new.input_file_id,
            endpoint: new.endpoint.unwrap_or(defaults.endpoint),
            completion_window: new.completion_window.unwrap_or(defaults.completion_window),
            metadata: new.metadata.unwrap_or_default(),
            output_expires_after: new.output_expires_after.map(OutputExpiresAfter::read).transpose()?,
            priority: new.priority.map_or(0, |given| i8::try_from(given).unwrap_or(i8::MAX)),
            total: 0,
            webhook,
            options,
            report: new.report.try_into()?,
        };
        // The number of requests is a part of the registration; a report of it would be one more event.
        spec.total = spec.report.total.take().unwrap_or(defaults.total);
        let url = spec.metadata.get("webhook_url").filter(|_| spec.webhook.is_none());
        let from_metadata = url.map(Webhook::to);
        let url_param = if from_metadata.is_some() { "metadata.webhook_url" } else { "webhook.url" };
        spec.webhook = spec.webhook.or(from_metadata);
        Ok(Self { id, spec, confidential, url_param })
    }
}

fn new_id() -> Result<JobId, Problem> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(Problem::internal)?;
    JobId::new(&format!("batch_{:032x}", u128::from_be_bytes(random))).map_err(Problem::internal)
}

impl OutputExpiresAfter {
    fn read(self) -> Result<ExpiresAfter, Problem> {
        if self.anchor != "created_at" {
            let message = "output_expires_after.anchor must be 'created_at'";
            return Err(Problem::invalid("output_expires_after.anchor", "invalid_anchor", message));
        }
        match self.seconds {
            Some(seconds) if seconds > 0 => Ok(ExpiresAfter { anchor: self.anchor, seconds }),
            _ => {
                let message = "output_expires_after.seconds must be a whole number from 1 on";
                Err(Problem::invalid("output_expires_after.seconds", "invalid_seconds", message))
            }
        }
    }
}

impl TryFrom<NewReport> for Report {
    type Error = Problem;

    fn try_from(new: NewReport) -> Result<Self, Problem> {
        let counts = new.request_counts.unwrap_or(NewCounts { total: None, completed: None, failed: None });
        Ok(Self {
            status: new.status.map(|name| Status::parse(&name)).transpose()?,
            total: counts.total,
            completed: counts.completed,
            failed: counts.failed,
            output_file_id: new.output_file_id,
            error_file_id: new.error_file_id,
            errors: new.errors.map(NewErrors::read).transpose()?,
        })
    }
}

impl NewErrors {
    fn read(self) -> Result<Vec<JobError>, Problem> {
        let errors = match self {
            Self::Bare(errors) => errors,
            Self::List(ErrorList { object, .. }) if object.as_deref().is_some_and(|object| object != "list") => {
                return Err(Problem::invalid("errors.object", "invalid_object", "errors.object must be 'list'"));
            }
            Self::List(ErrorList { data, .. }) => data,
        };
        let error = |NewError { code, line, message, param }| JobError { code, line, message, param };
        Ok(errors.into_iter().map(error).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(body: Value) -> Registration {
        let new = schema::read::<NewBatch>(body).and_then(Registration::try_from);
        new.map_err(|problem| problem.message).unwrap()
    }

    #[test]
    fn nothing_given_is_every_default() {
        let Registration { id, spec, confidential, .. } = read(json!({}));
        assert_eq!(spec, JobSpec::default());
        assert!(confidential.secret.is_none() && confidential.headers.is_empty());
        assert_eq!((id.as_str().len(), id.as_str().starts_with("batch_")), (38, true));
        assert_ne!(id, read(json!({})).id);
    }

    #[test]
    fn a_total_is_registered_and_the_rest_reported() {
        let spec = read(json!({"request_counts": {"total": 5, "completed": 2}, "status": "in_progress"})).spec;
        assert_eq!((spec.total, spec.report.total, spec.report.completed), (5, None, Some(2)));
        assert_eq!(spec.report.status, Some(Status::InProgress));
    }

    #[test]
    fn the_seed_gives_its_url_in_metadata() {
        let metadata = json!({"webhook_url": "https://a.example/"});
        let registration = read(json!({"metadata": metadata}));
        assert_eq!(registration.spec.webhook, Some(Webhook::to("https://a.example/")));
        assert!(
            registration.url_param == "metadata.webhook_url" && registration.spec.metadata.contains_key("webhook_url")
        );
        let registration = read(json!({"metadata": metadata, "webhook": {"url": "https://b.example/"}}));
        assert_eq!(registration.spec.webhook.unwrap().url, "https://b.example/");
    }

    #[test]
    fn errors_are_read_bare_and_in_a_list_object() {
        let errors = json!([{"code": "c", "line": 3, "message": null}]);
        let expected = vec![JobError { code: Some("c".into()), line: Some(3), ..JobError::default() }];
        for body in [json!({"errors": errors}), json!({"errors": {"object": "list", "data": errors}})] {
            let read = schema::read::<Change>(body).and_then(Change::read);
            assert_eq!(read.map_err(|problem| problem.message).unwrap().0.errors, Some(expected.clone()));
        }
    }
}
