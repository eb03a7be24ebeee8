//! `faults`: what can go wrong, one command each; exit code 0 when nothing was lost.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use faults::failpoints::{self, percentile};
use faults::scenarios::{self, Scenario};
use faults::{Shop, backlog, incident, one_at_a_time};

/// Hurts the shop on a real stack and proves that nothing is lost
///
/// Needs the stack's addresses in the environment: run it by tests/faults/run, which has a stack of its own.
#[derive(Debug, Parser)]
#[command(name = "faults", version)]
struct Arguments {
    /// The `amends` command, built with debug assertions where failpoints are wanted; beside this one when absent
    #[arg(long, global = true)]
    amends: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What there is
    List,
    /// One fault on the real stack, or `all`
    Run {
        /// Its name, as `list` shows it
        name: String,
    },
    /// Toss refuses every card: many sagas are parked and as many undone; then two bulk jobs bring them home
    Incident {
        /// Sagas of each kind
        #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u16).range(30..=10_000))]
        sagas: u16,
    },
    /// A worker is down, and very many sagas wait for it: the engine's memory, and its takeover
    Backlog {
        /// How many
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(10..))]
        sagas: u32,
    },
    /// Processes die at named places under load, again and again
    Kill {
        /// How often at each of them
        #[arg(long, default_value_t = 100)]
        times: u32,
        /// Only failpoints whose name begins so
        #[arg(long, default_value = "")]
        only: String,
        /// Orders in flight
        #[arg(long, default_value_t = 16)]
        in_flight: usize,
        /// Chooses when they die; a random one when absent
        #[arg(long)]
        seed: Option<u64>,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let amends = match arguments.amends {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("amends"),
    };
    match arguments.command {
        Command::List => {
            println!("faults run NAME");
            for it in scenarios::ALL {
                println!("  {:18} {}", it.name, it.what);
            }
            println!("faults kill");
            for it in failpoint::ALL {
                println!("  {:18} {}: {}", it.name, it.process, it.place);
            }
        }
        Command::Incident { sagas } => {
            let _turn = one_at_a_time().await;
            let mut shop = Shop::open(amends.to_str().context("a path in UTF-8")?, "incident").await;
            incident::run(&mut shop, usize::from(sagas)).await?;
        }
        Command::Backlog { sagas } => {
            let _turn = one_at_a_time().await;
            let mut shop = Shop::open(amends.to_str().context("a path in UTF-8")?, "backlog").await;
            backlog::run(&mut shop, u64::from(sagas)).await?;
        }
        Command::Run { name } => {
            let chosen: Vec<Scenario> = match name.as_str() {
                "all" => scenarios::ALL.to_vec(),
                name => vec![
                    Scenario::named(name)
                        .with_context(|| format!("there is no fault `{name}`; see `faults list`"))?,
                ],
            };
            for scenario in chosen {
                let outcome = scenario.run(&amends).await?;
                println!(
                    "{:18} {:4} orders in {:5.1} s, the books balance; {}",
                    scenario.name,
                    outcome.orders,
                    outcome.took.as_secs_f64(),
                    outcome.notes
                );
            }
        }
        Command::Kill { times, only, in_flight, seed } => {
            let seed = seed.unwrap_or_else(rand::random);
            anyhow::ensure!(
                failpoint::ALL.iter().any(|it| it.name.starts_with(&only)),
                "no failpoint begins with `{only}`"
            );
            println!("seed {seed}");
            let began = Instant::now();
            let _turn = one_at_a_time().await;
            let mut shop = Shop::open(amends.to_str().context("a path in UTF-8")?, "kill").await;
            let mut all = Vec::new();
            failpoints::kill(
                &mut shop,
                times,
                in_flight,
                seed,
                |it| it.name.starts_with(&only),
                |it| {
                    println!(
                        "{:18} {:12} died {:3} times; orders came through again after p50 {:.1?}, p99 {:.1?}",
                        it.failpoint,
                        it.process,
                        it.recoveries.len(),
                        it.at(0.5),
                        it.at(0.99)
                    );
                    all.extend(it.recoveries.iter().copied());
                },
            )
            .await;
            all.sort_unstable();
            println!(
                "{} deaths in {:.0} s, the books balance; orders came through again after p50 {:.1?}, p99 {:.1?}",
                all.len(),
                began.elapsed().as_secs_f64(),
                percentile(&all, 0.5),
                percentile(&all, 0.99)
            );
        }
    }
    Ok(())
}
