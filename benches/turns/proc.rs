//! What a process has used so far, as Linux tells it.

use std::time::Duration;

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// Time on a CPU of all threads that live.
    pub cpu: Duration,
    /// The largest resident memory so far. KiB.
    pub peak: u64,
}

/// Looks at a process that runs.
pub fn look(pid: i32) -> Used {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse().ok())
        .expect("Linux tells the peak of resident memory");
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs") {
        let path = task.expect("an entry of a folder").path().join("schedstat");
        // A thread may end between the listing and the look; what it has used is not seen then.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or_default();
    }
    Used { cpu: Duration::from_nanos(nanos), peak }
}
