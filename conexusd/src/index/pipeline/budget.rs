//! Budget: how many bytes may be in flight between reading and writing.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::index::run::lock;

/// A number of bytes that are lent out.
#[derive(Debug)]
pub(super) struct Budget {
    total: usize,
    lent: Mutex<usize>,
    returned: Condvar,
}

/// Bytes lent; they go back when this is dropped.
#[derive(Debug)]
pub(super) struct Loan {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of so many bytes.
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, lent: Mutex::new(0), returned: Condvar::new() })
    }

    /// Waits until so many bytes are free (more than all count as all) and takes them; `None` if `stop` says so.
    ///
    /// Who waits must hold no loan: two who wait for each other's would wait for ever.
    pub(super) fn take(self: &Arc<Self>, bytes: usize, stop: &dyn Fn() -> bool) -> Option<Loan> {
        let bytes = bytes.min(self.total);
        let mut lent = lock(&self.lent);
        while *lent + bytes > self.total {
            if stop() {
                return None;
            }
            let waited = self.returned.wait_timeout(lent, Duration::from_millis(20));
            lent = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        *lent += bytes;
        Some(Loan { budget: Arc::clone(self), bytes })
    }

    /// Takes so many bytes if they are free.
    pub(super) fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Loan> {
        let mut lent = lock(&self.lent);
        if *lent + bytes > self.total {
            return None;
        }
        *lent += bytes;
        Some(Loan { budget: Arc::clone(self), bytes })
    }

    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        *lock(&self.lent)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        *lock(&self.budget.lent) -= self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_is_not_free_until_it_comes_back() {
        let budget = Budget::new(10);
        let loan = budget.take(8, &|| false).unwrap();
        assert!(budget.try_take(3).is_none());
        assert!(budget.take(3, &|| true).is_none());
        drop(loan);
        assert_eq!(budget.lent(), 0);
        assert!(budget.take(1000, &|| false).is_some(), "more than all counts as all");
    }

    #[test]
    fn who_waits_gets_what_another_returns() {
        let budget = Budget::new(10);
        let loan = budget.take(10, &|| false).unwrap();
        let waiter = {
            let budget = Arc::clone(&budget);
            std::thread::spawn(move || budget.take(5, &|| false).is_some())
        };
        std::thread::sleep(Duration::from_millis(5));
        drop(loan);
        assert!(waiter.join().unwrap());
    }
}
