//! Who goes next: which waiting work starts in which live model, and when a live model gives way to another.
//!
//! A pure function of what is live and what waits, so that its promises can be tested: work for a live model goes before a change, but
//! nobody waits for long; two clients on two recipes get long turns instead of a merge for each request.

use std::time::Duration;

/// A live model.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    /// The revision that it runs.
    pub key: u64,
    /// The shape of its weights.
    pub shape: u64,
    /// Requests running.
    pub running: usize,
    /// Slots free.
    pub free: usize,
    /// When it was last used; the larger, the later.
    pub used: u64,
    /// Nobody will ask for this revision any more.
    pub superseded: bool,
    /// How long others wait before it takes no more work that came after theirs.
    pub patience: Duration,
}

/// Work that waits, in the order it came.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// The revision that it needs.
    pub key: u64,
    /// The shape of its weights.
    pub shape: u64,
    /// How long it has waited.
    pub waited: Duration,
    /// Whether it takes a slot; the others only need the model to be live.
    pub needs_slot: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Work `.0` starts in the live model `.1`, which runs what it needs.
    Start(usize, usize),
    /// The model of work `.0` becomes live beside the others.
    Open(usize),
    /// The idle live model `.1` becomes the model of work `.0`.
    Swap(usize, usize),
}

/// The next move, or none until something ends or comes.
pub(super) fn next(seats: &[Seat], queue: &[Waiting], max_live: usize) -> Option<Move> {
    // What each seat has been promised to, by place in the queue.
    let mut promised: Vec<Option<usize>> = vec![None; seats.len()];
    let mut closed = vec![false; seats.len()];
    for (place, work) in queue.iter().enumerate() {
        if let Some(seat) = seats.iter().position(|seat| seat.key == work.key) {
            if !closed[seat] && (!work.needs_slot || seats[seat].free > 0) {
                return Some(Move::Start(place, seat));
            }
            continue;
        }
        if queue[..place].iter().any(|earlier| earlier.key == work.key) {
            // The first of its kind stands for all.
            continue;
        }
        let open = |seat: &usize| promised[*seat].is_none();
        let stale = (0..seats.len()).filter(open).find(|seat| seats[*seat].superseded);
        if stale.is_none() && seats.len() < max_live {
            return Some(Move::Open(place));
        }
        // One whose model nobody asks for; then the same shape, which is a merge in place; then an idle one; then the one longest unused.
        let cost = |seat: &usize| {
            let s = &seats[*seat];
            let wanted = queue.iter().any(|w| w.key == s.key);
            (!s.superseded, s.shape != work.shape, wanted, s.running > 0, s.used)
        };
        let Some(seat) = (0..seats.len()).filter(open).min_by_key(cost) else { continue };
        promised[seat] = Some(place);
        let s = &seats[seat];
        let patient = work.waited < s.patience && !s.superseded;
        let wanted = queue.iter().any(|w| w.key == s.key);
        if s.running == 0 && !(patient && wanted) && !earlier_work(queue, place, s.key) {
            return Some(Move::Swap(place, seat));
        }
        closed[seat] = !patient;
    }
    None
}

/// Whether somebody before `place` waits for the model `key`: their turn comes first.
fn earlier_work(queue: &[Waiting], place: usize, key: u64) -> bool {
    queue[..place].iter().any(|work| work.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(9);

    fn seat(key: u64, running: usize) -> Seat {
        let patience = Duration::from_secs(1);
        Seat { key, shape: 1, running, free: 4 - running, used: 0, superseded: false, patience }
    }

    fn work(key: u64, waited: Duration) -> Waiting {
        Waiting { key, shape: 1, waited, needs_slot: true }
    }

    fn fresh(key: u64) -> Waiting {
        work(key, Duration::ZERO)
    }

    #[test]
    fn the_first_request_makes_its_model_live() {
        assert_eq!(next(&[], &[], 1), None);
        assert_eq!(next(&[], &[fresh(1)], 1), Some(Move::Open(0)));
        assert_eq!(next(&[seat(1, 0)], &[fresh(1)], 1), Some(Move::Start(0, 0)));
        assert_eq!(next(&[seat(1, 4)], &[fresh(1)], 1), None, "all slots are taken");
        let embed = Waiting { needs_slot: false, ..fresh(1) };
        assert_eq!(next(&[seat(1, 4)], &[embed], 1), Some(Move::Start(0, 0)));
    }

    #[test]
    fn as_many_models_are_live_as_may_be() {
        assert_eq!(next(&[seat(1, 2)], &[fresh(2)], 2), Some(Move::Open(0)));
        assert_eq!(next(&[seat(1, 2)], &[fresh(2)], 1), None, "the only one is busy");
        assert_eq!(next(&[seat(1, 0)], &[fresh(2)], 1), Some(Move::Swap(0, 0)));
    }

    #[test]
    fn work_for_the_live_model_goes_first_for_a_while() {
        let queue = [fresh(2), fresh(1)];
        assert_eq!(next(&[seat(1, 0)], &queue, 1), Some(Move::Start(1, 0)), "rather than a swap and a swap back");
        assert_eq!(next(&[seat(1, 2)], &queue, 1), Some(Move::Start(1, 0)));
    }

    #[test]
    fn who_has_waited_long_lets_nobody_pass() {
        let queue = [work(2, LONG), fresh(1)];
        assert_eq!(next(&[seat(1, 2)], &queue, 1), None, "what runs ends first");
        assert_eq!(next(&[seat(1, 0)], &queue, 1), Some(Move::Swap(0, 0)));
        let queue = [fresh(1), work(2, LONG)];
        assert_eq!(next(&[seat(1, 2)], &queue, 1), Some(Move::Start(0, 0)), "but who came before still goes before");
    }

    #[test]
    fn two_models_take_turns_and_neither_starves() {
        // Requests for both come at every step; each takes one step; the clock moves a tenth of the patience a step.
        let (mut seats, mut queue) = (vec![seat(1, 0)], Vec::new());
        let (mut swaps, mut started, mut longest) = (0, [0, 0, 0], Duration::ZERO);
        for _ in 0..1000 {
            queue.extend([fresh(1), fresh(2)]);
            seats[0] = seat(seats[0].key, 0);
            while let Some(step) = next(&seats, &queue, 1) {
                match step {
                    Move::Start(place, _) => {
                        let work: Waiting = queue.remove(place);
                        started[work.key as usize] += 1;
                        longest = longest.max(work.waited);
                        let running = seats[0].running + 1;
                        seats[0] = seat(work.key, running);
                    }
                    Move::Swap(place, _) => {
                        seats[0] = seat(queue[place].key, 0);
                        swaps += 1;
                    }
                    Move::Open(_) => unreachable!("there is room for one"),
                }
            }
            queue.iter_mut().for_each(|work| work.waited += Duration::from_millis(100));
        }
        assert!((50..250).contains(&swaps), "{swaps} swaps");
        assert!(started[1] > 900 && started[2] > 900, "{started:?}");
        assert!(longest < Duration::from_secs(4), "{longest:?}");
    }

    #[test]
    fn a_superseded_model_gives_way_before_room_is_taken() {
        let old = |running| Seat { superseded: true, ..seat(1, running) };
        assert_eq!(next(&[old(0)], &[fresh(2)], 4), Some(Move::Swap(0, 0)));
        assert_eq!(next(&[old(1)], &[fresh(2)], 4), None, "its last answers end on the old weights");
        assert_eq!(next(&[old(1)], &[fresh(1), fresh(2)], 4), Some(Move::Start(0, 0)));
    }

    #[test]
    fn a_swap_takes_the_cheapest_place() {
        let other = Seat { shape: 2, used: 1, ..seat(1, 0) };
        let alike = Seat { used: 5, ..seat(3, 0) };
        assert_eq!(next(&[other.clone(), alike.clone()], &[fresh(9)], 2), Some(Move::Swap(0, 1)), "the same shape");
        let queue = [fresh(9), Waiting { shape: 2, ..fresh(8) }];
        assert_eq!(next(&[other.clone(), Seat { running: 1, ..alike }], &queue, 2), Some(Move::Swap(1, 0)));
        let older = Seat { used: 2, ..seat(4, 0) };
        let newer = Seat { used: 3, ..seat(5, 0) };
        assert_eq!(next(&[newer, older], &[fresh(9)], 2), Some(Move::Swap(0, 1)), "the one longest unused");
    }
}
