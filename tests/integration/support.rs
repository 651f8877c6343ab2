//! What the tests share: a folder of their own, the quickstart's models, tiny models made on the spot, and the built program.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use ggraft::gguf::{Metadata, Parent, TensorInfo, encode_header};
use ggraft_kernels::GgmlType;
use serde_json::Value;
use tempfile::TempDir;

/// A folder that goes away with the test. It lies in cargo's target folder: on a disk, so that writes to it count as such.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes `content` into the file `name`, its folder made if need be.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

/// A file of the quickstart: `base-Q8_0.gguf`, `math-Q8_0.gguf`, `ja-Q8_0.gguf`, `target_search.jsonl`, ...
pub fn quickstart(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart").join(name)
}

/// The first `count` lines of a data file of the quickstart.
pub fn lines(name: &str, count: usize) -> String {
    let text = fs::read_to_string(quickstart(name)).unwrap();
    text.lines().take(count).map(|line| format!("{line}\n")).collect()
}

/// A perplexity task over the first `count` target questions and their reference answers; returns the task file.
pub fn perplexity_task(folder: &Folder, count: usize) -> PathBuf {
    folder.write("perplexity.jsonl", lines("target_test.jsonl", count));
    folder
        .write("perplexity.yaml", "data: perplexity.jsonl\nkind: perplexity\nprompt: \"{{ prompt }}{{ reference }}\"\n")
}

/// A generate task called `target` over the first `count` questions of a target file; returns the task file.
pub fn target_task(folder: &Folder, data: &str, count: usize) -> PathBuf {
    folder.write(data, lines(data, count));
    let task = format!(
        "data: {data}\nkind: generate\nprompt: \"{{{{ prompt }}}}\"\nanswer: \"{{{{ answer }}}}\"\nstop: [\"\\n\"]\nmax_tokens: 48\n\
         metric: number\nanswer_after: \"####\"\n"
    );
    folder.write("target.yaml", task)
}

/// A choice task called `choice` over the first `count` Japanese questions, whose answer is one of three; returns the task file.
pub fn choice_task(folder: &Folder, count: usize) -> PathBuf {
    folder.write("choice.jsonl", lines("japanese_qa_test.jsonl", count));
    let task = "data: choice.jsonl\nkind: choice\nprompt: \"{{ prompt }}\"\nchoices: [\"わかりません。\", \"{{ answer }}\", \"ABC\"]\n\
                answer: \"{{ answer }}\"\nmetric: accuracy_norm\n";
    folder.write("choice.yaml", task)
}

/// The built program, free of whatever `GGRAFT_*` settings the tests' own environment has, and on one thread: with more, llama.cpp waits
/// in loops for threads that other tests keep from running.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ggraft"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GGRAFT_")) {
        command.env_remove(name);
    }
    command.env("GGRAFT_THREADS", "1");
    command
}

/// Runs the built program to its end.
pub fn ggraft<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    Output::of(program().args(args))
}

/// What a program did.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn of(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }

    /// The exit code; a death by signal fails the test.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("died by signal: {self:?}"))
    }

    /// The one JSON object on stdout of a command that succeeded.
    pub fn json(&self) -> Value {
        assert_eq!(self.code(), 0, "{self:?}");
        self.object()
    }

    /// The one JSON object on stdout: one whole object, nothing before and nothing after it.
    pub fn object(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        assert!(value.is_object(), "{self:?}");
        value
    }

    /// The text from `error:` on, after checking that the program refused in good order: this exit code, nothing on stdout, no panic.
    pub fn error(&self, code: i32) -> &str {
        assert_eq!(self.code(), code, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        let start = self.stderr.find("error: ").unwrap_or_else(|| panic!("no `error:` in {self:?}"));
        assert!(start == 0 || self.stderr[..start].ends_with('\n'), "`error:` does not start a line in {self:?}");
        &self.stderr[start..]
    }
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A model of F32 tensors that a test can bend before it is written.
#[derive(Clone)]
pub struct Tiny {
    pub metadata: Metadata,
    pub tensors: Vec<(TensorInfo, Vec<f32>)>,
}

/// Blocks of [`Tiny::llama`].
pub const TINY_BLOCKS: u32 = 2;

impl Tiny {
    /// What a file needs to be opened as a parent, and no more: llama.cpp would not run it.
    pub fn bare() -> Self {
        let mut metadata = Metadata::default();
        metadata.insert("general.architecture", "llama");
        metadata.insert("llama.block_count", 1u32);
        let mut tiny = Self { metadata, tensors: Vec::new() };
        tiny.add("token_embd.weight", &[32, 2], vec![0.5; 64]);
        tiny
    }

    /// A llama of half a megabyte that llama.cpp runs: `width` wide, 4 heads (2 of them for keys and values), the quickstart's
    /// vocabulary, tied output, weights drawn from `seed`.
    pub fn llama(width: u32, seed: u64) -> Self {
        let parent = Parent::open(quickstart("base-Q8_0.gguf")).unwrap();
        let mut metadata = Metadata::default();
        metadata.insert("general.architecture", "llama");
        let settings = [
            ("block_count", TINY_BLOCKS),
            ("context_length", 256),
            ("embedding_length", width),
            ("feed_forward_length", 2 * width),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
            ("rope.dimension_count", width / 4),
        ];
        for (key, value) in settings {
            metadata.insert(&format!("llama.{key}"), value);
        }
        metadata.insert("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
        for (key, value) in parent.metadata().iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
            metadata.insert(key, value.clone());
        }
        let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap().len() as u64;
        let mut tiny = Self { metadata, tensors: Vec::new() };
        let mut random = Random(seed);
        let mut matrix = |tiny: &mut Self, name: &str, shape: [u64; 2]| {
            tiny.add(name, &shape, (0..shape[0] * shape[1]).map(|_| 0.1 * random.next()).collect());
        };
        let width = u64::from(width);
        matrix(&mut tiny, "token_embd.weight", [width, tokens]);
        tiny.add("output_norm.weight", &[width], vec![1.0; width as usize]);
        for block in 0..TINY_BLOCKS {
            let name = |part: &str| format!("blk.{block}.{part}.weight");
            for norm in ["attn_norm", "ffn_norm"] {
                tiny.add(&name(norm), &[width], vec![1.0; width as usize]);
            }
            for (part, shape) in [
                ("attn_q", [width, width]),
                ("attn_k", [width, width / 2]),
                ("attn_v", [width, width / 2]),
                ("attn_output", [width, width]),
                ("ffn_gate", [width, 2 * width]),
                ("ffn_up", [width, 2 * width]),
                ("ffn_down", [2 * width, width]),
            ] {
                matrix(&mut tiny, &name(part), shape);
            }
        }
        tiny
    }

    /// Adds a tensor; `shape` is ggml's, the row first.
    pub fn add(&mut self, name: &str, shape: &[u64], data: Vec<f32>) {
        let info = TensorInfo::new(name, shape, GgmlType::F32).unwrap();
        assert_eq!(info.elements(), data.len() as u64, "{name}");
        self.tensors.push((info, data));
    }

    pub fn write(&self, path: &Path) {
        let infos: Vec<TensorInfo> = self.tensors.iter().map(|(info, _)| info.clone()).collect();
        let encoded = encode_header(&self.metadata, &infos, 32).unwrap();
        let mut bytes = encoded.bytes;
        let start = bytes.len();
        bytes.resize(start + encoded.data_len as usize, 0);
        for (info, (_, data)) in encoded.tensors.iter().zip(&self.tensors) {
            let at = start + info.offset as usize;
            let data: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
            bytes[at..at + data.len()].copy_from_slice(&data);
        }
        fs::write(path, bytes).unwrap();
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same weights everywhere and always.
pub struct Random(pub u64);

impl Random {
    /// The next number in [-1, 1).
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// The values of an F32 tensor of a file.
pub fn values(file: &Path, tensor: &str) -> Vec<f32> {
    let parent = Parent::open(file).unwrap();
    let view = parent.tensor(tensor).unwrap_or_else(|| panic!("no `{tensor}` in {}", file.display()));
    assert_eq!(view.info.ty, GgmlType::F32, "{tensor}");
    view.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
