//! Headers of a webhook's own, such as `Authorization`. Their values are secrets: they are never shown, and events carry an
//! id only.

use std::fmt;

use super::rejection::Invalid;

/// The most headers.
const MOST: usize = 20;

/// The most that names and values take, in bytes.
const BYTES: usize = 4 * 1024;

/// How much of a name a message repeats, in bytes.
const SHOWN: usize = 64;

/// What stands in a value's place.
const MASK: &str = "********";

/// A shorter piece of a value is not looked for, in bytes: it tells nothing, and may be a part of anything.
const PIECE: usize = 4;

/// Names that are not taken: what HTTP itself needs (RFC 9110, section 7.6.1, and RFC 9112), what every attempt carries,
/// and what would have the answer come in a coding that is not read.
const REFUSED: [&str; 12] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "keep-alive",
    "user-agent",
    "accept-encoding",
];

/// Beginnings of names that are not taken.
const REFUSED_PREFIXES: [&str; 3] = ["proxy-", "webhook-", "x-webhook-"];

/// Headers that were checked: lower-case names, each once, in their order.
///
/// It has no `Display`, and its `Debug` says how many there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CustomHeaders(Vec<(String, String)>);

impl CustomHeaders {
    /// No headers.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Takes at most 20 headers of 4 KiB in all. A name is an HTTP token, and none of those that every attempt has anyway; a
    /// value is visible ASCII with spaces inside.
    ///
    /// # Errors
    /// Names the header that can't be taken, and never its value.
    pub fn new(given: impl IntoIterator<Item = (String, String)>) -> Result<Self, Invalid> {
        let mut headers = Vec::new();
        for (name, value) in given {
            let name = name.to_ascii_lowercase();
            check_name(&name)?;
            check_value(&name, &value)?;
            headers.push((name, value));
        }
        headers.sort_unstable();
        if let Some(pair) = headers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(wrong(&pair[0].0, "it is given twice; the case of letters does not count"));
        }
        let bytes = headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if headers.len() > MOST || bytes > BYTES {
            let message = format!("webhook.headers: at most {MOST} headers, names and values of 4 KiB in all");
            return Err(Invalid::new("webhook.headers", "invalid_header", message));
        }
        Ok(Self(headers))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// `text` without the values, where it repeats them: receivers echo what they were sent, and what they say is recorded
    /// and shown. Found are whole values, what follows a value's last space (the token after `Bearer`), and the beginning of
    /// either at the end of the text, which may have been cut there.
    #[must_use]
    pub fn concealed(&self, text: String) -> String {
        let credential = |value: &'_ str| value.rfind(' ').map(|space| space + 1);
        let whole = self.iter().map(|(_, value)| value);
        let ends = self.iter().filter_map(|(_, value)| credential(value).map(|start| &value[start..]));
        let mut pieces: Vec<&str> = whole.chain(ends).filter(|piece| piece.len() >= PIECE).collect();
        pieces.sort_unstable_by_key(|piece| std::cmp::Reverse(piece.len()));
        pieces.into_iter().fold(text, |text, piece| {
            let mut text = if text.contains(piece) { text.replace(piece, MASK) } else { text };
            let cut = (PIECE..piece.len()).rev().find(|length| text.ends_with(&piece[..*length]));
            if let Some(length) = cut {
                text.truncate(text.len() - length);
                text.push_str(MASK);
            }
            text
        })
    }

    /// The bytes that are kept, `name: value` in lines: the same headers have the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|(name, value)| [name, ": ", value, "\n"]).flat_map(str::bytes).collect()
    }

    /// What [`to_bytes`](Self::to_bytes) gave the bytes of; `None` when they are no such bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let lines = std::str::from_utf8(bytes).ok()?.lines();
        let pairs = lines.map(|line| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())));
        Self::new(pairs.collect::<Option<Vec<_>>>()?).ok()
    }
}

impl fmt::Debug for CustomHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomHeaders({} …)", self.0.len())
    }
}

/// Only as much of a name is repeated as can be one: what follows may be a value that went astray.
fn wrong(name: &str, why: &str) -> Invalid {
    let token = name.bytes().take(SHOWN).take_while(|byte| is_token(*byte)).count();
    let message = format!("webhook.headers: '{}' can't be sent: {why}", &name[..token]);
    Invalid::new("webhook.headers", "invalid_header", message)
}

fn check_name(name: &str) -> Result<(), Invalid> {
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(wrong(name, "a name is made of letters, digits and !#$%&'*+-.^_`|~"));
    }
    if REFUSED.contains(&name) || REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(wrong(name, "every attempt has its own, or HTTP needs it"));
    }
    Ok(())
}

/// An empty value is refused with the others: it mostly is a variable of the client's that was not set.
fn check_value(name: &str, value: &str) -> Result<(), Invalid> {
    let is_trimmed = !value.is_empty() && !value.starts_with(' ') && !value.ends_with(' ');
    if is_trimmed && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(wrong(name, "a value is visible ASCII, with spaces only inside"))
}

/// RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<CustomHeaders, Invalid> {
        CustomHeaders::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn names_are_lower_case_and_in_their_order() {
        let headers = of(&[("X-Tenant", "a b"), ("Authorization", "Bearer x:y==")]).unwrap();
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("authorization", "Bearer x:y=="), ("x-tenant", "a b")]);
        assert_eq!(headers.to_bytes(), b"authorization: Bearer x:y==\nx-tenant: a b\n");
        assert_eq!(CustomHeaders::from_bytes(&headers.to_bytes()), Some(headers));
        assert_eq!(CustomHeaders::from_bytes(b""), Some(CustomHeaders::none()));
        assert_eq!((CustomHeaders::from_bytes(b"x"), CustomHeaders::from_bytes(b"\xff: x")), (None, None));
    }

    #[test]
    fn what_every_attempt_has_is_refused_in_whatever_case() {
        let prefixed = ["Proxy-Authorization", "webhook-id", "Webhook-Signature", "X-Webhook-Event", "x-webhook-"];
        for name in REFUSED.into_iter().chain(prefixed) {
            for name in [name.to_owned(), name.to_ascii_uppercase()] {
                let refused = of(&[(&name, "must-never")]).unwrap_err();
                assert_eq!((refused.param, refused.code), ("webhook.headers", "invalid_header"));
                assert!(refused.message.contains(&format!("'{}'", name.to_ascii_lowercase())), "{refused}");
            }
        }
        for fine in ["Authorization", "Cookie", "X-Webhook", "webhook", "X-Proxy-Id", "hosts", "Accept"] {
            assert!(of(&[(fine, "v")]).is_ok(), "{fine}");
        }
    }

    #[test]
    fn a_header_that_is_none_is_named_and_its_value_is_not() {
        for (name, value, shown) in [
            ("", "must-never", "''"),
            ("X Y", "must-never", "'x'"),
            ("Authorization: Bearer must-never", "v", "'authorization'"),
            ("X-Ä", "must-never", "'x-'"),
            ("X-A", "", "'x-a'"),
            ("X-A", " must-never", "'x-a'"),
            ("X-A", "must-never ", "'x-a'"),
            ("X-A", "must-never\r\nHost: b", "'x-a'"),
            ("X-A", "must-never\n", "'x-a'"),
            ("X-A", "must-never\t", "'x-a'"),
            ("X-A", "must-never-ü", "'x-a'"),
            ("X-A", "must-never\0", "'x-a'"),
        ] {
            let refused = of(&[(name, value)]).unwrap_err();
            assert!(refused.message.contains(shown) && !refused.message.contains("must-never"), "{refused}");
        }
        let twice = of(&[("x-a", "must-never"), ("X-A", "must-never")]).unwrap_err();
        assert!(twice.message.contains("'x-a'") && twice.message.contains("twice"), "{twice}");
        assert_eq!(format!("{:?}", of(&[("x-a", "must-never")]).unwrap()), "CustomHeaders(1 …)");
    }

    #[test]
    fn what_a_receiver_repeats_of_them_is_concealed() {
        let headers = of(&[("Authorization", "Bearer token-1"), ("X-A", "token-1-and-more"), ("X-B", "abc")]).unwrap();
        for (said, recorded) in [
            ("fine, abc", "fine, abc"),
            ("{\"authorization\": \"Bearer token-1\"}", "{\"authorization\": \"********\"}"),
            ("token-1, token-1-and-more, token-1", "********, ********, ********"),
            ("cut: Bearer tok", "cut: ********"),
            ("cut: token-", "cut: ********"),
            ("cut: token-1-and", "cut: ********"),
            ("tok", "tok"),
            ("ü", "ü"),
            ("", ""),
        ] {
            assert_eq!(headers.concealed(said.to_owned()), recorded, "{said}");
        }
        assert_eq!(CustomHeaders::none().concealed("token-1".into()), "token-1");
    }

    #[test]
    fn their_number_and_size_are_bounded() {
        let many = |count: usize| CustomHeaders::new((0..count).map(|n| (format!("x-{n}"), "v".into())));
        assert!(many(20).is_ok() && many(21).is_err());
        let long = |bytes: usize| of(&[("x", &"v".repeat(bytes - 1))]);
        assert!(long(4096).is_ok() && long(4097).is_err());
    }
}
