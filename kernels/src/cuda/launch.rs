//! Kernels: PTX in the binary, loaded a family at a time when first used, launched on the device's stream.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::marker::PhantomData;
use std::sync::{PoisonError, RwLock};

use super::driver::{Gpu, Handle};
use crate::error::{Error, Result};

macro_rules! families {
    ($($family:ident = $file:literal;)*) => {
        /// A family of kernels: one source file, one module.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Family {
            $(#[doc = concat!("`", $file, ".cu`")] $family,)*
        }

        impl Family {
            /// All of them.
            pub const ALL: &[Family] = &[$(Family::$family),*];

            /// The file's name, without its end.
            pub fn name(self) -> &'static str {
                match self { $(Family::$family => $file,)* }
            }

            /// Its PTX, with a 0 at the end.
            pub fn ptx(self) -> &'static str {
                match self { $(Family::$family => concat!(include_str!(concat!("ptx/", $file, ".ptx")), "\0"),)* }
            }
        }
    };
}
families! {
    Conv = "conv";
    Copy = "copy";
    Gemm = "gemm";
    Integers = "integers";
    Map = "map";
    MapCast = "map_cast";
    MapUnary = "map_unary";
    MapWide = "map_wide";
    Optimize = "optimize";
    Random = "random";
    Reduce = "reduce";
    Sequence = "sequence";
    Softmax = "softmax";
}

/// The modules that are loaded, and their functions by name.
#[derive(Default)]
pub(super) struct Modules(RwLock<HashMap<Family, Module>>);

#[derive(Default)]
struct Module {
    handle: usize,
    functions: HashMap<String, usize>,
}

/// A kernel's name, put together without the heap.
#[derive(Clone, Copy)]
pub struct Name {
    text: [u8; 64],
    len: usize,
}

impl Name {
    /// The parts, joined by `_`; what is beyond 64 bytes is cut off (and then found in no module).
    pub fn of(parts: &[&str]) -> Name {
        let mut name = Name { text: [0; 64], len: 0 };
        for (i, part) in parts.iter().enumerate() {
            let join: &[u8] = if i > 0 { b"_" } else { b"" };
            for &byte in join.iter().chain(part.as_bytes()) {
                if let Some(place) = name.text.get_mut(name.len) {
                    *place = byte;
                    name.len += 1;
                }
            }
        }
        name
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).unwrap_or("")
    }
}

/// An argument of a kernel: the address of a value that outlives the launch.
#[derive(Clone, Copy)]
pub struct Argument<'a>(*const c_void, PhantomData<&'a ()>);

/// A value as an argument.
pub fn argument<T: Copy>(value: &T) -> Argument<'_> {
    Argument(std::ptr::from_ref(value).cast(), PhantomData)
}

/// Blocks, threads a block, and bytes of dynamic shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks in x, y, z.
    pub blocks: [u32; 3],
    /// Threads in x, y, z.
    pub threads: [u32; 3],
    /// Bytes.
    pub shared: u32,
}

/// Threads of a block that walks elements.
pub const THREADS: u32 = 256;

impl Grid {
    /// For kernels that stride over `n` elements: enough blocks, but no more than fill a device.
    pub fn over(n: usize) -> Grid {
        let blocks = n.div_ceil(THREADS as usize).clamp(1, 2048) as u32;
        Grid { blocks: [blocks, 1, 1], threads: [THREADS, 1, 1], shared: 0 }
    }

    /// `blocks` of `threads`, one after another.
    pub fn of(blocks: usize, threads: u32) -> Grid {
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX).min(i32::MAX as u32);
        Grid { blocks: [blocks, 1, 1], threads: [threads, 1, 1], shared: 0 }
    }
}

/// The largest dynamic shared memory a kernel gets without being asked.
const SHARED: u32 = 48 << 10;

impl Gpu {
    /// The function, from a module that is loaded at its first use.
    fn function(&self, family: Family, name: &str) -> Result<Handle> {
        let known = self.modules.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = known.get(&family).and_then(|module| module.functions.get(name)) {
            return Ok(std::ptr::with_exposed_provenance_mut(*function));
        }
        drop(known);
        self.bind()?;
        let mut modules = self.modules.0.write().unwrap_or_else(PoisonError::into_inner);
        let module = modules.entry(family).or_default();
        if module.handle == 0 {
            let mut handle: Handle = std::ptr::null_mut();
            let image = family.ptx().as_ptr().cast::<c_void>();
            // SAFETY: the text ends with 0.
            let code = unsafe { (self.functions.module_load)(&mut handle, image) };
            self.functions.check("cuModuleLoadData", code)?;
            module.handle = handle.expose_provenance();
        }
        let text = CString::new(name).map_err(|_| Error::Contract("cuda: a kernel's name"))?;
        let mut function: Handle = std::ptr::null_mut();
        let handle = std::ptr::with_exposed_provenance_mut(module.handle);
        // SAFETY: a module that is loaded, a name that ends with 0.
        let code =
            unsafe { (self.functions.module_function)(&mut function, handle, text.as_ptr()) };
        if let Err(Error::Cuda { call, code, message }) =
            self.functions.check("cuModuleGetFunction", code)
        {
            let message = format!("{message}: {name} of {}", family.name());
            return Err(Error::Cuda { call, code, message });
        }
        module.functions.insert(name.to_owned(), function.expose_provenance());
        Ok(function)
    }

    /// Puts a kernel on the stream.
    ///
    /// # Errors
    /// [`Cuda`](Error::Cuda): no such kernel, or the driver's refusal.
    ///
    /// # Safety
    /// The arguments have the kernel's types and number; the memory that it touches by them is inside buffers that exist.
    pub(super) unsafe fn launch(
        &self,
        family: Family,
        name: &Name,
        grid: Grid,
        arguments: &[Argument<'_>],
    ) -> Result<()> {
        let function = self.function(family, name.as_str())?;
        self.bind()?;
        if grid.shared > SHARED {
            // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            // SAFETY: a function of a loaded module.
            let code = unsafe { (self.functions.function_set)(function, 8, grid.shared as i32) };
            self.functions.check("cuFuncSetAttribute", code)?;
        }
        let ([bx, by, bz], [tx, ty, tz]) = (grid.blocks, grid.threads);
        // `Argument` is `repr(Rust)` with a pointer in it: collected as pointers, on the stack.
        let mut pointers = [std::ptr::null_mut::<c_void>(); 24];
        if arguments.len() > pointers.len() {
            return Err(Error::Contract("cuda: too many arguments"));
        }
        for (pointer, argument) in pointers.iter_mut().zip(arguments) {
            *pointer = argument.0.cast_mut();
        }
        // SAFETY: the caller's duty; the values outlive the call, which copies them.
        let code = unsafe {
            (self.functions.launch)(
                function,
                bx,
                by,
                bz,
                tx,
                ty,
                tz,
                grid.shared,
                self.stream,
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        self.functions.check("cuLaunchKernel", code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(Name::of(&["map", "add", "f32"]).as_str(), "map_add_f32");
        assert_eq!(Name::of(&[]).as_str(), "");
        let long = "a".repeat(70);
        assert_eq!(Name::of(&[&long]).as_str().len(), 64);
    }

    #[test]
    fn grids() {
        assert_eq!(Grid::over(0).blocks, [1, 1, 1]);
        assert_eq!(Grid::over(257).blocks, [2, 1, 1]);
        assert_eq!(Grid::over(usize::MAX / 512).blocks, [2048, 1, 1]);
    }
}
