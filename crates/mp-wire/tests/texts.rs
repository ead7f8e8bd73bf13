//! What types say of their failures, which the format has no place for.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeMap;
use std::error::Error as _;

use mp_wire::{decode, encode};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A colour that is told by name, and refuses others.
#[derive(Debug)]
struct Colour(&'static str);

impl Serialize for Colour {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            "none" => Err(serde::ser::Error::custom("`none` is no colour")),
            name => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Colour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Colour;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a colour")
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Colour, E> {
                match name {
                    "red" => Ok(Colour("red")),
                    other => Err(E::custom(format_args!("`{other}` is no colour"))),
                }
            }
        }
        deserializer.deserialize_str(Name)
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Picture {
    Plain(Colour),
    Striped { colours: Vec<Option<Colour>> },
    Mapped(BTreeMap<u8, (Colour,)>),
}

/// What a user's code says of its failure, however deep inside.
#[test]
fn errors_of_a_type_keep_their_text() {
    let pictures = |name| {
        let mapped = BTreeMap::from([(1, (Colour("red"),)), (2, (Colour(name),))]);
        let colours = vec![None, Some(Colour("red")), Some(Colour(name))];
        [Picture::Plain(Colour(name)), Picture::Striped { colours }, Picture::Mapped(mapped)]
    };
    let cause = |error: mp_wire::Error| error.source().unwrap().to_string();
    for picture in pictures("none") {
        assert_eq!(cause(encode(&picture).unwrap_err()), "`none` is no colour");
        let with = mp_wire::encode_with(&[picture], |_, _| ());
        assert_eq!(cause(with.unwrap_err()), "`none` is no colour");
    }
    for picture in pictures("blue") {
        let message = encode(&picture).unwrap();
        assert_eq!(cause(message.decode::<Picture>().unwrap_err()), "`blue` is no colour");
        // An error of the format after it has its own.
        assert!(!cause(decode::<Picture>(&[0], &[]).unwrap_err()).contains("blue"));
    }
    for picture in pictures("red") {
        assert!(encode(&picture).unwrap().decode::<Picture>().is_ok());
    }
    // That of an error that somebody puts into words of their own, and those of serde.
    struct Wrapped(Colour);
    impl Serialize for Wrapped {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let failed = |error| serde::ser::Error::custom(format_args!("wrapped: {error}"));
            self.0.serialize(serializer).map_err(failed)
        }
    }
    let wrapped = encode(&Wrapped(Colour("none"))).unwrap_err();
    assert_eq!(cause(wrapped), "wrapped: `none` is no colour");
    let unknown = decode::<Picture>(&[9], &[]).unwrap_err();
    assert!(cause(unknown).starts_with("invalid value: integer `9`, expected variant index"));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<u8>,
    list: Vec<u8>,
    #[serde(skip)]
    cache: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Seen {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        by: Vec<u8>,
        id: u8,
    },
}

/// What lies behind it would be taken for it.
#[test]
fn a_field_that_is_skipped_now_and_then_is_an_error_and_no_other_value() {
    let row = |limit| Row { limit, list: vec![3, 1, 7], cache: 0 };
    let message = encode(&row(Some(5))).unwrap();
    assert_eq!(message.decode::<Row>().unwrap(), row(Some(5)));
    let text = encode(&row(None)).unwrap_err().source().unwrap().to_string();
    assert!(text.starts_with("the field `limit` is skipped"), "{text}");
    let seen = |by| Event::Seen { by, id: 1 };
    assert_eq!(encode(&seen(vec![1])).unwrap().decode::<Event>().unwrap(), seen(vec![1]));
    assert!(encode(&seen(vec![])).unwrap_err().source().unwrap().to_string().contains("`by`"));
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(u64),
    Text(String),
}

#[test]
fn a_type_that_asks_what_comes_next_is_told_that_nobody_says() {
    for either in [Either::Number(1), Either::Text("a".to_owned())] {
        let error = encode(&either).unwrap().decode::<Either>().unwrap_err();
        assert!(error.source().unwrap().to_string().contains("untagged"), "{error:?}");
    }
}
