//! Where the answers of guests and extenders come from: they are called, called and recorded, or their answers are replayed from a record.

use super::ExplainArgs;
use crate::App;
use crate::guests::{GuestAnswers, Guests, default_cache_folder};
use anyhow::{Context, Result};
use secondmate_config::Extender;
use secondmate_explain::ExtenderNotes;
use secondmate_framework::Extenders;
use secondmate_model::Pod;
use secondmate_record::{ExtenderAnswers, Recorder};
use secondmate_shell::{extenders_called_by, extenders_to_ask};
use secondmate_telemetry::logging::print;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// The source of the answers.
pub(super) enum Answers {
    /// Guests and extenders are called; without `extenders`, extenders are left out.
    Asked { extenders: bool },
    /// The same, and their answers are recorded.
    Recorded { extenders: bool, recorder: Arc<Recorder>, file: PathBuf },
    /// A record is replayed; `None`: extenders are left out.
    Replayed { extenders: Option<Arc<ExtenderAnswers>> },
}

impl Answers {
    /// The source of the answers, and the program with guests to match.
    ///
    /// # Errors
    /// A record cannot be read or written.
    pub fn open(app: &App, args: &ExplainArgs) -> Result<(App, Self)> {
        let with_extenders = !args.without_extenders;
        if let Some(file) = &args.replay_answers {
            let told = || format!("cannot replay the answers in {}", file.display());
            let (guests, extenders) = read(file).with_context(told)?;
            let extenders = with_extenders.then(|| Arc::new(extenders));
            return Ok((app.with_guests(Guests::of_record(guests)), Self::Replayed { extenders }));
        }
        let Some(file) = &args.record_answers else {
            return Ok((app.clone(), Self::Asked { extenders: with_extenders }));
        };
        let created = File::create(file).with_context(|| cannot_record(file))?;
        let recorder = Arc::new(Recorder::new(Box::new(BufWriter::new(created))));
        let guests = Guests::new(default_cache_folder()).map_err(anyhow::Error::msg)?;
        let app = app.with_guests(guests.recorded(Arc::clone(&recorder)));
        Ok((app, Self::Recorded { extenders: with_extenders, recorder, file: file.clone() }))
    }

    /// The extenders of the configuration that are used here; `None` if there are none.
    ///
    /// # Errors
    /// One cannot be called as it is configured, or is not in the record.
    pub fn extenders(&self, configured: &[Extender]) -> Result<Option<AskedExtenders>> {
        if configured.is_empty() {
            return Ok(None);
        }
        let (extenders, runtime) = match self {
            Self::Asked { extenders: true } => asked(configured)?,
            Self::Recorded { extenders: true, recorder, .. } => {
                let (extenders, runtime) = asked(configured)?;
                (recorder.extenders(&extenders), runtime)
            }
            Self::Replayed { extenders: Some(record) } => {
                let replay = |extender: &Extender| record.replay(&extender.bare_url());
                let extenders = extenders_called_by(configured, replay).map_err(anyhow::Error::msg)?;
                (extenders, None)
            }
            _ => return Ok(None),
        };
        let notes = Arc::new(ExtenderNotes::default());
        Ok(Some(AskedExtenders { extenders: notes.note(&extenders), notes, runtime }))
    }

    /// Ends a record.
    ///
    /// # Errors
    /// It is incomplete.
    pub fn end(&self) -> Result<()> {
        match self {
            Self::Recorded { recorder, file, .. } => {
                recorder.end().map_err(anyhow::Error::msg).with_context(|| cannot_record(file))
            }
            _ => Ok(()),
        }
    }
}

fn cannot_record(file: &Path) -> String {
    format!("cannot record the answers in {}", file.display())
}

/// The contents of a record.
fn read(file: &Path) -> Result<(GuestAnswers, ExtenderAnswers)> {
    let (mut guests, mut extenders) = (GuestAnswers::default(), ExtenderAnswers::default());
    let from = BufReader::new(File::open(file)?);
    let take = |kind: &str, content: &_| Ok(guests.take(kind, content)? || extenders.take(kind, content)?);
    secondmate_record::read(from, take).map_err(anyhow::Error::msg)?;
    Ok((guests, extenders))
}

/// The configured extenders, with the runtime on which they are called.
fn asked(configured: &[Extender]) -> Result<(Extenders, Option<Runtime>)> {
    // One thread sends and receives while this one waits.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let extenders = runtime.block_on(extenders_to_ask(configured))?;
    Ok((extenders, Some(runtime)))
}

/// The extenders that are used.
pub(super) struct AskedExtenders {
    pub extenders: Extenders,
    pub notes: Arc<ExtenderNotes>,
    /// `None`: the answers are replayed from a record.
    runtime: Option<Runtime>,
}

impl AskedExtenders {
    /// Says which extenders will be called for what, beforehand: an answer may take as long as the extender's timeout.
    pub fn announce(&self, pods: &[Arc<Pod>]) {
        if self.runtime.is_none() {
            return;
        }
        for extender in self.extenders.iter() {
            let concerned = pods.iter().filter(|pod| extender.is_interested(pod)).count();
            let verbs = extender.verbs;
            let verbs =
                [(verbs.filter, "filter"), (verbs.prioritize, "prioritize"), (verbs.preempt, "preempt")];
            let verbs: Vec<&str> =
                verbs.into_iter().filter(|(asked, _)| *asked).map(|(_, verb)| verb).collect();
            if concerned > 0 && !verbs.is_empty() {
                print(&format!(
                    "extender {} is asked ({}) about {concerned} pod{}; --without-extenders leaves extenders out",
                    extender.name,
                    verbs.join(", "),
                    if concerned == 1 { "" } else { "s" }
                ));
            }
        }
    }

    /// Reports the extenders that did not answer.
    pub fn tell_failures(&self) {
        for (extender, calls) in self.notes.totals() {
            if calls.failures == 0 {
                continue;
            }
            let remedy = match self.runtime {
                Some(_) => {
                    "; explain where it can be reached, leave extenders out by --without-extenders, or replay what was recorded elsewhere by --replay-answers"
                }
                None => "",
            };
            print(&format!(
                "extender {extender}: {} of {} calls failed, first: {}{remedy}",
                calls.failures, calls.calls, calls.first_error
            ));
        }
    }
}
