//! The body of every error answer, and MLflow's error codes.

use serde::{Deserialize, Serialize};

/// `{"error_code": …, "message": …}`, the body of every answer that is not 200.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The code, as MLflow names it; a client must bear with names that it does not know.
    pub error_code: String,
    /// What went wrong, for people.
    #[serde(default)]
    pub message: String,
}

macro_rules! error_codes {
    ($( $(#[$meta:meta])* $variant:ident = $text:literal, $status:literal; )*) => {
        /// The error codes of MLflow that a registry sends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ErrorCode { $( $(#[$meta])* $variant, )* }

        impl ErrorCode {
            /// The name on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )* }
            }

            /// The HTTP status that MLflow sends with the code.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $( Self::$variant => $status, )* }
            }

            /// The code of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $( $text => Some(Self::$variant), )* _ => None }
            }
        }
    };
}

error_codes! {
    /// The body or a parameter can't be read.
    BadRequest = "BAD_REQUEST", 400;
    /// A parameter has a value that is not allowed.
    InvalidParameterValue = "INVALID_PARAMETER_VALUE", 400;
    /// The thing to be created exists.
    ResourceAlreadyExists = "RESOURCE_ALREADY_EXISTS", 400;
    /// The thing is in a state that does not allow the request.
    InvalidState = "INVALID_STATE", 400;
    /// The caller is not known.
    Unauthenticated = "UNAUTHENTICATED", 401;
    /// The caller may not do this.
    PermissionDenied = "PERMISSION_DENIED", 403;
    /// The thing does not exist.
    ResourceDoesNotExist = "RESOURCE_DOES_NOT_EXIST", 404;
    /// The path does not exist.
    EndpointNotFound = "ENDPOINT_NOT_FOUND", 404;
    /// The body is larger than allowed.
    RequestLimitExceeded = "REQUEST_LIMIT_EXCEEDED", 429;
    /// The server failed.
    InternalError = "INTERNAL_ERROR", 500;
    /// The server does not offer this.
    NotImplemented = "NOT_IMPLEMENTED", 501;
    /// The server can't answer now; try again.
    TemporarilyUnavailable = "TEMPORARILY_UNAVAILABLE", 503;
}
