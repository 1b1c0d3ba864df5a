//! What is executed, counted in instructions by valgrind: `bash .ci/instructions`.
//!
//! Timings on a busy machine swing by more than a mistake costs. These counts hardly swing at all, so
//! this program is one that fails:
//!
//! 1. Counted is what is left once everything that is made only once is there, without the making of the
//!    request.
//! 2. By more than a twentieth of what is written down here, a count is too high. That leaves room for
//!    another compiler or allocator; the hashing of the token, which is not ours, leaves none.
//!
//! Without the path of a gungraun-runner in `GUNGRAUN_RUNNER` when it is compiled, it counts nothing: a
//! machine without valgrind is not troubled.

#[path = "shared/stacks.rs"]
mod stacks;
#[path = "shared/streams.rs"]
#[allow(dead_code, reason = "no stream rests here")]
mod streams;

fn main() {
    if option_env!("GUNGRAUN_RUNNER").is_some() {
        counted::run();
    } else {
        println!("no instructions are counted: `bash .ci/instructions` has what that takes");
    }
}

mod counted {
    use axum::extract::Request;
    use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
    use http::StatusCode;
    use tokio::runtime::{Builder, Runtime};

    use super::{
        stacks::{self, Base, Head, Presents, WHOLE_STACK},
        streams::{self, EXPIRY, REVISION},
    };

    /// The SHA-256 of a token, by software: valgrind knows none of the processor's instructions for it.
    const HASHING: u64 = 3_500;

    pub fn run() {
        main();
    }

    main!(library_benchmark_groups = counts);
    library_benchmark_group!(name = counts, benchmarks = [request, thousand_frames]);

    #[library_benchmark(setup = at_the_door)]
    #[bench::accepted(args = (Presents::Token), config = takes(8_625, HASHING))]
    #[bench::refused(args = (Presents::WrongToken), config = takes(8_052, HASHING))]
    fn request((door, request): (Door, Request)) -> (StatusCode, Door) {
        (door.stacks[door.whole].answer(request), door)
    }

    #[library_benchmark(setup = streaming)]
    #[bench::revision_unchanged(args = (REVISION), config = takes(431_160, 0))]
    #[bench::and_an_expiry(args = (EXPIRY), config = takes(494_160, 0))]
    fn thousand_frames(mut streaming: Streaming) -> Streaming {
        let context = streaming.runtime.enter();
        (0..1_000).for_each(|_| streaming.stream.next());
        drop(context);
        streaming
    }

    /// The stack of who and what. All that was made is kept: where much was freed, the allocator would
    /// tidy up within what is counted.
    struct Door {
        stacks: Vec<stacks::Contestant>,
        whole: usize,
        _head: Head,
    }

    /// With a request that has not reached it yet.
    fn at_the_door(presents: Presents) -> (Door, Request) {
        let stacks = stacks::contestants();
        let is_whole = |stack: &stacks::Contestant| (stack.base, stack.name) == (Base::Tower, WHOLE_STACK);
        let whole = stacks.iter().position(is_whole).expect("it is one of them");
        stacks[whole].assert_works();
        let head = Head::new(presents);
        let request = head.request();
        (Door { stacks, whole, _head: head }, request)
    }

    /// A stream that has begun.
    struct Streaming {
        runtime: Runtime,
        stream: streams::Contestant,
    }

    fn streaming(name: &str) -> Streaming {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime starts");
        let context = runtime.enter();
        let is_it = |stream: &streams::Contestant| stream.name == name;
        let mut stream = streams::contestants().into_iter().find(is_it).expect("it is one of them");
        stream.next();
        drop(context);
        Streaming { runtime, stream }
    }

    /// What it takes by now, and which part of that is not ours. Fewer are welcome: write them down.
    fn takes(instructions: u64, not_ours: u64) -> LibraryBenchmarkConfig {
        let limit = instructions + (instructions - not_ours) / 20;
        let mut config = LibraryBenchmarkConfig::default();
        config.tool(Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, limit)]));
        config
    }
}
