//! From the host's calls to the plugin's traits and back.

pub mod json;

use crate::abi::{self, State};
use crate::cycle::Cycle;
use crate::objects::Pod;
use crate::plugin::{
    Bind, Enqueue, Filter, NormalizeScore, Permit, PostBind, PostFilter, PreBind, PreFilter, PreScore,
    Reading, Reserve, Score,
};
use crate::status::{Code, Status};
use alloc::string::String;
use alloc::vec::Vec;

/// A plugin in its cycle, and the numbers and bytes that the host reads from memory.
#[derive(Default)]
pub struct Running<P> {
    plugin: P,
    cycle: Cycle,
    numbers: Vec<i32>,
    key: Vec<u8>,
}

/// Tells the reason, and returns the code.
fn answer(status: &Status) -> i32 {
    if status.code != Code::Success && !status.reason.is_empty() {
        abi::tell_reason(status.reason.as_bytes());
    }
    status.code as i32
}

/// Two numbers in one.
fn both(high: i32, low: i32) -> i64 {
    i64::from(high) << 32 | i64::from(u32::from_le_bytes(low.to_le_bytes()))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

fn node() -> String {
    text(abi::current_node())
}

/// The exports, each for a plugin that has the trait.
impl<P: Default> State<Running<P>> {
    fn run<R>(&self, act: impl FnOnce(&mut P, &Cycle) -> R) -> R {
        self.with(Running::default, |running| act(&mut running.plugin, &running.cycle))
    }

    /// A new cycle, with a new plugin.
    pub fn begin(&self) -> i32 {
        self.set(Running::default());
        Code::Success as i32
    }

    #[doc(hidden)]
    pub fn enqueue(&self)
    where
        P: Enqueue,
    {
        let numbers = P::events().into_iter().flat_map(|event| [event.resource as u32, event.actions]);
        let bytes: Vec<u8> = numbers.flat_map(u32::to_le_bytes).collect();
        abi::tell_events(&bytes);
    }

    #[doc(hidden)]
    pub fn prefilter(&self) -> i32
    where
        P: PreFilter,
    {
        self.begin();
        let (nodes, status) = self.run(|plugin, cycle| plugin.pre_filter(cycle));
        if let Some(nodes) = nodes {
            let list: String = nodes.iter().flat_map(|name| [name.as_str(), "\0"]).collect();
            abi::tell_nodes(list.as_bytes());
        }
        answer(&status)
    }

    #[doc(hidden)]
    pub fn reading(&self) -> i64
    where
        P: Reading,
    {
        self.with(Running::default, |Running { plugin, cycle, key, .. }| match plugin.reading(cycle) {
            Some(told) => {
                *key = told;
                abi::place(key)
            }
            None => -1,
        })
    }

    #[doc(hidden)]
    pub fn filter(&self) -> i32
    where
        P: Filter,
    {
        answer(&self.run(|plugin, cycle| plugin.filter(cycle, &node())))
    }

    #[doc(hidden)]
    pub fn addpod(&self) -> i32
    where
        P: Filter,
    {
        answer(&self.run(|plugin, cycle| plugin.add_pod(cycle, &Pod(abi::target_pod()), &node())))
    }

    #[doc(hidden)]
    pub fn removepod(&self) -> i32
    where
        P: Filter,
    {
        answer(&self.run(|plugin, cycle| plugin.remove_pod(cycle, &Pod(abi::target_pod()), &node())))
    }

    #[doc(hidden)]
    pub fn postfilter(&self) -> i64
    where
        P: PostFilter,
    {
        let codes = json::numbers(&abi::statuses());
        let statuses: Vec<(String, i32)> =
            codes.into_iter().map(|(name, code)| (name, i32::try_from(code).unwrap_or(i32::MAX))).collect();
        let (nomination, status) = self.run(|plugin, cycle| plugin.post_filter(cycle, &statuses));
        if let Some(name) = &nomination {
            abi::tell_nomination(name.as_bytes());
        }
        both(i32::from(nomination.is_some()), answer(&status))
    }

    #[doc(hidden)]
    pub fn prescore(&self) -> i32
    where
        P: PreScore,
    {
        answer(&self.run(|plugin, cycle| plugin.pre_score(cycle)))
    }

    #[doc(hidden)]
    pub fn score(&self) -> i64
    where
        P: Score,
    {
        match self.run(|plugin, cycle| plugin.score(cycle, &node())) {
            Ok(score) => both(score, 0),
            Err(status) => both(0, answer(&status)),
        }
    }

    #[doc(hidden)]
    pub fn score_nodes(&self) -> i64
    where
        P: Score,
    {
        let names = abi::feasible_nodes();
        self.with(Running::default, |Running { plugin, cycle, numbers, .. }| {
            numbers.clear();
            numbers.push(Code::Success as i32);
            for name in json::texts(&names) {
                match plugin.score(cycle, &name) {
                    Ok(score) => numbers.push(score),
                    Err(status) => {
                        numbers.clear();
                        numbers.push(answer(&status));
                        break;
                    }
                }
            }
            abi::place(numbers)
        })
    }

    #[doc(hidden)]
    pub fn normalizescore(&self) -> i32
    where
        P: NormalizeScore,
    {
        let mut scores = json::numbers(&abi::scores());
        let status = self.run(|plugin, cycle| plugin.normalize(cycle, &mut scores));
        abi::tell_scores(json::object(&scores).as_bytes());
        answer(&status)
    }

    #[doc(hidden)]
    pub fn reserve(&self) -> i32
    where
        P: Reserve,
    {
        answer(&self.run(|plugin, cycle| plugin.reserve(cycle, &node())))
    }

    #[doc(hidden)]
    pub fn unreserve(&self)
    where
        P: Reserve,
    {
        self.run(|plugin, cycle| plugin.unreserve(cycle, &node()));
    }

    #[doc(hidden)]
    pub fn permit(&self) -> i64
    where
        P: Permit,
    {
        let (status, wait) = self.run(|plugin, cycle| plugin.permit(cycle, &node()));
        let millis = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        // The other way round than everywhere else.
        both(answer(&status), i32::from_le_bytes(millis.to_le_bytes()))
    }

    #[doc(hidden)]
    pub fn prebind(&self) -> i32
    where
        P: PreBind,
    {
        answer(&self.run(|plugin, cycle| plugin.pre_bind(cycle, &node())))
    }

    #[doc(hidden)]
    pub fn bind(&self) -> i32
    where
        P: Bind,
    {
        answer(&self.run(|plugin, cycle| plugin.bind(cycle, &node())))
    }

    #[doc(hidden)]
    pub fn postbind(&self)
    where
        P: PostBind,
    {
        self.run(|plugin, cycle| plugin.post_bind(cycle, &node()));
    }
}

/// Exports a plugin at the extension points whose traits it names. Once in a guest.
#[macro_export]
macro_rules! guest {
    ($plugin:ty: $($point:ident),+ $(,)?) => {
        const _: () = {
            static STATE: $crate::abi::State<$crate::abi::Running<$plugin>> = $crate::abi::State::new();
            $crate::__export_begin!($($point)+);
            $($crate::__export_point!($point);)+
        };
    };
}

/// PreFilter begins the cycle, whether the plugin has it or not.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_begin {
    () => { $crate::__export!(prefilter, begin, i32); };
    (PreFilter $($rest:ident)*) => { $crate::__export!(prefilter, prefilter, i32); };
    ($point:ident $($rest:ident)*) => { $crate::__export_begin!($($rest)*); };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_point {
    (PreFilter) => {};
    (Reading) => {
        $crate::__export!(secondmate_reading, reading, i64);
    };
    (Enqueue) => {
        $crate::__export!(enqueue, enqueue, ());
    };
    (Filter) => {
        $crate::__export!(filter, filter, i32);
        $crate::__export!(addpod, addpod, i32);
        $crate::__export!(removepod, removepod, i32);
    };
    (PostFilter) => {
        $crate::__export!(postfilter, postfilter, i64);
    };
    (PreScore) => {
        $crate::__export!(prescore, prescore, i32);
    };
    (Score) => {
        $crate::__export!(score, score, i64);
        $crate::__export!(secondmate_score_nodes, score_nodes, i64);
    };
    (NormalizeScore) => {
        $crate::__export!(normalizescore, normalizescore, i32);
    };
    (Reserve) => {
        $crate::__export!(reserve, reserve, i32);
        $crate::__export!(unreserve, unreserve, ());
    };
    (Permit) => {
        $crate::__export!(permit, permit, i64);
    };
    (PreBind) => {
        $crate::__export!(prebind, prebind, i32);
    };
    (Bind) => {
        $crate::__export!(bind, bind, i32);
    };
    (PostBind) => {
        $crate::__export!(postbind, postbind, ());
    };
}

/// A function under its name in the ABI. Elsewhere than in a guest the name would take the place of another one (`bind`), so there it
/// is a method nobody calls.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($export:ident, $method:ident, $of:ty) => {
        #[allow(unsafe_code, dead_code, reason = "the host finds the function by its name")]
        #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
        extern "C" fn $export() -> $of {
            STATE.$method()
        }
    };
}
