//! The journal: an append-only file of JSON lines, synchronized to disk before anybody sees what a
//! line says.
//!
//! Many lines share one `fsync` (group commit): the writer takes all that has been queued while the
//! disk was busy. It must not know what a line means.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("the sandbox's journal {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("the sandbox's journal {0} is in use by another process")]
    InUse(PathBuf),
    /// A line in the middle is not what was written.
    #[error("the sandbox's journal {path} is damaged in line {line}: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// The journal's writing end. Without a file (a sandbox that keeps nothing) every line is durable at
/// once.
#[derive(Debug)]
pub(crate) struct Journal {
    shared: Option<Arc<Shared>>,
    writer: Option<std::thread::JoinHandle<()>>,
    durable: watch::Receiver<Durable>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: Vec<u8>,
    appended: u64,
    closed: bool,
}

/// How far the journal is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durable {
    UpTo(u64),
    Failed,
}

/// The journal's file cannot be written any more: nothing may be answered.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the sandbox's journal cannot be written")]
pub(crate) struct JournalFailed;

impl Journal {
    /// A journal that keeps nothing.
    pub(crate) fn nowhere() -> Self {
        let (_, durable) = watch::channel(Durable::UpTo(u64::MAX));
        Self { shared: None, writer: None, durable }
    }

    /// Opens the file, hands every line to `replay` and goes on behind the last whole one.
    ///
    /// # Errors
    /// When the file cannot be used or a line in its middle is damaged. A torn last line is what a
    /// crash leaves: nobody was told of it, so it is cut off.
    pub(crate) fn open(
        path: &Path,
        mut replay: impl FnMut(&[u8]) -> Result<(), serde_json::Error>,
    ) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(JournalError::InUse(path.to_owned())),
            Err(std::fs::TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut whole = 0;
        let mut reader = BufReader::new(&mut file);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let length = reader.read_until(b'\n', &mut text).map_err(io)?;
            if text.last() != Some(&b'\n') {
                break;
            }
            replay(&text).map_err(|source| JournalError::Damaged { path: path.to_owned(), line, source })?;
            whole += length as u64;
        }
        file.set_len(whole).map_err(io)?;
        file.seek(SeekFrom::Start(whole)).map_err(io)?;
        file.sync_all().map_err(io)?;
        Ok(Self::start(file))
    }

    fn start(file: File) -> Self {
        let shared = Arc::new(Shared { queue: Mutex::default(), more: Condvar::new() });
        let (tell, durable) = watch::channel(Durable::UpTo(0));
        let writer = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || write_all(file, &shared, &tell))
        };
        Self { shared: Some(shared), writer: Some(writer), durable }
    }

    /// Queues a line (without its newline) and returns its number. The caller holds the lock under
    /// which the line was decided, so that the file has the order of the decisions.
    pub(crate) fn append(&self, line: &[u8]) -> u64 {
        let Some(shared) = &self.shared else { return 0 };
        let mut queue = shared.queue.lock();
        queue.lines.extend_from_slice(line);
        queue.lines.push(b'\n');
        queue.appended += 1;
        shared.more.notify_one();
        queue.appended
    }

    /// The number of the newest line.
    pub(crate) fn newest(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.queue.lock().appended)
    }

    /// Waits until line `number` is on disk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) async fn durable(&self, number: u64) -> Result<(), JournalFailed> {
        let mut durable = self.durable.clone();
        let reached = |it: &Durable| match it {
            Durable::UpTo(written) => *written >= number,
            Durable::Failed => true,
        };
        // A journal that keeps nothing has no sender; its value already says "everything".
        let now = *durable.borrow();
        let end =
            if reached(&now) { now } else { *durable.wait_for(reached).await.map_err(|_| JournalFailed)? };
        if end == Durable::Failed { Err(JournalFailed) } else { Ok(()) }
    }

    /// Whether the file can still be written.
    pub(crate) fn healthy(&self) -> bool {
        *self.durable.borrow() != Durable::Failed
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let (Some(shared), Some(writer)) = (&self.shared, self.writer.take()) else { return };
        shared.queue.lock().closed = true;
        shared.more.notify_one();
        if writer.join().is_err() {
            tracing::error!("the sandbox's journal writer has panicked");
        }
    }
}

fn write_all(mut file: File, shared: &Shared, tell: &watch::Sender<Durable>) {
    let mut lines = Vec::new();
    loop {
        lines.clear();
        let appended = {
            let mut queue = shared.queue.lock();
            while queue.lines.is_empty() && !queue.closed {
                shared.more.wait(&mut queue);
            }
            if queue.lines.is_empty() {
                return;
            }
            std::mem::swap(&mut queue.lines, &mut lines);
            queue.appended
        };
        if let Err(error) = file.write_all(&lines).and_then(|()| file.sync_data()) {
            // After a failed fsync the kernel may have dropped the pages: trying again would lie.
            tracing::error!(%error, "the sandbox's journal cannot be written; it answers nothing any more");
            tell.send_replace(Durable::Failed);
            return;
        }
        tell.send_replace(Durable::UpTo(appended));
    }
}
