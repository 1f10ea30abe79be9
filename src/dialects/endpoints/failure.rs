//! What a request over HTTP fails of once it is admitted, and how that is told (specification, sections 7 and 8).

use crate::http::response::{Response, error};

/// The methods of an endpoint.
pub const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    MethodNotAllowed,
    NotAnAuthenticationEndpoint,
    ParametersNotValid,
    StrategyNotValid,
    UniqueIdRequired,
    NoJsonata,
    ContentTypeNotValid,
    BodyTooLarge,
    BodyEmpty,
    BodyNotValid,
    TooManyFiles,
    NoRecord,
    TypesDiffer,
    ObjectsRequired,
    /// A list of more bytes than one answer may have.
    ListTooLong,
    RegistrationClosed,
    NamesRequired,
    PasswordNotValid,
    UsernameTaken,
    EmailTaken,
    InvalidCredentials,
    /// Too many passwords wait to be hashed.
    Busy,
    StorageUnavailable,
    TooManyRecords,
}

impl Failure {
    pub fn status(self) -> u16 {
        self.row().0
    }

    pub fn text(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (u16, &'static str) {
        match self {
            Failure::MethodNotAllowed => (405, "Method not allowed."),
            Failure::NotAnAuthenticationEndpoint => (400, "Not an authentication endpoint."),
            Failure::ParametersNotValid => (400, "Parameters not valid."),
            Failure::StrategyNotValid => (400, "Strategy not valid."),
            Failure::UniqueIdRequired => (400, "uniqueId is required."),
            Failure::NoJsonata => (400, "jsonata is not supported."),
            Failure::ContentTypeNotValid => (400, "Content-Type not valid."),
            Failure::BodyTooLarge => (413, "Body too large."),
            Failure::BodyEmpty => (400, "Body is empty."),
            Failure::BodyNotValid => (400, "Body not valid."),
            Failure::TooManyFiles => (400, "Too many files."),
            Failure::NoRecord => (400, "No record found."),
            Failure::TypesDiffer => (400, "Types are different."),
            Failure::ObjectsRequired => (400, "Objects are required."),
            Failure::ListTooLong => (400, "Too many records; use fw_limit and fw_after."),
            Failure::RegistrationClosed => (403, "Registration is closed."),
            Failure::NamesRequired => (400, "Username or email and password are required."),
            Failure::PasswordNotValid => (400, "Password not valid."),
            Failure::UsernameTaken => (400, "Username already exists."),
            Failure::EmailTaken => (400, "Email already exists."),
            Failure::InvalidCredentials => (401, "Invalid credentials."),
            Failure::Busy => (429, "Too many requests."),
            Failure::StorageUnavailable => (503, "Storage unavailable."),
            Failure::TooManyRecords => (507, "Too many records."),
        }
    }

    pub fn response(self) -> Response {
        let response = error(self.status(), self.text());
        if self == Failure::MethodNotAllowed {
            return response.field("Allow", METHODS);
        }
        if self == Failure::Busy { response.field("Retry-After", "1") } else { response }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ep_68_another_method_is_told_which_there_are() {
        let response = Failure::MethodNotAllowed.response();
        assert_eq!((response.status, &response.body[..]), (405, &br#"{"error":"Method not allowed."}"#[..]));
        assert_eq!(response.fields[1], ("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".into()));
        assert_eq!(Failure::Busy.response().fields[1], ("Retry-After", "1".into()));
        assert_eq!(Failure::NoJsonata.response().fields.len(), 1);
    }
}
