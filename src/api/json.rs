//! JSON, read more strictly than JSON parsers do: what two readers could understand differently is refused.
//!
//! A key that comes twice, a NUL, text that is not UTF-8 and nesting without end are never meant, and each of them has
//! been a way past somebody's checks.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::problem::Problem;

/// How deep arrays and objects may be nested.
const MAX_DEPTH: usize = 64;

/// Whole numbers below it are exact in an `i64`.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// Reads a whole body.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let malformed = |why: &dyn fmt::Display| {
        Problem::malformed("malformed_json", format!("The body is not acceptable JSON: {why}"))
    };
    let text = std::str::from_utf8(bytes)
        .map_err(|error| malformed(&format_args!("it is not UTF-8 from byte {} on", error.valid_up_to())))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: MAX_DEPTH }.deserialize(&mut reader);
    value.and_then(|value| reader.end().map(|()| value)).map_err(|error| malformed(&error))
}

/// Reads one value, in which `depth` more levels may be nested.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let deeper = self.depth.checked_sub(1).map(|depth| Self { depth });
        deeper.ok_or_else(|| E::custom(format_args!("it is nested deeper than {MAX_DEPTH} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

fn checked<E: Error>(text: String) -> Result<String, E> {
    if text.contains('\0') { Err(E::custom("a text contains NUL")) } else { Ok(text) }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // JSON has one kind of numbers: 39.0 is 39, and some clients write it so.
        if value.fract() == 0.0 && value.abs() < TWO_TO_63 {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and within bounds")]
            return Ok((value as i64).into());
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        checked(value).map(Value::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let key = checked(key)?;
            if object.contains_key(&key) {
                let shown: String = key.chars().take(64).collect();
                return Err(A::Error::custom(format_args!("the key {shown:?} comes twice")));
            }
            object.insert(key, entries.next_value_seed(deeper)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        let problem = parse(bytes).unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.code), (400, "malformed_json"));
        problem.message
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for (bytes, why) in [
            (&b"{\"a\": 1, \"b\": {\"a\": 1, \"a\": 2}}"[..], "the key \"a\" comes twice at line 1 column 26"),
            (b"{\"a\": \"x\\u0000\"}", "a text contains NUL at line 1 column 15"),
            (b"{\"a\\u0000\": 1}", "a text contains NUL"),
            (b"{\"a\": \"\xff\"}", "it is not UTF-8 from byte 7 on"),
            (b"{\"a\": \"\\ud800\"}", "line 1 column"),
            (b"{\n\"a\" 1}", "expected `:` at line 2 column 5"),
            (b"{} {}", "trailing characters at line 1 column 4"),
            (b"\xef\xbb\xbf{}", "expected value at line 1 column 1"),
            (b"[1e999]", "number out of range"),
            (b"", "EOF"),
        ] {
            let message = refused(bytes);
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn whole_numbers_may_have_a_fraction_of_zero() {
        let numbers = parse(b"[39.0, -1e3, -0.0, 9.3e18, 0.5]").unwrap();
        assert_eq!(numbers, serde_json::json!([39, -1000, 0, 9.3e18, 0.5]));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(parse(nested(64).as_bytes()).is_ok());
        assert!(refused(nested(65).as_bytes()).contains("nested deeper than 64 levels"));
        assert!(refused("[{\"a\":".repeat(50_000).as_bytes()).contains("nested deeper"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_what_was_written(text in "[^\0]*", number: i64, flag: bool) {
            let value = serde_json::json!({"text": text, "list": [number, flag, null, 0.5], "object": {"a": {}}});
            assert_eq!(parse(value.to_string().as_bytes()).unwrap(), value);
        }
    }
}
