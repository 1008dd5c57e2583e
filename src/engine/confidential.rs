//! Secrets and headers on their way: past the log into a place of their own, and from there into attempts.

use super::Engine;
use super::exchange::Confidential;
use crate::domain::command::{Command, Rotation};
use crate::domain::event::Event;
use crate::domain::headers::CustomHeaders;
use crate::domain::id::SecretId;
use crate::domain::job::{Job, JobSpec};
use crate::log::LogError;
use crate::secrets::Secrets;
use crate::signature::Secret;

impl Engine {
    /// Writes ids into the command, so that events carry those and never what they name.
    pub(super) fn name_confidential(&self, command: &mut Command, Confidential { secret, headers }: &Confidential) {
        let named = secret.as_ref().map(|secret| self.secrets.id(secret.expose().as_bytes()));
        match command {
            Command::Register { spec: JobSpec { webhook: Some(webhook), options, .. }, .. } => {
                webhook.secret = named.or(webhook.secret);
                if !headers.is_empty() {
                    options.headers = Some(self.secrets.id(&headers.to_bytes()));
                }
            }
            Command::Report { rotation: Some(Rotation { secret, .. }), .. } => *secret = named.or(*secret),
            _ => {}
        }
    }

    /// Drafts the rows that keep what an event names.
    pub(super) fn keep_confidential(&mut self, event: &Event, Confidential { secret, headers }: &Confidential) {
        if let (Event::JobRegistered { .. } | Event::SecretRotated { .. }, Some(secret)) = (event, secret) {
            self.draft.rows.extend(self.secrets.keep(secret.expose().as_bytes()));
        }
        if let (Event::WebhookConfigured { .. }, false) = (event, headers.is_empty()) {
            self.draft.rows.extend(self.secrets.keep(&headers.to_bytes()));
        }
    }

    /// What signs for a job's webhook at this moment, newest first.
    pub(super) fn signers(&self, job: &Job) -> Result<Vec<Secret>, LogError> {
        let global = &self.settings.global_secrets;
        let Some(newest) = job.secret() else { return Ok(global.clone()) };
        let mut signers = vec![self.secret(newest)?];
        match job.signing.filter(|signing| self.last_now < signing.former_until).map(|signing| signing.former) {
            Some(Some(former)) => signers.push(self.secret(former)?),
            Some(None) => signers.extend(global.iter().cloned()),
            None => {}
        }
        Ok(signers)
    }

    fn secret(&self, id: SecretId) -> Result<Secret, LogError> {
        let damaged = |why: String| LogError::corrupt(format!("{id:?}"), why);
        let text = String::from_utf8(self.kept(id)?).map_err(|_| damaged("it is no text".into()))?;
        Secret::new(text).map_err(|error| damaged(error.to_string()))
    }

    /// What a job's webhook is sent besides our own headers.
    pub(super) fn headers(&self, job: &Job) -> Result<CustomHeaders, LogError> {
        let Some(id) = job.spec.options.headers else { return Ok(CustomHeaders::none()) };
        let damaged = || LogError::corrupt(format!("{id:?}"), "these are no headers");
        CustomHeaders::from_bytes(&self.kept(id)?).ok_or_else(damaged)
    }

    fn kept(&self, id: SecretId) -> Result<Vec<u8>, LogError> {
        Secrets::find(&*self.reader, id)?.ok_or_else(|| LogError::corrupt(format!("{id:?}"), "it is missing"))
    }
}
