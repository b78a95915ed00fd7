//! Costs of a measurement, printed below its row: CPU time by process, counts of PostgreSQL, pauses of the broker, load
//! average.

mod pauses;
mod postgres;
mod process;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use pauses::Pauses;
use postgres::Counts;
pub(crate) use postgres::{Fresh, Postgres, program};
use tokio::task::JoinHandle;

use crate::report::{Figures, detail, line};

/// Processes and servers with costs read at both ends of a [`Window`].
pub(crate) struct Observer {
    processes: Mutex<Vec<(&'static str, u32)>>,
    postgres: Option<Postgres>,
    broker: Option<PathBuf>,
}

impl Observer {
    /// Observes this process, the source of the load.
    pub(crate) fn new() -> Self {
        Self { processes: Mutex::new(vec![("bench", std::process::id())]), postgres: None, broker: None }
    }

    /// Observes a server, too.
    pub(crate) fn with_postgres(mut self, server: Postgres) -> Self {
        self.postgres = Some(server);
        self
    }

    /// Observes the first broker in a folder of scripts/kafka, too.
    pub(crate) fn with_broker(mut self, folder: Option<&Path>) -> Self {
        self.broker = folder.map(|folder| folder.join("node1"));
        self
    }

    /// Observes another process, too, until the next call with this name.
    pub(crate) fn set_process(&self, name: &'static str, id: u32) {
        let mut processes = self.processes.lock();
        processes.retain(|(known, _)| *known != name);
        processes.push((name, id));
    }

    /// Begins a window. Blocks for as long as psql takes.
    pub(crate) fn begin(self: &Arc<Self>) -> Window {
        let counts = self.postgres.as_ref().map(Postgres::counts);
        Window { observer: self.clone(), counts, cpu: self.cpu(), time: SystemTime::now(), begun: Instant::now() }
    }

    /// Observes a window of a running load.
    pub(crate) fn between(self: &Arc<Self>, begin: Instant, end: Instant) -> JoinHandle<Costs> {
        let observer = self.clone();
        tokio::task::spawn_blocking(move || {
            std::thread::sleep(begin.saturating_duration_since(Instant::now()));
            let window = observer.begin();
            std::thread::sleep(end.saturating_duration_since(Instant::now()));
            window.end()
        })
    }

    /// Runs a load and prints a row with the costs of each unit of work; `each` is the name of the unit.
    pub(crate) async fn row(self: &Arc<Self>, what: &str, each: &str, load: impl Future<Output = Figures>) -> Figures {
        let window = self.begin();
        let figures = load.await;
        let costs = window.end();
        line(what, &figures);
        costs.print(what, figures.count() * figures.each, each);
        figures
    }

    /// Returns the CPU time by process. A process that has ended, or runs on another machine, has none.
    fn cpu(&self) -> Vec<(&'static str, Duration)> {
        let mut all: Vec<_> = self.processes.lock().iter().map(|(name, id)| (*name, process::cpu(*id))).collect();
        all.push(("PostgreSQL", self.postgres.as_ref().and_then(Postgres::id).and_then(process::cpu_of_tree)));
        all.push(("broker", self.broker.as_deref().and_then(process::noted).and_then(process::cpu)));
        all.into_iter().filter_map(|(name, cpu)| Some((name, cpu?))).collect()
    }
}

/// Time of one measurement.
pub(crate) struct Window {
    observer: Arc<Observer>,
    counts: Option<Counts>,
    cpu: Vec<(&'static str, Duration)>,
    time: SystemTime,
    begun: Instant,
}

/// Costs of a window.
pub(crate) struct Costs {
    cpu: Vec<(&'static str, Duration)>,
    counts: Option<Counts>,
    pauses: Option<Pauses>,
    pub took: Duration,
}

impl Window {
    /// Ends the window.
    pub(crate) fn end(self) -> Costs {
        let took = self.begun.elapsed();
        // a process that began in the window had no CPU time before
        let before = |name| self.cpu.iter().find(|(known, _)| *known == name).map_or(Duration::ZERO, |(_, cpu)| *cpu);
        let cpu = self.observer.cpu();
        let cpu = cpu.into_iter().map(|(name, now)| (name, now.saturating_sub(before(name)))).collect();
        let pauses =
            self.observer.broker.as_deref().and_then(|node| Pauses::between(node, self.time, SystemTime::now()));
        let after = self.observer.postgres.as_ref().map(Postgres::counts);
        let counts = after.zip(self.counts).map(|(after, before)| after.since(&before));
        Costs { cpu, counts, pauses, took }
    }
}

impl Costs {
    /// Prints the costs divided by `count` below the row `what`; `each` is the name of the unit.
    pub(crate) fn print(&self, what: &str, count: u64, each: &str) {
        let micros = |cpu: &Duration| cpu.as_secs_f64() * 1e6 / count as f64;
        let cpu: Vec<_> = self.cpu.iter().map(|(name, cpu)| (*name, micros(cpu), 0)).collect();
        detail(what, &format!("CPU us, each {each}"), &cpu);
        if let Some(counts) = &self.counts {
            let counts: Vec<_> = counts.named().map(|(name, all)| (name, all / count as f64, 2)).collect();
            detail(what, &format!("PostgreSQL, each {each}"), &counts);
        }
        self.print_machine(what);
    }

    /// Prints the costs of a second of doing nothing.
    pub(crate) fn print_idle(&self, what: &str) {
        let seconds = self.took.as_secs_f64();
        let share = |cpu: &Duration| cpu.as_secs_f64() * 100.0 / seconds;
        let cpu: Vec<_> = self.cpu.iter().map(|(name, cpu)| (*name, share(cpu), 2)).collect();
        detail(what, "CPU, % of a core", &cpu);
        if let Some(counts) = &self.counts {
            let counts: Vec<_> = counts.named().map(|(name, all)| (name, all / seconds, 2)).collect();
            detail(what, "PostgreSQL, a second", &counts);
        }
        self.print_machine(what);
    }

    fn print_machine(&self, what: &str) {
        if let Some(Pauses { count, all, longest }) = &self.pauses {
            let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
            let pauses = [("pauses", *count as f64, 0), ("ms in all", ms(all), 1), ("ms the longest", ms(longest), 1)];
            detail(what, "broker", &pauses);
        }
        if let Some(load) = process::load_average() {
            detail(what, "load average", &[("in the last minute", load, 2)]);
        }
    }
}
