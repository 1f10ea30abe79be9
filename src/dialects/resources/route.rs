//! What a path below that of the dialect means (specification, section 1).

use super::name::Kind;
use super::options::Writes;
use crate::session::Door;

/// Every path at or below that of the dialect is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// The path itself, perhaps with a `/` behind it.
    Socket,
    Status,
    /// The id as it was sent.
    Resource {
        kind: Kind,
        id: &'a str,
    },
    Tokens,
    Unknown,
}

impl<'a> Route<'a> {
    /// `None`: not a path of the dialect, whose own is `base`.
    pub fn of(base: &str, path: &'a str) -> Option<Route<'a>> {
        let rest = path.strip_prefix(base)?;
        let Some(below) = rest.strip_prefix('/') else { return rest.is_empty().then_some(Route::Socket) };
        Some(match below.split_once('/') {
            None => match below {
                "" => Route::Socket,
                "status" => Route::Status,
                "tokens" => Route::Tokens,
                _ => Route::Unknown,
            },
            // The id may hold slashes.
            Some(("resources", resource)) => Route::resource(resource).unwrap_or(Route::Unknown),
            Some(_) => Route::Unknown,
        })
    }

    fn resource(resource: &'a str) -> Option<Route<'a>> {
        let (kind, id) = resource.split_once('/')?;
        Some(Route::Resource { kind: Kind::of(kind)?, id })
    }

    /// The methods that are answered at this door; for what does not exist none has to be.
    ///
    /// Documents and tokens are for backends, who come through the door of administration.
    pub fn methods_at(self, door: Door, writes: Writes) -> &'static [&'static str] {
        match (self, door) {
            (Route::Resource { .. } | Route::Tokens, Door::Public) if writes == Writes::Admin => &[],
            (_, Door::Public | Door::Admin | Door::Both) => self.methods(),
        }
    }

    fn methods(self) -> &'static [&'static str] {
        match self {
            Route::Socket => &["GET"],
            Route::Status => &["GET", "HEAD"],
            Route::Resource { .. } => &["GET", "HEAD", "PUT", "PATCH", "DELETE"],
            Route::Tokens => &["POST", "DELETE"],
            Route::Unknown => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_below_is_a_route_or_unknown() {
        let resource = |kind, id| Some(Route::Resource { kind, id });
        use Kind::{Collection, KvStore, LiveConfig};
        for (path, route) in [
            ("/api/realtime", Some(Route::Socket)),
            ("/api/realtime/", Some(Route::Socket)),
            ("/api/realtime/status", Some(Route::Status)),
            ("/api/realtime/tokens", Some(Route::Tokens)),
            ("/api/realtime/resources/kvStore/World:a:b", resource(KvStore, "World:a:b")),
            ("/api/realtime/resources/liveConfig/a/b/", resource(LiveConfig, "a/b/")),
            ("/api/realtime/resources/liveConfig//", resource(LiveConfig, "/")),
            ("/api/realtime/resources/collection/", resource(Collection, "")),
            ("/api/realtime/resources/KVStore/a", Some(Route::Unknown)),
            ("/api/realtime/resources//a", Some(Route::Unknown)),
            ("/api/realtime/resources/liveConfig", Some(Route::Unknown)),
            ("/api/realtime/resources", Some(Route::Unknown)),
            ("/api/realtime/status/", Some(Route::Unknown)),
            ("/api/realtime/tokens/x", Some(Route::Unknown)),
            ("/api/realtime//", Some(Route::Unknown)),
            ("/api/realtime/Status", Some(Route::Unknown)),
            ("/api/realtime2", None),
            ("/api", None),
            ("/", None),
        ] {
            assert_eq!(Route::of("/api/realtime", path), route, "{path}");
        }
    }
    #[test]
    fn backends_have_a_door_of_their_own() {
        let resource = Route::Resource { kind: Kind::KvStore, id: "" };
        for writes in [Writes::Admin, Writes::Public] {
            for route in [resource, Route::Tokens] {
                for door in [Door::Admin, Door::Both] {
                    assert_eq!(route.methods_at(door, writes), route.methods());
                }
                let public = if writes == Writes::Public { route.methods() } else { &[] };
                assert_eq!(route.methods_at(Door::Public, writes), public);
            }
            for route in [Route::Socket, Route::Status] {
                assert_eq!(route.methods_at(Door::Public, writes), route.methods());
                assert!(!route.methods().is_empty());
            }
            assert!(Route::Unknown.methods_at(Door::Both, writes).is_empty());
        }
    }
}
