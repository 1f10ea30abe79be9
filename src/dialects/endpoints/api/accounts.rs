//! Users: who registers, logs in and out, and changes its own record (specification, section 8).

use super::super::failure::Failure;
use super::super::parameters::Session;
use super::call::Plan;

/// What a POST to an authentication endpoint is for.
pub fn plan(session: Session) -> Result<Plan, Failure> {
    match session {
        Session::None | Session::Login { .. } | Session::Logout => Err(Failure::MethodNotAllowed),
    }
}

/// What a PUT or a PATCH of a user record is for.
pub fn plan_change() -> Result<Plan, Failure> {
    Err(Failure::MethodNotAllowed)
}
