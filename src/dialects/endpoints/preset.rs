//! The two names under which the system is known, and what differs between them (specification, section 1).

use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    Rested,
    Yawe,
}

/// What a service has where its configuration says nothing else.
pub struct Values {
    pub display_name: &'static str,
    /// In the order in which they are looked for.
    pub cookie_names: &'static [&'static str],
    pub login_cookie_name: &'static str,
    /// Empty: tokens in the query are not looked at.
    pub access_token_parameter: &'static str,
}

impl Preset {
    /// The preset of a service that is named like one.
    pub fn named(service: &str) -> Option<Preset> {
        match service {
            "rested" => Some(Preset::Rested),
            "yawe" => Some(Preset::Yawe),
            _ => None,
        }
    }

    pub fn values(self) -> Values {
        match self {
            Preset::Rested => Values {
                display_name: "RESTED_DEV",
                cookie_names: &["__Secure-rested-access-token"],
                login_cookie_name: "__Secure-rested-access-token",
                access_token_parameter: "accessToken",
            },
            Preset::Yawe => Values {
                display_name: "YAWE",
                cookie_names: &["yawe_access_token", "__Secure-yawe-access-token"],
                login_cookie_name: "yawe_access_token",
                access_token_parameter: "",
            },
        }
    }
}
