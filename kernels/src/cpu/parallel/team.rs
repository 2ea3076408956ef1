//! The threads of the team: when they spin, when they park, and when waking them pays.
//!
//! Waking a parked thread costs the caller some 14 us, and it starts some 70 us later (a virtual machine's idle core); so a job wakes the parked only if it is
//! worth [`WAKE_NS`], or if jobs follow each other so closely that together they are. Nothing but speed depends on waking: the
//! leader runs what nobody claims.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, fence};
use std::sync::{Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::placement::Place;
use super::protocol::Offer;
use super::sync::Line;
use super::{MAX_THREADS, cores, threads};

/// How long a member spins after its last piece, and then while no job is led, before it parks.
const SPIN: Duration = Duration::from_micros(60);

/// How long it spins while a job is led, some pieces of which others may be at: the next job follows, and to be woken for it costs more.
/// Not with more threads than cores.
const SPIN_LED: Duration = Duration::from_millis(2);

/// How long it spins without letting others have the core: the next job of a busy caller comes within that.
const HOT: Duration = Duration::from_micros(10);

/// Work that is worth waking a parked member for.
const WAKE_NS: u64 = 100_000;

/// Work for each member that is woken.
const SHARE_NS: u64 = 50_000;

/// The team of this process.
struct Team {
    offer: Offer<MAX_THREADS>,
    /// Members parked. Written when one parks or is woken, read by every job: its own line.
    parked: Line<AtomicUsize>,
    /// Members this job may still wake.
    wanted: Line<AtomicUsize>,
    missed: Missed,
    /// For how many threads members have been made (or tried to).
    grown: AtomicUsize,
    growing: Mutex<()>,
    members: [Member; MAX_THREADS - 1],
}

struct Member {
    state: Line<AtomicU8>,
    place: Place,
    thread: OnceLock<Thread>,
}

/// At work, or looking for some.
const AWAKE: u8 = 0;

/// Asleep, or about to be.
const PARKED: u8 = 1;

/// Somebody, perhaps itself, is at waking it.
const CALLED: u8 = 2;

static TEAM: Team = Team {
    offer: Offer::new(),
    parked: Line(AtomicUsize::new(0)),
    wanted: Line(AtomicUsize::new(0)),
    missed: Missed { work_ns: AtomicU64::new(0), end_ns: AtomicU64::new(0) },
    grown: AtomicUsize::new(1),
    growing: Mutex::new(()),
    members: [const {
        let state = Line(AtomicU8::new(AWAKE));
        Member { state, place: Place::new(), thread: OnceLock::new() }
    }; MAX_THREADS - 1],
};

/// Runs the pieces on the caller and the members that come. False, and nothing done, if the team is in use.
#[inline]
pub(super) fn run(pieces: usize, work_ns: u64, body: &dyn super::Body) -> bool {
    let threads = threads();
    TEAM.offer.lead(threads, pieces, body, || {
        if TEAM.grown.load(Relaxed) < threads {
            TEAM.grow();
        }
        // Members that are surplus count as parked too; then this looks more closely than it must.
        if TEAM.parked.0.load(Relaxed) > 0 {
            TEAM.wake_for(pieces, work_ns);
        }
    })
}

impl Team {
    /// Makes the members that are missing. If the system refuses one, the team stays smaller.
    #[cold]
    fn grow(&'static self) {
        let Ok(_growing) = self.growing.try_lock() else { return };
        let threads = threads();
        let grown = self.grown.load(Relaxed);
        self.grown.store(grown.max(threads), Relaxed);
        for index in grown - 1..threads - 1 {
            let name = format!("ferrotape-{}", index + 1);
            let _ = thread::Builder::new().name(name).spawn(move || self.serve(index));
        }
    }

    /// A member's life.
    fn serve(&self, index: usize) {
        let Member { place, thread, .. } = &self.members[index];
        place.begin();
        // Before it can park: who wakes it must find it.
        let _ = thread.set(thread::current());
        let mut idle = Idle::new();
        loop {
            if is_surplus(index) {
                self.park(index);
                idle = Idle::new();
            } else if self.help(index, &idle) {
                idle.restart();
            } else if idle.is_over(&self.offer) {
                self.park(index);
                idle = Idle::new();
            }
        }
    }

    /// Runs a piece, if one is open: of its own, or, having just done one and now and then, of another's.
    #[inline]
    fn help(&self, index: usize, idle: &Idle) -> bool {
        let own = index + 1;
        // Who is about to publish a job wants the slots' lines for itself: waiting members look at one each.
        let around = idle.turns.is_multiple_of(64);
        self.offer.help(own) || (around && self.offer.help_any(own, self.grown.load(Relaxed)))
    }

    /// Sleeps until woken; not at all if there is work.
    #[cold]
    fn park(&self, index: usize) {
        let Member { state, place, .. } = &self.members[index];
        state.0.store(PARKED, SeqCst);
        self.parked.0.fetch_add(1, SeqCst);
        // Either the leader sees us parked, or we see its job (it fences between its two accesses, too).
        fence(SeqCst);
        if self.offer.is_open() && !is_surplus(index) && self.call(index) {
            state.0.store(AWAKE, Relaxed);
            return;
        }
        while state.0.load(Acquire) != AWAKE {
            thread::park();
        }
        place.woken();
        if self.offer.is_open() {
            self.wake_two();
        }
    }

    /// Makes a parked member the caller's to wake. False if it was not parked.
    fn call(&self, index: usize) -> bool {
        let state = &self.members[index].state.0;
        let called = state.compare_exchange(PARKED, CALLED, SeqCst, SeqCst).is_ok();
        if called {
            self.parked.0.fetch_sub(1, SeqCst);
        }
        called
    }

    /// Wakes a member. False if it was not parked.
    fn unpark(&self, index: usize) -> bool {
        let called = self.call(index);
        if called {
            let Member { state, place, thread } = &self.members[index];
            place.elsewhere();
            state.0.store(AWAKE, Release);
            if let Some(thread) = thread.get() {
                thread.unpark();
            }
        }
        called
    }

    /// Wakes members for a job, if it pays. Called by the leader only.
    #[cold]
    fn wake_for(&self, pieces: usize, work_ns: u64) {
        if work_ns < WAKE_NS && !self.missed.adds_up(work_ns) {
            return;
        }
        let worth = usize::try_from(work_ns / SHARE_NS).unwrap_or(usize::MAX).max(1);
        self.wanted.0.store(worth.min(pieces - 1).min(threads() - 1), Relaxed);
        fence(SeqCst);
        self.wake_two();
    }

    /// Wakes two members, each of which wakes two more: the leader is not held up by waking all.
    fn wake_two(&self) {
        for _ in 0..2 {
            let one_less = |wanted: usize| wanted.checked_sub(1);
            if self.wanted.0.fetch_update(Relaxed, Relaxed, one_less).is_err() {
                return;
            }
            if !(0..threads() - 1).any(|index| self.unpark(index)) {
                return;
            }
        }
    }
}

/// True if a smaller number of threads has been set since the member was made.
#[inline]
fn is_surplus(index: usize) -> bool {
    index + 1 >= threads()
}

/// Work that parked members missed: many small jobs in a row are worth waking for, as each would have found the members
/// spinning had they been awake. Written by leaders only, one at a time.
struct Missed {
    work_ns: AtomicU64,
    /// When the last job ended, by its estimate.
    end_ns: AtomicU64,
}

impl Missed {
    /// Adds a job; true if the jobs of late are worth waking for.
    fn adds_up(&self, work_ns: u64) -> bool {
        static START: OnceLock<Instant> = OnceLock::new();
        let now = START.get_or_init(Instant::now).elapsed().as_nanos() as u64;
        let paused = now.saturating_sub(self.end_ns.load(Relaxed)) > SPIN.as_nanos() as u64;
        let missed = if paused { 0 } else { self.work_ns.load(Relaxed) } + work_ns;
        let enough = missed >= WAKE_NS;
        self.end_ns.store(now + work_ns, Relaxed);
        self.work_ns.store(if enough { 0 } else { missed }, Relaxed);
        enough
    }
}

/// How long a member has had nothing to do.
struct Idle {
    turns: u32,
    since: Option<Instant>,
    /// Since when no job has been led, as far as it has looked. Not the same: who ends early and looks between two jobs would park, and be
    /// late for all of the next.
    quiet: Option<Instant>,
    /// True if it should let others have the core from the start: woken, it may have taken the leader's (a busy machine does
    /// that); with more threads than cores, it keeps a working member off.
    yields: bool,
}

impl Idle {
    /// Of a member that has just started or been woken.
    fn new() -> Self {
        Idle { turns: 0, since: None, quiet: None, yields: true }
    }

    /// After a piece.
    #[inline]
    fn restart(&mut self) {
        *self = Idle { turns: 0, since: None, quiet: None, yields: threads() > cores() };
    }

    /// One turn of waiting; true if it is time to park. Looks at the clock now and then only.
    #[inline]
    fn is_over(&mut self, offer: &Offer<MAX_THREADS>) -> bool {
        self.turns += 1;
        if !self.turns.is_multiple_of(32) {
            std::hint::spin_loop();
            return false;
        }
        let now = Instant::now();
        let idle = now - *self.since.get_or_insert(now);
        if self.yields || idle > HOT {
            thread::yield_now();
        }
        // The leader's line is looked at only then: it is written twice a job.
        if idle <= SPIN {
            return false;
        }
        if offer.is_led() && threads() <= cores() {
            self.quiet = None;
            return idle > SPIN_LED;
        }
        now - *self.quiet.get_or_insert(now) > SPIN
    }
}
