//! A loaded model in, its tensors out: by name, so that they can be pointed at other memory.
//!
//! llama.cpp has no public list of a model's tensors. But a context tells a callback of every node that it is about to compute, and
//! the weights are the leaves among their sources.

use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_sys_2 as sys;

use super::{ModelError, log};

/// Nodes that are another look at their source.
const VIEWS: [sys::ggml_op; 4] =
    [sys::GGML_OP_VIEW, sys::GGML_OP_RESHAPE, sys::GGML_OP_PERMUTE, sys::GGML_OP_TRANSPOSE];

/// The tensors that a model's graph reads.
pub(super) struct Weights {
    /// A name may stand for several tensors: tied embeddings are two on some devices.
    by_name: HashMap<String, Vec<Weight>>,
}

/// What makes two tensors' memory as good for one as for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Room {
    /// llama.cpp's buffer that it is in, as a number.
    pub buffer: usize,
    /// ggml's number of the type.
    pub ty: sys::ggml_type,
    /// Elements along each dimension: backends leave room behind rows of some lengths.
    pub extents: [i64; 4],
}

/// One of llama.cpp's tensors. Its model must be alive wherever it is used.
#[derive(Clone)]
pub(super) struct Weight {
    tensor: NonNull<sys::ggml_tensor>,
    /// Where llama.cpp has loaded it.
    loaded: *mut c_void,
    /// Whether that is in the file's own map, which virtual models write to.
    mapped: bool,
    /// Whether the graph looks at it through a view, which takes its address when the graph is built and not when it is computed.
    viewed: bool,
}

// SAFETY: a tensor is plain memory that ggml lets any thread set, one at a time.
unsafe impl Send for Weight {}
// SAFETY: as above; what changes it takes care itself that nobody reads.
unsafe impl Sync for Weight {}

/// ggml's name for host memory that it has not allocated (ggml-backend.cpp).
const MAPPED: &CStr = c"CPU_Mapped";

impl Weights {
    /// Looks at the graph of one token, in a context of its own. It is not computed, unless part of it runs on a device: the parts come
    /// one after the other, each shown when it is its turn.
    ///
    /// # Errors
    /// [`ModelError::Context`] if llama.cpp has no room for the context.
    pub(super) fn of(model: &LlamaModel, offloads: bool) -> Result<Self, ModelError> {
        let mut found: HashMap<String, Vec<Weight>> = HashMap::new();
        log::take_trouble();
        // SAFETY: `LlamaModel` is `#[repr(transparent)]` over this pointer; it outlives the context, which is freed below and keeps
        // `found` no longer. The callbacks run inside `llama_decode` on this thread alone.
        unsafe {
            let model = std::mem::transmute_copy::<LlamaModel, *mut sys::llama_model>(model);
            let mut params = sys::llama_context_default_params();
            (params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max) = (32, 1, 1, 1);
            params.cb_eval = Some(look);
            params.cb_eval_user_data = (&raw mut found).cast();
            params.abort_callback = if offloads { None } else { Some(stop) };
            let context = sys::llama_init_from_model(model, params);
            if context.is_null() {
                return Err(ModelError::Context { sequences: 1, tokens: 32, reason: log::take_trouble() });
            }
            let mut token = 0;
            // Told to stop before it has computed anything, it reports that it could not.
            sys::llama_decode(context, sys::llama_batch_get_one(&raw mut token, 1));
            sys::llama_free(context);
        }
        log::take_trouble();
        Ok(Self { by_name: found })
    }

    /// Whether the graph reads a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Whether the graph reads a tensor of this name from the file's map.
    pub(super) fn is_mapped(&self, name: &str) -> bool {
        self.mapped(name).next().is_some()
    }

    /// Whether a graph that was built may go on after the mapped tensor called `name` is pointed elsewhere.
    pub(super) fn can_move(&self, name: &str) -> bool {
        self.mapped(name).all(|weight| !weight.viewed)
    }

    /// The tensors that are not in the file's map, and their names, by name.
    pub(super) fn on_devices(&self) -> impl Iterator<Item = (&str, &Weight)> {
        let mut all: Vec<_> = self.by_name.iter().flat_map(|(name, all)| all.iter().map(|w| (&**name, w))).collect();
        all.retain(|(_, weight)| !weight.mapped);
        all.sort_by_key(|(name, _)| *name);
        all.into_iter()
    }

    fn mapped(&self, name: &str) -> impl Iterator<Item = &Weight> {
        self.by_name.get(name).into_iter().flatten().filter(|weight| weight.mapped)
    }

    /// Lets the mapped tensor called `name` read from `address`, or from where it was loaded if `None`.
    ///
    /// # Safety
    /// As many bytes as the tensor has must be valid there, aligned as ggml wants them, until it is pointed elsewhere or freed.
    pub(super) unsafe fn point(&mut self, name: &str, address: Option<*const u8>) {
        for weight in self.by_name.get_mut(name).into_iter().flatten().filter(|weight| weight.mapped) {
            // SAFETY: as the caller promises.
            unsafe { weight.point(address.map_or(weight.loaded, |address| address.cast_mut().cast())) };
        }
    }
}

impl Weight {
    /// Whether a graph looks at it through a view.
    pub(super) fn is_viewed(&self) -> bool {
        self.viewed
    }

    /// Where llama.cpp loaded it.
    pub(super) fn loaded(&self) -> *mut c_void {
        self.loaded
    }

    /// The memory that it has.
    pub(super) fn room(&self) -> Room {
        // SAFETY: the model that owns the tensor is alive.
        let tensor = unsafe { self.tensor.as_ref() };
        Room { buffer: tensor.buffer as usize, ty: tensor.type_, extents: tensor.ne }
    }

    fn buffer(&self) -> sys::ggml_backend_buffer_t {
        // SAFETY: the model that owns the tensor is alive.
        unsafe { self.tensor.as_ref() }.buffer
    }

    /// ggml's name for the buffer that it is in.
    #[cfg(feature = "cuda")]
    pub(super) fn buffer_name(&self) -> &CStr {
        // SAFETY: the model that owns the buffer is alive; names are C strings of the backend's.
        unsafe { CStr::from_ptr(sys::ggml_backend_buffer_name(self.buffer())) }
    }

    /// Where it reads from.
    #[cfg(feature = "cuda")]
    pub(super) fn address(&self) -> *mut c_void {
        // SAFETY: the model that owns the tensor is alive.
        unsafe { self.tensor.as_ref() }.data
    }

    /// The device that it is on.
    pub(super) fn device(&self) -> sys::ggml_backend_dev_t {
        // SAFETY: the model that owns the tensor is alive, and so is its buffer.
        unsafe { sys::ggml_backend_buft_get_device(sys::ggml_backend_buffer_get_type(self.buffer())) }
    }

    /// Lets it read from `address`.
    ///
    /// # Safety
    /// As many bytes as the tensor has must be valid there, aligned and in such memory as ggml wants them, until it is pointed elsewhere
    /// or freed.
    pub(super) unsafe fn point(&mut self, address: *mut c_void) {
        // SAFETY: the model that owns the tensor is alive, and computes nothing now. llama.cpp only reads weights.
        unsafe { self.tensor.as_mut().data = address };
    }

    /// Sets its bytes from `offset` on, whichever device it is on.
    ///
    /// # Safety
    /// Nothing may compute with it meanwhile.
    ///
    /// # Panics
    /// If the tensor is shorter.
    pub(super) unsafe fn set(&self, offset: usize, bytes: &[u8]) {
        // SAFETY: the model that owns the tensor is alive; the range is checked.
        unsafe {
            assert!(offset + bytes.len() <= sys::ggml_nbytes(self.tensor.as_ptr()), "beyond the end of a tensor");
            sys::ggml_backend_tensor_set(self.tensor.as_ptr(), bytes.as_ptr().cast(), offset, bytes.len());
        }
    }
}

/// Notes the weights among the sources of a node.
unsafe extern "C" fn look(node: *mut sys::ggml_tensor, ask: bool, found: *mut c_void) -> bool {
    if ask {
        // SAFETY: llama.cpp passes a node of its graph, whose sources are null or nodes and leaves of it, and the pointer given above.
        let (node, found) = unsafe { (&*node, &mut *found.cast::<HashMap<String, Vec<Weight>>>()) };
        for tensor in node.src.iter().filter_map(|source| NonNull::new(*source)) {
            // SAFETY: as above; names end in NUL.
            let (leaf, name) = unsafe { (tensor.as_ref(), CStr::from_ptr(tensor.as_ref().name.as_ptr())) };
            // Caches and inputs are leaves too, but not in buffers of weights.
            // SAFETY: called only where the leaf has a buffer.
            let of_weights =
                || unsafe { sys::ggml_backend_buffer_get_usage(leaf.buffer) } == sys::GGML_BACKEND_BUFFER_USAGE_WEIGHTS;
            if leaf.op == sys::GGML_OP_NONE && !leaf.buffer.is_null() && of_weights() {
                // SAFETY: as above; names of buffers are C strings.
                let mapped = unsafe { CStr::from_ptr(sys::ggml_backend_buffer_name(leaf.buffer)) } == MAPPED;
                let known = found.entry(name.to_string_lossy().into_owned()).or_default();
                let viewed = VIEWS.contains(&node.op);
                match known.iter_mut().find(|weight| weight.tensor == tensor) {
                    Some(weight) => weight.viewed |= viewed,
                    None => known.push(Weight { tensor, loaded: leaf.data, mapped, viewed }),
                }
            }
        }
    }
    false
}

/// Nothing is to be computed.
unsafe extern "C" fn stop(_: *mut c_void) -> bool {
    true
}
