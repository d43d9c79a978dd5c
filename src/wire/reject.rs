//! Every refusal that a client can get, with its stable code, text and HTTP status (WIRE D).
//!
//! A `Reject` is the client's mistake or the hub's limit, never a fault of ours: it is counted
//! and answered, and not logged above debug. Texts are what the existing front end shows people.

use super::Dialect;

/// Why something that a client asked for is not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reject {
    /// No JSON object, or one with a broken or doubled key that is read.
    InvalidMessageFormat,
    /// A chat whose data has the wrong shape.
    InvalidChatMessage,
    /// A type that clients don't send.
    UnknownMessageType,
    /// No content.
    ContentEmpty,
    /// More characters than `content_chars_max`.
    ContentTooLong,
    /// A character that the store can't keep (U+0000).
    ContentInvalid,
    /// A path, query or body field; `field` names it, `message` is what people read.
    InvalidParameter {
        /// The name of the path, query or body field.
        field: &'static str,
        /// What is wrong, for people.
        message: &'static str,
    },
    /// The body's space differs from the path's.
    SpaceMismatch,
    /// No, bad or expired token.
    Unauthorized,
    /// Another person's id, or a space that is not allowed.
    Forbidden,
    /// A nonce used before with other content.
    NonceReused,
    /// A request body over its route's limit.
    BodyTooLarge,
    /// The database knows no such user.
    UnknownUser,
    /// The database knows no such space.
    UnknownSpace,
    /// The database refused the row for another reason.
    StoreRefused,
    /// Over a message rate; a try after the hint succeeds.
    RateLimited {
        /// Milliseconds to wait.
        retry_after_ms: u32,
    },
    /// No room for another connection: in all, of this user or of this address.
    TooManyConnections,
    /// Inbox, memory or bodies in flight are full.
    Overloaded,
    /// The journal takes nothing more, or history has no store to read.
    StoreUnavailable,
    /// Messages are not found by their words: the setting `search` is off.
    SearchOff,
    /// The hub is shutting down.
    Draining,
    /// A bug of ours.
    Internal,
}

const NOT_ALLOWED: &str = "no autorizado para realizar esta acción";

impl Reject {
    /// How many kinds there are; `kind` is below it.
    pub const KINDS: usize = 22;

    /// The codes in the order of [`kind`](Reject::kind), for metrics.
    pub const CODES: [&'static str; Reject::KINDS] = [
        "invalid_message_format",
        "invalid_chat_message",
        "unknown_message_type",
        "content_empty",
        "content_too_long",
        "content_invalid",
        "invalid_parameter",
        "space_mismatch",
        "unauthorized",
        "forbidden",
        "nonce_reused",
        "body_too_large",
        "unknown_user",
        "unknown_space",
        "store_refused",
        "rate_limited",
        "too_many_connections",
        "overloaded",
        "store_unavailable",
        "search_off",
        "draining",
        "internal",
    ];

    /// A small number for counting by kind.
    pub fn kind(self) -> usize {
        match self {
            Reject::InvalidMessageFormat => 0,
            Reject::InvalidChatMessage => 1,
            Reject::UnknownMessageType => 2,
            Reject::ContentEmpty => 3,
            Reject::ContentTooLong => 4,
            Reject::ContentInvalid => 5,
            Reject::InvalidParameter { .. } => 6,
            Reject::SpaceMismatch => 7,
            Reject::Unauthorized => 8,
            Reject::Forbidden => 9,
            Reject::NonceReused => 10,
            Reject::BodyTooLarge => 11,
            Reject::UnknownUser => 12,
            Reject::UnknownSpace => 13,
            Reject::StoreRefused => 14,
            Reject::RateLimited { .. } => 15,
            Reject::TooManyConnections => 16,
            Reject::Overloaded => 17,
            Reject::StoreUnavailable => 18,
            Reject::SearchOff => 19,
            Reject::Draining => 20,
            Reject::Internal => 21,
        }
    }

    /// The stable slug: HTTP's and `cpi-hub.v1`'s `code`.
    pub fn code(self) -> &'static str {
        Reject::CODES[self.kind()]
    }

    /// The `code` as a dialect has it: seed clients know one code for all faults of content.
    pub fn code_in(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (
                Reject::ContentEmpty | Reject::ContentTooLong | Reject::ContentInvalid,
                Dialect::Seed,
            ) => "validation_error",
            _ => self.code(),
        }
    }

    /// The text that is shown to people, as WIRE A and D have it.
    pub fn message(self) -> &'static str {
        match self {
            Reject::InvalidMessageFormat => "Invalid message format",
            Reject::InvalidChatMessage => "Invalid chat message",
            Reject::UnknownMessageType => "Unknown message type",
            Reject::ContentEmpty => "el mensaje no puede estar vacío",
            Reject::ContentTooLong => "el mensaje es demasiado largo",
            Reject::ContentInvalid => "el mensaje contiene caracteres no permitidos",
            Reject::InvalidParameter { message, .. } => message,
            Reject::SpaceMismatch => "space_id no coincide con la ruta",
            Reject::Unauthorized | Reject::Forbidden => NOT_ALLOWED,
            Reject::NonceReused => "esta clave ya se usó con otro mensaje",
            Reject::BodyTooLarge => "la solicitud es demasiado grande",
            Reject::UnknownUser => "el usuario no existe",
            Reject::UnknownSpace => "el espacio no existe",
            Reject::StoreRefused => "el mensaje no se pudo guardar",
            Reject::RateLimited { .. } => "demasiados mensajes, espera un momento",
            Reject::TooManyConnections => "maximum connections reached",
            Reject::Overloaded => "servicio saturado, inténtalo de nuevo",
            Reject::StoreUnavailable => "servicio no disponible, inténtalo de nuevo",
            Reject::SearchOff => "la búsqueda está desactivada (ajuste search)",
            Reject::Draining => "el servidor se está reiniciando, inténtalo de nuevo",
            Reject::Internal => "error interno del servidor",
        }
    }

    /// The field that is wrong, where one is.
    pub fn field(self) -> Option<&'static str> {
        match self {
            Reject::InvalidParameter { field, .. } => Some(field),
            Reject::SpaceMismatch => Some("space_id"),
            _ => None,
        }
    }

    /// The HTTP status (WIRE D).
    pub fn status(self) -> u16 {
        match self {
            Reject::Unauthorized => 401,
            Reject::Forbidden => 403,
            Reject::SearchOff => 404,
            Reject::NonceReused => 409,
            Reject::BodyTooLarge => 413,
            Reject::UnknownUser | Reject::UnknownSpace | Reject::StoreRefused => 422,
            Reject::RateLimited { .. } => 429,
            Reject::TooManyConnections
            | Reject::Overloaded
            | Reject::StoreUnavailable
            | Reject::Draining => 503,
            Reject::Internal => 500,
            _ => 400,
        }
    }

    /// Milliseconds after which a try makes sense; `None`: don't try again as it is.
    pub fn retry_after_ms(self) -> Option<u32> {
        match self {
            Reject::RateLimited { retry_after_ms } => Some(retry_after_ms),
            Reject::Overloaded | Reject::StoreUnavailable => Some(1_000),
            Reject::TooManyConnections | Reject::Draining => Some(3_000),
            _ => None,
        }
    }
}
