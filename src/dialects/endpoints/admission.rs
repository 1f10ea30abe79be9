//! Who asks, and whether it may: a request is put to the checks of specification section 3, for WebSockets and HTTP alike.

use super::checks::{self, Caller, Master, Reject};
use super::cors::Cors;
use super::query::Query;
use super::route;
use super::shared::{Endpoint, Place, Shared, Table};
use super::token::AccessToken;
use crate::session::Request;
use std::sync::Arc;

/// A request of the dialect, as far as its target says what it is about.
pub struct Asked<'a> {
    pub request: &'a Request<'a>,
    pub shared: Arc<Shared>,
    pub query: Query<'a>,
    /// `None`: there is no such name.
    endpoint: Option<Arc<Endpoint>>,
}

/// One who has passed the checks, but for what only the hub knows.
pub struct Admitted {
    /// At the endpoint that was asked for.
    pub place: Place,
    pub caller: Caller,
}

impl<'a> Asked<'a> {
    /// `None`: no service is at this path, under this host.
    pub fn of(table: &Table, request: &'a Request<'a>) -> Option<Asked<'a>> {
        let (path, host) = (request.head.path(), request.head.field("Host"));
        let service = table.service_of(host, path)?;
        let name = route::endpoint(&service.shared.options.path, path);
        Some(Asked {
            request,
            shared: service.shared.clone(),
            query: Query::read(request.head.query()),
            endpoint: name.and_then(|name| service.endpoint(&name).cloned()),
        })
    }

    /// What every answer tells browsers.
    pub fn cors(&self) -> Cors {
        let project = self.endpoint.as_ref().map(|endpoint| &endpoint.project.options);
        let opened = checks::has_key(&self.query, project);
        project.filter(|_| opened).map(|project| Cors::of(self.request.head, project)).unwrap_or_default()
    }

    /// The checks of the server itself, rows 1 and 2.
    ///
    /// # Errors
    /// The first that fails.
    pub fn let_in(&self) -> Result<(), Reject> {
        if self.request.draining {
            return Err(Reject::Draining);
        }
        if self.request.full { Err(Reject::TooManyConnections) } else { Ok(()) }
    }

    /// All checks in their order. `needs_token` says whether anybody is asked for a token there.
    ///
    /// # Errors
    /// The first that fails, which counts for the address that the request came from.
    pub fn admit(&self, needs_token: impl FnOnce(&Endpoint) -> bool) -> Result<Admitted, Reject> {
        self.let_in()?;
        let mut place = None;
        let rows = self.rows(&mut place, needs_token);
        let failed = |reject| self.shared.failed(reject, self.request.peer, self.request.now);
        let (master, caller) = rows.map_err(failed)?;
        if master == Master::Wrong {
            // It counts as absent, and yet as a failure.
            failed(Reject::NoToken);
        }
        let place = place.expect("whoever passes has taken one");
        Ok(Admitted { place, caller })
    }

    fn rows(&self, place: &mut Option<Place>, needs_token: impl FnOnce(&Endpoint) -> bool) -> Result<(Master, Caller), Reject> {
        let Request { head, .. } = self.request;
        let found = self.endpoint.as_ref();
        let of_options = found.map(|found| checks::Place { project: &found.project.options, endpoint: &found.options });
        let take = |_| {
            *place = found.and_then(Place::take);
            place.is_none()
        };
        let (_, master) = checks::admit(head, &self.query, of_options, take)?;
        let token = AccessToken::of(head, &self.query, &self.shared.options);
        let needed = found.is_some_and(|found| needs_token(found));
        Ok((master, checks::identify(needed, master, token)?))
    }
}
