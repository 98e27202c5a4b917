//! What plugins ask for by themselves: events, and what becomes of pods that wait on permit.

use super::Scheduler;
use super::binding::Event;
use crate::port::{Effect, EventType, PodEvent};
use secondmate_framework::{Status, WaitingPodCommand};
use secondmate_model::Timestamp;

impl Scheduler {
    /// Carries out the plugins' commands about pods that wait on permit, including commands that they give meanwhile.
    pub(super) fn run_plugin_commands(&mut self, now: Timestamp) {
        self.write_plugin_events();
        loop {
            let profiles = self.profiles.values();
            let commands: Vec<_> = profiles.flat_map(|profile| profile.handle().take_commands()).collect();
            if commands.is_empty() {
                return;
            }
            for command in commands {
                match command {
                    WaitingPodCommand::Allow { pod, plugin } => {
                        self.binding_event(&pod, Event::Allowed(plugin), now);
                    }
                    WaitingPodCommand::Reject { pod, plugin, reason } => {
                        let status = Status::unschedulable(reason).by(&plugin);
                        self.binding_event(&pod, Event::Rejected(status), now);
                    }
                }
            }
        }
    }

    /// Writes events that plugins requested.
    fn write_plugin_events(&mut self) {
        for profile in self.profiles.values() {
            for event in profile.handle().take_events() {
                self.effects.push(Effect::Event(PodEvent {
                    kind: if event.warning { EventType::Warning } else { EventType::Normal },
                    reason: event.reason.into(),
                    action: event.action.into(),
                    note: event.note,
                    related: None,
                    profile: profile.name().clone(),
                    regarding: event.pod,
                }));
            }
        }
    }
}
