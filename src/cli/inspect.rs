//! `ggraft inspect`: what a model is, and for a recipe how it would be built.

use serde_json::{Value, json};

use super::args::InspectArgs;
use super::output::{bytes, open, print, print_json, table};
use crate::gguf::TensorInfo;
use crate::open::{Kind, Virtual};

pub(super) fn inspect(args: &InspectArgs, as_json: bool) -> anyhow::Result<()> {
    let model = open(&args.model, &args.cache)?;
    let infos: Vec<&TensorInfo> = match &model.kind {
        Kind::File(parent) => parent.tensors().iter().collect(),
        Kind::Recipe(v) => v.plan.tensors.iter().map(|t| &t.info).collect(),
    };
    let (architecture, block_count, size) = match &model.kind {
        Kind::File(p) => (p.architecture(), p.block_count() as usize, p.size_bytes()),
        Kind::Recipe(v) => {
            let header = v.plan.full_header(v.siblings.parents())?;
            (v.architecture(), v.plan.block_count(), header.len() as u64 + v.plan.data_bytes)
        }
    };
    let parameters: u64 = infos.iter().map(|i| i.elements()).sum();
    if as_json {
        let tensors: Vec<Value> = infos
            .iter()
            .map(|i| json!({ "name": i.name, "shape": i.shape, "type": i.ty.name(), "bytes": i.bytes }))
            .collect();
        let mut out = json!({
            "architecture": architecture, "block_count": block_count, "parameters": parameters, "size_bytes": size,
            "tensors": tensors,
        });
        if let Kind::Recipe(v) = &model.kind {
            out["parents"] = v.parents().map(|(path, size)| json!({ "path": path, "size_bytes": size })).collect();
            out["merge_method"] = json!(v.recipe.method.name);
            out["sources_read_bytes"] = json!(v.plan.source_bytes(v.siblings.parents()));
            out["unique_blocks"] = json!(v.plan.unique_blocks());
            out["weight_bytes"] = json!(v.plan.weight_bytes());
        }
        return print_json(&out);
    }
    print(format_args!(
        "{}: {architecture}, {block_count} blocks, {parameters} parameters, {}",
        args.model.display(),
        bytes(size)
    ))?;
    if let Kind::Recipe(v) = &model.kind {
        if !v.recipe.slices.is_empty() {
            print(format_args!("merge: {} ({})", v.recipe.method.name, v.recipe.method.summary))?;
        }
        if v.plan.shares() {
            let (hops, blocks) = (v.plan.block_count(), v.plan.unique_blocks());
            let weights = bytes(v.plan.weight_bytes());
            print(format_args!("path: {hops} hops through {blocks} different blocks; {weights} of weights in memory"))?;
        }
        for (path, size) in v.parents() {
            print(format_args!("parent: {path} ({})", bytes(size)))?;
        }
        let (read, written) = (v.plan.source_bytes(v.siblings.parents()), v.plan.written_bytes());
        print(format_args!("one swap reads {} of parents and writes {}", bytes(read), bytes(written)))?;
        for difference in v.siblings.remarks() {
            print(format_args!("note: {difference}"))?;
        }
    }
    let row = |i: &&TensorInfo| vec![i.name.clone(), format!("{:?}", i.shape), i.ty.to_string(), bytes(i.bytes)];
    print(format_args!("{}", table(1, &["tensor", "shape", "type", "size"], infos.iter().map(row))))?;
    Ok(())
}

impl Virtual {
    fn architecture(&self) -> &str {
        self.siblings.parents()[self.plan.vocabulary].architecture()
    }

    /// Path, with those of adapters behind it, and size of each parent.
    fn parents(&self) -> impl Iterator<Item = (String, u64)> {
        self.siblings.parents().iter().map(|p| (p.label(), p.size_bytes()))
    }
}
