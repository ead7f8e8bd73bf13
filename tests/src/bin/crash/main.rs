//! Kills processes at work and says what became of the others.
//!
//! `crash step SCENARIO [STRIDE]` kills one operation at instruction boundaries, `crash soak CHANNEL SECONDS SEED`
//! kills many processes at random; `crash list` lists the scenarios. Exits with 1 if a survivor was not well.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper program fails loudly")]

mod barriers;
mod channel;
mod conditions;
mod crew;
mod events;
mod histories;
mod lock;
mod locks;
mod named;
mod pipe_states;
mod pipes;
#[cfg(feature = "whole")]
mod pool;
#[cfg(feature = "whole")]
mod queues;
mod rings;
mod rwlocks;
mod semaphores;
mod shelves;
mod soak;
mod soak_shared;
mod toy;
mod values;

use std::process::ExitCode;
use std::time::Duration;

use mp_tests::step::{self, Kill};
use mp_tests::sweep::{Verdict, sweep};

use self::locks::{Linked, Nested, Raw, Timed};
use self::rings::{InPlace, TestRing};
use self::shelves::{TestFifo, TestShelf};

type Trial = fn(Kill) -> Verdict;

const SCENARIOS: &[(&str, Trial)] = &[
    ("toy_lock", toy::toy_lock),
    ("toy_publish", toy::toy_publish),
    ("toy_claim", toy::toy_claim),
    ("raw_lock_alone", lock::alone::<Raw>),
    ("raw_unlock_with_waiter", lock::unlock_with_waiter::<Raw>),
    ("raw_unlock_with_waiters", lock::unlock_with_waiters::<Raw>),
    ("raw_lock_contended", lock::contended::<Raw>),
    ("raw_lock_handed_over", lock::handed_over::<Raw>),
    ("linked_lock_alone", lock::alone::<Linked>),
    ("linked_unlock_with_waiter", lock::unlock_with_waiter::<Linked>),
    ("linked_unlock_with_waiters", lock::unlock_with_waiters::<Linked>),
    ("linked_lock_contended", lock::contended::<Linked>),
    ("linked_lock_handed_over", lock::handed_over::<Linked>),
    ("raw_lock_heir", lock::heir::<Raw>),
    ("linked_lock_heir", lock::heir::<Linked>),
    ("rlock_heir", lock::heir::<Nested>),
    ("rlock_alone", lock::alone::<Nested>),
    ("rlock_unlock_with_waiters", lock::unlock_with_waiters::<Nested>),
    ("rlock_contended", lock::contended::<Nested>),
    ("timed_lock_contended", lock::contended::<Timed>),
    ("timed_lock_handed_over", lock::handed_over::<Timed>),
    ("lock_timeout", lock::timeout),
    ("condition_notify_one", conditions::notify_one),
    ("condition_notify_all", conditions::notify_all),
    ("condition_wait", conditions::wait),
    ("condition_timeout", conditions::timeout),
    ("condition_heir", conditions::heir),
    ("once", conditions::once),
    ("once_heir", conditions::once_heir),
    ("rwlock_read_behind_a_writer", rwlocks::read_behind_a_writer),
    ("rwlock_read_end", rwlocks::read_end),
    ("rwlock_write_with_sleepers", rwlocks::write_with_sleepers),
    ("rwlock_write_behind_a_reader", rwlocks::write_behind_a_reader),
    ("rwlock_write_timeout", rwlocks::write_timeout),
    ("rwlock_write_heir", rwlocks::write_heir),
    ("ring_put_alone", channel::put_alone::<TestRing>),
    ("ring_put_to_sleepers", channel::put_to_sleepers::<TestRing>),
    ("ring_put_that_grows", channel::put_that_grows::<TestRing>),
    ("ring_put_as_heir", channel::put_as_heir::<TestRing>),
    ("ring_get_as_heir", channel::get_as_heir::<TestRing>),
    ("ring_get_of_two", channel::get_of_two::<TestRing>),
    ("ring_get_that_shrinks", channel::get_that_shrinks::<TestRing>),
    ("ring_get_as_follower", channel::get_as_follower::<TestRing>),
    ("ring_get_as_leader", channel::get_as_leader::<TestRing>),
    ("ring_get_from_full", channel::get_from_full::<TestRing>),
    ("ring_put_into_full", channel::put_into_full::<TestRing>),
    ("ring_close_with_sleepers", channel::close_with_sleepers::<TestRing>),
    ("ring_close_with_producers", channel::close_with_producers::<TestRing>),
    ("ring_put_many", rings::put_many),
    ("ring_get_many", rings::get_many),
    ("ring_put_in_place_alone", channel::put_alone::<InPlace>),
    ("ring_put_in_place_to_sleepers", channel::put_to_sleepers::<InPlace>),
    ("ring_put_in_place_that_grows", channel::put_that_grows::<InPlace>),
    ("ring_put_in_place_into_full", channel::put_into_full::<InPlace>),
    ("ring_get_in_place_of_two", channel::get_of_two::<InPlace>),
    ("ring_get_in_place_that_shrinks", channel::get_that_shrinks::<InPlace>),
    ("ring_get_in_place_as_follower", channel::get_as_follower::<InPlace>),
    ("ring_get_in_place_as_leader", channel::get_as_leader::<InPlace>),
    ("ring_get_in_place_from_full", channel::get_from_full::<InPlace>),
    ("ring_get_that_punches", rings::get_that_punches),
    ("shelf_put_alone", channel::put_alone::<TestShelf>),
    ("shelf_put_to_sleepers", channel::put_to_sleepers::<TestShelf>),
    ("shelf_get_as_heir", channel::get_as_heir::<TestShelf>),
    ("shelf_get_of_two", channel::get_of_two::<TestShelf>),
    ("shelf_get_as_follower", channel::get_as_follower::<TestShelf>),
    ("shelf_get_as_leader", channel::get_as_leader::<TestShelf>),
    ("shelf_get_from_full", channel::get_from_full::<TestShelf>),
    ("shelf_put_into_full", channel::put_into_full::<TestShelf>),
    ("shelf_close_with_sleepers", channel::close_with_sleepers::<TestShelf>),
    ("shelf_close_with_producers", channel::close_with_producers::<TestShelf>),
    ("shelf_get_that_gives_back", shelves::get_that_gives_back),
    ("shelf_lease_of_two", shelves::lease_of_two),
    ("shelf_finish_with_joiners", shelves::finish_with_joiners),
    ("shelf_put_back_to_sleepers", shelves::put_back_to_sleepers),
    ("shelf_get_what_the_dead_had", shelves::get_what_the_dead_had),
    ("shelf_report_what_the_dead_had", shelves::report_what_the_dead_had),
    ("event_set_with_waiters", events::set_with_waiters),
    ("event_wait_beside_another", events::wait_beside_another),
    ("value_update", values::update),
    ("value_fetch_add", values::fetch_add),
    ("value_update_of_three", values::update_of_three),
    ("value_guard_with_waiters", values::guard_with_waiters),
    ("value_recovery", values::recovery),
    ("chunks_alone", values::chunks_alone),
    ("chunks_with_waiters", values::chunks_with_waiters),
    ("vec_push", values::push),
    ("vec_push_that_grows", values::push_that_grows),
    ("vec_push_that_grows_with_waiters", values::push_that_grows_with_waiters),
    ("vec_truncate", values::truncate),
    ("semaphore_acquire_alone", semaphores::acquire_alone),
    ("semaphore_try_acquire_in_vain", semaphores::try_acquire_in_vain),
    ("semaphore_acquire_as_leader", semaphores::acquire_as_leader),
    ("semaphore_acquire_as_follower", semaphores::acquire_as_follower),
    ("semaphore_acquire_among_deaths", semaphores::acquire_among_deaths),
    ("semaphore_timeout_as_leader", semaphores::timeout_as_leader),
    ("semaphore_timeout_as_follower", semaphores::timeout_as_follower),
    ("semaphore_give_back_to_sleepers", semaphores::give_back_to_sleepers),
    ("semaphore_give_one_back", semaphores::give_one_back),
    ("semaphore_give_back_among_many", semaphores::give_back_among_many),
    ("semaphore_release_to_sleepers", semaphores::release_to_sleepers),
    ("semaphore_release_after_a_death", semaphores::release_after_a_death),
    ("semaphore_forget_beside_sleepers", semaphores::forget_beside_sleepers),
    ("barrier_wait_first", barriers::wait_first),
    ("barrier_wait_between", barriers::wait_between),
    ("barrier_wait_last", barriers::wait_last),
    ("barrier_party_between", barriers::party_between),
    ("barrier_action", barriers::action),
    ("barrier_party_action", barriers::party_action),
    ("barrier_party_twice", barriers::party_twice),
    ("barrier_register", barriers::register),
    ("barrier_leave", barriers::leave),
    ("barrier_abort", barriers::abort),
    ("barrier_reset", barriers::reset),
    ("barrier_heir", barriers::heir),
    ("barrier_mend", barriers::mend),
    ("pipe_send_alone", pipes::send_alone),
    ("pipe_send_to_sleepers", pipes::send_to_sleepers),
    ("pipe_send_behind_others", pipes::send_behind_others),
    ("pipe_send_to_one_who_attends", pipes::send_to_one_who_attends),
    ("pipe_send_long", pipes::send_long),
    ("pipe_send_long_to_sleepers", pipes::send_long_to_sleepers),
    ("pipe_send_into_full", pipes::send_into_full),
    ("pipe_recv_of_one", pipes::recv_of_one),
    ("pipe_recv_of_three", pipes::recv_of_three),
    ("pipe_recv_from_the_ring", pipes::recv_from_the_ring),
    ("pipe_recv_of_the_last", pipes::recv_of_the_last),
    ("pipe_recv_long", pipes::recv_long),
    ("pipe_recv_as_leader", pipes::recv_as_leader),
    ("pipe_recv_as_follower", pipes::recv_as_follower),
    ("pipe_send_wrapped", pipe_states::send_wrapped),
    ("pipe_recv_wrapped", pipe_states::recv_wrapped),
    ("pipe_recv_from_full", pipe_states::recv_from_full),
    ("pipe_send_as_heir", pipe_states::send_as_heir),
    ("pipe_send_behind_others_as_heir", pipe_states::send_behind_others_as_heir),
    ("pipe_recv_as_heir", pipe_states::recv_as_heir),
    ("pipe_send_with_file", pipe_states::send_with_file),
    ("pipe_recv_with_file", pipe_states::recv_with_file),
    ("pipe_shutdown_with_sleeper", pipe_states::shutdown_with_sleeper),
    ("list_set_alone", named::list_set_alone),
    ("list_set_contended", named::list_set_contended),
    ("named_create", named::create),
    ("named_scope_shutdown", named::scope_shutdown),
];

#[cfg(feature = "whole")]
const OF_QUEUES: &[(&str, Trial)] = &[
    ("queue_put_alone", channel::put_alone::<queues::TestQueue>),
    ("queue_put_to_sleepers", channel::put_to_sleepers::<queues::TestQueue>),
    ("queue_put_as_heir", channel::put_as_heir::<queues::TestQueue>),
    ("queue_get_as_heir", channel::get_as_heir::<queues::TestQueue>),
    ("queue_get_of_two", channel::get_of_two::<queues::TestQueue>),
    ("queue_get_as_follower", channel::get_as_follower::<queues::TestQueue>),
    ("queue_get_as_leader", channel::get_as_leader::<queues::TestQueue>),
    ("queue_get_from_full", channel::get_from_full::<queues::TestQueue>),
    ("queue_put_into_full", channel::put_into_full::<queues::TestQueue>),
    ("queue_close_with_sleepers", channel::close_with_sleepers::<queues::TestQueue>),
    ("queue_close_with_producers", channel::close_with_producers::<queues::TestQueue>),
    ("plain_put_alone", channel::put_alone::<queues::TestPlain>),
    ("plain_put_to_sleepers", channel::put_to_sleepers::<queues::TestPlain>),
    ("plain_get_of_two", channel::get_of_two::<queues::TestPlain>),
    ("plain_get_as_leader", channel::get_as_leader::<queues::TestPlain>),
    ("plain_get_from_full", channel::get_from_full::<queues::TestPlain>),
    ("plain_put_into_full", channel::put_into_full::<queues::TestPlain>),
    ("bytes_put_in_place_alone", channel::put_alone::<queues::TestBytes>),
    ("bytes_get_in_place_of_two", channel::get_of_two::<queues::TestBytes>),
    ("plain_put_many", queues::plain_put_many),
    ("pool_task", pool::task),
    ("pool_chunk", pool::chunk),
    ("pool_loan", pool::loan),
    ("pool_start", pool::start),
    ("joinable_put_alone", channel::put_alone::<queues::TestJoinable>),
    ("joinable_put_to_sleepers", channel::put_to_sleepers::<queues::TestJoinable>),
    ("joinable_put_into_full", channel::put_into_full::<queues::TestJoinable>),
];

#[cfg(not(feature = "whole"))]
const OF_QUEUES: &[(&str, Trial)] = &[];

fn scenarios() -> impl Iterator<Item = &'static (&'static str, Trial)> {
    SCENARIOS.iter().chain(OF_QUEUES)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["list"] => {
            for (name, _) in scenarios() {
                println!("{name}");
            }
            ExitCode::SUCCESS
        }
        ["step", name] => step(name, None),
        ["step", name, stride] => step(name, Some(stride.parse().expect("the stride is a number"))),
        ["seal"] => seal(),
        ["histories", channel, count, seed] => {
            let count = count.parse().expect("the count is a number");
            let seed = seed.parse().expect("the seed is a number");
            let bounds = [None, Some(1), Some(2)];
            match channel {
                "pipe" => histories::check::<pipe_states::TestPipe>(count, seed, &[None]),
                "ring" => histories::check::<TestRing>(count, seed, &bounds),
                "shelf" => histories::check::<TestFifo>(count, seed, &bounds),
                #[cfg(feature = "whole")]
                "queue" => histories::check::<queues::TestQueue>(count, seed, &bounds),
                #[cfg(feature = "whole")]
                "plain" => histories::check::<queues::TestPlain>(count, seed, &bounds),
                _ => panic!("no channel is called {channel}"),
            }
        }
        ["soak", channel, seconds, seed] => {
            let time = Duration::from_secs(seconds.parse().expect("the time is a number"));
            let seed = seed.parse().expect("the seed is a number");
            match channel {
                "shared" => soak_shared::soak(time, seed),
                "ring" => soak::soak::<TestRing, Linked>(None, time, seed),
                "bounded_ring" => soak::soak::<TestRing, Raw>(Some(8), time, seed),
                #[cfg(feature = "whole")]
                "queue" => soak::soak::<queues::TestQueue, Linked>(None, time, seed),
                #[cfg(feature = "whole")]
                "bounded_queue" => soak::soak::<queues::TestQueue, Raw>(Some(8), time, seed),
                _ => panic!("no channel is called {channel}"),
            }
        }
        _ => {
            eprintln!(
                "usage: crash list | step SCENARIO [STRIDE] | soak CHANNEL SECONDS SEED | histories CHANNEL COUNT SEED"
            );
            ExitCode::from(2)
        }
    }
}

/// Nobody who has a segment can cut it off under the others.
fn seal() -> ExitCode {
    use std::os::fd::AsFd as _;
    let segment = mp_shared::segment::Segment::create(1, 8192).expect("a segment");
    let file = segment.fd().as_fd().try_clone_to_owned().expect("a descriptor");
    let file = std::fs::File::from(file);
    let shrunk = file.set_len(64).is_ok();
    let grown = file.set_len(1 << 20).is_ok();
    if shrunk || grown { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn step(name: &str, stride: Option<u64>) -> ExitCode {
    let Some((_, trial)) = scenarios().find(|(known, _)| *known == name) else {
        eprintln!("no scenario is called {name}");
        return ExitCode::from(2);
    };
    step::stay_on_one_core();
    locks::wait_once();
    let report = sweep(name, stride, trial);
    println!("{report}");
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
