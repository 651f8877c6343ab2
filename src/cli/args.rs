//! The command line as parsed: dumb data with the help that teaches it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ggraft_kernels::{GgmlType, Isa};

use crate::bench::{SHAPES, Shape};
use crate::ggml::CODECS;
use crate::model::{ParentsOn, Sampling, Settings, no_offload, offload_supported};
use crate::recipe::{METHODS, MethodSpec};
use crate::score::Room;

/// Evolve, run and measure merges of quantized GGUF models without ever writing one.
///
/// A MODEL is a `.gguf` file (the first of a split set too) or a recipe `.yaml` in mergekit's vocabulary over GGUF files. A recipe is
/// a model: it is merged straight into the memory that llama.cpp computes from.
#[derive(Debug, Parser)]
#[command(name = "ggraft", version, propagate_version = true, max_term_width = 110)]
pub(super) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Print one JSON object on stdout and nothing else there.
    #[arg(long, global = true)]
    pub json: bool,
    /// Show llama.cpp's own log on stderr.
    #[arg(long, global = true)]
    pub verbose: bool,
    /// Instructions that merges use: scalar, avx2, avx512 or neon; by default the best that the processor has.
    #[arg(long, global = true, value_name = "NAME", env = "GGRAFT_ISA", value_parser = isa, hide_short_help = true)]
    pub isa: Option<Isa>,
}

/// An instruction set that the processor has.
fn isa(name: &str) -> Result<Isa, String> {
    let available: Vec<Isa> = Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect();
    let names: Vec<&str> = available.iter().map(|isa| isa.name()).collect();
    let known = available.iter().find(|isa| isa.name() == name).copied();
    known.ok_or_else(|| format!("this processor can do {}", names.join(", ")))
}

/// llama.cpp's flags of several letters after one dash, and what they are called here.
const LLAMA_FLAGS: [(&str, &str); 3] = [("-ngl", "--gpu-layers"), ("-np", "--parallel"), ("-ub", "--ubatch-size")];

/// The program's arguments with llama.cpp's spellings turned into ours.
pub(super) fn arguments() -> impl Iterator<Item = OsString> {
    let mut literal = false;
    std::env::args_os().map(move |arg| {
        literal |= arg == "--";
        match LLAMA_FLAGS.iter().find(|(theirs, _)| !literal && arg == *theirs) {
            Some((_, ours)) => ours.into(),
            None => arg,
        }
    })
}

/// The merge methods, for the end of the long help.
pub(super) fn methods_help() -> String {
    let mut help = "Merge methods (`merge_method` of a recipe):\n".to_owned();
    for method in METHODS {
        let MethodSpec { name, summary, .. } = method;
        help += &format!("  {name}: {summary}\n      models: {}\n", method.arity());
        let signature = method.signature();
        if !signature.is_empty() {
            help += &format!("      parameters: {signature}\n");
        }
    }
    help + "\nA recipe:\n  merge_method: linear\n  models:\n    - {model: a.gguf, parameters: {weight: 0.6}}\n    - {model: b.gguf+lora.gguf, parameters: {weight: 0.4}}   # with a LoRA adapter on it\n  tokenizer_source: union   # or base, or a model: rows matched by token, where vocabularies differ\n\nA path through blocks, each in memory once:\n  path:\n    - {model: a.gguf, layers: [0, 20]}\n    - {model: b.gguf, layers: [10, 30], scale: 0.9}"
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what a model is; for a recipe, also how it would be built.
    Inspect(InspectArgs),
    /// Generate text from a model.
    Run(RunArgs),
    /// Score models on tasks.
    Score(ScoreArgs),
    /// Search for a recipe that is better than its parents.
    Evolve(EvolveArgs),
    /// Measure how fast a recipe, or every type of tensor, is merged, beside memcpy of as many bytes.
    Bench(BenchArgs),
    /// Write the merged model as a GGUF file for other programs.
    Export(ExportArgs),
    /// Serve models to any OpenAI client, and a page to play with their recipes.
    Serve(ServeArgs),
    /// Look at searches, finished or running, by the folders that `evolve` wrote.
    Study(StudyArgs),
}

impl Command {
    /// How to compute, of commands that do.
    pub fn compute(&self) -> Option<&ComputeArgs> {
        match self {
            Self::Run(args) => Some(&args.compute),
            Self::Score(args) => Some(&args.compute),
            Self::Evolve(args) => Some(&args.compute),
            Self::Bench(args) => Some(&args.compute),
            Self::Serve(args) => Some(&args.compute),
            Self::Inspect(_) | Self::Export(_) | Self::Study(_) => None,
        }
    }
}

/// `ggraft inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// A `.gguf` file or a recipe `.yaml`.
    pub model: PathBuf,
    #[command(flatten)]
    pub cache: CacheArgs,
}

/// What is known of parents from one run to the next.
#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    /// File that keeps what merge methods must know of the parents (inner products, order statistics), by the content of their tensors,
    /// so that the next run need not work it out again. May be shared by all recipes; made if it is not there.
    #[arg(long = "cache", value_name = "FILE", env = "GGRAFT_CACHE")]
    pub file: Option<PathBuf>,
}

/// `ggraft run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// A `.gguf` file or a recipe `.yaml`.
    pub model: PathBuf,
    /// The prompt.
    #[arg(short, long, value_name = "TEXT")]
    pub prompt: String,
    /// Most tokens to generate; -1 for all until the answer ends or the context (`-c`; by default 4096 more than the prompt) is full.
    #[arg(short = 'n', long = "n-predict", value_name = "N", default_value_t = 64, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i32).range(-1..))]
    pub n_predict: i32,
    /// 0 takes the most likely token; above 0, tokens are drawn.
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature, allow_negative_numbers = true)]
    pub temp: f32,
    /// Seed for drawing.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u32,
    /// Put the prompt into the model's chat template as a user's message.
    #[arg(long)]
    pub chat: bool,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// `ggraft score`.
#[derive(Debug, Args)]
pub(super) struct ScoreArgs {
    /// `.gguf` files and recipe `.yaml`s.
    #[arg(required = true)]
    pub models: Vec<PathBuf>,
    /// Task files: what to ask and how to judge the answers (`kind: generate`), which answer is the most likely (`choice`), or how
    /// likely texts are (`perplexity`).
    #[arg(long = "task", value_name = "TASK.yaml", required = true, num_args = 1..)]
    pub tasks: Vec<PathBuf>,
    /// Ask only the first N questions of each task.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub limit: Option<usize>,
    /// With --json, add `items` to each result: for every question its line in the data and its score; what the model wrote, as far as
    /// the score depends on it; for questions with choices the index of the right one and each one's log-likelihood.
    #[arg(long, requires = "json")]
    pub items: bool,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// `ggraft evolve`.
#[derive(Debug, Args)]
pub(super) struct EvolveArgs {
    /// What to search: mergekit-evolve's `genome` and `tasks`; how: `search`, with `space: parameter` (weights), `data_flow` (paths
    /// through blocks) or `hybrid` (the one, then the other), and `path` for the latter two; `algorithm: cma_es`, `sep_cma_es`,
    /// `lra_cma_es`, `cat_cma` or `nsga2`; `minibatch` to ask each generation some questions in turn, `stratify` to make these alike, `race` to
    /// ask losers no further, `objectives` for several aims at once; `compare` for recipes to test beside the best one.
    pub config: PathBuf,
    /// Folder for the journal (`journal.sqlite`), `best.yaml` and `report.html`, which is kept up to date while the search runs; nothing
    /// else is written.
    #[arg(long, value_name = "DIR", default_value = "ggraft-out")]
    pub out: PathBuf,
    /// Go on with the search whose journal is in the folder.
    #[arg(long)]
    pub resume: bool,
    /// With --resume: go on even if models, tasks or the evolve file have changed. What was scored before stays in the journal as it
    /// was; finalists and tests are scored anew.
    #[arg(long, requires = "resume")]
    pub allow_changed: bool,
    /// Start where the best candidates of another study lie, whose out folder this is and whose genes are the same (models, method and
    /// layer groups, or path settings): WS-CMA-ES. Of a hybrid search its weights start there. In place of the file's `warm_start`.
    #[arg(long, value_name = "DIR")]
    pub warm_start: Option<PathBuf>,
    /// Score N candidates in all, in place of the file's `budget`.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_evals: Option<usize>,
    /// In place of the file's `seed`.
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// `ggraft study`.
#[derive(Debug, Args)]
pub(super) struct StudyArgs {
    /// What to tell.
    #[command(subcommand)]
    pub command: StudyCommand,
}

/// What there is to tell of studies.
#[derive(Debug, Subcommand)]
pub(super) enum StudyCommand {
    /// The studies in a folder: how far they are, and their best scores.
    Ls {
        /// An out folder, or one with out folders in it.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// One study: what is searched, how far it is, where the time went, its best candidates.
    Show {
        /// Its out folder.
        #[arg(default_value = "ggraft-out")]
        folder: PathBuf,
        /// Show the N best candidates.
        #[arg(long, value_name = "N", default_value_t = 10)]
        top: usize,
    },
    /// A line for each candidate: scores, times, and its genes by name.
    ExportCsv {
        /// Its out folder.
        #[arg(default_value = "ggraft-out")]
        folder: PathBuf,
        /// Where to write; stdout by default.
        #[arg(short, long, value_name = "FILE.csv")]
        output: Option<PathBuf>,
    },
    /// The best recipe so far, as YAML whose model paths start at the working folder.
    Best {
        /// Its out folder.
        #[arg(default_value = "ggraft-out")]
        folder: PathBuf,
    },
}

/// `ggraft bench`.
///
/// Without a MODEL, tensors of every type are merged by linear, ties and dare_ties, beside memcpy and ggml's own codecs; that needs 1 GB.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// A recipe `.yaml`, or a `.gguf` file to see how fast that runs without a merge.
    pub model: Option<PathBuf>,
    /// Merge and copy N times; the median counts.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive)]
    pub repeat: usize,
    /// Also run the recipe as the plain file that it could be exported to, in memory and in turn with the virtual model: twice the memory.
    #[arg(long, requires = "model")]
    pub exported: bool,
    #[command(flatten)]
    pub synthetic: SyntheticArgs,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Parents that nobody trained.
#[derive(Debug, Args)]
#[command(next_help_heading = "Parents made up for the measurement")]
pub(super) struct SyntheticArgs {
    /// Make the recipe's parents in memory, in place of opening its files: random weights in the shape of a real model, llama-7b (Mistral
    /// 7B's), llama-1b (TinyLlama's), llama-135m (SmolLM2's) or llama-4m (to try things out).
    #[arg(long = "synthetic", value_name = "SHAPE", value_parser = shape, requires = "model")]
    pub shape: Option<&'static Shape>,
    /// Type of their matrices, for example q8_0, q4_k or f16; where rows are not whole blocks of it, q8_0 or else f16.
    #[arg(long = "type", value_name = "T", value_parser = encoded, default_value = "q8_0", requires = "shape")]
    pub ty: GgmlType,
    /// The same seed makes the same parents.
    #[arg(long, value_name = "S", default_value_t = 0, requires = "shape")]
    pub seed: u64,
}

/// `ggraft export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// A recipe `.yaml`; or a `.gguf` file, for example to join a split set.
    pub model: PathBuf,
    /// Where to write; never over a parent.
    #[arg(short, long, value_name = "OUT.gguf")]
    pub output: PathBuf,
    /// Type of blended matrices, in place of the recipe's `out_type`.
    #[arg(long = "type", value_name = "T")]
    pub out_type: Option<OutTypeArg>,
    #[command(flatten)]
    pub cache: CacheArgs,
}

/// `ggraft serve`.
///
/// Recipes stay changeable while they are served: over HTTP (`PUT /v1/recipes/ID`) and on the page at `/`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Recipe `.yaml`s and `.gguf` files; each is a model named like its file. Recipes over HTTP can name the `.gguf` files of all of them.
    #[arg(required = true)]
    pub models: Vec<PathBuf>,
    /// Address to listen on; other machines reach 0.0.0.0, which you should not open without `--api-key`.
    #[arg(long, value_name = "HOST", env = "GGRAFT_HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, value_name = "PORT", env = "GGRAFT_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Key that clients have to send as `Authorization: Bearer KEY`.
    #[arg(long, value_name = "KEY", env = "GGRAFT_API_KEY", hide_env_values = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub api_key: Option<String>,
    /// Origin of a web page that may use the server from a browser, such as `https://example.org`; none may unless named.
    #[arg(long = "cors-origin", value_name = "ORIGIN", env = "GGRAFT_CORS_ORIGIN", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// Folder that `ggraft evolve` wrote: its candidates and report are shown on the page.
    #[arg(long, value_name = "DIR", env = "GGRAFT_STUDY")]
    pub study: Option<PathBuf>,
    /// Models whose weights are in memory at once; by default as many as fit in half of the free memory. Others take turns, a merge each.
    #[arg(long, value_name = "N", env = "GGRAFT_MAX_LIVE", value_parser = positive)]
    pub max_live: Option<usize>,
    /// Sequences that may wait for a slot; beyond that, requests are answered with 429.
    #[arg(long, value_name = "N", env = "GGRAFT_MAX_WAITING", default_value_t = 1024, value_parser = positive)]
    pub max_waiting: usize,
    /// Longest request body in bytes.
    #[arg(long, value_name = "BYTES", env = "GGRAFT_MAX_BODY", default_value_t = 16 << 20, value_parser = positive)]
    pub max_body: usize,
    /// Seconds that a request may take, waiting included.
    #[arg(long, value_name = "SECONDS", env = "GGRAFT_TIMEOUT", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub timeout: u32,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Type of blended matrices.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum OutTypeArg {
    /// 8 bits and a scale for every 32 weights.
    #[value(name = "q8_0")]
    Q8_0,
    /// Half precision.
    F16,
    /// Brain float.
    Bf16,
    /// Full precision.
    F32,
    /// The type that the tensor has in the base model or first source.
    Same,
}

/// Where a GPU that merges has the parents.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ParentsOnArg {
    /// On the GPU while there is room for them.
    Auto,
    /// On the GPU, sent once.
    Device,
    /// On the host, sent again for each merge.
    Host,
}

impl From<ParentsOnArg> for ParentsOn {
    fn from(arg: ParentsOnArg) -> Self {
        match arg {
            ParentsOnArg::Auto => Self::Auto,
            ParentsOnArg::Device => Self::Device,
            ParentsOnArg::Host => Self::Host,
        }
    }
}

/// How llama.cpp computes: its own flags, each with an environment variable.
#[derive(Debug, Args)]
#[command(next_help_heading = "Computation (llama.cpp's flags)")]
pub(super) struct ComputeArgs {
    /// Tokens of context for each sequence; by default what the work needs.
    #[arg(short, long, value_name = "N", env = "GGRAFT_CTX_SIZE", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub ctx_size: Option<u32>,
    /// Threads, of merges too; by default one per core.
    #[arg(short, long, value_name = "N", env = "GGRAFT_THREADS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub threads: Option<u32>,
    /// (-ngl) Layers to compute on a GPU, where ggraft was built for one.
    #[arg(long, value_name = "N", env = "GGRAFT_GPU_LAYERS", default_value_t = 0)]
    pub gpu_layers: i32,
    /// Where a CUDA GPU has the parents that it merges.
    #[arg(long, value_name = "WHERE", env = "GGRAFT_GPU_PARENTS", default_value = "auto")]
    pub gpu_parents: ParentsOnArg,
    /// (-np) Sequences decoded side by side; by default 32, and 8 for each model that is served.
    #[arg(long, value_name = "N", env = "GGRAFT_PARALLEL", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub parallel: Option<u32>,
    /// Most tokens handed to llama.cpp at once.
    #[arg(short, long, value_name = "N", env = "GGRAFT_BATCH_SIZE", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    pub batch_size: u32,
    /// (-ub) Most tokens computed at once.
    #[arg(long, value_name = "N", env = "GGRAFT_UBATCH_SIZE", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    pub ubatch_size: u32,
}

/// A shape that parents can be made in.
fn shape(name: &str) -> Result<&'static Shape, String> {
    Shape::find(name).ok_or_else(|| {
        format!(
            "the shapes are {}",
            SHAPES.each_ref().map(|shape| format!("{} ({})", shape.name, shape.like)).join(", ")
        )
    })
}

/// A type that weights can be encoded in.
fn encoded(name: &str) -> Result<GgmlType, String> {
    let types = GgmlType::ALL.iter().copied().filter(|ty| CODECS.encodes(*ty));
    let names = || types.clone().map(GgmlType::name).collect::<Vec<_>>().join(", ");
    let known = types.clone().find(|ty| ty.name().eq_ignore_ascii_case(name));
    known.ok_or_else(|| format!("the types are {}", names()))
}

/// A temperature that tokens can be drawn at.
fn temperature(text: &str) -> Result<f32, String> {
    let range = 0.0..=Sampling::MAX_TEMPERATURE;
    let number = text.parse().ok().filter(|temperature| range.contains(temperature));
    number.ok_or_else(|| format!("it must be a number from 0 to {}", Sampling::MAX_TEMPERATURE))
}

/// A number above 0.
fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be above 0".to_owned()),
        Ok(n) => Ok(n),
        Err(e) => Err(format!("{e}")),
    }
}

impl ComputeArgs {
    /// What a context may be.
    pub fn room(&self) -> Room {
        Room { parallel: self.parallel.unwrap_or(32), tokens: self.ctx_size }
    }

    /// As the model stage wants it.
    pub fn settings(&self) -> Settings {
        if self.gpu_layers != 0 && !offload_supported() {
            eprintln!("warning: `--gpu-layers {}` has no effect: {}", self.gpu_layers, no_offload());
        }
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        Settings {
            threads: self.threads.unwrap_or_else(cores),
            batch: self.batch_size,
            ubatch: self.ubatch_size,
            gpu_layers: self.gpu_layers,
            gpu_parents: self.gpu_parents.into(),
        }
    }
}
