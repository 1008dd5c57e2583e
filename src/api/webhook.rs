//! What a client says of a batch's webhook, read from JSON into the words of the domain.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::problem::Problem;
use super::schema;
use crate::domain::command::Rotation;
use crate::domain::headers::CustomHeaders;
use crate::domain::options::WebhookOptions;
use crate::domain::webhook::{EventKind, Format, Webhook};
use crate::runtime::Confidential;
use crate::signature::Secret;

/// Who is told of a job.
#[derive(Deserialize, JsonSchema)]
pub(super) struct NewWebhook {
    /// Absolute, `https` (`http` where configuration allows it), without user info and fragment.
    #[schemars(schema_with = "url")]
    url: String,
    /// Signs; never shown again. The configured global secret when left out.
    #[schemars(length(min = 1, max = 256))]
    secret: Option<String>,
    /// The total number of attempts; the configured default when left out.
    #[serde(default, deserialize_with = "schema::nearest")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 10))]
    max_retries: Option<i64>,
    /// Seconds for a whole attempt; the configured default when left out.
    #[serde(default, deserialize_with = "schema::nearest")]
    #[schemars(with = "Option<i64>", range(min = 5, max = 300))]
    timeout: Option<i64>,
    /// What it is told; all but `progress` when left out. `batch.completed` and the like are aliases.
    #[serde(default)]
    #[schemars(schema_with = "events")]
    events: Option<Vec<String>>,
    /// What the body is: `batch`, the default, or `event`.
    #[serde(default)]
    #[schemars(schema_with = "format")]
    format: Option<String>,
    /// Sent with every attempt, `Authorization` for example: at most 20, names and values of 4 KiB in all. The values are
    /// never shown again. Names that every attempt has anyway, or that HTTP needs, are refused.
    #[serde(default)]
    #[schemars(schema_with = "headers")]
    headers: Option<BTreeMap<String, String>>,
    /// Attempts in a second at most, to the destination; the configured limit when left out.
    #[serde(default, deserialize_with = "schema::nearest")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 1000))]
    rate_limit: Option<i64>,
    /// Seconds to wait after the first failed attempt, the second, …; the last one repeats. The configured schedule or backoff
    /// when left out.
    #[serde(default)]
    #[schemars(schema_with = "retry_schedule")]
    retry_schedule: Option<Vec<serde_json::Number>>,
}

/// Another secret for a batch's webhook.
#[derive(Deserialize, JsonSchema)]
pub(super) struct NewSecret {
    /// Signs from now on; never shown again.
    #[schemars(length(min = 1, max = 256))]
    secret: String,
    /// Seconds for which what signed before signs as well; a day when left out.
    #[serde(default, deserialize_with = "schema::nearest")]
    #[schemars(with = "Option<i64>", range(min = 0, max = 604_800))]
    overlap: Option<i64>,
}

fn url(_: &mut SchemaGenerator) -> Schema {
    // Not `format: uri`: what the WHATWG's URL standard repairs without changing where it leads is taken (`https://ä.example/`).
    let pattern = r"^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\\ ]+([/?][^#\\ ]*)?$";
    json_schema!({"type": "string", "pattern": pattern, "maxLength": 2048})
}

fn events(_: &mut SchemaGenerator) -> Schema {
    let names = EventKind::ALL.into_iter().flat_map(|kind| [kind.to_string(), format!("batch.{kind}")]);
    let names = names.collect::<Vec<_>>();
    json_schema!({"type": ["array", "null"], "minItems": 1, "items": {"type": "string", "enum": names}})
}

fn format(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "null"], "enum": ["batch", "event", null]})
}

fn headers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "null"], "maxProperties": 20, "propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"},
        "additionalProperties": {"type": "string", "pattern": "^[!-~]([ -~]*[!-~])?$"},
    })
}

fn retry_schedule(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["array", "null"], "minItems": 1, "maxItems": 9,
        "items": {"type": "integer", "minimum": 1, "maximum": 604_800},
    })
}

/// A webhook in the words of the domain.
pub(super) struct ReadWebhook {
    pub(super) webhook: Webhook,
    pub(super) options: WebhookOptions,
    /// What neither of these holds.
    pub(super) confidential: Confidential,
}

impl NewWebhook {
    pub(super) fn read(self) -> Result<ReadWebhook, Problem> {
        let secret = self.secret.map(secret).transpose()?;
        let webhook = Webhook {
            secret: None,
            max_retries: self.max_retries.map(nearest),
            timeout: self.timeout.map(nearest),
            events: self.events.map(|names| EventKind::parse_list(&names)).transpose()?,
            format: self.format.map_or(Ok(Format::default()), |name| Format::parse(&name))?,
            ..Webhook::to(self.url)
        };
        let seconds = |number: serde_json::Number| nearest(number.as_i64().unwrap_or(i64::MAX));
        let options = WebhookOptions {
            headers: None,
            rate_limit: self.rate_limit.map(nearest),
            retry_schedule: self.retry_schedule.map(|waits| waits.into_iter().map(seconds).collect()),
        };
        let headers = CustomHeaders::new(self.headers.unwrap_or_default())?;
        Ok(ReadWebhook { webhook, options, confidential: Confidential { secret, headers } })
    }
}

impl NewSecret {
    /// The secret, and the overlap in seconds.
    pub(super) fn read(self) -> Result<(Secret, u32), Problem> {
        Ok((
            secret(self.secret)?,
            self.overlap.map_or(Rotation::DEFAULT_OVERLAP, |given| u32::try_from(given).unwrap_or(u32::MAX)),
        ))
    }
}

fn secret(text: String) -> Result<Secret, Problem> {
    Secret::new(text).map_err(|error| {
        let message = format!("webhook.secret must be 1 to 256 characters: {error}");
        Problem::invalid("webhook.secret", "invalid_secret", message)
    })
}

/// The nearest number that the domain's type holds. What was out of it is out of the field's bounds all the same.
fn nearest(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(if number < 0 { 0 } else { u32::MAX })
}
