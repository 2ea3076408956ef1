//! The protocol under loom, which tries every interleaving, or those with few preemptions:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p ferrotape-kernels --lib parallel::model`

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// A cell for every piece. loom reports two threads in one at the same time, and a leader that reads what a helper has not
/// visibly written.
struct Cells(Vec<UnsafeCell<usize>>);

// SAFETY: loom checks that accesses do not race; to find one is the purpose of the test.
unsafe impl Sync for Cells {}

impl Cells {
    fn add(&self, piece: usize) {
        // SAFETY: checked by loom, as above.
        self.0[piece].with_mut(|cell| unsafe { *cell += piece + 1 });
    }
}

/// A slot for the leader and one for each of two helpers.
const SLOTS: usize = 3;

type Offer = super::protocol::Offer<SLOTS>;

/// Leads a job and checks that each piece ran once, visibly. The cells are gone afterwards: loom reports a late helper.
fn lead(offer: &Offer, pieces: usize) -> bool {
    // Two pieces make two slots, three three.
    lead_in(offer, pieces, pieces)
}

/// [`lead`] with that many slots.
fn lead_in(offer: &Offer, slots: usize, pieces: usize) -> bool {
    let cells = Cells((0..pieces).map(|_| UnsafeCell::new(0)).collect());
    let led = offer.lead(slots, pieces, &|piece| cells.add(piece), || {});
    for (piece, cell) in cells.0.iter().enumerate() {
        // SAFETY: checked by loom, as above.
        let found = cell.with(|cell| unsafe { *cell });
        assert_eq!(found, if led { piece + 1 } else { 0 });
    }
    led
}

/// Runs `check` with helpers that look `looks` times each: in every interleaving if one looks once, else in those with up to
/// `PREEMPTIONS` switches in the middle of a thread, for all of them would take minutes.
fn with_helpers(looks: &'static [usize], check: impl Fn(Arc<Offer>) + Send + Sync + 'static) {
    let all = *looks == [1];
    explore(if all { None } else { Some(PREEMPTIONS) }, looks, check);
}

const PREEMPTIONS: usize = 3;

fn explore(
    preemptions: Option<usize>,
    looks: &'static [usize],
    check: impl Fn(Arc<Offer>) + Send + Sync + 'static,
) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let (offer, slots) = (Arc::new(Offer::new()), looks.len() + 1);
        let helper = |(index, &looks): (usize, &usize)| {
            let offer = offer.clone();
            let help = move || offer.help_any(index + 1, slots);
            thread::spawn(move || (0..looks).filter(|_| help()).count())
        };
        let helpers: Vec<_> = looks.iter().enumerate().map(helper).collect();
        check(offer.clone());
        for helper in helpers {
            helper.join().unwrap();
        }
        assert!(!offer.is_open());
    });
}

#[test]
fn one_job_one_helper() {
    with_helpers(&[2], |offer| assert!(lead(&offer, 2)));
}

#[test]
fn two_pieces_in_a_slot() {
    with_helpers(&[2], |offer| assert!(lead_in(&offer, 1, 2)));
    with_helpers(&[1], |offer| {
        assert!(lead_in(&offer, 1, 2));
        assert!(lead_in(&offer, 2, 3));
    });
}

#[test]
fn one_job_two_helpers() {
    with_helpers(&[1, 1], |offer| assert!(lead(&offer, 3)));
}

#[test]
fn a_helper_across_two_jobs() {
    with_helpers(&[2], |offer| {
        assert!(lead(&offer, 2));
        assert!(lead(&offer, 2));
    });
}

#[test]
fn two_leaders() {
    explore(Some(PREEMPTIONS), &[1], |offer| {
        let other = offer.clone();
        let second = thread::spawn(move || lead(&other, 2));
        let first = lead(&offer, 2);
        assert!(first | second.join().unwrap(), "at least one led");
    });
}

#[test]
fn a_call_from_inside_a_piece_does_not_lead() {
    with_helpers(&[1], |offer| {
        assert!(offer.lead(2, 2, &|_| assert!(!lead(&offer, 2)), || {}));
    });
}

#[test]
fn a_panic_comes_out_at_the_leader_and_the_next_job_runs() {
    with_helpers(&[2], |offer| {
        let cells = Cells((0..2).map(|_| UnsafeCell::new(0)).collect());
        let body = |piece: usize| {
            cells.add(piece);
            std::panic::resume_unwind(Box::new(piece));
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| offer.lead(2, 2, &body, || {})));
        assert!(outcome.is_err_and(|payload| payload.is::<usize>()));
        drop(cells);
        assert!(lead(&offer, 2));
    });
}
