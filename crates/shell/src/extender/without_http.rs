//! Extenders that get the same requests as an HTTP extender and whose answers are read in the same way, but without a connection: for tests
//! in which the extender is a table.

use super::error::AskError;
use super::{answer, as_configured, request};
use secondmate_config::Extender;
use secondmate_framework::{
    AwaitScores, CallExtender, ExtenderError, ExtenderVerdict, ExtenderVictims, Extenders,
    PreemptionCandidate,
};
use secondmate_model::{NodeInfo, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Maps the URL and body of a request to the status and body of its answer.
pub type Post = Arc<dyn Fn(&str, &[u8]) -> (u16, Vec<u8>) + Send + Sync>;

/// The configured extenders, with this in place of HTTP.
pub fn extenders(configured: &[Extender], post: &Post) -> Extenders {
    let asked = |extender: &Extender| {
        as_configured(extender, Arc::new(Asked { configured: extender.clone(), post: Arc::clone(post) }))
    };
    Extenders::new(configured.iter().map(asked).collect())
}

struct Asked {
    configured: Extender,
    post: Post,
}

impl Asked {
    fn ask(&self, verb: &str, body: &[u8]) -> Result<Vec<u8>, AskError> {
        let url = format!("{}/{verb}", self.configured.bare_url().trim_end_matches('/'));
        match (self.post)(&url, body) {
            (200, answer) => Ok(answer),
            (code, _) => Err(AskError::Code { verb: verb.to_owned(), url, code }),
        }
    }

    fn whole(&self) -> bool {
        !self.configured.node_cache_capable
    }
}

impl CallExtender for Asked {
    fn filter(&self, pod: &Arc<Pod>, nodes: &[Arc<NodeInfo>]) -> Result<ExtenderVerdict, ExtenderError> {
        let body = request::about_nodes(pod, nodes, self.whole());
        let answer = self.ask(&self.configured.filter_verb, &body)?;
        Ok(answer::filtered(&answer, !self.whole())?)
    }

    fn prioritize<'a>(&'a self, pod: &'a Arc<Pod>, nodes: &'a [Arc<NodeInfo>]) -> AwaitScores<'a> {
        let body = request::about_nodes(pod, nodes, self.whole());
        Box::new(move || {
            let answer = self.ask(&self.configured.prioritize_verb, &body)?;
            Ok(answer::priorities(&answer).map_err(AskError::from)?)
        })
    }

    fn preempt(
        &self,
        pod: &Arc<Pod>,
        candidates: &[PreemptionCandidate],
    ) -> Result<BTreeMap<String, ExtenderVictims>, ExtenderError> {
        let body = request::about_victims(pod, candidates, self.whole());
        let answer = self.ask(&self.configured.preempt_verb, &body)?;
        Ok(answer::preempted(&answer).map_err(AskError::from)?)
    }
}
