//! A model that llama.cpp computes from right now: weights, one context, and the swap to the next recipe.

use std::mem::transmute;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{LlamaContextParams, LlamaPoolingType};
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use memmap2::Mmap;

use super::load::{Purpose, backend, load};
use super::offloaded::{Devices, Offloaded};
use super::weights::Weights;
use super::{ContextSize, ModelError, Settings, Vocabulary, log};
use crate::gguf::Parent;
use crate::image::{Fill, Image, Pool, verify_unchanged};
use crate::plan::{Home, Plan};

/// Most bytes of logits, or of hidden states, held at once.
const MAX_OUTPUT_BYTES: usize = 64 << 20;

/// A running model. Its context holds no tokens between calls unless the caller put them there.
pub struct Live {
    // Fields drop in order: the context points into the model, the model's tensors into image, pool and the parents' maps.
    context: LlamaContext<'static>,
    weights: Option<Weights>,
    offloaded: Option<Offloaded>,
    devices: Devices,
    model: LlamaModel,
    image: Option<Image>,
    pool: Pool,
    maps: Vec<Arc<Mmap>>,
    vocabulary: Arc<Vocabulary>,
    settings: Settings,
    size: ContextSize,
    /// Whether weights and context are those of one recipe: not while devices merge another, nor after one failed halfway.
    whole: bool,
}

/// What it took to make a recipe live.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swap {
    /// The merge itself.
    pub fill: Fill,
    /// Whether the recipe had another shape, so that llama.cpp had to load it anew.
    pub reloaded: bool,
    /// All of it, until the first token could be decoded.
    pub elapsed: Duration,
}

impl Live {
    /// Runs a GGUF file as it is; weights are mapped, not read.
    ///
    /// # Errors
    /// [`ModelError`] with llama.cpp's own reason.
    pub fn of_file(
        path: &Path,
        vocabulary: Arc<Vocabulary>,
        settings: Settings,
        size: ContextSize,
    ) -> Result<Self, ModelError> {
        let model = load(path, &path.display().to_string(), Purpose::Weights { gpu_layers: settings.gpu_layers })?;
        let context = new_context(&model, settings, size)?;
        let (pool, maps) = (Pool::default(), Vec::new());
        let (weights, offloaded, devices) = (None, None, Devices::new(settings.gpu_parents));
        let (image, whole) = (None, true);
        Ok(Self { context, weights, offloaded, devices, model, image, pool, maps, vocabulary, settings, size, whole })
    }

    /// Runs `plan` as a virtual model: merged into shared memory, nothing written to disk.
    ///
    /// # Errors
    /// [`ModelError`], also if a parent changed on disk since it was opened.
    pub fn of_plan(
        plan: &Plan,
        parents: &[Parent],
        vocabulary: Arc<Vocabulary>,
        settings: Settings,
        size: ContextSize,
    ) -> Result<(Self, Swap), ModelError> {
        let start = Instant::now();
        let mut pool = Pool::default();
        let mut devices = Devices::new(settings.gpu_parents);
        let loaded = Loaded::new(plan, parents, &mut pool, &mut devices, settings, size)?;
        let Loaded { image, fill, model, context, weights, offloaded } = loaded;
        let (image, maps, whole) = (Some(image), maps(plan, parents), true);
        let mut live =
            Self { context, weights, offloaded, devices, model, image, pool, maps, vocabulary, settings, size, whole };
        live.bind(plan, parents);
        Ok((live, Swap { fill, reloaded: true, elapsed: start.elapsed() }))
    }

    /// Makes `plan` the running model. One of the same shape is merged into the live weights; another is loaded anew. Shared weights stay
    /// where they are either way: a path that only goes through known blocks in another order moves none. All plans of one live model are
    /// over the same parents.
    ///
    /// # Errors
    /// [`ModelError`]. The old recipe goes on running, unless the model [is not whole](Live::is_whole) any more.
    pub fn swap(&mut self, plan: &Plan, parents: &[Parent]) -> Result<Swap, ModelError> {
        let start = Instant::now();
        // Devices may still be at the last batch.
        self.context.synchronize();
        let same_shape = self.image.as_ref().is_some_and(|i| i.has_shape_of(plan));
        if same_shape && plan.shares() && self.weights.is_none() {
            self.weights = Some(Weights::of(&self.model, false)?);
        }
        let movable = self.weights.as_ref().is_none_or(|w| plan.tensors.iter().all(|t| w.can_move(&t.info.name)));
        let (fill, reloaded) = match &mut self.image {
            Some(image) if self.whole && same_shape && movable => {
                verify_unchanged(parents)?;
                // From here on a device may fail halfway. The host does not.
                self.whole = self.offloaded.is_none();
                let on_devices = self.offloaded.as_mut().map(|offloaded| (offloaded, &mut self.devices));
                let (fill, moved) = merge(plan, parents, image, &mut self.pool, on_devices)?;
                if moved {
                    // Backends keep graphs whose addresses they have looked at once.
                    self.renew_context(self.size)?;
                }
                // What tokens came to is as large as a model; it is left to be overwritten.
                if !matches!(self.context.clear_kv_cache_seq(None, None, None), Ok(true)) {
                    self.context.clear_kv_cache();
                }
                (fill, false)
            }
            _ => {
                // The running model points into the pool until another one runs.
                let mut other = Pool::default();
                let fits = self.pool.fits(plan);
                let pool = if fits { &mut self.pool } else { &mut other };
                let loaded = Loaded::new(plan, parents, pool, &mut self.devices, self.settings, self.size)?;
                // The context before the model that it points into.
                self.context = loaded.context;
                (self.weights, self.offloaded) = (loaded.weights, loaded.offloaded);
                self.model = loaded.model;
                self.image = Some(loaded.image);
                if !fits {
                    self.pool = other;
                }
                (loaded.fill, true)
            }
        };
        self.whole = true;
        self.maps = maps(plan, parents);
        self.bind(plan, parents);
        Ok(Swap { fill, reloaded, elapsed: start.elapsed() })
    }

    /// Whether it can compute. A swap that fails because a device does leaves a model that cannot, until another swap has loaded it anew.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Points every tensor on the host at its home.
    fn bind(&mut self, plan: &Plan, parents: &[Parent]) {
        let Some(weights) = &mut self.weights else { return };
        for tensor in &plan.tensors {
            let address = match tensor.home {
                Home::Own | Home::Device => None,
                Home::Pool(at) => Some(self.pool.address(at)),
                Home::Parent => tensor.source_data(parents)[0].bytes().map(<[u8]>::as_ptr),
            };
            // SAFETY: the plan has checked length and alignment; image, pool and maps live as long as the model and are replaced only
            // together with these pointers.
            unsafe { weights.point(&tensor.info.name, address) };
        }
    }

    /// Makes sure that the context has room for `size`, with a new context if it has not.
    ///
    /// # Errors
    /// [`ModelError::Context`]; the old context is then kept.
    pub fn resize(&mut self, size: ContextSize) -> Result<(), ModelError> {
        if self.size != size {
            self.renew_context(size)?;
            self.size = size;
        }
        Ok(())
    }

    /// A new context in place of the old one, which stays if there is no room for another.
    fn renew_context(&mut self, size: ContextSize) -> Result<(), ModelError> {
        let Self { model, devices, settings, .. } = self;
        self.context = devices.make_room(|| new_context(model, *settings, size))?;
        Ok(())
    }

    /// Computes a batch; the logits that it asked for are then at [`Live::logits`].
    ///
    /// # Errors
    /// [`ModelError::Decode`] with llama.cpp's reason.
    pub fn decode(&mut self, batch: &mut LlamaBatch) -> Result<(), ModelError> {
        decode(&mut self.context, batch)
    }

    /// The logits, one per token of the vocabulary, after position `index` of the last batch, which must have asked for them.
    pub fn logits(&self, index: i32) -> &[f32] {
        self.context.get_logits_ith(index)
    }

    /// Most positions of one batch that may ask for logits, so that these stay within tens of megabytes.
    pub fn logit_rows(&self) -> usize {
        (MAX_OUTPUT_BYTES / (4 * self.vocabulary.len().max(1))).clamp(1, self.batch_size())
    }

    /// Forgets the tokens of one sequence after its first `length`. Returns how many are left: none where only some cannot be taken out,
    /// as from recurrent states.
    pub fn truncate(&mut self, sequence: u32, length: usize) -> usize {
        let from = u32::try_from(length).ok().filter(|from| *from > 0);
        match self.context.clear_kv_cache_seq(Some(sequence), from, None) {
            Ok(true) => length,
            _ => {
                let removed = self.context.clear_kv_cache_seq(Some(sequence), None, None);
                debug_assert!(matches!(removed, Ok(true)), "{removed:?}");
                0
            }
        }
    }

    /// Gives sequence `to`, in place of what it holds, all tokens of sequence `from`. They are copied, not computed.
    pub fn copy(&mut self, from: u32, to: u32) {
        let number = |sequence: u32| i32::try_from(sequence).expect("a sequence of the context");
        // llama.cpp refuses parts of sequences here, so that the whole goes over.
        let copied = self.context.copy_kv_cache_seq(number(from), number(to), None, None);
        debug_assert!(copied.is_ok(), "{copied:?}");
    }

    /// Forgets all tokens, and overwrites what was computed of them: not even a masked position holds a NaN then.
    pub fn forget_all(&mut self) {
        self.context.clear_kv_cache();
    }

    /// The mean over all positions of what enters the output matrix, for each of `prompts`, scaled to length 1. Uses a context of its own.
    ///
    /// # Errors
    /// [`ModelError::EmptyPrompt`], [`ModelError::TooLong`] for a prompt beyond the context, [`ModelError::NotANumber`],
    /// [`ModelError::Context`] and [`ModelError::Decode`] with llama.cpp's reason.
    pub fn embed(&self, prompts: &[Vec<LlamaToken>]) -> Result<Vec<Vec<f32>>, ModelError> {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        if prompts.iter().any(Vec::is_empty) {
            return Err(ModelError::EmptyPrompt);
        }
        if longest > self.size.tokens as usize {
            return Err(ModelError::TooLong { prompt: longest, wanted: 0, limit: self.size.tokens });
        }
        let size = ContextSize { sequences: 1, tokens: u32::try_from(longest).unwrap_or(u32::MAX) };
        let params =
            context_params(self.settings, size).with_embeddings(true).with_pooling_type(LlamaPoolingType::None);
        let mut context = context(&self.model, params, size)?;
        // Asking for states makes llama.cpp compute the logits of every position as well.
        let rows = self.logit_rows().min(batch_size(self.settings, size) as usize);
        let mut batch = LlamaBatch::new(rows, 1);
        let mut all = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            context.clear_kv_cache();
            let mut sum = vec![0.0f64; usize::try_from(self.model.n_embd_out()).unwrap_or(0)];
            for (chunk, position) in prompt.chunks(rows).zip((0..).step_by(rows)) {
                batch.clear();
                for (token, at) in chunk.iter().zip(position..) {
                    batch.add(*token, at, &[0], true).expect("batches are sized for this");
                }
                decode(&mut context, &mut batch)?;
                for row in 0..batch.n_tokens() {
                    let state = context
                        .embeddings_ith(row)
                        .map_err(|e| ModelError::Decode { tokens: chunk.len(), reason: e.to_string() })?;
                    sum.iter_mut().zip(state).for_each(|(sum, x)| *sum += f64::from(*x));
                }
            }
            let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
            if !length.is_finite() {
                return Err(ModelError::NotANumber);
            }
            let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
            all.push(sum.into_iter().map(|x| (x * scale) as f32).collect());
        }
        Ok(all)
    }

    /// The tokenizer.
    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    /// What the context has room for.
    pub fn size(&self) -> ContextSize {
        self.size
    }

    /// Most tokens computed at once.
    pub fn ubatch_size(&self) -> usize {
        self.settings.ubatch as usize
    }

    /// Most tokens in one batch.
    pub fn batch_size(&self) -> usize {
        batch_size(self.settings, self.size) as usize
    }
}

/// A plan in llama.cpp's hands.
struct Loaded {
    image: Image,
    fill: Fill,
    model: LlamaModel,
    context: LlamaContext<'static>,
    weights: Option<Weights>,
    offloaded: Option<Offloaded>,
}

impl Loaded {
    fn new(
        plan: &Plan,
        parents: &[Parent],
        pool: &mut Pool,
        devices: &mut Devices,
        settings: Settings,
        size: ContextSize,
    ) -> Result<Self, ModelError> {
        let mut image = Image::in_memory(plan)?;
        let offloads = settings.offloads();
        // Devices take their share over while llama.cpp loads, before it can be known which that is: nothing yet.
        let early = if offloads { None } else { Some(image.fill(plan, parents, pool)?) };
        let purpose = Purpose::Weights { gpu_layers: settings.gpu_layers };
        let model = devices.make_room(|| load(&image.path(), &plan.name, purpose))?;
        let weights = if plan.shares() || offloads { Some(Weights::of(&model, offloads)?) } else { None };
        if let Some(weights) = &weights
            && let Some(tensor) = plan.tensors.iter().find(|t| t.is_gain() && !weights.has(&t.info.name))
        {
            return Err(ModelError::Unread { tensor: tensor.info.name.clone() });
        }
        let mut offloaded = weights.as_ref().and_then(Offloaded::of);
        // Before parents take what is left of a device's memory.
        let context = devices.make_room(|| new_context(&model, settings, size))?;
        let fill = match early {
            Some(fill) => fill,
            None => {
                verify_unchanged(parents)?;
                let on_devices = offloaded.as_mut().map(|offloaded| (offloaded, devices));
                merge(plan, parents, &mut image, pool, on_devices)?.0
            }
        };
        if weights.is_some() {
            match &offloaded {
                Some(offloaded) => image.release_shared(&offloaded.claim(plan)),
                None => image.release_shared(plan),
            }
        }
        Ok(Self { image, fill, model, context, weights, offloaded })
    }
}

/// Merges `plan`, whose parents are unchanged, into everything that llama.cpp computes from. Also says whether tensors on devices were moved.
fn merge(
    plan: &Plan,
    parents: &[Parent],
    image: &mut Image,
    pool: &mut Pool,
    on_devices: Option<(&mut Offloaded, &mut Devices)>,
) -> Result<(Fill, bool), ModelError> {
    let start = Instant::now();
    let Some((offloaded, devices)) = on_devices else { return Ok((image.fill(plan, parents, pool)?, false)) };
    // Devices work while the host does.
    let started = offloaded.start(plan, parents, devices)?;
    let on_host = image.fill(&offloaded.claim(plan), parents, pool);
    let (elsewhere, moved) = (started.fill, started.moved);
    offloaded.finish(started, parents, devices)?;
    let mut fill = on_host?;
    fill.bytes_read += elsewhere.bytes_read;
    fill.bytes_written += elsewhere.bytes_written;
    fill.elapsed = start.elapsed();
    Ok((fill, moved))
}

/// What the tensors of `plan` that stay in their parents point into.
fn maps(plan: &Plan, parents: &[Parent]) -> Vec<Arc<Mmap>> {
    if plan.shares() { parents.iter().flat_map(Parent::maps).collect() } else { Vec::new() }
}

/// A batch takes a token of every sequence at least: llama.cpp aborts the process where it cannot.
fn batch_size(settings: Settings, size: ContextSize) -> u32 {
    settings.batch.max(size.sequences)
}

fn decode(context: &mut LlamaContext, batch: &mut LlamaBatch) -> Result<(), ModelError> {
    log::take_trouble();
    context.decode(batch).map_err(|e| ModelError::Decode {
        tokens: usize::try_from(batch.n_tokens()).unwrap_or(0),
        reason: format!("{e}: {}", log::take_trouble()),
    })
}

fn context_params(settings: Settings, size: ContextSize) -> LlamaContextParams {
    let threads = i32::try_from(settings.threads).unwrap_or(i32::MAX);
    LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(size.tokens.saturating_mul(size.sequences)))
        .with_n_seq_max(size.sequences)
        .with_n_batch(batch_size(settings, size))
        .with_n_ubatch(settings.ubatch.min(batch_size(settings, size)))
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        .with_no_perf(true)
}

fn context(model: &LlamaModel, params: LlamaContextParams, size: ContextSize) -> Result<LlamaContext<'_>, ModelError> {
    log::take_trouble();
    model.new_context(backend(), params).map_err(|_| ModelError::Context {
        sequences: size.sequences,
        tokens: size.tokens,
        reason: log::take_trouble(),
    })
}

fn new_context(model: &LlamaModel, settings: Settings, size: ContextSize) -> Result<LlamaContext<'static>, ModelError> {
    let context = context(model, context_params(settings, size), size)?;
    // SAFETY: the lifetime stands for the model, which `Live` owns beside the context, frees after it, and replaces only together
    // with it. The context keeps llama.cpp's own pointer, so moving `LlamaModel` moves nothing that it sees.
    Ok(unsafe { transmute::<LlamaContext<'_>, LlamaContext<'static>>(context) })
}
