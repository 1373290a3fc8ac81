//! Sequences of datagrams for one node, in every state, with time between them.
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

#[path = "../../tests/hostile/harness/mod.rs"]
mod harness;

use harness::input;
use harness::states::Scene;
use harness::structure::Collection;

struct Stage {
    scenes: Vec<Scene>,
    structures: Collection,
}

fn with_stage<R>(act: impl FnOnce(&Stage) -> R) -> R {
    thread_local! {
        static STAGE: OnceCell<Stage> = const { OnceCell::new() };
    }
    let new = || {
        let scenes = Scene::all();
        Stage { structures: Scene::structures(&scenes), scenes }
    };
    STAGE.with(|stage| act(stage.get_or_init(new)))
}

fuzz_target!(|input: &[u8]| with_stage(|stage| input::run(&stage.scenes, input)));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut dice = fastrand::Rng::with_seed(u64::from(seed));
    // Bytes are changed too: the structure knows nothing of what is malformed, nor of how a datagram arrives.
    if dice.u8(0..3) > 0 {
        let structured = with_stage(|stage| input::mutated(&data[..size], &stage.structures, || dice.u64(..)));
        if let Some(input) = structured.filter(|input| input.len() <= max_size.min(data.len())) {
            data[..input.len()].copy_from_slice(&input);
            return input.len();
        }
    }
    fuzzer_mutate(data, size, max_size)
});
