//! `secondmate dump`: everything in a cluster that scheduling reads, in one file, for `secondmate explain -f`.

mod redact;
mod slim;

use crate::cluster::ClusterArgs;
use crate::{App, ConfigurationSource, profiles};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use redact::Pseudonyms;
use secondmate_cycle::Profile;
use secondmate_model::objects::{ApiResource, ObjectKind, OwnKind};
use secondmate_telemetry::logging::print;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The profile's name if neither file nor option gives one: what is dumped does not depend on it.
const ANY_NAME: &str = "my-scheduler";

pub(crate) const EXAMPLES: &str = "\
Examples:
  secondmate dump > cluster.json && secondmate explain -f cluster.json
  secondmate dump --redact -o yaml --context production > cluster.yaml
  secondmate dump --config scheduler.yaml > cluster.json";

/// Options of `dump`.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// KubeSchedulerConfiguration file (kubescheduler.config.k8s.io/v1): dump what its plugins read [default: what kube-scheduler's
    /// default plugins read].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace names and labels with pseudonyms, consistently. Quantities, taint effects, names of resources and schedulers, and
    /// keys in Kubernetes' own domains are kept.
    #[arg(long)]
    redact: bool,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
}

/// Output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A List, one object per line.
    #[default]
    Json,
    /// YAML documents.
    Yaml,
}

/// Runs it.
///
/// # Errors
/// The configuration cannot be decoded, the cluster cannot be reached or listed, or standard output cannot be written.
pub(crate) fn dump(app: &App, args: &DumpArgs) -> Result<ExitCode> {
    let source = ConfigurationSource {
        file: args.config.clone(),
        scheduler_names: if args.config.is_none() { vec![ANY_NAME.to_owned()] } else { Vec::new() },
        // Nothing is scheduled.
        replace_default_scheduler: true,
    };
    let profiles = profiles(app, &source.read(app)?)?;
    let mut writer = Writer { out: BufWriter::new(io::stdout().lock()), format: args.output, objects: 0 };
    let written = if args.redact {
        // Pseudonyms sort in the same order as the texts, so all texts have to be known first.
        let Live { mut objects, .. } = live(&args.cluster, &profiles, Slim::Yes)?;
        let pseudonyms = Pseudonyms::of(&objects);
        objects.iter_mut().try_for_each(|object| {
            pseudonyms.redact(object);
            writer.object(object)
        })
    } else {
        list(&args.cluster, &profiles, Slim::Yes, |objects| {
            objects.iter().try_for_each(|object| writer.object(object))
        })?;
        Ok(())
    };
    match written.and_then(|()| writer.end()) {
        Ok(objects) => {
            print(&format!("dumped {objects} objects"));
            Ok(ExitCode::SUCCESS)
        }
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// The contents of a live cluster.
pub(crate) struct Live {
    /// Everything that the profiles' plugins read.
    pub objects: Vec<Value>,
    /// The default namespace: that of the kubeconfig context, or of the pod.
    pub namespace: String,
}

/// Whether to leave out what scheduling does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slim {
    /// Leave it out: the dump is given to other people.
    Yes,
    /// Keep it: the objects stay in this process, and guests and extenders see what they see in the scheduler.
    No,
}

/// Reads a live cluster.
///
/// # Errors
/// The cluster cannot be reached or listed.
pub(crate) fn live(cluster: &ClusterArgs, profiles: &[Profile], slim: Slim) -> Result<Live> {
    let mut objects = Vec::new();
    let namespace = list(cluster, profiles, slim, |more| {
        objects.append(more);
        Ok(())
    })?;
    Ok(Live { objects, namespace })
}

/// Passes on each list; returns the default namespace.
fn list(
    args: &ClusterArgs,
    profiles: &[Profile],
    slim: Slim,
    mut each: impl FnMut(&mut Vec<Value>) -> io::Result<()>,
) -> Result<String> {
    let (absent, namespace) = args.ask(async |cluster| {
        let own = own_kinds(profiles);
        let mut slimmed = |api, mut objects: Vec<Value>| {
            if slim == Slim::Yes {
                let slim = if own.contains(&api) { slim::slim_own } else { slim::slim };
                objects.iter_mut().for_each(slim);
            }
            each(&mut objects)
        };
        let absent = secondmate_shell::dump(&cluster, profiles, &mut slimmed).await?;
        anyhow::Ok((absent, cluster.default_namespace))
    })?;
    for kind in absent {
        print(&format!("the cluster has no {kind}"));
    }
    Ok(namespace)
}

/// Kinds that plugins read as types of their own. Which fields they read is not known here.
fn own_kinds(profiles: &[Profile]) -> BTreeSet<ApiResource> {
    let plugins = profiles.iter().flat_map(Profile::plugins);
    let kinds = plugins.flat_map(|p| p.plugin.declaration().objects);
    kinds.filter_map(ObjectKind::as_own).map(OwnKind::api).collect()
}

struct Writer<W: Write> {
    out: W,
    format: Format,
    objects: usize,
}

impl<W: Write> Writer<W> {
    fn object(&mut self, object: &Value) -> io::Result<()> {
        let first = self.objects == 0;
        self.objects += 1;
        match self.format {
            Format::Json => {
                self.out.write_all(if first { JSON_HEAD.as_bytes() } else { b",\n" })?;
                serde_json::to_writer(&mut self.out, object).map_err(io::Error::from)
            }
            Format::Yaml => {
                let text = serde_saphyr::to_string(object).map_err(io::Error::other)?;
                write!(self.out, "---\n{text}")
            }
        }
    }

    /// Ends the file; returns the number of objects.
    fn end(mut self) -> io::Result<usize> {
        if self.format == Format::Json {
            if self.objects == 0 {
                self.out.write_all(JSON_HEAD.as_bytes())?;
            }
            self.out.write_all(b"\n]}\n")?;
        }
        self.out.flush()?;
        Ok(self.objects)
    }
}

const JSON_HEAD: &str = "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n";
