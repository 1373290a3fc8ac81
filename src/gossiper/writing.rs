//! Writing: the keys and values of this node's own map.

use std::time::{Duration, Instant as Clock};

use serde::Serialize;

use crate::error::Error;
use crate::gossiper::Gossiper;
use crate::instant::Instant;
use crate::value::Value;

impl Gossiper {
    /// Sets a key of this node's map, for everyone to read. Returns its version.
    ///
    /// A key that has this value already keeps its version, and nobody hears of it.
    ///
    /// # Errors
    /// [`Error::Encode`], [`Error::ReservedKey`], [`Error::KeyTooLong`], [`Error::ValueTooLarge`], [`Error::MapFull`], and
    /// [`Error::Stopped`] or [`Error::ThreadPanicked`] of a node that does not run; the map is then unchanged.
    pub fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<u64, Error> {
        self.set_value(key, Value::encode(value)?, None)
    }

    /// [`Gossiper::set`] for a value that ends after `life`: everywhere, whatever the nodes' wall clocks show. One without
    /// any life is set and ends at once, with both events.
    ///
    /// ```
    /// # use grapevine::Gossiper;
    /// # use std::time::Duration;
    /// let node = Gossiper::builder().start()?;
    /// node.set_for("lock", "held", Duration::from_millis(50))?;
    /// assert!(node.get("lock").is_some());
    /// assert!(node.wait_until(Duration::from_secs(5), |node| node.get("lock").is_none()));
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Gossiper::set`].
    pub fn set_for<T: Serialize + ?Sized>(&self, key: &str, value: &T, life: Duration) -> Result<u64, Error> {
        self.set_value(key, Value::encode(value)?, Some(self.now() + life))
    }

    /// [`Gossiper::set`] for a value that ends at `deadline`, a [`std::time::Instant`].
    ///
    /// ```
    /// # use grapevine::Gossiper;
    /// # use std::time::{Duration, Instant};
    /// let node = Gossiper::builder().start()?;
    /// let deadline = Instant::now() + Duration::from_secs(60);
    /// node.set_until("lease/a", &1, deadline)?;
    /// node.set_until("lease/b", &2, deadline)?; // both end at the same moment
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Gossiper::set`].
    pub fn set_until<T: Serialize + ?Sized>(&self, key: &str, value: &T, deadline: Clock) -> Result<u64, Error> {
        self.set_value(key, Value::encode(value)?, Some(self.inner.shared.at_clock(deadline)))
    }

    /// [`Gossiper::set`] for a value that is encoded already, with or without a deadline. That is on this node's clock, as
    /// in events and entries: `node.now() + life`.
    ///
    /// # Errors
    /// Those of [`Gossiper::set`].
    pub fn set_value(&self, key: &str, value: Value, deadline: Option<Instant>) -> Result<u64, Error> {
        self.write(|node, now, out| node.set(now, key, value, deadline, out))
    }

    /// [`Gossiper::set`], unless this node writes faster than [`Gossiper::permitted_rate`].
    ///
    /// ```
    /// # use grapevine::{Error, Gossiper};
    /// let node = Gossiper::builder().start()?;
    /// match node.try_set("load", &0.7) {
    ///     Err(Error::RateExceeded { retry_after, .. }) => println!("too fast; again in {retry_after:?}"),
    ///     other => println!("version {}", other?),
    /// }
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Gossiper::set`], and [`Error::RateExceeded`], which says when to try again.
    pub fn try_set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<u64, Error> {
        let value = Value::encode(value)?;
        self.write(|node, now, out| node.try_set(now, key, value, None, out))
    }

    /// [`Gossiper::set_for`], unless this node writes faster than [`Gossiper::permitted_rate`].
    ///
    /// # Errors
    /// Those of [`Gossiper::try_set`].
    pub fn try_set_for<T: Serialize + ?Sized>(&self, key: &str, value: &T, life: Duration) -> Result<u64, Error> {
        let value = Value::encode(value)?;
        self.write(|node, now, out| node.try_set(now, key, value, Some(now + life), out))
    }

    /// Deletes a key of this node's map. Returns the version from which on it is gone; `None` if there was none.
    ///
    /// ```
    /// # use grapevine::Gossiper;
    /// let node = Gossiper::builder().initial("a", &1).start()?;
    /// assert_eq!(node.delete("a")?, Some(3));
    /// assert_eq!(node.delete("a")?, None);
    /// # Ok::<(), grapevine::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ReservedKey`], [`Error::Stopped`] and [`Error::ThreadPanicked`].
    pub fn delete(&self, key: &str) -> Result<Option<u64>, Error> {
        self.write(|node, now, out| node.delete(now, key, out))
    }
}
