//! `amends dev`: everything in one go, with three demo orders.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use chrono::Utc;
use clap::Args;
use saga_core::definition::{Work, load};
use serde_json::json;

use super::client::Client;
use super::exit::{Code, Failure};
use super::process::{BusKind, until_asked_to_stop};
use super::style::Tone;
use super::timeline::Timeline;
use super::watch::{Watch, is_yaml};
use super::{Output, definitions, say};
use crate::dev::demo::{self, Ended, ORDERS};
use crate::dev::embedded::Embedded;
use crate::dev::examples::EXAMPLES;
use crate::dev::places::Urls;
use crate::dev::processes::Processes;

/// What is logged unless `AMENDS_LOG` says otherwise, by the processes on Kafka, whose broker, just started, makes its clients ask twice.
const PROCESSES_LOG: &str = "warn,saga_bus::kafka::context=error";

/// Starts everything: Postgres, engine, the shop's workers and a Toss sandbox; places three demo orders
///
/// Needs no Kafka, Redis or Docker: Postgres is private, the bus in this process. With --bus kafka everything is a
/// process of its own on a real Apache Kafka. Data stays in the folder, and the next run carries on with it.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// The bus
    #[arg(long, default_value = "in-process")]
    bus: BusKind,
    /// Every part a process of its own; always so with --bus kafka
    #[arg(long, requires = "bus")]
    processes: bool,
    /// Leaves out the workers in other languages, which run with --bus kafka, and the definitions that ask them
    #[arg(long)]
    no_examples: bool,
    /// Ends after the demo orders: exit code 0 when they ended as they should
    #[arg(long)]
    demo: bool,
    /// Where data stays
    #[arg(long, default_value = ".amends", value_name = "FOLDER")]
    dir: PathBuf,
    /// The definitions to publish, and to publish again when they are saved
    #[arg(long, default_value = "saga-defs", value_name = "FOLDER")]
    definitions: PathBuf,
    /// Where the API listens; another port is taken when this one is
    #[arg(long, env = "AMENDS_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
}

enum Everything {
    Embedded(Box<Embedded>),
    Processes(Box<Processes>),
}

impl Everything {
    async fn start(args: &DevArgs) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&args.dir).with_context(|| format!("making {}", args.dir.display()))?;
        Ok(match args.bus {
            BusKind::InProcess => Self::Embedded(Box::new(Embedded::start(&args.dir, args.listen).await?)),
            BusKind::Kafka => {
                let log = std::env::var("AMENDS_LOG").unwrap_or_else(|_| PROCESSES_LOG.to_owned());
                Self::Processes(Box::new(
                    Processes::start(&args.dir, args.listen, &log, !args.no_examples).await?,
                ))
            }
        })
    }

    fn urls(&self) -> &Urls {
        match self {
            Self::Embedded(it) => it.urls(),
            Self::Processes(it) => it.urls(),
        }
    }

    /// The workers that nobody here is, of those that a definition of ours may ask.
    fn absent(&self) -> Vec<&'static str> {
        let runs: &[&str] = match self {
            Self::Embedded(_) => &[],
            Self::Processes(it) => it.examples(),
        };
        EXAMPLES.iter().map(|it| it.name).filter(|name| !runs.contains(name)).collect()
    }

    /// Why such a worker is not here.
    fn why_absent(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "they run on Kafka: make run BUS=kafka starts them",
            Self::Processes(_) => "they could not be started; it was said above why",
        }
    }

    async fn failed(&mut self) -> String {
        match self {
            Self::Embedded(it) => it.failed().await,
            Self::Processes(it) => it.failed().await,
        }
    }

    async fn stop(self) {
        match self {
            Self::Embedded(it) => {
                if let Err(error) = it.stop().await {
                    tracing::warn!(error = format!("{error:#}"), "while stopping");
                }
            }
            Self::Processes(it) => it.stop().await,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When something cannot be started, or ends by itself.
pub async fn run(args: DevArgs, output: Output) -> Result<Code, Failure> {
    if args.processes && args.bus != BusKind::Kafka {
        return Err(Failure::usage("--processes needs --bus kafka: the in-process bus ends at this process"));
    }
    crate::api::check_listen(args.listen, false)?;
    let files = files(&args.definitions)?;
    let watch = Watch::new(args.definitions.clone());
    let asked = until_asked_to_stop()?;
    if !output.json {
        say("Starting. The first time takes longer: a private Postgres is made.");
    }
    let mut everything = tokio::select! {
        started = Everything::start(&args) => started?,
        () = asked.cancelled() => return Ok(Code::Ok),
    };
    let urls = everything.urls().clone();
    let (absent, why_absent) = (everything.absent(), everything.why_absent());
    let those_served = |files| {
        let (files, left_out) = served(files, &absent);
        for (file, workers) in left_out.iter().filter(|_| !output.json) {
            say(&format!(
                "{} is not served: its workers {} are not here; {why_absent}",
                file.display(),
                workers.join(" and ")
            ));
        }
        files
    };
    let files = those_served(files);
    let shown = tokio::select! {
        shown = show(&urls, &files, output) => shown,
        why = everything.failed() => Err(Failure::new(Code::Failed, why)),
        () = asked.cancelled() => Ok(Code::Ok),
    };
    let serve_on = !args.demo && shown.is_ok() && !asked.is_cancelled();
    let ended = if serve_on {
        if !output.json {
            say(&addresses(&urls, &args.definitions, output));
        }
        let client = Client::new(&urls.api)?;
        tokio::select! {
            () = asked.cancelled() => Ok(Code::Ok),
            why = everything.failed() => Err(Failure::new(Code::Failed, why)),
            () = watch.publish(&client, those_served, output) => Ok(Code::Ok),
        }
    } else {
        shown
    };
    if !output.json {
        say("Stopping.");
    }
    everything.stop().await;
    ended
}

/// Files of definitions that are served, and those that are not, each with the absent workers that it asks.
type Served = (Vec<PathBuf>, Vec<(PathBuf, Vec<&'static str>)>);

/// Leaves out what asks an absent worker: its sagas would wait for ever for somebody who never comes. What cannot be
/// read, or is wrong, is kept, so that publishing says so.
fn served(files: Vec<PathBuf>, absent: &[&'static str]) -> Served {
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for file in files {
        let definition = std::fs::read_to_string(&file).ok().and_then(|text| load(&text).ok());
        let asks = |name: &str| {
            definition
                .iter()
                .flat_map(|it| &it.steps)
                .any(|step| matches!(&step.work, Work::Action { worker, .. } if worker.as_str() == name))
        };
        let missing: Vec<&'static str> = absent.iter().copied().filter(|name| asks(name)).collect();
        if missing.is_empty() { kept.push(file) } else { left_out.push((file, missing)) }
    }
    (kept, left_out)
}

/// The definitions' files, by name.
fn files(folder: &std::path::Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!(
            "cannot read the definitions in {}: {error}. Run it in the repository's folder, or give --definitions",
            folder.display()
        ))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_yaml(&path) {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::usage(format!("there is no definition (*.yaml) in {}", folder.display())));
    }
    Ok(files)
}

/// Publishes, seeds, places the three orders and prints what became of them.
async fn show(urls: &Urls, files: &[PathBuf], output: Output) -> Result<Code, Failure> {
    demo::until_ready(urls).await?;
    let client = Client::new(&urls.api)?;
    definitions::publish(&client, files, &[], output).await?;
    demo::seed(urls).await?;
    let ids = demo::order_ids();
    let [first, second, third] = &ORDERS;
    let (first, second, third) =
        tokio::join!(first.place(urls, &ids[0]), second.place(urls, &ids[1]), third.place(urls, &ids[2]));
    let mut wrong = Vec::new();
    for ((number, order), ended) in (1..).zip(&ORDERS).zip([first, second, third]) {
        let Ended { saga, wrong: found } =
            ended.with_context(|| format!("order {number}: {}", order.title))?;
        let (history, letters) = client.history(saga.summary.saga, 0).await?;
        if output.json {
            output.print(&json!({ "title": order.title, "saga": saga, "history": history, "wrong": found }));
        } else {
            let title = output.style.paint(Tone::Strong, &format!("{number}. {}", order.title));
            say(&format!(
                "\n{title}\n{}",
                Timeline::new(&saga, output.style).whole(&history, &letters, Utc::now())
            ));
        }
        wrong.extend(found.into_iter().map(|it| format!("order {number} ({}): {it}", order.title)));
    }
    if wrong.is_empty() {
        if !output.json {
            say("\nAll three ended as they should; the orders' books and Toss's ledger agree.");
        }
        return Ok(Code::Ok);
    }
    Err(Failure::new(Code::Failed, format!("the demo did not end as it should:\n  {}", wrong.join("\n  "))))
}

fn addresses(urls: &Urls, definitions: &std::path::Path, output: Output) -> String {
    let rows = [
        ("dashboard", format!("{}/", urls.api)),
        ("place an order", format!("POST {}/orders", urls.api)),
        ("sagas", format!("{}/sagas", urls.api)),
        ("OpenAPI, metrics", format!("{0}/openapi.json  {0}/metrics", urls.api)),
        ("orders", format!("{}/orders/ID", urls.order)),
        ("stock", format!("{}/stock", urls.stock)),
        ("payments", format!("{}/payments/ORDER", urls.payment)),
        ("events", format!("{}/events", urls.notify)),
        ("Toss sandbox", format!("{}/sandbox/ledger", urls.sandbox)),
        ("carrier sandbox", format!("{}/sandbox/pickups", urls.sandbox)),
    ];
    let mut text = String::from("\n");
    for (what, place) in rows {
        text.push_str(&format!("  {what:<18}{place}\n"));
    }
    let loud = "  DEV MODE: no sign-in. Everybody on this machine is an administrator; nobody else gets in.";
    text.push_str(&format!("\n{}\n", output.style.paint(Tone::Human, loud)));
    let command = if urls.api.ends_with(":8080") {
        "amends saga list".to_owned()
    } else {
        format!("amends saga --url {} list", urls.api)
    };
    let hint = format!("  `{command}` in another terminal; Ctrl-C stops everything and keeps the data");
    text.push_str(&output.style.paint(Tone::Faint, &hint));
    let watched = format!("\n  A definition saved in {} is published at once", definitions.display());
    text.push_str(&output.style.paint(Tone::Faint, &watched));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_asks_an_absent_worker_is_left_out_by_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../saga-defs");
        let all = files(std::path::Path::new(folder)).unwrap();
        let (kept, left_out) = served(all.clone(), &["coupon", "points"]);
        let told: Vec<(String, Vec<&str>)> = left_out
            .into_iter()
            .map(|(file, workers)| (file.file_stem().unwrap().to_string_lossy().into_owned(), workers))
            .collect();
        assert_eq!(told, [("order-with-coupon-and-points".to_owned(), vec!["coupon", "points"])]);
        assert_eq!(kept.len() + 1, all.len());
        assert_eq!(served(all.clone(), &[]).0, all);
    }

    #[test]
    fn what_is_wrong_is_left_for_publishing_to_tell() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wrong.yaml");
        std::fs::write(&file, "saga: wrong\nsteps: {}\n").unwrap();
        assert_eq!(served(vec![file.clone()], &["coupon"]), (vec![file], vec![]));
    }
}
