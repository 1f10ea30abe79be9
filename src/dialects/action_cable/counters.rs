//! What the dialect counts. No identifier and no key ever stands in a label.

use super::channel::Reject;
use super::command::BadInput;
use super::frames::Reason;
use crate::metrics::{Family, Kind};
use std::sync::Arc;

/// The families of one server; their members are found by place.
pub struct Counters {
    pub subscriptions: Arc<Family>,
    pub confirms: Arc<Family>,
    rejects: Arc<Family>,
    bad_input: Arc<Family>,
    pub duplicates: Arc<Family>,
    pub performs_ignored: Arc<Family>,
    pub publications: Arc<Family>,
    disconnects: Arc<Family>,
    history: Arc<Family>,
    pub resumes: Arc<Family>,
}

impl Default for Counters {
    fn default() -> Counters {
        let single = |name, help| Arc::new(Family::single(name, help, Kind::Counter));
        let family =
            |name, help, label, values: Vec<&'static str>| Arc::new(Family::new(name, help, Kind::Counter, label, values));
        // Of the hub's refusals no rule of the dialect is the cause.
        let causes = Reject::ALL.iter().map(|reject| reject.cause()).chain([BUSY]).collect();
        Counters {
            subscriptions: Arc::new(Family::single(
                "action_cable_subscriptions",
                "Subscriptions that live or wait to be confirmed",
                Kind::Gauge,
            )),
            confirms: single("action_cable_confirms", "Subscriptions confirmed"),
            rejects: family("action_cable_rejects", "Subscriptions rejected", "cause", causes),
            bad_input: family(
                "action_cable_bad_input",
                "Messages that are no command",
                "kind",
                BadInput::ALL.iter().map(|bad| bad.kind()).collect(),
            ),
            duplicates: single("action_cable_duplicates", "Subscribes of an identifier that was live already"),
            performs_ignored: single("action_cable_performs_ignored", "Actions that no channel has"),
            publications: single("action_cable_publications", "Messages published over this dialect's paths"),
            disconnects: family(
                "action_cable_disconnects",
                "Connections ended with a reason",
                "reason",
                Reason::ALL.iter().map(|reason| reason.text()).collect(),
            ),
            history: family("action_cable_history", "Histories asked for", "answer", vec!["confirmed", "rejected"]),
            resumes: single("action_cable_resumes", "Conversations that went on over a new connection"),
        }
    }
}

/// The cause of a reject that the hub made: a bound of the server.
const BUSY: &str = "busy";

impl Counters {
    pub fn families(&self) -> Vec<Arc<Family>> {
        [
            &self.subscriptions,
            &self.confirms,
            &self.rejects,
            &self.bad_input,
            &self.duplicates,
            &self.performs_ignored,
            &self.publications,
            &self.disconnects,
            &self.history,
            &self.resumes,
        ]
        .map(Arc::clone)
        .into()
    }

    /// `None`: the hub refused.
    pub fn rejected(&self, cause: Option<Reject>) {
        self.rejects.add(cause.map_or(BUSY, Reject::cause), 1);
    }

    pub fn bad_input(&self, bad: BadInput) {
        self.bad_input.add(bad.kind(), 1);
    }

    pub fn disconnected(&self, reason: Reason) {
        self.disconnects.add(reason.text(), 1);
    }

    pub fn history(&self, confirmed: bool) {
        self.history.add(if confirmed { "confirmed" } else { "rejected" }, 1);
    }
}
