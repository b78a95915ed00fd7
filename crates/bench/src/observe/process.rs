//! CPU time of processes, out of /proc; nothing is known on other systems than Linux.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Linux counts CPU time in hundredths of a second, whatever the kernel's own clock does.
const TICK: Duration = Duration::from_millis(10);

/// Returns the CPU time of a process.
pub(super) fn cpu(id: u32) -> Option<Duration> {
    Stat::read(id).map(|stat| TICK * (stat.user + stat.system))
}

/// Returns the CPU time of a server and of all children, including ended children.
pub(super) fn cpu_of_tree(id: u32) -> Option<Duration> {
    let own = Stat::read(id)?;
    let mut ticks = own.user + own.system + own.ended;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let child = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Stat::read);
        if let Some(child) = child.filter(|child| child.parent == id) {
            ticks += child.user + child.system;
        }
    }
    Some(TICK * ticks)
}

/// Returns the process id in the folder of a broker, as noted by scripts/kafka.
pub(super) fn noted(node: &Path) -> Option<u32> {
    fs::read_to_string(node.join("pid")).ok()?.split(' ').next()?.parse().ok()
}

/// Returns true if a program of this name is the process.
pub(super) fn is_named(id: u32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|found| found.trim() == name)
}

/// Returns the mean number of threads that ran or waited for a core or a disk.
pub(super) fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Fields of /proc/ID/stat, in ticks.
struct Stat {
    parent: u32,
    user: u32,
    system: u32,
    /// CPU time of ended children.
    ended: u32,
}

impl Stat {
    fn read(id: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // the name before the last bracket may hold spaces
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number)?.parse::<u32>().ok();
        Some(Self { parent: field(1)?, user: field(11)?, system: field(12)?, ended: field(13)? + field(14)? })
    }
}
