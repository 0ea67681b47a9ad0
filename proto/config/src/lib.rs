//! The one configuration schema that both processes read: what can be set, where it comes from, and what is wrong with it.
//!
//! ```text
//! settings (the table) ─▶ inputs ─▶ file, env, flags ─▶ raw values ─▶ parse ─▶ rules ─▶ Config
//!                     └──▶ default file, effective values, JSON schema, reference
//! ```
//!
//! [`settings`] is the only place that names a key. A process calls [`Inputs::from_process`] once, hands the result to
//! [`load`], and from then on sees only the typed [`Config`]. Nothing else in this crate reads the environment, and
//! nothing is kept in a static. The working directory is never searched for a configuration file, because a
//! repository must not configure the tool that reads it.

pub mod settings;

mod key;
mod inputs;
mod load;
mod file;
mod env;
mod raw;
mod parse;
mod value;
mod rules;
mod error;
mod suggest;

pub mod paths;
pub mod secret;
pub mod socket_dir;
pub mod url;

mod default_file;
mod reference;
mod schema;
mod show;

pub use default_file::default_file;
pub use error::{ConfigErrors, Mistake};
pub use inputs::{Flag, Inputs, Machine};
pub use key::{Key, Kind};
pub use load::{Loaded, Origin, load};
pub use parse::host::is_loopback;
pub use paths::Paths;
pub use reference::reference_markdown;
pub use schema::schema;
pub use secret::{Secret, Token};
pub use settings::{Config, LogFormat, LogLevel, LogRotation, Provider, SearchMethod, TracingProtocol, keys};
pub use socket_dir::{SocketDirError, check_socket_dir, prepare_socket_dir};
pub use url::{Dsn, HttpUrl};

#[cfg(test)]
mod tests;
