//! The sidecar as a whole: real sockets, real files, in this process or as the real program.

mod it {
    pub(crate) mod core;
    pub(crate) mod http;
    pub(crate) mod program;

    mod channel;
    mod debug;
    mod life;
    mod metrics;
}
