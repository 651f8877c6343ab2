//! A path in, llama.cpp's model out: through the sys crate, since the safe one does not expose the parameters that matter here.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_sys_2 as sys;

use super::{ModelError, log};

/// Starts llama.cpp's backend, once per process; all its logs go to [`log`].
pub(super) fn backend() -> &'static LlamaBackend {
    static BACKEND: OnceLock<LlamaBackend> = OnceLock::new();
    BACKEND.get_or_init(|| {
        load_libraries();
        LlamaBackend::init().expect("this is the one place that starts the backend")
    })
}

/// Where ggml's backends may lie, if they are libraries of their own: beside the program, or else where they were built. Nowhere else: left
/// to itself, ggml goes on to the current folder, which anyone may have written to.
fn folders() -> impl Iterator<Item = PathBuf> {
    let beside = || std::env::current_exe().ok()?.parent().map(Path::to_owned);
    sys::BACKENDS_DIR.into_iter().flat_map(move |built| beside().into_iter().chain([built.into()]))
}

/// Loads those backends that work here.
fn load_libraries() {
    let Some(built) = sys::BACKENDS_DIR else { return };
    let whole = folders().any(|folder| {
        let Ok(folder) = CString::new(folder.into_os_string().into_encoded_bytes()) else { return false };
        // SAFETY: a C string; the libraries are of the build that this program is of, and stay loaded.
        unsafe {
            sys::ggml_backend_load_all_from_path(folder.as_ptr());
            !sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU).is_null()
        }
    });
    assert!(whole, "ggml's backends, that for the CPU among them, must lie beside the program or in {built}");
}

/// Why a backend for accelerators cannot be loaded that lies where it should, as far as ggml says, which passes over it without a word.
pub(super) fn library_trouble() -> Option<String> {
    backend();
    [(c"CUDA", "cuda"), (c"Vulkan", "vulkan")].into_iter().find_map(|(name, file)| {
        // SAFETY: a C string.
        if !unsafe { sys::ggml_backend_reg_by_name(name.as_ptr()) }.is_null() {
            return None;
        }
        let file = format!("{DLL_PREFIX}ggml-{file}{DLL_SUFFIX}");
        let path = folders().map(|folder| folder.join(&file)).find(|path| path.exists())?;
        let path = CString::new(path.into_os_string().into_encoded_bytes()).ok()?;
        log::take_trouble();
        // SAFETY: a C string; a library of the build that this program is of.
        let loaded = unsafe { sys::ggml_backend_load(path.as_ptr()) };
        loaded.is_null().then(log::take_trouble)
    })
}

/// What a load is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The tokenizer only.
    Vocabulary,
    /// Weights to compute with.
    Weights {
        /// Layers kept on accelerators.
        gpu_layers: i32,
    },
}

/// Held while a model is loaded.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Loads `path` by memory map, with no repacking: the tensors then *are* the mapped bytes, which virtual models rewrite in place,
/// and a file and a virtual model of the same bytes run the same code to the same bits.
pub(super) fn load(path: &Path, name: &str, purpose: Purpose) -> Result<LlamaModel, ModelError> {
    backend();
    let bad_path = || ModelError::Path { path: path.to_owned() };
    let c_path = path.to_str().and_then(|p| CString::new(p).ok()).ok_or_else(bad_path)?;
    // SAFETY: returns plain data.
    let mut params = unsafe { sys::llama_model_default_params() };
    params.use_extra_bufts = false;
    params.lazy_mode = sys::LLAMA_LAZY_MODE_OFF;
    match purpose {
        Purpose::Vocabulary => params.vocab_only = true,
        Purpose::Weights { gpu_layers } => {
            params.load_mode = sys::LLAMA_LOAD_MODE_MMAP;
            params.n_gpu_layers = gpu_layers;
        }
    }
    // The first load that finds a device starts it, which ggml-vulkan does not guard against another.
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    log::take_trouble();
    // SAFETY: the path is a C string, the parameters are llama.cpp's defaults with plain fields changed.
    let model = unsafe { sys::llama_model_load_from_file(c_path.as_ptr(), params) };
    if model.is_null() {
        return Err(ModelError::Load { name: name.to_owned(), reason: log::take_trouble() });
    }
    // SAFETY: `LlamaModel` is `#[repr(transparent)]` over this pointer, not null, and frees it when dropped.
    Ok(unsafe { std::mem::transmute::<*mut sys::llama_model, LlamaModel>(model) })
}
