//! Every interleaving of small models of the protocols, with kills at any step: nobody is stranded, no two own a lock, and
//! the heir of a dead owner is told. The same search finds what is wrong with other protocols.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use mp_tests::model::commit::{Commit, Counting};
use mp_tests::model::lock::{Lock, Protocol};
use mp_tests::model::{Model, explore};

fn holds(model: &(impl Model + std::fmt::Debug)) {
    match explore(model) {
        Ok(explored) => println!("{model:?}: {explored:?}"),
        Err(counterexample) => panic!("{model:?}: {counterexample}"),
    }
}

fn fails(model: &(impl Model + std::fmt::Debug), wrong: &str) {
    match explore(model) {
        Ok(explored) => panic!("{model:?} holds: {explored:?}"),
        Err(counterexample) => {
            println!("{model:?}: {counterexample}");
            assert_eq!(counterexample.wrong, wrong);
        }
    }
}

const STRANDED: &str = "one sleeps, and nobody wakes it";

#[test]
fn the_internal_lock_holds() {
    holds(&Lock { protocol: Protocol::Raw, rounds: 2, kills: 2 });
}

#[test]
fn the_lock_of_users_holds() {
    holds(&Lock { protocol: Protocol::Linked, rounds: 2, kills: 2 });
}

#[test]
fn the_mutex_of_glibc_strands_a_waiter() {
    fails(&Lock { protocol: Protocol::Glibc, rounds: 2, kills: 1 }, STRANDED);
}

#[test]
fn a_mark_that_does_not_stick_strands_a_waiter() {
    fails(&Lock { protocol: Protocol::NotSticky, rounds: 1, kills: 0 }, STRANDED);
}

#[test]
fn a_lock_that_is_not_announced_strands_a_waiter() {
    fails(&Lock { protocol: Protocol::NotAnnounced, rounds: 2, kills: 1 }, STRANDED);
}

#[test]
fn a_lock_that_leaves_the_list_before_it_is_announced_strands_a_waiter() {
    fails(&Lock { protocol: Protocol::UnlinkedFirst, rounds: 2, kills: 1 }, STRANDED);
}

#[test]
fn without_kills_the_others_hold() {
    use Protocol::{Glibc, Linked, NotAnnounced, Raw, UnlinkedFirst};
    for protocol in [Raw, Linked, Glibc, NotAnnounced, UnlinkedFirst] {
        holds(&Lock { protocol, rounds: 1, kills: 0 });
    }
}

#[test]
fn the_commit_word_holds() {
    holds(&Commit { counting: Counting::Commit, kills: 2 });
    holds(&Commit { counting: Counting::Bump, kills: 2 });
}

#[test]
fn a_wake_in_a_call_of_its_own_strands_a_sleeper() {
    let wrong = "one sleeps, though there is what it waits for";
    fails(&Commit { counting: Counting::SplitCommit, kills: 1 }, wrong);
    fails(&Commit { counting: Counting::BumpThatForgets, kills: 0 }, wrong);
}
