//! The tiles that most of a product is made of, in assembly: six or five rows, whole vectors, A along k or along its rows.
//!
//! A step of k takes as many turns of the two multipliers as it has products, so that all else must fit beside them: here four steps
//! share one addition to each pointer. LLVM, given the same loop, keeps row pointers in memory or lets a sum wait for itself, now so, now
//! so after a change elsewhere: 5 to 20 % slower.

use std::arch::asm;
use std::mem::offset_of;

use super::microkernel::Tile;

/// What the assembly reads of a [`Tile`]; strides in bytes.
#[repr(C)]
struct Operands {
    to: *mut u8,
    to_stride: isize,
    /// Groups of four steps after those that ask for whole rows: those that ask for a line of a row each, and where they are.
    lines: usize,
    from: *const u8,
    stride: isize,
    /// Those after them; then those after C is asked for, and single steps.
    plain: usize,
    late: usize,
    rest: usize,
    add: usize,
}

/// Groups of four steps before the end at which C is asked for: not so early that B drives it out again.
const LATE: usize = 24;

/// A row's products: the element of A at an address, times B's vectors, added to the sums.
macro_rules! row {
    ($r:literal $t:literal, $x:literal = $at:literal $step:literal; $($sum:literal += $b:literal),*) => {
        concat!(
            "vbroadcasts", $t, " ", $r, $x, ", [", $at, $step, "]\n",
            $("vfmadd231p", $t, " ", $r, $sum, ", ", $r, $x, ", ", $r, $b, "\n",)*
        )
    };
}

/// A step of k: where B's row is, where the rows' elements of A are, and how far into the group.
macro_rules! step {
    (zmm $t:literal, $b:literal, [$a0:literal $a1:literal $a2:literal $a3:literal $a4:literal $($a5:literal)?], $d:literal) => {
        concat!(
            "vmovups zmm24, [", $b, "]\n",
            "vmovups zmm25, [", $b, "+64]\n",
            "vmovups zmm26, [", $b, "+128]\n",
            "vmovups zmm27, [", $b, "+192]\n",
            row!("zmm" $t, "28" = $a0 $d; "0" += "24", "1" += "25", "2" += "26", "3" += "27"),
            row!("zmm" $t, "29" = $a1 $d; "4" += "24", "5" += "25", "6" += "26", "7" += "27"),
            row!("zmm" $t, "30" = $a2 $d; "8" += "24", "9" += "25", "10" += "26", "11" += "27"),
            row!("zmm" $t, "31" = $a3 $d; "12" += "24", "13" += "25", "14" += "26", "15" += "27"),
            row!("zmm" $t, "28" = $a4 $d; "16" += "24", "17" += "25", "18" += "26", "19" += "27"),
            $(row!("zmm" $t, "29" = $a5 $d; "20" += "24", "21" += "25", "22" += "26", "23" += "27"),)?
        )
    };
    (ymm $t:literal, $b:literal, [$a0:literal $a1:literal $a2:literal $a3:literal $a4:literal $($a5:literal)?], $d:literal) => {
        concat!(
            "vmovups ymm12, [", $b, "]\n",
            "vmovups ymm13, [", $b, "+32]\n",
            row!("ymm" $t, "14" = $a0 $d; "0" += "12", "1" += "13"),
            row!("ymm" $t, "15" = $a1 $d; "2" += "12", "3" += "13"),
            row!("ymm" $t, "14" = $a2 $d; "4" += "12", "5" += "13"),
            row!("ymm" $t, "15" = $a3 $d; "6" += "12", "7" += "13"),
            row!("ymm" $t, "14" = $a4 $d; "8" += "12", "9" += "13"),
            $(row!("ymm" $t, "15" = $a5 $d; "10" += "12", "11" += "13"),)?
        )
    };
}

/// Four steps, one after the other, and what follows them.
macro_rules! steps {
    ($r:ident $t:literal, $a:tt, [$d1:literal $d2:literal $d3:literal], $next:expr) => {
        concat!(
            step!($r $t, "{b}", $a, ""),
            step!($r $t, "{b}+{bs}", $a, $d1),
            step!($r $t, "{b}+{bs}*2", $a, $d2),
            step!($r $t, "{b}+{bs3}", $a, $d3),
            "lea {b}, [{b}+{bs}*4]\n",
            $next,
        )
    };
}

/// Goes on to the next four steps of A. AVX2's panel of B stays in L1, and so do the packed rows of the next tile that are asked for
/// here; AVX-512's would drive them out before they are read.
macro_rules! next_steps {
    (by_k $r:ident) => {
        "add {a}, 4*{e}\nadd {x}, 4*{e}\n/* {next} */\n"
    };
    (by_row zmm) => {
        "lea {a}, [{a}+{s}*4]\n/* {next} */\n"
    };
    (by_row ymm) => {
        concat!(
            "prefetcht0 [{a}+{next}]\n",
            "prefetcht0 [{a}+{next}+8*{e}]\n",
            "prefetcht0 [{a}+{next}+16*{e}]\n",
            "lea {a}, [{a}+{s}*4]\n",
        )
    };
}

/// Asks for a row of what later tiles read.
macro_rules! ahead {
    (zmm) => {
        concat!(
            "prefetcht1 [{ahead}]\n",
            "prefetcht1 [{ahead}+64]\n",
            "prefetcht1 [{ahead}+128]\n",
            "prefetcht1 [{ahead}+192]\n",
            "add {ahead}, {hs}\n",
        )
    };
    (ymm) => {
        concat!("prefetcht1 [{ahead}]\n", "add {ahead}, {hs}\n",)
    };
}

/// What is done to a row of C, to its vectors `$sum` at `$at`; `c` is the next row then.
macro_rules! row_of_c {
    (ask $r:literal $t:literal $($sum:literal $at:literal)*) => {
        concat!($("prefetcht0 [{c}", $at, "]\n",)* "add {c}, {cs}\n")
    };
    (add $r:literal $t:literal $($sum:literal $at:literal)*) => {
        concat!($("vaddp", $t, " ", $r, $sum, ", ", $r, $sum, ", [{c}", $at, "]\n",)* "add {c}, {cs}\n")
    };
    (store $r:literal $t:literal $($sum:literal $at:literal)*) => {
        concat!($("vmovups [{c}", $at, "], ", $r, $sum, "\n",)* "add {c}, {cs}\n")
    };
}

/// The same for all rows, of which there are five or six.
macro_rules! rows_of_c {
    ($what:ident zmm $t:literal $($six:literal)?) => {
        concat!(
            row_of_c!($what "zmm" $t "0" "" "1" "+64" "2" "+128" "3" "+192"),
            row_of_c!($what "zmm" $t "4" "" "5" "+64" "6" "+128" "7" "+192"),
            row_of_c!($what "zmm" $t "8" "" "9" "+64" "10" "+128" "11" "+192"),
            row_of_c!($what "zmm" $t "12" "" "13" "+64" "14" "+128" "15" "+192"),
            row_of_c!($what "zmm" $t "16" "" "17" "+64" "18" "+128" "19" "+192"),
            $($six, row_of_c!($what "zmm" $t "20" "" "21" "+64" "22" "+128" "23" "+192"))?
        )
    };
    ($what:ident ymm $t:literal $($six:literal)?) => {
        concat!(
            row_of_c!($what "ymm" $t "0" "" "1" "+32"),
            row_of_c!($what "ymm" $t "2" "" "3" "+32"),
            row_of_c!($what "ymm" $t "4" "" "5" "+32"),
            row_of_c!($what "ymm" $t "6" "" "7" "+32"),
            row_of_c!($what "ymm" $t "8" "" "9" "+32"),
            $($six, row_of_c!($what "ymm" $t "10" "" "11" "+32"))?
        )
    };
}

/// The sums at the start: those whose registers AVX2 has, too, and those that it has not.
macro_rules! zero {
    ($($sum:literal)* $(; $($more:literal)*)?) => {
        concat!(
            $("vxorps xmm", $sum, ", xmm", $sum, ", xmm", $sum, "\n",)*
            $($("vpxorq zmm", $more, ", zmm", $more, ", zmm", $more, "\n",)*)?
        )
    };
}

/// The registers that hold vectors, which the assembly overwrites.
macro_rules! with_registers {
    (zmm $($text:tt)*) => {
        asm!(
            zero!("0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "10" "11" "12" "13" "14" "15"; "16" "17" "18" "19" "20" "21" "22" "23"),
            $($text)*
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
            out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
            out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
            out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            options(nostack)
        )
    };
    (ymm $($text:tt)*) => {
        asm!(
            zero!("0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "10" "11"),
            $($text)*
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
            out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack)
        )
    };
}

/// A tile, from the sums' zeros to C.
macro_rules! tile {
    ($name:ident $features:literal $r:ident $t:literal $e:literal $rows:literal [$($six:literal)?] [$($a:literal)*] $($d:literal)*; $fours:expr, $one:literal) => {
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $name<T>(t: &Tile<'_, T>) {
            let size = size_of::<T>() as isize;
            let scaled = |stride: isize| stride.wrapping_mul(size);
            let fours = t.k / 4;
            let late = if t.fetch { fours.min(LATE) } else { 0 };
            let asking = t.asks.ahead.rows.min(fours - late);
            let lines = t.asks.lines.rows.min(fours - late - asking);
            let plain = fours - late - asking - lines;
            let (from, stride) = (t.asks.lines.from.cast(), scaled(t.asks.lines.stride));
            let (to, to_stride) = (t.to.cast(), scaled(t.to_stride as isize));
            let mut operands = Operands { to, to_stride, lines, from, stride, plain, late, rest: t.k % 4, add: usize::from(t.add) };
            let by_k = t.k_stride == 1;
            let s = scaled(if by_k { t.row_stride } else { t.k_stride });
            let (bs, hs) = (scaled(t.b_stride), scaled(t.asks.ahead.stride));
            // SAFETY: reads A and B, writes C as `Tile` says; the operands, which are its own, besides.
            unsafe {
                with_registers!($r
                    "test {n}, {n}",
                    "jz 3f",
                    ".p2align 5",
                    "2:",
                    ahead!($r),
                    steps!($r $t, [$($a)*], [$($d)*], $fours),
                    "dec {n}",
                    "jnz 2b",
                    "3:",
                    "mov {n}, [{p}+{lines}]",
                    "test {n}, {n}",
                    "jz 33f",
                    "mov {ahead}, [{p}+{from}]",
                    "mov {hs}, [{p}+{stride}]",
                    ".p2align 5",
                    "22:",
                    "prefetcht1 [{ahead}]",
                    "add {ahead}, {hs}",
                    steps!($r $t, [$($a)*], [$($d)*], $fours),
                    "dec {n}",
                    "jnz 22b",
                    "33:",
                    "mov {n}, [{p}+{plain}]",
                    "test {n}, {n}",
                    "jz 9f",
                    ".p2align 5",
                    "8:",
                    steps!($r $t, [$($a)*], [$($d)*], $fours),
                    "dec {n}",
                    "jnz 8b",
                    "9:",
                    "mov {n}, [{p}+{late}]",
                    "test {n}, {n}",
                    "jz 4f",
                    "mov qword ptr [{p}+{late}], 0",
                    "mov {c}, [{p}+{to}]",
                    "mov {cs}, [{p}+{to_stride}]",
                    rows_of_c!(ask $r $t $($six)?),
                    "jmp 8b",
                    "4:",
                    "mov {n}, [{p}+{rest}]",
                    "test {n}, {n}",
                    "jz 6f",
                    "5:",
                    step!($r $t, "{b}", [$($a)*], ""),
                    "add {b}, {bs}",
                    $one,
                    "dec {n}",
                    "jnz 5b",
                    "6:",
                    "mov {c}, [{p}+{to}]",
                    "mov {cs}, [{p}+{to_stride}]",
                    "cmp qword ptr [{p}+{add}], 0",
                    "je 7f",
                    rows_of_c!(add $r $t $($six)?),
                    "mov {c}, [{p}+{to}]",
                    "7:",
                    rows_of_c!(store $r $t $($six)?),
                    "vzeroupper",
                    e = const $e,
                    lines = const offset_of!(Operands, lines),
                    from = const offset_of!(Operands, from),
                    stride = const offset_of!(Operands, stride),
                    plain = const offset_of!(Operands, plain),
                    late = const offset_of!(Operands, late),
                    rest = const offset_of!(Operands, rest),
                    add = const offset_of!(Operands, add),
                    to = const offset_of!(Operands, to),
                    to_stride = const offset_of!(Operands, to_stride),
                    p = in(reg) &raw mut operands,
                    n = inout(reg) asking => _,
                    a = inout(reg) t.a => _,
                    s = in(reg) s,
                    // By k the fourth row, by rows the fourth step.
                    x = inout(reg) if by_k { t.a.addr().wrapping_add_signed(s.wrapping_mul(3)) } else { s.wrapping_mul(3) as usize } => _,
                    b = inout(reg) t.b => _,
                    bs = in(reg) bs,
                    bs3 = in(reg) bs.wrapping_mul(3),
                    next = in(reg) scaled(t.k as isize).wrapping_mul($rows),
                    ahead = inout(reg) t.asks.ahead.from => _,
                    hs = inout(reg) hs => _,
                    c = out(reg) _,
                    cs = out(reg) _,
                );
            }
        }
    };
    // A along k: a pointer for every third row.
    (by_k $name:ident $features:literal $r:ident $t:literal $e:literal six) => {
        tile!($name $features $r $t $e 6 [""] ["{a}" "{a}+{s}" "{a}+{s}*2" "{x}" "{x}+{s}" "{x}+{s}*2"] "+{e}" "+2*{e}" "+3*{e}";
            next_steps!(by_k $r), "add {a}, {e}\nadd {x}, {e}");
    };
    (by_k $name:ident $features:literal $r:ident $t:literal $e:literal five) => {
        tile!($name $features $r $t $e 5 [] ["{a}" "{a}+{s}" "{a}+{s}*2" "{x}" "{x}+{s}"] "+{e}" "+2*{e}" "+3*{e}";
            next_steps!(by_k $r), "add {a}, {e}\nadd {x}, {e}");
    };
    // A along its rows: one pointer.
    (by_row $name:ident $features:literal $r:ident $t:literal $e:literal six) => {
        tile!($name $features $r $t $e 6 [""] ["{a}" "{a}+{e}" "{a}+2*{e}" "{a}+3*{e}" "{a}+4*{e}" "{a}+5*{e}"] "+{s}" "+{s}*2" "+{x}";
            next_steps!(by_row $r), "add {a}, {s}");
    };
    (by_row $name:ident $features:literal $r:ident $t:literal $e:literal five) => {
        tile!($name $features $r $t $e 5 [] ["{a}" "{a}+{e}" "{a}+2*{e}" "{a}+3*{e}" "{a}+4*{e}"] "+{s}" "+{s}*2" "+{x}";
            next_steps!(by_row $r), "add {a}, {s}");
    };
}

tile!(by_k zmm_ps_by_k_6 "avx512f" zmm "s" 4 six);
tile!(by_k zmm_ps_by_k_5 "avx512f" zmm "s" 4 five);
tile!(by_row zmm_ps_by_row_6 "avx512f" zmm "s" 4 six);
tile!(by_row zmm_ps_by_row_5 "avx512f" zmm "s" 4 five);
tile!(by_k zmm_pd_by_k_6 "avx512f" zmm "d" 8 six);
tile!(by_k zmm_pd_by_k_5 "avx512f" zmm "d" 8 five);
tile!(by_row zmm_pd_by_row_6 "avx512f" zmm "d" 8 six);
tile!(by_row zmm_pd_by_row_5 "avx512f" zmm "d" 8 five);
tile!(by_k ymm_ps_by_k_6 "avx2,fma" ymm "s" 4 six);
tile!(by_k ymm_ps_by_k_5 "avx2,fma" ymm "s" 4 five);
tile!(by_row ymm_ps_by_row_6 "avx2,fma" ymm "s" 4 six);
tile!(by_row ymm_ps_by_row_5 "avx2,fma" ymm "s" 4 five);
tile!(by_k ymm_pd_by_k_6 "avx2,fma" ymm "d" 8 six);
tile!(by_k ymm_pd_by_k_5 "avx2,fma" ymm "d" 8 five);
tile!(by_row ymm_pd_by_row_6 "avx2,fma" ymm "d" 8 six);
tile!(by_row ymm_pd_by_row_5 "avx2,fma" ymm "d" 8 five);

/// True if there is assembly for a tile of `rows` rows and `vectors` vectors of an ISA.
pub(super) const fn has(vector_bytes: usize, rows: usize, vectors: usize) -> bool {
    (rows == 5 || rows == 6) && matches!((vector_bytes, vectors), (64, 4) | (32, 2))
}

/// Computes a tile of whole vectors, if A lies along k or along its rows.
///
/// # Safety
/// - As [`tile`](super::microkernel::tile); the CPU must have the ISA of `vector_bytes`, and the tile must be one that [it has](has).
#[inline(always)]
pub(super) unsafe fn compute<T>(vector_bytes: usize, rows: usize, t: &Tile<'_, T>) -> bool {
    if t.k_stride != 1 && t.row_stride != 1 {
        return false;
    }
    let by_k = t.k_stride == 1;
    // SAFETY: by the caller's contract.
    unsafe {
        match (vector_bytes, size_of::<T>(), by_k, rows) {
            (64, 4, true, 6) => zmm_ps_by_k_6(t),
            (64, 4, true, _) => zmm_ps_by_k_5(t),
            (64, 4, false, 6) => zmm_ps_by_row_6(t),
            (64, 4, false, _) => zmm_ps_by_row_5(t),
            (64, _, true, 6) => zmm_pd_by_k_6(t),
            (64, _, true, _) => zmm_pd_by_k_5(t),
            (64, _, false, 6) => zmm_pd_by_row_6(t),
            (64, _, false, _) => zmm_pd_by_row_5(t),
            (_, 4, true, 6) => ymm_ps_by_k_6(t),
            (_, 4, true, _) => ymm_ps_by_k_5(t),
            (_, 4, false, 6) => ymm_ps_by_row_6(t),
            (_, 4, false, _) => ymm_ps_by_row_5(t),
            (_, _, true, 6) => ymm_pd_by_k_6(t),
            (_, _, true, _) => ymm_pd_by_k_5(t),
            (_, _, false, 6) => ymm_pd_by_row_6(t),
            (_, _, false, _) => ymm_pd_by_row_5(t),
        }
    }
    true
}
