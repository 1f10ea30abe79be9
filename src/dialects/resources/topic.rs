//! Where a resource is in the one namespace of topics, and which resource a topic is.
//!
//! `$resource`, organization, project, world, type and whole id, each behind a separator that none of them can hold. The world
//! is empty unless the resource is of one; everything up to the project, with the separator behind it, is the *group*.

use super::name::{Kind, Resource};
use crate::message::TopicName;

const SEPARATOR: char = '\u{1f}';

/// The name of a project's group.
pub fn group(organization: &str, project: &str) -> String {
    format!("$resource{SEPARATOR}{organization}{SEPARATOR}{project}{SEPARATOR}")
}

/// The topic of a resource as a client of this world means it.
pub fn of(group: &str, world: Option<&str>, resource: &Resource) -> TopicName {
    let world = world.filter(|_| resource.is_of_world()).unwrap_or_default();
    let (kind, id) = (resource.kind().word(), resource.id());
    TopicName::from(format!("{group}{world}{SEPARATOR}{kind}{SEPARATOR}{id}").as_str())
}

/// The resource behind a topic's name; `None` if that was not made here.
pub fn resource(name: &TopicName) -> Option<Resource> {
    let mut parts = name.as_str().splitn(6, SEPARATOR).skip(4);
    Some(Resource::stored(Kind::of(parts.next()?)?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::super::name::Name;
    use super::*;

    fn known(kind: Kind, id: &str) -> Resource {
        Name::parse(kind, id, &["public".to_owned(), "private".to_owned()]).unwrap().of(Some("u1")).unwrap()
    }

    #[test]
    fn a_resource_is_found_again_in_the_name_of_its_topic() {
        for (kind, id, world) in [
            (Kind::KvStore, "World:kvstoreClient:a:b", Some("w")),
            (Kind::KvStore, "World:kvstoreClient:a:b", None),
            (Kind::KvStore, "u1:kvstoreServer:k", Some("w")),
            (Kind::Collection, "private", None),
            (Kind::LiveConfig, "é/ :\u{85}", Some("w")),
        ] {
            let resource = known(kind, id);
            let name = of(&group("o", ""), world, &resource);
            assert_eq!(self::resource(&name), Some(resource), "{name}");
            assert!(name.is_reserved() && name.as_str().starts_with(&group("o", "")));
        }
        assert_eq!(resource(&TopicName::from("$resource\u{1f}o\u{1f}p")), None);
    }

    #[test]
    fn rs_45_different_scopes_have_different_topics() {
        let world = known(Kind::KvStore, "World:kvstoreClient:k");
        let own = known(Kind::KvStore, "u1:kvstoreClient:k");
        let names = [
            of(&group("o", "p"), None, &world),
            of(&group("o", "p"), Some("w"), &world),
            of(&group("o", "p"), Some("v"), &world),
            of(&group("o", "q"), None, &world),
            of(&group("q", "p"), None, &world),
            of(&group("o", ""), None, &world),
            of(&group("", "o"), None, &world),
            of(&group("o", "p"), None, &own),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name:?}");
        }
        // Of the others there is one for all worlds.
        assert_eq!(of(&group("o", "p"), Some("w"), &own), of(&group("o", "p"), None, &own));
    }
}
