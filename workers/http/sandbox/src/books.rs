//! The carrier's books: pickups by tracking number, and every request's key.
//!
//! Each change is a line of a journal, on disk before anybody hears of it. It must not know HTTP.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Why the books cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// The file cannot be read or written.
    #[error("the carrier's books {0}")]
    Io(PathBuf, #[source] io::Error),
    /// Another process writes them.
    #[error("the carrier's books {0} are in use by another process")]
    InUse(PathBuf),
    /// A line is not what was written.
    #[error("the carrier's books {0} are damaged in line {1}")]
    Damaged(PathBuf, usize, #[source] serde_json::Error),
}

/// A parcel to be picked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pickup {
    /// The carrier's own number.
    pub(crate) tracking: String,
    pub(crate) order_id: String,
    pub(crate) address: String,
    /// The key of the request that asked for it.
    pub(crate) key: String,
    /// Called off, and not picked up.
    pub(crate) called_off: bool,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The key was used for something else.
    KeyReused,
    /// Another request has a pickup for the order.
    OrderTaken,
}

/// The books.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pickups: BTreeMap<String, Pickup>,
    journal: Option<File>,
}

impl Books {
    /// Opens the books in `folder`; new ones that keep nothing without it.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self, BooksError> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let path = folder.join("pickups.jsonl");
        let io = |error| BooksError::Io(path.clone(), error);
        std::fs::create_dir_all(folder).map_err(io)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(BooksError::InUse(path)),
            Err(std::fs::TryLockError::Error(error)) => return Err(io(error)),
        }
        let mut books = Self::default();
        let mut whole = 0;
        let mut reader = BufReader::new(&mut file);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let length = reader.read_until(b'\n', &mut text).map_err(io)?;
            // A torn last line is what a crash leaves: nobody was told of it.
            if text.last() != Some(&b'\n') {
                break;
            }
            let pickup: Pickup = serde_json::from_slice(&text)
                .map_err(|error| BooksError::Damaged(path.clone(), line, error))?;
            books.pickups.insert(pickup.tracking.clone(), pickup);
            whole += length as u64;
        }
        file.set_len(whole).map_err(io)?;
        file.seek(SeekFrom::Start(whole)).map_err(io)?;
        books.journal = Some(file);
        Ok(books)
    }

    /// All pickups.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Pickup> {
        self.pickups.values()
    }

    /// The pickup of that number.
    pub(crate) fn get(&self, tracking: &str) -> Option<&Pickup> {
        self.pickups.get(tracking)
    }

    /// The pickup that stands for an order.
    pub(crate) fn of_order(&self, order_id: &str) -> Option<&Pickup> {
        self.pickups.values().find(|it| it.order_id == order_id && !it.called_off)
    }

    /// Notes a request, once: the pickup, and whether it is new.
    pub(crate) fn request(
        &mut self,
        key: &str,
        order_id: &str,
        address: &str,
    ) -> io::Result<Result<(Pickup, bool), Refusal>> {
        if let Some(known) = self.pickups.values().find(|it| it.key == key) {
            let same = known.order_id == order_id && known.address == address;
            return Ok(if same { Ok((known.clone(), false)) } else { Err(Refusal::KeyReused) });
        }
        if self.of_order(order_id).is_some() {
            return Ok(Err(Refusal::OrderTaken));
        }
        let pickup = Pickup {
            tracking: format!("KR-{:06}", self.pickups.len() + 1),
            order_id: order_id.to_owned(),
            address: address.to_owned(),
            key: key.to_owned(),
            called_off: false,
        };
        self.keep(&pickup)?;
        Ok(Ok((pickup, true)))
    }

    /// Calls a pickup off; false when there is none that stands.
    pub(crate) fn call_off(&mut self, tracking: &str) -> io::Result<bool> {
        let Some(pickup) = self.pickups.get(tracking).filter(|it| !it.called_off) else { return Ok(false) };
        self.keep(&Pickup { called_off: true, ..pickup.clone() })?;
        Ok(true)
    }

    fn keep(&mut self, pickup: &Pickup) -> io::Result<()> {
        if let Some(file) = &mut self.journal {
            let mut line = serde_json::to_vec(pickup)?;
            line.push(b'\n');
            file.write_all(&line)?;
            file.sync_data()?;
        }
        self.pickups.insert(pickup.tracking.clone(), pickup.clone());
        Ok(())
    }
}
