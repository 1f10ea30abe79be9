//! What /proc says: CPU and memory of a process, kernel memory, the machine.
use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;
use serde::Serialize;

/// CPU time of one or more processes, all their threads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    /// ns on a CPU, as the scheduler counts them.
    pub nanoseconds: u64,
    /// Ticks in user and kernel mode, from stat: only good for the split.
    pub user_ticks: u64,
    pub kernel_ticks: u64,
}

impl Cpu {
    pub fn since(self, before: Cpu) -> Cpu {
        Cpu {
            nanoseconds: self.nanoseconds.saturating_sub(before.nanoseconds),
            user_ticks: self.user_ticks.saturating_sub(before.user_ticks),
            kernel_ticks: self.kernel_ticks.saturating_sub(before.kernel_ticks),
        }
    }

    pub fn plus(self, other: Cpu) -> Cpu {
        Cpu {
            nanoseconds: self.nanoseconds + other.nanoseconds,
            user_ticks: self.user_ticks + other.user_ticks,
            kernel_ticks: self.kernel_ticks + other.kernel_ticks,
        }
    }

    /// The share of user mode, when there were ticks to tell.
    pub fn user_share(self) -> Option<f64> {
        let ticks = self.user_ticks + self.kernel_ticks;
        (ticks > 0).then(|| self.user_ticks as f64 / ticks as f64)
    }
}

/// CPU of the processes, with what threads used that have ended; `None` when one of them cannot be read.
pub fn cpu(pids: &[u32]) -> Option<Cpu> {
    let of_process = |&pid: &u32| {
        let time = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?.now().ok()?;
        let nanoseconds = u64::try_from(Duration::from(time).as_nanos()).ok()?;
        parse_ticks(nanoseconds, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    };
    let sum = pids.iter().map(of_process).try_fold(Cpu::default(), |sum, cpu| Some(sum.plus(cpu?)))?;
    (!pids.is_empty()).then_some(sum)
}

/// CPU of one thread of this process, named as in /proc/self/task.
pub fn thread_cpu(thread: &str) -> Option<Cpu> {
    let read = |file: &str| fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).ok();
    parse_ticks(read("schedstat")?.split_whitespace().next()?.parse().ok()?, &read("stat")?)
}

/// The calling thread's name in /proc/self/task.
pub fn current_thread() -> Option<String> {
    let link = fs::read_link("/proc/thread-self").ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

fn parse_ticks(nanoseconds: u64, stat: &str) -> Option<Cpu> {
    // The command name is in brackets and may hold blanks: fields are counted behind the last bracket.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().skip(11);
    let user_ticks = fields.next()?.parse().ok()?;
    let kernel_ticks = fields.next()?.parse().ok()?;
    Some(Cpu { nanoseconds, user_ticks, kernel_ticks })
}

/// Resident memory of the processes together, in bytes.
pub fn resident_bytes(pids: &[u32]) -> Option<u64> {
    let each = pids.iter().map(|pid| kilobytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:"));
    each.sum::<Option<u64>>().filter(|_| !pids.is_empty()).map(|sum| sum * 1024)
}

/// Open descriptors of the processes together. Threads may have tables of their own; each thread's is counted, shared ones once per thread.
pub fn descriptors(pids: &[u32]) -> Option<u64> {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            // A thread may end between the listing and the reading.
            sum += fs::read_dir(task.path().join("fd")).map_or(0, |entries| entries.count() as u64);
        }
    }
    (!pids.is_empty()).then_some(sum)
}

/// Memory in the buffers of all TCP sockets of the machine, in bytes.
pub fn tcp_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    let mut words = text.lines().find(|line| line.starts_with("TCP:"))?.split_whitespace().skip_while(|word| *word != "mem");
    Some(words.nth(1)?.parse::<u64>().ok()? * PAGE_BYTES)
}

/// The unit of sockstat; other page sizes are not built for.
const PAGE_BYTES: u64 = 4096;

/// Memory of the kernel's object caches, in bytes.
pub fn slab_bytes() -> Option<u64> {
    Some(kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "Slab:")? * 1024)
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Where and with what a figure was measured.
#[derive(Serialize)]
pub struct Environment {
    pub kernel: String,
    pub cpu_model: String,
    pub cores: usize,
    pub load_average: String,
    pub git: String,
    pub version: &'static str,
}

impl Environment {
    pub fn read() -> Self {
        let line = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let cpu_info = line("/proc/cpuinfo");
        let model = cpu_info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
        let git = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok();
        let git = git.filter(|output| output.status.success()).and_then(|output| String::from_utf8(output.stdout).ok());
        Environment {
            kernel: line("/proc/sys/kernel/osrelease"),
            cpu_model: model.unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            load_average: line("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            git: git.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned()),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_command_name_with_blanks_and_brackets() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 77 33 0 0 20 0 4 0";
        assert_eq!(parse_ticks(123_456, stat), Some(Cpu { nanoseconds: 123_456, user_ticks: 77, kernel_ticks: 33 }));
        assert_eq!(parse_ticks(1, "42 (a"), None);
    }

    #[test]
    fn what_a_thread_used_counts_when_it_has_ended() {
        let before = cpu(&[std::process::id()]).expect("readable");
        let used = std::thread::spawn(|| {
            let name = current_thread().expect("named");
            let used = || thread_cpu(&name).expect("readable").nanoseconds;
            while used() < 20_000_000 {}
            used()
        });
        let used = used.join().expect("it ends");
        assert!(cpu(&[std::process::id()]).expect("readable").since(before).nanoseconds >= used);
    }

    #[test]
    fn this_process_has_memory_and_uses_cpu() {
        let pid = std::process::id();
        assert!(resident_bytes(&[pid]).expect("readable") > 100_000);
        let before = cpu(&[pid]).expect("readable");
        let mut sum = 0u64;
        while cpu(&[pid]).expect("readable").since(before).nanoseconds < 1_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(tcp_bytes().is_some());
        assert!(descriptors(&[pid]).expect("readable") >= 3);
        assert!(slab_bytes().expect("readable") > 0);
        assert!(thread_cpu(&current_thread().expect("named")).is_some());
    }

    #[test]
    fn a_process_that_is_not_there_has_no_figures() {
        assert_eq!(cpu(&[u32::MAX]), None);
        assert_eq!(resident_bytes(&[u32::MAX]), None);
        assert_eq!((cpu(&[]), resident_bytes(&[])), (None, None));
    }
}
