//! What a path below that of the dialect means (specification, section 1).

/// Every path at or below that of the dialect is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// The path itself, perhaps with a `/` behind it.
    Socket,
    Status,
    /// Type and id as they were sent.
    Resource {
        kind: &'a str,
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
            Some(("resources", resource)) => match resource.split_once('/') {
                Some((kind, id)) if !id.is_empty() => Route::Resource { kind, id },
                Some(_) | None => Route::Unknown,
            },
            Some(_) => Route::Unknown,
        })
    }

    /// The methods that are answered; for what does not exist none has to be.
    pub fn methods(self) -> &'static [&'static str] {
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
        for (path, route) in [
            ("/api/realtime", Some(Route::Socket)),
            ("/api/realtime/", Some(Route::Socket)),
            ("/api/realtime/status", Some(Route::Status)),
            ("/api/realtime/tokens", Some(Route::Tokens)),
            ("/api/realtime/resources/kvStore/World:a:b", resource("kvStore", "World:a:b")),
            ("/api/realtime/resources/liveConfig/a/b/", resource("liveConfig", "a/b/")),
            ("/api/realtime/resources/liveConfig//", resource("liveConfig", "/")),
            ("/api/realtime/resources/liveConfig/", Some(Route::Unknown)),
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
}
