use crate::abi;

/// How much a log message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
#[allow(missing_docs, reason = "each is the severity of its name")]
pub enum Severity {
    Info = 0,
    Warning = 1,
    Error = 2,
}

/// Writes into the scheduler's log, unless the configuration wants less.
pub fn log(severity: Severity, message: &str) {
    abi::log(severity as i32, message);
}
