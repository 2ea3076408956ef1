//! What a launch costs the host.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::*;

/// Counts what this thread asks for.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // Nothing is counted while the thread ends.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: hands everything to the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's duty.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's duty.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's duty.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn launches_ask_for_no_memory() {
    let Some(gpu) = device() else { return };
    assert!(allocations(|| drop(std::hint::black_box(Box::new(1)))) > 0, "they are counted");
    let (mut x, y) = (numbers(gpu, &[1.0; 1000]), numbers(gpu, &[2.0; 1000]));
    let step = |x: &mut DeviceBuffer| {
        // A buffer from the pool, kernels of one and of two operands, strided ones, a fill, a copy.
        let mut z = DeviceBuffer::new(gpu, 4000).unwrap();
        add(x, &y).unwrap();
        negate(x).unwrap();
        let (shape, strides) = ([10, 100], [1, 10]);
        let turned = Source::Array(Array::new(&y, Type::F32, 0, &shape, &strides).unwrap());
        let plain = Source::Array(Array::new(x, Type::F32, 0, &shape, &[100, 1]).unwrap());
        map::binary(BinaryOp::Mul, Type::F32, turned, plain, &mut z).unwrap();
        z.copy_part(x, 0, 0, 4000).unwrap();
        z.zero().unwrap();
    };
    step(&mut x);
    let asked = allocations(|| (0..250).for_each(|_| step(&mut x)));
    assert_eq!(asked, 0);
    let asked = allocations(|| (0..250).for_each(|_| x.upload(&[0; 4000]).unwrap()));
    assert_eq!(asked, 0, "uploads");
    assert_eq!(values(&x), [0.0; 1000]);
}

#[test]
fn other_code_may_set_its_own_context() {
    child("launches::other_code_may_set_its_own_context", &[], |gpu| {
        let x = numbers(gpu, &[4.0; 10]);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                // A thread that has no context yet.
                scope.spawn(|| assert_eq!(values(&x), [4.0; 10]));
            }
        });
    });
}

#[test]
fn blocks_of_exact_size_for_tools() {
    let settings = [("FERROTAPE_CUDA_EXACT_BLOCKS", "1")];
    child("launches::blocks_of_exact_size_for_tools", &settings, |gpu| {
        let mut x = numbers(gpu, &[1.0; 33]);
        assert_eq!(gpu.memory_stats().live, 132);
        let y = numbers(gpu, &[2.0; 33]);
        add(&mut x, &y).unwrap();
        let mut graph = ferrotape_kernels::cuda::Graph::new(gpu);
        let recording = graph.begin().unwrap();
        add(&mut x, &y).unwrap();
        drop(y);
        recording.end().unwrap();
        assert_eq!(values(&x), [5.0; 33]);
        drop(x);
        let stats = gpu.memory_stats();
        assert_eq!((stats.live, stats.peak, stats.cached, stats.requests), (0, 264, 0, 2));
        let (free, _) = gpu.memory_info().unwrap();
        assert_eq!(free, 4 << 30, "all of it is the driver's again");
    });
}
