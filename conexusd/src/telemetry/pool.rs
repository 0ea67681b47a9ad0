//! Pool: what did threads that ended leave for the next?

use std::sync::PoisonError;

use super::sync::Mutex;

/// Things that one thread owns at a time.
#[derive(Debug)]
pub(crate) struct Pool<T>(Mutex<Vec<T>>);

impl<T> Pool<T> {
    /// With nothing in it.
    pub(crate) fn empty() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// What somebody left last, or something new.
    pub(crate) fn take(&self, make: impl FnOnce() -> T) -> T {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        left.unwrap_or_else(make)
    }

    /// Leaves something to the next. What was done to it before is seen by whoever takes it.
    pub(crate) fn leave(&self, it: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(it);
    }

    /// How many lie here.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
