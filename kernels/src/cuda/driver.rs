//! The NVIDIA driver: found at run time, or an error that says what was looked for.
//!
//! Every function is looked up once, when the first device is asked for, and all of them must be there: nothing panics later. Results
//! are plain numbers here, for a newer driver may know more of them than any list.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};

use cudarc::driver::sys;

use super::launch::Modules;
use super::memory::Pool;
use crate::error::{Error, Result};

/// Handles of the driver; a device pointer is a number.
pub(super) type Handle = *mut c_void;
pub(super) type DevicePointer = u64;

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $symbol:literal ($($argument:ty),*);)*) => {
        /// The driver's functions.
        pub(super) struct Functions {
            $($(#[$doc])* pub(super) $name: unsafe extern "C" fn($($argument),*) -> u32,)*
        }

        impl Functions {
            fn load() -> Result<Functions, String> {
                // SAFETY: loading the driver runs its initialisers, which is what a program that asks for CUDA asks for.
                if !unsafe { sys::is_culib_present() } {
                    return Err("no NVIDIA driver: libcuda.so.1 was not found".into());
                }
                // SAFETY: it is present, so this does not panic.
                let library = unsafe { sys::culib() };
                Ok(Functions {
                    $($name: {
                        // SAFETY: the signature is that of cuda.h.
                        let found = unsafe { library.get::<unsafe extern "C" fn($($argument),*) -> u32>($symbol.as_bytes()) };
                        *found.map_err(|_| format!("the NVIDIA driver lacks {} (older than 525?)", $symbol))?
                    },)*
                })
            }
        }
    };
}

functions! {
    init = "cuInit" (c_uint);
    driver_version = "cuDriverGetVersion" (*mut c_int);
    device_count = "cuDeviceGetCount" (*mut c_int);
    device_get = "cuDeviceGet" (*mut c_int, c_int);
    device_name = "cuDeviceGetName" (*mut c_char, c_int, c_int);
    device_attribute = "cuDeviceGetAttribute" (*mut c_int, c_int, c_int);
    device_memory = "cuDeviceTotalMem_v2" (*mut usize, c_int);
    context_retain = "cuDevicePrimaryCtxRetain" (*mut Handle, c_int);
    context_set = "cuCtxSetCurrent" (Handle);
    stream_create = "cuStreamCreate" (*mut Handle, c_uint);
    stream_synchronize = "cuStreamSynchronize" (Handle);
    memory_alloc = "cuMemAlloc_v2" (*mut DevicePointer, usize);
    memory_free = "cuMemFree_v2" (DevicePointer);
    memory_info = "cuMemGetInfo_v2" (*mut usize, *mut usize);
    upload = "cuMemcpyHtoDAsync_v2" (DevicePointer, *const c_void, usize, Handle);
    download = "cuMemcpyDtoHAsync_v2" (*mut c_void, DevicePointer, usize, Handle);
    copy = "cuMemcpyDtoDAsync_v2" (DevicePointer, DevicePointer, usize, Handle);
    fill_8 = "cuMemsetD8Async" (DevicePointer, u8, usize, Handle);
    module_load = "cuModuleLoadData" (*mut Handle, *const c_void);
    module_function = "cuModuleGetFunction" (*mut Handle, Handle, *const c_char);
    function_set = "cuFuncSetAttribute" (Handle, c_int, c_int);
    launch = "cuLaunchKernel" (Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void);
    error_name = "cuGetErrorName" (u32, *mut *const c_char);
    error_string = "cuGetErrorString" (u32, *mut *const c_char);
}

impl Functions {
    /// `Ok` for 0, else an error that names the call and the driver's words.
    pub(super) fn check(&self, call: &'static str, code: u32) -> Result<()> {
        match code {
            0 => Ok(()),
            code => Err(Error::Cuda { call, code, message: self.words(code) }),
        }
    }

    fn words(&self, code: u32) -> String {
        let ask = |f: unsafe extern "C" fn(u32, *mut *const c_char) -> u32| {
            let mut text: *const c_char = std::ptr::null();
            // SAFETY: a place for a pointer; what comes back is a static string or null.
            if unsafe { f(code, &mut text) } != 0 || text.is_null() {
                return String::new();
            }
            // SAFETY: not null, so a static string of the driver.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        };
        match (ask(self.error_name), ask(self.error_string)) {
            (name, _) if name.is_empty() => format!("error {code}"),
            (name, text) => format!("{name}: {text}"),
        }
    }
}

/// The driver, initialised, and how many devices it has.
struct Driver {
    functions: Functions,
    devices: usize,
}

fn driver() -> Result<&'static Driver> {
    static DRIVER: OnceLock<Result<Driver, String>> = OnceLock::new();
    let found = DRIVER.get_or_init(|| {
        let functions = Functions::load()?;
        let told = |call, code| functions.check(call, code).map_err(|error| error.to_string());
        // SAFETY: cuInit takes 0; the other writes one integer.
        told("cuInit", unsafe { (functions.init)(0) })?;
        let mut devices = 0;
        // SAFETY: as above.
        told("cuDeviceGetCount", unsafe { (functions.device_count)(&mut devices) })?;
        let devices = usize::try_from(devices).unwrap_or(0);
        if devices == 0 {
            return Err("the NVIDIA driver knows of no device".into());
        }
        Ok(Driver { functions, devices })
    });
    found.as_ref().map_err(|why| Error::NoCuda(why.clone()))
}

/// How many devices the driver has.
///
/// # Errors
/// [`NoCuda`](Error::NoCuda): no driver, an old one, or no device.
pub fn count() -> Result<usize> {
    Ok(driver()?.devices)
}

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Bytes of memory in all.
    pub memory: usize,
    /// Number of multiprocessors.
    pub multiprocessors: u32,
    /// CUDA version that the driver supports: 1000 major + 10 minor.
    pub driver: u32,
}

/// A device in use: its primary context (shared with other CUDA code of this process), our one stream, our pool.
pub struct Gpu {
    pub(super) ordinal: usize,
    context: Handle,
    pub(super) stream: Handle,
    pub(super) functions: &'static Functions,
    info: Info,
    pub(super) pool: Mutex<Pool>,
    pub(super) modules: Modules,
}

// SAFETY: the driver's handles may be used from any thread.
unsafe impl Send for Gpu {}
// SAFETY: as above; the driver locks for itself, our own state stands behind locks.
unsafe impl Sync for Gpu {}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cuda:{} ({})", self.ordinal, self.info.name)
    }
}

/// The most devices a process can use.
const MOST: usize = 64;

/// Device `ordinal`, opened at the first call.
///
/// # Errors
/// [`NoCuda`](Error::NoCuda): no driver, no such device; [`Cuda`](Error::Cuda): the driver refused.
pub fn gpu(ordinal: usize) -> Result<&'static Gpu> {
    static GPUS: [OnceLock<Gpu>; MOST] = [const { OnceLock::new() }; MOST];
    static OPENING: Mutex<()> = Mutex::new(());
    let driver = driver()?;
    let place = match GPUS.get(ordinal) {
        Some(place) if ordinal < driver.devices => place,
        _ => {
            let message = format!("no device {ordinal}: the driver has {}", driver.devices);
            return Err(Error::NoCuda(message));
        }
    };
    if let Some(gpu) = place.get() {
        return Ok(gpu);
    }
    // A failure is not kept: memory may be free the next time.
    let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gpu) = place.get() {
        return Ok(gpu);
    }
    let gpu = Gpu::open(&driver.functions, ordinal)?;
    Ok(place.get_or_init(|| gpu))
}

impl Gpu {
    fn open(functions: &'static Functions, ordinal: usize) -> Result<Gpu> {
        let number =
            c_int::try_from(ordinal).map_err(|_| Error::NoCuda("no such device".into()))?;
        let mut device = 0;
        // SAFETY: a place for one integer; below likewise, of the types of cuda.h.
        functions.check("cuDeviceGet", unsafe { (functions.device_get)(&mut device, number) })?;
        let mut name = [0 as c_char; 256];
        // SAFETY: the length is the array's, of which the last byte stays 0.
        let code = unsafe { (functions.device_name)(name.as_mut_ptr(), 255, device) };
        functions.check("cuDeviceGetName", code)?;
        // SAFETY: it ends with 0.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        let attribute = |which: c_int| -> Result<u32> {
            let mut value = 0;
            // SAFETY: as above.
            let code = unsafe { (functions.device_attribute)(&mut value, which, device) };
            functions.check("cuDeviceGetAttribute", code)?;
            Ok(u32::try_from(value).unwrap_or(0))
        };
        // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, _MULTIPROCESSOR_COUNT.
        let (capability, multiprocessors) = ((attribute(75)?, attribute(76)?), attribute(16)?);
        if capability < (7, 5) {
            let (major, minor) = capability;
            let message = format!("{name} has compute capability {major}.{minor}, 7.5 is needed");
            return Err(Error::NoCuda(message));
        }
        let (mut memory, mut driver) = (0usize, 0);
        // SAFETY: as above.
        let code = unsafe { (functions.device_memory)(&mut memory, device) };
        functions.check("cuDeviceTotalMem", code)?;
        // SAFETY: as above.
        let code = unsafe { (functions.driver_version)(&mut driver) };
        functions.check("cuDriverGetVersion", code)?;
        let driver = u32::try_from(driver).unwrap_or(0);
        let (mut context, mut stream) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: as above. The context is never released: it lives as long as the process.
        let code = unsafe { (functions.context_retain)(&mut context, device) };
        functions.check("cuDevicePrimaryCtxRetain", code)?;
        // SAFETY: the context was just made.
        functions.check("cuCtxSetCurrent", unsafe { (functions.context_set)(context) })?;
        // 1: does not wait for the legacy default stream.
        // SAFETY: as above.
        let code = unsafe { (functions.stream_create)(&mut stream, 1) };
        functions.check("cuStreamCreate", code)?;
        let info = Info { name, capability, memory, multiprocessors, driver };
        let pool = Mutex::new(Pool::default());
        Ok(Gpu { ordinal, context, stream, functions, info, pool, modules: Modules::default() })
    }

    /// Which device.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// What it is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Makes its context this thread's. Other code of the process may have set another, so it is done before every call.
    pub(super) fn bind(&self) -> Result<()> {
        // SAFETY: the context lives as long as the process.
        let code = unsafe { (self.functions.context_set)(self.context) };
        self.functions.check("cuCtxSetCurrent", code)
    }

    /// Waits for all work given to the device.
    ///
    /// # Errors
    /// [`Cuda`](Error::Cuda): a fault of that work, which is only seen now.
    pub fn synchronize(&self) -> Result<()> {
        self.bind()?;
        // SAFETY: the stream lives as long as the process.
        let code = unsafe { (self.functions.stream_synchronize)(self.stream) };
        self.functions.check("cuStreamSynchronize", code)
    }

    /// Free and total bytes, as the driver sees them.
    ///
    /// # Errors
    /// [`Cuda`](Error::Cuda).
    pub fn memory_info(&self) -> Result<(usize, usize)> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: places for two sizes.
        let code = unsafe { (self.functions.memory_info)(&mut free, &mut total) };
        self.functions.check("cuMemGetInfo", code)?;
        Ok((free, total))
    }
}
