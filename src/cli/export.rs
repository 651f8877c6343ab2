//! `ggraft export`: the merged model as a GGUF file.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::args::{ExportArgs, OutTypeArg};
use super::output::{BadInput, bytes, print, print_json, save_cache, warn};
use crate::duration::duration;
use crate::image;
use crate::open::{Virtual, is_recipe};
use crate::recipe::{MethodSpec, ModelRef, OutType, Recipe, Slice, Source};

pub(super) fn export(args: &ExportArgs, as_json: bool) -> anyhow::Result<()> {
    let is_recipe = is_recipe(&args.model);
    let mut recipe = if is_recipe { Recipe::load(&args.model)? } else { only(&args.model)? };
    if let Some(ty) = args.out_type {
        if !is_recipe {
            let message = format!(
                "`--type` is the type of matrices that a recipe blends, and `{}` is a plain file, which is copied as it is; \
                 leave `--type` out, or convert the file with llama.cpp's `llama-quantize --allow-requantize`",
                args.model.display()
            );
            return Err(BadInput(message).into());
        }
        recipe.out_type = ty.into();
    }
    let Virtual { recipe, siblings, plan } = Virtual::new(recipe, args.cache.open()?)?;
    save_cache(&siblings);
    warn(&recipe);
    // The maps of a parent would change under the merge, and the parent would be lost.
    for parent in siblings.parents() {
        if parent.paths().any(|path| same_file(path, &args.output)) {
            let message = format!("`{}` is a parent of this recipe; give another name to `-o`", args.output.display());
            return Err(BadInput(message).into());
        }
    }
    let filled = image::export(&plan, siblings.parents(), &args.output)?;
    let size = fs::metadata(&args.output)?.len();
    if as_json {
        return print_json(&json!({
            "path": args.output, "size_bytes": size, "seconds": filled.elapsed.as_secs_f64(),
        }));
    }
    print(format_args!(
        "{}: {}, merged in {}",
        args.output.display(),
        bytes(size),
        duration(filled.elapsed.as_secs_f64())
    ))?;
    Ok(())
}

/// The recipe of one file alone.
fn only(path: &Path) -> anyhow::Result<Recipe> {
    let method = MethodSpec::find("passthrough").expect("a method of the table");
    let model = ModelRef::plain(path.display().to_string(), path);
    let slice = Slice { sources: vec![Source::default()], ..Slice::default() };
    let recipe = Recipe { file: path.to_owned(), ..Recipe::new(method, vec![model], vec![slice]) };
    Ok(recipe.checked()?)
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

impl From<OutTypeArg> for OutType {
    fn from(arg: OutTypeArg) -> Self {
        match arg {
            OutTypeArg::Q8_0 => Self::Q8_0,
            OutTypeArg::F16 => Self::F16,
            OutTypeArg::Bf16 => Self::BF16,
            OutTypeArg::F32 => Self::F32,
            OutTypeArg::Same => Self::Same,
        }
    }
}
