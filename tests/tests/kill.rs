//! Processes are killed at instruction boundaries inside an operation; the others get on without any further traffic, and
//! nothing is torn, lost or doubled.
//!
//! A victim is stepped under `ptrace`. By default it is killed after each instruction that changed shared memory or
//! its list of held locks, after each system call, and while asleep; then at eight boundaries spread over the
//! operation. `MP_KILL_STRIDE=n` makes that every n-th boundary, and `MP_KILL_STRIDE=1` every single one, which takes
//! seconds per scenario with `--release`, where an operation has some hundred instructions, and hours without.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::process::Command;
use std::time::Duration;

use mp_tests::guard;

/// Makes a test of each scenario, and one that none is forgotten.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                survive(stringify!($name));
            }
        )*

        #[test]
        fn each_scenario_has_a_test() {
            let output = Command::new(env!("CARGO_BIN_EXE_crash")).arg("list").output().unwrap();
            let all = String::from_utf8(output.stdout).unwrap();
            let all: Vec<&str> = all.lines().filter(|name| !name.starts_with("toy_")).collect();
            assert_eq!(all, [$(stringify!($name)),*]);
        }
    };
}

scenarios![
    raw_lock_alone,
    raw_unlock_with_waiter,
    raw_unlock_with_waiters,
    raw_lock_contended,
    raw_lock_handed_over,
    linked_lock_alone,
    linked_unlock_with_waiter,
    linked_unlock_with_waiters,
    linked_lock_contended,
    linked_lock_handed_over,
    raw_lock_heir,
    linked_lock_heir,
    rlock_heir,
    rlock_alone,
    rlock_unlock_with_waiters,
    rlock_contended,
    timed_lock_contended,
    timed_lock_handed_over,
    lock_timeout,
    condition_notify_one,
    condition_notify_all,
    condition_wait,
    condition_timeout,
    condition_heir,
    once,
    once_heir,
    rwlock_read_behind_a_writer,
    rwlock_read_end,
    rwlock_write_with_sleepers,
    rwlock_write_behind_a_reader,
    rwlock_write_timeout,
    rwlock_write_heir,
    ring_put_alone,
    ring_put_to_sleepers,
    ring_put_that_grows,
    ring_put_as_heir,
    ring_get_as_heir,
    ring_get_of_two,
    ring_get_that_shrinks,
    ring_get_as_follower,
    ring_get_as_leader,
    ring_get_from_full,
    ring_put_into_full,
    ring_close_with_sleepers,
    ring_close_with_producers,
    ring_put_many,
    ring_get_many,
    ring_put_in_place_alone,
    ring_put_in_place_to_sleepers,
    ring_put_in_place_that_grows,
    ring_put_in_place_into_full,
    ring_get_in_place_of_two,
    ring_get_in_place_that_shrinks,
    ring_get_in_place_as_follower,
    ring_get_in_place_as_leader,
    ring_get_in_place_from_full,
    ring_get_that_punches,
    shelf_put_alone,
    shelf_put_to_sleepers,
    shelf_get_as_heir,
    shelf_get_of_two,
    shelf_get_as_follower,
    shelf_get_as_leader,
    shelf_get_from_full,
    shelf_put_into_full,
    shelf_close_with_sleepers,
    shelf_close_with_producers,
    shelf_get_that_gives_back,
    shelf_lease_of_two,
    shelf_finish_with_joiners,
    shelf_put_back_to_sleepers,
    shelf_get_what_the_dead_had,
    shelf_report_what_the_dead_had,
    event_set_with_waiters,
    event_wait_beside_another,
    value_update,
    value_fetch_add,
    value_update_of_three,
    value_guard_with_waiters,
    value_recovery,
    chunks_alone,
    chunks_with_waiters,
    vec_push,
    vec_push_that_grows,
    vec_push_that_grows_with_waiters,
    vec_truncate,
    semaphore_acquire_alone,
    semaphore_try_acquire_in_vain,
    semaphore_acquire_as_leader,
    semaphore_acquire_as_follower,
    semaphore_acquire_among_deaths,
    semaphore_timeout_as_leader,
    semaphore_timeout_as_follower,
    semaphore_give_back_to_sleepers,
    semaphore_give_one_back,
    semaphore_give_back_among_many,
    semaphore_release_to_sleepers,
    semaphore_release_after_a_death,
    semaphore_forget_beside_sleepers,
    barrier_wait_first,
    barrier_wait_between,
    barrier_wait_last,
    barrier_party_between,
    barrier_action,
    barrier_party_action,
    barrier_party_twice,
    barrier_register,
    barrier_leave,
    barrier_abort,
    barrier_reset,
    barrier_heir,
    barrier_mend,
    pipe_send_alone,
    pipe_send_to_sleepers,
    pipe_send_behind_others,
    pipe_send_to_one_who_attends,
    pipe_send_long,
    pipe_send_long_to_sleepers,
    pipe_send_into_full,
    pipe_recv_of_one,
    pipe_recv_of_three,
    pipe_recv_from_the_ring,
    pipe_recv_of_the_last,
    pipe_recv_long,
    pipe_recv_as_leader,
    pipe_recv_as_follower,
    pipe_send_wrapped,
    pipe_recv_wrapped,
    pipe_recv_from_full,
    pipe_send_as_heir,
    pipe_send_behind_others_as_heir,
    pipe_recv_as_heir,
    pipe_send_with_file,
    pipe_recv_with_file,
    pipe_shutdown_with_sleeper,
    list_set_alone,
    list_set_contended,
    named_create,
    named_scope_shutdown,
    queue_put_alone,
    queue_put_to_sleepers,
    queue_put_as_heir,
    queue_get_as_heir,
    queue_get_of_two,
    queue_get_as_follower,
    queue_get_as_leader,
    queue_get_from_full,
    queue_put_into_full,
    queue_close_with_sleepers,
    queue_close_with_producers,
    plain_put_alone,
    plain_put_to_sleepers,
    plain_get_of_two,
    plain_get_as_leader,
    plain_get_from_full,
    plain_put_into_full,
    bytes_put_in_place_alone,
    bytes_get_in_place_of_two,
    plain_put_many,
    pool_task,
    pool_chunk,
    pool_loan,
    pool_start,
    joinable_put_alone,
    joinable_put_to_sleepers,
    joinable_put_into_full,
];

fn survive(scenario: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crash"));
    command.args(["step", scenario]);
    let mut limit = Duration::from_secs(300);
    if let Ok(stride) = std::env::var("MP_KILL_STRIDE") {
        command.arg(stride);
        limit *= 60;
    }
    let _guard = guard::limit(limit);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_segment_cannot_be_cut_off() {
    let status = Command::new(env!("CARGO_BIN_EXE_crash")).arg("seal").status().unwrap();
    assert!(status.success());
}
