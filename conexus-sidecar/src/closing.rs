//! Closing: has the sidecar been told to end its streams?

use tokio::sync::watch;

/// Says once that everything is to end.
#[derive(Debug)]
pub struct Closer(watch::Sender<bool>);

/// Knows whether everything is to end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Closing(watch::Receiver<bool>);

/// A pair of both.
pub fn pair() -> (Closer, Closing) {
    let (sender, receiver) = watch::channel(false);
    (Closer(sender), Closing(receiver))
}

impl Closer {
    /// Everything is to end.
    pub fn close(&self) {
        self.0.send_replace(true);
    }
}

impl Closing {
    /// Whether everything is to end.
    pub fn is_closed(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until everything is to end.
    pub async fn wait(&mut self) {
        // An error means that the closer is gone, which ends everything as well.
        let _ = self.0.wait_for(|closed| *closed).await;
    }
}
