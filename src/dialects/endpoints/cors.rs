//! What browsers are told about reading answers from another origin (specification, section 7.2).

use super::failure::METHODS;
use super::options::Project;
use crate::access::origin::Origin;
use crate::http::head::Head;
use crate::http::response::Response;

/// The fields that every answer to one request gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors(Option<Allowed>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    /// As it was sent.
    origin: String,
    credentials: bool,
}

impl Cors {
    /// Of a request whose key opens the project: of who does not know the key nothing is told, not even whether the
    /// endpoint is there.
    pub fn of(head: &Head<'_>, project: &Project) -> Cors {
        let mut fields = head.fields_named("Origin");
        let (Some(origin), None) = (fields.next(), fields.next()) else { return Cors::default() };
        if !Origin::allows(&project.allowed_origins, std::iter::once(origin)) {
            return Cors::default();
        }
        let credentials = !project.allowed_origins.is_empty() || project.cookie_from_any_origin;
        Cors(Some(Allowed { origin: origin.to_owned(), credentials }))
    }

    pub fn apply(self, response: Response) -> Response {
        let Some(Allowed { origin, credentials }) = self.0 else { return response };
        let response = response
            .field("Access-Control-Allow-Origin", origin)
            .field("Vary", "Origin")
            .field("Access-Control-Expose-Headers", "Authorization");
        if credentials { response.field("Access-Control-Allow-Credentials", "true") } else { response }
    }

    /// The answer to OPTIONS.
    pub fn preflight(self) -> Response {
        let methods = METHODS.strip_suffix(", OPTIONS").expect("it is the last one");
        self.apply(Response::new(204).field("Cache-Control", "no-store"))
            .field("Access-Control-Allow-Methods", methods)
            .field("Access-Control-Allow-Headers", "Authorization, Content-Type")
            .field("Access-Control-Max-Age", "600")
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::*;
    use crate::http::head::{BodyLength, Version};
    use crate::http::response::Framing;

    fn fields(project: &str, origins: &[&str]) -> Vec<(&'static str, String)> {
        let options: Options = toml::from_str(&format!("[[rested.projects]]\n{project}\n")).unwrap();
        let fields = origins.iter().map(|&origin| ("Origin", origin)).collect();
        let (version, body) = (Version::Http11, BodyLength::None);
        let head = Head { method: "GET", target: "/", version, fields, body, keep_alive: true, expects_continue: false };
        let response = Cors::of(&head, &options.services[0].projects[0]).apply(Response::new(200));
        response.fields.into_iter().map(|(name, value)| (name, value.into_owned())).collect()
    }

    #[test]
    fn ep_69_the_origin_is_reflected_and_credentials_are_for_known_ones() {
        let shop = "allowed_origins = [\"https://shop.example\"]";
        let told = |origin: &str| {
            vec![
                ("Access-Control-Allow-Origin", origin.to_owned()),
                ("Vary", "Origin".to_owned()),
                ("Access-Control-Expose-Headers", "Authorization".to_owned()),
            ]
        };
        let with_credentials =
            |origin: &str| [told(origin), vec![("Access-Control-Allow-Credentials", "true".to_owned())]].concat();
        assert_eq!(fields(shop, &["https://shop.example"]), with_credentials("https://shop.example"));
        assert_eq!(fields(shop, &["HTTPS://shop.example:443"]), with_credentials("HTTPS://shop.example:443"));
        assert_eq!(fields("", &["https://any.example"]), told("https://any.example"));
        assert_eq!(fields("", &["null"]), told("null"));
        assert_eq!(fields("cookie_from_any_origin = true", &["https://any.example"]), with_credentials("https://any.example"));
        assert_eq!(fields(shop, &["https://evil.example"]), []);
        assert_eq!(fields(shop, &["https://shop.example", "https://shop.example"]), []);
        assert_eq!(fields("", &["a", "b"]), []);
        assert_eq!(fields(shop, &[]), []);
    }

    #[test]
    fn ep_69_a_preflight_is_204_with_what_may_be_asked() {
        let mut out = Vec::new();
        let allowed = Allowed { origin: "https://shop.example".to_owned(), credentials: true };
        Cors(Some(allowed)).preflight().write(&mut out, 0, Framing::Length, true);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 204 No Content\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\n\
             Cache-Control: no-store\r\nAccess-Control-Allow-Origin: https://shop.example\r\nVary: Origin\r\n\
             Access-Control-Expose-Headers: Authorization\r\nAccess-Control-Allow-Credentials: true\r\n\
             Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n\
             Access-Control-Allow-Headers: Authorization, Content-Type\r\nAccess-Control-Max-Age: 600\r\n\r\n"
        );
    }
}
