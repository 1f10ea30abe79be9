//! Why a request is refused: status and words (specification, section 6.1).

use crate::exchange::Refusal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    TokenMissing,
    TokenWithoutRight,
    KeyMissing,
    KeyWithoutRight,
    OriginNotAllowed,
    NoChannel,
    ChannelTooLarge,
    ChannelNotValid,
    ChannelNotAuthorized,
    TooManyChannels,
    CannotCreate,
    ChannelFull,
    TooMuchWildcard,
    TooManyOnServer,
    EventsNotAllowed,
    EventsInternal,
    EmptyPost,
    NotJson,
    NotUtf8,
    EventIdNotValid,
    EventTypeNotValid,
    CallbackNotValid,
    HeadersMissing,
    VersionNotSupported,
    OutOfMemory,
    Busy,
    StorageUnavailable,
    TooSlow,
    TooManyFrames,
}

impl Reason {
    pub fn status(self) -> u16 {
        match self {
            Reason::TokenMissing | Reason::KeyMissing => 401,
            Reason::TokenWithoutRight
            | Reason::KeyWithoutRight
            | Reason::OriginNotAllowed
            | Reason::ChannelNotAuthorized
            | Reason::TooManyChannels
            | Reason::CannotCreate
            | Reason::ChannelFull
            | Reason::TooMuchWildcard
            | Reason::TooManyOnServer
            | Reason::EventsNotAllowed
            | Reason::EventsInternal => 403,
            Reason::NoChannel
            | Reason::ChannelTooLarge
            | Reason::ChannelNotValid
            | Reason::EmptyPost
            | Reason::NotJson
            | Reason::NotUtf8
            | Reason::EventIdNotValid
            | Reason::EventTypeNotValid
            | Reason::CallbackNotValid
            | Reason::HeadersMissing
            | Reason::VersionNotSupported => 400,
            Reason::TooManyFrames => 429,
            Reason::OutOfMemory | Reason::Busy | Reason::StorageUnavailable | Reason::TooSlow => 503,
        }
    }

    /// The text of `X-Nginx-PushStream-Explain`.
    pub fn explain(self) -> &'static str {
        match self {
            Reason::TokenMissing => "Authentication token is missing or invalid.",
            Reason::TokenWithoutRight => "Authentication token has no right to a channel.",
            Reason::KeyMissing => "Access key is missing or wrong.",
            Reason::KeyWithoutRight => "Access key has no right to a channel.",
            Reason::OriginNotAllowed => "Origin is not allowed.",
            Reason::NoChannel => "No channel id provided.",
            Reason::ChannelTooLarge => "Channel id is too large.",
            Reason::ChannelNotValid => "Channel id is not valid.",
            Reason::ChannelNotAuthorized => "Channel id not authorized for this method.",
            Reason::TooManyChannels => "Too many channels in one request.",
            Reason::CannotCreate => "Subscriber could not create channels.",
            Reason::ChannelFull => "Subscribers limit per channel has been exceeded.",
            Reason::TooMuchWildcard => "Subscribed too much wildcard channels.",
            Reason::TooManyOnServer => "Number of channels were exceeded.",
            Reason::EventsNotAllowed => "Subscription to events channel is not allowed.",
            Reason::EventsInternal => "Only internal routines can change events channel.",
            Reason::EmptyPost => "Empty post requests are not allowed.",
            Reason::NotJson => "Message text is not valid JSON.",
            Reason::NotUtf8 => "Message text is not valid UTF-8.",
            Reason::EventIdNotValid => "Event id is not valid.",
            Reason::EventTypeNotValid => "Event type is not valid.",
            Reason::CallbackNotValid => "Callback name is not valid.",
            Reason::HeadersMissing => {
                "Don't have at least one of the mandatory headers: Connection, Upgrade, Sec-WebSocket-Key and Sec-WebSocket-Version"
            }
            Reason::VersionNotSupported => "Version not supported. Supported versions: 8, 13",
            Reason::OutOfMemory => "Server is out of message memory.",
            Reason::Busy => "Server is busy.",
            Reason::StorageUnavailable => "Storage is unavailable.",
            Reason::TooSlow => "Subscriber is too slow.",
            Reason::TooManyFrames => "Too many frames.",
        }
    }

    /// The reason of a close with 1008, blanks exactly as the reference has them [PT-6].
    pub fn close_text(self) -> String {
        format!("{{\"http_status\": {}, \"explain\":\"{}\"}}", self.status(), self.explain())
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Reason {
        match refusal {
            Refusal::TopicMissing => Reason::CannotCreate,
            Refusal::TopicFull => Reason::ChannelFull,
            Refusal::TooManyTopics => Reason::TooManyOnServer,
            Refusal::OutOfMemory => Reason::OutOfMemory,
            Refusal::Busy => Reason::Busy,
            Refusal::StorageUnavailable => Reason::StorageUnavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PT-6: the recorded frames are 78, 60 and 84 bytes with the code.
    #[test]
    fn close_texts_are_the_recorded_ones() {
        assert_eq!(
            Reason::ChannelNotAuthorized.close_text(),
            r#"{"http_status": 403, "explain":"Channel id not authorized for this method."}"#
        );
        assert_eq!(Reason::ChannelNotAuthorized.close_text().len() + 2, 78);
        assert_eq!(Reason::ChannelTooLarge.close_text().len() + 2, 60);
        assert_eq!(Reason::ChannelFull.close_text().len() + 2, 84);
    }
}
