//! CronJobs: a Job at each time of a schedule, by the sandbox's clock.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::jobs::is_finished;
use super::{Controller, owner_reference};
use crate::object::Object;
use crate::resource::{CRON_JOBS, JOBS};
use crate::time::format_seconds;

/// If the clock is set forward, it is checked at once, so this only bounds the length of one sleep.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Reads a schedule in its time zone.
///
/// # Errors
/// Why it is invalid.
pub(super) fn parse(spec: &Value) -> Result<cronexpr::Crontab, String> {
    let schedule = spec["schedule"].as_str().unwrap_or_default();
    let zone = spec["timeZone"].as_str().unwrap_or("UTC");
    let schedule = match schedule {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other => other,
    };
    cronexpr::parse_crontab(&format!("{schedule} {zone}")).map_err(|error| error.to_string())
}

impl Controller {
    pub(super) fn reconcile_cron_job(&mut self, object: &Object) {
        self.retries.remove(&object.uid);
        let cron = object.value();
        let Ok(schedule) = parse(&cron["spec"]) else { return };
        let now = self.api.store.read(|tx| tx.clock()).now();
        let jobs: Vec<(Arc<Object>, Value)> = self
            .of(JOBS)
            .owned_by(&self.api, &object.uid)
            .into_iter()
            .filter(|job| !job.deleting)
            .map(|job| (Arc::clone(&job), job.value()))
            .collect();
        self.forget_old_jobs(&cron, &jobs);
        let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let last = time(&cron["status"]["lastScheduleTime"]);
        let since = last.or(time(&cron["metadata"]["creationTimestamp"])).unwrap_or(now);
        let mut active: Vec<&(Arc<Object>, Value)> =
            jobs.iter().filter(|(_, job)| !is_finished(job)).collect();
        let mut scheduled = last;
        if cron["spec"]["suspend"] != true
            && let Some(at) = latest(&schedule, since, now)
        {
            let waits = cron["spec"]["concurrencyPolicy"] == "Forbid" && !active.is_empty();
            if !waits {
                if cron["spec"]["concurrencyPolicy"] == "Replace" {
                    active.drain(..).for_each(|(job, _)| self.delete(JOBS, job));
                }
                self.create_job(object, &cron, at);
                scheduled = Some(at);
            }
        }
        let mut status = json!({
            "active": active.iter().map(|(job, _)| json!({
                "apiVersion": "batch/v1", "kind": "Job", "namespace": &*job.namespace, "name": &*job.name,
                "uid": &*job.uid,
            })).collect::<Value>(),
        });
        if let Some(at) = scheduled {
            status["lastScheduleTime"] = Value::from(format_seconds(at));
        }
        self.write_status(CRON_JOBS, object, &status);
        if let Some(next) = schedule.find_next(now).ok().map(|next| next.timestamp()) {
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default().min(SLEEP_MAX);
            self.retries.insert(object.uid.clone(), Instant::now() + wait);
        }
    }

    fn create_job(&self, object: &Object, cron: &Value, at: Timestamp) {
        let template = &cron["spec"]["jobTemplate"];
        let mut meta = json!({
            "name": format!("{}-{}", object.name, at.as_second() / 60),
            "ownerReferences": [owner_reference(cron)],
        });
        for field in ["labels", "annotations"] {
            if template["metadata"][field].is_object() {
                meta[field] = template["metadata"][field].clone();
            }
        }
        meta["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"] =
            Value::from(format_seconds(at));
        let job =
            json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": template["spec"] });
        match self.create(JOBS, &object.namespace, job) {
            // Created in an earlier pass whose status was not written.
            Err(error) if error.reason != "AlreadyExists" => {
                tracing::warn!(%error, cron_job = %object.name, "cannot create a Job");
            }
            _ => {}
        }
    }

    /// Deletes the oldest finished Jobs beyond the history limits.
    fn forget_old_jobs(&self, cron: &Value, jobs: &[(Arc<Object>, Value)]) {
        for (condition, limit, default) in
            [("Complete", "successfulJobsHistoryLimit", 3), ("Failed", "failedJobsHistoryLimit", 1)]
        {
            let ended = |job: &Value| {
                let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
                conditions.into_iter().any(|c| c["type"] == condition && c["status"] == "True")
            };
            let mut ended: Vec<_> = jobs.iter().filter(|(_, job)| ended(job)).collect();
            ended.sort_by_key(|(job, _)| job.version);
            let kept = usize::try_from(cron["spec"][limit].as_u64().unwrap_or(default)).unwrap_or(usize::MAX);
            let surplus = ended.len().saturating_sub(kept);
            ended.into_iter().take(surplus).for_each(|(job, _)| self.delete(JOBS, job));
        }
    }
}

/// The latest scheduled time that has passed since `since`: if several were missed, only the last counts.
fn latest(schedule: &cronexpr::Crontab, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    /// More than a week of missed minutes is too much to go through.
    const MISSED_MAX: usize = 10_000;
    let mut found = None;
    let mut at = since;
    for _ in 0..MISSED_MAX {
        let next = schedule.find_next(at).ok()?.timestamp();
        if next > now {
            break;
        }
        (found, at) = (Some(next), next);
    }
    found
}
