//! What a client says of a batch, read from JSON into the words of the domain.
//!
//! Only types are checked here, and what the domain never sees; bounds are the domain's, which names the field as well.

use serde_json::Value;

use super::fields::Fields;
use super::problem::Problem;
use crate::domain::id::JobId;
use crate::domain::job::{ExpiresAfter, JobError, JobSpec, Report, Status};
use crate::domain::webhook::{EventKind, Format, Webhook};
use crate::signature::Secret;

/// The body of `POST /v1/batches`.
pub(super) struct Registration {
    /// The client's own, or a new one.
    pub(super) id: JobId,
    pub(super) spec: JobSpec,
    /// The webhook's, which the specification does not hold.
    pub(super) secret: Option<Secret>,
    /// Where the client gave the webhook's URL: in `metadata.webhook_url`, if it is one of the seed's.
    pub(super) url_param: &'static str,
}

impl Registration {
    pub(super) fn read(body: Value) -> Result<Self, Problem> {
        Fields::read(body, "", Self::take)
    }

    fn take(fields: &mut Fields) -> Result<Self, Problem> {
        let id = match fields.text("id")? {
            Some(id) => JobId::new(&id).map_err(|error| Problem::invalid("id", "invalid_id", error.to_string()))?,
            None => new_id()?,
        };
        let defaults = JobSpec::default();
        let (webhook, secret) = fields.object("webhook", take_webhook)?.unzip();
        let mut spec = JobSpec {
            input_file_id: fields.text("input_file_id")?,
            endpoint: fields.text("endpoint")?.unwrap_or(defaults.endpoint),
            completion_window: fields.text("completion_window")?.unwrap_or(defaults.completion_window),
            metadata: fields.pairs("metadata")?.unwrap_or_default(),
            output_expires_after: fields.object("output_expires_after", take_expiry)?,
            priority: fields.integer("priority")?.map_or(0, |given| i8::try_from(given).unwrap_or(i8::MAX)),
            total: 0,
            webhook,
            report: take_report(fields)?,
        };
        // The number of requests is a part of the registration; a report of it would be one more event.
        spec.total = spec.report.total.take().unwrap_or(defaults.total);
        let url = spec.metadata.get("webhook_url").filter(|_| spec.webhook.is_none());
        let from_metadata = url.map(Webhook::to);
        let url_param = if from_metadata.is_some() { "metadata.webhook_url" } else { "webhook.url" };
        spec.webhook = spec.webhook.or(from_metadata);
        Ok(Self { id, spec, secret: secret.flatten(), url_param })
    }
}

fn new_id() -> Result<JobId, Problem> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(Problem::internal)?;
    JobId::new(&format!("batch_{:032x}", u128::from_be_bytes(random))).map_err(Problem::internal)
}

fn take_webhook(fields: &mut Fields) -> Result<(Webhook, Option<Secret>), Problem> {
    let Some(url) = fields.text("url")? else {
        return Err(Problem::invalid("webhook.url", "missing_field", "webhook.url is required"));
    };
    let secret = fields.text("secret")?.map(Secret::new).transpose().map_err(|error| {
        let message = format!("webhook.secret must be 1 to 256 characters: {error}");
        Problem::invalid("webhook.secret", "invalid_secret", message)
    })?;
    let webhook = Webhook {
        secret: None,
        max_retries: fields.integer("max_retries")?.map(nearest),
        timeout: fields.integer("timeout")?.map(nearest),
        events: fields.texts("events")?.map(|names| EventKind::parse_list(&names)).transpose()?,
        format: fields.text("format")?.map_or(Ok(Format::default()), |name| Format::parse(&name))?,
        ..Webhook::to(url)
    };
    Ok((webhook, secret))
}

/// The nearest number that the domain's type holds. What was out of it is out of the field's bounds all the same.
fn nearest(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(if number < 0 { 0 } else { u32::MAX })
}

fn take_expiry(fields: &mut Fields) -> Result<ExpiresAfter, Problem> {
    let (anchor, seconds) = (fields.text("anchor")?, fields.integer("seconds")?);
    if anchor.as_deref() != Some("created_at") {
        let message = "output_expires_after.anchor must be 'created_at'";
        return Err(Problem::invalid("output_expires_after.anchor", "invalid_anchor", message));
    }
    match seconds {
        Some(seconds) if seconds > 0 => Ok(ExpiresAfter { anchor: "created_at".into(), seconds }),
        _ => {
            let message = "output_expires_after.seconds must be a whole number from 1 on";
            Err(Problem::invalid("output_expires_after.seconds", "invalid_seconds", message))
        }
    }
}

/// The body of `PATCH /v1/batches/{id}`.
pub(super) fn read_report(body: Value) -> Result<Report, Problem> {
    Fields::read(body, "", take_report)
}

fn take_report(fields: &mut Fields) -> Result<Report, Problem> {
    let status = fields.text("status")?.map(|name| Status::parse(&name)).transpose()?;
    let counts = fields.object("request_counts", |counts| {
        Ok((counts.count("total")?, counts.count("completed")?, counts.count("failed")?))
    })?;
    let (total, completed, failed) = counts.unwrap_or_default();
    Ok(Report {
        status,
        total,
        completed,
        failed,
        output_file_id: fields.text("output_file_id")?,
        error_file_id: fields.text("error_file_id")?,
        errors: take_errors(fields)?,
    })
}

/// A list of errors, bare or in OpenAI's list object.
fn take_errors(fields: &mut Fields) -> Result<Option<Vec<JobError>>, Problem> {
    let Some(value) = fields.value("errors") else { return Ok(None) };
    let list = match value {
        Value::Array(list) => list,
        object => Fields::read(object, "errors", |fields| {
            if fields.text("object")?.is_some_and(|object| object != "list") {
                return Err(Problem::invalid("errors.object", "invalid_object", "errors.object must be 'list'"));
            }
            let missing = || Problem::invalid("errors.data", "missing_field", "errors.data is required");
            fields.list("data")?.ok_or_else(missing)
        })?,
    };
    let error = |(place, value)| Fields::read(value, format!("errors.data.{place}"), take_error);
    list.into_iter().enumerate().map(error).collect::<Result<_, _>>().map(Some)
}

fn take_error(fields: &mut Fields) -> Result<JobError, Problem> {
    Ok(JobError {
        code: fields.text("code")?,
        line: fields.integer("line")?,
        message: fields.text("message")?,
        param: fields.text("param")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: Value) -> Registration {
        Registration::read(body).map_err(|problem| problem.message).unwrap()
    }

    #[test]
    fn nothing_given_is_every_default() {
        let Registration { id, spec, secret, .. } = read(json!({}));
        assert_eq!((spec, secret), (JobSpec::default(), None));
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
            assert_eq!(read_report(body).map_err(|problem| problem.message).unwrap().errors, Some(expected.clone()));
        }
    }
}
