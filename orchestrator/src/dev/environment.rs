//! The file `environment` in the data's folder: where everything is, as a shell reads it.
//!
//! For programs from outside, such as the load generator. It holds passwords, so only its owner reads it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::places::Urls;

/// The written file. Dropping it deletes the file: what it says holds no longer.
#[derive(Debug)]
pub struct EnvironmentFile(PathBuf);

impl EnvironmentFile {
    /// Writes the variables, the URLs and this process's id.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(dir: &Path, variables: &[(String, String)], urls: &Urls) -> anyhow::Result<Self> {
        let path = dir.join("environment");
        let mut text = String::new();
        let places = [
            ("AMENDS_URL", &urls.api),
            ("AMENDS_STOCK_URL", &urls.stock),
            ("AMENDS_SANDBOX_URL", &urls.sandbox),
            ("AMENDS_DEV_PID", &std::process::id().to_string()),
        ];
        let known = variables.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in known.chain(places) {
            text.push_str(&format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
        }
        // A file of an earlier run may have been left, with its permissions.
        let _ = std::fs::remove_file(&path);
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for EnvironmentFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_shell_reads_what_was_written_and_nobody_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let url = |text: &str| text.to_owned();
        let urls = Urls {
            api: url("http://a"),
            order: url("http://o"),
            stock: url("http://s"),
            payment: url("http://p"),
            notify: url("http://n"),
            http: url("http://h"),
            sandbox: url("http://t"),
        };
        let secret = [("AMENDS_DATABASE_URL".to_owned(), "postgres://a:it's@b".to_owned())];
        let file = EnvironmentFile::write(dir.path(), &secret, &urls).unwrap();
        let path = dir.path().join("environment");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let script = ". ./environment; echo \"$AMENDS_URL $AMENDS_DATABASE_URL\"";
        let told = std::process::Command::new("sh").args(["-c", script]).current_dir(dir.path()).output();
        assert_eq!(String::from_utf8(told.unwrap().stdout).unwrap(), "http://a postgres://a:it's@b\n");
        drop(file);
        assert!(!path.exists());
    }
}
