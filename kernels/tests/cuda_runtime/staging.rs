//! Bytes on their way to a device and back.

use super::*;

/// Sizes around those of the pieces, and enough of them to go round the ring more than once.
fn sizes() -> impl Iterator<Item = usize> {
    let edges = [1, 3, 63, 64, 65, 1000, (256 << 10) - 1, 256 << 10, (256 << 10) + 1];
    edges.into_iter().chain([700_000, 1 << 20, 9 << 20, 5, 300_000, (3 << 20) + 17, 70, 4 << 20])
}

fn there_and_back(gpu: &'static Gpu) {
    let mut all = Vec::new();
    for (seed, len) in sizes().chain(sizes()).enumerate() {
        let mut from = pattern(len, seed as u64);
        all.push(filled(gpu, &from));
        // What was given may change at once.
        from.fill(0xaa);
    }
    for (seed, buffer) in all.iter().enumerate() {
        assert!(bytes(buffer) == pattern(buffer.len(), seed as u64), "{} bytes", buffer.len());
    }
    let long = &all[11];
    assert_eq!(long.len(), 9 << 20);
    let whole = pattern(9 << 20, 11);
    for (start, len) in [(0, 1 << 20), (17, (2 << 20) + 1), ((9 << 20) - 5, 5), (1 << 20, 8 << 20)]
    {
        let mut part = vec![0; len];
        long.download(start, &mut part).unwrap();
        assert!(part == whole[start..start + len], "{len} bytes from {start} on");
    }
    assert!(long.download(1, &mut vec![0; 9 << 20]).is_err());
}

#[test]
fn bytes_arrive() {
    if let Some(gpu) = device() {
        there_and_back(gpu);
    }
}

#[test]
fn a_segment_is_kept_until_it_was_fetched() {
    let settings = [("FERROTAPE_EMULATED_LAZY", "1")];
    child("staging::a_segment_is_kept_until_it_was_fetched", &settings, there_and_back);
}

#[test]
fn uploads_are_in_order_with_kernels() {
    let settings = [("FERROTAPE_EMULATED_LAZY", "1")];
    child("staging::uploads_are_in_order_with_kernels", &settings, |gpu| {
        let mut sum = numbers(gpu, &[0.0; 100]);
        let mut x = numbers(gpu, &[0.0; 100]);
        for i in 1..=50u8 {
            let bytes: Vec<u8> = [f32::from(i); 100].iter().flat_map(|x| x.to_le_bytes()).collect();
            x.upload(&bytes).unwrap();
            add(&mut sum, &x).unwrap();
        }
        assert_eq!(values(&sum), [1275.0; 100]);
    });
}

#[test]
fn pinned_memory_is_counted_and_given_back() {
    child("staging::pinned_memory_is_counted_and_given_back", &[], |gpu| {
        assert_eq!(gpu.memory_stats().pinned, 0);
        for _ in 0..2 {
            let x = filled(gpu, &pattern(3 << 20, 1));
            assert_eq!(gpu.memory_stats().pinned, 8 << 20, "the ring");
            assert!(bytes(&x) == pattern(3 << 20, 1));
            assert_eq!(gpu.memory_stats().pinned, 10 << 20, "and two pieces");
            gpu.empty_cache().unwrap();
            assert_eq!(gpu.memory_stats().pinned, 0);
            assert!(bytes(&x)[..1000] == pattern(1000, 1));
            assert_eq!(gpu.memory_stats().pinned, 2 << 20);
            gpu.empty_cache().unwrap();
        }
        gpu.empty_cache().unwrap();
        let stats = gpu.memory_stats();
        assert_eq!((stats.live, stats.cached, stats.pinned), (0, 0, 0));
    });
}

#[test]
fn without_pinned_memory_the_driver_copies() {
    for at in ["pin:1", "pin:2", "pin:3"] {
        let settings = [("FERROTAPE_EMULATED_FAULT", at), ("FERROTAPE_EMULATED_LAZY", "1")];
        if child("staging::without_pinned_memory_the_driver_copies", &settings, there_and_back) {
            return;
        }
    }
}
