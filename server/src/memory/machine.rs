//! How much memory this process may still take, as Linux tells: the machine's, and what its control groups allow.

use std::fs;
use std::path::Path;

/// One of the two generations of control groups.
struct Generation {
    /// Of the line in `/proc/self/cgroup` that names this process's group.
    controller: &'static str,
    /// Where the groups lie.
    folder: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// What the kernel drops before it refuses memory, in `memory.stat`.
    reclaimable: &'static str,
}

const GENERATIONS: [Generation; 2] = [
    Generation {
        controller: "",
        folder: "sys/fs/cgroup",
        limit: "memory.max",
        usage: "memory.current",
        reclaimable: "inactive_file",
    },
    Generation {
        controller: "memory",
        folder: "sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
        reclaimable: "total_inactive_file",
    },
];

/// Bytes that are available; none where nobody says. `root` is `/`.
pub(super) fn available(root: &Path) -> Option<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok();
    let machine = machine.and_then(|text| Some(1024 * field(&text, "MemAvailable:")?));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let generation = GENERATIONS.iter().find(|generation| {
            controllers
                .split(',')
                .any(|name| name == generation.controller)
        })?;
        generation.available(root, Path::new(path))
    });
    machine.into_iter().chain(groups).min()
}

impl Generation {
    /// What a group and those around it allow.
    fn available(&self, root: &Path, group: &Path) -> Option<u64> {
        let folder = root.join(self.folder);
        group
            .ancestors()
            .filter_map(|group| {
                let group = group.strip_prefix("/").unwrap_or(group);
                self.left(&folder.join(group))
            })
            .min()
    }

    fn left(&self, group: &Path) -> Option<u64> {
        let number = |file: &str| -> Option<u64> {
            fs::read_to_string(group.join(file))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let reclaimable = field(&stat, self.reclaimable).unwrap_or(0);
        let used = number(self.usage)?.saturating_sub(reclaimable);
        Some(number(self.limit)?.saturating_sub(used))
    }
}

/// The number behind a name, in a file of such lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find(|line| line.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:  4000 kB\nMemAvailable:    3000 kB\n",
    );

    const V2: (&str, &str) = ("proc/self/cgroup", "0::/pod/box\n");
    const V1: (&str, &str) = ("proc/self/cgroup", "7:cpu,cpuacct:/x\n4:memory:/box\n");
    const USED_5: (&str, &str) = ("sys/fs/cgroup/pod/box/memory.current", "5");

    fn machine(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        available(root.path())
    }

    #[test]
    fn the_tightest_limit_counts() {
        type Files = &'static [(&'static str, &'static str)];
        let cases: [(Files, Option<u64>); 8] = [
            (&[], None),
            (&[MEMINFO], Some(3_072_000)),
            (
                &[MEMINFO, ("proc/self/cgroup", "nonsense")],
                Some(3_072_000),
            ),
            (
                &[
                    MEMINFO,
                    V2,
                    USED_5,
                    ("sys/fs/cgroup/pod/box/memory.max", "max\n"),
                ],
                Some(3_072_000),
            ),
            (
                &[
                    MEMINFO,
                    V2,
                    USED_5,
                    ("sys/fs/cgroup/pod/box/memory.max", "105\n"),
                ],
                Some(100),
            ),
            // The group around it is tighter, but its file pages can go.
            (
                &[
                    MEMINFO,
                    V2,
                    USED_5,
                    ("sys/fs/cgroup/pod/box/memory.max", "105\n"),
                    ("sys/fs/cgroup/pod/memory.max", "90\n"),
                    ("sys/fs/cgroup/pod/memory.current", "60\n"),
                    (
                        "sys/fs/cgroup/pod/memory.stat",
                        "anon 9\ninactive_file 20\n",
                    ),
                ],
                Some(50),
            ),
            (
                &[
                    MEMINFO,
                    V1,
                    ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "100"),
                    ("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "130"),
                    (
                        "sys/fs/cgroup/memory/box/memory.stat",
                        "total_inactive_file 40\n",
                    ),
                ],
                Some(10),
            ),
            // A container sees its own group as the root, whatever it is called outside.
            (
                &[
                    MEMINFO,
                    V1,
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "100"),
                    ("sys/fs/cgroup/memory/memory.usage_in_bytes", "130"),
                ],
                Some(0),
            ),
        ];
        for (files, want) in cases {
            assert_eq!(machine(files), want, "{files:?}");
        }
    }
}
