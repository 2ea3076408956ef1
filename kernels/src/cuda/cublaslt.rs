//! cuBLASLt as another backend of matrix products: found at run time, as the driver is.
//!
//! It knows column-major matrices: of row-major ones it computes C^T = B^T A^T, where a value a column of C is its bias a row.

mod functions;

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Mutex, OnceLock, PoisonError};

use functions::{Functions, Handle, Heuristic, desc, epilogue, layout, preference};

use super::array::Type;
use super::driver::Gpu;
use super::gemm::{Checked, Side};
use super::gemm_tensor::{Batch, Lines, operand_kind, packs, step};
use super::memory::DeviceBuffer;
use super::precision::Precision;
use crate::error::{Error, Result};

/// True for what it is asked for; our own kernels compute the rest.
pub(super) fn computes(product: &Checked<'_>) -> bool {
    let [row_bias, _] = product.biases;
    product.kind != Type::F64 && product.left.k > 0 && row_bias == 0 && packs(product)
}

/// The most workspace it may ask for.
const WORKSPACE: u64 = 32 << 20;

/// How many plans are kept.
const PLANS: usize = 1024;

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    compute: i32,
    operands: i32,
    result: i32,
    epilogue: u32,
    sizes: [usize; 3],
    matrices: usize,
    /// Of both operands: along k, elements between lines, and between matrices.
    lines: [(bool, i64, i64); 2],
}

/// Descriptors, and the algorithm that was found for them.
struct Plan {
    functions: &'static Functions,
    desc: Handle,
    layouts: [Handle; 3],
    algorithm: [u64; 8],
    workspace: usize,
}

// SAFETY: descriptors are plain memory of the library, used under a lock.
unsafe impl Send for Plan {}

impl Drop for Plan {
    fn drop(&mut self) {
        let functions = self.functions;
        // SAFETY: they were made by the library, or are null, and nothing else holds them.
        unsafe {
            if !self.desc.is_null() {
                (functions.desc_destroy)(self.desc);
            }
            for layout in self.layouts.into_iter().filter(|layout| !layout.is_null()) {
                (functions.layout_destroy)(layout);
            }
        }
    }
}

/// The library on one device.
struct Lt {
    functions: &'static Functions,
    handle: Handle,
    plans: Mutex<HashMap<Key, Plan>>,
}

// SAFETY: the library's handle may be used from any thread.
unsafe impl Send for Lt {}
// SAFETY: as above; plans stand behind a lock.
unsafe impl Sync for Lt {}

impl Lt {
    fn of(gpu: &Gpu) -> Result<&'static Lt> {
        static ALL: [OnceLock<Lt>; 64] = [const { OnceLock::new() }; 64];
        let place = ALL.get(gpu.ordinal()).ok_or(Error::Contract("cuda: too many devices"))?;
        if let Some(lt) = place.get() {
            return Ok(lt);
        }
        let functions = Functions::loaded()?;
        // It may wait for the device.
        let _no_recording = gpu.pause()?;
        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: a place for a handle; the device's context is this thread's.
        functions::check("cublasLtCreate", unsafe { (functions.create)(&mut handle) })?;
        // Two threads may come here at once: one handle is then left unused.
        Ok(place.get_or_init(|| Lt { functions, handle, plans: Mutex::default() }))
    }

    fn plan(&self, key: &Key) -> Result<Plan> {
        let functions = self.functions;
        let mut plan = Plan {
            functions,
            desc: std::ptr::null_mut(),
            layouts: [std::ptr::null_mut(); 3],
            algorithm: [0; 8],
            workspace: 0,
        };
        // SAFETY: places for handles; f32 sums and factors.
        let code =
            unsafe { (functions.desc_create)(&mut plan.desc, key.compute, functions::R_32F) };
        functions::check("cublasLtMatmulDescCreate", code)?;
        // Seen column by column, lines of B along n are the columns of B^T; lines along k have to be transposed. A: the other way.
        let [(a_along_k, ..), (b_along_k, ..)] = key.lines;
        functions.set(plan.desc, desc::TRANSA, &i32::from(b_along_k))?;
        functions.set(plan.desc, desc::TRANSB, &i32::from(!a_along_k))?;
        functions.set(plan.desc, desc::EPILOGUE, &key.epilogue)?;
        if key.epilogue & epilogue::BIAS != 0 {
            // Algorithms are found for a bias; its place is told at every call.
            functions.set(plan.desc, desc::BIAS_POINTER, &16u64)?;
        }
        let [m, k, n] = key.sizes;
        let operand = |rows: usize, (along_k, pitch, step): (bool, i64, i64)| {
            let (length, lines) = if along_k { (k, rows) } else { (rows, k) };
            (key.operands, length, lines, pitch, step)
        };
        let result = (key.result, n, m, n as i64, (m * n) as i64);
        let all = [operand(n, key.lines[1]), operand(m, key.lines[0]), result];
        for (layout, (kind, rows, columns, pitch, step)) in plan.layouts.iter_mut().zip(all) {
            // SAFETY: a place for a handle.
            let code = unsafe {
                (functions.layout_create)(layout, kind, rows as u64, columns as u64, pitch)
            };
            functions::check("cublasLtMatrixLayoutCreate", code)?;
            functions.set_layout(*layout, layout::BATCH_COUNT, &(key.matrices as i32))?;
            functions.set_layout(*layout, layout::BATCH_OFFSET, &step)?;
        }
        self.find(&mut plan)?;
        Ok(plan)
    }

    /// Asks for the algorithm.
    fn find(&self, plan: &mut Plan) -> Result<()> {
        let functions = self.functions;
        let mut wishes: Handle = std::ptr::null_mut();
        // SAFETY: a place for a handle.
        let code = unsafe { (functions.preference_create)(&mut wishes) };
        functions::check("cublasLtMatmulPreferenceCreate", code)?;
        let found = (|| {
            functions.set_preference(wishes, preference::WORKSPACE, &WORKSPACE)?;
            for which in preference::ALIGNMENTS {
                functions.set_preference(wishes, which, &16u32)?;
            }
            let (mut found, mut count) = (Heuristic::default(), 0);
            let [a, b, d] = plan.layouts;
            // SAFETY: descriptors that exist, places for one answer and a number.
            let code = unsafe {
                (functions.heuristic)(
                    self.handle,
                    plan.desc,
                    a,
                    b,
                    d,
                    d,
                    wishes,
                    1,
                    &mut found,
                    &mut count,
                )
            };
            functions::check("cublasLtMatmulAlgoGetHeuristic", code)?;
            if count == 0 {
                functions::check("cublasLtMatmulAlgoGetHeuristic", functions::NOT_SUPPORTED)?;
            }
            functions::check("cublasLtMatmulAlgoGetHeuristic", found.state)?;
            Ok(found)
        })();
        // SAFETY: made above.
        unsafe { (functions.preference_destroy)(wishes) };
        let found = found?;
        (plan.algorithm, plan.workspace) = (found.algorithm, found.workspace);
        Ok(())
    }
}

/// A side's lines, and its part of a key.
fn lines<'a>(side: &Side<'a>, kind: Type) -> Result<(Lines<'a>, (bool, i64, i64))> {
    let lines = Lines::of(side, kind, Batch::Even)?;
    let step = step(side.batch().0, lines.strides());
    let step = step.ok_or(Error::Contract("cublaslt: matrices are not equally far apart"))?;
    let key = (lines.along_k, lines.pitch, step as i64);
    Ok((lines, key))
}

/// `out = activation(a b + bias)` by cuBLASLt.
pub(super) fn multiply(
    product: &Checked<'_>,
    precision: Precision,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let gpu = out.gpu();
    let lt = Lt::of(gpu)?;
    let (kind, matrices) = (product.kind, product.matrices);
    let operands = operand_kind(kind, precision);
    let ((a, a_key), (b, b_key)) =
        (lines(&product.left, operands)?, lines(&product.right, operands)?);
    i32::try_from(matrices).map_err(|_| Error::Contract("cublaslt: more than 2^31 matrices"))?;
    let [_, column_bias] = product.biases;
    let bias = if column_bias == 0 { 0 } else { epilogue::BIAS };
    let relu = if product.target.relu == 0 { 0 } else { epilogue::RELU };
    let key = Key {
        compute: match (kind, precision) {
            (Type::F32, Precision::Tf32) => functions::COMPUTE_32F_FAST_TF32,
            _ => functions::COMPUTE_32F,
        },
        operands: functions::data_type(operands),
        result: functions::data_type(kind),
        epilogue: if bias | relu == 0 { epilogue::DEFAULT } else { bias | relu },
        sizes: [product.left.rows, product.left.k, product.right.rows],
        matrices,
        lines: [a_key, b_key],
    };
    gpu.bind()?;
    // The first of its kind may load kernels, which a recording does not take.
    let mut no_recording = None;
    let mut plans = lt.plans.lock().unwrap_or_else(PoisonError::into_inner);
    if !plans.contains_key(&key) {
        if plans.len() == PLANS {
            plans.clear();
        }
        plans.insert(key, lt.plan(&key)?);
        no_recording = Some(gpu.pause()?);
    }
    let plan = plans.get(&key).ok_or(Error::Contract("cublaslt: a plan"))?;
    if column_bias != 0 {
        lt.functions.set(plan.desc, desc::BIAS_POINTER, &column_bias)?;
    }
    let workspace = DeviceBuffer::new(gpu, plan.workspace)?;
    let place =
        |lines: &Lines<'_>| pointer(lines.address() + (lines.offset * operands.size()) as u64);
    let (one, beta) = (1f32, if product.target.accumulate == 0 { 0f32 } else { 1f32 });
    let ([layout_a, layout_b, layout_d], d) = (plan.layouts, pointer(out.address()));
    let mut code = 0;
    gpu.enqueue("cublasLtMatmul", |_, stream| {
        // SAFETY: descriptors that say where the operands lie, which is inside their buffers; the factors are read before it returns;
        // operands, result and workspace are given back to the pool no earlier than now, and the stream orders their next use.
        code = unsafe {
            (lt.functions.matmul)(
                lt.handle,
                plan.desc,
                std::ptr::from_ref(&one).cast(),
                place(&b),
                layout_a,
                place(&a),
                layout_b,
                std::ptr::from_ref(&beta).cast(),
                d,
                layout_d,
                d,
                layout_d,
                plan.algorithm.as_ptr().cast(),
                pointer(workspace.address()),
                plan.workspace,
                stream,
            )
        };
        // Its words are its own, not the driver's.
        0
    })?;
    drop(no_recording);
    functions::check("cublasLtMatmul", code)
}

/// A device's address, as the library takes it.
fn pointer(address: u64) -> *mut c_void {
    std::ptr::without_provenance_mut(address as usize)
}
