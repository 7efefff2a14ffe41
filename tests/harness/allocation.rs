// SPDX-License-Identifier: Apache-2.0
//! How much memory a piece of work takes, whatever the other threads do.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Runs `work` and tells the most bytes that it held at any one time, of those that this thread asked for.
pub(crate) fn allocated_by<T>(work: impl FnOnce() -> T) -> (T, usize) {
    LIVE.set(0);
    PEAK.set(0);
    let outcome = work();
    (outcome, usize::try_from(PEAK.get()).unwrap_or(0))
}

/// The system's allocator with a count for each thread.
struct Counted;

#[global_allocator]
static COUNTED: Counted = Counted;

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one only counts what it hands through")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrunk(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        shrunk(layout.size());
        grown(size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

thread_local! {
    // Neither has a destructor, so both can be used at any time of a thread's life.
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn grown(size: usize) {
    let live = LIVE.get().saturating_add_unsigned(size as u64);
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

fn shrunk(size: usize) {
    LIVE.set(LIVE.get().saturating_sub_unsigned(size as u64));
}

#[test]
fn the_largest_size_at_any_one_time_is_told() {
    let (kept, bytes) = allocated_by(|| {
        drop(std::hint::black_box(vec![0u8; 5000]));
        let mut kept = std::hint::black_box(Vec::<u8>::with_capacity(1000));
        kept.reserve_exact(3000);
        kept
    });
    assert!((5000..6000).contains(&bytes), "{bytes}");
    assert_eq!(kept.capacity(), 3000);
    assert_eq!(allocated_by(|| ()).1, 0);
}
