//! Who may subscribe to what (specification, section 5).

use super::name::{Kind, Resource, WORLD};
use serde::Deserialize;

/// Who a connection acts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Also an anonymous connection of a project with an `anonymous_user`.
    User(String),
    Anonymous,
    /// A service key, within its project.
    Service,
}

/// What a project shows to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Public {
    #[serde(rename = "liveConfig")]
    LiveConfig,
    #[serde(rename = "kvStore:World")]
    WorldKvStore,
}

impl Principal {
    /// One who shows no credentials; `user` is the project's `anonymous_user`.
    pub fn without_credentials(user: &str) -> Principal {
        if user.is_empty() { Principal::Anonymous } else { Principal::User(user.to_owned()) }
    }

    /// Whose own documents short names mean.
    pub fn user(&self) -> Option<&str> {
        match self {
            Principal::User(user) => Some(user),
            Principal::Anonymous | Principal::Service => None,
        }
    }

    /// Whether the table of permissions says yes.
    pub fn may_subscribe(&self, resource: &Resource, public: &[Public]) -> bool {
        match self {
            Principal::Service => true,
            Principal::User(user) => match resource.kind() {
                Kind::KvStore => resource.owner() == Some(user) || resource.owner() == Some(WORLD),
                Kind::Collection => resource.owner() == Some(user),
                Kind::LiveConfig => true,
            },
            Principal::Anonymous => match resource.kind() {
                Kind::KvStore => resource.owner() == Some(WORLD) && public.contains(&Public::WorldKvStore),
                Kind::Collection => false,
                Kind::LiveConfig => public.contains(&Public::LiveConfig),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::Name;
    use super::*;

    /// What name and principal come to: `None` if there is no such resource of this caller.
    fn may(principal: &Principal, kind: Kind, id: &str, public: &[Public]) -> Option<bool> {
        let name = Name::parse(kind, id, &["public".to_owned(), "private".to_owned()]).unwrap();
        name.of(principal.user()).map(|resource| principal.may_subscribe(&resource, public))
    }

    const ROWS: [(Kind, &str); 7] = [
        (Kind::KvStore, "u1:kvstoreClient:k"),
        (Kind::KvStore, "u1:kvstoreServer:k"),
        (Kind::KvStore, "World:kvstoreClient:k"),
        (Kind::KvStore, "u2:kvstoreClient:k"),
        (Kind::Collection, "private"),
        (Kind::Collection, "private:u2"),
        (Kind::LiveConfig, "game"),
    ];

    fn column(principal: &Principal, public: &[Public]) -> [Option<bool>; 7] {
        ROWS.map(|(kind, id)| may(principal, kind, id, public))
    }

    const YES: Option<bool> = Some(true);
    const NO: Option<bool> = Some(false);

    #[test]
    fn rs_42_rs_43_a_user_reads_its_own_and_the_worlds() {
        let user = Principal::User("u1".to_owned());
        assert_eq!(column(&user, &[]), [YES, YES, YES, NO, YES, NO, YES]);
        assert_eq!(may(&user, Kind::Collection, "private:u1", &[]), YES);
        assert_eq!(Principal::without_credentials("u1"), user);
    }

    #[test]
    fn rs_44_a_service_key_reads_everything_but_has_no_own() {
        assert_eq!(column(&Principal::Service, &[]), [YES, YES, YES, YES, None, YES, YES]);
    }

    #[test]
    fn rs_48_anonymous_reads_what_is_public() {
        let nobody = Principal::without_credentials("");
        assert_eq!(nobody, Principal::Anonymous);
        assert_eq!(column(&nobody, &[]), [NO, NO, NO, NO, None, NO, NO]);
        assert_eq!(column(&nobody, &[Public::LiveConfig]), [NO, NO, NO, NO, None, NO, YES]);
        assert_eq!(column(&nobody, &[Public::WorldKvStore]), [NO, NO, YES, NO, None, NO, NO]);
    }
}
