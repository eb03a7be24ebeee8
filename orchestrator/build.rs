//! Embeds the built dashboard, if there is one: `dashboard/build` puts it into `dashboard/dist`.
//!
//! Without it everything still builds and runs, and `/ui/` says how to build it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let dist = variable("CARGO_MANIFEST_DIR")?.join("../dashboard/dist");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        collect(&dist, &mut files)?;
    }
    files.sort();
    let mut table = String::from("&[\n");
    for file in files.iter().filter(|it| it.extension().is_none_or(|it| it != "gz")) {
        let name = file.strip_prefix(&dist).map_err(io::Error::other)?;
        let zipped = PathBuf::from(format!("{}.gz", file.display()));
        let zipped = match files.binary_search(&zipped) {
            Ok(_) => format!("Some(include_bytes!({zipped:?}))"),
            Err(_) => "None".to_owned(),
        };
        let name = name.display().to_string();
        writeln!(table, "    File {{ name: {name:?}, bytes: include_bytes!({file:?}), zipped: {zipped} }},")
            .map_err(io::Error::other)?;
    }
    table.push_str("]\n");
    fs::write(variable("OUT_DIR")?.join("dashboard.rs"), table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
