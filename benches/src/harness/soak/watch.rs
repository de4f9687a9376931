//! The server seen from outside: its memory, its health, its own account of what it holds.

/// What is looked at.
pub(super) struct Watch {
    base: String,
    pid: Option<u32>,
}

/// A server that should have nothing to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AtRest {
    /// Why `/health` is not well.
    pub(super) illness: Option<String>,
    /// Gauges of `/metrics` that should be 0 and are not, line by line.
    pub(super) held: Vec<String>,
}

/// Gauges that are 0 when nothing runs. A server that lacks them is believed.
const GAUGES: [&str; 3] = [
    "foretoken_kv_cache_usage_perc",
    "foretoken_num_requests_running",
    "foretoken_num_requests_waiting",
];

impl Watch {
    pub(super) fn new(base: &str, pid: Option<u32>) -> Self {
        Self {
            base: base.trim_end_matches('/').to_owned(),
            pid,
        }
    }

    /// Memory of the server's process; none if it is not known, or where there is no `/proc`.
    pub(super) fn resident_mb(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kilobytes / 1024.0)
    }

    pub(super) async fn at_rest(&self) -> AtRest {
        let illness = match self.get("/health").await {
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        let metrics = self.get("/metrics").await.unwrap_or_default();
        AtRest {
            illness,
            held: held(&metrics),
        }
    }

    async fn get(&self, path: &str) -> reqwest::Result<String> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let response = client.get(format!("{}{path}", self.base)).send().await?;
        response.error_for_status()?.text().await
    }
}

/// Lines of Prometheus' text format in which a gauge that should be 0 is not.
pub(super) fn held(metrics: &str) -> Vec<String> {
    let is_held = |line: &&str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let value = line
            .rsplit(' ')
            .next()
            .and_then(|value| value.parse::<f64>().ok());
        GAUGES.contains(&name) && value != Some(0.0)
    };
    metrics.lines().filter(is_held).map(str::to_owned).collect()
}
