//! What `preset = "metasmoke"` stands for.

use super::options::{ChannelOptions, Kind, Models};

/// Class names and tokens: the underscored plurals, acronyms as in metasmoke; `ref` is singular there.
const MODELS: [(&str, &str); 32] = [
    ("AbuseComment", "abuse_comments"),
    ("AbuseContact", "abuse_contacts"),
    ("AbuseReport", "abuse_reports"),
    ("AbuseReportStatus", "abuse_report_statuses"),
    ("Announcement", "announcements"),
    ("APIKey", "api_keys"),
    ("APIToken", "api_tokens"),
    ("DeletionLog", "deletion_logs"),
    ("DomainLink", "domain_links"),
    ("DomainTag", "domain_tags"),
    ("Feedback", "feedbacks"),
    ("Flag", "flags"),
    ("FlagCondition", "flag_conditions"),
    ("FlagLog", "flag_logs"),
    ("FlagSetting", "flag_settings"),
    ("GithubToken", "github_tokens"),
    ("ModeratorSite", "moderator_sites"),
    ("Post", "posts"),
    ("PostComment", "post_comments"),
    ("Reason", "reasons"),
    ("Ref", "ref"),
    ("ReviewItem", "review_items"),
    ("ReviewQueue", "review_queues"),
    ("ReviewResult", "review_results"),
    ("Role", "roles"),
    ("Site", "sites"),
    ("SmokeDetector", "smoke_detectors"),
    ("SpamDomain", "spam_domains"),
    ("StackExchangeUser", "stack_exchange_users"),
    ("Statistic", "statistics"),
    ("User", "users"),
    ("UserSiteSetting", "user_site_settings"),
];

const LEGACY_STREAMS: [&str; 4] = ["api_feedback", "api_flag_logs", "api_deletion_logs", "api_statistics"];

const SENSITIVE_FIELDS: [&str; 24] = [
    "api_keys.key",
    "api_tokens.code",
    "api_tokens.token",
    "audits.remote_address",
    "audits.request_uuid",
    "emails_addressees.name",
    "emails_addressees.email_address",
    "emails_addressees.manage_key",
    "emails_preferences.consent_via",
    "emails_preferences.consent_comment",
    "flags.reason",
    "flags.user_id",
    "github_tokens.token",
    "ignored_users.user_name",
    "ignored_users.user_id",
    "smoke_detectors.access_token",
    "users.email",
    "users.encrypted_password",
    "users.reset_password_token",
    "users.reset_password_sent_at",
    "users.encrypted_api_token",
    "users.two_factor_token",
    "users.salt",
    "users.iv",
];

/// The channel `ApiChannel`.
pub fn metasmoke() -> ChannelOptions {
    ChannelOptions {
        name: "ApiChannel".to_owned(),
        kind: Some(Kind::Events),
        models: Models::Table(MODELS.iter().map(|&(class, token)| (class.to_owned(), token.to_owned())).collect()),
        legacy_streams: LEGACY_STREAMS.map(str::to_owned).into(),
        sensitive_fields: SENSITIVE_FIELDS.map(str::to_owned).into(),
        ..ChannelOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `FlagLog` is `flag_log`, `APIKey` is `api_key`.
    fn underscored(class: &str) -> String {
        let mut out = String::new();
        let letters: Vec<char> = class.chars().collect();
        for (at, letter) in letters.iter().enumerate() {
            let begins_a_word = letter.is_uppercase()
                && at > 0
                && (letters[at - 1].is_lowercase() || letters.get(at + 1).is_some_and(|next| next.is_lowercase()));
            if begins_a_word {
                out.push('_');
            }
            out.extend(letter.to_lowercase());
        }
        out
    }

    fn plural(word: &str) -> String {
        match word {
            "ref" => word.to_owned(),
            _ if word.ends_with('s') => format!("{word}es"),
            _ => format!("{word}s"),
        }
    }

    #[test]
    fn ac_52_tokens_are_the_underscored_plurals_of_the_class_names() {
        for (class, token) in MODELS {
            assert_eq!(token, plural(&underscored(class)), "{class}");
        }
    }
}
