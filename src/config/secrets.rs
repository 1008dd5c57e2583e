//! API keys and the webhook secrets: given by themselves or in a file of their own, and never shown.

use toml::Value;

use super::layers::{Source, exposed, read_text};
use super::options::{Given, Hidden, Options};
use super::{ConfigError, Line, MASK, Values};

/// What an API key begins with that is given as its hash, which is no secret.
const HASHED_PREFIX: &str = "sha256:";

impl Options {
    /// Whether a secret itself stands here.
    pub(super) fn holds_secret(&self) -> bool {
        self.api_keys.as_ref().is_some_and(hold_secret)
            || [&self.webhook_secret, &self.webhook_secret_previous, &self.api_key]
                .into_iter()
                .any(|secret| is_some(secret.as_ref()))
    }
}

impl Values {
    /// The API keys; none when the text is empty.
    pub(super) fn api_keys(&mut self) -> Result<Vec<Hidden>, ConfigError> {
        let by = |o: &Options| (o.api_keys.clone(), o.api_keys_file.clone());
        let (found, source, origin) = self.secret("api_keys", by)?;
        let keys: Vec<_> =
            found.iter().flat_map(|text| keys(text.expose())).map(|key| Hidden::from(key.to_owned())).collect();
        let value = Value::Array(keys.iter().map(|_| MASK.into()).collect());
        self.lines.push(Line { name: "api_keys", value, source, origin });
        Ok(keys)
    }

    /// The webhook secret; none when the text is empty.
    pub(super) fn webhook_secret(&mut self) -> Result<Option<Hidden>, ConfigError> {
        self.one_secret("webhook_secret", |o| (o.webhook_secret.clone(), o.webhook_secret_file.clone()))
    }

    /// The one before it; none when the text is empty.
    pub(super) fn webhook_secret_previous(&mut self) -> Result<Option<Hidden>, ConfigError> {
        let by = |o: &Options| (o.webhook_secret_previous.clone(), o.webhook_secret_previous_file.clone());
        self.one_secret("webhook_secret_previous", by)
    }

    /// The key that clients present; none when the text is empty.
    pub(super) fn api_key(&mut self) -> Result<Option<Hidden>, ConfigError> {
        self.one_secret("api_key", |o| (o.api_key.clone(), o.api_key_file.clone()))
    }

    fn one_secret(
        &mut self,
        name: &'static str,
        by: impl Fn(&Options) -> (Option<Hidden>, Option<Given>),
    ) -> Result<Option<Hidden>, ConfigError> {
        let (secret, source, origin) = self.secret(name, by)?;
        let value = if secret.is_some() { MASK } else { "" }.into();
        self.lines.push(Line { name, value, source, origin });
        Ok(secret)
    }

    /// The text that counts of a secret, where it is from, and what it is called there.
    fn secret(
        &mut self,
        name: &str,
        by: impl Fn(&Options) -> (Option<Hidden>, Option<Given>),
    ) -> Result<(Option<Hidden>, Source, String), ConfigError> {
        let mut given = self.layers.given.iter().map(|(source, options)| (*source, by(options)));
        let Some((source, found)) = given.find(|(_, (text, file))| text.is_some() || file.is_some()) else {
            return Ok((None, Source::Default, self.layers.origin(name, Source::Default)));
        };
        let below = given.any(|(_, (text, file))| is_some(text.as_ref()) || file.is_some());
        let (origin, of_file) = (self.layers.origin(name, source), self.layers.origin(&format!("{name}_file"), source));
        let (text, origin) = match found {
            (Some(_), Some(_)) => {
                return Err(ConfigError::Secret { origin, why: format!("it is given twice: {of_file} is there, too") });
            }
            (text, None) => (text, origin),
            (None, Some(Given(path))) => {
                let (text, mode) = from_file(&path, &of_file)?;
                if name != "api_keys" || hold_secret(&text) {
                    self.layers.warnings.extend(exposed(&path, mode));
                }
                (Some(text), of_file)
            }
        };
        let text = text.filter(|text| !text.expose().is_empty());
        if text.is_none() && below {
            self.layers.warnings.push(format!("{origin} is empty, and takes the place of what another source gives"));
        }
        if text.as_ref().is_some_and(|text| keys(text.expose()).any(|part| part == MASK)) {
            let why = format!("{MASK} is what a secret is shown as; put the secret itself in its place");
            return Err(ConfigError::Secret { origin, why });
        }
        Ok((text, source, origin))
    }
}

fn is_some(text: Option<&Hidden>) -> bool {
    text.is_some_and(|text| !text.expose().is_empty())
}

/// Whether one of these keys is given as itself.
fn hold_secret(api_keys: &Hidden) -> bool {
    keys(api_keys.expose()).any(|key| !key.is_empty() && !key.starts_with(HASHED_PREFIX))
}

/// Keys are divided by commas, in a file also by lines.
fn keys(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n']).map(str::trim)
}

/// A container's secret: the file's text without its last line's end, and the file's mode. A file that was named and is
/// empty is a mistake.
fn from_file(path: &str, origin: &str) -> Result<(Hidden, u32), ConfigError> {
    let (text, mode) = read_text(path, origin)?;
    let text = text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(ConfigError::Secret { origin: origin.to_owned(), why: format!("{path} is empty") });
    }
    Ok((text.to_owned().into(), mode))
}
