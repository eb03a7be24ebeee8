//! `amends dev` watches the folder of definitions: what is saved is published.
//!
//! Owns what counts as a change. Only `amends dev` does so; elsewhere definitions are published through the API.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::client::Client;
use super::{Output, definitions};

const PAUSE: Duration = Duration::from_millis(500);
/// More is no definition: the loader takes less.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

type Texts = BTreeMap<PathBuf, String>;

/// A folder, and what of it is known.
pub(super) struct Watch {
    folder: PathBuf,
    /// As it was published, or refused.
    known: Texts,
    /// As it was when last looked at: a file that is being written is waited for.
    last: Texts,
}

impl Watch {
    /// Of a folder whose present files are known.
    pub(super) fn new(folder: PathBuf) -> Self {
        let known = read(&folder);
        Self { folder, last: known.clone(), known }
    }

    /// The files that are new or different, and were the same at the last look.
    fn changed(&mut self) -> Vec<PathBuf> {
        let now = read(&self.folder);
        let settled = now.iter().filter(|(path, text)| self.last.get(*path) == Some(text));
        let changed = settled.filter(|(path, text)| self.known.get(*path) != Some(text));
        let changed: Texts = changed.map(|(path, text)| (path.clone(), text.clone())).collect();
        self.last = now;
        let paths = changed.keys().cloned().collect();
        self.known.extend(changed);
        paths
    }

    /// Publishes what changes and is `served`, for ever. What is refused is told, and is tried again when it changes
    /// again.
    pub(super) async fn publish(
        mut self,
        client: &Client,
        served: impl Fn(Vec<PathBuf>) -> Vec<PathBuf>,
        output: Output,
    ) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let paths = served(self.changed());
            if paths.is_empty() {
                continue;
            }
            if let Err(failure) = definitions::publish(client, &paths, &[], output).await {
                failure.tell(output.json);
            }
        }
    }
}

/// The texts of a folder's definitions; what cannot be read is not there.
fn read(folder: &std::path::Path) -> Texts {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let yaml = entries.map(|entry| entry.path()).filter(|path| is_yaml(path));
    let small = yaml.filter(|path| path.metadata().is_ok_and(|it| it.is_file() && it.len() <= BYTES_MAX));
    small.filter_map(|path| std::fs::read_to_string(&path).ok().map(|text| (path, text))).collect()
}

/// Whether a file's name is that of a definition. Editors keep their own beside it, with a dot in front.
pub(super) fn is_yaml(path: &std::path::Path) -> bool {
    let hidden = path.file_name().and_then(|it| it.to_str()).is_none_or(|it| it.starts_with('.'));
    !hidden && path.extension().is_some_and(|it| it == "yaml" || it == "yml")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    #[test]
    fn what_is_new_or_different_counts_once_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("old.yaml"), "1").unwrap();
        let mut watch = Watch::new(folder.path().to_owned());
        assert!(watch.changed().is_empty());
        fs::write(path("new.yaml"), "half").unwrap();
        fs::write(path("notes.txt"), "x").unwrap();
        fs::write(path(".new.yaml"), "x").unwrap();
        assert!(watch.changed().is_empty(), "it may still be written");
        fs::write(path("new.yaml"), "whole").unwrap();
        assert!(watch.changed().is_empty());
        assert_eq!(watch.changed(), [path("new.yaml")]);
        assert!(watch.changed().is_empty());
        fs::write(path("old.yaml"), "2").unwrap();
        fs::remove_file(path("new.yaml")).unwrap();
        watch.changed();
        assert_eq!(watch.changed(), [path("old.yaml")]);
        fs::write(path("old.yaml"), "2").unwrap();
        watch.changed();
        assert!(watch.changed().is_empty(), "saved as it was");
    }
}
