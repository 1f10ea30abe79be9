//! Users of an authentication endpoint: what they send, and what their sessions are told by (specification, section 8).

use super::failure::Failure;
use super::options::Service;
use crate::json::object::{Members, string};
use std::time::Duration;

const PASSWORD_BYTES_MIN: usize = 8;
const PASSWORD_BYTES_MAX: usize = 1024;

/// Whether it can be the name or the address of a user.
pub fn is_identity(text: &str) -> bool {
    (1..=254).contains(&text.len())
}

/// What a user sends of itself, apart from its password.
#[derive(PartialEq, Eq)]
pub struct Sent {
    /// An object, without any member `password`; the rest keeps its text and its order.
    pub data: String,
    /// Its text; of several the last counts. `null` is none.
    password: Option<String>,
}

impl Sent {
    /// `body` is JSON that `json::compact` wrote.
    ///
    /// # Errors
    /// [`Failure::BodyNotValid`]: it is no object.
    pub fn read(body: &str) -> Result<Sent, Failure> {
        let members = Members::of(body).ok_or(Failure::BodyNotValid)?;
        let password = members.last("password").filter(|text| *text != "null").map(str::to_owned);
        let mut data = String::from("{");
        for member in members.0.iter().filter(|member| member.name != "password") {
            if data.len() > 1 {
                data.push(',');
            }
            data.extend([member.key, ":", member.value]);
        }
        data.push('}');
        Ok(Sent { data, password })
    }

    /// The new password, if there is one.
    ///
    /// # Errors
    /// [`Failure::PasswordNotValid`]
    pub fn password(&self) -> Result<Option<String>, Failure> {
        let Some(text) = &self.password else { return Ok(None) };
        let holds = |password: &str| (PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&password.len());
        let password = string(text).filter(|password| holds(password)).ok_or(Failure::PasswordNotValid)?;
        Ok(Some(password.into_owned()))
    }

    /// Names and password of somebody new.
    ///
    /// # Errors
    /// [`Failure::NamesRequired`], [`Failure::PasswordNotValid`]
    pub fn registration(&self) -> Result<(Names, String), Failure> {
        let names = Names::of(&self.data)?;
        let password = self.password.as_ref().ok_or(Failure::NamesRequired).and_then(|_| self.password())?;
        Ok((names, password.ok_or(Failure::NamesRequired)?))
    }

    /// Who wants to come in. What cannot be right is looked up as well: it takes as long as what is wrong.
    pub fn login(&self) -> Login {
        let members = Members::of(&self.data).unwrap_or_default();
        let name = |member| members.last(member).and_then(string).filter(|text| is_identity(text));
        let name = name("username").map(|text| username(&text)).or_else(|| name("email").map(|text| email(&text)));
        Login { name, password: self.password().ok().flatten().unwrap_or_default() }
    }
}

/// How a user is found, each name unique in its endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(Vec<Box<str>>);

impl Names {
    /// Those in the data of a user.
    ///
    /// # Errors
    /// [`Failure::NamesRequired`]: there is none, or one that cannot be.
    pub fn of(data: &str) -> Result<Names, Failure> {
        let members = Members::of(data).ok_or(Failure::BodyNotValid)?;
        let name = |member, named: fn(&str) -> Box<str>| match members.last(member) {
            None | Some("null") => Ok(None),
            Some(text) => match string(text).filter(|text| is_identity(text)) {
                Some(text) => Ok(Some(named(&text))),
                None => Err(Failure::NamesRequired),
            },
        };
        let names: Vec<_> = [name("username", username)?, name("email", email)?].into_iter().flatten().collect();
        if names.is_empty() { Err(Failure::NamesRequired) } else { Ok(Names(names)) }
    }

    pub fn into_names(self) -> Box<[Box<str>]> {
        self.0.into()
    }

    /// What is told if the name at this place in the list is somebody else's.
    pub fn taken(names: &[Box<str>], place: usize) -> Failure {
        let is_email = names.get(place).is_some_and(|name| name.starts_with("email\0"));
        if is_email { Failure::EmailTaken } else { Failure::UsernameTaken }
    }
}

fn username(text: &str) -> Box<str> {
    format!("username\0{text}").into()
}

/// Compared without ASCII case.
fn email(text: &str) -> Box<str> {
    format!("email\0{}", text.to_ascii_lowercase()).into()
}

/// One attempt.
#[derive(PartialEq, Eq)]
pub struct Login {
    /// `None`: nobody has such a name.
    pub name: Option<Box<str>>,
    /// Empty if nobody can have it.
    pub password: String,
}

/// Data and names of a user that the configuration makes.
pub fn configured(name: &str) -> (String, Box<[Box<str>]>) {
    let quoted = serde_json::to_string(name).expect("a string can be written");
    (format!("{{\"username\":{quoted}}}"), [username(name)].into())
}

/// `Set-Cookie` of a login.
pub fn cookie(service: &Service, token: &str) -> String {
    set_cookie(service, &service.login_cookie_name, token, service.session_ttl)
}

/// `Set-Cookie` that takes a cookie back.
pub fn expired_cookie(service: &Service, name: &str) -> String {
    set_cookie(service, name, "", Duration::ZERO)
}

fn set_cookie(service: &Service, name: &str, value: &str, age: Duration) -> String {
    let (secure, same_site) = if service.cookie_secure { ("; Secure", "None") } else { ("", "Lax") };
    // A session of less than a second is not told as one that is over.
    let seconds = if age.is_zero() { 0 } else { age.as_secs().max(1) };
    format!("{name}={value}; Path=/; Max-Age={seconds}{secure}; HttpOnly; SameSite={same_site}")
}

/// `Authorization` of a login without cookie.
pub fn authorization(token: &str) -> String {
    format!("Bearer {token}")
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::*;

    fn sent(body: &str) -> Sent {
        Sent::read(body).unwrap_or_else(|failure| panic!("{body}: {failure:?}"))
    }

    fn registration(body: &str) -> Result<(Vec<String>, String), Failure> {
        let (names, password) = sent(body).registration()?;
        Ok((names.into_names().iter().map(|name| name.replace('\0', "|")).collect(), password))
    }

    fn named(names: &[&str]) -> Result<(Vec<String>, String), Failure> {
        Ok((names.iter().map(|&name| name.to_owned()).collect(), "secret words".to_owned()))
    }

    #[test]
    fn ep_71_the_password_is_taken_out_and_the_rest_keeps_its_order() {
        for (body, data) in [
            (r#"{"username":"anna","password":"secret words","age":1.0}"#, r#"{"username":"anna","age":1.0}"#),
            (r#"{"password":"a","z":1,"password":5,"a":{"password":"b"}}"#, r#"{"z":1,"a":{"password":"b"}}"#),
            (r#"{"p\u0061ssword":"a"}"#, "{}"),
            (r#"{"Password":"a","z":1,"z":2}"#, r#"{"Password":"a","z":1,"z":2}"#),
            ("{}", "{}"),
        ] {
            assert_eq!(sent(body).data, data, "{body}");
        }
        for other in ["[]", "\"{}\"", "1", "null"] {
            assert!(Sent::read(other).is_err_and(|failure| failure == Failure::BodyNotValid), "{other}");
        }
    }

    #[test]
    fn ep_71_who_registers_needs_a_name_and_a_password() {
        let with = |names: &str| registration(&format!(r#"{{{names}"password":"secret words"}}"#));
        assert_eq!(with(r#""username":"anna","#), named(&["username|anna"]));
        assert_eq!(with(r#""email":"A@b.C","username":"Anna","#), named(&["username|Anna", "email|a@b.c"]));
        assert_eq!(with(r#""email":"É@B","username":null,"#), named(&["email|É@b"]));
        assert_eq!(with(r#""username":"x","username":"\u0061","#), named(&["username|a"]));
        let long = "a".repeat(254);
        assert_eq!(with(&format!(r#""username":"{long}","#)), named(&[&format!("username|{long}")]));
        for bad in [
            "",
            r#""username":"","#,
            r#""username":5,"#,
            r#""username":"anna","email":5,"#,
            r#""username":null,"email":null,"#,
            r#""Username":"anna","#,
            &format!(r#""username":"{long}b","#),
        ] {
            assert_eq!(with(bad), Err(Failure::NamesRequired), "{bad}");
        }
        let password = |text: &str| registration(&format!(r#"{{"username":"a","password":{text}}}"#)).map(|it| it.1);
        assert_eq!(registration(r#"{"username":"a"}"#), Err(Failure::NamesRequired));
        assert_eq!(password("null"), Err(Failure::NamesRequired));
        for bad in ["\"\"", "\"1234567\"", "12345678", "[]", "true", &format!("\"{}\"", "x".repeat(1025))] {
            assert_eq!(password(bad), Err(Failure::PasswordNotValid), "{bad}");
        }
        // Bytes, not characters.
        assert_eq!(password("\"éééé\"").as_deref(), Ok("éééé"));
        assert_eq!(password("\"\\u00e9\\u00e9\\u00e9\\u00e9\"").as_deref(), Ok("éééé"));
        assert!(password(&format!("\"{}\"", "x".repeat(1024))).is_ok());
    }

    #[test]
    fn a_change_may_leave_the_password_and_has_to_leave_a_name() {
        assert_eq!(sent(r#"{"a":1}"#).password(), Ok(None));
        assert_eq!(sent(r#"{"a":1,"password":null}"#).password(), Ok(None));
        assert_eq!(sent(r#"{"password":"new secret"}"#).password(), Ok(Some("new secret".to_owned())));
        assert_eq!(sent(r#"{"password":"short"}"#).password(), Err(Failure::PasswordNotValid));
        assert_eq!(Names::of(r#"{"age":1}"#), Err(Failure::NamesRequired));
        assert_eq!(Names::of("[1]"), Err(Failure::BodyNotValid));
        let names = Names::of(r#"{"email":"a","username":"b"}"#).unwrap().into_names();
        assert_eq!([0, 1].map(|place| Names::taken(&names, place)), [Failure::UsernameTaken, Failure::EmailTaken]);
        let email = Names::of(r#"{"email":"a"}"#).unwrap().into_names();
        assert_eq!(Names::taken(&email, 0), Failure::EmailTaken);
    }

    #[test]
    fn ep_74_a_login_that_cannot_be_right_is_an_attempt_like_others() {
        let login = |body: &str| {
            let Login { name, password } = sent(body).login();
            (name.map(|name| name.replace('\0', "|")), password)
        };
        let attempt = |name: Option<&str>, password: &str| (name.map(str::to_owned), password.to_owned());
        let both = r#"{"email":"A@b","username":"anna","password":"secret words"}"#;
        assert_eq!(login(both), attempt(Some("username|anna"), "secret words"));
        assert_eq!(login(r#"{"email":"A@b","password":"secret words"}"#), attempt(Some("email|a@b"), "secret words"));
        assert_eq!(login(r#"{"username":"anna"}"#), attempt(Some("username|anna"), ""));
        assert_eq!(login(r#"{"username":"anna","password":"short"}"#), attempt(Some("username|anna"), ""));
        assert_eq!(login(r#"{"username":5,"password":["x"]}"#), attempt(None, ""));
        assert_eq!(login("{}"), attempt(None, ""));
        // One name cannot be said as if it were of the other kind.
        assert_eq!(login("{\"username\":\"email\\u0000a\"}").0.as_deref(), Some("username|email|a"));
    }

    fn service(keys: &str) -> Service {
        let options: Options = toml::from_str(&format!("[yawe]\n{keys}\n")).unwrap();
        options.services.into_iter().next().unwrap()
    }

    #[test]
    fn ep_72_and_73_a_session_is_told_by_a_cookie_or_a_header() {
        let secure = service("session_ttl = \"90s\"");
        assert_eq!(cookie(&secure, "t"), "yawe_access_token=t; Path=/; Max-Age=90; Secure; HttpOnly; SameSite=None");
        assert_eq!(
            expired_cookie(&secure, "__Secure-yawe-access-token"),
            "__Secure-yawe-access-token=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=None"
        );
        let plain = service("cookie_secure = false");
        assert_eq!(cookie(&plain, "t"), "yawe_access_token=t; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
        assert_eq!(cookie(&service("session_ttl = \"10ms\""), "t").split("; ").nth(2), Some("Max-Age=1"));
        assert_eq!(authorization("t"), "Bearer t");
    }

    #[test]
    fn a_user_of_the_configuration_has_its_name_alone() {
        let (data, names) = configured("an\"na");
        assert_eq!(data, r#"{"username":"an\"na"}"#);
        assert_eq!(names, Names::of(&data).unwrap().into_names());
    }
}
