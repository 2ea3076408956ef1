//! The NVIDIA driver: found at run time, or an error that says what was looked for.
//!
//! Every function is looked up once, when the first device is asked for, and all of them must be there: nothing panics later. Results
//! are plain numbers here, for a newer driver may know more of them than any list.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};

use cudarc::driver::sys;

use super::launch::Modules;
use super::memory::Pool;
use super::staging::Staging;
use super::stream::Stream;
use crate::error::{Error, Result};

/// Handles of the driver; a device pointer is a number.
pub(super) type Handle = *mut c_void;
pub(super) type DevicePointer = u64;

/// What `cuGraphExecUpdate` says besides its code; not looked at.
#[repr(C)]
pub(super) struct UpdateResult {
    result: c_int,
    node: Handle,
    from: Handle,
}

impl UpdateResult {
    pub(super) const NONE: UpdateResult =
        UpdateResult { result: 0, node: std::ptr::null_mut(), from: std::ptr::null_mut() };
}

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
    context_get = "cuCtxGetCurrent" (*mut Handle);
    stream_create = "cuStreamCreate" (*mut Handle, c_uint);
    stream_synchronize = "cuStreamSynchronize" (Handle);
    memory_alloc = "cuMemAlloc_v2" (*mut DevicePointer, usize);
    memory_free = "cuMemFree_v2" (DevicePointer);
    memory_info = "cuMemGetInfo_v2" (*mut usize, *mut usize);
    host_alloc = "cuMemHostAlloc" (*mut *mut c_void, usize, c_uint);
    host_free = "cuMemFreeHost" (*mut c_void);
    event_create = "cuEventCreate" (*mut Handle, c_uint);
    event_record = "cuEventRecord" (Handle, Handle);
    event_synchronize = "cuEventSynchronize" (Handle);
    capture_begin = "cuStreamBeginCapture_v2" (Handle, c_int);
    capture_end = "cuStreamEndCapture" (Handle, *mut Handle);
    graph_nodes = "cuGraphGetNodes" (Handle, *mut Handle, *mut usize);
    graph_destroy = "cuGraphDestroy" (Handle);
    graph_instantiate = "cuGraphInstantiateWithFlags" (*mut Handle, Handle, u64);
    graph_update = "cuGraphExecUpdate_v2" (Handle, Handle, *mut UpdateResult);
    graph_launch = "cuGraphLaunch" (Handle, Handle);
    executable_destroy = "cuGraphExecDestroy" (Handle);
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
    pub(super) stream: Stream,
    pub(super) functions: &'static Functions,
    info: Info,
    pub(super) pool: Mutex<Pool>,
    pub(super) staging: Staging,
    pub(super) modules: Modules,
    /// What made the context unusable.
    fault: OnceLock<Error>,
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
        let stream = Stream::new(functions, stream)?;
        let exact = std::env::var_os("FERROTAPE_CUDA_EXACT_BLOCKS").is_some_and(|on| on == "1");
        Ok(Gpu {
            ordinal,
            context,
            stream,
            functions,
            info: Info { name, capability, memory, multiprocessors, driver },
            pool: Mutex::new(Pool::new(exact)),
            staging: Staging::default(),
            modules: Modules::default(),
            fault: OnceLock::new(),
        })
    }

    /// Which device.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// What it is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Makes its context this thread's; after a fault that made the context unusable, the error that told of it. Other code of the
    /// process may have set another context, so it is done before every call.
    #[inline]
    pub(super) fn bind(&self) -> Result<()> {
        if let Some(fault) = self.fault.get() {
            return Err(fault.clone());
        }
        let mut current = std::ptr::null_mut();
        // SAFETY: a place for a handle.
        let code = unsafe { (self.functions.context_get)(&mut current) };
        if code == 0 && current == self.context {
            return Ok(());
        }
        // SAFETY: the context lives as long as the process.
        self.check("cuCtxSetCurrent", unsafe { (self.functions.context_set)(self.context) })
    }

    /// `Ok` for 0, else an error that names the call. Of what leaves the context unusable the first is kept: every later call fails by
    /// it, for what the driver says from then on tells nothing new.
    #[inline]
    pub(super) fn check(&self, call: &'static str, code: u32) -> Result<()> {
        if code == 0 { Ok(()) } else { self.failed(call, code, is_fault(code)) }
    }

    /// As [`check`](Self::check), of calls whose failure loses work: the results that other code counts on won't come.
    pub(super) fn check_lost(&self, call: &'static str, code: u32) -> Result<()> {
        if code == 0 { Ok(()) } else { self.failed(call, code, true) }
    }

    #[cold]
    fn failed(&self, call: &'static str, code: u32, for_good: bool) -> Result<()> {
        if let Some(fault) = self.fault.get() {
            return Err(fault.clone());
        }
        let told = self.functions.check(call, code);
        match told {
            Err(error) if for_good => Err(self.fault.get_or_init(|| error).clone()),
            told => told,
        }
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
        self.check("cuMemGetInfo", code)?;
        Ok((free, total))
    }
}

/// Codes after which the context does nothing more: memory that failed (ECC, NVLink), illegal addresses and instructions, kernels that
/// ended or were ended, a context that is gone.
fn is_fault(code: u32) -> bool {
    matches!(code, 214 | 220 | 700 | 702 | 709 | 710 | 714..=719)
}
