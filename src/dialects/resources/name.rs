//! Names of resources: the grammar of ids, and the one resource that a name means to a caller (specification, section 3).

const ID_BYTES_MAX: usize = 512;
const USER_BYTES_MAX: usize = 128;

/// The owner whose documents belong to a world, and to no user.
pub const WORLD: &str = "World";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    KvStore,
    Collection,
    LiveConfig,
}

impl Kind {
    /// Letter case counts.
    pub fn of(word: &str) -> Option<Kind> {
        [Kind::KvStore, Kind::Collection, Kind::LiveConfig].into_iter().find(|kind| kind.word() == word)
    }

    /// The `type` of messages and paths.
    pub fn word(self) -> &'static str {
        match self {
            Kind::KvStore => "kvStore",
            Kind::Collection => "collection",
            Kind::LiveConfig => "liveConfig",
        }
    }

    /// What the warning calls it.
    pub fn label(self) -> &'static str {
        match self {
            Kind::KvStore => "KVStore",
            Kind::Collection => "Collection",
            Kind::LiveConfig => "LiveConfig",
        }
    }
}

/// A resource as a client names it: `private` and `private:u1` may mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    kind: Kind,
    id: String,
}

impl Name {
    /// `None` if the id breaks the grammar of its type.
    pub fn parse(kind: Kind, id: &str, collection_names: &[String]) -> Option<Name> {
        if !(1..=ID_BYTES_MAX).contains(&id.len()) || id.bytes().any(|byte| byte.is_ascii_control()) {
            return None;
        }
        let holds = match kind {
            Kind::KvStore => {
                let mut parts = id.splitn(3, ':');
                let parts = (parts.next(), parts.next(), parts.next());
                matches!(parts, (Some(owner), Some("kvstoreClient" | "kvstoreServer"), Some(key)) if !owner.is_empty() && !key.is_empty())
            }
            Kind::Collection => {
                let (name, user) = id.split_once(':').map_or((id, None), |(name, user)| (name, Some(user)));
                collection_names.iter().any(|known| known == name) && user.is_none_or(is_user_id)
            }
            Kind::LiveConfig => true,
        };
        holds.then(|| Name { kind, id: id.to_owned() })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The id that frames carry: a collection's without its owner.
    pub fn short_id(&self) -> &str {
        short_id(self.kind, &self.id)
    }

    /// What the name means to this user; `None` if it names the caller's own collection and there is no user.
    pub fn of(&self, caller: Option<&str>) -> Option<Resource> {
        let id = match self.kind {
            Kind::Collection if !self.id.contains(':') => format!("{}:{}", self.id, caller?),
            Kind::KvStore | Kind::Collection | Kind::LiveConfig => self.id.clone(),
        };
        Some(Resource { kind: self.kind, id })
    }
}

/// One resource of a project. Equal ones are the same document, but for those [`Resource::is_of_world`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    kind: Kind,
    id: String,
}

impl Resource {
    /// One whose id was made from a name before.
    pub fn stored(kind: Kind, whole_id: &str) -> Resource {
        Resource { kind, id: whole_id.to_owned() }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The whole id, a collection's with its owner.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The id that frames carry.
    pub fn short_id(&self) -> &str {
        short_id(self.kind, &self.id)
    }

    /// The `userId` of frames; a live configuration has none.
    pub fn owner(&self) -> Option<&str> {
        let (before, behind) = self.id.split_once(':').unwrap_or((&self.id, ""));
        match self.kind {
            Kind::KvStore => Some(before),
            Kind::Collection => Some(behind),
            Kind::LiveConfig => None,
        }
    }

    /// Whether each world has its own document of this name.
    pub fn is_of_world(&self) -> bool {
        self.kind == Kind::KvStore && self.owner() == Some(WORLD)
    }
}

fn short_id(kind: Kind, id: &str) -> &str {
    match kind {
        Kind::Collection => id.split_once(':').map_or(id, |(name, _)| name),
        Kind::KvStore | Kind::LiveConfig => id,
    }
}

/// 1 to 128 bytes without colons and controls; `World` is nobody.
pub fn is_user_id(text: &str) -> bool {
    (1..=USER_BYTES_MAX).contains(&text.len())
        && text != WORLD
        && !text.contains(|letter: char| letter == ':' || letter.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(kind: Kind, id: &str) -> Option<Name> {
        Name::parse(kind, id, &["public".to_owned(), "private".to_owned()])
    }

    fn resource(kind: Kind, id: &str, caller: &str) -> Resource {
        name(kind, id).unwrap().of(Some(caller)).unwrap()
    }

    #[test]
    fn types_are_case_sensitive_words() {
        for kind in [Kind::KvStore, Kind::Collection, Kind::LiveConfig] {
            assert_eq!(Kind::of(kind.word()), Some(kind));
        }
        for bad in ["KVStore", "kvstore", "collections", "LiveConfig", ""] {
            assert_eq!(Kind::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn rs_32_ids_keep_the_grammar_of_their_type() {
        for (kind, id) in [
            (Kind::KvStore, "World:kvstoreClient:testKey"),
            (Kind::KvStore, "u1:kvstoreServer:a:b::c"),
            (Kind::Collection, "public"),
            (Kind::Collection, "private:u1"),
            (Kind::LiveConfig, "game"),
            (Kind::LiveConfig, "a:b/ é\u{85}"),
        ] {
            assert!(name(kind, id).is_some(), "{id}");
        }
        for (kind, id) in [
            (Kind::KvStore, ""),
            (Kind::KvStore, "World"),
            (Kind::KvStore, "World:kvstoreClient"),
            (Kind::KvStore, "World:kvstoreClient:"),
            (Kind::KvStore, ":kvstoreClient:k"),
            (Kind::KvStore, "World:kvstoreOther:k"),
            (Kind::KvStore, "World:kvstoreclient:k"),
            (Kind::Collection, "other"),
            (Kind::Collection, "Private"),
            (Kind::Collection, "private:"),
            (Kind::Collection, ":u1"),
            (Kind::Collection, "private:a:b"),
            (Kind::Collection, "private:World"),
            (Kind::LiveConfig, ""),
            (Kind::LiveConfig, "a\0b"),
            (Kind::LiveConfig, "a\nb"),
            (Kind::LiveConfig, "\u{7f}"),
        ] {
            assert_eq!(name(kind, id), None, "{id:?}");
        }
        assert!(name(Kind::LiveConfig, &"é".repeat(256)).is_some());
        assert_eq!(name(Kind::LiveConfig, &"g".repeat(513)), None);
        assert!(name(Kind::Collection, &format!("private:{}", "u".repeat(128))).is_some());
        assert_eq!(name(Kind::Collection, &format!("private:{}", "u".repeat(129))), None);
    }

    #[test]
    fn rs_47_private_and_private_of_oneself_are_one_resource() {
        let own = resource(Kind::Collection, "private", "u1");
        assert_eq!(own, resource(Kind::Collection, "private:u1", "u2"));
        assert_ne!(own, resource(Kind::Collection, "private", "u2"));
        assert_eq!((own.id(), own.short_id(), own.owner()), ("private:u1", "private", Some("u1")));
        assert_eq!(name(Kind::Collection, "private").unwrap().of(None), None);
        assert_eq!(name(Kind::Collection, "private:u1").unwrap().of(None), Some(own));
    }

    #[test]
    fn the_owner_stands_in_the_id() {
        let world = resource(Kind::KvStore, "World:kvstoreClient:k", "u1");
        assert_eq!((world.owner(), world.short_id(), world.is_of_world()), (Some("World"), "World:kvstoreClient:k", true));
        let own = resource(Kind::KvStore, "u1:kvstoreServer:World:k", "u2");
        assert_eq!((own.owner(), own.is_of_world()), (Some("u1"), false));
        let game = resource(Kind::LiveConfig, "World:x", "u1");
        assert_eq!((game.owner(), game.short_id(), game.is_of_world()), (None, "World:x", false));
    }
}
