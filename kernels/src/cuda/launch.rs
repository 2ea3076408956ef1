//! Kernels: PTX in the binary, loaded a family at a time when first used, launched on the device's stream.

use std::ffi::{CString, c_void};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

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
    GemmTensor = "gemm_tensor";
    Index = "index";
    Int8 = "int8";
    Int8Tensor = "int8_tensor";
    Integers = "integers";
    Map = "map";
    MapCast = "map_cast";
    MapUnary = "map_unary";
    MapWide = "map_wide";
    Norm = "norm";
    Optimize = "optimize";
    Pool = "pool";
    Random = "random";
    Reduce = "reduce";
    Scan = "scan";
    Sequence = "sequence";
    Softmax = "softmax";
    Sort = "sort";
}

/// The modules that are loaded, and their functions by name. Those that are known are found without a lock: lists that only grow.
pub(super) struct Modules {
    handles: Mutex<[usize; Family::ALL.len()]>,
    functions: [Slot; SLOTS],
}

const SLOTS: usize = 1024;

type Slot = OnceLock<Box<Function>>;

/// A function, and the next whose name falls into the same slot.
struct Function {
    name: Name,
    handle: usize,
    /// Bytes of dynamic shared memory that it may use.
    shared: AtomicU32,
    next: Slot,
}

impl Default for Modules {
    fn default() -> Self {
        let functions = [const { OnceLock::new() }; SLOTS];
        Modules { handles: Mutex::default(), functions }
    }
}

impl Modules {
    fn find(&self, name: &Name) -> Option<&Function> {
        let mut slot = &self.functions[name.slot()];
        while let Some(function) = slot.get() {
            if function.name == *name {
                return Some(function);
            }
            slot = &function.next;
        }
        None
    }

    fn add(&self, name: &Name, handle: Handle) -> &Function {
        let handle = handle.expose_provenance();
        let new = || {
            let shared = AtomicU32::new(SHARED);
            Box::new(Function { name: *name, handle, shared, next: OnceLock::new() })
        };
        let mut slot = &self.functions[name.slot()];
        loop {
            // Another thread's, if that was faster.
            let function = slot.get_or_init(new);
            if function.name == *name {
                return function;
            }
            slot = &function.next;
        }
    }
}

/// A kernel's name, put together without the heap. No two families have a kernel of one name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// 0 beyond the end.
    text: [u8; 64],
    len: usize,
}

impl Name {
    /// The parts, joined by `_`; what is beyond 64 bytes is cut off (and then found in no module).
    pub fn of(parts: &[&str]) -> Name {
        let mut name = Name { text: [0; 64], len: 0 };
        for (i, part) in parts.iter().enumerate() {
            if i > 0 {
                name.add(b"_");
            }
            name.add(part.as_bytes());
        }
        name
    }

    fn add(&mut self, part: &[u8]) {
        let room = &mut self.text[self.len..];
        let count = part.len().min(room.len());
        room[..count].copy_from_slice(&part[..count]);
        self.len += count;
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).unwrap_or("")
    }

    /// Its place among the functions.
    fn slot(&self) -> usize {
        let (words, _) = self.text.as_chunks::<8>();
        let used = self.len.div_ceil(8);
        let hash = words[..used].iter().fold(0u64, |hash, word| {
            (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        (hash >> 32) as usize % SLOTS
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
    fn function(&self, family: Family, name: &Name) -> Result<&Function> {
        match self.modules.find(name) {
            Some(function) => Ok(function),
            None => self.load(family, name),
        }
    }

    #[cold]
    fn load(&self, family: Family, name: &Name) -> Result<&Function> {
        // Loading may wait for the device.
        let _no_recording = self.pause()?;
        let mut handles = self.modules.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let module = &mut handles[family as usize];
        if *module == 0 {
            let mut handle: Handle = std::ptr::null_mut();
            let image = family.ptx().as_ptr().cast::<c_void>();
            // SAFETY: the text ends with 0.
            let code = unsafe { (self.functions.module_load)(&mut handle, image) };
            self.check("cuModuleLoadData", code)?;
            *module = handle.expose_provenance();
        }
        let text =
            CString::new(name.as_str()).map_err(|_| Error::Contract("cuda: a kernel's name"))?;
        let mut function: Handle = std::ptr::null_mut();
        let module = std::ptr::with_exposed_provenance_mut(*module);
        // SAFETY: a module that is loaded, a name that ends with 0.
        let code =
            unsafe { (self.functions.module_function)(&mut function, module, text.as_ptr()) };
        if let Err(Error::Cuda { call, code, message }) = self.check("cuModuleGetFunction", code) {
            let message = format!("{message}: {} of {}", name.as_str(), family.name());
            return Err(Error::Cuda { call, code, message });
        }
        Ok(self.modules.add(name, function))
    }

    /// Lets a function use more than the usual dynamic shared memory.
    #[cold]
    fn allow_shared(&self, function: &Function, bytes: u32) -> Result<()> {
        self.bind()?;
        // One at a time, or the smaller of two could come last.
        let _turn = self.modules.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = bytes.max(function.shared.load(Ordering::Relaxed));
        let handle = std::ptr::with_exposed_provenance_mut(function.handle);
        // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        // SAFETY: a function of a loaded module.
        let code = unsafe { (self.functions.function_set)(handle, 8, bytes as i32) };
        self.check("cuFuncSetAttribute", code)?;
        function.shared.store(bytes, Ordering::Relaxed);
        Ok(())
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
        let function = self.function(family, name)?;
        if grid.shared > function.shared.load(Ordering::Relaxed) {
            self.allow_shared(function, grid.shared)?;
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
        let handle = std::ptr::with_exposed_provenance_mut(function.handle);
        self.enqueue("cuLaunchKernel", |functions, stream| {
            // SAFETY: the caller's duty; the values outlive the call, which copies them.
            unsafe {
                (functions.launch)(
                    handle,
                    bx,
                    by,
                    bz,
                    tx,
                    ty,
                    tz,
                    grid.shared,
                    stream,
                    pointers.as_mut_ptr(),
                    std::ptr::null_mut(),
                )
            }
        })
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
    fn names_are_of_one_family() {
        let mut all = std::collections::HashSet::new();
        for family in Family::ALL {
            for line in family.ptx().lines() {
                let Some((_, entry)) = line.split_once(".entry ") else { continue };
                let name = entry.split(['(', ' ']).next().unwrap_or_default();
                assert!(name.len() <= 64, "{name}");
                assert!(all.insert(name.to_owned()), "{name} of {family:?}");
            }
        }
        assert!(all.len() > 300);
    }

    #[test]
    fn functions_are_found_by_their_whole_name() {
        let modules = Modules::default();
        // More than there are slots: some share one.
        let names: Vec<Name> =
            (0..3 * SLOTS).map(|i| Name::of(&["a_kernel", &i.to_string()])).collect();
        for (i, name) in names.iter().enumerate() {
            assert!(modules.find(name).is_none());
            let handle = std::ptr::without_provenance_mut(i + 1);
            assert_eq!(modules.add(name, handle).handle, i + 1);
        }
        for (i, name) in names.iter().enumerate() {
            assert_eq!(modules.find(name).map(|function| function.handle), Some(i + 1));
        }
        assert!(modules.find(&Name::of(&["a_kernel"])).is_none());
    }

    #[test]
    fn grids() {
        assert_eq!(Grid::over(0).blocks, [1, 1, 1]);
        assert_eq!(Grid::over(257).blocks, [2, 1, 1]);
        assert_eq!(Grid::over(usize::MAX / 512).blocks, [2048, 1, 1]);
    }
}
