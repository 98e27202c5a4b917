//! The resources used by the process, read from `/proc` at each scrape.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks per second in `/proc`: fixed by Linux's user-space interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// The usual `process_*` metrics. Without `/proc`, they are left out.
#[derive(Debug)]
pub(super) struct ProcessCollector;

/// One reading of `/proc/self`.
#[derive(Debug, Default, PartialEq)]
struct Usage {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<i64>,
    virtual_bytes: Option<i64>,
    virtual_bytes_max: Option<f64>,
    /// IP bytes received and sent in the network namespace, which is the pod's if the process runs in one.
    network_bytes: Option<(u64, u64)>,
    threads: Option<i64>,
    open_files: Option<i64>,
    open_files_max: Option<i64>,
    start_seconds: Option<f64>,
}

impl Usage {
    fn read() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let open_files = std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        let limits = read("/proc/self/limits");
        Self {
            open_files: open_files.and_then(|count| i64::try_from(count).ok()),
            open_files_max: soft_limit(&limits, "Max open files"),
            // Shown in the same way as by Go programs if there is no limit.
            virtual_bytes_max: soft_limit(&limits, "Max address space")
                .map(|bytes| bytes as f64)
                .or_else(|| (!limits.is_empty()).then_some(u64::MAX as f64)),
            network_bytes: network_bytes(&read("/proc/self/net/netstat")),
            ..Self::parse(&read("/proc/self/stat"), &read("/proc/self/status"), &read("/proc/stat"))
        }
    }

    fn parse(stat: &str, status: &str, system: &str) -> Self {
        // The program's name is in parentheses and may contain anything; the numbers follow the last parenthesis.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        // proc(5) numbers the fields from 1, and the first one after the name is the third.
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let line = |text: &str, name: &str| -> Option<i64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let kilobytes = |name| line(status, name).map(|kilobytes| kilobytes * 1024);
        Self {
            cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| (user + system) / TICKS_PER_SECOND),
            resident_bytes: kilobytes("VmRSS:"),
            virtual_bytes: kilobytes("VmSize:"),
            virtual_bytes_max: None,
            network_bytes: None,
            threads: line(status, "Threads:"),
            open_files: None,
            open_files_max: None,
            start_seconds: ticks(22)
                .zip(line(system, "btime "))
                .map(|(since_boot, boot)| boot as f64 + since_boot / TICKS_PER_SECOND),
        }
    }
}

/// A soft limit; `None` if there is none.
fn soft_limit(limits: &str, name: &str) -> Option<i64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// IP bytes received and sent: a line of names, and a line of numbers.
fn network_bytes(netstat: &str) -> Option<(u64, u64)> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |name| {
        let at = names.split_whitespace().position(|other| other == name)?;
        values.split_whitespace().nth(at)?.parse().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let usage = Usage::read();
        if let Some(seconds) = usage.cpu_seconds {
            let counter = ConstCounter::new(seconds);
            let help = "Total user and system CPU time used by the process, in seconds";
            let metric =
                encoder.encode_descriptor("process_cpu_seconds", help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        let (received, sent) = usage.network_bytes.unzip();
        let network = [
            (
                "process_network_receive_bytes",
                "Number of bytes received over IP in the process's network namespace",
                received,
            ),
            (
                "process_network_transmit_bytes",
                "Number of bytes sent over IP in the process's network namespace",
                sent,
            ),
        ];
        for (name, help, value) in network {
            if let Some(value) = value {
                let counter = ConstCounter::new(value);
                counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
            }
        }
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Resident memory size of the process, in bytes",
                usage.resident_bytes,
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory size of the process, in bytes",
                usage.virtual_bytes,
            ),
            ("process_threads", "Number of threads in the process", usage.threads),
            ("process_open_fds", "Number of open file descriptors", usage.open_files),
            ("process_max_fds", "Maximum number of open file descriptors", usage.open_files_max),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
            }
        }
        let gauges = [
            (
                "process_virtual_memory_max_bytes",
                "Maximum virtual memory size of the process, in bytes; 2^64 - 1 if there is no limit",
                usage.virtual_bytes_max,
            ),
            (
                "process_start_time_seconds",
                "Start time of the process, in seconds since the Unix epoch",
                usage.start_seconds,
            ),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1000 1 2 3";
        let status = "Name:\ta\nVmSize:\t  2048 kB\nVmRSS:\t  1024 kB\nThreads:\t4\n";
        assert_eq!(
            Usage::parse(stat, status, "cpu 1 2\nbtime 1700000000\n"),
            Usage {
                cpu_seconds: Some(3.0),
                resident_bytes: Some(1024 * 1024),
                virtual_bytes: Some(2048 * 1024),
                virtual_bytes_max: None,
                network_bytes: None,
                threads: Some(4),
                open_files: None,
                open_files_max: None,
                start_seconds: Some(1_700_000_010.0),
            }
        );
        assert_eq!(Usage::parse("", "", ""), Usage::default());
        let netstat = "TcpExt: SyncookiesSent InOctets\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 700 900\n";
        assert_eq!((network_bytes(netstat), network_bytes("")), (Some((700, 900)), None));
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024));
        assert_eq!(
            soft_limit(
                "Max address space         unlimited            unlimited            bytes\n",
                "Max address space"
            ),
            None
        );
    }
}
